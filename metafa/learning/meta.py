"""The meta-loss, and the outer loop that minimizes it.

The meta-loss of a network is its cross-entropy (nats) on a task's query set after adaptation to the
support set, averaged over tasks (Finn, Abbeel and Levine 2017; Cheon, Lee and Paik 2024).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import adaptation, credit, episodes, feedback, optimizers, training
from metafa.learning.adaptation import Adapted, Images
from metafa.learning.episodes import Episodes, EpisodeSource, TasksetSource
from metafa.learning.feedback import Feedback
from metafa.learning.networks import Activity, Network
from metafa.learning.optimizers import Optimizer
from metafa.learning.streams import Streams
from metafa.learning.training import Step, Taken

# of one block of tasks; results are equal, to rounding, whatever they are. An evaluation on a CPU is quickest where
# its blocks stay in the cache; meta-training, where the first layer's products are large; a GPU wants both larger
EVALUATION_BYTES = {"cpu": 2**23, "cuda": 2**30}
TRAINING_BYTES = {"cpu": 2**26, "cuda": 2**31}
BASE_BYTES = {"cpu": 2**28, "cuda": 2**31}  # of all images' base pre-activations; beyond, each task computes its own


@dataclass(frozen=True)
class InnerLoop:
    """How a network adapts to a task: the rule, and the rate of every layer in every step of gradient descent.

    adapted_layers: all, or the readout alone.
    """

    rule: credit.Rule
    learning_rates: Float[Tensor, "replica step layer"]
    adapted_layers: Literal["all", "readout"] = "all"

    @property
    def steps(self) -> int:
        return self.learning_rates.shape[1]

    def path(self, network: Network, support: Images) -> Iterator[Adapted]:
        """The network after 0, 1, ... steps."""
        return adaptation.adapt(network, self.rule, support, self.learning_rates, self.adapted_layers)

    def adapt(self, network: Network, support: Images) -> Adapted:
        """The network after the last step."""
        return deque(self.path(network, support), maxlen=1)[0]


def inner_loop(
    network: Network,
    rule: credit.Rule,
    steps: int,
    learning_rate: float | Float[Tensor, "replica"],
    adapted_layers: Literal["all", "readout"] = "all",
) -> InnerLoop:
    """The inner loop whose rate is the same in every layer and step."""
    like = network.biases[0]
    rate = torch.as_tensor(learning_rate, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)
    return InnerLoop(rule, rate.expand(len(like), steps, len(network.weights)).clone(), adapted_layers)


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
    for support, query in _blocks(network, tasks):
        steps = [
            torch.cat([_loss_and_accuracy(network, images, adapted).sum(-1) for images in (query, support)])
            for adapted in inner.path(network, support)
        ]
        totals.append(torch.stack(steps, 1))
    return AdaptationCurve(*(sum(totals[1:], start=totals[0]) / tasks.support.shape[1]).unbind())


@torch.no_grad()
def evaluate_each(network: Network, inner: InnerLoop, tasks: Episodes) -> AdaptationCurve:
    """The adaptation curve of every replica on each of its tasks, ``[step, replica, task]``."""
    found = []
    for support, query in _blocks(network, tasks):
        steps = [
            torch.cat([_loss_and_accuracy(network, images, adapted) for images in (query, support)])
            for adapted in inner.path(network, support)
        ]
        found.append(torch.stack(steps, 1))
    return AdaptationCurve(*torch.cat(found, -1).unbind())


@torch.no_grad()
def meta_loss(
    network: Network, inner: InnerLoop, tasks: Episodes
) -> tuple[Float[Tensor, "replica"], Float[Tensor, "replica"]]:
    """The meta-loss and meta-accuracy of every replica over its tasks."""
    totals = [
        _loss_and_accuracy(network, query, inner.adapt(network, support)).sum(-1)
        for support, query in _blocks(network, tasks)
    ]
    loss, accuracy = sum(totals[1:], start=totals[0]) / tasks.support.shape[1]
    return loss, accuracy


def _blocks(network: Network, tasks: Episodes) -> Iterator[tuple[Images, Images]]:
    """The support and query sets of the tasks, in blocks of bounded memory."""
    # where tasks have more images than there are, each is sent through the first layer once, for all of them
    device, images = tasks.images.device.type, len(tasks.images)
    drawn = tasks.support.shape[1] * (tasks.support.shape[2] + tasks.query.shape[2])
    fits = images * network.biases[0].numel() * tasks.images.element_size() <= BASE_BYTES[device]
    base = adaptation.base_of_all(network, tasks.images) if drawn > images and fits else None
    gathers = base is None or tasks.gram is None
    for block in _split(network, tasks, gathers, EVALUATION_BYTES[device]):
        support, query, _ = adaptation.prepare(network, block, base)
        yield support, query


def _split(network: Network, tasks: Episodes, gathers: bool, block_bytes: int) -> Iterator[Episodes]:
    """The tasks, as many at a time as ``block_bytes`` hold, with all their pixels if ``gathers``."""
    replicas, number, support = tasks.support.shape
    images, width = support + tasks.query.shape[-1], sum(b.shape[-1] for b in network.biases)
    floats = images * (support + 4 * width) + sum(w[0].numel() for w in network.weights[1:])
    floats += images * tasks.images.shape[-1] if gathers else 0
    size = max(1, block_bytes // (replicas * floats * tasks.images.element_size()))
    for start in range(0, number, size):
        yield tasks.block(start, start + size)


def _loss_and_accuracy(network: Network, images: Images, adapted: Adapted) -> Float[Tensor, "two replica task"]:
    """The loss and the accuracy on each task."""
    logits = adaptation.activity(images, adapted, network.activation).logits
    replicas = (len(network.biases[0]), -1)
    both = torch.stack([credit.cross_entropy(logits, images.targets), credit.accuracy(logits, images.targets)])
    return both.double().unflatten(1, replicas)


@dataclass(frozen=True)
class OuterGradient:
    """What an outer algorithm returns for a batch of tasks.

    gradients: a direction to descend for each of the network's parameters, weights, then biases.
    learning_rates: the same for the inner loop's learning rates; none but where they are differentiated by.
    logits, targets: the query sets' readout after adaptation.
    """

    gradients: tuple[Tensor, ...]
    learning_rates: tuple[Tensor, ...]
    logits: Float[Tensor, "replica image way"]
    targets: Float[Tensor, "replica image way"]

    @property
    def loss(self) -> Float[Tensor, "replica"]:
        """The meta-loss of the batch."""
        return credit.cross_entropy(self.logits, self.targets)


def exact(network: Network, inner: InnerLoop, outer_rule: credit.Rule, tasks: Episodes) -> OuterGradient:
    """The gradient of the meta-loss, through every step of the inner loop, whatever its rule.

    With backprop in the inner loop it is that of MAML (Finn, Abbeel and Levine 2017, eq. 1). The outer rule
    plays no part: differentiating reads the forward weights. Feedback is held fixed at the start of each task, and
    where the rule moves it within a task, that is differentiated through as well.
    """
    support, query, pixels = adaptation.prepare(network, tasks)
    # Autograd's graph holds the inner loop alone, from the first layer's pre-activations of the support set upwards:
    # the first layer's gradient follows from theirs, and the query loss's by the adapted network is backprop's
    support = replace(support, first=support.first.requires_grad_())
    upper = [p.detach().requires_grad_() for p in (*network.weights[1:], *network.biases[1:])]
    layers = len(upper) // 2
    live = replace(network, weights=(network.weights[0], *upper[:layers]), biases=(network.biases[0], *upper[layers:]))
    adapted = inner.adapt(live, support)
    seen, errors = _query_errors(network, credit.RULES["backprop"], query, adapted)
    outputs = [adaptation.each(p, len(errors[0])) for p in (*adapted.upper_weights, *adapted.upper_biases)]
    by_outputs = credit.all_gradients(errors[1:], seen.hidden)
    if adapted.coefficients is not None:
        outputs.append(adapted.coefficients)
        by_outputs += (torch.bmm(query.gram.mT, errors[0]),)
    rates = [inner.learning_rates] if inner.learning_rates.requires_grad else []
    # with no inner step the support set plays no part
    found = torch.autograd.grad(outputs, [support.first, *upper, *rates], by_outputs, materialize_grads=True)
    first = torch.cat([found[0], errors[0]], 1)
    weight, bias = credit.layer_gradients(_by_replica(network, first), pixels.flatten(1, 2))
    by_weights, by_biases = found[1 : 1 + layers], found[1 + layers : 1 + 2 * layers]
    gradients = (weight, *by_weights, bias, *by_biases)
    return _outer(network, gradients, found[1 + 2 * layers :], seen.logits, query)


@torch.no_grad()
def _query_errors(
    network: Network, rule: credit.Rule, query: Images, adapted: Adapted
) -> tuple[Activity, credit.Matrices]:
    """The adapted networks' activity on the query sets, and the error signals of the mean loss over tasks there."""
    seen = adaptation.activity(query, adapted, network.activation)
    error = credit.output_error(seen.logits, query.targets) * (len(network.biases[0]) / len(query.first))
    return seen, credit.errors(rule, seen, error, adapted.upper_weights, adapted.feedback, network.activation)


