"""The table of trials, and what its rows say, those of earlier versions too: kinds of phases, and what diverged."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from metafa.results.store import Store
from metafa.results.tables import read_table

# Results of before do not say which kind a phase is of: there its kind is that of the one setting which no other has.
OWN_SETTING = {
    "noise": "inputs",
    "supervised": "training_images",
    "meta": "outer_algorithm",
    "evaluate": "task_distributions",
    "out_of_distribution": "translation",
}


def every_trial(store: Store) -> pd.DataFrame:
    """The table of trials, which is empty while a study is young; whole numbers stay whole where some trials have
    none."""
    table = read_table(store, "trials")
    if not table.num_rows:
        return pd.DataFrame({"trial_id": [], "status": []}, dtype=str)
    return table.to_pandas(integer_object_nulls=True)


def phase_kinds(trials: pd.DataFrame) -> dict[str, set[str]]:
    """The kinds, such as ``noise``, of each phase of these trials, by its name: one, unless trials have phases of
    several kinds under one name."""
    kinds: dict[str, set[str]] = {name: set() for phases in trials["phases"] for name in phases}
    for name in kinds:
        if (kept := f"{name}.phase") in trials:
            kinds[name] |= set(trials[kept].dropna())
    without = [name for name, kept in kinds.items() if not kept]
    for name in without:
        kinds[name] |= {kind for kind, setting in OWN_SETTING.items() if f"{name}.{setting}" in trials}
    return kinds


def divergences_of(trial: pd.Series) -> list[dict[str, Any]]:
    """Of each replica of a trial that diverged, its seed, its learning rate, and the phase in which it did."""
    if is_list(trial.get("divergences")):
        return list(trial["divergences"])
    # results of before say in which phase the first one did, and not which of several learning rates
    rates = trial.get("learning_rate", [None])
    seeds = trial["diverged_seeds"] if is_list(trial.get("diverged_seeds")) else []
    return [
        {"seed": seed, "learning_rate": rate, "phase": trial["diverged_phase"]}
        for seed, rate in itertools.product(seeds, rates)
    ]


def is_list(value: Any) -> bool:
    """Whether a cell holds a list, as which it is read."""
    return isinstance(value, list | np.ndarray)


def has_holder(trials: pd.DataFrame, holder: str) -> pd.Series:
    """Whether each trial has what a setting is of: a phase, or what all have."""
    found = trials["phases"].map(lambda phases: holder in phases)
    return found if found.any() else ~found


def alike(trials: pd.DataFrame, conditions: list[str]) -> pd.Series:
    """Which trials have a condition that another has too."""
    return trials[conditions].map(repr).duplicated(keep=False)


def plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if is_list(value) else value
