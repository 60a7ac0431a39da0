"""Estimators of what a condition comes to and how conditions differ: arrays in, numbers out.

Those of Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice", are as its
library rliable has them, but that here lower is better. A condition's values come as strata, an array ``[seed]`` a task
distribution: a bootstrap resamples the seeds of each by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

RESAMPLES = 4999
LEVEL = 0.05  # of error: intervals hold 95%
BLOCK = 2**21  # resampled values at a time; more do not fit a CPU's cache
Strata = Sequence[np.ndarray]


def mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean."""
    return np.mean(values, axis)


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean of the middle half of the values (Agarwal et al. 2021): less moved by a bad seed than the mean, and less
    wasteful than the median."""
    return stats.trim_mean(values, 0.25, axis)


def interval(strata: Strata, statistic: Callable[..., np.ndarray] = mean) -> tuple[float, float]:
    """The 95% interval of ``statistic`` over all values: stratified bootstrap, bias-corrected and accelerated (Efron
    1987). Not a number where there are fewer than two values or all are the same."""
    low, high = intervals([strata], statistic)[:, 0]
    return float(low), float(high)


def intervals(conditions: Sequence[Strata], statistic: Callable[..., np.ndarray] = mean) -> np.ndarray:
    """The bounds ``[2, condition]`` of each condition's `interval`."""

    def of_all(*resampled: np.ndarray, axis: int = -1) -> np.ndarray:
        return statistic(np.concatenate(resampled, axis), axis)

    alike: dict[tuple[int, ...], list[int]] = {}  # by their numbers of values, so that they are resampled together
    for number, strata in enumerate(conditions):
        lengths = tuple(len(values) for values in strata if len(values))
        if min(lengths, default=0) >= 2 and np.ptp(np.concatenate(strata)) > 0:
            alike.setdefault(lengths, []).append(number)
    found = np.full((2, len(conditions)), math.nan)
    for lengths, members in alike.items():
        together = max(1, BLOCK // (RESAMPLES * sum(lengths)))
        for numbers in (members[i : i + together] for i in range(0, len(members), together)):
            known = [[values for values in conditions[number] if len(values)] for number in numbers]
            with np.errstate(all="ignore"):
                resampled = stats.bootstrap(
                    [np.stack(stratum) for stratum in zip(*known, strict=True)],
                    of_all,
                    n_resamples=RESAMPLES,
                    method="BCa",
                    axis=-1,
                    vectorized=True,
                    rng=np.random.default_rng(0),
                )
            found[:, numbers] = resampled.confidence_interval
    return found


def intervals_by_row(values: np.ndarray) -> np.ndarray:
    """The bounds ``[2, row]`` of the means of each row's finite values, one a seed."""
    return intervals([[row[np.isfinite(row)]] for row in values])


def effect_size(differences: np.ndarray) -> float:
    """Cohen's d of paired differences ``[seed]``: their mean in units of their standard deviation."""
    deviation = np.std(differences, ddof=1) if len(differences) > 1 else 0.0
    return float(np.mean(differences) / deviation) if deviation > 0 else math.nan


def probability_of_improvement(values: Strata, others: Strata) -> float:
    """The probability that a run of ``values`` is below one of ``others``, ties counting half, averaged over strata
    (Agarwal et al. 2021): the Mann-Whitney U statistic, as a fraction."""
    pairs = [(x, y) for x, y in zip(values, others, strict=True) if len(x) and len(y)]
    if not pairs:
        return math.nan
    return float(np.mean([stats.mannwhitneyu(y, x).statistic / (len(x) * len(y)) for x, y in pairs]))


def paired_p(differences: np.ndarray) -> float:
    """Wilcoxon's signed-rank test of paired differences ``[seed]``: how likely ranks at least this one-sided would be,
    were each as likely to be turned round; exact up to 50 seeds (Demsar 2006 on why this one)."""
    if len(differences) < 2 or not np.ptp(differences):
        return math.nan
    return float(stats.wilcoxon(differences).pvalue)


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


def performance_profile(strata: Strata, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fraction of runs whose value is at most each of ``thresholds`` (Agarwal et al. 2021), ``[threshold]``, and
    its bounds ``[2, threshold]``: stratified bootstrap, by percentiles at each threshold."""
    strata = [values for values in strata if len(values)]
    random = np.random.default_rng(0)
    resampled = [random.choice(values, (RESAMPLES // 2, len(values))) for values in strata]
    every = np.sort(np.concatenate(resampled, 1), 1)
    below = np.stack([np.searchsorted(row, thresholds, "right") for row in every]) / every.shape[1]
    values = np.sort(np.concatenate(strata))
    found = np.searchsorted(values, thresholds, "right") / len(values)
    return found, np.quantile(below, [LEVEL / 2, 1 - LEVEL / 2], axis=0)
