"""Credit assignment: how an output error reaches every layer, and the gradients that follow from it.

Everything here is made of differentiable tensor operations, so that autograd through a loop of these gradients
gives the exact derivative of that loop, whatever the rule. Batches of images may have matrices of their own
(``[batch, out, in]`` for ``[batch, image, ...]``) or share those of their replica (`networks.times`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import products
from metafa.learning.networks import ACTIVATIONS, Activity, Network, times

Matrices = tuple[Tensor, ...]
Derivative = Callable[[Tensor, Tensor], Tensor]
# (output error, hidden activations, derivative, weights above the first layer, feedback) -> errors, layer 1 first
Send = Callable[[Tensor, Matrices, Derivative, Matrices, Matrices], Matrices]


def by_weights(
    output_error: Tensor, hidden: Matrices, derivative: Derivative, upper_weights: Matrices, feedback: Matrices
) -> Matrices:
    """delta_l = (delta_{l+1} W_{l+1}) * phi'(a_l)."""
    return _layer_by_layer(output_error, hidden, derivative, upper_weights)


def by_feedback(
    output_error: Tensor, hidden: Matrices, derivative: Derivative, upper_weights: Matrices, feedback: Matrices
) -> Matrices:
    """delta_l = (delta_{l+1} B_{l+1}) * phi'(a_l)."""
    return _layer_by_layer(output_error, hidden, derivative, feedback)


def by_signs(
    output_error: Tensor, hidden: Matrices, derivative: Derivative, upper_weights: Matrices, feedback: Matrices
) -> Matrices:
    """delta_l = (delta_{l+1} (|B_{l+1}| * sign W_{l+1})) * phi'(a_l)."""
    return _layer_by_layer(output_error, hidden, derivative, signed(upper_weights, feedback))


def directly(
    output_error: Tensor, hidden: Matrices, derivative: Derivative, upper_weights: Matrices, feedback: Matrices
) -> Matrices:
    """delta_l = (delta_L B_{l+1}) * phi'(a_l), delta_L the output error."""
    return (
        *(derivative(times(output_error, matrix), h) for matrix, h in zip(feedback, hidden, strict=True)),
        output_error,
    )


def _layer_by_layer(output_error: Tensor, hidden: Matrices, derivative: Derivative, matrices: Matrices) -> Matrices:
    errors = [output_error]
    for h, matrix in zip(reversed(hidden), reversed(matrices), strict=True):
        errors.append(derivative(times(errors[-1], matrix), h))
    return tuple(reversed(errors))


def signed(upper_weights: Matrices, feedback: Matrices) -> Matrices:
    """|B| * sign W, of each layer; the sign of 0 is +."""
    expanded = (
        b if len(b) == len(w) else b.repeat_interleave(len(w) // len(b), 0)
        for w, b in zip(upper_weights, feedback, strict=True)
    )
    return tuple(torch.copysign(b, w) for w, b in zip(upper_weights, expanded, strict=True))


@dataclass(frozen=True)
class Rule:
    """A credit assignment rule.

    send: the error signals of all layers.
    feedback: what its matrices B are: ``layered``, shaped as the weights; ``direct``, from the outputs to each
        hidden layer; or ``constant``, layered and all of one size.
    learning: how B changes with training steps and with outer steps, a row of `feedback.LEARNING`.
    nested: whether B learns within the inner loop too, from task to task anew; else a task leaves it as it is.
    """

    send: Send
    feedback: Literal["layered", "direct", "constant"] = "layered"
    learning: Literal["fixed", "redrawn", "follows", "mirrors"] = "fixed"
    nested: bool = False


RULES: dict[str, Rule] = {
    # the gradient (Rumelhart, Hinton and Williams 1986)
    "backprop": Rule(by_weights),
    # B random and fixed (Lillicrap et al. 2016)
    "feedback_alignment": Rule(by_feedback),
    # B random and fixed, from the outputs to every hidden layer (Nøkland 2016)
    "direct_feedback_alignment": Rule(directly, feedback="direct"),
    # B with the signs of W, and sizes all equal (Liao et al. 2016, uSF), random and fixed (frSF), or random and
    # drawn anew for every batch (brSF; Moskovitz et al. 2018). A task is one batch: its inner loop keeps them.
    "sign_symmetry_uniform": Rule(by_signs, feedback="constant"),
    "sign_symmetry_fixed": Rule(by_signs),
    "sign_symmetry_random": Rule(by_signs, learning="redrawn"),
    # B takes the same steps as W, and both decay (Kolen and Pollack 1994; Akrout et al. 2019): in noise
    # pretraining and in the outer loop, where it was published; a task leaves B as it is
    "kolen_pollack": Rule(by_feedback, learning="follows"),
    # new: B takes the same steps as W within a task too, without decay, so that each task's adapted readout keeps
    # its feedback; the next task starts from the initial B again, as it does from the initial W
    "nested_kolen_pollack": Rule(by_feedback, learning="follows", nested=True),
    # B learns to mirror W from the answers to noise, between training steps and between outer steps (Akrout et al.
    # 2019, section 3); a task leaves it as it is
    "weight_mirror": Rule(by_feedback, learning="mirrors"),
}


def compared(rule: Rule, network: Network) -> list[tuple[Tensor, Tensor]]:
    """For each layer above the first, the forward path and the feedback that the alignment angle is between.

    That is W and B; under sign symmetry W and |B| * sign W; under direct feedback the product of all weights from
    that layer up, W_L ... W_l, and B.
    """
    upper = network.weights[1:]
    if rule.send is by_signs:
        return list(zip(upper, signed(upper, network.feedback), strict=True))
    if rule.feedback == "direct":
        paths = [upper[-1]]
        for weights in reversed(upper[:-1]):
            paths.append(paths[-1] @ weights)
        return list(zip(reversed(paths), network.feedback, strict=True))
    return list(zip(upper, network.feedback, strict=True))


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
    return rule.send(output_error, activity.hidden, ACTIVATIONS[activation].derivative, upper_weights, feedback)


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
