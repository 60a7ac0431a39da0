"""Datasets to classify: training and test images of the same classes. A new one is a function that loads its images
and a row of the table.
"""

from __future__ import annotations

import bz2
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from metafa.errors import DataAbsent, DataBroken
from metafa.studies.data import DATASET_CLASSES, DATASET_SHAPES
from metafa.tasks import glyphs
from metafa.tasks.base import LabelledImages, data_folder, quiet_download

PARTS = ("training", "test")


@dataclass(frozen=True)
class Dataset:
    """A dataset: ``load(part, download)`` gives its training or its test images, or raises `DataAbsent` or
    `DataBroken`.

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
    """One of torchvision's datasets: its class there, where in the data folder, its files, those of the training part
    first, and whether what torchvision would download is the same."""

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
    return [path for path in _paths(name) if not path.exists()]


def _paths(name: str) -> list[Path]:
    known = OF_TORCHVISION[name]
    return [data_folder() / known.folder / file for file in known.files]


def load_torchvision(name: str, part: str, download: bool = True) -> LabelledImages:
    """The images of ``part`` of a torchvision dataset. Raises `DataAbsent`, naming the files that are missing, and
    `DataBroken`, naming the one that is not what it should be."""
    known, absent = OF_TORCHVISION[name], missing(name)
    root = data_folder() / known.folder
    if absent and not (download and known.downloads):
        raise DataAbsent(_lacks(name, absent))
    import torchvision

    dataset: Any = getattr(torchvision.datasets, known.name)
    if absent:
        try:
            with quiet_download(name, absent[0].parent):
                for of in PARTS:
                    dataset(root, train=of == "training", download=True)
        except DataAbsent as error:
            raise DataAbsent(f"{error}; {_lacks(name, absent)}") from error
    if known.name == "CIFAR10":
        return _read_cifar10(dataset, root, part, _paths(name))
    half = len(known.files) // 2
    images_at, *labels_at = _paths(name)[:half] if part == "training" else _paths(name)[half:]
    if known.name == "USPS":
        images, labels = _read_usps(images_at)
    else:
        images, labels = _read_idx(images_at, 3), _read_idx(labels_at[0], 1).astype(np.int64)
    _check(images_at, images, labels_at[0] if labels_at else images_at, labels, DATASET_SHAPES[name])
    classes = getattr(dataset, "classes", range(DATASET_CLASSES))  # USPS has no names for its digits
    return LabelledImages(images, labels, tuple(map(str, classes)))


REMEDY = "replace it with the published file (one that metafa downloads may be deleted: it is downloaded anew)"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataBroken(path, f"cannot be read ({error.strerror})", REMEDY) from error


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The bytes in an IDX file, as MNIST has them (LeCun, Cortes and Burges): a magic number 0x000008DD, DD the
    dimensions, then the size of each, 32 bits with the highest first, then the array."""
    content, begin = _content(path), 4 * (1 + dimensions)
    if len(content) < begin:
        raise DataBroken(path, f"has {len(content)} bytes, fewer than an IDX file begins with", REMEDY)
    if content[:4] != bytes([0, 0, 8, dimensions]):
        said = f"begins with the bytes {content[:4].hex(' ')}, where an IDX file of its kind has 00 00 08 0{dimensions}"
        raise DataBroken(path, said, REMEDY)
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    if len(content) != begin + math.prod(shape):
        said = f"has {len(content)} bytes, where its beginning announces {begin + math.prod(shape)}"
        raise DataBroken(path, said, REMEDY)
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


def _read_usps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels in a bz2 file of LIBSVM's: a line an image, ``LABEL PLACE:VALUE ...``, labels and places
    from 1, values from -1 to 1, 0 where a place is left out. Bytes come of values as torchvision makes them."""
    content = _content(path)
    try:
        lines = bz2.decompress(content).splitlines()
    except (OSError, ValueError, EOFError) as error:
        raise DataBroken(path, f"is cut short or no bz2 archive ({error})", REMEDY) from error
    shape = DATASET_SHAPES["usps"]
    values = np.zeros((len(lines), math.prod(shape)), np.float32)
    labels = np.zeros(len(lines), np.int64)
    for i, line in enumerate(lines):
        try:
            label, *fields = line.replace(b":", b" ").split()
            places = np.array(list(map(int, fields[::2])), np.int64)
            numbers = np.array(list(map(float, fields[1::2])))
            if len(places) != len(numbers) or len(set(places.tolist())) != len(places):
                raise ValueError("not a value for each place")
            if ((places < 1) | (places > values.shape[1])).any() or not (abs(numbers) <= 1).all():
                raise ValueError(f"places are 1 to {values.shape[1]} and values -1 to 1")
            labels[i], values[i, places - 1] = int(label) - 1, numbers
        except (ValueError, OverflowError) as error:
            raise DataBroken(path, f"line {i + 1} is not an image of USPS ({error})", REMEDY) from error
    return ((values + 1) / 2 * 255).astype(np.uint8).reshape(-1, *shape), labels


def _read_cifar10(dataset: Any, root: Path, part: str, paths: list[Path]) -> LabelledImages:
    """CIFAR-10 through torchvision, which unpickles no file whose MD5 is not the published one's."""
    from torchvision.datasets.utils import check_integrity

    try:
        found = dataset(root, train=part == "training")
        images, labels = np.asarray(found.data), np.asarray(found.targets, np.int64)
    except Exception as error:  # a pickle that is cut short raises whatever it likes
        sums = dict([*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])])
        altered = [path for path in paths if not check_integrity(str(path), sums[path.name])]
        raise DataBroken(altered[0] if altered else root, "is not the file that was published", REMEDY) from error
    _check(paths[0].parent, images, paths[0].parent, labels, DATASET_SHAPES["cifar10"])
    return LabelledImages(images, labels, tuple(map(str, found.classes)))


def _check(images_at: Path, images: np.ndarray, labels_at: Path, labels: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises `DataBroken` where images and labels cannot be those of a dataset of that shape."""
    if not len(images):
        raise DataBroken(images_at, "holds no image", REMEDY)
    if images.shape[1:] != shape:
        found, wanted = (" x ".join(map(str, of)) for of in (images.shape[1:], shape))
        raise DataBroken(images_at, f"holds images of {found} pixels, where those of its kind have {wanted}", REMEDY)
    if len(labels) != len(images):
        said = f"holds {len(labels)} labels, but {images_at.name} {len(images)} images: they are not of the same part"
        raise DataBroken(labels_at, said, REMEDY)
    if labels.min() < 0 or labels.max() >= DATASET_CLASSES:
        raise DataBroken(labels_at, f"has labels other than those of {DATASET_CLASSES} classes", REMEDY)


def _lacks(name: str, absent: list[Path]) -> str:
    some = [path.name for path in absent]
    if packed := [path for path in absent if path.with_name(f"{path.name}.gz").exists()]:
        return f"{name} is not here as it is read: unpack {packed[0]}.gz with gunzip, and its like"
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
