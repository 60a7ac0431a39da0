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
    """The mean over tasks of ``[..., task, seed]``: ``[..., seed]``, a seed being the unit that is drawn at random, since
    the same networks stand in every task. Tasks of which no seed has a value (all are not a number) were not measured
    and do not count; a seed that has no finite value on one of the others has none over tasks: it would be compared
    on easier or harder tasks than the rest."""
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

    Student's t, of the interquartile mean with the Winsorized variance (Tukey and McLaughlin 1963; Yuen 1974); the end
    towards the sample's longer tail is moved outwards as far as Hall's (1992) transformation, which takes the skewness
    out of the t statistic, would move it (with Winsorized moments after Guo and Luh 2000). Not a number where fewer
    than two values are finite, or those that the statistic is made of are all the same."""
    values = np.where(np.isfinite(values), values, math.nan)
    counts = np.isfinite(values).sum(1)
    found = np.full((2, len(values)), math.nan)
    for count in np.unique(counts[counts >= 2]):
        rows = np.flatnonzero(counts == count)
        ordered = np.sort(values[rows], 1)[:, :count]  # what is not a number comes last
        cut = int(TRIMMED[statistic] * count)
        inner = ordered[:, cut : count - cut]
        varied = _vary(inner)
        found[:, rows[varied]] = _ends(inner[varied], cut)
    return found


def _vary(values: np.ndarray) -> np.ndarray:
    """Whether the values along the last axis differ by more than rounding."""
    return np.ptp(values, -1) > SAME * np.abs(values).max(-1)


def _ends(inner: np.ndarray, cut: int) -> np.ndarray:
    """The ends ``[2, row]`` of the intervals of ascending values ``[row, value]``, beyond which as many as ``cut`` more
    were cut off at either end."""
    kept, spread = inner.shape[1], np.ptp(inner, 1)
    weights = np.ones(kept)
    weights[[0, -1]] += cut  # Winsorized: what was cut off counts as the last that was kept
    deviations = (inner - inner[:, :1]) / spread[:, None]
    deviations -= np.average(deviations, 1, weights)[:, None]
    deviation = np.sqrt(deviations**2 @ weights / (kept - 1))
    skewness = deviations**3 @ weights * kept / ((kept - 1) * max(kept - 2, 1)) / deviation**3
    reach = stats.t.ppf(1 - LEVEL / 2, kept - 1) / math.sqrt(kept)
    skew = np.maximum(np.abs(skewness), 1e-6)  # below it, Hall's is Student's but for rounding
    far = 3 * (1 - np.cbrt(1 - skew * (reach + skew / (6 * kept)))) / skew
    far = np.where(skew > 1e-6, far, reach)
    middle, unit = inner.mean(1), deviation * spread
    return np.stack(
        [middle - unit * np.where(skewness < 0, far, reach), middle + unit * np.where(skewness > 0, far, reach)]
    )


def effect_size(differences: np.ndarray) -> float:
    """Cohen's d of paired differences ``[seed]``: their mean in units of their standard deviation. Of few seeds it comes
    out too large on average, by 38% of 4, 13% of 8, 5% of 16 (Hedges 1981)."""
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
    ``[threshold]``, and the ends ``[2, threshold]`` of its 95% interval, at each threshold by itself: that of a binomial
    share, which holds at least 95% of any number of runs (Clopper and Pearson 1934)."""
    runs = np.size(values)
    below = np.searchsorted(np.sort(values, None), thresholds, "right")
    low = np.where(below > 0, stats.beta.ppf(LEVEL / 2, np.maximum(below, 1), runs - below + 1), 0)
    high = np.where(below < runs, stats.beta.ppf(1 - LEVEL / 2, below + 1, np.maximum(runs - below, 1)), 1)
    return below / runs, np.stack([low, high])
