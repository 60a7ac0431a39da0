"""What a trial comes to under the name of a measurement, such as `evaluate.meta_loss`.

An adaptive search optimises it, early stopping compares trials by it, progress shows it, the report ranks by
it: each reads it by `last_mean`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metafa.studies.data import BATCH
from metafa.studies.settings import TrialSettings, flatten
from metafa.studies.study import Study

if TYPE_CHECKING:
    import pandas as pd


def last_mean(steps: Sequence[int], of_named_inputs: Sequence[bool], values: Sequence[float]) -> float | None:
    """What was measured last, its mean over replicas, layers and inputs: not a number where one of them is not finite,
    None where there is none.

    Each sequence has an element a row: the step that it was measured at; whether that was on inputs that have a name, a
    task distribution's or a dataset's, rather than on the batch trained on, which counts only where nothing else was
    measured; and the value. The order of rows makes no difference, since the sum is rounded once.
    """
    rows = list(zip(steps, of_named_inputs, values, strict=True))
    rows = [row for row in rows if row[1]] or rows
    if not rows:
        return None
    last = max(step for step, *_ in rows)
    at_last = [value for step, _, value in rows if step == last]
    return math.fsum(at_last) / len(at_last) if all(map(math.isfinite, at_last)) else math.nan


def measurement(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The `last_mean` of one trial's rows of `measurements` under a name such as `evaluate.meta_loss`."""
    phase, _, metric = name.rpartition(".")
    rows = [row for row in rows if row["phase"] == phase and row["metric"] == metric]
    return last_mean([row["step"] for row in rows], [_named(row) for row in rows], [row["value"] for row in rows])


def by_trial(measurements: pd.DataFrame) -> pd.Series:
    """The `last_mean` of every trial, by trial_id, of rows of `measurements` that are all of one phase and metric."""
    inputs = measurements["inputs"]
    named = measurements.assign(named=inputs.notna() & (inputs != BATCH.inputs))
    return named.groupby("trial_id")[["step", "named", "value"]].apply(
        lambda rows: last_mean(*(rows[name].tolist() for name in ("step", "named", "value")))
    )


def _named(row: Mapping[str, Any]) -> bool:
    """Whether a row is of a task distribution or a dataset, not of the batch trained on."""
    return row["inputs"] not in (None, BATCH.inputs)


def objectives_of(study: Study, settings: TrialSettings, rows: Sequence[Mapping[str, Any]]) -> tuple[float, ...] | None:
    """What an adaptive search learns of a trial: its settings and measurements that are the study's objectives. None
    where one is not there or not finite, as where a network has diverged."""
    flat = flatten(settings)
    values = [flat[name] if name in flat else measurement(rows, name) for name in study.search.objectives]
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    return tuple(finite) if values and len(finite) == len(values) else None


def final_measurement(settings: TrialSettings, rows: Sequence[Mapping[str, Any]]) -> tuple[str, float] | None:
    """The metric that a trial comes to, and its `measurement`: the meta-loss or, where none was measured, the accuracy
    on the test images of the dataset that was trained on or, where there is none, the meta-loss of whole datasets; of
    the phase that measured it last."""
    tested = settings.datasets()
    trained = [phase.name for phase in settings.phases if phase.trains and phase.name in tested]
    for metric in ("meta_loss", "accuracy", "whole_dataset_meta_loss"):
        phases = [row["phase"] for row in rows if row["metric"] == metric and row["inputs"] != BATCH.inputs]
        if metric == "accuracy":  # images changed by a shift, or of another dataset, say nothing of what was learned
            phases = [name for name in phases if name in trained]
        if phases and (value := measurement(rows, f"{phases[-1]}.{metric}")) is not None:
            return metric, value
    return None
