"""Outer algorithms: from a batch of tasks to a direction to descend for every parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import adaptation, credit
from metafa.learning.adaptation import Adapted, InnerLoop, PreparedTasks
from metafa.learning.credit import Pass, Signals
from metafa.learning.episodes import Episodes
from metafa.learning.kinds import OuterAlgorithm, resolved
from metafa.learning.layers.base import Parameters, flat, folded, per_episode
from metafa.learning.losses import CROSS_ENTROPY, Loss
from metafa.learning.networks import Activity, Network
from metafa.learning.rules import RULES, Rule

# Memory of a block of tasks, by device. Does not change results, but for rounding.
TRAINING_BYTES = {"cpu": 2**26, "cuda": 2**31}
GRAPH_BYTES = {"cpu": 2**30, "cuda": 2**33}  # of one task's inner loop; beyond, its steps are computed again


@dataclass(frozen=True)
class OuterProblem:
    """What an outer algorithm is given.

    network, inner: the network, and how it adapts to a task.
    outer_rule: the rule by which an algorithm that sends query errors back sends them.
    tasks: a batch of tasks.
    generators: one for each replica, where the algorithm's row says that it draws.
    """

    network: Network
    inner: InnerLoop
    outer_rule: Rule
    tasks: Episodes
    generators: tuple[torch.Generator, ...] = ()

    def prepared(self) -> PreparedTasks:
        return adaptation.prepare(self.network, self.inner.rule, self.tasks)


@dataclass(frozen=True)
class OuterGradient:
    """What an outer algorithm returns for a batch of tasks.

    gradients: a direction to descend for the parameters of each of the network's layers, by name.
    learning_rates: the same for the inner loop's learning rates; none but where they are differentiated by.
    logits, targets: the query sets' readout after adaptation.
    criterion: the loss that the network minimizes.
    """

    gradients: tuple[Parameters, ...]
    learning_rates: tuple[Tensor, ...]
    logits: Float[Tensor, "replica image way"]
    targets: Float[Tensor, "replica image way"]
    criterion: Loss = CROSS_ENTROPY

    @property
    def loss(self) -> Float[Tensor, "replica"]:
        """The meta-loss of the batch."""
        return self.criterion.value(self.logits, self.targets)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The gradients in the order of `networks.Network.tensors`."""
        return flat(self.gradients)


def exact(problem: OuterProblem) -> OuterGradient:
    """The gradient of the meta-loss, through every step of the inner loop, whatever its rule.

    With backprop in the inner loop it is that of MAML (Finn, Abbeel and Levine 2017, eq. 1). The outer rule
    plays no part: differentiating reads the forward weights. Feedback is held fixed at the start of each task, and
    where the rule moves it within a task, that is differentiated through as well.
    """
    network, inner, tasks = problem.network, problem.inner, problem.prepared()
    # Autograd's graph holds the inner loop alone, from the first layer's outputs on the support set upwards where they
    # are what the layer starts from; the query loss's gradient by the adapted network is backprop's
    live = [layer.live(own) for layer, own in zip(tasks.support.layers, tasks.start.parameters, strict=True)]
    support = replace(tasks.support, layers=tuple(layer for layer, _, _ in live))
    start = Adapted(tuple(own for _, own, _ in live), network.feedback)
    adapted = inner.adapt(replace(tasks, support=support, start=start))
    rates = [inner.learning_rates] if inner.learning_rates.requires_grad else []
    leaves = [tensor for _, _, by_name in live for tensor in by_name.values()]
    if tasks.query.support is not None:  # whose part in the query loss autograd has to follow
        return _followed(network, tasks, adapted, [by_name for _, _, by_name in live], rates)
    activity, made = _query_signals(problem, RULES["backprop"], tasks, adapted)
    outputs: list[Tensor] = []
    by_outputs: list[Tensor] = []
    for place in network.learning:
        error = made.errors[place]
        assert error is not None
        by_adapted = tasks.query.layers[place].derivatives(error, made.caches[place])
        for name, tensor in network.layers[place].trained(adapted.parameters[place]).items():
            outputs.append(per_episode(tensor, len(error)))
            by_outputs.append(by_adapted[name])
    # with no inner step the support set plays no part
    found = torch.autograd.grad(outputs, [*leaves, *rates], by_outputs, materialize_grads=True)
    by_leaf = iter(found)
    by_leaves = [{name: next(by_leaf) for name in by_name} for _, _, by_name in live]
    gradients = tuple(
        {} if error is None else layer.initial_gradients(own, error, network.replicas)
        for layer, own, error in zip(tasks.query.layers, by_leaves, made.errors, strict=True)
    )
    return _outer(network, gradients, tuple(by_leaf), activity, tasks)


