"""Credit assignment: how an output error reaches every layer, and the gradients that follow from it.

Everything here is made of differentiable tensor operations, so that autograd through a loop of these gradients
gives the exact derivative of that loop, whatever the rule. Batches of images may have parameters of their own
(``[batch, ...]`` for ``[batch, image, ...]``) or share those of their replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import networks
from metafa.learning.kinds import resolved
from metafa.learning.layers.base import Cache, Layer, Parameters, source, times
from metafa.learning.losses import Loss
from metafa.learning.networks import Activity, Network
from metafa.learning.rules import Rule

Errors = Sequence[Tensor | None]


class Pass(NamedTuple):
    """A forward pass of one batch, all that a rule may go by.

    layers, parameters, feedback, loss: as of `networks.Network`; parameters and feedback may be one an episode.
    inputs, targets: of the batch; inputs are None to a layer that has them in it.
    activity: the outputs, and what each layer has kept.
    lowest: the place of the lowest layer that learns from this batch.
    """

    layers: Sequence[Layer]
    parameters: Sequence[Parameters]
    feedback: Sequence[Tensor]
    loss: Loss
    inputs: Any
    targets: Tensor
    activity: Activity
    lowest: int = 0

    def error(self) -> Tensor:
        """The derivative of the loss by the outputs."""
        return self.loss.error(self.activity.logits, self.targets)


class Signals(NamedTuple):
    """What a rule makes of a batch: for each layer its error signal, None where it stays as it is, and the cache of a
    forward pass that the signal is paired with for the layer's gradients."""

    errors: Errors
    caches: Sequence[Cache]


def signals(rule: Rule, batch: Pass) -> Signals:
    """The error signals of all layers that ``rule`` makes of a batch."""
    if rule.signals is not None:
        return resolved(rule.signals)(batch)
    return Signals(errors(rule, batch, batch.error()), batch.activity.caches)


def errors(rule: Rule, batch: Pass, output_error: Tensor) -> Errors:
    """The error at the outputs of every layer that learns, of the ``output_error`` by the carriers of ``rule``:
    through a layer l, delta_l = (delta_{l+1} carrier(W, B)) * phi'(a_l), or, straight from the outputs,
    delta_l = (delta_L B) * phi'(a_l)."""
    layers, parameters, caches = batch.layers, batch.parameters, batch.activity.caches
    found: list[Tensor | None] = [None] * len(layers)
    # the network's feedback may be that of another rule, of any kind and number
    feedback = list(
        batch.feedback if rule.reads_feedback else (parameters[p]["weight"] for p in networks.carried(layers))
    )
    pending: list[Tensor | None] = [None] * len(layers)  # errors at outputs
    pending[-1] = output_error
    if rule.route == "direct":
        for place, matrix in zip(networks.carried(layers), feedback, strict=True):
            if place > batch.lowest:
                sent, shape = times(output_error, matrix), layers[place].shape
                sent = sent if len(shape) == 1 else sent.unflatten(-1, shape)
                _send(pending, source(place, layers[place]), sent)
    for place in range(len(layers) - 1, batch.lowest - 1, -1):
        layer, error = layers[place], pending[place]
        if error is None:
            continue
        if layer.learns:
            found[place] = error
        if place == batch.lowest or (layer.carried and rule.route == "direct"):
            continue
        by = carrier(rule, parameters[place]["weight"], feedback.pop()) if layer.carried else None
        sent = layer.backward(parameters[place], by, error, caches[place])
        _send(pending, source(place, layer), sent)
        if layer.adds:
            _send(pending, place - 1, sent.clone())  # a layer may overwrite its error
    return found


def _send(pending: list[Tensor | None], place: int, error: Tensor) -> None:
    """Adds an error to what is to go back through the layer at ``place``."""
    known = pending[place]
    pending[place] = error if known is None else known + error


