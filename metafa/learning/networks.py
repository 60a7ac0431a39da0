"""A batch of S independent networks of any layers: initialisation, forward pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning.kinds import ACTIVATIONS
from metafa.learning.layers.activation import Activation
from metafa.learning.layers.base import Cache, Layer, Parameters, flat, source
from metafa.learning.layers.linear import Linear
from metafa.learning.losses import CROSS_ENTROPY, Loss
from metafa.learning.streams import Streams


@dataclass(frozen=True)
class Network:
    """S replicas of a network.

    layers: the first one first.
    parameters: those of each layer by name, ``[replica, ...]``, empty where it has none.
    feedback: one tensor ``[replica, ...]`` for every layer that errors are carried through, which is all with weights
        but the lowest: shaped as that layer's weight, or, where errors go straight from the outputs to the layer below
        it, ``[replica, way, in]``.
    loss: what is minimized at the outputs.
    """

    layers: tuple[Layer, ...]
    parameters: tuple[Parameters, ...]
    feedback: tuple[Tensor, ...] = ()
    loss: Loss = CROSS_ENTROPY

    @cached_property
    def replicas(self) -> int:
        return len(self.tensors[0])

    @property
    def inputs(self) -> int:
        """The pixels of an image."""
        return self.layers[0].inputs

    @property
    def ways(self) -> int:
        """The outputs."""
        return self.layers[-1].outputs

    @cached_property
    def learning(self) -> tuple[int, ...]:
        """The places of the layers that have parameters."""
        return learning(self.layers)

    @cached_property
    def carried(self) -> tuple[int, ...]:
        """The places of the layers that errors are carried through, one for each of ``feedback``."""
        return carried(self.layers)

    @property
    def carried_weights(self) -> tuple[Tensor, ...]:
        """The weight of each layer that errors are carried through, one for each of ``feedback``."""
        return tuple(self.parameters[place]["weight"] for place in self.carried)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What every rule trains: the weights of all layers, then the biases, and so on by name."""
        return flat([layer.trained(own) for layer, own in zip(self.layers, self.parameters, strict=True)])

    @property
    def state(self) -> tuple[Tensor, ...]:
        """All that training changes in place: what is trained, feedback, and statistics."""
        return (*self.tensors, *self.feedback, *self.statistics)

    @property
    def statistics(self) -> tuple[Tensor, ...]:
        """What layers keep of the batches they were trained on, in no rule's hands."""
        layers = zip(self.layers, self.parameters, strict=True)
        return flat([{name: own[name] for name in layer.statistics} for layer, own in layers])

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """The weight of each layer that has one."""
        return tuple(own["weight"] for own in self.parameters if "weight" in own)

    @property
    def biases(self) -> tuple[Tensor, ...]:
        """The bias of each layer that has one."""
        return tuple(own["bias"] for own in self.parameters if "bias" in own)


def learning(layers: Sequence[Layer]) -> tuple[int, ...]:
    """The places of the layers that have parameters."""
    return tuple(i for i, layer in enumerate(layers) if layer.learns)


def carried(layers: Sequence[Layer]) -> tuple[int, ...]:
    """The places of the layers that errors are carried through: none goes on below the lowest layer that learns."""
    lowest = learning(layers)[0]
    return tuple(i for i, layer in enumerate(layers) if layer.carried and i > lowest)


def perceptron(sizes: Sequence[int], activation: str = "relu") -> tuple[Layer, ...]:
    """The layers of a perceptron with ``sizes`` = inputs, hidden layers ..., outputs units."""
    gain = ACTIVATIONS[activation].gain
    layers: list[Layer] = []
    for number in range(1, len(sizes)):
        if number > 1:
            layers.append(Activation(activation, (sizes[number - 1],)))
        layers.append(Linear(sizes[number - 1], sizes[number], gain, units_first=number > 1))
    return tuple(layers)


def initialise(layers: Sequence[Layer], streams: Streams, loss: Loss = CROSS_ENTROPY) -> Network:
    """Networks of those layers, and no feedback yet, one replica a seed of ``streams``. Each layer draws from a stream
    of its own; those of layers with weights are the same whatever other layers there are."""
    parameters: list[Parameters] = []
    number = 0
    for place, layer in enumerate(layers):
        number += layer.carried
        stream = f"weights/{number}" if layer.carried else f"parameters/{place}"
        generators = streams.generators(stream) if layer.learns else []

        def draw(*shape: int, generators: list[torch.Generator] = generators) -> Tensor:
            return torch.stack([torch.randn(*shape, generator=g, device=g.device) for g in generators])

        parameters.append(layer.initialise(draw))
    return Network(tuple(layers), tuple(parameters), (), loss)


class Activity(NamedTuple):
    """What a forward pass leaves behind: the outputs ``[..., image, way]``, and what each layer keeps of it."""

    logits: Tensor
    caches: tuple[Cache, ...]


def copied(network: Network) -> Network:
    """Networks of their own with the same parameters and feedback."""
    parameters = tuple({name: tensor.clone() for name, tensor in own.items()} for own in network.parameters)
    return dataclasses.replace(network, parameters=parameters, feedback=tuple(b.clone() for b in network.feedback))


def forward_through(layers: Sequence[Layer], parameters: Sequence[Parameters], x: Any) -> Activity:
    """The forward pass through ``layers``; parameters are one for each batch of images, or one for each replica."""
    caches, kept = [], dict[int, Tensor]()
    taken = {source(place, layer) for place, layer in enumerate(layers) if layer.skips}
    for place, (layer, own) in enumerate(zip(layers, parameters, strict=True)):
        if layer.skips:
            skipped = kept[source(place, layer)]
            x = (x, skipped) if layer.adds else skipped
        x, cache = layer.forward(own, x)
        caches.append(cache)
        if place in taken:
            kept[place] = x
    return Activity(x, tuple(caches))


def widest_maps(network: Network) -> int:
    """The numbers of the widest feature maps that a network makes of an image; 0 where it makes none."""
    return max((layer.inputs for layer in network.layers if len(layer.shape) > 1), default=0)


def features(network: Network, activity: Activity) -> tuple[Float[Tensor, "replica image unit"], ...]:
    """The outputs of each activation function, those of the first hidden layer first. A channel of feature maps is a
    unit, and each of its places an image."""
    layers = zip(network.layers, activity.caches, strict=True)
    kept = [cache for layer, cache in layers if isinstance(layer, Activation)]  # which keeps its outputs
    return tuple(outputs.movedim(2, -1).flatten(1, -2) for outputs in kept)


def forward(network: Network, inputs: Float[Tensor, "replica image pixel"], training: bool = False) -> Activity:
    """The forward pass of every replica on images of its own; that of a ``training`` step may change the network's
    `statistics`, in place."""
    layers = [layer.in_training() for layer in network.layers] if training else network.layers
    return forward_through(layers, network.parameters, inputs)
