"""What a study run tells whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from metafa.studies.study import Trial


@dataclass(frozen=True)
class Ended:
    """How a trial ended: its status, its error in a line, what it comes to, and what a search learns of it."""

    status: str
    error: str | None = None
    final: tuple[str, float] | None = None
    objectives: tuple[float, ...] | None = None


class Watcher(Protocol):
    """Whoever watches a study run."""

    def resources(self, cpus: float, gpus: float) -> None:
        """What there is to run trials on."""

    def progressed(self, trial: Trial, fraction: float) -> None:
        """``fraction`` of a running trial is done."""

    def finished(self, trial: Trial, ended: Ended) -> None:
        """A trial has ended."""

    def waits(self) -> None:
        """Other runs have taken all that is left."""
