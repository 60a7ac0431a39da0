"""Datasets read from the files that their authors published, where torchvision keeps them: MNIST and those made like
it, USPS, CIFAR-10. A new one is a row of `PUBLISHED`, a reader where its files are of another format, and its row in
`metafa/studies/data.py`.
"""

from __future__ import annotations

import bz2
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metafa.errors import DataAbsent, DataBroken
from metafa.studies.data import DATASETS, Dataset
from metafa.tasks.base import PARTS, LabelledImages, data_folder, quiet_download

REMEDY = "replace it with the published file (one that metafa downloads may be deleted: it is downloaded anew)"

Content = tuple[np.ndarray, np.ndarray, Sequence[object]]  # images, labels, names of classes
Read = Callable[["Published", str, list[Path]], Content]


@dataclass(frozen=True)
class Published:
    """A published dataset.

    torchvision_class: the name of its class in `torchvision.datasets`, which downloads it.
    files: the paths of the files of each part, and under "both" of those for both parts, below ``folder`` of the data
        folder.
    read: ``read(dataset, part, files of the part)`` gives the images and the labels of a part, and
        the names of the classes.
    name: of its row in `DATASETS`.
    """

    torchvision_class: str
    files: dict[str, tuple[str, ...]]
    read: Read
    name: str
    folder: str = "."

    def paths(self, *parts: str) -> list[Path]:
        return [data_folder() / self.folder / file for part in parts for file in self.files.get(part, ())]

    @property
    def facts(self) -> Dataset:
        """Its row in `DATASETS`."""
        return DATASETS[self.name]

    def missing(self) -> list[Path]:
        """The files that are not in the data folder."""
        return [path for path in self.paths(*PARTS, "both") if not path.exists()]

    @property
    def at_torchvision(self) -> Any:
        """Its class in torchvision, which is slow to import."""
        import torchvision

        return getattr(torchvision.datasets, self.torchvision_class)


def here(name: str) -> bool:
    """Whether the files of a published dataset are in the data folder."""
    return not PUBLISHED[name].missing()


def load(name: str, part: str, download: bool = True) -> LabelledImages:
    """The images of ``part``, training or test, of a published dataset. Raises `DataAbsent`, naming the files that are
    missing, and `DataBroken`, naming the one that is not what it should be."""
    dataset = PUBLISHED[name]
    if absent := dataset.missing():
        _download(name, dataset, absent, download)
    files = dataset.paths(part)
    images, labels, classes = dataset.read(dataset, part, files)
    _check(files[0], images, files[-1], labels, dataset.facts)
    return LabelledImages(images, labels, tuple(map(str, classes)))


def load_split(name: str, split: str, download: bool = True) -> LabelledImages:
    """The images of ``split`` of a published dataset as a task distribution: the same classes in every split, of other
    images. Of the training part the last tenth is the validation split; the test part is the test split."""
    whole = load(name, "test" if split == "test" else "training", download)
    held_out = len(whole.labels) // 10
    images = {"training": slice(None, -held_out), "validation": slice(-held_out, None), "test": slice(None)}[split]
    return LabelledImages(whole.images[images], whole.labels[images], whole.class_names)


def _download(name: str, dataset: Published, absent: list[Path], download: bool) -> None:
    """Has torchvision download both parts. Raises `DataAbsent` where it is not to, or cannot."""
    if not (download and dataset.facts.downloads):
        raise DataAbsent(_lacks(name, absent))
    try:
        with quiet_download(name, absent[0].parent):
            for part in PARTS:
                dataset.at_torchvision(data_folder() / dataset.folder, train=part == "training", download=True)
    except DataAbsent as error:
        raise DataAbsent(f"{error}; {_lacks(name, absent)}") from error


def _lacks(name: str, absent: list[Path]) -> str:
    names = ", ".join(path.name for path in absent)
    if packed := [path for path in absent if path.with_name(f"{path.name}.gz").exists()]:
        return f"{name} is not here as it is read: unpack {packed[0]}.gz with gunzip, and its like"
    if len(absent) == len(PUBLISHED[name].paths(*PARTS, "both")):
        return f"{name} is not here: none of {names} is in {absent[0].parent}"
    return f"{name} is here in part: {absent[0].parent} lacks {names}"


