"""Characters drawn from the outlines of the DejaVu faces that matplotlib carries."""

from __future__ import annotations

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
_UNCHANGED = np.eye(2)


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
