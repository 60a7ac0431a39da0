"""How far a study is: read from its results, from any machine, while it runs and after."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from metafa.results import continuing, heartbeat, preparation
from metafa.results.columns import CONTINUED
from metafa.results.heartbeat import Heartbeat
from metafa.results.statuses import STATUSES
from metafa.results.store import Store
from metafa.results.tables import trial_rows
from metafa.running.events import finished_trials
from metafa.studies.earlier import in_words
from metafa.studies.search import Point
from metafa.studies.settings import NUMERICS
from metafa.studies.study import Study

SHOWN_TRIALS = 40  # all are in the table; of more, those that run or have failed


@dataclass(frozen=True)
class Overview:
    """How far a study is.

    statuses: of the trials that have ended, by trial_id, and points: of all that are known, what the study varies.
    running: of those that run, how much of each is done, and the last word of the driver that runs it.
    earlier: of which earlier version results are, one that knows trials by other ids, in words; empty where of none.
    drivers: what the drivers said last, in sentences.
    """

    study: Study
    statuses: Mapping[str, str]
    points: Mapping[str, Point]
    running: Mapping[str, tuple[float, Heartbeat]]
    earlier: str
    drivers: tuple[str, ...]

    @property
    def left(self) -> int:
        """How many trials have yet to end."""
        return self.study.total - len(self.statuses)


def read(store: Store) -> Overview:
    """Raises `ResultsError` where there are no results of a study."""
    study = preparation.read_study(store)
    rows = trial_rows(store, CONTINUED)
    study = study.over(study.digests | continuing.digests_of(rows))
    finished = finished_trials(rows)
    drivers, now = heartbeat.look(store), datetime.datetime.now(datetime.UTC)
    earlier = f"in which {in_words(study.renamed)}" if study.renamed else ""
    earlier = "with other numerics" if any(row["numerics"] != NUMERICS for row in rows) else earlier
    points = {trial_id: trial.point for trial_id, trial in finished.items()}
    points |= {} if earlier else {trial.trial_id: trial.varied for trial in study.trials}
    return Overview(
        study,
        {trial_id: trial.status for trial_id, trial in finished.items()},
        points,
        {trial_id: (part, beat) for beat, alive in drivers if alive for trial_id, part in beat.running.items()},
        earlier,
        tuple(heartbeat.sentences(drivers, now)),
    )


def table(known: Overview) -> Table:
    """The trials of a study and how far each is; of more than a screen holds, those that run or have failed."""
    names = list(known.study.spaces)
    rows = Table("trial", "status", *names, title=known.study.name, title_justify="left")
    for trial_id, point in known.points.items():
        status = known.statuses.get(trial_id, "to do")
        if len(known.points) > SHOWN_TRIALS and trial_id not in known.running and status != "failed":
            continue
        if trial_id in known.running and trial_id not in known.statuses:
            part, beat = known.running[trial_id]
            status = f"running, {part:.0%}, {beat.host}" + (f" job {beat.job}" if beat.job else "")
        styled = Text(status, STATUSES[status].colour if status in STATUSES else "")
        rows.add_row(trial_id, styled, *(str(point.get(name, "")) for name in names))
    return rows


def counted(statuses: Iterable[str]) -> dict[str, int]:
    """How many there are of each status, also of those that there are none of."""
    counts = Counter(statuses)
    return {name: counts[name] for name in STATUSES}
