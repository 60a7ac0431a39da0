"""`digits`: the handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from metafa.tasks.base import LabelledImages


def load(part: str, download: bool = True) -> LabelledImages:
    """1,797 handwritten digits of 8 x 8 pixels; the last fifth is the test part."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)
    held_out = len(images) // 5
    chosen = slice(None, -held_out) if part == "training" else slice(-held_out, None)
    return LabelledImages(images[chosen], labels[chosen], tuple(map(str, digits.target_names)))