def _read_mnist(dataset: Published, part: str, files: list[Path]) -> Content:
    images, labels = files
    return _read_idx(images, 3), _read_idx(labels, 1).astype(np.int64), dataset.at_torchvision.classes


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The bytes in an IDX file, as MNIST has them (LeCun, Cortes and Burges): a magic number 0x000008DD, DD the
    dimensions, then the size of each, 32 bits with the highest first, then the array."""
    content, begin = _content(path), 4 * (1 + dimensions)
    if len(content) < begin:
        raise DataBroken(path, f"has {len(content)} bytes, fewer than an IDX file begins with", REMEDY)
    if content[:4] != bytes([0, 0, 8, dimensions]):
        begins = content[:4].hex(" ")
        wrong = f"begins with the bytes {begins}, where an IDX file of its kind has 00 00 08 0{dimensions}"
        raise DataBroken(path, wrong, REMEDY)
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    if len(content) != begin + math.prod(shape):
        wrong = f"has {len(content)} bytes, where its beginning announces {begin + math.prod(shape)}"
        raise DataBroken(path, wrong, REMEDY)
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


def _read_usps(dataset: Published, part: str, files: list[Path]) -> Content:
    """The images and labels in a bz2 file of LIBSVM's: a line an image, ``LABEL PLACE:VALUE ...``, labels and places
    from 1, values from -1 to 1, 0 where a place is left out. Values become bytes as torchvision makes them."""
    (path,) = files
    content = _content(path)
    try:
        lines = bz2.decompress(content).splitlines()
    except (OSError, ValueError, EOFError) as error:
        raise DataBroken(path, f"is cut short or no bz2 archive ({error})", REMEDY) from error
    values = np.zeros((len(lines), math.prod(dataset.facts.shape)), np.float32)
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
    images = ((values + 1) / 2 * 255).astype(np.uint8).reshape(-1, *dataset.facts.shape)
    return images, labels, range(dataset.facts.classes)


def _read_cifar10(dataset: Published, part: str, files: list[Path]) -> Content:
    """CIFAR-10 through torchvision, which unpickles no file whose MD5 is not the published one's."""
    from torchvision.datasets.utils import check_integrity

    theirs, folder = dataset.at_torchvision, data_folder() / dataset.folder
    try:
        loaded = theirs(folder, train=part == "training")
        return np.asarray(loaded.data), np.asarray(loaded.targets, np.int64), loaded.classes
    except Exception as error:  # a pickle that is cut short raises whatever it likes
        sums = dict([*theirs.train_list, *theirs.test_list, (theirs.meta["filename"], theirs.meta["md5"])])
        paths = dataset.paths(*PARTS, "both")
        altered = [path for path in paths if not check_integrity(str(path), sums[path.name])]
        raise DataBroken(altered[0] if altered else folder, "is not the file that was published", REMEDY) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataBroken(path, f"cannot be read ({error.strerror})", REMEDY) from error


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
    return Published(torchvision_class, files, _read_mnist, name, folder)


PUBLISHED = {
    "mnist": _mnist_like("MNIST", "mnist"),
    "mnist10k": _mnist_like("MNIST", "mnist10k", folder="mnist10k"),
    "fashion-mnist": _mnist_like("FashionMNIST", "fashion-mnist"),
    "kmnist": _mnist_like("KMNIST", "kmnist"),
    "usps": Published("USPS", {"training": ("usps.bz2",), "test": ("usps.t.bz2",)}, _read_usps, "usps"),
    "cifar10": Published(
        "CIFAR10",
        {
            "training": tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
            "test": ("cifar-10-batches-py/test_batch",),
            "both": ("cifar-10-batches-py/batches.meta",),
        },
        _read_cifar10,
        "cifar10",
    ),
}
