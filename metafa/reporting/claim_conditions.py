"""Which trials the conditions are of that claims compare, and with which settings."""

from __future__ import annotations

from typing import Any

import pandas as pd

from metafa.reporting.conditions import RATE, Tables
from metafa.reporting.trial_table import is_list
from metafa.studies import compared
from metafa.studies.claims import ClaimSettings
from metafa.studies.data import BATCH
from metafa.studies.metrics import is_of


def flats_of(tables: Tables) -> tuple[list[str], list[compared.Flat]]:
    """The trials that ended, and the settings of each that `compared` goes by."""
    ended = tables.ended
    names = [name for name in ended if "." in name or name in ("seed", "seeds", compared.PHASES)]
    found = [
        compared.flat_of(
            {name: list(one) if is_list(one) else None if pd.isna(one) else one for name, one in row.items()}
        )
        for row in ended[names].to_dict("records")
    ]
    return ended["trial_id"].tolist(), found


def settings_of(rows: pd.DataFrame, claim: ClaimSettings, tables: Tables, keys: pd.DataFrame) -> list[dict[str, Any]]:
    """The settings that may matter to each condition of ``keys``: of rates side by side its own, and none of phases
    after the claim's, where these do not say what is measured in it. What noise phases measure of whole datasets, a
    phase `whole_datasets` says; no other after them does."""
    flats = dict(zip(*flats_of(tables), strict=True))
    found = [dict(flats[trial_id]) for trial_id in trials_of(rows, keys)]
    rates = keys[RATE] if RATE in keys else [None] * len(found)
    if is_of(claim.metric, "dataset", "datasets"):
        matters, strips = set(tables.phases_of("whole_datasets")), claim.phase in tables.phases_of("noise")
    else:
        matters, strips = set(), set(rows["inputs"].dropna()) <= {BATCH.inputs, "noise"}
    for flat, rate in zip(found, rates, strict=True):
        flat |= {name: rate for name in flat if name.endswith(RATE) and isinstance(flat[name], tuple)}
        phases = flat.get(compared.PHASES, ())
        if strips and claim.phase in phases:
            later = set(phases[phases.index(claim.phase) + 1 :]) - matters
            for name in [name for name in flat if name.rpartition(".")[0] in later]:
                del flat[name]
            flat[compared.PHASES] = tuple(name for name in phases if name not in later)
    return found


def trials_of(rows: pd.DataFrame, keys: pd.DataFrame) -> list[str]:
    """The trial of each condition of ``keys``."""
    names = list(keys)
    both = pd.concat([keys, rows[names].drop_duplicates()], ignore_index=True)
    groups = both.groupby(names, dropna=False, sort=False, observed=True).ngroup().tolist()
    firsts = rows.drop_duplicates(names)["trial_id"].tolist()
    trials = dict(zip(groups[len(keys) :], firsts, strict=True))
    return [trials[group] for group in groups[: len(keys)]]
