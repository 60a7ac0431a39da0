"""Which trials the conditions are of that claims compare, and with which settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from metafa.reporting.conditions import RATE, Tables
from metafa.studies import compared
from metafa.studies.claims import ClaimSettings
from metafa.studies.data import BATCH, DATASETS, TASK_DISTRIBUTIONS
from metafa.studies.metrics import is_of

IMAGES = "images"  # what the settings of later phases are called that are about these


def settings_of(
    rows: pd.DataFrame, claim: ClaimSettings, tables: Tables, keys: pd.DataFrame, trials: Sequence[str]
) -> list[dict[str, Any]]:
    """The settings that may matter to each condition of ``keys``, that of one of ``trials`` each: of rates side by side
    its own, and of phases after the claim's those alone that say what is measured in it, or, as `IMAGES`, which images
    the network is made for."""
    found = [dict(tables.flats[trial_id]) for trial_id in trials]
    rates = keys[RATE] if RATE in keys else [None] * len(found)
    says, of_copies = measured_as_in(claim.metric, tables), is_of(claim.metric, "dataset", "datasets")
    by_name = not of_copies and not set(rows["inputs"].dropna()) <= {BATCH.inputs, "noise"}
    for flat, rate in zip(found, rates, strict=True):
        flat |= {name: rate for name in flat if name.endswith(RATE) and isinstance(flat[name], tuple)}
        phases = flat.get(compared.PHASES, ())
        if claim.phase in phases and not is_of(claim.metric, "path"):  # which is that through all phases
            later = set(phases[phases.index(claim.phase) + 1 :]) - says
            of_later = {name: flat.pop(name) for name in list(flat) if name.rpartition(".")[0] in later}
            flat[compared.PHASES] = tuple(name for name in phases if name not in later)
            flat[IMAGES] = _images(of_later, by_name or flat.get("network.pixels") == "standardized")
    return found


def measured_as_in(metric: str, tables: Tables) -> set[str]:
    """The phases whose settings say how a metric is measured, in the phases before them too."""
    if is_of(metric, "dataset", "datasets"):
        return {*tables.phases_of("whole_datasets")}
    return {*tables.evaluations} if is_of(metric, "tasks", "readout") else set()


def _images(settings: compared.Flat, by_name: bool) -> tuple[str, ...]:
    """The images that these settings name: their names, or what a network that is to see them has to be."""
    found, shapes = set(), {name: one.shape for known in (TASK_DISTRIBUTIONS, DATASETS) for name, one in known.items()}
    for name, value in settings.items():
        for one in value if isinstance(value, tuple) else (value,):
            if name.endswith(".ways"):
                found.add(f"{one} ways")
            elif isinstance(one, str) and one in shapes:
                shape = " x ".join(map(str, shapes[one]))
                classes = f", {DATASETS[one].classes} classes" if one in DATASETS else ""
                found.add(one if by_name else shape + classes)
    return tuple(sorted(found))


def trials_of(rows: pd.DataFrame, keys: pd.DataFrame) -> list[str]:
    """The trial of each condition of ``keys``."""
    names = list(keys)
    both = pd.concat([keys, rows[names].drop_duplicates()], ignore_index=True)
    groups = both.groupby(names, dropna=False, sort=False, observed=True).ngroup().tolist()
    firsts = rows.drop_duplicates(names)["trial_id"].tolist()
    trials = dict(zip(groups[len(keys) :], firsts, strict=True))
    return [trials[group] for group in groups[: len(keys)]]
