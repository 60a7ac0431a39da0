"""Credit assignment: how an output error reaches every layer, and the gradients that follow from it.

Everything here is made of differentiable tensor operations, so that autograd through a loop of these gradients
gives the exact derivative of that loop, whatever the rule. Batches of images may have matrices of their own
(``[batch, out, in]`` for ``[batch, image, ...]``) or share those of their replica (`networks.times`).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import products
from metafa.learning.networks import ACTIVATIONS, Activity, Network, times
from metafa.learning.rules import RULES as RULES
from metafa.learning.rules import Rule

Matrices = tuple[Tensor, ...]


def compared(rule: Rule, network: Network) -> list[tuple[Tensor, Tensor]]:
    """For each layer above the first, the forward path and the feedback that the alignment angle is between.

    That is W and B; under sign symmetry W and |B| * sign W; under direct feedback the product of all weights from
    that layer up, W_L ... W_l, and B.
    """
    upper = network.weights[1:]
    if rule.route == "direct":
        paths = [upper[-1]]
        for weights in reversed(upper[:-1]):
            paths.append(paths[-1] @ weights)
        return list(zip(reversed(paths), network.feedback, strict=True))
    if rule.transports == "weights":
        return list(zip(upper, network.feedback, strict=True))
    return list(zip(upper, carriers(rule, upper, network.feedback), strict=True))


def carriers(rule: Rule, upper_weights: Matrices, feedback: Matrices) -> Matrices:
    """What stands in the weights' place on the way back, of each layer above the first."""
    if rule.route == "direct":
        return tuple(rule.carrier(b, b) for b in feedback)
    return tuple(carried(rule, w, b) for w, b in zip(upper_weights, feedback, strict=True))


def carried(rule: Rule, weight: Tensor, feedback: Tensor) -> Tensor:
    """The carrier of one layer. Where weights are one an episode and feedback is one a replica, the rule sees views
    ``[replica, episode, ...]`` and ``[replica, 1, ...]``, so that feedback alone stays one a replica."""
    if len(weight) == len(feedback):
        return rule.carrier(weight, feedback)
    return rule.carrier(weight.unflatten(0, (len(feedback), -1)), feedback.unsqueeze(1)).flatten(0, 1)


def output_error(
    logits: Float[Tensor, "*batch image way"], targets: Float[Tensor, "*batch image way"]
) -> Float[Tensor, "*batch image way"]:
    """The derivative of `cross_entropy` by the logits: (softmax - target) / images."""
    return (_softmax(logits) - targets) / logits.shape[-2]


def _softmax(logits: Float[Tensor, "*batch image way"]) -> Float[Tensor, "*batch image way"]:
    return torch.softmax(logits.mT, -2).mT  # as the network lays its logits out


def cross_entropy(
    logits: Float[Tensor, "*batch image way"], targets: Float[Tensor, "*batch image way"]
) -> Float[Tensor, "*batch"]:
    """The mean over images of the cross-entropy, in nats, between target and softmax readout."""
    return -(targets * torch.log_softmax(logits.mT, -2).mT).sum(-1).mean(-1)


def accuracy(
    logits: Float[Tensor, "*batch image way"], targets: Float[Tensor, "*batch image way"]
) -> Float[Tensor, "*batch"]:
    """The fraction of images whose largest readout is at the largest target; not a number where a largest readout is
    not finite."""
    largest, found = logits.mT.max(-2)
    right = (found == targets.mT.max(-2).indices).to(logits.dtype)
    return (right + (largest - largest)).mean(-1)  # 0 of what is finite, else not a number


def layer_gradients(
    errors: Float[Tensor, "_batch image out"], inputs: Float[Tensor, "_batch image in"]
) -> tuple[Float[Tensor, "_batch out in"], Float[Tensor, "_batch out"]]:
    """A layer's weight and bias gradients, delta^T h and the sum of delta over images."""
    return products.outer(errors, inputs), errors.sum(-2)


def errors(
    rule: Rule, activity: Activity, output_error: Tensor, upper_weights: Matrices, feedback: Matrices, activation: str
) -> Matrices:
    """The error signals of all layers, layer 1 first."""
    derivative, matrices = ACTIVATIONS[activation].derivative, carriers(rule, upper_weights, feedback)
    if rule.route == "direct":
        sent = (derivative(times(output_error, b), h) for b, h in zip(matrices, activity.hidden, strict=True))
        return (*sent, output_error)
    found = [output_error]
    for h, matrix in zip(reversed(activity.hidden), reversed(matrices), strict=True):
        found.append(derivative(times(found[-1], matrix), h))
    return tuple(reversed(found))


def gradients(
    rule: Rule,
    network: Network,
    activity: Activity,
    inputs: Float[Tensor, "replica image pixel"],
    targets: Float[Tensor, "replica image way"],
) -> tuple[Tensor, ...]:
    """What ``rule`` makes of the cross-entropy's gradient: for the weights of all layers, then the biases."""
    sent = errors(
        rule,
        activity,
        output_error(activity.logits, targets),
        network.weights[1:],
        network.feedback,
        network.activation,
    )
    return all_gradients(sent, (inputs, *activity.hidden))


def all_gradients(errors: Matrices, inputs: Matrices) -> tuple[Tensor, ...]:
    """The gradients of all layers, from the error signal and the input of each: weights, then biases."""
    pairs = [layer_gradients(e, h) for e, h in zip(errors, inputs, strict=True)]
    return tuple(weight for weight, _ in pairs) + tuple(bias for _, bias in pairs)
