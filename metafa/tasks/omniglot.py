"""`omniglot` and `omniglot-minimal`: handwritten characters of many alphabets (Lake et al. 2015).

Both divide training, validation and test classes by alphabet. Images are reduced to 28 x 28 pixels
and inverted, ink 255, as learn2learn's examples prepare them.

Drawings are read from the published archives, or from folders that they were unpacked to, and known by the last three
parts of their paths, ``ALPHABET/characterNN/NNNN_DD.png``, however deep those stand.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from metafa.errors import DataAbsent, DataBroken
from metafa.tasks.base import SIDE, SPLITS, LabelledImages, data_folder, quiet_download
from metafa.tasks.data import shared

DRAWINGS = 20  # of every character
PUBLISHED = {  # alphabets and characters
    "images_background": (30, 964),
    "images_evaluation": (20, 659),
    "images_background_small1": (5, 136),
    "images_background_small2": (5, 156),
}
FULL = ("images_background", "images_evaluation")
MINIMAL = ("images_background_small1", "images_background_small2")
# Of the 30 background alphabets these, the last six, are for validation; the evaluation alphabets are the test.
VALIDATION = (
    "Malay_(Jawi_-_Arabic)",
    "Mkhedruli_(Georgian)",
    "N_Ko",
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Tagalog",
)
# Of the five alphabets of the first minimal split this one is for validation.
MINIMAL_VALIDATION = ("Early_Aramaic",)
_DRAWING = re.compile(r"(?:.*/)?([^/]+/character\d\d/\d{4}_\d\d\.png)")
_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, struct.error, RuntimeError)

Characters = Mapping[str, np.ndarray]  # by ALPHABET/characterNN: ``[DRAWINGS, SIDE, SIDE]``


def load(split: str, download: bool = True) -> LabelledImages:
    """The full set: training and validation alphabets from the background set, test from the evaluation set. Archives
    that are not here are downloaded, from where torchvision does."""
    for part in FULL:
        if not _places(part):
            if not download:
                raise DataAbsent(f"omniglot is not in {_folder()}")
            _download(part)
    return _divided("omniglot", split, FULL, VALIDATION)


def here(split: str) -> bool:
    return all(map(_places, FULL))


def load_minimal(split: str, download: bool = True) -> LabelledImages:
    """The two published minimal splits: training and validation alphabets from the first, test from the second."""
    for part in MINIMAL:
        if not _places(part):
            raise DataAbsent(
                f"omniglot-minimal needs {part}.zip or the folder {part} in {_folder()}; it is not there. "
                "Put the two published minimal splits of Omniglot there, or set METAFA_DATA to the folder that holds "
                "omniglot-py"
            )
    return _divided("omniglot-minimal", split, MINIMAL, MINIMAL_VALIDATION)


def minimal_here(split: str) -> bool:
    return all(map(_places, MINIMAL))


def _folder() -> Path:
    return data_folder() / "omniglot-py"


def _download(part: str) -> None:
    with quiet_download("omniglot", _folder()):
        from torchvision.datasets import Omniglot
        from torchvision.datasets.utils import download_url

        url = f"{Omniglot.download_url_prefix}/{part}.zip"
        download_url(url, str(_folder()), f"{part}.zip", Omniglot.zips_md5[part])


def _divided(name: str, split: str, parts: tuple[str, str], validation: tuple[str, ...]) -> LabelledImages:
    """The classes of ``split``: of the first part's alphabets those for ``validation`` and the others, of the second's
    those that are not in the first."""
    first, second = map(_characters, parts)
    alphabets = {character.split("/")[0] for character in first}
    classes = {
        "training": {name: of for name, of in first.items() if name.split("/")[0] not in validation},
        "validation": {name: of for name, of in first.items() if name.split("/")[0] in validation},
        "test": {name: of for name, of in second.items() if name.split("/")[0] not in alphabets},
    }
    splits = {
        one: LabelledImages(
            np.concatenate([np.empty((0, SIDE, SIDE), np.uint8), *classes[one].values()]),
            np.repeat(np.arange(len(classes[one])), DRAWINGS),
            tuple(classes[one]),
        )
        for one in SPLITS
    }
    if said := shared(name, splits):
        raise DataBroken(_folder(), *said.split("; "))
    return splits[split]


def _places(part: str) -> list[Path]:
    """The folders and archives that are called as ``part``, wherever they lie in the data folder's ``omniglot-py``."""
    found: list[Path] = []
    for folder, folders, files in os.walk(_folder(), onerror=_raise):
        found += [Path(folder) / name for name in (part, f"{part}.zip") if name in (*folders, *files)]
        folders.sort()
    return found


def _characters(part: str) -> Characters:
    """The characters of the first folder or archive of ``part`` that is sound. Raises `DataBroken` where none is."""
    broken: list[DataBroken] = []
    for place in _places(part):
        try:
            return _read(part, place)
        except DataBroken as error:
            broken.append(error)
    raise broken[0]


def _read(part: str, place: Path) -> Characters:
    remedy = f"put the published {part}.zip there, or unpack it there anew"
    drawings: dict[str, tuple[str, bytes]] = {}
    try:
        for path, content in _members(place):
            if match := _DRAWING.fullmatch(path.replace(os.sep, "/")):
                before, _ = drawings.setdefault(match[1], (path, content))
                if drawings[match[1]][1] != content:
                    raise DataBroken(place, f"{before} and {path} are two drawings of one name", remedy)
    except _UNREADABLE as error:
        raise DataBroken(place, f"cannot be read ({error or type(error).__name__})", remedy) from error
    counts = Counter(name.rpartition("/")[0] for name in drawings)
    found = (len({name.partition("/")[0] for name in counts}), len(counts), len(drawings))
    published = (*PUBLISHED[part], PUBLISHED[part][1] * DRAWINGS)
    if found != published or set(counts.values()) != {DRAWINGS}:
        uneven = next((f"; {name} has {n} drawings" for name, n in counts.items() if n != DRAWINGS), "")
        raise DataBroken(
            place,
            "holds {} alphabets, {} characters and {} drawings".format(*found)
            + ", where {} alphabets, {} characters and {} drawings were published".format(*published)
            + uneven,
            remedy,
        )
    characters: dict[str, list[np.ndarray]] = {}
    for name in sorted(drawings):
        path, content = drawings[name]
        try:
            characters.setdefault(name.rpartition("/")[0], []).append(_prepared(content))
        except Exception as error:  # of whatever kind Pillow's many decoders raise
            raise DataBroken(place / path, "is cut short or no PNG image", remedy) from error
    return {name: np.stack(images) for name, images in characters.items()}


def _members(place: Path) -> Iterator[tuple[str, bytes]]:
    """The drawings in a folder or an archive, as the path there and what the file holds."""
    if place.is_dir():
        for folder, _, files in os.walk(place, onerror=_raise):
            for path in (Path(folder) / name for name in files):
                if _DRAWING.fullmatch(path.relative_to(place).as_posix()):
                    yield str(path.relative_to(place)), path.read_bytes()
    else:
        with zipfile.ZipFile(place) as archive:
            for name in archive.namelist():
                if _DRAWING.fullmatch(name):
                    yield name, archive.read(name)


def _raise(error: OSError) -> None:
    """What `os.walk` is not to pass over."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        said = f"cannot be read ({error.strerror})"
        raise DataBroken(error.filename, said, "give yourself permission to read it") from error


@cache
def _prepared(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png)).convert("L")
    return 255 - np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
