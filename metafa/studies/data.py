"""Facts of the images that studies may name, a row each, from which a study is checked without loading any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

TaskDistributionName = Literal["glyphs", "omniglot", "omniglot-minimal", "mnist", "fashion-mnist", "kmnist"]

DatasetName = Literal["glyphs", "digits", "mnist", "mnist10k", "fashion-mnist", "kmnist", "usps", "cifar10"]

# Of the images of tasks, and of each dataset: rows, columns, and channels where there are several. Said here, so that a
# study is checked without loading any.
TASK_SHAPE = (28, 28)

DATASET_SHAPES: dict[str, tuple[int, ...]] = {name: (28, 28) for name in get_args(DatasetName)} | {
    "digits": (8, 8),
    "usps": (16, 16),
    "cifar10": (32, 32, 3),
}

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
