"""How the images of `glyphs` were drawn: from the outlines of the DejaVu faces that matplotlib carries.

``python -m metafa.tasks.drawing`` draws them anew into ``glyphs.npz``. Nothing else of metafa imports this file, and
there is no reason to run it: matplotlib 3.11.2, with the Unicode 14 of Python 3.11, drew the bytes that are
shipped, and other versions may draw others.
"""

from __future__ import annotations

import unicodedata
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.ft2font import FT2Font, LoadFlags
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D

from metafa.tasks.base import SIDE

INK = 20  # pixels of the longer side of an undistorted character, as in MNIST
VARIANTS = 20  # images of each character
DIGIT_VARIANTS = {"training": 500, "test": 100}  # images of each digit, where digits are classified
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
_UNCHANGED = np.eye(2)


@dataclass(frozen=True)
class Character:
    codepoint: int
    script: str
    split: str
    faces: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.script}/{unicodedata.name(chr(self.codepoint))}"


def arrays() -> dict[str, np.ndarray]:
    """The arrays of ``glyphs.npz``: the images of every split and the names of its classes, and the images of the
    digits' training and test part; images are uint8 ``[image, SIDE, SIDE]``, class by class."""
    drawn: dict[str, np.ndarray] = {}
    for split in SCRIPTS:
        classes = [c for c in characters() if c.split == split]
        drawn[split] = np.concatenate([draw(c, VARIANTS) for c in classes])
        drawn[f"{split}_names"] = np.array([c.name for c in classes])
    digits = [draw(Character(ord(digit), "digit", "", FACES), sum(DIGIT_VARIANTS.values())) for digit in "0123456789"]
    drawn["digits_training"] = np.concatenate([images[: DIGIT_VARIANTS["training"]] for images in digits])
    drawn["digits_test"] = np.concatenate([images[DIGIT_VARIANTS["training"] :] for images in digits])
    return drawn


def write(path: Path, drawn: dict[str, np.ndarray]) -> None:
    """Writes arrays as an ``.npz`` that `numpy.load` reads. It is the same file whenever it is written, and smaller
    than `numpy.savez_compressed` makes it, since LZMA packs images better than deflate does."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in drawn.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # without the time of writing
            entry.compress_type = archive.compression
            with archive.open(entry, "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


@cache
def characters() -> tuple[Character, ...]:
    """Every character that is a class, in a fixed order: of those drawn alike in any face, the first."""
    candidates = _candidates()
    alike = np.zeros((len(candidates), len(candidates)), bool)
    for face in FACES:
        members = np.flatnonzero([face in candidate.faces for candidate in candidates])
        # products of bytes, added up in float64, are exact: no machine rounds a pair across the limit
        rasters = np.stack([raster(face, candidates[i].codepoint).ravel() for i in members]).astype(np.float64)
        products = rasters @ rasters.T
        squares = np.diag(products)
        alike[np.ix_(members, members)] |= products**2 > ALIKE**2 * np.outer(squares, squares)
    distinct: list[int] = []
    for i in range(len(candidates)):
        if not alike[i, distinct].any():
            distinct.append(i)
    return tuple(candidates[i] for i in distinct)


def _candidates() -> list[Character]:
    coverage = {face: set(font(face).get_charmap()) for face in FACES}
    candidates = []
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
                    candidates.append(Character(codepoint, script, split, faces))
    return candidates


def draw(character: Character, variants: int) -> np.ndarray:
    """The variants of a character: uint8 ``[variants, SIDE, SIDE]``, the same bytes on every machine.

    The faces take turns; each image is rotated by up to 12 degrees, sheared by up to 0.2, scaled by
    0.8 to 1.1 along each axis and moved by up to 2 pixels, all uniform.
    """
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
        images.append(raster(face, character.codepoint, matrix, np.array([right, up])))
    return np.stack(images)


@cache
def font(face: str) -> FT2Font:
    opened = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face))
    opened.set_size(100, 72)
    return opened


@cache
def _outline(face: str, codepoint: int) -> Outline:
    """A character's outline, centred on the origin, its longer side INK pixels."""
    opened = font(face)
    opened.load_char(codepoint, flags=LoadFlags.NO_HINTING)
    outline = Outline(*opened.get_path())
    corners = np.asarray(outline.vertices)[outline.codes != Outline.CLOSEPOLY]
    low, high = corners.min(0), corners.max(0)
    return Affine2D().translate(*-(low + high) / 2).scale(INK / max(high - low)).transform_path(outline)


@cache
def _renderer() -> RendererAgg:
    return RendererAgg(SIDE, SIDE, 72)


def raster(face: str, codepoint: int, matrix: np.ndarray = _UNCHANGED, shift: float | np.ndarray = 0.0) -> np.ndarray:
    """A character changed by ``matrix`` and moved by ``shift`` pixels: uint8 ``[SIDE, SIDE]``."""
    renderer = _renderer()
    renderer.clear()
    context = renderer.new_gc()
    context.set_linewidth(0)
    transform = Affine2D.from_values(*matrix.T.ravel(), *np.broadcast_to(shift + SIDE / 2, 2))
    renderer.draw_path(context, _outline(face, codepoint), transform, (0.0, 0.0, 0.0))
    return np.asarray(renderer.buffer_rgba())[..., 3].copy()


if __name__ == "__main__":
    from metafa.tasks.glyphs import DRAWN

    write(DRAWN, arrays())