def _by_replica(network: Network, tensor: Float[Tensor, "episode image unit"]) -> Float[Tensor, "replica images unit"]:
    """All tasks' images of a replica in one axis."""
    return tensor.unflatten(0, (len(network.biases[0]), -1)).flatten(1, 2)


def anil(network: Network, inner: InnerLoop, outer_rule: credit.Rule, tasks: Episodes) -> OuterGradient:
    """The exact gradient of an inner loop in which only the readout adapts (Raghu et al. 2020): no error is sent
    back within a task, so that all rules are alike. To be evaluated with ``adapted_layers = "readout"``."""
    return exact(network, replace(inner, adapted_layers="readout"), outer_rule, tasks)


@torch.no_grad()
def first_order(network: Network, inner: InnerLoop, outer_rule: credit.Rule, tasks: Episodes) -> OuterGradient:
    """The query loss's gradient at the adapted weights, applied to the initial ones, errors sent by ``outer_rule``.

    With backprop in both loops it is first-order MAML (Finn, Abbeel and Levine 2017, section 5.2). Feedback that
    changed within a task sends the query errors back as changed.
    """
    support, query, pixels = adaptation.prepare(network, tasks)
    adapted = inner.adapt(network, support)
    seen, errors = _query_errors(network, outer_rule, query, adapted)
    # a mean over tasks of per-task gradients is one product over all their images
    inputs = (pixels[:, :, tasks.support.shape[-1] :].flatten(1, 2), *(_by_replica(network, h) for h in seen.hidden))
    gradients = credit.all_gradients(tuple(_by_replica(network, e) for e in errors), inputs)
    return _outer(network, gradients, (), seen.logits, query)


