"""analysis/search.py on results whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from study_bases import RANDOM_SEARCH as STUDY
from study_texts import study_with

from metafa.studies import study


def loss(varied: dict) -> float:
    """The rate matters most, the steps a little, the standard deviation not at all; tanh is worse."""
    rate = np.log10(varied["noise.learning_rate"])
    return (rate + 3) ** 2 + varied["noise.steps"] / 2000 + 0.5 * (varied["network.activation"] == "tanh")


def measured(trial):
    # of each seed, at two steps of which the last counts
    for seed, off in ((0, -0.1), (1, 0.1)):
        for step in (0, 5):
            value = loss(trial.varied) + off + 5 - step
            yield {
                "seed": seed,
                "phase": "evaluate",
                "step": step,
                "metric": "meta_loss",
                "inputs": "glyphs",
                "value": value,
            }


@pytest.fixture
def known(tmp_path: Path) -> tuple[Path, study.Study]:
    return tmp_path / "made", synthetic_results.results_of(tmp_path / "made", study_with(STUDY), measured)


def test_importance_and_best_are_the_known_ones(known: tuple[Path, study.Study]) -> None:
    folder, checked = known
    done = synthetic_results.run("search.py", folder)
    assert done.returncode == 0, done.stderr
    best = min(checked.trials, key=lambda trial: loss(trial.varied))
    every = pd.read_csv(folder / "analysis" / "search.csv").set_index("trial_id")
    assert len(every) == 60
    assert every["evaluate.meta_loss"].to_dict() == pytest.approx(
        {trial.trial_id: loss(trial.varied) for trial in checked.trials}
    )
    weights = pd.read_csv(folder / "analysis" / "search_importance.csv").set_index("setting")
    for evaluator in ("fANOVA", "impurity", "PED-ANOVA"):
        assert weights[evaluator].idxmax() == "noise.learning_rate"
        assert weights[evaluator].sum() == pytest.approx(1)
    assert weights.loc["noise.standard_deviation", "fANOVA"] < 0.1 < weights.loc["noise.learning_rate", "fANOVA"]
    # pasted into a study of its own, it is that trial
    pasted = study.parse((folder / "analysis" / "search_best.toml").read_text())
    assert [trial.trial_id for trial in pasted.trials] == [best.trial_id]
    assert (folder / "analysis" / "search_best.toml").read_text().strip() in done.stdout
    for name in ("importance", "slices", "contours", "parallel"):
        assert (folder / "analysis" / f"search_{name}.svg").exists()


def test_where_nothing_varies_nothing_matters(tmp_path: Path) -> None:
    synthetic_results.results_of(
        tmp_path / "made",
        study_with(STUDY, search={"trials": 5}),
        lambda trial: [
            {"seed": 0, "phase": "evaluate", "step": 5, "metric": "meta_loss", "inputs": "glyphs", "value": 1.0}
        ],
    )
    done = synthetic_results.run("search.py", tmp_path / "made")
    assert done.returncode == 0, done.stderr
    weights = pd.read_csv(tmp_path / "made" / "analysis" / "search_importance.csv")
    assert len(weights) == 4
    assert not (weights["fANOVA"] > 0).any()


def test_of_two_objectives_there_is_a_front(known: tuple[Path, study.Study]) -> None:
    folder, checked = known
    done = synthetic_results.run("search.py", folder, "--objective", "evaluate.meta_loss", "--objective", "noise.steps")
    assert done.returncode == 0, done.stderr
    both = [(loss(trial.varied), trial.varied["noise.steps"], trial) for trial in checked.trials]
    expected = {
        trial.trial_id
        for one, steps, trial in both
        if not any(o <= one and s <= steps and (o, s) != (one, steps) for o, s, _ in both)
    }
    assert f"the Pareto front of {len(both)} trials" in done.stdout
    shown = done.stdout.partition("table ")[0]
    for one, steps, trial in both:
        assert (f"{one:.4g}" in shown and f" {steps} " in shown) == (trial.trial_id in expected)
    assert (folder / "analysis" / "search_pareto.svg").exists()
    weights = pd.read_csv(folder / "analysis" / "search_importance.csv")
    assert set(weights["objective"]) == {"evaluate.meta_loss"}, "a setting explains itself"


def test_what_is_not_there_is_said_in_a_line(known: tuple[Path, study.Study], tmp_path: Path) -> None:
    folder, _ = known
    done = synthetic_results.run("search.py", folder, "--objective", "evaluate.accuracies")
    assert done.returncode == 2
    assert done.stderr.strip() == (f"{folder}: no 'accuracies' in a phase 'evaluate'; the phases are noise, evaluate")
    fixed = study_with(STUDY, network=None, noise=None, search=None)
    synthetic_results.results_of(tmp_path / "fixed", fixed, lambda trial: [])
    done = synthetic_results.run("search.py", tmp_path / "fixed")
    assert done.returncode == 2
    assert "this study varies nothing" in done.stderr
