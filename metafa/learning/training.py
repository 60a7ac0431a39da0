"""The one training loop, of noise pretraining, training on data and meta-training: batches in, steps out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import credit, feedback, networks, optimizers
from metafa.learning.feedback import FeedbackConfig
from metafa.learning.layers.base import Parameters, flat
from metafa.learning.losses import CROSS_ENTROPY, Loss
from metafa.learning.networks import Network
from metafa.learning.optimizers import Optimizer, Update
from metafa.learning.rules import Rule
from metafa.learning.streams import Streams

Generators = Mapping[str, list[torch.Generator]]
State = dict[str, Tensor]
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class ResumePoint:
    """Where a training loop starts: after so many ``steps``, with the `Step.state` that they left. Given the network as
    it was then, the loop goes on to the bit as if it had not been interrupted. By default it starts at the beginning.
    """

    steps: int = 0
    state: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Learner:
    """What noise pretraining, training on data and meta-training alike are given.

    network: the network; it is trained in place.
    rule: how the error at the outputs reaches every layer.
    streams: the random streams that batches are drawn from.
    optimizer: how parameters move along gradients.
    feedback_config: how feedback learns.
    resume: where the training starts.
    """

    network: Network
    rule: Rule
    streams: Streams
    optimizer: Optimizer
    feedback_config: FeedbackConfig = field(default_factory=FeedbackConfig)
    resume: ResumePoint = field(default_factory=ResumePoint)


@dataclass(frozen=True)
class Step:
    """One training step of every replica: how many have been taken, the batch's readout before it, and what the loop
    carries from here besides the network."""

    number: int
    logits: Float[Tensor, "replica image way"]
    targets: Float[Tensor, "replica image way"]
    state: Callable[[], State] = dict
    criterion: Loss = CROSS_ENTROPY

    @property
    def loss(self) -> Float[Tensor, "replica"]:
        """The network's loss; the cross-entropy is in nats."""
        return self.criterion.value(self.logits, self.targets)

    @property
    def accuracy(self) -> Float[Tensor, "replica"]:
        """The score that goes with the loss."""
        return self.criterion.scored(self.logits, self.targets)


class Gradient(NamedTuple):
    """What a training step goes by: a direction to descend for the parameters of each layer, and for what else is
    trained; and the batch's readout."""

    parameters: tuple[Parameters, ...]
    others: tuple[Tensor, ...]
    logits: Tensor
    targets: Tensor


def train(learner: Learner, batches: Iterable[tuple[Tensor, Tensor]], generators: Generators) -> Iterator[Step]:
    """Takes a step for each of ``batches`` (inputs ``[replica, image, pixel]`` and targets ``[replica, image, way]``),
    and yields after each. ``generators`` are all that the training draws from: those of ``feedback``, and those that
    the batches are drawn from."""
    network, rule = learner.network, learner.rule

    @torch.no_grad()
    def gradient(batch: tuple[Tensor, Tensor]) -> Gradient:
        inputs, targets = batch
        activity = networks.forward(network, inputs, training=True)
        gradients = credit.gradients(rule, network, activity, inputs, targets)
        return Gradient(gradients, (), activity.logits, targets)

    return loop(learner, batches, gradient, generators)


def loop(
    learner: Learner,
    batches: Iterable[Batch],
    gradient: Callable[[Batch], Gradient],
    generators: Generators,
    others: tuple[Tensor, ...] = (),
) -> Iterator[Step]:
    """Moves the network and the ``others`` along the ``gradient`` of each of ``batches``, and yields after each step.
    ``generators`` are all that the training draws from."""
    network, rule, config = learner.network, learner.rule, learner.feedback_config
    max_norm = learner.optimizer.max_norm
    update = optimizers.make(learner.optimizer, (*network.tensors, *others, *feedback.learned(rule, network)))
    restore(learner.resume, update, generators)
    for number, batch in enumerate(batches, start=learner.resume.steps + 1):
        made = gradient(batch)
        parameters = made.parameters if max_norm is None else optimizers.clipped(made.parameters, max_norm)
        update((*flat(parameters), *made.others, *feedback.gradients(rule, network, parameters)))
        feedback.learn(network, rule, config, generators["feedback"])
        yield Step(number, made.logits, made.targets, lambda: carried(update, generators), network.loss)


def carried(update: Update, generators: Generators) -> State:
    """What a training loop carries from one step to the next."""
    states = {f"generator/{name}": torch.stack([g.get_state() for g in some]) for name, some in generators.items()}
    return states | {f"optimizer/{name}": value for name, value in update.state().items()}


def restore(start: ResumePoint, update: Update, generators: Generators) -> None:
    """Puts the optimizer and the generators back in the state that the loop starts with."""
    if start.state is None:
        return
    for name, some in generators.items():
        for generator, state in zip(some, start.state[f"generator/{name}"], strict=True):
            generator.set_state(state.clone())
    of_optimizer = {name: value for name, value in start.state.items() if name.startswith("optimizer/")}
    update.restore({name.removeprefix("optimizer/"): value for name, value in of_optimizer.items()})
