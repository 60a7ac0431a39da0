"""`glyphs`: characters of many scripts, drawn from the DejaVu faces that matplotlib carries. No download.

A class is a character; its images are the character in different faces under small random affine
changes. The division into training, validation and test classes is by script, as Omniglot
(Lake et al. 2015) divides by alphabet.
"""

from __future__ import annotations

import contextlib
import hashlib
import unicodedata
import uuid
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import platformdirs

from metafa.tasks.base import SIDE, LabelledImages

VARIANTS = 20
DIGIT_VARIANTS = {"training": 500, "test": 100}  # of each, where digits are classified
ALIKE = 0.93  # cosine of two rasters above which two characters count as drawn alike
FACES = tuple(
    f"DejaVu{family}{style}.ttf"
    for family, styles in {
        "Sans": ("", "-Oblique", "-Bold", "-BoldOblique"),
        "Serif": ("", "-Italic", "-Bold", "-BoldItalic"),
        "SansMono": ("", "-Oblique", "-Bold", "-BoldOblique"),
    }.items()
    for style in styles
)
# How the Unicode names of a script's letters begin. Of characters drawn alike the first one listed is kept.
SCRIPTS = {
    "training": {
        "Latin": "LATIN ",
        "Cyrillic": "CYRILLIC ",
        "Canadian syllabics": "CANADIAN SYLLABICS ",
        "Arabic": "ARABIC LETTER ",
        "Old Italic": "OLD ITALIC ",
        "Lisu": "LISU ",
        "Coptic": "COPTIC ",
    },
    "validation": {"Greek": "GREEK ", "N'Ko": "NKO ", "Lao": "LAO "},
    "test": {"Georgian": "GEORGIAN ", "Armenian": "ARMENIAN ", "Hebrew": "HEBREW ", "Tifinagh": "TIFINAGH "},
}


@dataclass(frozen=True)
class Character:
    codepoint: int
    script: str
    split: str
    faces: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.script}/{unicodedata.name(chr(self.codepoint))}"


def load(split: str, download: bool = True) -> LabelledImages:
    """The images of ``split``, drawn on first use and then kept in the user's cache directory, where that can be
    written; drawn anew where what is kept there is damaged."""
    path = _cache_path()
    try:
        images, names = _kept(path, split)
    except Exception:  # absent, or damaged in whatever way
        arrays = _drawn()
        _keep(path, arrays)
        images, names = arrays[split], tuple(arrays[f"{split}_names"].tolist())
    return LabelledImages(images, np.repeat(np.arange(len(names)), VARIANTS), names)


def _cache_path() -> Path:
    here = Path(__file__)
    source = here.read_bytes() + here.with_name("drawing.py").read_bytes()
    source += version("matplotlib").encode() + unicodedata.unidata_version.encode()
    return platformdirs.user_cache_path("metafa") / f"glyphs-{hashlib.sha256(source).hexdigest()[:12]}.npz"


def _kept(path: Path, split: str) -> tuple[np.ndarray, tuple[str, ...]]:
    with path.open("rb") as file, np.load(file) as saved:
        images, names = saved[split], tuple(saved[f"{split}_names"].tolist())
    if images.shape != (len(names) * VARIANTS, SIDE, SIDE) or images.dtype != np.uint8:
        raise ValueError(f"{path} holds other arrays")
    return images, names


def _keep(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Puts the arrays in place whole, whoever else does so at the same time; if it cannot, they are drawn again."""
    partial = path.with_suffix(f".{uuid.uuid4().hex}.npz")
    with contextlib.suppress(OSError):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(partial, allow_pickle=False, **arrays)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@cache
def _drawn() -> dict[str, np.ndarray]:
    """The images of every split, and the names of their classes."""
    arrays: dict[str, np.ndarray] = {}
    for split in SCRIPTS:
        kept = [c for c in characters() if c.split == split]
        arrays[split] = np.concatenate([draw(c) for c in kept])
        arrays[f"{split}_names"] = np.array([c.name for c in kept])
    return arrays


@cache
def characters() -> tuple[Character, ...]:
    """Every character that is a class, in a fixed order: of those drawn alike in any face, the first."""
    from metafa.tasks import drawing

    candidates = _candidates()
    alike = np.zeros((len(candidates), len(candidates)), bool)
    for face in FACES:
        members = np.flatnonzero([face in candidate.faces for candidate in candidates])
        # products of bytes, added up in float64, are exact: no machine rounds a pair across the limit
        rasters = np.stack([drawing.raster(face, candidates[i].codepoint).ravel() for i in members]).astype(np.float64)
        products = rasters @ rasters.T
        squares = np.diag(products)
        alike[np.ix_(members, members)] |= products**2 > ALIKE**2 * np.outer(squares, squares)
    kept: list[int] = []
    for i in range(len(candidates)):
        if not alike[i, kept].any():
            kept.append(i)
    return tuple(candidates[i] for i in kept)


def _candidates() -> list[Character]:
    from metafa.tasks import drawing

    coverage = {face: set(drawing.font(face).get_charmap()) for face in FACES}
    found = []
    for split, scripts in SCRIPTS.items():
        for script, prefix in scripts.items():
            for codepoint in sorted(set().union(*coverage.values())):
                char = chr(codepoint)
                if (
                    unicodedata.name(char, "").startswith(prefix)
                    and unicodedata.category(char) in ("Lu", "Ll", "Lo")
                    and not unicodedata.decomposition(char)
                ):
                    faces = tuple(face for face in FACES if codepoint in coverage[face])
                    found.append(Character(codepoint, script, split, faces))
    return found


@cache
def load_digits(part: str, download: bool = True) -> LabelledImages:
    """The ten digits as classes to train on and test: other variants of the same characters."""
    classes = [Character(ord(digit), "digit", part, FACES) for digit in "0123456789"]
    number = sum(DIGIT_VARIANTS.values())
    chosen = slice(None, -DIGIT_VARIANTS["test"]) if part == "training" else slice(-DIGIT_VARIANTS["test"], None)
    images = np.concatenate([draw(character, number)[chosen] for character in classes])
    return LabelledImages(images, np.repeat(np.arange(10), DIGIT_VARIANTS[part]), tuple("0123456789"))


def draw(character: Character, variants: int = VARIANTS) -> np.ndarray:
    """The variants of a character: uint8 ``[variants, SIDE, SIDE]``, the same bytes on every machine.

    The faces take turns; each image is rotated by up to 12 degrees, sheared by up to 0.2, scaled by
    0.8 to 1.1 along each axis and moved by up to 2 pixels, all uniform.
    """
    from metafa.tasks import drawing

    random = np.random.default_rng(character.codepoint)
    images = []
    for variant in range(variants):
        angle, shear, width, height, right, up = random.uniform(
            [-np.radians(12), -0.2, 0.8, 0.8, -2, -2], [np.radians(12), 0.2, 1.1, 1.1, 2, 2]
        )
        rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        # rounded, so that the last bit of a machine's sine cannot change a pixel
        matrix = np.round(rotate @ [[width, shear * height], [0, height]], 6)
        face = character.faces[variant % len(character.faces)]
        images.append(drawing.raster(face, character.codepoint, matrix, np.array([right, up])))
    return np.stack(images)
