"""`omniglot` and `omniglot-minimal`: handwritten characters of many alphabets (Lake et al. 2015).

Both divide training, validation and test classes by alphabet. Images are reduced to 28 x 28 pixels
and inverted, ink 255, as learn2learn's examples prepare them.
"""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from metafa.tasks.base import (
    SIDE,
    DataAbsent,
    LabelledImages,
    data_folder,
    quiet_download,
    select_classes,
)

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


def _folder() -> Path:
    return data_folder() / "omniglot-py"


def load(split: str, download: bool = True) -> LabelledImages:
    """The full set, both of its parts, which torchvision downloads."""
    if not (download or here()):
        raise DataAbsent(f"omniglot is not in {_folder()}")
    images, labels, names, background = _load_full(data_folder(), download)
    in_validation = [name.split("/")[0] in VALIDATION for name in names]
    classes = {
        "training": [c for c in range(background) if not in_validation[c]],
        "validation": [c for c in range(background) if in_validation[c]],
        "test": list(range(background, len(names))),
    }
    return select_classes(images, labels, names, classes[split])


@cache
def _load_full(folder: Path, download: bool) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    """All images, their classes, the classes' names, and how many of the classes are of the background set."""
    from torchvision.datasets import Omniglot

    with quiet_download("omniglot", folder / "omniglot-py"):
        background, evaluation = (Omniglot(folder, background=part, download=download) for part in (True, False))
    first = len(background._characters)  # of the evaluation classes, which torchvision numbers from 0 too
    images = [_prepare(image) for part in (background, evaluation) for image, _ in part]
    labels = [label for _, label in background] + [first + label for _, label in evaluation]
    return np.stack(images), np.array(labels), background._characters + evaluation._characters, first


def here() -> bool:
    return all(
        (_folder() / part).is_dir() or (_folder() / f"{part}.zip").is_file()
        for part in ("images_background", "images_evaluation")
    )


def load_minimal(split: str, download: bool = True) -> LabelledImages:
    """The two published minimal splits: training and validation alphabets from the first, test from the second.

    They are read from ``omniglot-py/images_background_small1`` and ``...2``, folders or zip archives.
    """
    first, second = (_read(_folder() / f"images_background_small{part}") for part in (1, 2))
    known = {name.split("/")[0] for name in first}
    wanted = {
        "training": {name: images for name, images in first.items() if name.split("/")[0] not in MINIMAL_VALIDATION},
        "validation": {name: images for name, images in first.items() if name.split("/")[0] in MINIMAL_VALIDATION},
        "test": {name: images for name, images in second.items() if name.split("/")[0] not in known},
    }[split]
    images = [np.stack([_prepare(Image.open(io.BytesIO(data))) for data in files]) for files in wanted.values()]
    labels = np.repeat(np.arange(len(images)), [len(of_class) for of_class in images])
    return LabelledImages(np.concatenate(images), labels, tuple(wanted))


def minimal_here() -> bool:
    return all(_source(_folder() / f"images_background_small{part}") for part in (1, 2))


def _source(part: Path) -> Path | None:
    return next((path for path in (part, part.with_suffix(".zip")) if path.exists()), None)


def _read(part: Path) -> dict[str, list[bytes]]:
    """The PNG files of each character, by ``alphabet/character``, in the order of their names."""
    source = _source(part)
    if source is None:
        raise DataAbsent(
            f"omniglot-minimal needs {part.name}.zip or the folder {part.name} in {part.parent}; it is not there. "
            "Put the two published minimal splits of Omniglot there, or set METAFA_DATA to the folder that holds "
            "omniglot-py"
        )
    if source.is_dir():
        files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*.png")}
    else:
        with zipfile.ZipFile(source) as archive:
            files = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist() if name.endswith(".png")}
    characters: dict[str, list[bytes]] = {}
    for name in sorted(files):
        characters.setdefault(name.rsplit("/", 1)[0], []).append(files[name])
    return characters


def _prepare(image: Image.Image) -> np.ndarray:
    return 255 - np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
