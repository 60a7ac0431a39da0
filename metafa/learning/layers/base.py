"""What is asked of every kind of layer.

Activations are ``[batch, image, ...]``, a batch for each network: for each replica, or for each episode, a task of a
replica, replica by replica. Parameters have one leading axis: one of a replica, or of an episode once it has adapted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]
"""A layer's parameters by name, such as ``weight`` and ``bias``; empty where it has none."""
Cache = Any
"""What a layer keeps of a forward pass for the backward pass."""
Draw = Callable[..., Tensor]
"""From a shape to standard normals ``[replica, *shape]``, each replica's from its own stream."""


class Layer:
    """A kind of layer. Holds sizes and no tensors of a network.

    learns: whether it has parameters, and takes part in learning.
    carried: whether errors go back through it by what a rule puts in the place of its parameter ``weight``; else it
        sends them back by itself.
    has_dual: whether it has a `dual` form.
    statistics: those of its parameters that no gradient moves: it keeps them itself, as the form of it does that is
        `in_training`.
    needs_support: whether, on a query set, it takes something from what it made of the support set.
    skips: how many layers lie between it and the layer whose outputs it takes in place of those of the layer below.
    adds: whether it takes both, as a pair, those of the layer below first.
    inputs, outputs: the numbers that an image is to it, and that it makes of one.
    """

    learns: bool = False
    carried: bool = False
    has_dual: bool = False
    statistics: tuple[str, ...] = ()
    needs_support: bool = False
    skips: int = 0
    adds: bool = False
    inputs: int
    outputs: int

    @property
    def shape(self) -> tuple[int, ...]:
        """An image's shape to it: of a vector, or of feature maps, channel, row, column."""
        return (self.inputs,)

    def initialise(self, draw: Draw) -> Parameters:
        """The parameters at the start."""
        return {}

    def trained(self, own: Parameters) -> Parameters:
        """Those of its parameters that gradients move."""
        return {name: tensor for name, tensor in own.items() if name not in self.statistics}

    def in_training(self) -> Layer:
        """The form of it that a network has in the forward pass of a training step."""
        return self

    def in_adaptation(self) -> Layer:
        """The form of it that a network has where it adapts to tasks, and on their query sets."""
        return self

    def on_query(self, support: Cache) -> Layer:
        """Of a layer that `needs_support`, the form of it on the query set, given what it has kept of the support
        set."""
        raise NotImplementedError

    def forward(self, own: Parameters, x: Any) -> tuple[Tensor, Cache]:
        """The outputs, and what is kept for the way back. Only a layer without parameters may overwrite ``x``, and no
        layer overwrites what others take too."""
        raise NotImplementedError

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        """The error at its inputs, of the error at its outputs; ``carrier`` stands for its weight where it is
        `carried`. Only a layer without parameters may overwrite ``error``."""
        raise NotImplementedError

    def gradients(self, error: Tensor, cache: Cache, networks: int) -> Parameters:
        """The gradients of the parameters of the network, summed over the images of so many networks' batches."""
        raise NotImplementedError

    def gradient_step(
        self, own: Parameters, rate: Tensor, error: Tensor, cache: Cache, feedback: Tensor | None
    ) -> tuple[Parameters, Tensor | None]:
        """The parameters, and feedback that follows the weight, after a step of gradient descent of every episode;
        ``rate`` is ``[episode, 1, 1]``."""
        gradients = self.gradients(error, cache, len(error))
        episodes = len(error)

        def step(old: Tensor, gradient: Tensor) -> Tensor:
            return per_episode(old, episodes) - rate.reshape(-1, *(1,) * (old.dim() - 1)) * gradient

        found = {name: step(own[name], gradient) for name, gradient in gradients.items()}
        return found, None if feedback is None else step(feedback, gradients["weight"])

    # of layers that have a dual

    def dual(self, outputs: Tensor, gram: Tensor, images: Tensor, place: slice) -> Layer:
        """The form that the layer takes on a set of images that does not change, as `layers.linear.Dual` has it."""
        raise NotImplementedError

    def of_all(self, own: Parameters, images: Tensor) -> Tensor:
        """The outputs of every image ``[image, in]`` for every replica, ``[image, replica, out]``."""
        raise NotImplementedError

    # of layers that are carried: feedback, and the weight mirror

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Of the weight of one network: ``(out, in)`` of a linear layer."""
        return self.outputs, self.inputs

    @property
    def deviation(self) -> float:
        """The standard deviation of initial weights; feedback has it as well."""
        raise NotImplementedError

    def answer(self, weight: Tensor, noise: Tensor) -> Tensor:
        """The outputs of noise; biases are silent."""
        raise NotImplementedError

    def average(self, feedback: Tensor, answers: Tensor, noise: Tensor, keep: float, by: float) -> None:
        """Feedback, in place, times ``keep`` and, times ``by``, the gradient that answers and noise make."""
        raise NotImplementedError

    # what outer algorithms ask, which a layer in another form answers for the layer that it stands for

    def live(self, own: Parameters) -> tuple[Layer, Parameters, Parameters]:
        """The layer and its parameters for autograd to follow, and by name the tensors to differentiate by."""
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in self.trained(own).items()}
        return self, {**own, **leaves}, leaves

    def derivatives(self, error: Tensor, cache: Cache) -> Parameters:
        """The derivative of the loss by the parameters as they have adapted, of each episode."""
        return self.gradients(error, cache, len(error))

    def initial_gradients(self, by_leaves: Parameters, error: Tensor, replicas: int) -> Parameters:
        """The gradients of the network's parameters, given those by the leaves of `live` and the error at its outputs
        on the query set."""
        return by_leaves

    def displacement(self, start: Parameters, own: Parameters) -> Parameters:
        """The network's parameters ``start`` less the mean over episodes of what they have become."""
        return {name: old - own[name].unflatten(0, (len(old), -1)).mean(1) for name, old in self.trained(start).items()}


