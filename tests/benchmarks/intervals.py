"""How often do 95% intervals hold what they are intervals of? Simulated for the table in docs/science.md, percent:

python tests/benchmarks/intervals.py [--samples 100000] [--bootstraps 2000]

Each cell is of so many samples: bootstrap, bias-corrected and accelerated, of 4,999 resamples, stratified by task /
Student's t (of interquartile means with the Winsorized variance) / metafa's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy import stats

from metafa.reporting import statistics

Statistic = Callable[..., np.ndarray]
SEEDS = (4, 8, 12, 16, 32)
RESAMPLES = 4999
Draw = Callable[[Generator, tuple[int, ...]], np.ndarray]
OF_NORMAL: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # made of normal values, so that tasks can be correlated
    "normal": lambda z: z,
    "lognormal, σ 0.5": lambda z: np.exp(0.5 * z),
    "lognormal, σ 1": np.exp,
}
DRAWS: dict[str, Draw] = {
    "normal": lambda random, shape: random.normal(size=shape),
    "Student's t, 3 degrees of freedom": lambda random, shape: random.standard_t(3, shape),
    "Student's t, 2 degrees of freedom": lambda random, shape: random.standard_t(2, shape),
    "normal, one in ten 10 times as wide": lambda random, shape: (
        random.normal(size=shape) * np.where(random.random(shape) < 0.1, 10, 1)
    ),
    "exponential": lambda random, shape: random.exponential(size=shape),
    "lognormal, σ 0.5": lambda random, shape: random.lognormal(0, 0.5, shape),
    "lognormal, σ 1": lambda random, shape: random.lognormal(0, 1, shape),
}


def truth(sample: str, statistic: Statistic) -> float:
    """The mean or the interquartile mean of all that a sample is drawn from, of which the latter is the mean between
    its quartiles."""
    if sample == "exponential":
        # the integral of -log(1 - u) over u, between the quartiles
        middle = 2 * ((0.75 - 0.75 * np.log(0.75)) - (0.25 - 0.25 * np.log(0.25)))
        return 1.0 if statistic is statistics.mean else float(middle)
    if sample.startswith("lognormal"):
        sigma = float(sample.split()[-1])
        quartile = stats.norm.ppf(0.75)
        share = 2 * (stats.norm.cdf(quartile - sigma) - stats.norm.cdf(-quartile - sigma))
        return float(np.exp(sigma**2 / 2) * (1 if statistic is statistics.mean else share))
    return 0.0  # symmetric


# each of these draws samples [sample, task, seed], and says what is true of all that they are drawn from
def one_condition(statistic: Statistic, sample: str, rows: int, seeds: int, random: Generator):
    return DRAWS[sample](random, (rows, 1, seeds)), truth(sample, statistic)


def difference(statistic: Statistic, sample: str, rows: int, seeds: int, random: Generator):
    """Between two conditions, the first of which varies half as much."""
    first, second = DRAWS[sample](random, (2, rows, 1, seeds))
    return first / 2 - second, -truth(sample, statistic) / 2


def two_tasks(statistic: Statistic, sample: str, rows: int, seeds: int, random: Generator):
    """On which the same networks are alike, with a correlation of 0.9, and the second of which is harder for all."""
    of_seed, of_task = random.normal(size=(rows, 1, seeds)), random.normal(size=(rows, 2, seeds))
    values = OF_NORMAL[sample](np.sqrt(0.9) * of_seed + np.sqrt(0.1) * of_task)
    return values + np.array([[0.0], [0.5]]), truth(sample, statistic) + 0.25


ESTIMATED = {  # by name: what draws, the statistic, the samples
    "mean": (one_condition, statistics.mean, list(DRAWS)),
    "paired difference": (difference, statistics.mean, list(DRAWS)),
    "interquartile mean": (one_condition, statistics.interquartile_mean, list(DRAWS)),
    "mean over two tasks": (two_tasks, statistics.mean, list(OF_NORMAL)),
}


def now(values: np.ndarray, statistic: Statistic) -> np.ndarray:
    return statistics.intervals_by_row(statistics.over_tasks(values), statistic)


def student(values: np.ndarray, statistic: Statistic) -> np.ndarray:
    ordered = np.sort(values.mean(1))
    seeds = ordered.shape[1]
    cut = int(statistics.TRIMMED[statistic] * seeds)
    kept = seeds - 2 * cut
    winsorized = np.clip(ordered, ordered[:, [cut]], ordered[:, [seeds - 1 - cut]])
    error = np.sqrt((seeds - 1) / (kept * (kept - 1))) * winsorized.std(1, ddof=1)
    middle = ordered[:, cut : seeds - cut].mean(1)
    return middle + error * stats.t.ppf([[0.025], [0.975]], kept - 1)


def bootstrap(values: np.ndarray, statistic: Statistic) -> np.ndarray:
    random, found = np.random.default_rng(0), []
    together = max(1, 2**21 // (RESAMPLES * values[0].size))
    for first in range(0, len(values), together):
        resampled = stats.bootstrap(
            list(values[first : first + together].swapaxes(0, 1)),
            lambda *tasks, axis=-1: statistic(np.concatenate(tasks, axis), axis),
            n_resamples=RESAMPLES,
            method="BCa",
            axis=-1,
            vectorized=True,
            rng=random,
        )
        found.append(np.stack(resampled.confidence_interval))
    return np.concatenate(found, 1)


def coverage(estimated: str, sample: str, seeds: int, rows: int, method: Callable = now) -> float:
    """The fraction of ``rows`` samples whose interval holds the truth."""
    draw, statistic, _ = ESTIMATED[estimated]
    values, true = draw(statistic, sample, rows, seeds, np.random.default_rng(seeds))
    with np.errstate(all="ignore"):
        low, high = method(values, statistic)
    return float(np.mean((low <= true) & (true <= high)))


def width(seeds: int, rows: int, estimated: str, sample: str) -> float:
    """The median width of metafa's own intervals, to Student's."""
    draw, statistic, _ = ESTIMATED[estimated]
    values, _ = draw(statistic, sample, rows, seeds, np.random.default_rng(seeds))
    return float(np.divide(*(np.median(np.ptp(method(values, statistic), 0)) for method in (now, student))))


def coverage_of_share(share: float, seeds: int) -> tuple[float, float]:
    """That of a performance profile where ``share`` of runs are below, exactly: by percentiles of a bootstrap, and by
    metafa's own band."""
    counts = np.arange(seeds + 1)
    likely = stats.binom.pmf(counts, seeds, share)
    resampled = stats.binom.ppf([[0.025], [0.975]], seeds, counts / seeds) / seeds
    # so many runs at 0, the others at 1: the profile at 0
    own = [statistics.performance_profile(np.arange(seeds) >= count, np.zeros(1))[1][:, 0] for count in counts]
    before, after = (likely[(low <= share) & (share <= high)].sum() for low, high in (resampled, np.transpose(own)))
    return float(before), float(after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000, help="of Student's and metafa's own intervals")
    parser.add_argument("--bootstraps", type=int, default=2000, help="samples that are resampled")
    arguments = parser.parse_args()
    header = " | ".join(f"{seeds} seeds" for seeds in SEEDS)
    print(f"| interval of | samples | {header} |\n| --- | --- |{' --- |' * len(SEEDS)}")
    for estimated, (_, _, samples) in ESTIMATED.items():
        for sample in samples:
            methods = ((bootstrap, arguments.bootstraps), (student, arguments.samples), (now, arguments.samples))
            cells = [
                " / ".join(f"{100 * coverage(estimated, sample, seeds, rows, by):.0f}" for by, rows in methods)
                for seeds in SEEDS
            ]
            print(f"| {estimated} | {sample} | {' | '.join(cells)} |", flush=True)
    for share in (0.5, 0.75, 0.9):
        cells = [" / ".join(f"{100 * one:.0f}" for one in coverage_of_share(share, seeds)) for seeds in SEEDS]
        print(f"| performance profile | {share:.0%} of runs below | {' | '.join(cells)} |")
    print(f"\n| width, to Student's | samples | {header} |\n| --- | --- |{' --- |' * len(SEEDS)}")
    for estimated in ("mean", "interquartile mean"):
        for sample in DRAWS:
            cells = [f"{width(seeds, arguments.samples, estimated, sample):.2f}" for seeds in SEEDS]
            print(f"| {estimated} | {sample} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
