"""Several drivers on one study: which of its trials this one runs, and what came of those that others have run."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from metafa import leases, results
from metafa.leases import Driver
from metafa.proposals import Known, known_trials
from metafa.search import Point
from metafa.study import Study, Trial

LOOK_EVERY = 1.0  # seconds, at most, between two looks at what the others have done, where nothing else is to do


@dataclass
class Share:
    """One driver's share of a study. ``ended``: how trials ended, to which it adds what others publish; ``failed``: of
    trials that had failed before, when those attempts began, so that they are told from later ones; ``news`` is called
    with what others have brought to an end."""

    driver: Driver
    study: Study
    ended: dict[str, Known]
    failed: Mapping[str, Any]
    news: Callable[[dict[str, Known]], None] = lambda ended: None
    held: dict[str, Point] = field(default_factory=dict)
    _looked: float = 0.0

    def take(self, trial: Trial) -> bool:
        """Takes a trial that nobody else runs, and says whether it did; one that has ended meanwhile is then known."""
        self.look(LOOK_EVERY)
        if trial.trial_id in self.ended:
            return False
        name = leases.of_trial(trial.trial_id)
        if not self.driver.take(name, note=json.dumps(trial.varied)):
            return False
        self.held[trial.trial_id] = trial.varied
        if self._learn(results.rows_of(self.driver.store, [trial.trial_id])):  # since it was looked for last
            self.done(trial.trial_id)
            return False
        return True

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
        """Learns what others have published, unless that was done less than ``every`` seconds ago."""
        if time.monotonic() - self._looked < every:
            return
        self._learn(results.rows_of(self.driver.store, but=self.ended.keys() | self.held.keys()))
        self._looked = time.monotonic()

    def _learn(self, rows: list[dict[str, Any]]) -> bool:
        """Adds rows of `trials` to what is known, but for failures of before, and says whether there were any."""
        known = known_trials(
            [row for row in rows if row["status"] != "failed" or row["started"] != self.failed.get(row["trial_id"])]
        )
        self.ended.update(known)
        self.news(known)
        return bool(known)

    def running(self) -> dict[str, Point]:
        """The points of the trials that have been taken and have not ended, by anyone, by trial_id."""
        points = {}
        for name, number in self.driver.numbers().items():
            trial_id = name.removeprefix(leases.of_trial(""))
            if trial_id != name and trial_id not in self.ended:
                with contextlib.suppress(ValueError):
                    if note := self.driver.note(name, number):
                        points[trial_id] = json.loads(note)
        return points | self.held

    @contextlib.contextmanager
    def proposing(self) -> Iterator[None]:
        """Within it nobody else proposes trials, and what the others have done is known."""
        with self.driver.holding(leases.PROPOSING):
            self.look()
            yield
