"""Estimators against rliable's own, closed forms, and data whose answers are known."""

import functools
import importlib.util
import itertools
import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rliable import metrics
from scipy import stats

from metafa.reporting import statistics

RANDOM = np.random.default_rng(0)
ROOT = Path(__file__).parents[2]


@functools.cache
def simulated() -> ModuleType:
    """The script that made the table in docs/science.md."""
    spec = importlib.util.spec_from_file_location("intervals", ROOT / "tests/benchmarks/intervals.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("shape", [(5, 1), (8, 1), (10, 3), (16, 2)])
def test_interquartile_mean_and_probability_are_rliables(shape: tuple[int, int]) -> None:
    ours, theirs = RANDOM.normal(0, 1, shape), RANDOM.normal(0.5, 1, shape)
    ours[0], theirs[0] = 1.0, 1.0  # ties
    assert statistics.interquartile_mean(np.concatenate(ours.T)) == pytest.approx(metrics.aggregate_iqm(ours))
    # rliable's higher is better
    expected = metrics.probability_of_improvement(-ours, -theirs)
    assert statistics.probability_of_improvement(list(ours.T), list(theirs.T)) == pytest.approx(expected)


def test_the_interquartile_mean_of_eight_is_that_of_the_middle_four() -> None:
    assert statistics.interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -100])) == pytest.approx(3.5)


def symmetric(count: int) -> np.ndarray:
    half = RANDOM.exponential(1, count // 2)
    return 3 + np.concatenate([half, -half, np.zeros(count % 2)])


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 12, 33])
def test_intervals_are_students_where_no_tail_is_longer(count: int) -> None:
    """Of fewer than eight values the interquartile mean's too, which is in the same middle."""
    values = symmetric(count)
    expected = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert statistics.interval(values) == pytest.approx(expected)
    if count < 8:
        assert statistics.interval(values, statistics.interquartile_mean) == pytest.approx(expected)


@pytest.mark.parametrize("count", [8, 9, 10, 11, 12, 33])
def test_the_interval_of_an_interquartile_mean_is_yuens_where_no_tail_is_longer(count: int) -> None:
    """At either end Yuen's test of the values against that end, as of others that do not vary, has a p-value of 5%."""
    values = symmetric(count)
    for end in statistics.interval(values, statistics.interquartile_mean):
        at_end = end + 1e-9 * np.array([-1, 1] * 4)
        assert stats.ttest_ind(values, at_end, equal_var=False, trim=0.25).pvalue == pytest.approx(0.05, rel=1e-4)


@pytest.mark.parametrize("count", [3, 4, 8, 16, 32])
@pytest.mark.parametrize("sign", [-1, 1])
def test_towards_the_longer_tail_an_interval_ends_where_halls_statistic_is_students(count: int, sign: int) -> None:
    values = sign * np.array([0, 0.2, 1] + [0.3] * (count - 3)) + RANDOM.normal(0, 0.01, count)
    skewness, quantile = stats.skew(values, bias=False), stats.t.ppf(0.975, count - 1)
    assert skewness * sign > 0
    low, high = statistics.interval(values)
    short, long = (low, high) if sign > 0 else (high, low)
    assert short == pytest.approx(values.mean() - sign * quantile * stats.sem(values))
    # Hall's (1992) polynomial of the statistic, where metafa solves it for the end
    t = (values.mean() - long) / values.std(ddof=1)
    transformed = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / (6 * count)
    assert transformed == pytest.approx(-sign * quantile / count**0.5)
    assert abs(long - values.mean()) > abs(short - values.mean())


