"""Every task distribution and every dataset, a row each: what a study is checked by without loading any images, and
the functions of `metafa/tasks` that load them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from metafa.learning.kinds import Reference, resolved
from metafa.studies.fields import Known


def late(reference: Reference, *arguments: Any) -> Callable[..., Any]:
    """The function that stands at a reference, after the first ``arguments``; imported when it is called."""
    return lambda *others: resolved(reference)(*arguments, *others)


@dataclass(frozen=True)
class TaskDistribution:
    """A source of tasks.

    description: what it is, for `metafa tasks`.
    downloads: whether loading fetches the data where it is not on this machine.
    load: from a split, and whether to download, to its `LabelledImages`; raises `DataAbsent` or `DataBroken`.
    here: tells of a split, without loading anything, whether its data is on this machine.
    may_share: the largest fraction of one split's images that may stand in another split too.
    shape: of an image: rows and columns.
    """

    description: str
    downloads: bool
    load: Callable[[str, bool], Any]
    here: Callable[[str], bool]
    may_share: float = 0.0
    shape: tuple[int, ...] = (28, 28)


@dataclass(frozen=True)
class Dataset:
    """A dataset to classify: training and test images of the same classes.

    description: what it is, for `metafa tasks`.
    downloads: whether loading fetches the files that are not on this machine.
    load: from a part, ``training`` or ``test``, and whether to download, to its `LabelledImages`; raises `DataAbsent`
        or `DataBroken`.
    here: tells of a part, without loading anything, whether its files are on this machine.
    shape: of an image: rows, columns, and channels where there are several.
    classes: how many there are.
    shows: the kinds of things that its classes are of; two datasets that show one kind have classes in common.
    may_share: the largest fraction of one part's images that may stand in the other part too.
    """

    description: str
    downloads: bool
    load: Callable[[str, bool], Any]
    here: Callable[[str], bool]
    shape: tuple[int, ...] = (28, 28)
    classes: int = 10
    shows: tuple[str, ...] = ()
    may_share: float = 0.0

    @property
    def digits(self) -> bool:
        """Whether its classes are the ten digits, so that networks trained on one such dataset are tested on others."""
        return self.shows == DIGITS


DIGITS, LETTERS = ("digits",), ("letters",)
CURSIVE, OF_CIFAR10, OF_CIFAR100 = ("cursive characters",), ("the kinds of CIFAR-10",), ("the kinds of CIFAR-100",)


def _published_tasks(name: str, description: str, may_share: float = 0.0) -> TaskDistribution:
    load, here = late("metafa.tasks.published:load_split", name), late("metafa.tasks.published:split_here", name)
    return TaskDistribution(description, True, load, here, may_share)


def _published(name: str, description: str, downloads: bool = True, **facts: Any) -> Dataset:
    load, here = late("metafa.tasks.published:load", name), late("metafa.tasks.published:here", name)
    return Dataset(description, downloads, load, here, **facts)


def _embedded(part: str) -> bool:
    return True


TASK_DISTRIBUTIONS: dict[str, TaskDistribution] = {
    "glyphs": TaskDistribution(
        "characters of 14 scripts drawn from the DejaVu faces; embedded",
        False,
        late("metafa.tasks.glyphs:load"),
        _embedded,
    ),
    "omniglot": TaskDistribution(
        "handwritten characters of 50 alphabets",
        True,
        late("metafa.tasks.omniglot:load"),
        late("metafa.tasks.omniglot:here"),
    ),
    "omniglot-minimal": TaskDistribution(
        "Omniglot's two published minimal splits, 8 alphabets",
        False,
        late("metafa.tasks.omniglot:load_minimal"),
        late("metafa.tasks.omniglot:minimal_here"),
    ),
    # Cheon, Lee and Paik (2024) adapt to these three 10-way
    "mnist": _published_tasks("mnist", "handwritten digits"),
    "fashion-mnist": _published_tasks("fashion-mnist", "pieces of clothing"),
    # its published files were not at hand to be counted, and may hold an image twice
    "kmnist": _published_tasks("kmnist", "cursive Japanese characters", may_share=0.01),
}
TaskDistributionName = Annotated[str, Known(TASK_DISTRIBUTIONS)]

DATASETS: dict[str, Dataset] = {
    "glyphs": Dataset(
        "the ten digits drawn from the DejaVu faces, 28 x 28; embedded",
        False,
        late("metafa.tasks.glyphs:load_digits"),
        _embedded,
        shows=DIGITS,
    ),
    "digits": Dataset(
        "scikit-learn's handwritten digits, 8 x 8; embedded",
        False,
        late("metafa.tasks.digits:load"),
        _embedded,
        shape=(8, 8),
        shows=DIGITS,
    ),
    "mnist": _published("mnist", "handwritten digits, 28 x 28", shows=DIGITS),
    "mnist10k": _published(
        "mnist10k", "MNIST's test images, 8,000 to train on and 2,000 to test, 28 x 28", downloads=False, shows=DIGITS
    ),
    "fashion-mnist": _published("fashion-mnist", "pieces of clothing, 28 x 28", shows=("clothing",)),
    # The published files of those that may share were not at hand to be counted, and may hold an image twice, as
    # CIFAR-10 nearly does (Barz and Denzler 2020).
    "kmnist": _published("kmnist", "cursive Japanese characters, 28 x 28", shows=CURSIVE, may_share=0.01),
    "kmnist10k": _published(
        "kmnist10k",
        "KMNIST's test images, 8,000 to train on and 2,000 to test, 28 x 28",
        downloads=False,
        shows=CURSIVE,
        may_share=0.01,
    ),
    "usps": _published(
        "usps", "handwritten digits of postal codes, 16 x 16", shape=(16, 16), shows=DIGITS, may_share=0.01
    ),
    "emnist-balanced": _published(
        "emnist-balanced",
        "EMNIST's handwritten digits and letters, 47 classes of as many images, 28 x 28",
        classes=47,
        shows=DIGITS + LETTERS,
        may_share=0.01,
    ),
    "emnist-letters": _published(
        "emnist-letters",
        "EMNIST's handwritten letters, large or small, 28 x 28",
        classes=26,
        shows=LETTERS,
        may_share=0.01,
    ),
    "emnist-digits": _published("emnist-digits", "EMNIST's handwritten digits, 28 x 28", shows=DIGITS, may_share=0.01),
    "cifar10": _published(
        "cifar10", "photographs of ten kinds, 32 x 32 in colour", shape=(32, 32, 3), shows=OF_CIFAR10, may_share=0.01
    ),
    "cifar100": _published(
        "cifar100",
        "photographs of a hundred kinds, 32 x 32 in colour",
        shape=(32, 32, 3),
        classes=100,
        shows=OF_CIFAR100,
        may_share=0.01,
    ),
    # its licence is not stated: for tests and studies where it is at hand, in no release
    "cifarfs-150": _published(
        "cifarfs-150",
        "150 images of each of CIFAR-100's kinds, 120 to train on and 30 to test, 32 x 32 in colour",
        downloads=False,
        shape=(32, 32, 3),
        classes=100,
        shows=OF_CIFAR100,
        may_share=0.01,
    ),
    "stl10": _published(
        "stl10", "photographs of ten kinds, 96 x 96 in colour", shape=(96, 96, 3), shows=OF_CIFAR10, may_share=0.01
    ),
    "svhn": _published(
        "svhn", "digits of house numbers, 32 x 32 in colour", shape=(32, 32, 3), shows=DIGITS, may_share=0.01
    ),
}
DatasetName = Annotated[str, Known(DATASETS)]


def have_common_classes(one: DatasetName, other: DatasetName) -> bool:
    """Whether two datasets, or one and itself, have classes in common. (Nine of STL-10's ten are CIFAR-10's.)"""
    return one == other or not set(DATASETS[one].shows).isdisjoint(DATASETS[other].shows)


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
    """Tasks that a phase draws; ``place`` is the setting that asks for them."""

    place: str
    distribution: str
    split: str
    ways: int
    images_per_class: int


DATASET_BEFORE = ""
"""Stands for the dataset of the last phase before that trained on one."""


class DatasetNeed(NamedTuple):
    """A dataset that a phase uses.

    place: the setting that asks for it.
    dataset: its name, or `DATASET_BEFORE`.
    training_images: how many of its training images are needed at least.
    classes: whether they may be ``any``, or have to be the ``same`` as those of the phase's own dataset, or ``other``
        classes, of which it has none.
    labelled: whether its labels are read; else it lends its training images alone, and is not the phase's own.
    parts: which of its parts are needed.
    """

    place: str
    dataset: str
    training_images: int = 0
    classes: Literal["any", "same", "other"] = "any"
    labelled: bool = True
    parts: tuple[str, ...] = ("training", "test")
