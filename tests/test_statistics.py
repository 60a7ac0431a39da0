"""Estimators against rliable's own, closed forms, and data whose answers are known."""

import itertools
import math

import numpy as np
import pytest
from rliable import metrics
from scipy import stats

from metafa import statistics

RANDOM = np.random.default_rng(0)


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


def test_the_interval_of_a_mean_is_close_to_students_for_many_normal_values() -> None:
    values = RANDOM.normal(3, 2, 200)
    low, high = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    assert statistics.interval([values]) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        low, high = statistics.interval([random.normal(size=30)])
        held += low < 0 < high
    # 300 draws at 95% are at least 270 but once in 3,000; a bootstrap of 30 values holds some 94%
    assert held >= 270


def test_seeds_are_resampled_within_strata() -> None:
    """Tasks far apart, seeds close together: were seeds resampled across tasks, the interval would be as wide as the
    tasks are apart."""
    easy, hard = RANDOM.normal(0, 0.1, 20), RANDOM.normal(10, 0.1, 20)
    low, high = statistics.interval([easy, hard])
    deviation = math.hypot(stats.sem(easy), stats.sem(hard)) / 2
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.2)
    assert low < (easy.mean() + hard.mean()) / 2 < high


def test_conditions_together_have_the_intervals_that_each_has_by_itself() -> None:
    """Whatever their numbers of seeds and strata, and with some that have none among them."""
    shapes = [(9,), (5, 7), (1,), (9,), (), (5, 0, 7), (9,)]
    conditions = [[RANDOM.normal(size=seeds) for seeds in shape] for shape in shapes]
    for statistic in (statistics.mean, statistics.interquartile_mean):
        expected = np.array([statistics.interval(strata, statistic) for strata in conditions]).T
        # sums are rounded otherwise, which an interval's bias correction may take for one resample more
        np.testing.assert_allclose(statistics.intervals(conditions, statistic), expected, atol=0.01)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_there_is_no_interval_where_nothing_varies(values: list[float]) -> None:
    assert np.isnan(statistics.interval([np.array(values)])).all()


def test_ranks_are_turned_round_in_all_ways() -> None:
    values = RANDOM.normal(0.4, 1, 9)
    ranks = stats.rankdata(abs(values))
    sums = [abs(np.dot(signs, ranks)) for signs in itertools.product((-1, 1), repeat=9)]
    expected = np.mean(np.array(sums) >= abs(np.dot(np.sign(values), ranks)))
    assert statistics.paired_p(values) == pytest.approx(expected)


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


def test_a_performance_profile_counts_runs_and_its_band_is_binomial() -> None:
    values = RANDOM.uniform(0, 1, 100)
    thresholds = np.array([-1.0, 0.25, 0.5, 2.0])
    found, (low, high) = statistics.performance_profile([values], thresholds)
    np.testing.assert_allclose(found, [np.mean(values <= t) for t in thresholds])
    expected = stats.binom.interval(0.95, 100, found[1:3])
    np.testing.assert_allclose(low[1:3], expected[0] / 100, atol=0.02)
    np.testing.assert_allclose(high[1:3], expected[1] / 100, atol=0.02)
    assert (low[0], high[0], low[3], high[3]) == (0, 0, 1, 1)
