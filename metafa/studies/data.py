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


class Inputs(NamedTuple):
    """What a metric was measured on, as the columns of the table `measurements` have it.

    inputs: the name of a task distribution or of a dataset; `noise`; `batch`, the batch trained on; None where the
        metric was not measured on inputs, such as an angle between weights.
    shift, strength: how the images were changed, a row of `SHIFTS`, and by how much; None for images as they are.
    """

    inputs: str | None = None
    shift: str | None = None
    strength: float | None = None

    def __str__(self) -> str:
        shifted = "" if self.shift is None else f", {self.shift} {self.strength:g}"
        return f"{self.inputs}{shifted}"


NO_INPUTS, BATCH, NOISE = Inputs(), Inputs("batch"), Inputs("noise")


def images_of_tasks(distribution: str, datasets: Sequence[str]) -> Inputs:
    """The images of a distribution's tasks, where a readout is measured on those of ``datasets`` as well, one of which
    may have the distribution's name."""
    return Inputs(f"tasks/{distribution}" if distribution in datasets else distribution)


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
