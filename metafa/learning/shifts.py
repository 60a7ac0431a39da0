"""Images changed so that they come from another distribution than those trained on, by a strength.

At strength 0 each change leaves the images as they are, to the bit. Changes that have a direction take turns over the
images, so that none is favoured: image i moves, turns or grows the i-th way, counted round.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning.kinds import SHIFTS, resolved

Images = Float[Tensor, "image channel row column"]


def translated(images: Images, strength: float, generator: torch.Generator) -> Images:
    """Moved by ``strength`` pixels: to the right, down, to the left, up."""
    return _affine(images, [{"translate": [x * strength, y * strength]} for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1))])


def rotated(images: Images, strength: float, generator: torch.Generator) -> Images:
    """Turned about their middle by ``strength`` degrees: clockwise, counterclockwise."""
    return _affine(images, [{"angle": strength}, {"angle": -strength}])


def scaled(images: Images, strength: float, generator: torch.Generator) -> Images:
    """Made 1 + ``strength`` times as large about their middle, and as small."""
    return _affine(images, [{"scale": 1 + strength}, {"scale": 1 / (1 + strength)}])


def with_pixel_noise(images: Images, strength: float, generator: torch.Generator) -> Images:
    """With N(0, ``strength``^2) added to each pixel, and kept in 0 to 1."""
    noise = torch.randn(images.shape, generator=generator, device=generator.device).to(images.device)
    return (images + strength * noise).clamp(0, 1)


def _affine(images: Images, ways: list[dict]) -> Images:
    """Image i changed the i-th of ``ways``, bilinearly, what comes from outside being background."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    changed = torch.empty_like(images)
    for turn, way in enumerate(ways):
        full = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]} | way
        changed[turn :: len(ways)] = functional.affine(
            images[turn :: len(ways)], interpolation=InterpolationMode.BILINEAR, **full
        )
    return changed


def resized(
    images: Float[Tensor, "image channel _row _column"], side: tuple[int, int]
) -> Float[Tensor, "image channel _row _column"]:
    """Other images at the size of those trained on, as torchvision resizes: bilinear, antialiased."""
    from torchvision.transforms.v2 import functional

    return functional.resize(images, list(side), antialias=True)


def shifted(shift: str, images: Images, strength: float, generator: torch.Generator) -> Images:
    """``images`` changed by the row ``shift`` of `SHIFTS`."""
    return images if strength == 0 else resolved(SHIFTS[shift].function)(images, strength, generator)
