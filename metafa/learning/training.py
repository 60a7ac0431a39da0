"""The training loop that noise pretraining and training on data share: batches in, steps out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import credit, feedback, networks, optimizers
from metafa.learning.feedback import Feedback
from metafa.learning.networks import Network
from metafa.learning.optimizers import Optimizer, Update

Generators = Mapping[str, list[torch.Generator]]
State = dict[str, Tensor]


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
    generators: Generators,
    taken: Taken = Taken(),
) -> Iterator[Step]:
    """Trains ``network`` in place, a step for each of ``batches`` (inputs ``[replica, image, pixel]`` and targets
    ``[replica, image, way]``), and yields after each. ``generators`` are all that are drawn from, that of ``feedback``
    and those of the batches."""
    update = optimizers.make(optimizer, (*network.parameters, *feedback.learned(rule, network)))
    resume(taken, update, generators)
    for number, (inputs, targets) in enumerate(batches, start=taken.steps + 1):
        activity = networks.forward(network, inputs)
        gradients = credit.gradients(rule, network, activity, inputs, targets)
        update((*gradients, *feedback.gradients(rule, gradients)))
        feedback.learn(network, rule, how, generators["feedback"])
        yield Step(number, activity.logits, targets, lambda: carried(update, generators))


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
