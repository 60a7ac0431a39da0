"""Standardized pixels: of mean 0 and standard deviation 1 over the images trained on, as noise is by default."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Standardization:
    """The mean and the standard deviation that pixels in 0 to 1 are standardized by, one for each pixel of an image:
    pixels of the same colour have the same."""

    mean: Float[Tensor, "pixel"]
    deviation: Float[Tensor, "pixel"]

    def fits(self, images: Tensor) -> bool:
        """Whether images have as many pixels."""
        return images.shape[-1] == len(self.mean)

    def __call__(self, images: Float[Tensor, "*shape pixel"]) -> Float[Tensor, "*shape pixel"]:
        """(x - mean) / deviation."""
        return (images - self.mean.to(images)) / self.deviation.to(images)


def channel_statistics(images: UInt8[np.ndarray, "image row column *channel"]) -> list[tuple[float, float]]:
    """The mean and the standard deviation over all images and pixels, divided by their number, of pixels in 0 to 1: one
    pair for each colour, or one where images are grey. Counts of the 256 values are summed, so that they are exact."""
    values = np.arange(256) / 255
    found = []
    for channel in np.moveaxis(images, -1, 0) if images.ndim == 4 else [images]:
        shares = np.bincount(channel.ravel(), minlength=256) / channel.size
        mean = float(shares @ values)
        found.append((mean, float(shares @ (values - mean) ** 2) ** 0.5))
    return found


def standardization(images: UInt8[np.ndarray, "image row column *channel"]) -> Standardization:
    """What the pixels of networks trained on ``images`` are standardized by. Colours that never vary are moved to 0
    alone."""
    statistics = channel_statistics(images)
    pixels = images[0].size
    means, deviations = zip(*statistics, strict=True)
    # colours come last, so that they take turns in an image's pixels
    every = pixels // len(statistics)
    return Standardization(
        torch.tensor(means).repeat(every), torch.tensor([deviation or 1.0 for deviation in deviations]).repeat(every)
    )