class Shaped(Layer):
    """A layer that has a `shape`, and makes as many numbers of an image as it is given."""

    @property
    def inputs(self) -> int:  # type: ignore[override]
        return prod(self.shape)

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.inputs


def of_deviation(draw: Draw, shape: Sequence[int], deviation: float, distribution: str) -> Tensor:
    """Initial weights of mean 0 from a ``normal`` or a ``uniform`` distribution."""
    normal = draw(*shape)
    return normal * deviation if distribution == "normal" else (2 * torch.special.ndtr(normal) - 1) * 3**0.5 * deviation


def source(place: int, layer: Layer) -> int:
    """The place of the layer whose outputs the layer at ``place`` takes, or adds to those of the layer below."""
    return place - 1 - layer.skips


def per_episode(tensors: Tensor, episodes: int) -> Tensor:
    """One tensor an episode, of one a replica."""
    number = tensors.shape[0]
    return tensors if number == episodes else tensors.repeat_interleave(episodes // number, 0)


def folded(tensor: Tensor, networks: int) -> Tensor:
    """All images of a network, which may have several batches of them, in one axis."""
    return tensor if tensor.shape[0] == networks else tensor.unflatten(0, (networks, -1)).flatten(1, 2)


def packed(maps: Tensor) -> Tensor:
    """Feature maps ``[batch, image, channel, row, column]`` as a grouped convolution has them, the channels of all
    batches beside each other: ``[image, batch x channel, row, column]``."""
    return maps.transpose(0, 1).flatten(1, 2)


def unpacked(maps: Tensor, batches: int) -> Tensor:
    """What `packed` has packed."""
    return maps.unflatten(1, (batches, -1)).transpose(0, 1)


def flat(parameters: Sequence[Parameters]) -> tuple[Tensor, ...]:
    """The tensors of all layers: the first name's, first layer first, then the next name's."""
    names = dict.fromkeys(name for own in parameters for name in own)
    return tuple(own[name] for name in names for own in parameters if name in own)


def times(inputs: Tensor, matrices: Tensor) -> Tensor:
    """The product of every batch ``[batch, image, in]`` with its own matrix ``[batch, in, out]``, or, where replicas
    have several batches each, with its replica's: then as one product a replica."""
    networks = matrices.shape[0]
    if inputs.shape[0] == networks:
        return torch.bmm(inputs, matrices)
    return torch.bmm(inputs.reshape(networks, -1, inputs.shape[-1]), matrices).view(*inputs.shape[:-1], -1)
