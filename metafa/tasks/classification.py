"""Datasets to classify: training and test images of the same classes. A new one is a function that loads its images
and a row of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from metafa.tasks import glyphs, published
from metafa.tasks.base import PARTS as PARTS
from metafa.tasks.base import LabelledImages


@dataclass(frozen=True)
class Dataset:
    """A dataset: ``load(part, download)`` gives its training or its test images, or raises `DataAbsent` or
    `DataBroken`.

    description: what it is, for `metafa tasks`.
    downloads: whether loading fetches the files that are not on this machine.
    missing: names those files, without loading any.
    may_share: the largest fraction of one part's images that may stand in the other part too.
    """

    description: str
    downloads: bool
    load: Callable[[str, bool], LabelledImages]
    missing: Callable[[], list[Path]]
    may_share: float = 0.0

    def here(self) -> bool:
        return not self.missing()


def load_digits(part: str, download: bool = True) -> LabelledImages:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; the last fifth is the test part."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)
    held_out = len(images) // 5
    chosen = slice(None, -held_out) if part == "training" else slice(-held_out, None)
    return LabelledImages(images[chosen], labels[chosen], tuple(map(str, digits.target_names)))


def _published(name: str, description: str, may_share: float = 0.0) -> Dataset:
    downloads = published.PUBLISHED[name].downloads
    return Dataset(description, downloads, partial(published.load, name), partial(published.missing, name), may_share)


DATASETS = {
    "glyphs": Dataset("the ten digits drawn from the DejaVu faces, 28 x 28; embedded", False, glyphs.load_digits, list),
    "digits": Dataset("scikit-learn's handwritten digits, 8 x 8; embedded", False, load_digits, list),
    "mnist": _published("mnist", "handwritten digits, 28 x 28"),
    "mnist10k": _published("mnist10k", "MNIST's test images, 8,000 to train on and 2,000 to test, 28 x 28"),
    "fashion-mnist": _published("fashion-mnist", "pieces of clothing, 28 x 28"),
    # The published files of those that may share were not at hand to be counted, and may hold an image twice, as
    # CIFAR-10 nearly does (Barz and Denzler 2020).
    "kmnist": _published("kmnist", "cursive Japanese characters, 28 x 28", may_share=0.01),
    "usps": _published("usps", "handwritten digits of postal codes, 16 x 16", may_share=0.01),
    "cifar10": _published("cifar10", "photographs of ten kinds, 32 x 32 in colour", may_share=0.01),
}
