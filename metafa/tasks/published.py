"""Datasets read from the files that their authors published, where torchvision keeps them. A new one is a row of
`PUBLISHED`, a reader in `formats` where its files are of another format, and its row in `metafa/studies/data.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metafa.errors import DataAbsent, DataBroken
from metafa.studies.data import DATASETS, Dataset
from metafa.tasks.base import PARTS, LabelledImages, data_folder, quiet_download
from metafa.tasks.formats import (
    REMEDY,
    Content,
    read_cifar,
    read_cifarfs,
    read_emnist,
    read_mnist,
    read_stl10,
    read_svhn,
    read_usps,
)

Read = Callable[["Published", str, list[Path]], Content]


@dataclass(frozen=True)
class Published:
    """A published dataset.

    torchvision_class: the name of its class in `torchvision.datasets`, which downloads it; empty where it has none.
    files: the paths of the files of each part, and under "both" of those for both parts, below ``folder`` of the data
        folder.
    read: ``read(dataset, part, files of the part)`` gives the images and the labels of a part, and
        the names of the classes.
    name: of its row in `DATASETS`.
    arguments: from a part to the arguments by which torchvision's class has it.
    """

    torchvision_class: str
    files: dict[str, tuple[str, ...]]
    read: Read
    name: str
    folder: str = "."
    arguments: Callable[[str], dict[str, Any]] = lambda part: {"train": part == "training"}

    def paths(self, *parts: str) -> list[Path]:
        return [data_folder() / self.folder / file for part in parts for file in self.files.get(part, ())]

    @property
    def facts(self) -> Dataset:
        """Its row in `DATASETS`."""
        return DATASETS[self.name]

    def missing(self, part: str) -> list[Path]:
        """The files of a part that are not in the data folder."""
        return [path for path in self.paths(part, "both") if not path.exists()]

    @property
    def at_torchvision(self) -> Any:
        """Its class in torchvision, which is slow to import."""
        import torchvision

        return getattr(torchvision.datasets, self.torchvision_class)


def here(name: str, part: str) -> bool:
    """Whether the files of a part of a published dataset are in the data folder."""
    return not PUBLISHED[name].missing(part)


def split_here(name: str, split: str) -> bool:
    """Whether the files that `load_split` reads are in the data folder."""
    return here(name, _part_of(split))


def load(name: str, part: str, download: bool = True) -> LabelledImages:
    """The images of ``part``, training or test, of a published dataset. Raises `DataAbsent`, naming the files that are
    missing, and `DataBroken`, naming the one that is not what it should be."""
    dataset = PUBLISHED[name]
    if absent := dataset.missing(part):
        _download(name, dataset, part, absent, download)
    files = dataset.paths(part) or dataset.paths("both")
    images, labels, classes = dataset.read(dataset, part, files)
    _check(files[0], images, files[-1], labels, dataset.facts)
    return LabelledImages(images, labels, tuple(map(str, classes)))


def load_split(name: str, split: str, download: bool = True) -> LabelledImages:
    """The images of ``split`` of a published dataset as a task distribution: the same classes in every split, of other
    images. Of the training part the last tenth is the validation split; the test part is the test split."""
    whole = load(name, _part_of(split), download)
    held_out = len(whole.labels) // 10
    images = {"training": slice(None, -held_out), "validation": slice(-held_out, None), "test": slice(None)}[split]
    return LabelledImages(whole.images[images], whole.labels[images], whole.class_names)


def _part_of(split: str) -> str:
    return "test" if split == "test" else "training"


def _download(name: str, dataset: Published, part: str, absent: list[Path], download: bool) -> None:
    """Has torchvision download a part. Raises `DataAbsent` where it is not to, or cannot."""
    if not (download and dataset.facts.downloads):
        raise DataAbsent(_lacks(name, absent))
    try:
        with quiet_download(name, absent[0].parent):
            dataset.at_torchvision(data_folder() / dataset.folder, **dataset.arguments(part), download=True)
    except DataAbsent as error:
        raise DataAbsent(f"{error}; {_lacks(name, absent)}") from error


def _lacks(name: str, absent: list[Path]) -> str:
    names = ", ".join(path.name for path in absent)
    if packed := [path for path in absent if path.with_name(f"{path.name}.gz").exists()]:
        return f"{name} is not here as it is read: unpack {packed[0]}.gz with gunzip, and its like"
    every = PUBLISHED[name].paths(*PARTS, "both")
    if not any(path.exists() for path in every):  # a sentence for whichever part is asked for
        return f"{name} is not here: none of {', '.join(path.name for path in every)} is in {every[0].parent}"
    return f"{name} is here in part: {absent[0].parent} lacks {names}"


def _check(images_at: Path, images: np.ndarray, labels_at: Path, labels: np.ndarray, facts: Dataset) -> None:
    """Raises `DataBroken` where images and labels cannot be those of a dataset with these facts."""
    if not len(images):
        raise DataBroken(images_at, "holds no image", REMEDY)
    if images.shape[1:] != facts.shape:
        size, expected = (" x ".join(map(str, sides)) for sides in (images.shape[1:], facts.shape))
        raise DataBroken(images_at, f"holds images of {size} pixels, where those of its kind have {expected}", REMEDY)
    if len(labels) != len(images):
        wrong = f"holds {len(labels)} labels, but {images_at.name} {len(images)} images: they are not of the same part"
        raise DataBroken(labels_at, wrong, REMEDY)
    if labels.min() < 0 or labels.max() >= facts.classes:
        raise DataBroken(labels_at, f"has labels other than those of {facts.classes} classes", REMEDY)


def _mnist_like(torchvision_class: str, name: str, folder: str = ".") -> Published:
    files = {
        part: tuple(f"{torchvision_class}/raw/{begin}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
        for part, begin in (("training", "train"), ("test", "t10k"))
    }
    return Published(torchvision_class, files, read_mnist, name, folder)


def _split(part: str) -> dict[str, Any]:
    return {"split": "train" if part == "training" else "test"}


def _emnist(split: str) -> Published:
    files = {
        part: tuple(f"EMNIST/raw/emnist-{split}-{of}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
        for part, of in (("training", "train"), ("test", "test"))
    }

    def arguments(part: str) -> dict[str, Any]:
        return {"split": split, "train": part == "training"}

    return Published("EMNIST", files, read_emnist, f"emnist-{split}", arguments=arguments)


def _stl10() -> Published:
    files: dict[str, tuple[str, ...]] = {
        part: (f"stl10_binary/{of}_X.bin", f"stl10_binary/{of}_y.bin")
        for part, of in (("training", "train"), ("test", "test"))
    }
    files["both"] = ("stl10_binary/class_names.txt",)
    return Published("STL10", files, read_stl10, "stl10", arguments=_split)


def _cifar(name: str, folder: str, training: tuple[str, ...], test: str, meta: str) -> Published:
    files = {"training": training, "test": (test,), "both": (meta,)}
    below = {part: tuple(f"{folder}/{file}" for file in names) for part, names in files.items()}
    return Published(name.upper(), below, read_cifar, name)


CIFAR10_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
CIFARFS = tuple(f"cifarfs-150/{division}.zip" for division in ("train", "val", "test"))  # of classes, all used here

PUBLISHED = {
    "mnist": _mnist_like("MNIST", "mnist"),
    "mnist10k": _mnist_like("MNIST", "mnist10k", folder="mnist10k"),
    "fashion-mnist": _mnist_like("FashionMNIST", "fashion-mnist"),
    "kmnist": _mnist_like("KMNIST", "kmnist"),
    "kmnist10k": _mnist_like("KMNIST", "kmnist10k", folder="kmnist10k"),
    "emnist-balanced": _emnist("balanced"),
    "emnist-letters": _emnist("letters"),
    "emnist-digits": _emnist("digits"),
    "usps": Published("USPS", {"training": ("usps.bz2",), "test": ("usps.t.bz2",)}, read_usps, "usps"),
    "cifar10": _cifar("cifar10", "cifar-10-batches-py", CIFAR10_BATCHES, "test_batch", "batches.meta"),
    "cifar100": _cifar("cifar100", "cifar-100-python", ("train",), "test", "meta"),
    "cifarfs-150": Published("", {"both": CIFARFS}, read_cifarfs, "cifarfs-150"),
    "stl10": _stl10(),
    "svhn": Published(
        "SVHN",
        {"training": ("train_32x32.mat",), "test": ("test_32x32.mat",)},
        read_svhn,
        "svhn",
        arguments=_split,
    ),
}
