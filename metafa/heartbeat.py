"""What each driver of a study says every few seconds of how far it is, for the others and for whoever asks."""

from __future__ import annotations

import datetime
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from metafa.store import Store

FOLDER = "drivers"  # in the results, a file a driver
TOKEN = re.compile(r"[0-9a-f]{32}")  # its name
EVERY = 5.0  # seconds
GONE_AFTER = 12 * EVERY  # a driver that has been silent for so long is taken for gone


class Process(BaseModel):
    """A process, as others on the same machine find it."""

    model_config = ConfigDict(frozen=True)

    table: str = ""
    """Which machine's processes it is one of: its boot, and the namespace; empty where that is not known."""
    number: int = 0
    started: int = 0
    """When, in ticks since the boot: numbers are used again."""

    def gone(self) -> bool:
        """Whether it is known that it runs no more."""
        return bool(self.table) and self.table == _table() and _started(self.number) != self.started


@cache
def _table() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""


def _started(process: int) -> int:
    """When a process of this machine started; 0 of one that is gone."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    except (OSError, ValueError, IndexError):
        return 0


def this_process() -> Process:
    return Process(table=_table(), number=os.getpid(), started=_started(os.getpid()) if _table() else 0)


class Heartbeat(BaseModel):
    """The last that a driver said."""

    model_config = ConfigDict(frozen=True)

    written: AwareDatetime
    """When, by the driver's clock."""
    host: str
    """The machine that it runs on."""
    process: Process = Process()
    token: str = ""
    """The driver's, by which leases say that they are its."""
    job: str = ""
    """What the cluster calls the job that it is, such as 4711_3 of a SLURM array; empty where none is known."""
    beat: int = 0
    """How many it has said before, so that each differs from the last whatever the clock does."""
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


def now(summary: str, running: dict[str, float] | None = None) -> Heartbeat:
    """What this process says now."""
    return Heartbeat(
        written=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
        host=platform.node(),
        process=this_process(),
        job=_job(),
        summary=summary,
        running=running or {},
    )


def _job() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def tokens(store: Store) -> list[str]:
    """Of all drivers that have left a heartbeat."""
    return [name[:-5] for name in store.names(FOLDER) if name.endswith(".json") and TOKEN.fullmatch(name[:-5])]


def parse(content: bytes) -> Heartbeat | None:
    """A heartbeat; None where this version of metafa cannot read it."""
    try:
        return Heartbeat.model_validate_json(content)
    except ValidationError:
        return None


def every(store: Store) -> list[Heartbeat]:
    """The last heartbeat of each driver, of those that can be read."""
    found = []
    for token in tokens(store):
        try:
            found.append(parse(store.read(f"{FOLDER}/{token}.json")))
        except OSError:  # removed meanwhile
            continue
    return [beat for beat in found if beat is not None]


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
