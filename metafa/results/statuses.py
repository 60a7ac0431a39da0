"""How a trial can end, and what follows from each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Status:
    """One way in which a trial ends."""

    meaning: str
    final: bool
    """Whether the trial is published as it is. One that is not final is tried again, except in an adaptive search."""
    analysed: bool
    """Whether its measurements are part of analyses."""


STATUSES = {
    "done": Status("every phase was computed", final=True, analysed=True),
    "diverged": Status("at least one seed diverged, as `divergences` say", final=True, analysed=True),
    "stopped": Status("early stopping stopped it", final=True, analysed=False),
    "failed": Status("it raised an error, or its process died", final=False, analysed=False),
}
"""By what the column `status` says."""
FINAL = tuple(name for name, status in STATUSES.items() if status.final)
ANALYSED = tuple(name for name, status in STATUSES.items() if status.analysed)
