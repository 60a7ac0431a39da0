"""Activation functions, a layer each without parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metafa.learning.kinds import ACTIVATIONS, resolved
from metafa.learning.layers.base import Cache, Parameters, Shaped


@dataclass(frozen=True)
class Activation(Shaped):
    """The activation function ``name`` of `kinds.ACTIVATIONS`, of every unit.

    units: of a vector their number alone; of feature maps channels, rows and columns.
    """

    name: str
    units: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.units

    @cached_property
    def _function(self):
        return resolved(ACTIVATIONS[self.name].function)

    @cached_property
    def _derivative(self):
        return resolved(ACTIVATIONS[self.name].derivative)

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        hidden = self._function(x)
        return hidden, hidden

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        return self._derivative(error, cache)


def relu(pre_activations: Tensor) -> Tensor:
    return torch.relu_(pre_activations)


def relu_derivative(error: Tensor, hidden: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return torch.ops.aten.threshold_backward(error, hidden, 0)
    return torch.ops.aten.threshold_backward.grad_input(error, hidden, 0, grad_input=error)


def tanh(pre_activations: Tensor) -> Tensor:
    return torch.tanh_(pre_activations)


def tanh_derivative(error: Tensor, hidden: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return torch.ops.aten.tanh_backward(error, hidden)
    return torch.ops.aten.tanh_backward.grad_input(error, hidden, grad_input=error)


SLOPE = 0.1  # of a leaky ReLU below 0


def leaky_relu(pre_activations: Tensor) -> Tensor:
    return torch.nn.functional.leaky_relu_(pre_activations, SLOPE)


def leaky_relu_derivative(error: Tensor, hidden: Tensor) -> Tensor:
    return torch.ops.aten.leaky_relu_backward(error, hidden, SLOPE, True)