def carrier(rule: Rule, weight: Tensor, feedback: Tensor) -> Tensor:
    """What stands in a layer's weight's place on the way back. Where weights are one an episode and feedback is one a
    replica, the rule sees views ``[replica, episode, ...]`` and ``[replica, 1, ...]``, so that feedback alone stays
    one a replica."""
    assert rule.carrier is not None
    replicas = feedback.shape[0]
    if weight.shape[0] == replicas:
        return rule.carrier(weight, feedback)
    return rule.carrier(weight.unflatten(0, (replicas, -1)), feedback.unsqueeze(1)).flatten(0, 1)


@torch.no_grad()
def gradients(
    rule: Rule,
    network: Network,
    activity: Activity,
    inputs: Float[Tensor, "replica image pixel"],
    targets: Float[Tensor, "replica image way"],
) -> tuple[Parameters, ...]:
    """What ``rule`` makes of the loss's gradient: for the parameters of each layer, by name."""
    batch = Pass(
        network.layers,
        network.parameters,
        network.feedback,
        network.loss,
        inputs,
        targets,
        activity,
        network.learning[0],
    )
    return layer_gradients(network, network.layers, signals(rule, batch))


def layer_gradients(network: Network, layers: Sequence[Layer], made: Signals) -> tuple[Parameters, ...]:
    """The gradients of the network's parameters, summed over all images of a replica; 0 where a layer is to stay as it
    is. ``layers`` are the network's, or other forms of them."""
    replicas = network.replicas
    return tuple(
        {name: torch.zeros_like(tensor) for name, tensor in layer.trained(own).items()}
        if error is None
        else layer.gradients(error, cache, replicas)
        for layer, own, error, cache in zip(layers, network.parameters, made.errors, made.caches, strict=True)
    )


def alignment_pairs(rule: Rule, network: Network) -> list[tuple[int, Tensor, Tensor]]:
    """For layers that errors are carried through, the layer's number, of those with weights, and the forward path and
    the feedback that the alignment angle is between, as matrices ``[replica, out, in]``, as `outgoing` makes them of
    kernels.

    That is W and its carrier, but for a rule whose carrier is W itself, where it is W and B; under direct feedback the
    product of all weights from that layer up, W_L ... W_l, and B, of layers with nothing but linear layers above; and
    nothing for a rule that has no carriers.
    """
    if rule.signals is not None:
        return []
    upper, sent_by = network.carried_weights, network.feedback
    numbers = range(2, 2 + len(upper))
    if rule.route == "direct":
        paths = [*upper[-1:]]
        for weights in reversed(upper[:-1]):
            if weights.dim() > 3:
                break
            paths.append(paths[-1] @ weights)
        first = len(upper) - len(paths)
        return list(zip(numbers[first:], reversed(paths), sent_by[first:], strict=True))
    if rule.reads_feedback:
        sent_by = tuple(carrier(rule, w, b) for w, b in zip(upper, sent_by, strict=True))
    return [(number, outgoing(w), outgoing(b)) for number, w, b in zip(numbers, upper, sent_by, strict=True)]


def outgoing(weight: Tensor) -> Float[Tensor, "replica out in"]:
    """A weight as a matrix with a column for each unit, or each channel, that sends into the layer: of a kernel
    ``[replica, filter, channel, row, column]``, all that a channel sends by."""
    return weight if weight.dim() == 3 else weight.movedim(2, -1).flatten(1, -2)


def of_outgoing(matrix: Tensor, weight: Tensor) -> Tensor:
    """What `outgoing` has made of a weight, in the shape of ``weight``."""
    if weight.dim() == 3:
        return matrix
    return matrix.unflatten(1, (weight.shape[1], *weight.shape[3:])).movedim(-1, 2)


def incoming(weight: Tensor) -> Float[Tensor, "replica out in"]:
    """A weight as a matrix with a row for each unit, or each filter, of the layer: of a kernel ``[replica, filter,
    channel x row x column]``."""
    return weight.flatten(2)
