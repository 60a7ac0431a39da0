"""Which trials of a study are to be run next, given how others ended."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metafa import search
from metafa.store import Store
from metafa.study import Study, StudyError, Trial

JOURNAL = "optuna.journal"


@dataclass(frozen=True)
class Known:
    """How a trial ended, at which point of the search space it is, and what a search learns of it."""

    status: str
    point: search.Point
    objectives: tuple[float, ...] | None = None


def to_try(study: Study, ended: dict[str, Known]) -> Iterator[Trial | None]:
    """The trials that are not yet in ``ended``, by trial_id, one at a time; None where it depends on trials that have
    yet to be put there which one is next. Those of an adaptive search that failed are not tried again, so that it goes
    on as it went."""
    if not study.adaptive:
        yield from (trial for trial in study.trials if trial.trial_id not in ended)
    elif study.search.synchronous:
        yield from _by_batches(study, ended)
    else:
        yield from _as_they_end(study, ended)


def _by_batches(study: Study, ended: dict[str, Known]) -> Iterator[Trial | None]:
    tried: dict[str, Trial] = {}
    fruitless = 0  # proposals, since there was a new trial among them

    def outcome(point: search.Point) -> search.Outcome:
        trial = _trial(study, point)
        return ended[trial.trial_id].objectives if trial else None

    def new(points: list[search.Point]) -> int:
        nonlocal fruitless
        fitting = {trial.trial_id: trial for point in points if (trial := _trial(study, point))}
        found = len(fitting.keys() - tried.keys())
        tried.update(fitting)
        fruitless = 0 if found else fruitless + len(points)
        return found

    for points in search.batches(study.search, study.seed, study.spaces, outcome, new):
        batch = {trial.trial_id: trial for point in points if (trial := _trial(study, point))}
        yield from [trial for trial_id, trial in batch.items() if trial_id not in ended]
        while not batch.keys() <= ended.keys():
            yield None
        if len(tried) >= study.total or fruitless >= study.total:
            break
    yield from (trial for trial in _others(study, tried.keys()) if trial.trial_id not in ended)


def _as_they_end(study: Study, ended: dict[str, Known]) -> Iterator[Trial | None]:
    points = {trial_id: known.point for trial_id, known in ended.items()}
    asked, fruitless = len(points), 0
    while len(points) < study.total and fruitless < study.total:
        tried = [
            search.Tried(point, ended[id_].objectives) if id_ in ended else search.Tried(point, None, running=True)
            for id_, point in points.items()
        ]
        trial = _trial(study, search.propose(study.search, study.seed + asked, study.spaces, tried))
        asked += 1
        if trial is None or trial.trial_id in points:
            fruitless += 1
            continue
        fruitless = 0
        points[trial.trial_id] = trial.varied
        yield trial
    yield from _others(study, points.keys())


def _others(study: Study, tried: Iterable[str]) -> Iterator[Trial]:
    """What there is to try besides, where a sampler proposes nothing new any more: so many that there are
    `Study.total`, as far as they are found."""
    seen = set(tried)
    if len(seen) >= study.total:
        return
    for point in search.others(study.seed, study.spaces):
        trial = _trial(study, point)
        if trial and trial.trial_id not in seen:
            seen.add(trial.trial_id)
            yield trial
        if len(seen) >= study.total:
            return


def _trial(study: Study, point: search.Point) -> Trial | None:
    """The trial at a point, where settings fit each other there."""
    with contextlib.suppress(StudyError):
        return study.trial(point)
    return None


def keep_journal(study: Study, store: Store, ended: dict[str, Known]) -> None:
    """Puts what an adaptive search has learned into ``store`` as a journal of Optuna, for optuna-dashboard and whoever
    else would look at it. It is made anew from the results, and never read here."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with tempfile.TemporaryDirectory(prefix="metafa-") as folder:
        path = Path(folder) / JOURNAL
        tried = [search.Tried(known.point, known.objectives) for known in ended.values()]
        search.history(
            study.search, study.spaces, tried, storage=JournalStorage(JournalFileBackend(str(path))), name=study.name
        )
        store.put(JOURNAL, path.read_bytes())


def known_trials(rows: list[dict[str, Any]]) -> dict[str, Known]:
    """What rows of `trials` tell of those that have ended, in the order in which they were begun."""
    ordered = sorted(rows, key=lambda row: (row["started"] is not None, row["started"]))
    return {
        row["trial_id"]: Known(
            row["status"], json.loads(row["point"] or "{}"), row["objectives"] and tuple(row["objectives"])
        )
        for row in ordered
    }
