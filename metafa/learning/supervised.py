"""Training on data: the images and labels of a classification dataset, after noise pretraining or without."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metafa.learning import networks, training
from metafa.learning.losses import CROSS_ENTROPY, Loss
from metafa.learning.networks import Network
from metafa.learning.streams import Streams
from metafa.learning.training import Learner, Step

# of the images that one replica sees at once in an evaluation; results are equal, to rounding, whatever it is
BLOCK_BYTES = {"cpu": 2**22, "cuda": 2**28}


@dataclass(frozen=True)
class Labelled:
    """Images with their classes; pixels in 0 to 1."""

    images: Float[Tensor, "image pixel"]
    labels: Int[Tensor, "image"]

    def to(self, device: str) -> Labelled:
        return Labelled(self.images.to(device), self.labels.to(device))


def choose(data: Labelled, number: int | None, streams: Streams) -> Int[Tensor, "replica chosen"]:
    """The images that each replica trains on: ``number`` of them at random, or all. Of the same seed, a smaller
    number is part of a larger one."""
    total = len(data.labels)
    if number is None or number == total:
        return torch.arange(total, device=data.labels.device).expand(len(streams.replica_seeds), -1)
    orders = [torch.randperm(total, generator=g)[:number] for g in streams.generators("supervised/images", "cpu")]
    return torch.stack(orders).to(data.labels.device)


def train(
    learner: Learner, data: Labelled, chosen: Int[Tensor, "replica chosen"], *, steps: int, batch_size: int
) -> Iterator[Step]:
    """Trains on the images ``chosen``, and yields after each step.

    Each epoch visits every chosen image once, in an order of its own for each seed, in batches of ``batch_size``; a
    last, smaller batch is left out. Raises ValueError where a batch is larger than an epoch.
    """
    if batch_size > chosen.shape[1]:
        raise ValueError(f"a batch of {batch_size} images, but only {chosen.shape[1]} to train on")
    ways, streams = learner.network.ways, learner.streams
    drawn = batches(data, ways, chosen, streams, range(learner.resume.steps, steps), batch_size)
    return training.train(learner, drawn, {"feedback": streams.generators("supervised/feedback")})


def batches(
    data: Labelled, ways: int, chosen: Int[Tensor, "replica chosen"], streams: Streams, steps: range, batch_size: int
) -> Iterator[tuple[Float[Tensor, "replica image pixel"], Float[Tensor, "replica image way"]]]:
    """The inputs and targets of each step."""
    images = chosen.shape[1]
    per_epoch, orders_from = images // batch_size, streams.generators("supervised/batches", "cpu")
    epochs = 0
    for step in steps:
        epoch_number, place = divmod(step, per_epoch)
        while epochs <= epoch_number:  # the orders of epochs that are past are drawn too
            epochs += 1
            order = torch.stack([torch.randperm(images, generator=g) for g in orders_from]).to(chosen.device)
            epoch = chosen.gather(1, order).split(batch_size, 1)
        yield data.images[epoch[place]], _one_hot(data.labels[epoch[place]], ways, data.images.dtype)


def _one_hot(labels: Int[Tensor, "*shape"], ways: int, dtype: torch.dtype) -> Float[Tensor, "*shape way"]:
    return torch.nn.functional.one_hot(labels, ways).to(dtype)


@torch.no_grad()
def readout(
    network: Network, images: Float[Tensor, "image pixel"], chosen: Int[Tensor, "replica chosen"] | None = None
) -> Float[Tensor, "replica _seen way"]:
    """Every replica's logits for ``images``, or for those it has ``chosen`` there."""
    if chosen is None:
        chosen = torch.arange(len(images), device=images.device).expand(network.replicas, -1)
    block = _block(network, images)
    return torch.cat([networks.forward(network, images[indices]).logits for indices in chosen.split(block, 1)], 1)


@torch.no_grad()
def readout_of_own(
    network: Network, images: Float[Tensor, "replica image pixel"]
) -> Float[Tensor, "replica image way"]:
    """Every replica's logits for images of its own."""
    blocks = images.split(_block(network, images), 1)
    return torch.cat([networks.forward(network, block).logits for block in blocks], 1)


def _block(network: Network, images: Tensor) -> int:
    """How many images one replica sees at once."""
    numbers = max(images.shape[-1], networks.widest_maps(network))
    return max(1, BLOCK_BYTES[images.device.type] // (numbers * images.element_size()))


def loss_and_accuracy(
    logits: Float[Tensor, "replica image way"], labels: Int[Tensor, "*_replica image"], loss: Loss = CROSS_ENTROPY
) -> tuple[Float[Tensor, "replica"], Float[Tensor, "replica"]]:
    """The mean loss (cross-entropy in nats) and the accuracy of every replica's readout."""
    targets = _one_hot(labels, logits.shape[-1], logits.dtype).expand(logits.shape)
    return loss.value(logits, targets), loss.scored(logits, targets)


def evaluate(
    network: Network, data: Labelled, chosen: Int[Tensor, "replica chosen"] | None = None
) -> tuple[Float[Tensor, "replica"], Float[Tensor, "replica"]]:
    """The mean loss, in nats, and the accuracy of every replica on ``data``, or on those it has ``chosen`` there."""
    labels = data.labels if chosen is None else data.labels[chosen]
    return loss_and_accuracy(readout(network, data.images, chosen), labels, network.loss)


class Course(NamedTuple):
    """How training on a dataset went: after which steps it was tested, and the loss, in nats, and the accuracy on the
    test images then."""

    steps: tuple[int, ...]
    losses: Float[Tensor, "moment replica"]
    accuracies: Float[Tensor, "moment replica"]

    @property
    def mean_loss(self) -> Float[Tensor, "replica"]:
        """The loss averaged over the training: the area under its course, by the trapezoidal rule, over its length."""
        if len(self.steps) == 1:
            return self.losses[0].double()
        steps = torch.tensor(self.steps, dtype=torch.float64, device=self.losses.device)
        return torch.trapezoid(self.losses.double(), steps, dim=0) / (steps[-1] - steps[0])


def course(
    learner: Learner,
    training: Labelled,
    chosen: Int[Tensor, "replica chosen"],
    test: Labelled,
    *,
    steps: int,
    batch_size: int,
    moments: Container[int],
    watch: Callable[[int, Network], None] = lambda step, network: None,
) -> Course:
    """Trains as `train` does, from the beginning, and tests before it and after each step that is one of ``moments``,
    when ``watch`` is given the step and the network too. Raises ValueError where a batch is larger than an epoch."""
    tested = []

    def take(step: int) -> None:
        tested.append((step, *evaluate(learner.network, test)))
        watch(step, learner.network)

    take(0)
    for step in train(learner, training, chosen, steps=steps, batch_size=batch_size):
        if step.number in moments:
            take(step.number)
    numbers, losses, accuracies = zip(*tested, strict=True)
    return Course(numbers, torch.stack(losses), torch.stack(accuracies))
