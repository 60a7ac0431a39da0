"""What was measured last of a trial, its mean over seeds and whatever else it was measured of."""

from __future__ import annotations

import math
from typing import Any

from metafa.studies.settings import TrialSettings, flatten
from metafa.studies.study import Study


def measurement(rows: list[dict[str, Any]], name: str) -> float | None:
    """What was measured last under a name such as `evaluate.meta_loss`, its mean over seeds and whatever else it was
    measured of: of inputs by name rather than of the batch trained on."""
    phase, _, metric = name.rpartition(".")
    found = [row for row in rows if row["phase"] == phase and row["metric"] == metric]
    found = [row for row in found if row["task"] is not None] or found
    values = [row["value"] for row in found if row["step"] == found[-1]["step"]]
    if not values:
        return None
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan


def objectives_of(study: Study, settings: TrialSettings, rows: list[dict[str, Any]]) -> tuple[float, ...] | None:
    """What an adaptive search learns of a trial; None where a network has diverged."""
    flat = flatten(settings)
    found = [flat[name] if name in flat else measurement(rows, name) for name in study.search.objectives]
    known = [float(value) for value in found if value is not None and math.isfinite(value)]
    return tuple(known) if found and len(known) == len(found) else None


def final_measurement(settings: TrialSettings, rows: list[dict[str, Any]]) -> tuple[str, float] | None:
    """What a trial comes to: the meta-loss or, where none was measured, the accuracy on the test images of the dataset
    that was trained on, where it was measured last, as `measurement` has it."""
    trained = [phase.name for phase in settings.phases if phase.phase == "supervised"]
    for metric in ("meta_loss", "accuracy"):
        phases = [row["phase"] for row in rows if row["metric"] == metric and row["task"] is not None]
        if metric == "accuracy":  # images changed by a shift, or of another dataset, say nothing of what was learned
            phases = [name for name in phases if name in trained]
        if phases and (found := measurement(rows, f"{phases[-1]}.{metric}")) is not None:
            return metric, found
    return None
