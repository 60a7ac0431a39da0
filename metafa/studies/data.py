"""Facts of the images that studies may name, a row each, from which a study is checked without loading any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from metafa.studies.fields import Known

TASK_DISTRIBUTION_NAMES = ["glyphs", "omniglot", "omniglot-minimal", "mnist", "fashion-mnist", "kmnist"]
TaskDistributionName = Annotated[str, Known(TASK_DISTRIBUTION_NAMES)]

# Of the images of tasks, and of each dataset: rows, columns, and channels where there are several. Said here, so that a
# study is checked without loading any.
TASK_SHAPE = (28, 28)

DATASET_SHAPES: dict[str, tuple[int, ...]] = {
    "glyphs": (28, 28),
    "digits": (8, 8),
    "mnist": (28, 28),
    "mnist10k": (28, 28),
    "fashion-mnist": (28, 28),
    "kmnist": (28, 28),
    "usps": (16, 16),
    "cifar10": (32, 32, 3),
}
DatasetName = Annotated[str, Known(DATASET_SHAPES)]

DIGITS = ("glyphs", "digits", "mnist", "mnist10k", "usps")  # the datasets whose classes are the ten digits

DATASET_CLASSES = 10  # of every dataset


def images_of_tasks(distribution: str, datasets: Sequence[str]) -> str:
    """What the images of a distribution's tasks are called, beside ``datasets``, of which one may have its name."""
    return f"tasks of {distribution}" if distribution in datasets else distribution


class TaskNeed(NamedTuple):
    """Tasks that a phase draws."""

    place: str
    distribution: str
    split: str
    ways: int
    images_per_class: int


class DatasetNeed(NamedTuple):
    """A dataset that a phase uses, and how many training images of it."""

    place: str
    dataset: str
    training_images: int = 0
