"""Layers without parameters that make feature maps, add them, make them smaller, and make vectors of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metafa.learning.layers.base import Cache, Parameters, Shaped, packed, unpacked


@dataclass(frozen=True)
class Maps(Shaped):
    """What takes feature maps: channels, rows and columns."""

    channels: int
    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, self.rows, self.columns


@dataclass(frozen=True)
class Images(Maps):
    """The feature maps of images, a map a colour; an image's colours take turns in its pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels * self.rows * self.columns,)

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        return x.unflatten(-1, (self.rows, self.columns, self.channels)).movedim(-1, 2), None

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        return error.movedim(2, -1).flatten(2)


@dataclass(frozen=True)
class Flatten(Maps):
    """Feature maps as a vector, channel by channel."""

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        return x.flatten(2), None

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        return error.unflatten(2, self.shape)


@dataclass(frozen=True)
class MaxPooling(Maps):
    """The largest of every ``size`` x ``size`` square; rows and columns that fill no square are left out."""

    size: int = 2

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.channels * (self.rows // self.size) * (self.columns // self.size)

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        maps = packed(x)
        largest, places = torch.nn.functional.max_pool2d_with_indices(maps, (self.size, self.size))
        return unpacked(largest, len(x)), (maps, places)

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        maps, places = cache
        size = [self.size] * 2
        sent = torch.ops.aten.max_pool2d_with_indices_backward(
            packed(error), maps, size, size, [0, 0], [1, 1], False, places
        )
        return unpacked(sent, len(error))


@dataclass(frozen=True)
class AveragePooling(Maps):
    """The mean of every ``size`` x ``size`` square, or, of None, of the whole of each map."""

    size: int | None = None

    @property
    def squares(self) -> tuple[int, int]:
        return (self.rows, self.columns) if self.size is None else (self.size, self.size)

    @property
    def outputs(self) -> int:  # type: ignore[override]
        rows, columns = self.squares
        return self.channels * (self.rows // rows) * (self.columns // columns)

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        maps = packed(x)
        return unpacked(torch.nn.functional.avg_pool2d(maps, self.squares), len(x)), maps

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        squares = [*self.squares]
        sent = torch.ops.aten.avg_pool2d_backward(packed(error), cache, squares, squares, [0, 0], False, True, None)
        return unpacked(sent, len(error))


@dataclass(frozen=True)
class Sum(Maps):
    """The sum of the outputs of the layer below and of one that is ``skips`` layers further down: the end of a residual
    connection (He et al. 2016, eq. 1)."""

    skips: int = 1

    adds = True

    def forward(self, own: Parameters, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Cache]:
        below, skipped = x
        return below + skipped, None

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        """Both get the same error."""
        return error
