"""How published files of images are read: idx, LIBSVM's text, CIFAR's batches, MATLAB's and STL-10's arrays, folders of
PNG in zip archives. Each function takes a row of `published.PUBLISHED`, a part and the paths of that part's files, and
raises `DataBroken`, naming the file that is not what it should be.
"""

from __future__ import annotations

import bz2
import io
import math
import pickle
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from metafa.errors import DataBroken

if TYPE_CHECKING:
    from metafa.tasks.published import Published

REMEDY = "replace it with the published file (one that metafa downloads may be deleted: it is downloaded anew)"
CIFARFS_TRAINING = 120  # of the images of each class, by their names in order; the others are the test part

Content = tuple[np.ndarray, np.ndarray, Sequence[object]]  # images, labels, names of classes


def read_mnist(dataset: Published, part: str, files: list[Path]) -> Content:
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


def read_usps(dataset: Published, part: str, files: list[Path]) -> Content:
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


def read_cifar(dataset: Published, part: str, files: list[Path]) -> Content:
    """CIFAR-10 and CIFAR-100 (Krizhevsky 2009), of the latter the hundred fine classes. They are pickles, which may
    execute anything: none is opened whose MD5 is not the published one's."""
    theirs, (meta,) = dataset.at_torchvision, dataset.paths("both")
    sums = dict([*theirs.train_list, *theirs.test_list, (theirs.meta["filename"], theirs.meta["md5"])])
    *batches, names = (_unpickled(path, sums[path.name]) for path in (*files, meta))
    images = np.concatenate([np.asarray(batch["data"], np.uint8) for batch in batches])
    labels = [label for batch in batches for label in batch.get("fine_labels", batch.get("labels"))]
    colours_last = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return colours_last, np.array(labels, np.int64), names[theirs.meta["key"]]


def _unpickled(path: Path, md5: str) -> Any:
    from torchvision.datasets.utils import check_integrity

    if not check_integrity(str(path), md5):
        raise DataBroken(path, "is not the file that was published", REMEDY)
    return pickle.loads(_content(path), encoding="latin1")


def read_emnist(dataset: Published, part: str, files: list[Path]) -> Content:
    """EMNIST (Cohen et al. 2017), whose images are published with rows and columns exchanged, and whose letters are
    counted from 1."""
    images, labels = files
    classes = dataset.at_torchvision.classes_split_dict[dataset.arguments(part)["split"]]
    first = classes[0] == "N/A"  # stands for a label 0, which no letter has
    upright = np.ascontiguousarray(_read_idx(images, 3).transpose(0, 2, 1))
    return upright, _read_idx(labels, 1).astype(np.int64) - first, classes[first:]


def read_stl10(dataset: Published, part: str, files: list[Path]) -> Content:
    """STL-10 (Coates, Ng and Lee 2011): bytes of each image by colour, column and row, and labels from 1."""
    images, labels = files
    (names,) = dataset.paths("both")
    rows, columns, colours = dataset.facts.shape
    content, size = _content(images), rows * columns * colours
    if len(content) % size:
        raise DataBroken(images, f"has {len(content)} bytes, no multiple of the {size} of an image", REMEDY)
    pixels = np.frombuffer(content, np.uint8).reshape(-1, colours, columns, rows).transpose(0, 3, 2, 1)
    classes = _content(names).decode("utf-8", "replace").split()
    return np.ascontiguousarray(pixels), np.frombuffer(_content(labels), np.uint8).astype(np.int64) - 1, classes


def read_svhn(dataset: Published, part: str, files: list[Path]) -> Content:
    """SVHN's cropped digits (Netzer et al. 2011): MATLAB's arrays ``X`` ``[row, column, colour, image]`` and ``y``, in
    which 10 stands for the digit 0."""
    import scipy.io

    (path,) = files
    try:
        arrays = scipy.io.loadmat(io.BytesIO(_content(path)), variable_names=["X", "y"])
        images, labels = arrays["X"], arrays["y"].reshape(-1).astype(np.int64)
    except DataBroken:
        raise
    except Exception as error:  # of whatever kind damaged arrays raise
        reason = str(error) or type(error).__name__
        raise DataBroken(path, f"is cut short or no file of MATLAB's with arrays X and y ({reason})", REMEDY) from error
    if images.dtype != np.uint8 or images.ndim != 4:
        wrong = f"holds X of {images.ndim} dimensions and kind {images.dtype}, where SVHN has 4 and uint8"
        raise DataBroken(path, wrong, REMEDY)
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), np.where(labels == 10, 0, labels), range(10)


def read_cifarfs(dataset: Published, part: str, files: list[Path]) -> Content:
    """A part of CIFAR-100 in three zip archives with a folder of PNG for each class (CIFAR-FS, Bertinetto et al. 2019,
    divides the classes so). Of each class the first 120 images by name are the training part, the others the test
    part: this division is metafa's own."""
    drawn: dict[str, list[np.ndarray]] = defaultdict(list)
    for path in files:
        try:
            with zipfile.ZipFile(path) as archive:
                for name in _of_part(archive.namelist(), part):
                    with Image.open(io.BytesIO(archive.read(name))) as image:
                        drawn[name.split("/")[0]].append(np.asarray(image.convert("RGB")))
        except Exception as error:  # of whatever kind damaged archives and images raise
            reason = str(error) or type(error).__name__
            raise DataBroken(path, f"is cut short or no zip archive of images ({reason})", REMEDY) from error
    if sizes := {image.shape for images in drawn.values() for image in images} - {dataset.facts.shape}:
        raise DataBroken(files[0].parent, f"holds images of the shape {sizes.pop()}, not {dataset.facts.shape}", REMEDY)
    classes = sorted(drawn)
    if len(classes) != dataset.facts.classes:
        wrong = f"holds {len(classes)} classes in its archives, where there are {dataset.facts.classes}"
        raise DataBroken(files[0].parent, wrong, REMEDY)
    images = np.stack([image for name in classes for image in drawn[name]])
    return images, np.repeat(np.arange(len(classes)), [len(drawn[name]) for name in classes]), classes


def _of_part(names: list[str], part: str) -> list[str]:
    """The paths ``CLASS/NAME.png`` of the images of a part, in the order of their names."""
    classes: dict[str, list[str]] = defaultdict(list)
    for name in sorted(name for name in names if name.endswith(".png")):
        classes[name.split("/")[0]].append(name)
    chosen = slice(None, CIFARFS_TRAINING) if part == "training" else slice(CIFARFS_TRAINING, None)
    return [name for of_class in classes.values() for name in of_class[chosen]]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataBroken(path, f"cannot be read ({error.strerror})", REMEDY) from error
