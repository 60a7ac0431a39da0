"""What a search is after: objectives of trials, and which of them are best."""

from __future__ import annotations

import json
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd

from metafa.errors import ResultsError
from metafa.reporting.appearance import named, short
from metafa.reporting.conditions import Tables
from metafa.results.measured import by_trial
from metafa.studies.earlier import new_name
from metafa.studies.metrics import METRICS, Direction, direction_of
from metafa.studies.study import Study


class Objective(NamedTuple):
    """What is asked about: PHASE.METRIC or a setting, and whether more of it is better."""

    name: str
    maximize: bool

    @property
    def words(self) -> str:
        place, _, metric = self.name.rpartition(".")
        return f"{named(metric)}, {place}" if metric in METRICS else short(self.name)


def chosen(tables: Tables, study: Study, asked: list[str] | None = None) -> list[Objective]:
    """The objectives: those asked about, each by its name or after its direction, such as ``maximize noise.steps``;
    the study's own; or what it measured last. Raises `ResultsError`."""
    sought = dict(zip(study.search.objectives, study.search.sought, strict=True))
    if not asked and sought:
        return [Objective(name, direction == "maximize") for name, direction in sought.items()]
    if not asked:
        evaluated, trained = (
            tables.evaluations,
            tables.phases_with(lambda kind: kind.trains and "accuracy" in kind.measures),
        )
        if not evaluated and not trained:
            raise ResultsError(
                f"{tables.store.address}: no phase evaluates or tests; say what to look at with --objective"
            )
        asked = [f"{evaluated[-1]}.meta_loss" if evaluated else f"{trained[-1]}.accuracy"]
    return [_objective(tables, sought, text) for text in asked]


def _objective(tables: Tables, sought: dict[str, Direction], asked: str) -> Objective:
    direction, _, name = asked.rpartition(" ")
    if (new := new_name(name)) != name and new in tables.ended:
        raise ResultsError(f"{tables.store.address}: the setting {name!r} is called {new!r} now")
    wanted = direction or sought.get(name) or ("minimize" if name in tables.ended else direction_of(name))
    if wanted not in get_args(Direction):
        raise ResultsError(
            f"{tables.store.address}: neither less nor more of {name!r} is better in itself; say which is sought, as "
            f"'minimize {name}' or 'maximize {name}'"
        )
    return Objective(name, wanted == "maximize")


def points(tables: Tables, study: Study, objectives: list[Objective]) -> pd.DataFrame:
    """One row a trial: its `trial_id`, what the study varies, and its objectives; trials that lack one left out.
    Raises `ResultsError`."""
    rows = tables.ended[["trial_id"]].copy()
    varied = tables.ended["point"].map(lambda text: json.loads(text or "{}"))
    settings = tables.trials.set_index("trial_id").loc[rows["trial_id"]]
    for name in study.spaces:
        # a study that has grown did not vary all of it before: then it is the trial's setting
        own = settings[name].tolist() if name in settings else [None] * len(rows)
        own = [value.tolist() if isinstance(value, np.ndarray) else value for value in own]
        rows[name] = pd.Series([point.get(name, value) for point, value in zip(varied, own, strict=True)], rows.index)
    for objective in objectives:
        if objective.name not in rows:
            rows[objective.name] = rows["trial_id"].map(measured(tables, objective.name))
    complete = np.isfinite(rows[[objective.name for objective in objectives]].astype(float)).all(axis=1)
    return rows[complete].reset_index(drop=True)


def measured(tables: Tables, name: str) -> pd.Series:
    """An objective by trial_id: a setting, or what was measured last, as `metafa.results.measured` has it. Raises
    `ResultsError` where neither a setting nor a measurement has that name."""
    if name in tables.ended:
        return tables.ended.set_index("trial_id")[name].astype(float)
    phase, _, metric = name.rpartition(".")
    rows = tables.rows([metric], [phase])
    if rows.empty:
        phases = ", ".join(tables.phases)
        raise ResultsError(f"{tables.store.address}: no {metric!r} in a phase {phase!r}; the phases are {phases}")
    return by_trial(rows)


def front(rows: pd.DataFrame, objectives: list[Objective]) -> list[int]:
    """The rows that no other is better than in every objective, the first objective's best first."""
    losses = np.stack(
        [rows[objective.name].to_numpy(float) * (-1 if objective.maximize else 1) for objective in objectives], 1
    )
    better = np.all(losses[None] <= losses[:, None], 2) & np.any(losses[None] < losses[:, None], 2)
    kept = np.flatnonzero(~np.any(better, 1))
    return kept[np.lexsort(losses[kept].T[::-1])].tolist()
