"""Labelled images, the folder that they are kept in, and the learn2learn taskset over them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from metafa.errors import DataAbsent as DataAbsent
from metafa.errors import DataBroken as DataBroken

if TYPE_CHECKING:
    from learn2learn.data import Taskset

SPLITS = ("training", "validation", "test")  # of a task distribution
PARTS = ("training", "test")  # of a dataset to classify
SIDE = 28  # pixels; every distribution's images are SIDE x SIDE


@dataclass(frozen=True)
class LabelledImages:
    """The images of one split.

    images: uint8 ``[image, SIDE, SIDE]``, 0 the background and 255 full ink.
    labels: int64 ``[image]``, the class of each, 0 to the number of classes less one.
    class_names: one a class.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def images_per_class(self) -> int:
        """The number of images of the smallest class."""
        return int(np.bincount(self.labels, minlength=len(self.class_names)).min())

    @cached_property
    def digest(self) -> str:
        """A hash of the images, their shape and their labels: of all of it that a result depends on."""
        digest = hashlib.sha256(repr((self.images.shape, len(self.class_names))).encode())
        digest.update(np.ascontiguousarray(self.images, np.uint8).data)
        digest.update(np.ascontiguousarray(self.labels, "<i8").data)
        return digest.hexdigest()[:16]

    @cached_property
    def distinct(self) -> frozenset[bytes]:
        """A hash of every image, by which images of several parts or names are compared, once."""
        return frozenset(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in self.images)


def data_folder() -> Path:
    """Where datasets are looked for and downloaded to: ``METAFA_DATA``, or a folder in the user's cache. Raises
    `DataBroken` where a file is in its place."""
    folder = Path(os.environ.get("METAFA_DATA") or platformdirs.user_cache_path("metafa") / "data").expanduser()
    if folder.is_file():
        raise DataBroken(folder, "is a file", "set METAFA_DATA to the folder that datasets are to be in")
    return folder


@contextlib.contextmanager
def quiet_download(name: str, folder: Path) -> Iterator[None]:
    """Keeps a library's download chatter from the screen and turns its failure into `DataAbsent`.

    Not thread-safe: what other threads print meanwhile is lost, since the process has one ``sys.stdout`` and one
    ``sys.stderr``. metafa downloads in the driver, before any trial starts.
    """
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except Exception as error:  # of whatever kind: archives and connections break in many ways
        for path in absent:  # the folders that the library made before it failed
            with contextlib.suppress(OSError):
                path.rmdir()
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataAbsent(f"{name} is not in {folder} and could not be downloaded ({reason})") from error


def import_learn2learn() -> ModuleType:
    """learn2learn, imported without the notice that its dependency gym prints. Not thread-safe the first time: what
    other threads write to ``sys.stderr`` while it is imported is lost.

    Raises ModuleNotFoundError, which says how to get it, where it is not installed: it is an extra of metafa's.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            import learn2learn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"a learn2learn taskset needs {error.name}, which is not installed: `uv pip install --editable "
            "'.[learn2learn]'` in metafa's checkout installs it, and docs/install.md has the commands for pip",
            name=error.name,
        ) from None
    return learn2learn


def taskset(images: LabelledImages, ways: int, images_per_class: int) -> Taskset:
    """The learn2learn taskset of tasks of ``ways`` random classes, ``images_per_class`` random images of each.

    Its samples are float32 ``[1, SIDE, SIDE]`` in 0 to 1, labels remapped to 0 ... ``ways`` - 1 at random.
    It is for whoever wants to go on in learn2learn, or to add transforms of their own: metafa itself draws the same
    tasks by `episodes.from_images`. Raises ModuleNotFoundError where learn2learn is not installed.
    """
    import torch

    l2l = import_learn2learn()

    class Dataset(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(images.labels)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            return torch.from_numpy(images.images[i].astype(np.float32)[None] / 255), int(images.labels[i])

    dataset = l2l.data.MetaDataset(
        Dataset(), indices_to_labels={i: int(label) for i, label in enumerate(images.labels)}
    )
    return l2l.data.Taskset(
        dataset,
        [
            l2l.data.transforms.FusedNWaysKShots(dataset, n=ways, k=images_per_class),
            l2l.data.transforms.LoadData(dataset),
            l2l.data.transforms.RemapLabels(dataset),
        ],
    )
