"""What a running study tells those who follow it, and how a trial ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from metafa.studies.search import Point
from metafa.studies.trial import Trial


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended.

    status: as in the column `status` of `trials`.
    point: where in the search space it is.
    objectives: what an adaptive search learns of it; None where there is nothing to learn.
    error: what went wrong, in a line.
    final: the metric that the trial comes to, and its value; None where it is not known, or nothing was measured.
    """

    status: str
    point: Point
    objectives: tuple[float, ...] | None = None
    error: str | None = None
    final: tuple[str, float] | None = None


def finished_trials(rows: Iterable[Mapping[str, Any]]) -> dict[str, FinishedTrial]:
    """The trials that rows of `trials` are of, by trial_id, in the order in which they were begun."""
    ordered = sorted(rows, key=lambda row: (row["started"] is not None, row["started"]))
    return {
        row["trial_id"]: FinishedTrial(
            row["status"], json.loads(row["point"] or "{}"), row["objectives"] and tuple(row["objectives"])
        )
        for row in ordered
    }


class StudyObserver(Protocol):
    """Whoever follows a study while it runs, as `metafa.running.progress.LiveProgress` does."""

    def resources(self, cpus: float, gpus: float) -> None:
        """The cluster has this many CPUs and GPUs to run trials on."""

    def progressed(self, trial: Trial, fraction: float) -> None:
        """``fraction`` of a running trial is done."""

    def finished(self, trial: Trial, ended: FinishedTrial) -> None:
        """A trial has ended."""

    def waits(self) -> None:
        """Other runs have taken all that is left."""
