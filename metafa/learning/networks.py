"""A batch of S independent multilayer perceptrons: shapes, initialisation, forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import products
from metafa.learning.streams import Streams


class Activation(NamedTuple):
    """An activation function, and what it does to errors on their way back.

    function: phi, from pre-activations to activations, in their place.
    derivative: from errors and activations h = phi(a) to errors * phi'(a), in place of the errors where autograd does
        not follow.
    gain: the variance of initial weights, times their number of inputs, that keeps the size of activations.
    """

    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor]
    gain: float


def _relu_derivative(error: Tensor, hidden: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return torch.ops.aten.threshold_backward(error, hidden, 0)
    return torch.ops.aten.threshold_backward.grad_input(error, hidden, 0, grad_input=error)


def _tanh_derivative(error: Tensor, hidden: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return torch.ops.aten.tanh_backward(error, hidden)
    return torch.ops.aten.tanh_backward.grad_input(error, hidden, grad_input=error)


ACTIVATIONS = {
    "relu": Activation(torch.relu_, _relu_derivative, 2.0),
    "tanh": Activation(torch.tanh_, _tanh_derivative, 1.0),
}


@dataclass(frozen=True)
class Network:
    """S replicas of a perceptron of L layers.

    weights: layer l as ``[replica, out, in]``, first layer first.
    biases: layer l as ``[replica, out]``.
    feedback: one matrix for every layer but the first, shaped as that layer's weights, or, where errors go
        straight from the outputs to a hidden layer, ``[replica, way, in]``.
    activation: the name of the hidden units' activation function.
    """

    weights: tuple[Float[Tensor, "replica _out _in"], ...]
    biases: tuple[Float[Tensor, "replica _out"], ...]
    feedback: tuple[Float[Tensor, "replica _out _in"], ...]
    activation: str = "relu"

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """What every rule trains: the weights, then the biases."""
        return (*self.weights, *self.biases)


def initialise(sizes: Sequence[int], streams: Streams, activation: str = "relu") -> Network:
    """Networks with ``sizes`` = inputs, hidden layers ..., outputs units, and no feedback yet.

    Weights are drawn from N(0, gain / in), gain 2 for ReLU (He et al. 2015, eq. 10) and 1 for tanh (LeCun et
    al. 1998, eq. 16), each matrix from a stream of its own; biases start at 0. One replica a seed of ``streams``.
    """
    gain = ACTIVATIONS[activation].gain
    weights = []
    for layer in range(1, len(sizes)):
        out, into = sizes[layer], sizes[layer - 1]
        drawn = [
            torch.randn(out, into, generator=generator, device=streams.device)
            for generator in streams.generators(f"weights/{layer}")
        ]
        weights.append(torch.stack(drawn) * (gain / into) ** 0.5)
    biases = tuple(torch.zeros(w.shape[:2], device=streams.device) for w in weights)
    return Network(tuple(weights), biases, (), activation)


def times(
    inputs: Float[Tensor, "_batch image in"], matrices: Float[Tensor, "_replica in out"]
) -> Float[Tensor, "_batch image out"]:
    """The product of every batch of images with its own matrix, or, where replicas have several batches each,
    with its replica's: then as one product a replica."""
    if len(inputs) == len(matrices):
        return torch.bmm(inputs, matrices)
    return torch.bmm(inputs.reshape(len(matrices), -1, inputs.shape[-1]), matrices).view(*inputs.shape[:-1], -1)


@dataclass(frozen=True)
class Activity:
    """What a forward pass leaves behind, ``[..., image, units]`` each.

    hidden: the activations of the hidden layers, first layer first.
    logits: the pre-activations of the readout.
    """

    hidden: tuple[Tensor, ...]
    logits: Tensor


def forward_from(
    first: Float[Tensor, "_batch image _hidden"],
    upper_weights: tuple[Tensor, ...],
    upper_biases: tuple[Tensor, ...],
    activation: str,
) -> Activity:
    """The forward pass given the first layer's pre-activations, which it overwrites, and the weights above it.

    Weights and biases are one for each batch of images, or one for each replica.
    """
    function = ACTIVATIONS[activation].function
    hidden, pre_activations = [], first
    for weights, biases in zip(upper_weights, upper_biases, strict=True):
        hidden.append(function(pre_activations))
        if len(weights) == len(first):
            # the few outputs by the many images: softmax is several times faster over the outer of the two axes
            pre_activations = torch.baddbmm(biases.unsqueeze(-1), weights, hidden[-1].mT).mT
        else:
            shared = hidden[-1].reshape(len(weights), -1, weights.shape[-1])
            shared = torch.baddbmm(biases.unsqueeze(-2), shared, weights.mT)
            pre_activations = shared.view(*hidden[-1].shape[:-1], -1)
    return Activity(tuple(hidden), pre_activations)


def first_layer(
    network: Network, inputs: Float[Tensor, "replica image pixel"]
) -> Float[Tensor, "replica image _hidden"]:
    """The first layer's pre-activations."""
    return products.affine(inputs, network.weights[0], network.biases[0])


def forward(network: Network, inputs: Float[Tensor, "replica image pixel"]) -> Activity:
    """The forward pass of every replica on images of its own."""
    return forward_from(first_layer(network, inputs), network.weights[1:], network.biases[1:], network.activation)
