"""`glyphs`: characters of many scripts in the DejaVu faces, drawn once and kept in ``glyphs.npz`` beside this file.

A class is a character; its images are the character in different faces under small random affine changes. The division
into training, validation and test classes is by script, as Omniglot (Lake et al. 2015) divides by alphabet. `drawing`
drew the images and says how; they are shipped because another version of matplotlib or of Unicode would draw others.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from metafa.errors import DataBroken
from metafa.tasks.base import SIDE, LabelledImages

DRAWN = Path(__file__).with_name("glyphs.npz")
DIGITS = tuple("0123456789")


def load(split: str, download: bool = True) -> LabelledImages:
    """The classes of ``split``, 20 images of each. Raises `DataBroken` where ``glyphs.npz`` is absent or damaged."""
    return _labelled(split, tuple(_array(f"{split}_names").tolist()))


def load_digits(part: str, download: bool = True) -> LabelledImages:
    """The ten digits as classes to train on and test: 500 images of each for training and 100 others for the test.
    Raises `DataBroken` where ``glyphs.npz`` is absent or damaged."""
    return _labelled(f"digits_{part}", DIGITS)


def _labelled(name: str, class_names: tuple[str, ...]) -> LabelledImages:
    images = _array(name)
    if images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8 or len(images) % len(class_names):
        raise _broken("holds other arrays than metafa's")
    labels = np.repeat(np.arange(len(class_names)), len(images) // len(class_names))
    return LabelledImages(images.copy(), labels, class_names)  # whoever changes them changes no other's


@cache
def _array(name: str) -> np.ndarray:
    try:
        with DRAWN.open("rb") as file, np.load(file) as arrays:  # closed whatever is wrong with it
            return arrays[name]
    except Exception as error:  # of whatever kind damaged archives raise
        raise _broken(f"cannot be read ({error or type(error).__name__})") from error


def _broken(reason: str) -> DataBroken:
    return DataBroken(DRAWN, reason, "install metafa again: the file is part of it")
