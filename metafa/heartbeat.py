"""What the driver of a study that runs says of how far it is, every few seconds, for whoever asks from elsewhere."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from metafa.store import Store

FILE = "progress.json"  # in the results
EVERY = 5.0  # seconds
GONE_AFTER = 12 * EVERY  # a driver that has been silent for so long is taken for gone


class Heartbeat(BaseModel):
    """The last that a driver said."""

    model_config = ConfigDict(frozen=True)

    written: AwareDatetime
    """When, by the driver's clock."""
    host: str
    """The machine that it runs on."""
    summary: str
    """How far the study is, in a line."""
    running: dict[str, Annotated[float, Field(ge=0, le=1)]]
    """Of each trial that runs, by its trial_id, the fraction that is done."""
    ended: bool = False
    """Whether it was the driver's last word."""

    def silent(self, now: datetime.datetime) -> datetime.timedelta:
        """How long ago it was said; a driver's clock may be a little ahead of ours."""
        return max(now - self.written, datetime.timedelta(0))

    def ahead(self, now: datetime.datetime) -> bool:
        """Whether the driver's clock is so far ahead of ours that neither tells whether it still runs."""
        return (self.written - now).total_seconds() > GONE_AFTER

    def alive(self, now: datetime.datetime) -> bool:
        """Whether its driver still runs, as far as can be told."""
        return not self.ended and self.silent(now).total_seconds() < GONE_AFTER

    def sentence(self, now: datetime.datetime) -> str:
        """What was said and when, and, where its driver has stopped before the study was done, what to do."""
        silent = ago(self.silent(now))
        if self.ahead(now) and not self.ended:
            by = ago(self.written - now).removesuffix(" ago")
            silent = f"by a clock that is {by} ahead of this one, so that it cannot be told whether it still runs"
        said = f"{self.host}, {silent}: {self.summary}"
        if self.alive(now):
            return said
        if self.ended:
            return f"{said}; it was stopped then, and the same command continues"
        return f"{said}; nothing since, so it is probably gone, and the same command continues"


def read(store: Store) -> Heartbeat | None:
    """The last heartbeat in ``store``; None where there is none that this version of metafa can read."""
    try:
        return Heartbeat.model_validate_json(store.read(FILE))
    except (OSError, ValidationError):
        return None


def ago(silent: datetime.timedelta) -> str:
    """A time since then in words, such as ``2 days, 3 h ago``."""
    seconds = int(silent.total_seconds())
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if seconds < 2:
        return "just now"
    if seconds < 60:
        return f"{seconds} s ago"
    if seconds < 3600:
        return f"{minutes} min ago"
    if not days:
        return f"{hours} h, {minutes} min ago" if minutes else f"{hours} h ago"
    said = "1 day" if days == 1 else f"{days} days"
    return f"{said}, {hours} h ago" if hours else f"{said} ago"
