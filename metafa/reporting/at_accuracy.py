"""Metrics at a given accuracy: networks are compared where they have learned as much, not after as many steps."""

from __future__ import annotations

import pandas as pd

from metafa.studies.data import Inputs

INPUTS = list(Inputs._fields)


def values_at(rows: pd.DataFrame, accuracies: pd.DataFrame, level: float, networks: list[str]) -> pd.DataFrame:
    """The measurements ``rows`` of a metric where the accuracy of the network, on the same inputs in the same phase,
    first is at least ``level``.

    Between the two moments around it, metric and accuracy are taken to change linearly; of a network that is there at
    its first moment, the value is of that moment. The columns ``networks`` tell networks apart. A network that never
    gets there, or does not on all of its inputs, has rows whose value is no number.

    rows: of one phase; their ``accuracy_on`` is the dataset whose accuracy counts where they are of no inputs.
    accuracies: the measurements of accuracy in that phase.
    """
    rows = rows.assign(on=rows["inputs"].fillna(rows["accuracy_on"]))
    seen = accuracies.rename(columns={"inputs": "on", "value": "accuracy"})
    moments = [*networks, "on", *INPUTS[1:], "step"]
    both = rows.merge(seen[[*moments, "accuracy"]], on=moments).sort_values("step", kind="stable")
    runs = [*networks, *INPUTS, "layer", "component"]
    of_runs = both.groupby(runs, dropna=False, sort=False)
    before = of_runs[["accuracy", "value"]].shift()
    fraction = (level - before["accuracy"]) / (both["accuracy"] - before["accuracy"])
    between = before["value"] + fraction * (both["value"] - before["value"])
    both["value"] = between.where(of_runs.cumcount() > 0, both["value"])
    there = (both["accuracy"] >= level).groupby([both[name] for name in runs], dropna=False, sort=False)
    arrives = (there.cumsum() == 1) & (both["accuracy"] >= level)
    never = ~there.transform("any") & (of_runs.cumcount() == 0)
    both["value"] = both["value"].mask(never)
    found = both[arrives | never]
    lost = found["value"].isna().groupby([found[name] for name in networks], dropna=False).transform("any")
    return found.assign(value=found["value"].mask(lost)).drop(columns=["on", "accuracy_on", "accuracy"])
