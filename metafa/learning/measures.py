"""What is measured on a network: alignment, dimensionality, readout."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def alignment_angle(
    weights: Float[Tensor, "replica out in"], feedback: Float[Tensor, "replica out in"]
) -> Float[Tensor, "replica"]:
    """The angle in degrees between W and B, flattened: arccos of their cosine (Cheon, Lee and Paik 2024)."""
    w, b = weights.double().flatten(1), feedback.double().flatten(1)
    # by the tangent of the half angle, which unlike the arccosine keeps its precision near 0 and 180 degrees
    w, b = w / w.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    return torch.rad2deg(2 * torch.atan2((w - b).norm(dim=1), (w + b).norm(dim=1)))


def _spectrum(weights: Float[Tensor, "replica out in"]) -> Float[Tensor, "replica value"]:
    """The squared singular values, each replica's divided by their sum."""
    w = weights.double()
    gram = w @ w.mT if w.shape[1] <= w.shape[2] else w.mT @ w
    finite = gram.isfinite().all(-1).all(-1)[:, None]
    squares = torch.linalg.eigvalsh(gram.nan_to_num(0.0, 0.0, 0.0)).clamp(min=0)
    return torch.where(finite, squares / squares.sum(-1, keepdim=True), torch.nan)


def singular_values(weights: Float[Tensor, "replica out in"]) -> Float[Tensor, "replica value"]:
    """Each replica's singular values, the largest first; not a number where its weights are not all finite."""
    finite = weights.isfinite().flatten(1).all(1)[:, None]
    return torch.where(finite, torch.linalg.svdvals(weights.double().nan_to_num(0.0, 0.0, 0.0)), torch.nan)


def effective_dimensionality(weights: Float[Tensor, "replica out in"]) -> Float[Tensor, "replica"]:
    """The participation ratio (sum s^2)^2 / sum s^4 of the squared singular values s^2 (Gao et al. 2017)."""
    return 1 / _spectrum(weights).square().sum(-1)


def effective_rank(weights: Float[Tensor, "replica out in"]) -> Float[Tensor, "replica"]:
    """The exponential of the entropy of the normalised squared singular values (after Roy and Vetterli 2007)."""
    return torch.exp(torch.special.entr(_spectrum(weights)).sum(-1))


def readout_probability(logits: Float[Tensor, "replica image way"]) -> Float[Tensor, "replica"]:
    """The mean over images of the largest readout probability."""
    return torch.softmax(logits.double(), -1).amax(-1).mean(-1)


def readout_deviation(logits: Float[Tensor, "replica image way"]) -> Float[Tensor, "replica"]:
    """The mean absolute deviation of the readout probabilities from chance, 1 / ways."""
    return (torch.softmax(logits.double(), -1) - 1 / logits.shape[-1]).abs().mean((-2, -1))


def expected_calibration_error(
    logits: Float[Tensor, "replica image way"], labels: Int[Tensor, "image"], bins: int = 15
) -> Float[Tensor, "replica"]:
    """The mean over images of the distance between confidence and accuracy within bins of equal width (Guo et al.
    2017, eq. 5); confidence is the largest readout probability."""
    confidence, predicted = torch.softmax(logits.double(), -1).max(-1)
    finite = confidence.isfinite()
    place = (confidence.nan_to_num() * bins).ceil().long().clamp(1, bins) - 1  # each bin holds its upper edge
    excess = torch.where(finite, confidence - (predicted == labels).double(), torch.nan)
    sums = torch.zeros(len(logits), bins, dtype=torch.float64, device=logits.device).scatter_add_(1, place, excess)
    return sums.abs().sum(-1) / logits.shape[1]


def principal_path(
    weights: Float[Tensor, "moment replica weight"],
) -> tuple[Float[Tensor, "moment replica two"], Float[Tensor, "replica two"]]:
    """The path that each replica's weights took, in the plane of their first two principal components over moments,
    about their mean; and the fraction of the variance along each. Each component points to where the path ends.

    Not a number for replicas whose weights are not all finite, and for what does not vary.
    """
    moments, replicas = weights.shape[:2]
    path = torch.full((moments, replicas, 2), torch.nan, dtype=torch.float64)
    fractions = torch.full((replicas, 2), torch.nan, dtype=torch.float64)
    for replica in range(replicas):
        centred = weights[:, replica].double()
        centred = centred - centred.mean(0)
        gram = centred @ centred.mT  # of few moments, where the covariance would be of many weights
        if moments < 2 or not gram.isfinite().all() or gram.trace() == 0:
            continue
        squares, directions = (part.flip(-1)[..., :2].cpu() for part in torch.linalg.eigh(gram))
        found = directions * squares.clamp(min=0).sqrt()
        path[:, replica] = found * torch.where(found[-1] < 0, -1.0, 1.0)
        fractions[replica] = squares.clamp(min=0) / gram.trace().cpu()
    return path, fractions
