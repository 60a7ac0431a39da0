"""Several drivers on one study: which of its trials this one runs, and what came of those that others have run."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from metafa.results import damage, leases, tables
from metafa.results.leases import Driver
from metafa.running.events import FinishedTrial, finished_trials
from metafa.running.proposals import trial_at
from metafa.studies.search import Point
from metafa.studies.study import Study
from metafa.studies.trial import Trial

LOOK_EVERY = 1.0  # seconds, at most, between two looks at what the others have done, where nothing else is to do


@dataclass
class Share:
    """One driver's share of a study. ``ended``: how trials ended, to which it adds what others publish; ``failed``: of
    trials that had failed before, when those attempts began, so that they are told from later ones; ``news`` is called
    with what others have brought to an end."""

    driver: Driver
    study: Study
    ended: dict[str, FinishedTrial]
    failed: Mapping[str, Any]
    news: Callable[[dict[str, FinishedTrial]], None] = lambda ended: None
    held: dict[str, Point] = field(default_factory=dict)
    _looked: float = 0.0
    _among_others: bool = True
    _busy: frozenset[str] = frozenset()
    """The trials that others ran when it looked."""
    _compactions: int | None = None
    """The number of the lease by which parts are compacted, as `ended` knows them; None where that was held then."""

    def take(self, trial: Trial) -> bool:
        """Takes a trial that nobody else runs, and says whether it did; one that has ended meanwhile is then known."""
        with contextlib.suppress(OSError):  # there will be another look
            self.look(LOOK_EVERY)
        if trial.trial_id in self.ended or trial.trial_id in self._busy:
            return False
        try:
            name = leases.of_trial(trial.trial_id)
            taken = self.driver.take(name, note=json.dumps(trial.varied))
            # it may be, without this driver having been told, where an answer of the store was lost
            if not taken and (trial.trial_id in self.held or not self.driver.holds(name)):
                return False
            self.held[trial.trial_id] = trial.varied
            if self._has_ended(trial.trial_id):  # since it was looked for last
                self.done(trial.trial_id)
                return False
        except OSError as error:
            raise damage.unwritten(self.driver.store, damage.reason(error)) from error
        return True

    def _has_ended(self, trial_id: str) -> bool:
        store = self.driver.store
        if self._compactions is None or self.driver.numbers().get(leases.UPKEEP, 0) != self._compactions:
            self.look()
            return trial_id in self.ended or self._learn(tables.rows_of(store, [trial_id]))
        if any(
            store.exists(name) for name in (f"measurements/{trial_id}.parquet", f"trials/failed-{trial_id}.parquet")
        ):
            return self._learn(tables.rows_of(store, [trial_id]))
        return False

    def done(self, trial_id: str) -> None:
        """A trial that was taken has its row."""
        if self.held.pop(trial_id, None) is not None:
            self.driver.end(leases.of_trial(trial_id))

    def give_back(self) -> None:
        """Lets others run what was taken and has not ended."""
        for trial_id in list(self.held):
            with contextlib.suppress(OSError):
                self.driver.give_back(leases.of_trial(trial_id))
            del self.held[trial_id]

    def look(self, every: float = 0.0) -> None:
        """Learns what others have published; where ``every`` is given, not if that was done less than so many seconds
        ago, nor if there are no others."""
        if every and time.monotonic() - self._looked < every:
            return
        others = self.driver.others()
        if not every or others or self._among_others:
            number, held = self.driver.numbers().get(leases.UPKEEP, 0), self.driver.held()
            self._busy = frozenset(
                name.removeprefix(leases.of_trial("")) for name, (holder, _) in held.items() if holder in others
            )
            self._learn(tables.rows_of(self.driver.store, but=self.ended.keys() | self.held.keys()))
            self._compactions = None if leases.UPKEEP in held else number
        self._looked, self._among_others = time.monotonic(), bool(others)

    def _learn(self, rows: list[dict[str, Any]]) -> bool:
        """Adds rows of `trials` to what is known, but for failures of before, and says whether there were any."""
        known = finished_trials([row for row in rows if row["status"] != "failed" or not self._failed_before(row)])
        self.ended.update(known)
        # of a study that has grown meanwhile there may be others
        ours = self._ours
        self.news(known if ours is None else {trial_id: trial for trial_id, trial in known.items() if trial_id in ours})
        return bool(known)

    @cached_property
    def _ours(self) -> frozenset[str] | None:
        return None if self.study.adaptive else frozenset(trial.trial_id for trial in self.study.trials)

    def _failed_before(self, row: Mapping[str, Any]) -> bool:
        return row["trial_id"] in self.failed and row["started"] == self.failed[row["trial_id"]]

    def running(self) -> dict[str, Point]:
        """The points of the trials that have been taken and have not ended, by anyone, by trial_id; then `ended` is up
        to date."""
        points = dict(self.held)
        for name, (_, note) in self.driver.held().items():
            with contextlib.suppress(ValueError, RecursionError, AttributeError):
                trial = trial_at(self.study, json.loads(note or "null"))
                if trial is not None and name == leases.of_trial(trial.trial_id):  # and not what another version left
                    points[trial.trial_id] = trial.varied
        self.look()  # after that, so that one that ends meanwhile is known to have ended
        return {trial_id: point for trial_id, point in points.items() if trial_id not in self.ended}

    @contextlib.contextmanager
    def proposing(self) -> Iterator[None]:
        """Within it nobody else proposes trials."""
        with self.driver.holding(leases.PROPOSING):
            yield
