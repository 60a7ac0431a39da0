"""The inner loop: a few steps of gradient descent on each task's support set.

An *episode* is a task of a replica: all replicas' tasks stand in one axis, replica by replica. Where the first layer
has a dual (`layers.linear.Dual`), that takes its place on a task's images, and no copy of its weights is ever made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metafa.learning import credit, networks, products
from metafa.learning.credit import Pass, Signals
from metafa.learning.episodes import Episodes
from metafa.learning.layers.base import Layer, Parameters, per_episode
from metafa.learning.losses import Loss
from metafa.learning.networks import Activity, Network
from metafa.learning.rules import Rule


@dataclass(frozen=True)
class AdaptationSet:
    """The support or the query set of every task, as the inner loop sees it.

    layers: the network's layers, the first one in its dual form where that serves.
    inputs: the images; None where they are in the first layer.
    targets: one-hot labels, over all outputs of the network.
    support: of a query set, the support set, where a layer needs what it makes of that.
    """

    layers: tuple[Layer, ...]
    inputs: Float[Tensor, "episode image _pixel"] | None
    targets: Float[Tensor, "episode image way"]
    support: AdaptationSet | None = None


class Adapted(NamedTuple):
    """The parameters of each layer, and the feedback, as adapted to each task. What has not changed yet is one a
    replica, the rest one an episode."""

    parameters: tuple[Parameters, ...]
    feedback: tuple[Tensor, ...]


@dataclass(frozen=True)
class PreparedTasks:
    """Tasks as the inner loop needs them, and what a network starts from on them."""

    support: AdaptationSet
    query: AdaptationSet
    start: Adapted
    loss: Loss


@dataclass(frozen=True)
class InnerLoop:
    """How a network adapts to a task: the rule, and the rate in every step of gradient descent of every layer that
    learns.

    adapted_layers: all, or the readout alone.
    recomputes: whether, where autograd follows, each step is computed again on the way back, in place of what it would
        keep: the same numbers, in a third more time and in the memory of one step.
    """

    rule: Rule
    learning_rates: Float[Tensor, "replica step layer"]
    adapted_layers: Literal["all", "readout"] = "all"
    recomputes: bool = False

    @property
    def steps(self) -> int:
        return self.learning_rates.shape[1]

    def path(self, tasks: PreparedTasks) -> Iterator[Adapted]:
        """The network after 0, 1, ... steps."""
        return adapt(self.rule, tasks, self.learning_rates, self.adapted_layers, self.recomputes)

    def adapt(self, tasks: PreparedTasks) -> Adapted:
        """The network after the last step."""
        return deque(self.path(tasks), maxlen=1)[0]


def inner_loop(
    network: Network,
    rule: Rule,
    steps: int,
    learning_rate: float | Float[Tensor, "replica"],
    adapted_layers: Literal["all", "readout"] = "all",
) -> InnerLoop:
    """The inner loop whose rate is the same in every layer and step."""
    like = network.tensors[0]
    rate = torch.as_tensor(learning_rate, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)
    return InnerLoop(rule, rate.expand(network.replicas, steps, len(network.learning)).clone(), adapted_layers)


def gathered(source: Float[Tensor, "_all pixel"], indices: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape pixel"]:
    """The images that ``indices`` point to."""
    return source.index_select(0, indices.flatten()).view(*indices.shape, -1)


def has_dual(network: Network, rule: Rule) -> bool:
    """Whether the first layer takes its dual form in the inner loop."""
    return rule.fixed_inputs and network.layers[0].has_dual and not needs_support(network)


def needs_support(network: Network) -> bool:
    """Whether a layer, on a query set, takes something from what it made of the support set."""
    return any(layer.needs_support for layer in network.layers)


def base_of_all(network: Network, source: Float[Tensor, "_all pixel"]) -> Float[Tensor, "_all replica _hidden"]:
    """What the first layer, which has a dual, makes of every image of ``source`` for every replica."""
    return network.layers[0].of_all(network.parameters[0], source)


def prepare(network: Network, rule: Rule, episodes: Episodes, base: Tensor | None = None) -> PreparedTasks:
    """The support and query sets of ``episodes`` as the inner loop of ``network`` by ``rule`` needs them.

    ``base`` is what `base_of_all` gives for their images; it and the Gram matrix of all images, where the
    episodes carry one, are gathered from by index. What is not there is computed for each task.
    """
    indices = torch.cat([episodes.support, episodes.query], -1)
    labels = torch.cat([episodes.support_labels, episodes.query_labels], -1).flatten(0, 1)
    ways = torch.arange(network.ways, device=labels.device)[:, None]
    targets = (labels.unsqueeze(-2) == ways).to(episodes.images.dtype).mT
    support = episodes.support.shape[-1]
    places = (slice(None, support), slice(support, None))
    layers = tuple(layer.in_adaptation() for layer in network.layers)
    if has_dual(network, rule):
        duals = _duals(network, episodes, indices, base, places)
        sets = [
            AdaptationSet((dual, *layers[1:]), None, targets[:, place])
            for dual, place in zip(duals, places, strict=True)
        ]
        start = Adapted(({}, *network.parameters[1:]), network.feedback)
    else:
        images = gathered(episodes.images, indices).flatten(0, 1)
        sets = [AdaptationSet(layers, images[:, place], targets[:, place]) for place in places]
        start = Adapted(network.parameters, network.feedback)
    support_set, query = sets
    if needs_support(network):
        query = replace(query, support=support_set)
    return PreparedTasks(support_set, query, start, network.loss)


def _duals(
    network: Network, episodes: Episodes, indices: Tensor, base: Tensor | None, places: tuple[slice, slice]
) -> list[Layer]:
    """The first layer on the support and on the query sets. It is given the images only where they were gathered."""
    first, own = network.layers[0], network.parameters[0]
    source, support = episodes.images, episodes.support.shape[-1]
    replicas, _, number = indices.shape
    images = gathered(source, indices) if base is None or episodes.gram is None else source.new_empty(0, 0, 0, 0)
    if base is None:
        outputs, _ = first.forward(own, images.flatten(1, 2))
        outputs = outputs.view(-1, number, first.outputs)
    else:
        replica = torch.arange(replicas, device=indices.device)[:, None, None]
        outputs = gathered(base.flatten(0, 1), indices * replicas + replica).flatten(0, 1)
    if episodes.gram is None:
        gram = products.gram_with_first(images.flatten(0, 1), support).add_(1)
    else:
        flat = indices.unsqueeze(-1) * len(source) + episodes.support.unsqueeze(-2)
        gram = episodes.gram.view(-1).index_select(0, flat.flatten()).view(-1, number, support)
    return [first.dual(outputs[:, place], gram[:, place], images, place) for place in places]


def adapt(
    rule: Rule,
    tasks: PreparedTasks,
    learning_rates: Float[Tensor, "replica step layer"],
    adapted_layers: Literal["all", "readout"] = "all",
    recomputes: bool = False,
) -> Iterator[Adapted]:
    """Yields the network as adapted to each task after 0, 1, ... steps of gradient descent.

    The errors reach the layers by ``rule``. Every step is differentiable by the network's parameters and by the
    learning rates. Where only the readout adapts, no error is sent back at all. ``recomputes``: as `InnerLoop` has it.
    """
    support, adapted = tasks.support, tasks.start
    rates = per_episode(learning_rates, support.targets.shape[0])[..., None, None]
    learning, carried = networks.learning(support.layers), networks.carried(support.layers)
    lowest = learning[-1] if adapted_layers == "readout" else learning[0]

    def step_from(adapted: Adapted, rates: Tensor) -> Adapted:
        batch = Pass(
            support.layers,
            adapted.parameters,
            adapted.feedback,
            tasks.loss,
            support.inputs,
            support.targets,
            activity(support, adapted),
            lowest,
        )
        return _gradient_step(batch, rule, credit.signals(rule, batch), rates, learning, carried)

    yield adapted
    for step in range(learning_rates.shape[1]):
        if recomputes and torch.is_grad_enabled():
            adapted = checkpoint(step_from, adapted, rates[:, step], use_reentrant=False, preserve_rng_state=False)
        else:
            adapted = step_from(adapted, rates[:, step])
        yield adapted


def _gradient_step(
    batch: Pass,
    rule: Rule,
    made: Signals,
    rates: Float[Tensor, "episode layer 1 1"],
    learning: tuple[int, ...],
    carried: tuple[int, ...],
) -> Adapted:
    """One step of gradient descent in the layers that have an error signal."""
    parameters, feedback = list(batch.parameters), list(batch.feedback)
    for number, place in enumerate(learning):
        error = made.errors[place]
        if error is None:
            continue
        follows = carried.index(place) if rule.nested and place in carried else None
        parameters[place], follower = batch.layers[place].gradient_step(
            parameters[place],
            rates[:, number],
            error,
            made.caches[place],
            None if follows is None else feedback[follows],
        )
        if follows is not None and follower is not None:
            feedback[follows] = follower
    return Adapted(tuple(parameters), tuple(feedback))


def activity(images: AdaptationSet, adapted: Adapted) -> Activity:
    """The forward pass of the adapted networks on ``images`` of their tasks."""
    layers = images.layers
    if images.support is not None:
        kept = activity(images.support, adapted).caches
        layers = tuple(
            layer.on_query(cache) if layer.needs_support else layer for layer, cache in zip(layers, kept, strict=True)
        )
    return networks.forward_through(layers, adapted.parameters, images.inputs)


def split(network: Network, tasks: Episodes, gathers: bool, block_bytes: int) -> Iterator[Episodes]:
    """The tasks, as many at a time as ``block_bytes`` hold, with all their pixels if ``gathers``."""
    size = max(1, block_bytes // bytes_of_a_task(network, tasks, gathers))
    for start in range(0, tasks.support.shape[1], size):
        yield tasks.block(start, start + size)


def bytes_of_a_task(network: Network, tasks: Episodes, gathers: bool) -> int:
    """What a task of every replica takes in a step, about, with all its pixels if ``gathers``."""
    replicas, _, support = tasks.support.shape
    images = support + tasks.query.shape[-1]
    width = sum(network.layers[place].outputs for place in network.learning)
    floats = images * (support + 4 * width)
    floats += sum(weight[0].numel() for weight in network.carried_weights)
    floats += images * tasks.images.shape[-1] if gathers else 0
    return replicas * floats * tasks.images.element_size()
