"""Where images come from: task distributions and datasets, a file a source, and whether their data is here.

It may import `studies`, and knows no torch. A new source is a file, and a row of the table below.
"""

from functools import partial

from metafa.errors import DataAbsent, DataBroken
from metafa.tasks import glyphs, mnist, omniglot
from metafa.tasks.base import (
    SPLITS,
    LabelledImages,
    TaskDistribution,
    data_folder,
    taskset,
)

__all__ = [
    "SPLITS",
    "TASK_DISTRIBUTIONS",
    "DataAbsent",
    "DataBroken",
    "LabelledImages",
    "TaskDistribution",
    "data_folder",
    "taskset",
]

TASK_DISTRIBUTIONS = {
    "glyphs": TaskDistribution(
        "characters of 14 scripts drawn from the DejaVu faces; embedded", False, glyphs.load, lambda: True
    ),
    "omniglot": TaskDistribution("handwritten characters of 50 alphabets", True, omniglot.load, omniglot.here),
    "omniglot-minimal": TaskDistribution(
        "Omniglot's two published minimal splits, 8 alphabets", False, omniglot.load_minimal, omniglot.minimal_here
    ),
    "mnist": TaskDistribution("handwritten digits", True, partial(mnist.load, "mnist"), partial(mnist.here, "mnist")),
    "fashion-mnist": TaskDistribution(
        "pieces of clothing", True, partial(mnist.load, "fashion-mnist"), partial(mnist.here, "fashion-mnist")
    ),
    "kmnist": TaskDistribution(
        "cursive Japanese characters", True, partial(mnist.load, "kmnist"), partial(mnist.here, "kmnist")
    ),
}
