"""Datasets to classify: training and test images of the same classes. A new one is a function that loads its images
and a row of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from metafa.tasks import glyphs
from metafa.tasks.base import DataAbsent, LabelledImages, data_folder, quiet_download

PARTS = ("training", "test")


@dataclass(frozen=True)
class Dataset:
    """A dataset: ``load(part, download)`` gives its training or its test images, or raises `DataAbsent`.

    ``missing()`` names the files that are not on this machine, without loading any; ``downloads``, whether loading
    fetches them.
    """

    description: str
    downloads: bool
    load: Callable[[str, bool], LabelledImages]
    missing: Callable[[], list[Path]]

    def here(self) -> bool:
        return not self.missing()


@dataclass(frozen=True)
class _OfTorchvision:
    """One of torchvision's datasets: its class there, where in the data folder, its files, and whether what torchvision
    would download is the same."""

    name: str
    folder: str
    files: tuple[str, ...]
    downloads: bool = True


def _mnist_like(name: str, folder: str = ".", downloads: bool = True) -> _OfTorchvision:
    parts = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return _OfTorchvision(name, folder, tuple(f"{name}/raw/{part}-ubyte" for part in parts), downloads)


_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
OF_TORCHVISION = {
    "mnist": _mnist_like("MNIST"),
    "mnist10k": _mnist_like("MNIST", "mnist10k", downloads=False),
    "fashion-mnist": _mnist_like("FashionMNIST"),
    "kmnist": _mnist_like("KMNIST"),
    "usps": _OfTorchvision("USPS", ".", ("usps.bz2", "usps.t.bz2")),
    "cifar10": _OfTorchvision("CIFAR10", ".", tuple(f"cifar-10-batches-py/{batch}" for batch in _BATCHES)),
}


def missing(name: str) -> list[Path]:
    """The files of a torchvision dataset that are not in the data folder."""
    known = OF_TORCHVISION[name]
    return [path for path in (data_folder() / known.folder / file for file in known.files) if not path.is_file()]


def load_torchvision(name: str, part: str, download: bool = True) -> LabelledImages:
    """The images of ``part`` of a torchvision dataset. Raises `DataAbsent`, naming the files that are missing."""
    known, absent = OF_TORCHVISION[name], missing(name)
    root = data_folder() / known.folder
    if absent and not (download and known.downloads):
        raise DataAbsent(_lacks(name, absent))
    import torchvision

    try:
        with quiet_download(name, absent[0].parent if absent else root):
            dataset = getattr(torchvision.datasets, known.name)(root, train=part == "training", download=bool(absent))
    except DataAbsent as error:
        raise DataAbsent(f"{error}; {_lacks(name, absent)}" if absent else str(error)) from error
    images, labels = np.asarray(dataset.data), np.asarray(dataset.targets, np.int64)
    classes = getattr(dataset, "classes", range(10))  # USPS has no names for its digits
    return LabelledImages(images, labels, tuple(map(str, classes)))


def _lacks(name: str, absent: list[Path]) -> str:
    some = [path.name for path in absent]
    if len(absent) == len(OF_TORCHVISION[name].files):
        return f"{name} is not here: none of {', '.join(some)} is in {absent[0].parent}"
    return f"{name} is here in part: {absent[0].parent} lacks {', '.join(some)}"


def load_digits(part: str, download: bool = True) -> LabelledImages:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; the last fifth is the test part."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)
    held_out = len(images) // 5
    chosen = slice(None, -held_out) if part == "training" else slice(-held_out, None)
    return LabelledImages(images[chosen], labels[chosen], tuple(map(str, digits.target_names)))


def _torchvision(name: str, description: str) -> Dataset:
    return Dataset(description, OF_TORCHVISION[name].downloads, partial(load_torchvision, name), partial(missing, name))


DATASETS = {
    "glyphs": Dataset("the ten digits drawn from the DejaVu faces, 28 x 28; embedded", False, glyphs.load_digits, list),
    "digits": Dataset("scikit-learn's handwritten digits, 8 x 8; embedded", False, load_digits, list),
    "mnist": _torchvision("mnist", "handwritten digits, 28 x 28"),
    "mnist10k": _torchvision("mnist10k", "MNIST's test images, 8,000 to train on and 2,000 to test, 28 x 28"),
    "fashion-mnist": _torchvision("fashion-mnist", "pieces of clothing, 28 x 28"),
    "kmnist": _torchvision("kmnist", "cursive Japanese characters, 28 x 28"),
    "usps": _torchvision("usps", "handwritten digits of postal codes, 16 x 16"),
    "cifar10": _torchvision("cifar10", "photographs of ten kinds, 32 x 32 in colour"),
}
