"""The one training loop, of noise pretraining, training on data and meta-training: batches in, steps out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import credit, feedback, networks, optimizers
from metafa.learning.feedback import Feedback
from metafa.learning.layers.base import Parameters, flat
from metafa.learning.losses import CROSS_ENTROPY, Loss
from metafa.learning.networks import Network
from metafa.learning.optimizers import Optimizer, Update
from metafa.learning.rules import Rule

Generators = Mapping[str, list[torch.Generator]]
State = dict[str, Tensor]
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Taken:
    """The steps that a training loop has taken already, and its `Step.state` after them: the loop goes on from there,
    given the network as it was, to the bit as if it had not been interrupted. It starts from none by default."""

    steps: int = 0
    state: Mapping[str, Tensor] | None = None


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


def train(
    network: Network,
    rule: Rule,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: Optimizer,
    how: Feedback,
    generators: Generators,
    taken: Taken = Taken(),
) -> Iterator[Step]:
    """Trains ``network`` in place, a step for each of ``batches`` (inputs ``[replica, image, pixel]`` and targets
    ``[replica, image, way]``), and yields after each. ``generators`` are all that are drawn from, that of ``feedback``
    and those of the batches."""

    @torch.no_grad()
    def gradient(batch: tuple[Tensor, Tensor]) -> Gradient:
        inputs, targets = batch
        activity = networks.forward(network, inputs)
        gradients = credit.gradients(rule, network, activity, inputs, targets)
        return Gradient(gradients, (), activity.logits, targets)

    return loop(network, rule, batches, gradient, optimizer, how, generators, taken)


def loop(
    network: Network,
    rule: Rule,
    batches: Iterable[Batch],
    gradient: Callable[[Batch], Gradient],
    optimizer: Optimizer,
    how: Feedback,
    generators: Generators,
    taken: Taken = Taken(),
    others: tuple[Tensor, ...] = (),
) -> Iterator[Step]:
    """Trains ``network`` in place, and the ``others``, along the ``gradient`` of each of ``batches``, and yields after
    each step."""
    update = optimizers.make(optimizer, (*network.tensors, *others, *feedback.learned(rule, network)))
    resume(taken, update, generators)
    for number, batch in enumerate(batches, start=taken.steps + 1):
        made = gradient(batch)
        update((*flat(made.parameters), *made.others, *feedback.gradients(rule, network, made.parameters)))
        feedback.learn(network, rule, how, generators["feedback"])
        yield Step(number, made.logits, made.targets, lambda: carried(update, generators), network.loss)


def carried(update: Update, generators: Generators) -> State:
    """What a training loop carries from one step to the next."""
    states = {f"generator/{name}": torch.stack([g.get_state() for g in some]) for name, some in generators.items()}
    return states | {f"optimizer/{name}": value for name, value in update.state().items()}


def resume(taken: Taken, update: Update, generators: Generators) -> None:
    """Puts what was carried back in its place."""
    if taken.state is None:
        return
    for name, some in generators.items():
        for generator, state in zip(some, taken.state[f"generator/{name}"], strict=True):
            generator.set_state(state.clone())
    of_optimizer = {name: value for name, value in taken.state.items() if name.startswith("optimizer/")}
    update.restore({name.removeprefix("optimizer/"): value for name, value in of_optimizer.items()})
