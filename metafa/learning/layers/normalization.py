"""Batch normalization (Ioffe and Szegedy 2015) and group normalization (Wu and He 2018), with torch's defaults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from metafa.learning.layers.base import Cache, Draw, Layer, Parameters, folded, per_episode

MOMENTUM, EPSILON = 0.1, 1e-5


@dataclass(frozen=True)
class Normalization(Layer):
    """y = scale (x - mean) / sqrt(variance + 1e-5) + shift, ``scale`` and ``shift`` ``[network, unit]``: of each unit
    of a vector, or of each channel of feature maps.

    units: units or channels.
    size: rows and columns of feature maps; empty where there are none.
    random_scale: whether scales are drawn uniformly from 0 to 1 at the start; else they are 1.
    """

    units: int
    size: tuple[int, ...] = ()
    random_scale: bool = False

    learns = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.units, *self.size

    @property
    def inputs(self) -> int:  # type: ignore[override]
        return prod(self.shape)

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.inputs

    def initialise(self, draw: Draw) -> Parameters:
        """Shifts are 0."""
        normal = draw(self.units)
        scale = torch.special.ndtr(normal) if self.random_scale else torch.ones_like(normal)
        return {"scale": scale, "shift": torch.zeros_like(normal)}

    def gradients(self, error: Tensor, cache: Cache, networks: int) -> Parameters:
        normalized, *_ = cache
        error, dims = folded(error, networks), (1, *range(3, error.dim()))
        return {"scale": (error * folded(normalized, networks)).sum(dims), "shift": error.sum(dims)}


def along(of_units: Tensor, x: Tensor) -> Tensor:
    """Values ``[network, unit]``, as they are multiplied with the activations ``x``."""
    return per_episode(of_units, x.shape[0]).unsqueeze(1)[(..., *(None,) * (x.dim() - 3))]


@dataclass(frozen=True)
class BatchNormalization(Normalization):
    """Normalization over the images of a batch, and over rows and columns.

    adapts_by: whose statistics serve on a task's query set: those of the query set (``transductive``), or those of the
        ``support`` set.
    moments: whose mean and variance it takes: those of the ``batch``, the ``running`` ones that it has kept of the
        batches trained on, or those ``given``.
    keeps: whether the running ones move a tenth of the way to those of the batch, the variance as it is estimated of
        the batch (divided by n - 1).
    given: mean, and one over the standard deviation, ``[network, unit]``, as they are multiplied with activations.
    """

    adapts_by: Literal["transductive", "support"] = "transductive"
    moments: Literal["running", "batch", "given"] = "running"
    keeps: bool = False
    given: tuple[Tensor, Tensor] | None = field(default=None, compare=False, repr=False)

    statistics = ("running_mean", "running_variance")

    @property
    def needs_support(self) -> bool:  # type: ignore[override]
        return self.adapts_by == "support"

    def in_training(self) -> BatchNormalization:
        return replace(self, moments="batch", keeps=True)

    def in_adaptation(self) -> BatchNormalization:
        return replace(self, moments="batch")

    def on_query(self, support: Cache) -> BatchNormalization:
        _, by, _, mean = support
        return replace(self, moments="given", given=(mean, by))

    def initialise(self, draw: Draw) -> Parameters:
        """Shifts and running means are 0, running variances 1."""
        own = super().initialise(draw)
        running = {"running_mean": torch.zeros_like(own["shift"]), "running_variance": torch.ones_like(own["shift"])}
        return {**own, **running}

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        mean, by = self._moments(own, x) if self.given is None else self.given
        normalized = (x - mean) * by
        kept = (normalized, by, self.moments == "batch", mean)
        return normalized * along(own["scale"], x) + along(own["shift"], x), kept

    def _moments(self, own: Parameters, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, and one over the standard deviation."""
        if self.moments == "batch":
            dims = (1, *range(3, x.dim()))
            mean, variance = x.mean(dims), x.var(dims, correction=0)
        else:
            mean, variance = own["running_mean"], own["running_variance"]
        if self.keeps:
            number = x.shape[1] * prod(self.size)
            own["running_mean"].lerp_(mean, MOMENTUM)
            own["running_variance"].lerp_(variance * (number / max(number - 1, 1)), MOMENTUM)
        return along(mean, x), along((variance + EPSILON).rsqrt(), x)

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        """The layer's own Jacobian, whatever the rule: every image of a batch has a part in its mean and variance."""
        normalized, by, of_batch, _ = cache
        error = error * along(own["scale"], error)
        if of_batch:
            dims = (1, *range(3, error.dim()))
            share = (error * normalized).mean(dims, keepdim=True)
            error = error - error.mean(dims, keepdim=True) - normalized * share
        return error * by


@dataclass(frozen=True)
class GroupNormalization(Normalization):
    """Normalization of each image by itself: over a group of units or channels, and over rows and columns.

    groups: how many groups there are, of neighbours.
    """

    groups: int = 1

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        grouped = self._grouped(x)
        mean, variance = grouped.mean(3, keepdim=True), grouped.var(3, correction=0, keepdim=True)
        by = (variance + EPSILON).rsqrt()
        normalized = ((grouped - mean) * by).reshape(x.shape)
        return normalized * along(own["scale"], x) + along(own["shift"], x), (normalized, by)

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        """The layer's own Jacobian, whatever the rule."""
        normalized, by = self._grouped(cache[0]), cache[1]
        scaled = self._grouped(error * along(own["scale"], error))
        share = (scaled * normalized).mean(3, keepdim=True)
        return ((scaled - scaled.mean(3, keepdim=True) - normalized * share) * by).reshape(error.shape)

    def _grouped(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.groups, -1)


def batch(sizes: Any, units: int, size: tuple[int, ...] = (), random_scale: bool = False) -> BatchNormalization:
    """The row of `kinds.NORMALIZATIONS`."""
    return BatchNormalization(units, size, random_scale, sizes.batch_statistics)


def group(sizes: Any, units: int, size: tuple[int, ...] = (), random_scale: bool = False) -> GroupNormalization:
    """The row of `kinds.NORMALIZATIONS`. Raises ValueError where the groups do not divide the units."""
    if units % sizes.groups:
        raise ValueError(f"{sizes.groups} groups do not divide {units} units")
    return GroupNormalization(units, size, random_scale, sizes.groups)
