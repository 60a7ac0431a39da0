"""The convolution of feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metafa.learning.layers.base import Cache, Draw, Parameters, Shaped, folded, of_deviation, packed, unpacked

Backward = torch.ops.aten.convolution_backward


@dataclass(frozen=True)
class Convolution(Shaped):
    """y = W * x + b, the cross-correlation of feature maps with kernels; ``weight`` is
    ``[network, filter, channel, kernel, kernel]`` and ``bias`` ``[network, filter]``.

    All networks, or all episodes once their kernels differ, are the groups of one grouped convolution.

    channels, rows, columns: of the feature maps that come in.
    filters: how many come out.
    kernel: its rows, and its columns.
    stride: in rows, and in columns.
    padding: zeros at each border.
    has_bias: whether there is a bias; below a normalization it changes nothing.
    start: how weights start: ``glorot``, uniform of variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010, eq. 16),
        or ``fan_out``, normal of variance 2 / fan-out (He et al. 2015, eq. 14).
    """

    channels: int
    rows: int
    columns: int
    filters: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    has_bias: bool = True
    start: Literal["glorot", "fan_out"] = "glorot"
    skips: int = 0

    learns = True
    carried = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, self.rows, self.columns

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns that come out."""
        rows, columns = ((n + 2 * self.padding - self.kernel) // self.stride + 1 for n in (self.rows, self.columns))
        return rows, columns

    @property
    def outputs(self) -> int:  # type: ignore[override]
        rows, columns = self.size
        return self.filters * rows * columns

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.filters, self.channels, self.kernel, self.kernel

    @property
    def deviation(self) -> float:
        fan = self.filters + (self.channels if self.start == "glorot" else 0)
        return (2 / (fan * self.kernel**2)) ** 0.5

    def initialise(self, draw: Draw) -> Parameters:
        """Biases are 0."""
        distribution = "uniform" if self.start == "glorot" else "normal"
        weight = of_deviation(draw, self.weight_shape, self.deviation, distribution)
        bias = {"bias": torch.zeros(weight.shape[:2], device=weight.device)} if self.has_bias else {}
        return {"weight": weight, **bias}

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        weight, bias = own["weight"], own.get("bias")
        networks = weight.shape[0]
        maps = torch.conv2d(
            packed(folded(x, networks)),
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            stride=self.stride,
            padding=self.padding,
            groups=networks,
        )
        return unpacked(maps, networks).reshape(*x.shape[:2], self.filters, *self.size), x

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        """The transposed convolution of the error with the carrier."""
        assert carrier is not None
        networks = carrier.shape[0]
        errors = packed(folded(error, networks))
        inputs = errors.new_empty(1).expand(len(errors), networks * self.channels, self.rows, self.columns)
        sent, *_ = self._backward(errors, inputs, carrier.flatten(0, 1), networks, [True, False, False])
        assert sent is not None
        return unpacked(sent, networks).reshape(*error.shape[:2], *self.shape)

    def gradients(self, error: Tensor, cache: Cache, networks: int) -> Parameters:
        errors, inputs = packed(folded(error, networks)), packed(folded(cache, networks))
        weight = errors.new_empty(1).expand(networks * self.filters, *self.weight_shape[1:])
        _, *found = self._backward(errors, inputs, weight, networks, [False, True, self.has_bias])
        return {
            name: tensor.unflatten(0, (networks, -1))
            for name, tensor in zip(("weight", "bias"), found, strict=True)
            if tensor is not None
        }

    def _backward(
        self, error: Tensor, inputs: Tensor, weight: Tensor, groups: int, wanted: list[bool]
    ) -> Sequence[Tensor | None]:
        stride, padding = [self.stride] * 2, [self.padding] * 2
        biases = [weight.shape[0]]
        return Backward(error, inputs, weight, biases, stride, padding, [1, 1], False, [0, 0], groups, wanted)

    def answer(self, weight: Tensor, noise: Tensor) -> Tensor:
        return self.forward({"weight": weight}, noise)[0]

    def average(self, feedback: Tensor, answers: Tensor, noise: Tensor, keep: float, by: float) -> None:
        """The mean over the places at which an entry of the kernel meets a pixel and no padding."""
        products, places = (
            self.gradients(*pair, len(feedback))["weight"]
            for pair in ((answers, noise), (torch.ones_like(answers[:, :1]), torch.ones_like(noise[:, :1])))
        )
        feedback.mul_(keep).add_(products / places.clamp(min=1), alpha=by)
