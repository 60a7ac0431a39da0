"""Feedback matrices: how they are drawn, and how those that learn do so. None of it reads a weight backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from metafa.learning.kinds import resolved
from metafa.learning.layers.activation import Activation
from metafa.learning.layers.base import Parameters
from metafa.learning.networks import Network
from metafa.learning.rules import Rule
from metafa.learning.streams import Streams

Generators = list[torch.Generator]


@dataclass(frozen=True)
class FeedbackConfig:
    """How feedback is drawn, and how fast it learns.

    scale: its standard deviation, in units of that of the weights at the start.
    weight_decay: the fraction that the weights above the first layer, and feedback that follows them, lose a step.
    mirror_learning_rate, mirror_batch_size: of the weight mirror.
    """

    scale: float = 1.0
    distribution: Literal["normal", "uniform"] = "normal"
    weight_decay: float = 0.0
    mirror_learning_rate: float = 0.02
    mirror_batch_size: int = 64


def initialise(network: Network, rule: Rule, config: FeedbackConfig, streams: Streams) -> Network:
    """``network`` with feedback for ``rule``, each matrix drawn from a stream of its own."""
    if rule.signals is not None:
        return replace(network, feedback=() if rule.draw is None else resolved(rule.draw)(network, config, streams))
    matrices = [
        _drawn(network, place, rule, config, streams.generators(f"feedback/{number}"))
        for number, place in enumerate(network.carried, start=2)
    ]
    return replace(network, feedback=tuple(matrices))


def _drawn(network: Network, place: int, rule: Rule, config: FeedbackConfig, generators: Generators) -> Tensor:
    layer = network.layers[place]
    shape = (network.ways, layer.inputs) if rule.route == "direct" else layer.weight_shape
    deviation = config.scale * layer.deviation
    drawn = torch.empty(len(generators), *shape, device=generators[0].device)
    if rule.magnitudes == "constant":
        return drawn.fill_(deviation)
    for matrix, generator in zip(drawn, generators, strict=True):
        if config.distribution == "normal":
            matrix.normal_(generator=generator)
        else:  # of variance 1
            matrix.uniform_(-(3**0.5), 3**0.5, generator=generator)
    return drawn.mul_(deviation)


def gradients(rule: Rule, network: Network, gradients: Sequence[Parameters]) -> tuple[Tensor, ...]:
    """What moves the feedback in a training step, given the gradients of each layer's parameters: under
    Kolen-Pollack those of the weights that it stands for, which each synapse of B works out from the same activity and
    error as its fellow in W."""
    return tuple(gradients[place]["weight"] for place in network.carried) if rule.learning.follows else ()


def learned(rule: Rule, network: Network) -> tuple[Tensor, ...]:
    """The feedback that `gradients` are for."""
    return network.feedback if rule.learning.follows else ()


def redraw(network: Network, rule: Rule, config: FeedbackConfig, generators: Generators) -> None:
    """B is drawn anew."""
    for place, matrix in zip(network.carried, network.feedback, strict=True):
        matrix.copy_(_drawn(network, place, rule, config, generators))


def mirror(network: Network, rule: Rule, config: FeedbackConfig, generators: Generators) -> None:
    """B moves towards the mean of y x^T, x ~ N(0, I) the noise that a layer emits and y the answer of the next
    (the weight mirror of Akrout et al. 2019), the decay of B equal to its learning rate: the gradient that the layer
    makes of x and of y in place of an error.

    For the readout y = W x, whose mean is W; for a hidden layer y = phi(W x), whose mean is W times the mean of
    phi' (Stein's lemma): W / 2 for ReLU. Biases are silent.
    """
    layers, rate, images = network.layers, config.mirror_learning_rate, config.mirror_batch_size
    for place, weight, matrix in zip(network.carried, network.carried_weights, network.feedback, strict=True):
        layer = layers[place]
        noise = torch.stack([torch.randn(images, *layer.shape, generator=g, device=g.device) for g in generators])
        answers = layer.answer(weight, noise)
        for above in layers[place + 1 :]:
            if not isinstance(above, Activation):
                break
            answers, _ = above.forward({}, answers)
        layer.average(matrix, answers, noise, 1 - rate, rate / images)


@torch.no_grad()
def learn(network: Network, rule: Rule, config: FeedbackConfig, generators: Generators) -> None:
    """What happens to ``network``, in place, after each training step and each outer step: weights above the first
    layer decay, and with them feedback that follows; feedback that learns otherwise does so.

    Under Kolen-Pollack W and B have just taken the same step, so that their difference dies out as
    (1 - decay)^steps (Kolen and Pollack 1994).
    """
    if config.weight_decay:
        for matrix in (*network.carried_weights, *learned(rule, network)):
            matrix.mul_(1 - config.weight_decay)
    if rule.learning.change is not None:
        resolved(rule.learning.change)(network, rule, config, generators)
