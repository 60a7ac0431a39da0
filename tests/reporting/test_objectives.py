"""What a search seeks, and which of its trials are best."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import synthetic_results
from study_bases import RANDOM_SEARCH as STUDY
from study_texts import study_with
from synthetic_results import EVALUATE, NOISE, meta_losses, study_of

from metafa.errors import ResultsError
from metafa.reporting import conditions, objectives, report
from metafa.results import addresses, preparation
from metafa.studies import study


def test_what_is_best_goes_by_the_metric_or_by_what_is_said(tmp_path: Path) -> None:
    sought = {"objectives": ["noise.effective_rank", "noise.steps"], "directions": ["maximize", "minimize"]}
    text = study_with(STUDY, search={"method": "tpe", "trials": 3} | sought)
    synthetic_results.results_of(tmp_path / "random", study_with(STUDY, search={"trials": 3}), lambda trial: [])
    tables, searched = conditions.read(tmp_path / "random"), study.parse(text)
    for asked, maximize in {
        "evaluate.meta_loss": False,
        "evaluate.meta_accuracy": True,
        "noise.alignment_angle": False,
        "noise.learning_rate": False,
        "maximize noise.learning_rate": True,
        "minimize evaluate.meta_accuracy": False,
        "noise.effective_rank": True,  # as the study seeks it
        "maximize noise.participation_ratio": True,
    }.items():
        assert objectives.chosen(tables, searched, [asked]) == [(asked.split()[-1], maximize)]
    for asked in ("noise.participation_ratio", "most noise.learning_rate"):
        with pytest.raises(ResultsError, match=r"'minimize noise.* or 'maximize noise"):
            objectives.chosen(tables, searched, [asked])


def test_of_equals_none_is_better() -> None:
    found = pd.DataFrame({"a": [1.0, 1.0, 2.0, 0.5], "b": [1.0, 1.0, 0.5, 3.0]})
    sought = [objectives.Objective("a", False), objectives.Objective("b", False)]
    assert objectives.front(found, sought) == [3, 0, 1, 2]
    upwards = [objectives.Objective("a", True), objectives.Objective("b", False)]
    assert objectives.front(found, upwards) == [2]


def test_what_grew_is_told_of_the_trials_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that was not varied then is what it was."""
    for steps in (0, {"choices": [0, 64]}):
        text = study_of(NOISE | {"steps": steps}, EVALUATE, seeds=3, network={"hidden": {"choices": [[5], [6]]}})
        checked = study.parse(text, default_name="made")
        preparation.prepare(addresses.at(tmp_path), checked)
        for trial in checked.trials:
            if not (tmp_path / "trials" / f"{trial.trial_id}.parquet").exists():
                synthetic_results.put(
                    tmp_path, checked, trial, meta_losses(lambda one: 1.0 + one.settings.phases[0].steps, 3)(trial)
                )
    tables = conditions.read(tmp_path)
    found = objectives.points(tables, checked, objectives.chosen(tables, checked))
    assert found["noise.steps"].tolist() == (found["evaluate.meta_loss"] - 1.1).round().astype(int).tolist()
    assert sorted(found["noise.steps"]) == [0, 0, 64, 64]
    assert sorted(found["network.hidden"]) == [[5], [5], [6], [6]]
    report.render(addresses.at(tmp_path))
    synthetic_results.run_here("search.py", tmp_path, monkeypatch)
