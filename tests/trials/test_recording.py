"""When a trial measures, and which of its replicas are said to have diverged."""

import math

import pytest
from trial_runs import ON_DATA, ON_TASKS, run, settings_of, values

from metafa.studies.settings import TrialSettings
from metafa.trials import recording, trial

EVALUATED = {
    "seeds": 2,
    "network": {"hidden": [20]},
    "phases": [{"phase": "evaluate", "task_distributions": ["glyphs"], "tasks": 6}],
}


@pytest.mark.parametrize(
    ("total", "points", "expected"),
    [(0, 5, {0}), (1, 5, {0, 1}), (1000, 5, {0, 1, 10, 100, 1000}), (8000, 3, {0, 1, 8000}), (2, 9, {0, 1, 2})],
)
def test_measuring_steps_are_even_in_the_logarithm(total: int, points: int, expected: set[int]) -> None:
    assert recording.measuring_steps(total, points) == expected


def test_a_diverged_replica_is_a_result(sources) -> None:
    settings = settings_of(ON_TASKS, noise={"optimizer": "sgd", "learning_rate": 1e30})
    outcome = trial.run(settings, sources)
    assert sorted(outcome.divergences) == [0, 1]
    for divergence in outcome.divergences.values():
        assert divergence.phase == "noise"
        assert 1 <= divergence.step <= 5
    last = values(outcome.rows, phase="evaluate", metric="meta_loss", step=5)
    assert len(last) == 2
    assert all(math.isnan(value) for value in last.values())
    assert not values(outcome.rows, phase="noise", step=30), "nothing is trained on once every replica has diverged"


def test_an_inner_loop_that_diverges_is_a_result(sources) -> None:
    outcome = trial.run(settings_of(EVALUATED, evaluate={"inner_learning_rate": 1e30}), sources)
    assert list(outcome.divergences.values()) == [
        recording.Divergence(seed, None, "evaluate", 1, "meta_loss") for seed in (0, 1)
    ]
    for metric in ("meta_loss", "meta_accuracy", "generalization_error"):
        measured = values(outcome.rows, metric=metric)
        assert {math.isfinite(value) for key, value in measured.items() if key[3] == 0} == {True}
        assert {math.isnan(value) for key, value in measured.items() if key[3] == 5} == {True}


def test_a_loss_of_a_thousand_times_chance_has_diverged(sources) -> None:
    """All of it is finite: the first step above the bound is where each seed diverged."""
    settings = settings_of(EVALUATED, evaluate={"inner_learning_rate": 30.0})
    assert settings.divergence_bound == pytest.approx(1000 * math.log(5))
    outcome = trial.run(settings, sources)
    assert all(math.isfinite(row["value"]) for row in outcome.rows)
    for seed in (0, 1):
        losses = values(outcome.rows, metric="meta_loss", seed=seed)
        above = [key[3] for key, loss in losses.items() if loss > 1000 * math.log(5)]
        assert outcome.divergences[seed] == recording.Divergence(seed, None, "evaluate", min(above), "meta_loss")
    assert not trial.run(settings_of(EVALUATED), sources).divergences


def test_the_replica_that_diverges_is_told_by_seed_and_learning_rate(sources) -> None:
    outcome = trial.run(settings_of(EVALUATED, evaluate={"inner_learning_rate": [0.3, 1e30]}), sources)
    assert outcome.divergences == {
        2 + seed: recording.Divergence(seed, 1e30, "evaluate", 1, "meta_loss") for seed in (0, 1)
    }
    assert all(math.isfinite(value) for value in values(outcome.rows, learning_rate=0.3).values())


def test_a_meta_loss_that_diverges_on_the_way_ends_no_training(sources) -> None:
    """What is trained is sound, and is trained to its end: it is the loop that measures it which diverges."""
    outcome = trial.run(settings_of(ON_TASKS, before_meta={"inner_learning_rate": 1e30}), sources)
    assert set(outcome.divergences.values()) == {
        recording.Divergence(seed, None, "noise", 0, "meta_loss") for seed in (0, 1)
    }
    sound = trial.run(settings_of(ON_TASKS), sources).rows
    assert values(outcome.rows, phase="evaluate") == values(sound, phase="evaluate")


def test_losses_on_batches_and_on_test_images_are_held_to_the_bound() -> None:
    outcome = run(settings_of(ON_DATA, supervised={"optimizer": "sgd", "learning_rate": 1e4}))
    for seed in (0, 1):
        losses = values(outcome.rows, phase="supervised", metric="loss", seed=seed)
        first = min(key[3] for key, loss in losses.items() if loss > 1000 * math.log(10))
        assert outcome.divergences[seed] == recording.Divergence(seed, None, "supervised", first, "loss")
        assert all(math.isfinite(loss) for loss in losses.values())


def test_what_is_no_number_by_design_is_no_divergence() -> None:
    """Feedback that float32 rounds to 0 has no direction, and weights that are not trained have no path."""

    def scaled(scale: float) -> TrialSettings:
        """At a scale that no study may say."""
        settings = settings_of(
            ON_DATA,
            network={"rule": "feedback_alignment"},
            noise={"steps": 0},
            supervised={"epochs": 0},
            measure={"weight_path": True},
        )
        return settings.model_copy(update={"network": settings.network.model_copy(update={"feedback_scale": scale})})

    outcome = run(scaled(1e-60))
    none = {row["metric"] for row in outcome.rows if not math.isfinite(row["value"])}
    assert none == {"alignment_angle", "unit_alignment_angle", "weight_path", "weight_path_variance"}
    assert not outcome.divergences
    outcome = run(scaled(1e39))
    assert set(outcome.divergences.values()) == {recording.Divergence(seed, None, "noise", 0) for seed in (0, 1)}
