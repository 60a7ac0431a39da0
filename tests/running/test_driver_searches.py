"""Adaptive searches and early stopping on a real Ray cluster, disturbed."""

import json
import tomllib
from pathlib import Path

import disturbances
import pandas as pd
import pytest
from disturbances import assert_equal, metafa
from study_texts import study_with

from metafa.results import tables
from metafa.trials.recording import measuring_steps

SEARCH = """\
seeds = 2
[network]
hidden = [8]
rule = { choices = ["feedback_alignment", "backprop"] }
[[phases]]
phase = "noise"
steps = { low = 0, high = 64 }
[[phases]]
phase = "supervised"
dataset = "digits"
steps = 20
learning_rate = { low = 1e-4, high = 1.0, log = true }
[measure]
points = 4
[search]
method = "tpe"
trials = 12
batch = 4
objectives = ["supervised.loss"]
"""


def tried(address: Path) -> set[str]:
    return set(tables.load(address).trials["point"])


def test_a_synchronous_search_tries_the_same_whatever_disturbs_it(tmp_path: Path) -> None:
    """With one worker and with two, killed in the middle or not; and with more trials it goes on from what it has."""
    (tmp_path / "small.toml").write_text(SEARCH)
    assert metafa(tmp_path, "run", "small.toml", "--workers", "1", "--results", "one").returncode == 0
    disturbances.kill_driver(tmp_path, "small.toml", "killed", lambda: disturbances.ended(tmp_path / "killed", 2))
    done = metafa(tmp_path, "run", "small.toml", "--workers", "2", "--results", "killed")
    assert done.returncode == 0, done.stderr
    assert len(tried(tmp_path / "one")) == 12
    assert_equal(tmp_path / "one", tmp_path / "killed")

    (tmp_path / "small.toml").write_text(study_with(tomllib.loads(SEARCH), search={"trials": 16}))
    before = tables.load(tmp_path / "one").trials.set_index("trial_id")["started"]
    assert metafa(tmp_path, "run", "small.toml", "--results", "one").returncode == 0
    after = tables.load(tmp_path / "one").trials.set_index("trial_id")["started"]
    assert (after[before.index] == before).all(), "what was done was not done again"

    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = JournalStorage(JournalFileBackend(str(tmp_path / "one" / "optuna.journal")))
    learned = optuna.load_study(study_name="small", storage=journal)
    trials = tables.load(tmp_path / "one").trials
    assert learned.best_value == min(objectives[0] for objectives in trials["objectives"])
    assert len(learned.trials) == 16


def test_an_asynchronous_search_goes_on_with_what_it_has_learned(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SEARCH + "synchronous = false\n")
    disturbances.kill_driver(
        tmp_path, "small.toml", "results/small", lambda: disturbances.ended(tmp_path / "results/small", 2)
    )
    done = metafa(tmp_path, "run", "small.toml")
    assert done.returncode == 0, done.stderr
    assert len(tried(tmp_path / "results/small")) == 12
    assert set(tables.load(tmp_path / "results/small").trials["search"]) == {"tpe, depends on timing"}
    said = metafa(tmp_path, "check", "small.toml").stdout
    assert "which trials are tried or run to their end depends on timing" in said


def test_two_objectives_end_in_a_front(tmp_path: Path) -> None:
    sought = {"method": "nsgaii", "objectives": ["supervised.loss", "noise.steps"]}
    text = study_with(tomllib.loads(SEARCH), search=sought)
    (tmp_path / "small.toml").write_text(text)
    assert metafa(tmp_path, "run", "small.toml", "--workers", "1").returncode == 0
    trials, measurements = tables.load(tmp_path / "results/small")
    last = measurements.query("phase == 'supervised' and metric == 'loss' and step == 20 and inputs == 'digits'")
    losses = last.groupby("trial_id")["value"].mean()
    for trial in trials.itertuples():
        assert list(trial.objectives) == [
            pytest.approx(losses[trial.trial_id], rel=1e-12),
            json.loads(trial.point)["noise.steps"],
        ]


@pytest.mark.parametrize("method", ["asha", "median"])
def test_trials_that_do_badly_are_stopped_early(method: str, tmp_path: Path) -> None:
    """A stopped trial has rows up to the step it was stopped at, which is one at which all are judged; what analysis
    reads has only those that finished. One diverges before it is judged, and one is too short to be."""
    rates = [1e-2, 5e-3, 2e-3, 1e-3, 1e-8, 2e-8, 1e30]
    text = study_with(
        tomllib.loads(SEARCH),
        network={"rule": None},
        noise={"steps": 0},
        supervised={"steps": {"choices": [200, 2]}, "learning_rate": {"choices": rates}},
        measure={"points": 8},
        search=None,
        early_stopping={"method": method, "metric": "supervised.loss", "grace_period": 2},
    )
    (tmp_path / "small.toml").write_text(text)
    done = metafa(tmp_path, "run", "small.toml", "--workers", "1")
    assert done.returncode == 0, done.stderr
    trials, measurements = tables.load(tmp_path / "results/small")
    assert set(trials.loc[trials["supervised.steps"] == 2, "status"]) == {"done", "diverged"}
    every, trials = trials, trials[trials["supervised.steps"] == 200]
    by_rate = trials.set_index("supervised.learning_rate")
    assert by_rate.loc[1e30, "status"] == "diverged"
    assert by_rate.loc[1e-2, "status"] == "done"
    stopped = trials[trials["status"] == "stopped"]
    assert len(stopped) >= 1
    assert set(trials["status"]) == {"done", "stopped", "diverged"}
    for trial in stopped.itertuples():
        steps = measurements.query(f"trial_id == '{trial.trial_id}' and phase == 'supervised'")["step"]
        factor = 4 if method == "asha" else 2
        assert trial.stopped_step in {2 * factor**k for k in range(8)}
        assert set(steps) == {step for step in measuring_steps(200, 8) if step <= trial.stopped_step}
        assert trial.stopped_phase == "supervised"
    assert "stopped at step" in done.stdout
    again = metafa(tmp_path, "run", "small.toml")
    assert f"{len(stopped)} of 14 trials stopped" in again.stdout
    pd.testing.assert_frame_equal(tables.load(tmp_path / "results/small").trials, every)
