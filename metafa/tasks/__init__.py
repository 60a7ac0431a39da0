"""Task distributions by name. A new one is a function that loads its images and a row of this table."""

from functools import partial

from metafa.tasks import glyphs, mnist, omniglot
from metafa.tasks.base import (
    SPLITS,
    DataAbsent,
    DataBroken,
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