@pytest.mark.parametrize("count", [4, 7, 8, 11, 12, 18, 32])
def test_so_does_that_of_an_interquartile_mean_with_winsorized_moments(count: int) -> None:
    values = np.array([0, 0.2, 1] + [0.3] * (count - 3)) + np.linspace(0, 1.5, count) ** 2

    def moments(cut: int) -> tuple[float, float, int]:
        """Of the values Winsorized by scipy, with degrees of freedom as if there were only those kept."""
        winsorized = stats.mstats.winsorize(values, ((cut + 0.5) / count,) * 2).data  # shares, rounded down
        kept, central = count - 2 * cut, winsorized - winsorized.mean()
        deviation = math.sqrt((central**2).sum() / (kept - 1))
        return deviation, (central**3).sum() * kept / (kept - 1) / (kept - 2) / deviation**3, kept

    deviation, _, kept = moments(count // 4 if count >= 8 else 0)
    _, skewness, _ = moments(count // 4 * 2 // 3 if count >= 8 else 0)
    assert skewness > 0
    low, high = statistics.interval(values, statistics.interquartile_mean)
    middle, quantile = stats.trim_mean(values, 0.25), stats.t.ppf(0.975, kept - 1) / kept**0.5
    assert low == pytest.approx(middle - quantile * deviation)
    t = (middle - high) / deviation
    transformed = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / (6 * kept)
    assert transformed == pytest.approx(-quantile)


def table_of_intervals() -> dict[tuple[str, str], list[list[int]]]:
    """The table in docs/science.md: by estimate and samples, percentages of each method for each number of seeds."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|((?: [\d /]+ \|){5})$", (ROOT / "docs/science.md").read_text(), re.M)
    return {
        (estimated, sample): [[int(one) for one in cell.split("/")] for cell in cells.strip("| ").split("|")]
        for estimated, sample, cells in rows
    }


def test_intervals_hold_the_truth_as_often_as_the_documentation_says() -> None:
    simulation, table, samples = simulated(), table_of_intervals(), 5_000
    simulations = [(one, sample) for one, (_, _, names) in simulation.ESTIMATED.items() for sample in names]
    assert set(table) >= set(simulations)
    for estimated, sample in simulations:
        for seeds, cell in zip(simulation.SEEDS, table[estimated, sample], strict=True):
            held, said = simulation.coverage(estimated, sample, seeds, samples), cell[-1] / 100
            # what is said is of 100,000 samples, rounded to a percent; a binomial share is off by more than four
            # standard errors once in 16,000 times, and there are 120 cells
            error = math.sqrt(said * (1 - said) * (1 / samples + 1 / 100_000))
            assert held == pytest.approx(said, abs=0.005 + 4 * error), (estimated, sample, seeds)
            # and what the page promises in words
            skewed = sample == "lognormal, σ 1" and estimated != "paired difference"
            floor = 0.95 if estimated == "interquartile mean" else 0.89 if skewed else 0.93
            assert floor <= said <= 0.98, (estimated, sample, seeds)


@pytest.mark.parametrize("count", [5, 6, 7, 9, 10, 11, 20])
def test_intervals_hold_the_truth_where_quarters_are_not_whole(count: int) -> None:
    """20,000 normal samples: the standard error of a share of 95% is 0.15%, and 94.5% is three of those below."""
    values = np.random.default_rng(count).normal(size=(20_000, count))
    for statistic in (statistics.mean, statistics.interquartile_mean):
        low, high = statistics.intervals_by_row(values, statistic)
        assert 0.945 < np.mean((low <= 0) & (high >= 0)) < 0.98


def test_the_same_networks_on_two_tasks_are_not_twice_as_many() -> None:
    """One task is harder for all, which is no uncertainty of their mean; a seed's two values are one draw."""
    values = RANDOM.normal(0, 1, 10)
    low, high = statistics.interval(values)
    assert statistics.interval([values, values + 10]) == pytest.approx((low + 5, high + 5))
    apart = RANDOM.normal(0, 1, (2, 10))
    assert statistics.interval(apart) == statistics.interval(apart.mean(0))


def test_over_tasks_a_seed_counts_that_has_a_value_on_all_that_were_measured() -> None:
    nan, inf = math.nan, math.inf
    values = [
        [[1.0, 2, 3], [5, nan, 7]],  # not measured of one seed
        [[1, 2, 3], [nan, nan, nan]],  # the task was not measured
        [[1, 2, 3], [inf, inf, 7]],  # diverged
        [[1, 2, 3], [inf, inf, inf]],  # all of them: not as if the task had not been measured
        [[nan, nan, nan], [nan, nan, nan]],
    ]
    expected = [[3, nan, 5], [1, 2, 3], [nan, nan, 5], [nan, nan, nan], [nan, nan, nan]]
    np.testing.assert_array_equal(statistics.over_tasks(np.array(values)), expected)


def test_rows_together_have_the_intervals_that_each_has_by_itself() -> None:
    """Whatever their numbers of seeds, and with some that have none among them."""
    values = RANDOM.lognormal(size=(40, 12))
    values[RANDOM.random((40, 12)) < 0.4] = math.nan
    values[3], values[4, 1:], values[5, 2] = math.nan, math.nan, math.inf
    for statistic in (statistics.mean, statistics.interquartile_mean):
        expected = [statistics.interval(row[np.isfinite(row)], statistic) for row in values]
        np.testing.assert_array_equal(statistics.intervals_by_row(values, statistic), np.transpose(expected))
        assert np.isnan(expected[3]).all()
        assert np.isnan(expected[4]).all()


def test_an_interval_has_the_unit_of_its_values() -> None:
    values = RANDOM.lognormal(size=9)
    low, high = statistics.interval(values)
    for unit in (-1e-200, 1e200):
        assert statistics.interval(unit * values) == pytest.approx(tuple(sorted((unit * low, unit * high))))


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, 1.0], [2.0, 2.0, 2.0], [0.5 - 0.3, 0.3 - 0.1, 0.4 - 0.2]])
def test_there_is_no_interval_where_nothing_varies(values: list[float]) -> None:
    """Nor where it is rounding that does."""
    for statistic in (statistics.mean, statistics.interquartile_mean):
        assert np.isnan(statistics.interval(np.array(values), statistic)).all()
    assert math.isnan(statistics.effect_size(np.array(values)))
    assert math.isnan(statistics.paired_p(np.array(values)))
    assert math.isnan(statistics.paired_t(np.array(values)))
    # the middle half of these does not
    assert np.isnan(statistics.interval([1.0] * 7 + [9], statistics.interquartile_mean)).all()


