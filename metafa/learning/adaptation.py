"""The inner loop: a few steps of gradient descent on each task's support set, in the dual.

With plain gradient descent the first layer's weights after some steps are W + C^T X, X the support
images and C the sum of -rate * delta over steps. On any images X' they act as X' W^T + (X' X^T) C, so
a task needs its base pre-activations X' W^T + b and the small Gram matrix X' X^T + 1 (the 1 carries
the bias), and never a copy of the large first layer. This equals updating every weight, to rounding.

An *episode* is a task of a replica: all replicas' tasks stand in one axis, replica by replica.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metafa.learning import credit, networks, products
from metafa.learning.credit import Matrices
from metafa.learning.episodes import Episodes
from metafa.learning.networks import Activity, Network


@dataclass(frozen=True)
class Images:
    """The support or the query set of every task, as the inner loop sees it.

    first: the base pre-activations of the first layer.
    gram: products with the support images, plus 1.
    targets: one-hot labels, over all outputs of the network.
    """

    first: Float[Tensor, "episode image hidden"]
    gram: Float[Tensor, "episode image support"]
    targets: Float[Tensor, "episode image way"]


@dataclass(frozen=True)
class Adapted:
    """A network adapted to each task. What has not changed yet is one a replica, the rest one an episode.

    coefficients: C above: the first layer's weights are W + C^T X, its biases b + the sum of C over images;
        None while they are all 0.
    upper_weights, upper_biases, feedback: of the layers above the first.
    """

    coefficients: Float[Tensor, "episode support hidden"] | None
    upper_weights: tuple[Float[Tensor, "_batch _out _in"], ...]
    upper_biases: tuple[Float[Tensor, "_batch _out"], ...]
    feedback: tuple[Float[Tensor, "_batch _out _in"], ...]


def gathered(source: Float[Tensor, "_all pixel"], indices: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape pixel"]:
    """The images that ``indices`` point to."""
    return source.index_select(0, indices.flatten()).view(*indices.shape, -1)


def base_of_all(network: Network, source: Float[Tensor, "_all pixel"]) -> Float[Tensor, "_all replica hidden"]:
    """The base pre-activations of every image of ``source`` for every replica, in one product."""
    weights, biases = network.weights[0].flatten(0, 1), network.biases[0].flatten()
    return products.affine(source[None], weights[None], biases[None])[0].unflatten(1, network.biases[0].shape)


def prepare(
    network: Network, episodes: Episodes, base: Tensor | None = None
) -> tuple[Images, Images, Float[Tensor, "_replica task image pixel"]]:
    """The support and query sets of ``episodes`` as the inner loop of ``network`` needs them, and the pixels of every
    task, support images first; of the pixels none where they were not needed.

    ``base`` is what `base_of_all` gives for their images; it and the Gram matrix of all images, where the
    episodes carry one, are gathered from by index. What is not there is computed for each task.
    """
    source, support = episodes.images, episodes.support.shape[-1]
    indices = torch.cat([episodes.support, episodes.query], -1)
    replicas, _, images = indices.shape
    pixels = gathered(source, indices) if base is None or episodes.gram is None else source.new_empty(0, 0, 0, 0)
    if base is None:
        first = networks.first_layer(network, pixels.flatten(1, 2)).view(-1, images, network.biases[0].shape[-1])
    else:
        replica = torch.arange(replicas, device=indices.device)[:, None, None]
        first = gathered(base.flatten(0, 1), indices * replicas + replica).flatten(0, 1)
    if episodes.gram is None:
        gram = products.with_first(pixels.flatten(0, 1), support).add_(1)
    else:
        flat = indices.unsqueeze(-1) * len(source) + episodes.support.unsqueeze(-2)
        gram = episodes.gram.view(-1).index_select(0, flat.flatten()).view(-1, images, support)
    labels = torch.cat([episodes.support_labels, episodes.query_labels], -1).flatten(0, 1)
    ways = torch.arange(network.biases[-1].shape[-1], device=labels.device)[:, None]
    targets = (labels.unsqueeze(-2) == ways).to(source.dtype).mT

    support_images, query_images = (
        Images(first[:, chosen], gram[:, chosen], targets[:, chosen])
        for chosen in (slice(None, support), slice(support, None))
    )
    return support_images, query_images, pixels


def adapt(
    network: Network,
    rule: credit.Rule,
    support: Images,
    learning_rates: Float[Tensor, "replica step layer"],
    adapted_layers: Literal["all", "readout"] = "all",
) -> Iterator[Adapted]:
    """Yields the network as adapted to each task after 0, 1, ... steps of gradient descent.

    The errors reach the layers by ``rule``. Every step is differentiable by the network's parameters and by the
    learning rates. Where only the readout adapts, no error is sent back at all.
    """
    rates = each(learning_rates, len(support.first))[..., None, None]
    adapted = Adapted(None, network.weights[1:], network.biases[1:], network.feedback)
    yield adapted
    for step in range(learning_rates.shape[1]):
        seen = activity(support, adapted, network.activation)
        error = credit.output_error(seen.logits, support.targets)
        if adapted_layers == "readout":
            errors: Matrices = (error,)
        else:
            errors = credit.errors(rule, seen, error, adapted.upper_weights, adapted.feedback, network.activation)
        adapted = _moved(adapted, rule, seen.hidden, errors, rates[:, step])
        yield adapted


def _moved(
    adapted: Adapted, rule: credit.Rule, hidden: Matrices, errors: Matrices, rates: Float[Tensor, "episode layer 1 1"]
) -> Adapted:
    """One step of gradient descent in the layers that ``errors`` reach, the last ones."""
    coefficients, episodes = adapted.coefficients, len(rates)
    weights, biases, feedback = list(adapted.upper_weights), list(adapted.upper_biases), list(adapted.feedback)
    reached = range(1 + len(weights) - len(errors), 1 + len(weights))
    for layer, error in zip(reached, errors, strict=True):
        rate = rates[:, layer]
        if layer == 0:
            coefficients = -rate * error if coefficients is None else torch.addcmul(coefficients, rate, error, value=-1)
            continue
        upper, error = layer - 1, rate * error
        weights[upper] = torch.baddbmm(each(weights[upper], episodes), error.mT, hidden[upper], alpha=-1)
        biases[upper] = each(biases[upper], episodes) - error.sum(-2)
        if rule.nested:
            feedback[upper] = torch.baddbmm(each(feedback[upper], episodes), error.mT, hidden[upper], alpha=-1)
    return Adapted(coefficients, tuple(weights), tuple(biases), tuple(feedback))


def each(tensors: Tensor, episodes: int) -> Tensor:
    """One tensor an episode, of one a replica."""
    return tensors if len(tensors) == episodes else tensors.repeat_interleave(episodes // len(tensors), 0)


def activity(images: Images, adapted: Adapted, activation: str) -> Activity:
    """The forward pass of the adapted networks on ``images`` of their tasks."""
    if adapted.coefficients is None:
        first = images.first.clone()
    else:
        first = torch.baddbmm(images.first, images.gram, adapted.coefficients)
    return networks.forward_from(first, adapted.upper_weights, adapted.upper_biases, activation)
