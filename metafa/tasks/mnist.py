"""`mnist`, `fashion-mnist`, `kmnist`: ten classes, the same in every split; the splits' images are apart.

Cheon, Lee and Paik (2024) adapt to them 10-way. The last tenth of torchvision's training images is the
validation split, its test images the test split.
"""

from __future__ import annotations

from metafa.tasks.base import LabelledImages
from metafa.tasks.classification import load_torchvision, missing


def load(name: str, split: str, download: bool = True) -> LabelledImages:
    """The images of ``split`` of the distribution ``name``, through torchvision."""
    whole = load_torchvision(name, "test" if split == "test" else "training", download)
    held_out = len(whole.labels) // 10
    part = {"training": slice(None, -held_out), "validation": slice(-held_out, None), "test": slice(None)}[split]
    return LabelledImages(whole.images[part], whole.labels[part], whole.class_names)


def here(name: str) -> bool:
    return not missing(name)