@torch.no_grad()
def reptile(network: Network, inner: InnerLoop, outer_rule: credit.Rule, tasks: Episodes) -> OuterGradient:
    """W minus the mean over tasks of the adapted W (Nichol, Achiam and Schulman 2018, algorithm 2).

    With SGD as the outer optimizer its rate is the paper's epsilon. The query set serves only to
    measure, and the outer rule plays no part: no error is sent but by the inner loop.
    """
    support, query, pixels = adaptation.prepare(network, tasks)
    adapted = inner.adapt(network, support)
    replicas = (len(network.biases[0]), -1)
    if adapted.coefficients is None:  # no inner step
        first = tuple(torch.zeros_like(p[0]) for p in (network.weights, network.biases))
    else:
        moved = _by_replica(network, adapted.coefficients) / -tasks.support.shape[1]
        first = credit.layer_gradients(moved, pixels[:, :, : tasks.support.shape[-1]].flatten(1, 2))
    weights = [
        w - a.unflatten(0, replicas).mean(1) for w, a in zip(network.weights[1:], adapted.upper_weights, strict=True)
    ]
    biases = [
        b - a.unflatten(0, replicas).mean(1) for b, a in zip(network.biases[1:], adapted.upper_biases, strict=True)
    ]
    logits = adaptation.activity(query, adapted, network.activation).logits
    return _outer(network, (first[0], *weights, first[1], *biases), (), logits, query)


