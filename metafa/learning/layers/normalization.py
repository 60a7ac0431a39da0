"""Batch normalization (Ioffe and Szegedy 2015), with torch's defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metafa.learning.layers.base import Cache, Draw, Layer, Parameters, folded, per_episode

MOMENTUM, EPSILON = 0.1, 1e-5


@dataclass(frozen=True)
class BatchNormalization(Layer):
    """y = scale (x - mean) / sqrt(variance + 1e-5) + shift of each unit, ``scale`` and ``shift`` ``[replica, unit]``.

    in_batch: whether mean and variance are those of the batch, by which ``running_mean`` and ``running_variance`` move
        a tenth of the way, the variance as it is estimated of the batch (divided by n - 1); else they are the running
        ones. It is so while a network trains.
    """

    units: int
    in_batch: bool = False

    learns = True
    statistics = ("running_mean", "running_variance")

    @property
    def inputs(self) -> int:  # type: ignore[override]
        return self.units

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.units

    def in_training(self) -> BatchNormalization:
        return replace(self, in_batch=True)

    def initialise(self, draw: Draw) -> Parameters:
        """Nothing is drawn at random: scale and variance are 1, shift and mean 0."""
        like = draw(self.units)
        return {
            "scale": torch.ones_like(like),
            "shift": torch.zeros_like(like),
            "running_mean": torch.zeros_like(like),
            "running_variance": torch.ones_like(like),
        }

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        if self.in_batch:
            mean, variance = x.mean(1), x.var(1, correction=0)
            images = x.shape[1]
            own["running_mean"].lerp_(mean, MOMENTUM)
            own["running_variance"].lerp_(variance * (images / max(images - 1, 1)), MOMENTUM)
        else:
            mean, variance = own["running_mean"], own["running_variance"]
        by = (variance + EPSILON).rsqrt()
        mean, by, scale, shift = (per_episode(t, len(x)).unsqueeze(1) for t in (mean, by, own["scale"], own["shift"]))
        normalized = (x - mean) * by
        return normalized * scale + shift, (normalized, by, self.in_batch)

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        """The layer's own Jacobian, whatever the rule: every image of a batch has a part in its mean and variance."""
        normalized, by, in_batch = cache
        error = error * per_episode(own["scale"], len(error)).unsqueeze(1)
        if in_batch:
            error = error - error.mean(1, keepdim=True) - normalized * (error * normalized).mean(1, keepdim=True)
        return error * by

    def gradients(self, error: Tensor, cache: Cache, networks: int) -> Parameters:
        normalized, _, _ = cache
        error = folded(error, networks)
        return {"scale": (error * folded(normalized, networks)).sum(-2), "shift": error.sum(-2)}
