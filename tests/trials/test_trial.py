"""Whole trials: what two of them have in common computes the same."""

import pytest
from trial_runs import ON_DATA, ON_TASKS, run, settings_of, values

from metafa.trials import trial


def test_a_trial_run_again_gives_the_same_numbers_to_the_bit(sources) -> None:
    settings = settings_of(ON_TASKS)
    assert trial.run(settings, sources).rows == trial.run(settings, sources).rows


def test_no_noise_steps_equals_no_noise_phase_to_the_bit(sources) -> None:
    none, without = (settings_of(ON_TASKS, noise=noise) for noise in ({"steps": 0}, None))
    rows, others = (trial.run(settings, sources).rows for settings in (none, without))
    for phase in ("before_meta", "meta", "evaluate"):
        assert values(rows, phase=phase) == values(others, phase=phase)


def test_no_noise_steps_equals_no_noise_phase_to_the_bit_through_data() -> None:
    none, without = (run(settings_of(ON_DATA, noise=noise)).rows for noise in ({"steps": 0}, None))
    assert [row for row in none if row["phase"] == "supervised"] == without


def test_conditions_with_a_seed_in_common_start_from_the_same_network_and_tasks(sources) -> None:
    """Nothing that a condition changes moves another draw: comparisons are paired."""
    one = values(trial.run(settings_of(ON_TASKS), sources).rows, phase="noise", step=0)
    for changes in (
        {"network": {"rule": "backprop"}},
        {"noise": {"steps": 7}},
        {"meta": {"outer_steps": 2}},
        {"seeds": 3},
    ):
        other = values(trial.run(settings_of(ON_TASKS, **changes), sources).rows, phase="noise", step=0)
        for metric in ("alignment_angle", "participation_ratio", "readout_probability"):
            ours = {k: v for k, v in one.items() if k[4] == metric}
            assert ours
            # packed with another seed, a product may be rounded otherwise
            assert {k: other[k] for k in ours} == pytest.approx(ours, rel=1e-5)


@pytest.mark.parametrize(
    ("phase", "setting", "rates"),
    [
        ("noise", "learning_rate", [1e-4, 1e-3]),
        ("meta", "outer_learning_rate", [1e-4, 1e-3]),
        ("meta", "inner_learning_rate", [0.1, 0.5]),
        ("before_meta", "inner_learning_rate", [0.1, 0.5]),
    ],
)
def test_learning_rates_side_by_side_equal_a_trial_each(sources, phase: str, setting: str, rates: list[float]) -> None:
    def rows_of(rate: float | list[float]) -> list[dict]:
        return trial.run(settings_of(ON_TASKS, **{phase: {setting: rate}}), sources).rows

    together = rows_of(rates)
    assert {(row["seed"], row["learning_rate"]) for row in together} == {(s, r) for s in (0, 1) for r in rates}
    for rate in rates:
        alone = values(rows_of(rate))
        found = {(k[0], None, *k[2:]): v for k, v in values(together, learning_rate=rate).items()}
        assert found.keys() == alone.keys()
        # packed with others a product may be rounded otherwise, and Adam magnifies the rounding of small gradients
        assert found == pytest.approx(alone, rel=2e-3, abs=2e-3)
