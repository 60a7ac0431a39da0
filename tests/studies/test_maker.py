"""The trials of a search space."""

from study_bases import GRID, GRID_LINES
from study_texts import study_with, written

from metafa.studies import study


def test_a_grid_is_every_combination_in_the_files_order() -> None:
    for text in (study_with(GRID), written(GRID_LINES)):
        assert [trial.varied for trial in study.parse(text).trials] == [
            {"network.rule": rule, "noise.steps": steps}
            for rule in ("backprop", "feedback_alignment")
            for steps in (0, 100)
        ]


def test_a_random_search_draws_within_its_ranges_and_always_the_same() -> None:
    ranges = {
        "outer_steps": {"low": 10, "high": 50, "step": 20},
        "outer_learning_rate": {"low": 1e-4, "high": 0.01, "log": True},
    }
    searched = {"search": {"method": "random", "trials": 60}, "meta": ranges}
    text = study_with(GRID, **searched)
    points = [trial.varied for trial in study.parse(text).trials]
    assert points == [trial.varied for trial in study.parse(text).trials]
    assert points != [trial.varied for trial in study.parse(study_with(GRID, seed=1, **searched)).trials]
    assert {point["meta.outer_steps"] for point in points} == {10, 30, 50}
    rates = [point["meta.outer_learning_rate"] for point in points]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 15 < sum(rate < 1e-3 for rate in rates) < 45, "half of a logarithmic range is below its geometric mean"
    assert {point["noise.steps"] for point in points} == {0, 100}