@pytest.mark.parametrize("digits", [15, 0], ids=["ranks", "ties and zeros"])
def test_ranks_are_turned_round_in_all_ways(digits: int) -> None:
    values = np.round(RANDOM.normal(0.8, 2, 14), digits)
    left = values[values != 0]
    assert (len(left) < 14) == (digits == 0)
    ranks = stats.rankdata(abs(left))
    signs = np.array(list(itertools.product((-1, 1), repeat=len(left))))
    expected = np.mean(abs(signs @ ranks) >= abs(np.sign(left) @ ranks))
    assert statistics.paired_p(values) == pytest.approx(expected)


@pytest.mark.parametrize("count", [5, 50, 51])
def test_p_values_without_ties_are_scipys(count: int) -> None:
    values = RANDOM.normal(0.2, 1, count)
    assert statistics.paired_p(values) == pytest.approx(stats.wilcoxon(values).pvalue)


@pytest.mark.parametrize("count", [2, 3, 16])
def test_p_values_of_the_t_test_are_scipys(count: int) -> None:
    """Of pairs, and against a number."""
    with_noise, against = RANDOM.normal(0.2, 1, (2, count))
    assert statistics.paired_t(with_noise - against) == pytest.approx(stats.ttest_rel(with_noise, against).pvalue)
    assert statistics.paired_t(with_noise - 0.1) == pytest.approx(stats.ttest_1samp(with_noise, 0.1).pvalue)


def test_p_values_by_hand() -> None:
    """Of 1, 2 and 3, t is 2 sqrt 3, and with 2 degrees of freedom p is 1 - t / sqrt(t^2 + 2)."""
    assert statistics.paired_t(np.array([1.0, 2, 3])) == pytest.approx(1 - (12 / 14) ** 0.5)
    assert statistics.paired_p(np.array([1.0, 2, 3])) == pytest.approx(2 / 2**3)


def test_p_values_are_corrected_as_holm_does() -> None:
    found = statistics.corrected([0.01, math.nan, 0.04, 0.03, 0.005])
    # by hand: 0.005 x 4, 0.01 x 3, 0.03 x 2, then never below the one before
    np.testing.assert_allclose(found, [0.03, math.nan, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("comparisons", [1, 2, 8, 15, 30, 100])
def test_so_many_seeds_pass_and_one_fewer_do_not(comparisons: int) -> None:
    seeds = statistics.seeds_needed(comparisons)
    smallest = [statistics.paired_p(np.arange(1.0, n + 1)) for n in (seeds, seeds - 1)]
    assert smallest[0] * comparisons <= statistics.LEVEL < smallest[1] * comparisons


def test_effect_size_is_the_t_statistic_over_the_root_of_the_seeds() -> None:
    values = RANDOM.normal(0.4, 1, 12)
    expected = stats.ttest_1samp(values, 0).statistic / 12**0.5
    assert statistics.effect_size(values) == pytest.approx(expected)


@pytest.mark.parametrize("count", [1, 4, 16, 100])
def test_a_performance_profile_counts_runs_and_its_band_is_of_a_binomial_share(count: int) -> None:
    values = RANDOM.uniform(0, 1, count)
    thresholds = np.array([-1.0, 0.25, 0.5, values[0], 2.0])
    found, (low, high) = statistics.performance_profile(values, thresholds)
    for place, threshold in enumerate(thresholds):
        below = int((values <= threshold).sum())
        assert found[place] == below / count
        expected = stats.binomtest(below, count).proportion_ci(method="exact")
        assert (low[place], high[place]) == pytest.approx((expected.low, expected.high))


def test_the_band_of_a_performance_profile_holds_at_least_what_it_says() -> None:
    simulation, table = simulated(), table_of_intervals()
    for share in (0.5, 0.75, 0.9):
        cells = table["performance profile", f"{share:.0%} of runs below"]
        for seeds, cell in zip(simulation.SEEDS, cells, strict=True):
            held = simulation.coverage_of_share(share, seeds)
            assert [round(100 * one) for one in held] == cell
            assert held[-1] >= 0.95
