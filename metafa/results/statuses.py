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
    colour: str
    """In which a terminal shows it."""


STATUSES = {
    "done": Status("every phase was computed", final=True, analysed=True, colour="green"),
    "diverged": Status("at least one seed diverged, as `divergences` say", final=True, analysed=True, colour="yellow"),
    "stopped": Status("early stopping stopped it", final=True, analysed=False, colour="cyan"),
    "failed": Status("it raised an error, or its process died", final=False, analysed=False, colour="red"),
}
"""By their names, as in the column `status` of `trials`."""
FINAL = tuple(name for name, status in STATUSES.items() if status.final)
ANALYSED = tuple(name for name, status in STATUSES.items() if status.analysed)