def _followed(
    network: Network,
    tasks: PreparedTasks,
    adapted: Adapted,
    leaves: Sequence[Parameters],
    rates: list[Tensor],
) -> OuterGradient:
    """The exact gradient where autograd follows the query sets too; ``leaves`` are the network's parameters."""
    activity = adaptation.activity(tasks.query, adapted)
    loss = network.loss.value(activity.logits, tasks.query.targets).sum() * network.replicas / len(activity.logits)
    found = iter(
        torch.autograd.grad(
            loss, [*(tensor for own in leaves for tensor in own.values()), *rates], materialize_grads=True
        )
    )
    gradients = tuple({name: next(found) for name in own} for own in leaves)
    seen = Activity(activity.logits.detach(), activity.caches)
    return _outer(network, gradients, tuple(found), seen, tasks)


def anil(problem: OuterProblem) -> OuterGradient:
    """The exact gradient of an inner loop in which only the readout adapts (Raghu et al. 2020): no error is sent
    back within a task, so that all rules are alike. To be evaluated with ``adapted_layers = "readout"``."""
    return exact(replace(problem, inner=replace(problem.inner, adapted_layers="readout")))


@torch.no_grad()
def first_order(problem: OuterProblem) -> OuterGradient:
    """The query loss's gradient at the adapted weights, applied to the initial ones, errors sent by the outer rule.

    With backprop in both loops it is first-order MAML (Finn, Abbeel and Levine 2017, section 5.2). Feedback that
    changed within a task sends the query errors back as changed. Statistics of the support set that serve on the query
    set count as fixed.
    """
    network, tasks = problem.network, problem.prepared()
    adapted = problem.inner.adapt(tasks)
    activity, made = _query_signals(problem, problem.outer_rule, tasks, adapted)
    # a mean over tasks of per-task gradients is one product over all their images
    gradients = credit.layer_gradients(network, tasks.query.layers, made)
    return _outer(network, gradients, (), activity, tasks)


@torch.no_grad()
def reptile(problem: OuterProblem) -> OuterGradient:
    """W minus the mean over tasks of the adapted W (Nichol, Achiam and Schulman 2018, algorithm 2).

    With SGD as the outer optimizer its rate is the paper's epsilon. The query set serves only to
    measure, and the outer rule plays no part: no error is sent but by the inner loop.
    """
    network, tasks = problem.network, problem.prepared()
    adapted = problem.inner.adapt(tasks)
    gradients = tuple(
        layer.displacement(start, own)
        for layer, start, own in zip(tasks.support.layers, network.parameters, adapted.parameters, strict=True)
    )
    return _outer(network, gradients, (), adaptation.activity(tasks.query, adapted), tasks)


@torch.no_grad()
def _query_signals(
    problem: OuterProblem, rule: Rule, tasks: PreparedTasks, adapted: Adapted
) -> tuple[Activity, Signals]:
    """The adapted networks' activity on the query sets, and the error signals of the mean loss over tasks there."""
    query, network = tasks.query, problem.network
    activity = adaptation.activity(query, adapted)
    batch = Pass(query.layers, *adapted, tasks.loss, query.inputs, query.targets, activity, network.learning[0])
    share = network.replicas / query.targets.shape[0]
    if rule.signals is None:
        return activity, Signals(credit.errors(rule, batch, batch.error() * share), activity.caches)
    made = credit.signals(rule, batch)
    return activity, Signals([None if error is None else error * share for error in made.errors], made.caches)


def _outer(
    network: Network,
    gradients: tuple[Parameters, ...],
    rates: tuple[Tensor, ...],
    activity: Activity,
    tasks: PreparedTasks,
) -> OuterGradient:
    logits, targets = (folded(tensor, network.replicas) for tensor in (activity.logits, tasks.query.targets))
    return OuterGradient(gradients, rates, logits, targets, network.loss)


def outer_gradient(algorithm: OuterAlgorithm, problem: OuterProblem) -> OuterGradient:
    """What ``algorithm`` makes of the tasks, in blocks of bounded memory: a mean over tasks is a mean over blocks."""
    tasks, gradient = problem.tasks, resolved(algorithm.gradient or "")
    device = tasks.images.device.type
    if problem.inner.steps * adaptation.bytes_of_a_task(problem.network, tasks, True) > GRAPH_BYTES[device]:
        problem = replace(problem, inner=replace(problem.inner, recomputes=True))
    blocks = list(adaptation.split(problem.network, tasks, True, TRAINING_BYTES[device]))
    parts = [gradient(replace(problem, tasks=block)) for block in blocks]
    if len(parts) == 1:
        return parts[0]
    shares = [block.support.shape[1] / tasks.support.shape[1] for block in blocks]
    return OuterGradient(
        tuple(
            {name: _mean([own[name] for own in layers], shares) for name in layers[0]}
            for layers in zip(*(part.gradients for part in parts), strict=True)
        ),
        tuple(_mean(rates, shares) for rates in zip(*(part.learning_rates for part in parts), strict=True)),
        torch.cat([part.logits for part in parts], 1),
        torch.cat([part.targets for part in parts], 1),
        parts[0].criterion,
    )


def _mean(tensors: Sequence[Tensor], shares: list[float]) -> Tensor:
    weighted = [share * tensor for share, tensor in zip(shares, tensors, strict=True)]
    return sum(weighted[1:], start=weighted[0])
