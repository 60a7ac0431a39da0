"""Batch normalization (Ioffe and Szegedy 2015) and group normalization (Wu and He 2018), with torch's defaults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from metafa.learning.layers.base import Cache, Draw, Parameters, Shaped, folded, packed, per_episode, unpacked

MOMENTUM, EPSILON = 0.1, 1e-5


@dataclass(frozen=True)
class Normalization(Shaped):
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

    def initialise(self, draw: Draw) -> Parameters:
        """Shifts are 0."""
        normal = draw(self.units)
        scale = torch.special.ndtr(normal) if self.random_scale else torch.ones_like(normal)
        return {"scale": scale, "shift": torch.zeros_like(normal)}

    def gradients(self, error: Tensor, cache: Cache, networks: int) -> Parameters:
        normalized = cache.normalized
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
    given: mean, and one over the standard deviation, as they are multiplied with activations.
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
        return replace(self, moments="given", given=support.moments)

    def initialise(self, draw: Draw) -> Parameters:
        """Shifts and running means are 0, running variances 1."""
        own = super().initialise(draw)
        running = {"running_mean": torch.zeros_like(own["shift"]), "running_variance": torch.ones_like(own["shift"])}
        return {**own, **running}

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        # torch's own is faster, but does not differentiate by the mean and the variance
        if self.moments == "batch" and self.size and not self.needs_support:
            return self._of_maps(own, x)
        mean, by = self._moments(own, x) if self.given is None else self.given
        normalized = (x - mean) * by
        kept = Normalized(normalized, by, self.moments == "batch", (mean, by))
        return normalized * along(own["scale"], x) + along(own["shift"], x), kept

    def _of_maps(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        """By torch's own batch normalization, whose derivative is made at once with those of scale and shift."""
        maps, batches = packed(x), len(x)
        scale, shift = (per_episode(own[name], batches).flatten() for name in ("scale", "shift"))
        kept = (own["running_mean"].view(-1), own["running_variance"].view(-1)) if self.keeps else (None, None)
        y, mean, by = torch.native_batch_norm(maps, scale, shift, kept[0], kept[1], True, MOMENTUM, EPSILON)
        return unpacked(y, batches), NormalizedMaps(maps, scale, mean, by, batches)

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
        if isinstance(cache, NormalizedMaps):
            return unpacked(cache.derivatives(error)[0], cache.batches)
        error = error * along(own["scale"], error)
        if cache.of_batch:
            dims = (1, *range(3, error.dim()))
            share = (error * cache.normalized).mean(dims, keepdim=True)
            error = error - error.mean(dims, keepdim=True) - cache.normalized * share
        return error * cache.by

    def gradients(self, error: Tensor, cache: Cache, networks: int) -> Parameters:
        if not isinstance(cache, NormalizedMaps):
            return super().gradients(error, cache, networks)
        _, *found = cache.derivatives(error)
        summed = [tensor.view(networks, -1, self.units).sum(1) for tensor in found]
        return dict(zip(("scale", "shift"), summed, strict=True))


class Normalized(NamedTuple):
    """What batch normalization keeps: its values before scale and shift; one over the standard deviation; whether that
    is the batch's; mean and one over the standard deviation."""

    normalized: Tensor
    by: Tensor
    of_batch: bool
    moments: tuple[Tensor, Tensor]


@dataclass
class NormalizedMaps:
    """What batch normalization keeps of feature maps as torch has them: the maps that came in, as `base.packed`, and
    scales, means and one over the standard deviations, one for each of their channels."""

    maps: Tensor
    scale: Tensor
    mean: Tensor
    by: Tensor
    batches: int
    made: tuple[Tensor, tuple[Tensor, ...]] | None = None

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and one over the standard deviation, as they are multiplied with activations."""
        mean, by = (tensor.view(self.batches, 1, -1, 1, 1) for tensor in (self.mean, self.by))
        return mean, by

    def derivatives(self, error: Tensor) -> tuple[Tensor, ...]:
        """The derivatives by the maps, the scales and the shifts, made once for the same error."""
        if self.made is None or self.made[0] is not error:
            found = torch.ops.aten.native_batch_norm_backward(
                packed(error), self.maps, self.scale, None, None, self.mean, self.by, True, EPSILON, [True] * 3
            )
            self.made = error, found
        return self.made[1]


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
        return normalized * along(own["scale"], x) + along(own["shift"], x), Normalized(
            normalized, by, True, (mean, by)
        )

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        """The layer's own Jacobian, whatever the rule."""
        normalized = self._grouped(cache.normalized)
        scaled = self._grouped(error * along(own["scale"], error))
        share = (scaled * normalized).mean(3, keepdim=True)
        return ((scaled - scaled.mean(3, keepdim=True) - normalized * share) * cache.by).reshape(error.shape)

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
