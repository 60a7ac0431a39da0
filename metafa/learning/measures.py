"""What is measured on a network: alignment, dimensionality, features, readout."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def alignment_angle(
    weights: Float[Tensor, "replica out in"], feedback: Float[Tensor, "replica out in"]
) -> Float[Tensor, "replica"]:
    """The angle in degrees between W and B, flattened: arccos of their cosine. It is metafa's own; that of Cheon, Lee
    and Paik (2024) is of every unit by itself, as `unit_alignment_angles` has it."""
    return _angles(weights.double().flatten(1), feedback.double().flatten(1))


def unit_alignment_angles(
    weights: Float[Tensor, "replica out in"], feedback: Float[Tensor, "replica out in"]
) -> Float[Tensor, "replica in"]:
    """The angle in degrees, of each unit that sends into the layer, between its outgoing weights, a column of W, and
    its feedback, that column of B (Cheon, Lee and Paik 2024, figure 1). Not a number where either column is all
    zeros."""
    return _angles(weights.double().mT, feedback.double().mT)


def unit_alignment_angle(
    weights: Float[Tensor, "replica out in"], feedback: Float[Tensor, "replica out in"]
) -> Float[Tensor, "replica"]:
    """The mean of `unit_alignment_angles` over the units that have one."""
    return unit_alignment_angles(weights, feedback).nanmean(1)


def _angles(w: Float[Tensor, "*which entry"], b: Float[Tensor, "*which entry"]) -> Float[Tensor, "*which"]:
    """The angle in degrees between vectors."""
    # by the tangent of the half angle, which unlike the arccosine keeps its precision near 0 and 180 degrees
    w, b = w / w.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    return torch.rad2deg(2 * torch.atan2((w - b).norm(dim=-1), (w + b).norm(dim=-1)))


def feedback_distance(
    weights: Float[Tensor, "replica out in"], feedback: Float[Tensor, "replica out in"]
) -> Float[Tensor, "replica"]:
    """The Frobenius norm of W - B."""
    return (weights.double() - feedback.double()).flatten(1).norm(dim=1)


def _eigenvalues(matrices: Float[Tensor, "replica n n"]) -> Float[Tensor, "replica n"]:
    """Each replica's eigenvalues of a matrix that has none below 0; not a number where it is not all finite."""
    finite = matrices.isfinite().flatten(1).all(1)[:, None]
    return torch.where(finite, torch.linalg.eigvalsh(matrices.nan_to_num(0.0, 0.0, 0.0)).clamp(min=0), torch.nan)


def squared_singular_values(weights: Float[Tensor, "replica out in"]) -> Float[Tensor, "replica value"]:
    """Each replica's squared singular values, in no order that counts; not a number where its weights are not all
    finite. By the eigenvalues of the smaller Gram matrix, which takes a fraction of the time of `singular_values`."""
    w = weights.double()
    return _eigenvalues(w @ w.mT if w.shape[1] <= w.shape[2] else w.mT @ w)


def singular_values(weights: Float[Tensor, "replica out in"]) -> Float[Tensor, "replica value"]:
    """Each replica's singular values, the largest first; not a number where its weights are not all finite."""
    finite = weights.isfinite().flatten(1).all(1)[:, None]
    return torch.where(finite, torch.linalg.svdvals(weights.double().nan_to_num(0.0, 0.0, 0.0)), torch.nan)


def participation_ratio(squares: Float[Tensor, "replica value"]) -> Float[Tensor, "replica"]:
    """(sum s^2)^2 / sum s^4, of the squared singular values s^2 (Gao et al. 2017)."""
    return 1 / _shares(squares).square().sum(-1)


def squared_effective_rank(squares: Float[Tensor, "replica value"]) -> Float[Tensor, "replica"]:
    """The exponential of the entropy of s^2 / sum s^2, of the squared singular values s^2: metafa's own, after the
    effective rank of Roy and Vetterli (2007), which does not square them."""
    return _exponential_entropy(squares)


def effective_rank(squares: Float[Tensor, "replica value"]) -> Float[Tensor, "replica"]:
    """The exponential of the entropy of s / sum s, s the singular values (Roy and Vetterli 2007, section 2), of their
    squares s^2. What is 0 but for rounding counts as 0: the root of it would not be small."""
    least = squares.amax(-1, keepdim=True) * squares.shape[-1] * torch.finfo(torch.float64).eps
    return _exponential_entropy(torch.where(squares < least, 0.0, squares).sqrt())