def _outer(
    network: Network, gradients: tuple[Tensor, ...], rates: tuple[Tensor, ...], logits: Tensor, query: Images
) -> OuterGradient:
    return OuterGradient(gradients, rates, *(_by_replica(network, tensor) for tensor in (logits, query.targets)))


OuterAlgorithm = Callable[[Network, InnerLoop, credit.Rule, Episodes], OuterGradient]
OUTER_ALGORITHMS: dict[str, OuterAlgorithm | None] = {
    "exact": exact,
    "first_order": first_order,
    "reptile": reptile,
    "anil": anil,
    "none": None,  # no meta-training
}


def outer_gradient(
    algorithm: OuterAlgorithm, network: Network, inner: InnerLoop, outer_rule: credit.Rule, tasks: Episodes
) -> OuterGradient:
    """What ``algorithm`` makes of the tasks, in blocks of bounded memory: a mean over tasks is a mean over blocks."""
    blocks = list(_split(network, tasks, True, TRAINING_BYTES[tasks.images.device.type]))
    parts = [algorithm(network, inner, outer_rule, block) for block in blocks]
    if len(parts) == 1:
        return parts[0]
    shares = [block.support.shape[1] / tasks.support.shape[1] for block in blocks]
    return OuterGradient(
        _mean([part.gradients for part in parts], shares),
        _mean([part.learning_rates for part in parts], shares),
        torch.cat([part.logits for part in parts], 1),
        torch.cat([part.targets for part in parts], 1),
    )


def _mean(parts: list[tuple[Tensor, ...]], shares: list[float]) -> tuple[Tensor, ...]:
    return tuple(
        sum(share * tensor for share, tensor in zip(shares, tensors, strict=True))
        for tensors in zip(*parts, strict=True)
    )


def train(
    network: Network,
    inner: InnerLoop,
    source: EpisodeSource | TasksetSource,
    streams: Streams,
    *,
    shots: int,
    tasks_per_batch: int,
    outer_algorithm: str,
    outer_rule: credit.Rule,
    optimizer: Optimizer,
    iterations: int,
    how: Feedback = Feedback(),
    taken: Taken = Taken(),
) -> Iterator[Step]:
    """Meta-trains ``network`` in place, a fresh batch of tasks an iteration, and yields after each.

    Inner learning rates that require a gradient are learned with it, in place.
    """
    algorithm = OUTER_ALGORITHMS[outer_algorithm]
    if algorithm is None:
        return
    generators = {"tasks": streams.generators("meta/tasks", "cpu"), "feedback": streams.generators("meta/feedback")}
    rates = [inner.learning_rates] if inner.learning_rates.requires_grad else []
    trained = (*network.parameters, *rates, *feedback.learned(inner.rule, network))
    update = optimizers.make(optimizer, trained)
    training.resume(taken, update, generators)
    for number in range(taken.steps + 1, iterations + 1):
        tasks = episodes.draw(source, tasks_per_batch, shots, generators["tasks"])
        outer = outer_gradient(algorithm, network, inner, outer_rule, tasks)
        update((*outer.gradients, *outer.learning_rates, *feedback.gradients(inner.rule, outer.gradients)))
        feedback.learn(network, inner.rule, how, generators["feedback"])
        yield Step(number, outer.logits, outer.targets, lambda: training.carried(update, generators))
