"""Estimators of what a condition comes to and how conditions differ: arrays in, numbers out.

Those of Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice", are as its
library rliable has them, but that here lower is better, and that intervals are not bootstraps: of few seeds those hold
the truth too seldom (docs/science.md has the formulas, and a table of how often each holds it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

LEVEL = 0.05  # of error: intervals hold 95%
ENOUGH = 8  # values for the middle half to say how far it spreads
SAME = 1e-12  # values that differ by less of their size differ by rounding


def mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean."""
    return np.mean(values, axis)


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean of the middle half of the values (Agarwal et al. 2021): less moved by a bad seed than the mean, and less
    wasteful than the median. A quarter of the values, rounded down, is cut off at either end."""
    return stats.trim_mean(values, TRIMMED[interquartile_mean], axis)


TRIMMED: dict[Callable[..., np.ndarray], float] = {mean: 0.0, interquartile_mean: 0.25}  # at either end


def over_tasks(values: np.ndarray) -> np.ndarray:
    """The mean over tasks of ``[..., task, seed]``: ``[..., seed]``. The same networks stand in every task, and it is
    they that are drawn at random. A task of which no seed has a value (all are not a number) was not measured and does
    not count. A seed without a finite value on one of the others is not a number: it would be compared on easier or
    harder tasks than the rest."""
    measured = ~np.isnan(values).all(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        means = np.where(measured, values, 0).sum(-2) / measured.sum(-2)
    return np.where(np.isfinite(means), means, math.nan)


def interval(tasks: Sequence[np.ndarray], statistic: Callable[..., np.ndarray] = mean) -> tuple[float, float]:
    """The 95% interval of ``statistic`` over seeds, of their means over ``tasks``: an array ``[seed]`` a task, the same
    seeds in each. As `intervals_by_row`. Raises ValueError where tasks have different numbers of seeds."""
    low, high = intervals_by_row(over_tasks(np.atleast_2d(np.asarray(tasks, float)))[None], statistic)[:, 0]
    return float(low), float(high)


def intervals_by_row(values: np.ndarray, statistic: Callable[..., np.ndarray] = mean) -> np.ndarray:
    """The 95% intervals ``[2, row]`` of what each row of ``values`` ``[row, seed]`` is a sample of: its mean or
    interquartile mean, over the row's finite values.

    Student's t; of the interquartile mean of `ENOUGH` values or more, with the Winsorized variance (Yuen 1974). The end
    towards the sample's longer tail is moved outwards to where Hall's (1992) transformation, which takes the skewness
    out of the t statistic, puts it. Not a number where fewer than two values are finite, or all are the same."""
    values = np.where(np.isfinite(values), values, math.nan)
    counts = np.isfinite(values).sum(1)
    found = np.full((2, len(values)), math.nan)
    for count in np.unique(counts[counts >= 2]):
        rows = np.flatnonzero(counts == count)
        ordered = np.sort(values[rows], 1)[:, :count]  # what is not a number comes last
        cut = int(TRIMMED[statistic] * count)
        middle = ordered[:, cut : count - cut].mean(1)
        winsorized = cut if count >= ENOUGH else 0
        varied = _vary(ordered[:, winsorized : count - winsorized])
        found[:, rows[varied]] = middle[varied] + _reaches(ordered[varied], winsorized)
    return found


def _vary(values: np.ndarray) -> np.ndarray:
    """Whether the values along the last axis differ by more than rounding."""
    return np.ptp(values, -1) > SAME * np.abs(values).max(-1)


def _reaches(ordered: np.ndarray, winsorized: int) -> np.ndarray:
    """How far the intervals of ascending values ``[row, value]`` reach from their middles, ``[2, row]``, down and up:
    those of values of which so many are Winsorized at either end."""
    kept = ordered.shape[1] - 2 * winsorized
    deviation, _ = _moments(ordered, winsorized)
    # beyond the quartiles there is most to be seen of the skewness, and in the very tails least to be trusted
    _, skewness = _moments(ordered, 2 * winsorized // 3)
    reach = stats.t.ppf(1 - LEVEL / 2, kept - 1) / math.sqrt(kept)
    skew = np.maximum(np.abs(skewness), 1e-6)  # below it, Hall's is Student's but for rounding
    far = 3 * (1 - np.cbrt(1 - skew * (reach + skew / (6 * kept)))) / skew
    far = np.where(skew > 1e-6, far, reach)
    return deviation * np.stack([-np.where(skewness < 0, far, reach), np.where(skewness > 0, far, reach)])


def _moments(ordered: np.ndarray, cut: int) -> tuple[np.ndarray, np.ndarray]:
    """The standard deviation and skewness of ascending values ``[row, value]``, so many at either end Winsorized: set
    to the nearest of those kept, which stand for all in the degrees of freedom."""
    inner = ordered[:, cut : ordered.shape[1] - cut]
    kept, spread = inner.shape[1], np.ptp(inner, 1)
    weights = np.ones(kept)
    weights[[0, -1]] += cut
    deviations = (inner - inner[:, :1]) / spread[:, None]
    deviations -= np.average(deviations, 1, weights)[:, None]
    squares, cubes = ((weights * deviations**power).sum(1) for power in (2, 3))
    deviation = np.sqrt(squares / (kept - 1))
    return deviation * spread, kept * cubes / ((kept - 1) * max(kept - 2, 1)) / deviation**3


def effect_size(differences: np.ndarray) -> float:
    """Cohen's d of paired differences ``[seed]``: their mean in units of their standard deviation. Of few seeds it is
    too large on average, by 38% of 4, 13% of 8 and 5% of 16 (Hedges 1981)."""
    if len(differences) < 2 or not _vary(differences):
        return math.nan
    return float(np.mean(differences) / np.std(differences, ddof=1))


def probability_of_improvement(values: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """The probability that a run of ``values`` is below one of ``others``, ties counting half, averaged over tasks
    (Agarwal et al. 2021): the Mann-Whitney U statistic, as a fraction."""
    pairs = [(x, y) for x, y in zip(values, others, strict=True) if len(x) and len(y)]
    if not pairs:
        return math.nan
    return float(np.mean([stats.mannwhitneyu(y, x).statistic / (len(x) * len(y)) for x, y in pairs]))


def paired_p(differences: np.ndarray) -> float:
    """Wilcoxon's signed-rank test of paired differences ``[seed]``: how likely ranks at least this one-sided would be,
    were each as likely to be turned round (Demsar 2006 on why this one). Differences of 0 are left out. Exact up to 50
    seeds, ties included; beyond, by the normal approximation. Not a number where all differences are the same."""
    if len(differences) < 2 or not _vary(differences):
        return math.nan
    differences = differences[differences != 0]
    if len(differences) > 50:
        return float(stats.wilcoxon(differences).pvalue)
    ranks = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)  # ties share a rank, which may end in a half
    shares = np.ones(1)  # of all ways to turn them round, by the sum of the ranks above 0
    for rank in ranks:
        shares = (np.pad(shares, (0, rank)) + np.pad(shares, (rank, 0))) / 2
    above = ranks[differences > 0].sum()
    return float(min(1, 2 * min(shares[: above + 1].sum(), shares[above:].sum())))


def paired_t(differences: np.ndarray) -> float:
    """The two-sided p-value of Student's t-test that paired differences ``[seed]`` have the mean 0; of differences
    from a number, this is the one-sample test against it. Not a number where all differences are the same."""
    if len(differences) < 2 or not _vary(differences):
        return math.nan
    return float(stats.ttest_1samp(differences, 0).pvalue)


def corrected(p_values: Sequence[float]) -> np.ndarray:
    """The p-values corrected for their number (Holm 1979); those that are not a number stay so and do not count."""
    from statsmodels.stats.multitest import multipletests

    values = np.asarray(p_values, float)
    known = np.isfinite(values)
    if known.any():
        values = values.copy()
        values[known] = multipletests(values[known], LEVEL, "holm")[1]
    return values


def seeds_needed(comparisons: int) -> int:
    """The fewest seeds with which the most even of effects passes as one of so many comparisons: the smallest p-value
    that `paired_p` can give, 2 / 2^seeds, times their number, is then at most 5%."""
    return math.ceil(1 + math.log2(max(1, comparisons) / LEVEL))


def performance_profile(values: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fraction of runs ``[seed]`` whose value is at most each of ``thresholds`` (Agarwal et al. 2021),
    ``[threshold]``, and the ends ``[2, threshold]`` of its 95% interval at each threshold by itself: that of a binomial
    share, which holds it in 95% or more, whatever the number of runs (Clopper and Pearson 1934)."""
    runs = np.size(values)
    below = np.searchsorted(np.sort(values, None), thresholds, "right")
    low = np.where(below > 0, stats.beta.ppf(LEVEL / 2, np.maximum(below, 1), runs - below + 1), 0)
    high = np.where(below < runs, stats.beta.ppf(1 - LEVEL / 2, below + 1, np.maximum(runs - below, 1)), 1)
    return below / runs, np.stack([low, high])
