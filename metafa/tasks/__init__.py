"""Where images come from: task distributions and datasets, a file a source, and whether their data is here.

It may import `studies`, and knows no torch. A new source is a file, and a row of the table below.
"""

from functools import partial

from metafa.errors import DataAbsent, DataBroken
from metafa.tasks import glyphs, omniglot, published
from metafa.tasks.base import (
    PARTS,
    SPLITS,
    LabelledImages,
    TaskDistribution,
    data_folder,
    taskset,
)

__all__ = [
    "PARTS",
    "SPLITS",
    "TASK_DISTRIBUTIONS",
    "DataAbsent",
    "DataBroken",
    "LabelledImages",
    "TaskDistribution",
    "data_folder",
    "taskset",
]


def _published(name: str, description: str, may_share: float = 0.0) -> TaskDistribution:
    downloads = published.PUBLISHED[name].downloads
    return TaskDistribution(
        description,
        downloads,
        partial(published.load_split, name),
        lambda: not published.missing(name),
        may_share,
    )


TASK_DISTRIBUTIONS = {
    "glyphs": TaskDistribution(
        "characters of 14 scripts drawn from the DejaVu faces; embedded", False, glyphs.load, lambda: True
    ),
    "omniglot": TaskDistribution("handwritten characters of 50 alphabets", True, omniglot.load, omniglot.here),
    "omniglot-minimal": TaskDistribution(
        "Omniglot's two published minimal splits, 8 alphabets", False, omniglot.load_minimal, omniglot.minimal_here
    ),
    # Cheon, Lee and Paik (2024) adapt to these three 10-way
    "mnist": _published("mnist", "handwritten digits"),
    "fashion-mnist": _published("fashion-mnist", "pieces of clothing"),
    # its published files were not at hand to be counted, and may hold an image twice
    "kmnist": _published("kmnist", "cursive Japanese characters", may_share=0.01),
}
