"""What each driver of a study says every few seconds of how far it is, for the others and for whoever asks."""

from __future__ import annotations

import datetime
import os
import platform
import re
import time
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from metafa.results.store import Store

FOLDER = "drivers"  # in the results, a file a driver
TOKEN = re.compile(r"[0-9a-f]{32}")  # its name
BYTES = 2**20  # at most
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

    def here(self) -> bool:
        """Whether it is one of this machine's."""
        return bool(self.table) and self.table == _table()

    def gone(self) -> bool:
        """Whether it is known that it runs no more."""
        if not self.here():
            return False
        try:
            os.kill(self.number, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # it is another user's
            pass
        started = _started(self.number)
        return started is not None and started != self.started


@cache
def _table() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""


def _started(process: int) -> int | None:
    """When a process of this machine started; -1 of one that has ended; None where that cannot be seen, as some
    machines show each user's processes to nobody else."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return -1 if state in "ZX" else int(fields[18])
    except (OSError, ValueError, IndexError):
        return None


def this_process() -> Process:
    return Process(table=_table(), number=os.getpid(), started=_started(os.getpid()) or 0)


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

    def fresh(self, now: datetime.datetime) -> bool:
        """Whether it was said lately, if the driver's clock and ours agree."""
        return abs((now - self.written).total_seconds()) < GONE_AFTER

    def sentence(self, now: datetime.datetime, alive: bool) -> str:
        """Who said what, and when; and, of a driver that is not ``alive`` any more, what to do."""
        said = f"{self._who(now, alive)}: {self.summary}"
        if alive:
            return said
        if self.ended:
            return f"{said}; it was stopped then, and the same command continues"
        return f"{said}; nothing since, so it is gone, and the same command continues"

    def work(self, now: datetime.datetime) -> str:
        """What a driver does that is one of several at work."""
        number = len(self.running)
        doing = f"{number} {'trial' if number == 1 else 'trials'} running" if number else self.summary
        return f"{self._who(now, alive=True)}: {doing}"

    def _who(self, now: datetime.datetime, alive: bool) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"{self.host}{job}, {self._when(now, alive)}"

    def _when(self, now: datetime.datetime, alive: bool) -> str:
        if alive and not self.fresh(now) and not self.process.here():
            by, side = abs(now - self.written), "ahead of" if self.written > now else "behind"
            return f"just now, by a clock that is {ago(by).removesuffix(' ago')} {side} this one"
        return ago(self.silent(now))


def look(store: Store) -> list[tuple[Heartbeat, bool]]:
    """The last heartbeat of each driver, and whether it is still at work, those that are first. A clock cannot tell
    that: of what seems old, or to come from the future, a second look tells whether it changes, and takes some seconds
    where its process is on another machine."""
    now = datetime.datetime.now(datetime.UTC)
    first = every(store)
    alive = {
        beat.token: not beat.ended and not beat.process.gone() and (beat.fresh(now) or beat.process.here())
        for beat in first
    }
    if unsure := [beat for beat in first if not alive[beat.token] and not beat.ended and not beat.process.gone()]:
        time.sleep(EVERY + 1)
        again = {beat.token: beat for beat in every(store)}
        for beat in unsure:
            alive[beat.token] = beat.token in again and again[beat.token].beat != beat.beat
        first = [again.get(beat.token, beat) for beat in first]
    return sorted(((beat, alive[beat.token]) for beat in first), key=lambda found: (not found[1], found[0].host))


def sentences(found: list[tuple[Heartbeat, bool]], now: datetime.datetime) -> list[str]:
    """Of those drivers that are at work, what each does; where none is, of the last what it said: how far they came.
    ``found``: as of `look`."""
    working = [beat for beat, alive in found if alive]
    if len(working) > 1:
        return [beat.work(now) for beat in working]
    last = sorted((beat for beat, _ in found), key=lambda beat: beat.written)[-1:]
    return [beat.sentence(now, alive=bool(working)) for beat in working or last]


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
            beat = parse(store.read(f"{FOLDER}/{token}.json", BYTES))
        except OSError:  # removed meanwhile
            continue
        if beat is not None:
            found.append(beat.model_copy(update={"token": token}))
    return found


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
