"""Losses: what is minimized at the outputs, and the score that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def cross_entropy(
    logits: Float[Tensor, "*batch image way"], targets: Float[Tensor, "*batch image way"]
) -> Float[Tensor, "*batch"]:
    """The mean over images of the cross-entropy, in nats, between target and softmax readout."""
    return -(targets * torch.log_softmax(logits.mT, -2).mT).sum(-1).mean(-1)


def cross_entropy_error(
    logits: Float[Tensor, "*batch image way"], targets: Float[Tensor, "*batch image way"]
) -> Float[Tensor, "*batch image way"]:
    """(softmax - target) / images."""
    # over the outer of the two axes, as a network lays its readout out
    return (torch.softmax(logits.mT, -2).mT - targets) / logits.shape[-2]


def accuracy(
    logits: Float[Tensor, "*batch image way"], targets: Float[Tensor, "*batch image way"]
) -> Float[Tensor, "*batch"]:
    """The fraction of images whose largest readout is at the largest target; not a number where a largest readout is
    not finite."""
    largest, predicted = logits.mT.max(-2)
    right = (predicted == targets.mT.max(-2).indices).to(logits.dtype)
    return (right + (largest - largest)).mean(-1)  # 0 of what is finite, else not a number


def squared_error(
    outputs: Float[Tensor, "*batch image out"], targets: Float[Tensor, "*batch image out"]
) -> Float[Tensor, "*batch"]:
    """The mean over images of half the squared distance between outputs and targets."""
    return (outputs - targets).square().sum(-1).mean(-1) / 2


def squared_error_error(
    outputs: Float[Tensor, "*batch image out"], targets: Float[Tensor, "*batch image out"]
) -> Float[Tensor, "*batch image out"]:
    """(output - target) / images."""
    return (outputs - targets) / outputs.shape[-2]


@dataclass(frozen=True)
class Loss:
    """A loss, of outputs and targets ``[..., image, out]``.

    value: the mean over images ``[...]``.
    error: its derivative by the outputs.
    score: how well they did, the more the better, ``[...]``; None where nothing is counted.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], Tensor] | None = None

    def scored(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The score; not a number where there is none."""
        if self.score is None:
            return torch.full_like(self.value(outputs, targets), torch.nan)
        return self.score(outputs, targets)


CROSS_ENTROPY = Loss(cross_entropy, cross_entropy_error, accuracy)
SQUARED_ERROR = Loss(squared_error, squared_error_error)