def feature_rank(features: Float[Tensor, "replica image unit"]) -> Float[Tensor, "replica"]:
    """The effective rank, `effective_rank`, of the Gram matrix of cosine similarities of units, each unit a vector over
    images (Cheon, Lee and Paik 2024, figure 4). A unit that is 0 for every image has no direction: its similarities
    count as 0, that to itself too, so that it adds nothing. Not a number where that is so of all units."""
    units = features.double()
    gram = units.mT @ units
    squares = gram.diagonal(dim1=1, dim2=2)
    lengths = torch.where(squares == 0, 1.0, squares).sqrt()
    return _exponential_entropy(_eigenvalues(gram / lengths[:, :, None] / lengths[:, None, :]))


def _shares(values: Float[Tensor, "replica value"]) -> Float[Tensor, "replica value"]:
    return values / values.sum(-1, keepdim=True)


def _exponential_entropy(values: Float[Tensor, "replica value"]) -> Float[Tensor, "replica"]:
    """exp(-sum p log p), p each value's share of their sum."""
    return torch.exp(torch.special.entr(_shares(values)).sum(-1))


def readout_probability(logits: Float[Tensor, "replica image way"]) -> Float[Tensor, "replica"]:
    """The mean over images of the largest readout probability."""
    return torch.softmax(logits.double(), -1).amax(-1).mean(-1)


def readout_deviation(logits: Float[Tensor, "replica image way"]) -> Float[Tensor, "replica"]:
    """The mean absolute deviation of the readout probabilities from chance, 1 / ways."""
    return (torch.softmax(logits.double(), -1) - 1 / logits.shape[-1]).abs().mean((-2, -1))


def readout_wilcoxon(logits: Float[Tensor, "replica image way"]) -> Float[Tensor, "replica"]:
    """The decimal logarithm of the two-sided p-value of Wilcoxon's (1945) signed-rank test of all readout probabilities
    less chance, 1 / ways, by the normal approximation as scipy has it; 0 where none differs from chance. The
    probabilities of an image sum to 1 and are not independent, as the test takes them to be: the p-value describes a
    distribution, and tests nothing about other networks."""
    from scipy.stats import norm, wilcoxon

    excess = (torch.softmax(logits.double(), -1) - 1 / logits.shape[-1]).flatten(1)
    broken, same = ~excess.isfinite().all(1), (excess == 0).all(1)
    told = (~broken & ~same).nonzero()[:, 0]
    logarithm = torch.where(broken, torch.nan, torch.zeros_like(excess[:, 0]))
    if len(told):
        z = wilcoxon(excess[told].cpu().numpy(), axis=1, method="approx").zstatistic
        # the p-value itself would be 0 in float64 where |z| is 39 or more
        p = np.minimum(0, np.log(2) + norm.logsf(np.abs(z))) / np.log(10)
        logarithm[told] = torch.as_tensor(p, dtype=logarithm.dtype, device=logarithm.device)
    return logarithm


PERCENTS = tuple(range(1, 100))
"""Of the quantiles of readout probabilities."""


def readout_quantiles(logits: Float[Tensor, "replica image way"]) -> Float[Tensor, "replica quantile"]:
    """The quantiles of all readout probabilities at `PERCENTS`, between the nearest two linearly."""
    probabilities = torch.softmax(logits.double(), -1).flatten(1).cpu().numpy()
    return torch.from_numpy(np.quantile(probabilities, np.array(PERCENTS) / 100, axis=1).T)


def auroc(
    inside: Float[Tensor, "replica image way"], outside: Float[Tensor, "replica other way"]
) -> Float[Tensor, "replica"]:
    """The area under the receiver operating characteristic of the largest readout probability, by which images that a
    network was trained for are told from others (Hendrycks and Gimpel 2017): the probability that one of the logits
    ``inside`` has a larger one than one ``outside``, ties counting one half (Mann and Whitney 1947)."""
    within, without = (torch.softmax(logits.double(), -1).amax(-1) for logits in (inside, outside))
    ordered = without.sort(dim=1).values
    below, up_to = (torch.searchsorted(ordered, within, right=right).double() for right in (False, True))
    area = ((below + up_to) / 2).mean(1) / without.shape[1]
    return torch.where(within.isfinite().all(1) & without.isfinite().all(1), area, torch.nan)


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
