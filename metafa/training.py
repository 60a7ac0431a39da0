"""The training loop that noise pretraining and training on data share: batches in, steps out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metafa import credit, feedback, networks, optimizers
from metafa.feedback import Feedback
from metafa.networks import Network
from metafa.optimizers import Optimizer


@dataclass(frozen=True)
class Step:
    """One training step of every replica: how many have been taken, and the batch's readout before it."""

    number: int
    logits: Float[Tensor, "replica image way"]
    targets: Float[Tensor, "replica image way"]

    @property
    def loss(self) -> Float[Tensor, "replica"]:
        """The cross-entropy, in nats."""
        return credit.cross_entropy(self.logits, self.targets)

    @property
    def accuracy(self) -> Float[Tensor, "replica"]:
        return credit.accuracy(self.logits, self.targets)


@torch.no_grad()
def train(
    network: Network,
    rule: credit.Rule,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: Optimizer,
    how: Feedback,
    feedback_from: list[torch.Generator],
) -> Iterator[Step]:
    """Trains ``network`` in place, a step for each of ``batches`` (inputs ``[replica, image, pixel]`` and targets
    ``[replica, image, way]``), and yields after each."""
    update = optimizers.make(optimizer, (*network.parameters, *feedback.learned(rule, network)))
    for number, (inputs, targets) in enumerate(batches, start=1):
        activity = networks.forward(network, inputs)
        gradients = credit.gradients(rule, network, activity, inputs, targets)
        update((*gradients, *feedback.gradients(rule, gradients)))
        feedback.learn(network, rule, how, feedback_from)
        yield Step(number, activity.logits, targets)
