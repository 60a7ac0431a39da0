"""Studies that tests change with `study_texts`: as tables, or as lines where a mistake is told with its line."""

from __future__ import annotations

from typing import Any

import pytest

from metafa.errors import StudyError
from metafa.studies import study

EVALUATE: dict[str, Any] = {"phase": "evaluate", "task_distributions": ["glyphs"]}
EVALUATED: dict[str, Any] = {"phases": [EVALUATE]}
"""Hardly anything: networks are tested on tasks."""

GRID_LINES = {
    "question": 'question = "q"',
    "seeds": "seeds = 4",
    "network": "\n[network]",
    "rule": 'rule = { choices = ["backprop", "feedback_alignment"] }',
    "noise": '\n[[phases]]\nphase = "noise"',
    "steps": "steps = { choices = [0, 100] }",
    "meta": '\n[[phases]]\nphase = "meta"',
    "task_distribution": 'task_distribution = "glyphs"',
    "outer_steps": "outer_steps = 10",
    "evaluate": '\n[[phases]]\nphase = "evaluate"',
    "task_distributions": 'task_distributions = ["glyphs"]',
}
GRID: dict[str, Any] = {
    "question": "q",
    "seeds": 4,
    "network": {"rule": {"choices": ["backprop", "feedback_alignment"]}},
    "phases": [
        {"phase": "noise", "steps": {"choices": [0, 100]}},
        {"phase": "meta", "task_distribution": "glyphs", "outer_steps": 10},
        EVALUATE,
    ],
}
"""Four trials, of two rules and two lengths of noise pretraining; `GRID_LINES` is the same study."""

WITH_DATA: dict[str, Any] = {
    "seeds": 1,
    "measure": {"singular_values": False, "points": {"choices": [3, 4]}},
    "phases": [
        {"phase": "noise", "steps": {"choices": [0, 10]}},
        {"phase": "supervised", "dataset": "glyphs", "steps": 10},
        EVALUATE,
    ],
}
SEARCHED = WITH_DATA | {"search": {"method": "tpe", "trials": 4, "objectives": ["evaluate.meta_loss"]}}
"""A search by what is measured last."""
STOPPED = WITH_DATA | {"early_stopping": {"method": "median", "metric": "supervised.loss"}}
"""A grid some of whose trials are stopped early."""

SUPERVISED: dict[str, Any] = {"phases": [{"phase": "supervised", "dataset": "digits", "epochs": 1}]}
"""Networks are trained on data, and nothing else."""


def mistakes(text: str) -> list[str]:
    """What is said of the mistakes in a study file that is called s.toml."""
    with pytest.raises(StudyError) as caught:
        study.parse(text, file="s.toml")
    assert all("\n" not in message for message in caught.value.messages)
    return caught.value.messages


RANDOM_SEARCH = {
    "seeds": 2,
    "network": {"activation": {"choices": ["relu", "tanh"]}},
    "phases": [
        {
            "phase": "noise",
            "steps": {"low": 10, "high": 1000},
            "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
            "standard_deviation": {"low": 0.5, "high": 2.0},
        },
        {"phase": "evaluate", "task_distributions": ["glyphs"]},
    ],
    "search": {"method": "random", "trials": 60},
}
