"""The row of a trial in the table `trials`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metafa.studies.settings import NUMERICS, TrialSettings, flatten
from metafa.studies.study import Study
from metafa.studies.trial import Trial

if TYPE_CHECKING:
    from metafa.trials.trial import Outcome


def known_columns(trial: Trial, study: Study, software: Mapping[str, Any]) -> dict[str, Any]:
    """What the row of a trial says however it ends: its settings, the study's part in it, and ``software``, the
    versions that compute it."""
    known = {"trial_id": trial.trial_id, "study": study.name, "numerics": NUMERICS, "point": json.dumps(trial.varied)}
    known |= {"threads": study.resources.cpus_per_trial}
    known |= {"data": json.dumps(trial.data, sort_keys=True), "divergence_bound": trial.settings.divergence_bound}
    chosen = study.search.method + (", depends on timing" if study.by_timing else "")
    return {**flatten(trial.settings), **known, "search": chosen, **software}


def without_diverged(settings: TrialSettings, outcome: Outcome) -> list[dict[str, Any]]:
    """The measurements, not a number where they are of a replica that had diverged: in that phase or before."""
    order = {phase.name: place for place, phase in enumerate(settings.phases)}
    since = {(first.seed, first.learning_rate): order[first.phase] for first in outcome.divergences.values()}
    if not since:
        return outcome.rows
    return [
        row | {"value": math.nan}
        if order[row["phase"]] >= since.get((row["seed"], row["learning_rate"]), len(order))
        else row
        for row in outcome.rows
    ]


def divergence_columns(settings: TrialSettings, outcome: Outcome) -> dict[str, Any]:
    """What the row of a trial that came to its end says of the replicas that diverged."""
    divergences = [divergence for _, divergence in sorted(outcome.divergences.items())]
    columns: dict[str, Any] = {"divergences": [dataclasses.asdict(divergence) for divergence in divergences]}
    if not divergences:
        return columns
    phases = [phase.name for phase in settings.phases]
    first = min(divergences, key=lambda divergence: (phases.index(divergence.phase), divergence.step))
    at_rate = "" if first.learning_rate is None else f" at learning rate {first.learning_rate:g}"
    measured = f", by its {first.metric}" if first.metric else ""
    return columns | {
        "error": f"seed {first.seed}{at_rate} diverged at step {first.step} of {first.phase}{measured}",
        "diverged_seeds": sorted({divergence.seed for divergence in divergences}),
        "diverged_phase": first.phase,
        "diverged_step": first.step,
    }
