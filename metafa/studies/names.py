"""Other names for what a study file knows, and what somebody who writes one may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

MAX_NAME = 100  # letters of what may be meant as another name

KEYS: dict[str, tuple[str, ...]] = {
    "learning_rate": ("inner_learning_rate", "outer_learning_rate"),
    "lr": ("learning_rate", "inner_learning_rate", "outer_learning_rate"),
    "inner_lr": ("inner_learning_rate",),
    "outer_lr": ("outer_learning_rate",),
    "meta_lr": ("outer_learning_rate",),
    "steps": ("outer_steps", "inner_steps"),
    "iterations": ("steps",),
    "epochs": ("steps", "outer_steps"),
    "dataset": ("task_distribution", "task_distributions"),
    "datasets": ("task_distributions", "task_distribution"),
    "task_distribution": ("dataset",),
    "task_distributions": ("dataset",),
    "task": ("inputs", "shift"),
    "tasks": ("inputs",),
    "type": ("phase",),
    "kind": ("phase",),
    "layers": ("hidden",),
    "hidden_layers": ("hidden",),
    "hidden_units": ("hidden",),
    "hidden_sizes": ("hidden",),
    "units": ("hidden",),
    "width": ("hidden", "filters"),
    "channels": ("filters",),
    "hidden_size": ("filters",),
    "model": ("architecture",),
    "backbone": ("architecture",),
    "algorithm": ("rule", "outer_algorithm", "method"),
    "learning_rule": ("rule",),
    "nonlinearity": ("activation",),
    "sampler": ("method",),
    "metric": ("objectives",),
    "n_trials": ("trials",),
    "random_seed": ("seed",),
    "std": ("standard_deviation",),
    "sigma": ("standard_deviation",),
    "min": ("low",),
    "max": ("high",),
    "values": ("choices",),
    "description": ("question",),
    "title": ("question",),
}
"""Names that are used elsewhere, and what they may mean here."""

VALUES = {
    "bp": "backprop",
    "fa": "feedback_alignment",
    "dfa": "direct_feedback_alignment",
    "kp": "kolen_pollack",
    "maml": "exact",
    "second_order": "exact",
    "fomaml": "first_order",
    "bayesian": "gp",
    "optuna": "tpe",
    "cma_es": "cmaes",
    "hyperband": "asha",
    "gaussian": "normal",
    "pretraining": "noise",
    "train": "supervised",
    "ood": "out_of_distribution",
    "maximise": "maximize",
    "minimise": "minimize",
    "max": "maximize",
    "min": "minimize",
    "valid": "validation",
    "val": "validation",
    "test": "evaluate",
    "testing": "evaluate",
}
"""The same of values."""

LOW, HIGH = ("min", "minimum", "from", "start", "lower"), ("max", "maximum", "to", "stop", "end", "upper")


def close(found: Any, known: Iterable[str]) -> list[str]:
    """Those of ``known`` that ``found`` may have meant, the likeliest first."""
    if not isinstance(found, str) or len(found) > MAX_NAME:
        return []
    plain = {plain_name(name): name for name in known}
    if (name := plain_name(found)) in plain:
        return [plain[name]]
    if (meant := VALUES.get(name)) in plain.values():
        return [str(meant)]
    return [plain[one] for one in difflib.get_close_matches(name, plain, 1)]


def plain_name(name: str) -> str:
    return re.sub(r"[\s.-]", "_", name.strip()).lower()


def meant(names: Sequence[str]) -> str:
    """The end of a sentence that asks whether one of ``names`` was meant; empty where there are none."""
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""
