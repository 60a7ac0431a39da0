"""Inputs of noise pretraining whose pixels depend on each other: pink noise, dead leaves, and images of a dataset.

Each function draws, as `noise.normal` does, ``[replica, image, pixel]`` from a generator for each replica. A picture's
pixels are flattened as a dataset's are: rows, columns, channels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning.noise import Noise
from metafa.learning.streams import Streams

Generators = list[torch.Generator]

CANVAS = 512  # pixels of the side of a replica's dead leaves, from which pictures are cut
SMALLEST_LEAF = 1.0  # a radius, in pixels
LEAVES_AT_ONCE = 16384


def pink(noise: Noise, batch_size: int, pixels: int, generators: Generators) -> Float[Tensor, "replica image pixel"]:
    """Pictures whose amplitude spectrum is 1/f exactly, f the distance from frequency 0 in cycles a pixel, and whose
    phases are uniform, those of channels independent; natural images have a power spectrum near 1/f^2 (Field 1987).
    Each is `standardized`."""
    rows, columns, channels = _sides(noise.shape)
    shape = (batch_size, channels, rows, columns)
    white = torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators])
    device = white.device
    down, right = torch.fft.fftfreq(rows, device=device), torch.fft.rfftfreq(columns, device=device)
    frequency = (down[:, None] ** 2 + right**2).sqrt()
    amplitude = torch.where(frequency > 0, 1 / frequency, 0.0)
    spectrum = torch.fft.rfft2(white)  # of which the phases are kept, which are those of a real picture
    pictures = torch.fft.irfft2(spectrum * (amplitude / spectrum.abs()), s=(rows, columns))
    return standardized(pictures.movedim(2, -1).flatten(2), noise)


def dead_leaves(
    noise: Noise, batch_size: int, pixels: int, generators: Generators
) -> Float[Tensor, "replica image pixel"]:
    """Pictures cut at random places from each replica's canvas of dead leaves, each `standardized`."""
    assert noise.source is not None
    rows, columns, _ = _sides(noise.shape)
    cut = noise.source.unfold(1, rows, 1).unfold(2, columns, 1)  # [replica, down, right, channel, row, column]
    found = []
    for pictures, generator in zip(cut, generators, strict=True):
        places = torch.randint(CANVAS**2, (batch_size,), generator=generator, device=generator.device)
        found.append(pictures[places // CANVAS, places % CANVAS])
    return standardized(torch.stack(found).movedim(2, -1).flatten(2), noise)


def with_leaves(noise: Noise, streams: Streams) -> Noise:
    """The noise with a canvas of dead leaves for each replica, ``[replica, row, column, channel]``: of `CANVAS` pixels
    a side, joined at its edges, so that a picture may be cut anywhere. All pictures of a phase are cut from it: drawing
    leaves anew for every picture would take many times as long as learning from it. A canvas takes half a second."""
    *sides, channels = _sides(noise.shape)
    canvases = [leaves(CANVAS, min(sides) / 2, channels, g) for g in streams.generators("noise/leaves", "cpu")]
    padding = torch.arange(CANVAS + max(sides) - 1) % CANVAS
    canvas = torch.stack(canvases)[:, padding[: CANVAS + sides[0] - 1]][:, :, padding[: CANVAS + sides[1] - 1]]
    return replace(noise, source=canvas.to(streams.device))


def leaves(side: int, largest: float, channels: int, generator: torch.Generator) -> Float[Tensor, "side side channel"]:
    """A square of dead leaves, joined at its edges: discs fall at random places, on top of each other, until nothing is
    to be seen below them (Lee, Mumford and Huang 2001, whose cubic law of radii makes the model scale-invariant). Radii
    have the density r^-3 from `SMALLEST_LEAF` to ``largest``; each disc is of one value, uniform in 0 to 1, in each
    channel. A disc covers a pixel whose centre is in it.

    Discs are drawn from the topmost down, and the first that covers a pixel is seen there.
    """
    values = torch.full((side * side, channels), torch.nan)
    while values.isnan().any():
        u, down, right = torch.rand(3, LEAVES_AT_ONCE, generator=generator, dtype=torch.float64).numpy()
        greys = torch.rand(LEAVES_AT_ONCE, channels, generator=generator)
        # 1 / r^2 is uniform between its ends where the density of r is r^-3
        radii = (SMALLEST_LEAF**-2 + u * (largest**-2 - SMALLEST_LEAF**-2)) ** -0.5
        top = torch.from_numpy(topmost(side, radii, down * side, right * side))
        free = values[:, 0].isnan() & (top < LEAVES_AT_ONCE)
        values[free] = greys[top[free]]
    return values.view(side, side, channels)


def topmost(side: int, radii: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For each pixel of a square joined at its edges, ``[side * side]``, the number of the first disc that covers it,
    or that of discs where none does. Discs have their ``radii`` and their centres, ``down`` and ``right``, in
    pixels."""
    seen = np.full(side * side, len(radii))
    reaches = np.ceil(radii).astype(int)
    for reach in np.unique(reaches):  # discs that fit into squares of one size at once
        numbers = np.flatnonzero(reaches == reach)
        offsets = np.arange(-reach, reach + 1)
        rows, columns = (np.rint(centre[numbers]).astype(int)[:, None] + offsets for centre in (down, right))
        squares = (rows - down[numbers, None])[:, :, None] ** 2 + (columns - right[numbers, None])[:, None] ** 2
        covered = squares <= radii[numbers, None, None] ** 2
        pixels = (rows % side)[:, :, None] * side + (columns % side)[:, None]
        np.minimum.at(seen, pixels[covered], np.broadcast_to(numbers[:, None, None], covered.shape)[covered])
    return seen


def images(noise: Noise, batch_size: int, pixels: int, generators: Generators) -> Float[Tensor, "replica image pixel"]:
    """Images of the dataset, drawn uniformly with replacement."""
    assert noise.source is not None
    places = [torch.randint(len(noise.source), (batch_size,), generator=g, device=g.device) for g in generators]
    return noise.source[torch.stack(places)]


def shuffled_images(
    noise: Noise, batch_size: int, pixels: int, generators: Generators
) -> Float[Tensor, "replica image pixel"]:
    """Images of the dataset, the pixels of each in an order of its own, drawn anew; the channels of a pixel stay
    together."""
    channels = noise.shape[2] if len(noise.shape) > 2 else 1
    drawn = images(noise, batch_size, pixels, generators).unflatten(2, (-1, channels))
    orders = torch.stack([_orders(batch_size, drawn.shape[2], g) for g in generators])
    return drawn.gather(2, orders[..., None].expand(drawn.shape)).flatten(2)


def _orders(number: int, size: int, generator: torch.Generator) -> Tensor:
    """So many random orders, in the way that is fast on the generator's device."""
    if generator.device.type == "cpu":
        return torch.stack([torch.randperm(size, generator=generator) for _ in range(number)])
    return torch.rand(number, size, generator=generator, device=generator.device).argsort(-1)


def standardized(pictures: Float[Tensor, "replica image pixel"], noise: Noise) -> Float[Tensor, "replica image pixel"]:
    """The pictures, each moved and stretched to the noise's mean and standard deviation over its pixels."""
    centred = pictures - pictures.mean(-1, keepdim=True)
    deviation = centred.square().mean(-1, keepdim=True).sqrt()
    return noise.mean + noise.standard_deviation * centred / deviation


def _sides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Rows, columns and channels."""
    rows, columns, *channels = shape
    return rows, columns, channels[0] if channels else 1
