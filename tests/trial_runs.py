"""Trials that tests run in their own process: their settings as tables, and what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study_texts import study_with

from metafa.studies import study
from metafa.studies.settings import TrialSettings
from metafa.trials import trial
from metafa.trials.recording import Outcome

ON_TASKS: dict[str, Any] = {
    "seeds": 2,
    "network": {"hidden": [20], "rule": "feedback_alignment"},
    "phases": [
        {"phase": "noise", "steps": 30},
        {"phase": "evaluate", "name": "before_meta", "task_distributions": ["glyphs"], "tasks": 6},
        {"phase": "meta", "task_distribution": "glyphs", "outer_steps": 4, "tasks_per_batch": 2},
        {"phase": "evaluate", "task_distributions": ["glyphs"], "tasks": 6},
    ],
    "measure": {"points": 4, "tasks": 5},
}
"""Noise, and meta-training between two tests."""

ON_DATA: dict[str, Any] = {
    "seeds": 2,
    "network": {"hidden": [20]},
    "phases": [
        {"phase": "noise", "steps": 30},
        {"phase": "supervised", "dataset": "digits", "training_images": 200, "epochs": 2},
    ],
    "measure": {"points": 4},
}
"""Noise, and training on data."""


def settings_of(base: Mapping[str, Any], **changes: Any) -> TrialSettings:
    """The settings of the first trial of a study, changed as by `study_with`."""
    return study.parse(study_with(base, **changes)).trials[0].settings


def run(settings: TrialSettings, **how: Any) -> Outcome:
    """Runs a trial on images that are loaded for it alone."""
    return trial.run(settings, trial.prepared(trial.load_sources(settings)), **how)


def values(rows: list[dict], **where: Any) -> dict[tuple, float]:
    """The values of the rows that match ``where``, by what else identifies them."""
    kept = [row for row in rows if all(row[key] == value for key, value in where.items())]
    return {tuple(value for name, value in row.items() if name != "value"): row["value"] for row in kept}
