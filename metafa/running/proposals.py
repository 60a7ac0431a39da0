"""Which trials of a study are to be run next, given how others ended."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from metafa.errors import StudyError
from metafa.results.store import Store
from metafa.running.events import FinishedTrial
from metafa.studies import search
from metafa.studies.study import Study
from metafa.studies.trial import Trial

JOURNAL = "optuna.journal"


class Shared(Protocol):
    """What a driver knows of the others on the same study, as `metafa.running.sharing.Share` does."""

    def take(self, trial: Trial) -> bool:
        """Takes a trial that nobody else runs, and says whether it did."""

    def running(self) -> dict[str, search.Point]:
        """The points of the trials that have been taken and have not ended, by anyone, by trial_id; brings up to date
        which have ended."""

    def proposing(self) -> contextlib.AbstractContextManager[None]:
        """Within it nobody else proposes trials."""


def to_try(study: Study, ended: dict[str, FinishedTrial], shared: Shared) -> Iterator[Trial | None]:
    """Yields the trials that are not in ``ended``, one at a time, each of them taken from those that are ``shared``.
    Yields None while the next trial depends on some that have yet to end, or that other drivers run. Failed trials of
    an adaptive search are not tried again, so that it goes on as it went."""
    if not study.adaptive:
        yield from _taken(study.trials, ended, shared)
    elif study.search.synchronous:
        yield from _by_batches(study, ended, shared)
    else:
        yield from _as_they_end(study, ended, shared)


def _taken(trials: Iterable[Trial], ended: dict[str, FinishedTrial], shared: Shared) -> Iterator[Trial | None]:
    """Those of these trials that nobody else runs, until each of the others has ended."""
    left = [trial for trial in trials if trial.trial_id not in ended]
    while left:
        others = []
        for trial in left:
            if trial.trial_id not in ended:
                if shared.take(trial):
                    yield trial
                else:
                    others.append(trial)
        left = [trial for trial in others if trial.trial_id not in ended]
        if left:
            yield None


def _by_batches(study: Study, ended: dict[str, FinishedTrial], shared: Shared) -> Iterator[Trial | None]:
    tried: dict[str, Trial] = {}
    fruitless = 0  # proposals, since there was a new trial among them

    def outcome(point: search.Point) -> search.Outcome:
        trial = trial_at(study, point)
        return ended[trial.trial_id].objectives if trial else None

    def new(points: list[search.Point]) -> int:
        nonlocal fruitless
        fitting = {trial.trial_id: trial for point in points if (trial := trial_at(study, point))}
        number = len(fitting.keys() - tried.keys())
        tried.update(fitting)
        fruitless = 0 if number else fruitless + len(points)
        return number

    for points in search.batches(study.search, study.seed, study.spaces, outcome, new):
        batch = {trial.trial_id: trial for point in points if (trial := trial_at(study, point))}
        yield from _taken(batch.values(), ended, shared)
        while not batch.keys() <= ended.keys():
            yield None
        if len(tried) >= study.total or fruitless >= study.total:
            break
    yield from _taken(_others(study, tried.keys()), ended, shared)


def _as_they_end(study: Study, ended: dict[str, FinishedTrial], shared: Shared) -> Iterator[Trial | None]:
    asked, ours = len(ended), set[str]()
    while True:
        with shared.proposing():  # so that all together try no more than there are to be
            running = shared.running()  # first, since it brings `ended` up to date
            known = {trial_id: trial.point for trial_id, trial in ended.items()} | running
            # those of a driver that is gone come first
            trial = next(_abandoned(study, ended, known, shared), None)
            if trial is None and len(known) < study.total:
                trial, asked = _proposed(study, ended, known, asked)
                if trial is not None and not shared.take(trial):
                    continue
        if trial is not None:
            ours.add(trial.trial_id)
            yield trial
        elif known.keys() <= ended.keys() | ours:  # those of others may yet be abandoned
            return
        else:
            yield None


def _abandoned(
    study: Study, ended: dict[str, FinishedTrial], known: dict[str, search.Point], shared: Shared
) -> Iterator[Trial]:
    for trial_id in known.keys() - ended.keys():
        trial = trial_at(study, known[trial_id])
        if trial is not None and shared.take(trial):
            yield trial


def _proposed(
    study: Study, ended: dict[str, FinishedTrial], known: dict[str, search.Point], asked: int
) -> tuple[Trial | None, int]:
    """What is to be tried next besides what is ``known``, and how many proposals were asked for by then."""
    tried = [
        search.Tried(point, ended[id_].objectives) if id_ in ended else search.Tried(point, None, running=True)
        for id_, point in known.items()
    ]
    for _ in range(study.total):
        trial = trial_at(study, search.propose(study.search, study.seed + asked, study.spaces, tried))
        asked += 1
        if trial is not None and trial.trial_id not in known:
            return trial, asked
    return next(_others(study, known.keys()), None), asked


def _others(study: Study, tried: Iterable[str]) -> Iterator[Trial]:
    """What there is to try besides, where a sampler proposes nothing new any more: so many that there are
    `Study.total`, as far as they are found."""
    seen = set(tried)
    if len(seen) >= study.total:
        return
    for point in search.others(study.seed, study.spaces):
        trial = trial_at(study, point)
        if trial and trial.trial_id not in seen:
            seen.add(trial.trial_id)
            yield trial
        if len(seen) >= study.total:
            return


def trial_at(study: Study, point: search.Point) -> Trial | None:
    """The trial at a point, where settings fit each other there."""
    with contextlib.suppress(StudyError):
        return study.trial(point)
    return None


def keep_journal(study: Study, store: Store, ended: dict[str, FinishedTrial]) -> None:
    """Puts what an adaptive search has learned into ``store`` as a journal of Optuna, for optuna-dashboard and whoever
    else would look at it. It is made anew from the results, and never read here."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with tempfile.TemporaryDirectory(prefix="metafa-") as folder:
        path = Path(folder) / JOURNAL
        tried = [search.Tried(trial.point, trial.objectives) for trial in ended.values()]
        search.history(
            study.search, study.spaces, tried, storage=JournalStorage(JournalFileBackend(str(path))), name=study.name
        )
        store.put(JOURNAL, path.read_bytes())
