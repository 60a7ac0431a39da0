"""Feedback matrices: how they are drawn, and how those that learn do so. None of it reads a weight backwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from metafa.learning.kinds import resolved
from metafa.learning.networks import ACTIVATIONS, Network
from metafa.learning.rules import Rule
from metafa.learning.streams import Streams

Generators = list[torch.Generator]


@dataclass(frozen=True)
class Feedback:
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


def initialise(network: Network, rule: Rule, how: Feedback, streams: Streams) -> Network:
    """``network`` with feedback for ``rule``, each matrix drawn from a stream of its own."""
    ways = network.biases[-1].shape[-1]
    matrices = []
    for layer, weights in enumerate(network.weights[1:], start=2):
        out, into = weights.shape[1:]
        rows = ways if rule.route == "direct" else out
        matrices.append(_drawn(rows, into, network.activation, rule, how, streams.generators(f"feedback/{layer}")))
    return replace(network, feedback=tuple(matrices))


def _drawn(rows: int, into: int, activation: str, rule: Rule, how: Feedback, generators: Generators) -> Tensor:
    deviation = how.scale * (ACTIVATIONS[activation].gain / into) ** 0.5
    drawn = torch.empty(len(generators), rows, into, device=generators[0].device)
    if rule.magnitudes == "constant":
        return drawn.fill_(deviation)
    for matrix, generator in zip(drawn, generators, strict=True):
        if how.distribution == "normal":
            matrix.normal_(generator=generator)
        else:  # of variance 1
            matrix.uniform_(-(3**0.5), 3**0.5, generator=generator)
    return drawn.mul_(deviation)


def gradients(rule: Rule, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What moves the feedback in a training step, given the gradients of the weights and biases: under
    Kolen-Pollack those of the weights above the first layer, which each synapse of B works out from the same
    activity and error as its fellow in W."""
    return gradients[1 : len(gradients) // 2] if rule.learning.follows else ()


def learned(rule: Rule, network: Network) -> tuple[Tensor, ...]:
    """The feedback that `gradients` are for."""
    return network.feedback if rule.learning.follows else ()


def redraw(network: Network, rule: Rule, how: Feedback, generators: Generators) -> None:
    """B is drawn anew."""
    for matrix in network.feedback:
        rows, into = matrix.shape[1:]
        matrix.copy_(_drawn(rows, into, network.activation, rule, how, generators))


def mirror(network: Network, rule: Rule, how: Feedback, generators: Generators) -> None:
    """B moves towards the mean of y x^T, x ~ N(0, I) the noise that a layer emits and y the answer of the next
    (the weight mirror of Akrout et al. 2019), the decay of B equal to its learning rate.

    For the readout y = W x, whose mean is W; for a hidden layer y = phi(W x), whose mean is W times the mean of
    phi' (Stein's lemma): W / 2 for ReLU. Biases are silent.
    """
    last = len(network.feedback) - 1
    for layer, (weights, matrix) in enumerate(zip(network.weights[1:], network.feedback, strict=True)):
        noise = torch.stack(
            [torch.randn(how.mirror_batch_size, weights.shape[2], generator=g, device=g.device) for g in generators]
        )
        answers = noise @ weights.mT
        if layer < last:
            answers = ACTIVATIONS[network.activation].function(answers)
        matrix.baddbmm_(
            answers.mT,
            noise,
            beta=1 - how.mirror_learning_rate,
            alpha=how.mirror_learning_rate / how.mirror_batch_size,
        )


@torch.no_grad()
def learn(network: Network, rule: Rule, how: Feedback, generators: Generators) -> None:
    """What happens to ``network``, in place, after each training step and each outer step: weights above the first
    layer decay, and with them feedback that follows; feedback that learns otherwise does so.

    Under Kolen-Pollack W and B have just taken the same step, so that their difference dies out as
    (1 - decay)^steps (Kolen and Pollack 1994).
    """
    if how.weight_decay:
        for matrix in (*network.weights[1:], *learned(rule, network)):
            matrix.mul_(1 - how.weight_decay)
    if rule.learning.change is not None:
        resolved(rule.learning.change)(network, rule, how, generators)
