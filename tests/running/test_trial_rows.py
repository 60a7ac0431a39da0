"""What the row of a trial says of networks that diverged, and what a search learns of them."""

import math
from pathlib import Path

import pytest

from metafa.results import addresses, columns, measured, preparation, publishing, tables
from metafa.running import trial_rows
from metafa.studies import study
from metafa.studies.settings import DIVERGED_TIMES_CHANCE
from metafa.trials.recording import Divergence, Outcome


def text(learning_rate: str = "{ low = 1e-4, high = 1e-1, log = true }", search: str = "") -> str:
    """Evaluation, noise and evaluation again; a rate of noise, and the tables that end the study, in TOML."""
    return f"""\
seeds = 2
[[phases]]
phase = "evaluate"
name = "before"
task_distributions = ["glyphs"]
[[phases]]
phase = "noise"
steps = 100
learning_rate = {learning_rate}
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
{search}
"""


LAST = {"before": 5, "noise": 100, "evaluate": 5}


def searched(*objectives: str):
    lines = ["[search]", 'method = "tpe"', "trials = 4", f"objectives = {list(objectives)}"]
    return study.parse(text(search="\n".join(lines)))


def outcome(*divergences: Divergence) -> Outcome:
    """Meta-losses of 1 and of 2 at the end of each phase; those of 2 diverged, if any did."""
    rows = [
        dict(
            seed=seed, learning_rate=None, phase=phase, step=step, metric="meta_loss", inputs="glyphs", value=1.0 + seed
        )
        for phase, step in LAST.items()
        for seed in (0, 1)
    ]
    return Outcome(rows, {one.seed: one for one in divergences})


def test_the_bound_is_stated_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "science.md").read_text()
    assert f"above {DIVERGED_TIMES_CHANCE:,.0f} times that of chance" in " ".join(page.split())


def test_the_first_place_is_that_of_the_earliest_phase() -> None:
    found = outcome(Divergence(0, None, "evaluate", 1), Divergence(1, None, "noise", 20))
    row = trial_rows.divergence_columns(searched("evaluate.meta_loss").examples[0], found)
    assert (row["diverged_phase"], row["diverged_step"], row["diverged_seeds"]) == ("noise", 20, [0, 1])
    assert row["error"] == "seed 1 diverged at step 20 of noise"
    assert [one["seed"] for one in row["divergences"]] == [0, 1]


def test_the_table_of_trials_tells_every_replica_that_diverged(tmp_path: Path) -> None:
    checked = study.parse(text(learning_rate="[0.1, 0.2]"))
    found = Outcome([], {3: Divergence(1, 0.2, "noise", 20, "loss"), 1: Divergence(1, 0.1, "evaluate", 1)})
    (trial,), place = checked.trials, addresses.at(tmp_path / "results")
    preparation.prepare(place, checked)
    row = trial_rows.known_columns(trial, checked, {}) | {"status": "diverged"}
    row |= trial_rows.divergence_columns(trial.settings, found)
    publishing.write(place, columns.trials_schema(checked), row, [])
    told = tables.load(tmp_path / "results").trials.loc[0]
    assert list(told["divergences"]) == [
        {"seed": 1, "learning_rate": 0.1, "phase": "evaluate", "step": 1, "metric": None},
        {"seed": 1, "learning_rate": 0.2, "phase": "noise", "step": 20, "metric": "loss"},
    ]
    assert told["error"] == "seed 1 at learning rate 0.2 diverged at step 20 of noise, by its loss"
    assert list(told["diverged_seeds"]) == [1]
    assert told["divergence_bound"] == pytest.approx(1000 * math.log(5))


def test_a_search_learns_nothing_from_networks_that_diverged() -> None:
    """However small the loss that they had."""
    checked = searched("evaluate.meta_loss", "before.meta_loss")
    settings, found = checked.examples[0], outcome(Divergence(1, None, "noise", 20))
    sound = trial_rows.without_diverged(settings, found)
    assert measured.objectives_of(checked, settings, sound) is None
    assert measured.objectives_of(searched("before.meta_loss"), settings, sound) == (1.5,)
    metric, value = measured.final_measurement(settings, sound)
    assert metric == "meta_loss"
    assert math.isnan(value)
    assert measured.objectives_of(checked, settings, trial_rows.without_diverged(settings, outcome())) == (1.5, 1.5)
