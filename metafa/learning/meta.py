"""The meta-loss, and the outer loop that minimizes it.

The meta-loss of a network is its loss on a task's query set after adaptation to the support set, averaged over tasks
(Finn, Abbeel and Levine 2017; Cheon, Lee and Paik 2024).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import adaptation, outer, training
from metafa.learning.adaptation import AdaptationSet, Adapted, PreparedTasks
from metafa.learning.adaptation import InnerLoop as InnerLoop
from metafa.learning.adaptation import inner_loop as inner_loop
from metafa.learning.episodes import Episodes, Source
from metafa.learning.kinds import OUTER_ALGORITHMS as OUTER_ALGORITHMS
from metafa.learning.networks import Network
from metafa.learning.outer import OuterProblem
from metafa.learning.rules import Rule
from metafa.learning.training import Gradient, Learner, Step

# Memory of a block of tasks, by device. Does not change results, but for rounding. An evaluation on a CPU is quickest
# where its blocks stay in the cache; a GPU wants them large.
EVALUATION_BYTES = {"cpu": 2**23, "cuda": 2**30}
BASE_BYTES = {"cpu": 2**28, "cuda": 2**31}  # of all images' base outputs; beyond, each task computes its own


@dataclass(frozen=True)
class AdaptationCurve:
    """Means over tasks, or values of each task, after 0, 1, ... inner steps; losses in nats. The meta-loss is the last
    ``query_loss``."""

    query_loss: Float[Tensor, "step replica *task"]
    query_accuracy: Float[Tensor, "step replica *task"]
    support_loss: Float[Tensor, "step replica *task"]
    support_accuracy: Float[Tensor, "step replica *task"]


@torch.no_grad()
def evaluate(network: Network, inner: InnerLoop, tasks: Episodes) -> AdaptationCurve:
    """The adaptation curve of every replica over its tasks."""
    totals = []
    for block in _blocks(network, inner, tasks):
        steps = [
            torch.cat([_loss_and_accuracy(network, images, adapted).sum(-1) for images in (block.query, block.support)])
            for adapted in inner.path(block)
        ]
        totals.append(torch.stack(steps, 1))
    return AdaptationCurve(*(sum(totals[1:], start=totals[0]) / tasks.support.shape[1]).unbind())


@torch.no_grad()
def evaluate_each(network: Network, inner: InnerLoop, tasks: Episodes) -> AdaptationCurve:
    """The adaptation curve of every replica on each of its tasks, ``[step, replica, task]``."""
    found = []
    for block in _blocks(network, inner, tasks):
        steps = [
            torch.cat([_loss_and_accuracy(network, images, adapted) for images in (block.query, block.support)])
            for adapted in inner.path(block)
        ]
        found.append(torch.stack(steps, 1))
    return AdaptationCurve(*torch.cat(found, -1).unbind())


@torch.no_grad()
def meta_loss(
    network: Network, inner: InnerLoop, tasks: Episodes
) -> tuple[Float[Tensor, "replica"], Float[Tensor, "replica"]]:
    """The meta-loss and meta-accuracy of every replica over its tasks."""
    totals = [
        _loss_and_accuracy(network, block.query, inner.adapt(block)).sum(-1) for block in _blocks(network, inner, tasks)
    ]
    loss, accuracy = sum(totals[1:], start=totals[0]) / tasks.support.shape[1]
    return loss, accuracy


def _blocks(network: Network, inner: InnerLoop, tasks: Episodes) -> Iterator[PreparedTasks]:
    """The tasks as the inner loop needs them, in blocks of bounded memory."""
    # where tasks have more images than there are, each is sent through the first layer once, for all of them
    device, images = tasks.images.device.type, len(tasks.images)
    drawn = tasks.support.shape[1] * (tasks.support.shape[2] + tasks.query.shape[2])
    outputs = network.replicas * network.layers[0].outputs
    fits = images * outputs * tasks.images.element_size() <= BASE_BYTES[device]
    known = adaptation.has_dual(network, inner.rule) and drawn > images and fits
    base = adaptation.base_of_all(network, tasks.images) if known else None
    gathers = base is None or tasks.gram is None
    for block in adaptation.split(network, tasks, gathers, EVALUATION_BYTES[device]):
        yield adaptation.prepare(network, inner.rule, block, base)


def _loss_and_accuracy(network: Network, images: AdaptationSet, adapted: Adapted) -> Float[Tensor, "two replica task"]:
    """The loss and the score on each task."""
    logits, targets, loss = adaptation.activity(images, adapted).logits, images.targets, network.loss
    both = torch.stack([loss.value(logits, targets), loss.scored(logits, targets)])
    return both.double().unflatten(1, (network.replicas, -1))


def train(
    learner: Learner,
    inner: InnerLoop,
    source: Source,
    *,
    shots: int,
    tasks_per_batch: int,
    outer_algorithm: str,
    outer_rule: Rule,
    outer_steps: int,
) -> Iterator[Step]:
    """Meta-trains on a fresh batch of tasks each outer step, and yields after each. The learner's optimizer is that of
    the outer loop, and its feedback learns in the outer loop.

    Inner learning rates that require a gradient are learned as well, in place.
    """
    algorithm = OUTER_ALGORITHMS[outer_algorithm]
    if not algorithm.trains:
        return iter(())
    network, streams = learner.network, learner.streams
    generators = {"tasks": streams.generators("meta/tasks", "cpu"), "feedback": streams.generators("meta/feedback")}
    if algorithm.draws:
        generators["outer"] = streams.generators("meta/outer")
    left = outer_steps - learner.resume.steps
    drawn = (source.draw(tasks_per_batch, shots, generators["tasks"]) for _ in range(left))

    def gradient(tasks: Episodes) -> Gradient:
        problem = OuterProblem(network, inner, outer_rule, tasks, tuple(generators.get("outer", ())))
        found = outer.outer_gradient(algorithm, problem)
        return Gradient(found.gradients, found.learning_rates, found.logits, found.targets)

    rates = (inner.learning_rates,) if inner.learning_rates.requires_grad else ()
    return training.loop(learner, drawn, gradient, generators, rates)
