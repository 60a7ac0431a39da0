"""Many drivers on one study: begun, killed and stopped at random moments, and whoever compacts and reads beside them.

What each does with trials is seen from within: a `sitecustomize.py` on the path of every Python that a driver starts
notes in one file when an attempt at a trial begins and when its rows are published, and may give that driver another
clock: `time.time` and `time.time_ns` of all of Python, and `datetime.datetime.now` of metafa, are ahead by so many
seconds in it and in its workers. Clocks that only run forward are left alone, and so are files' times, which are of
whoever keeps the files.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from disturbances import METAFA, in_order, tables
from pyarrow import fs

from metafa.results import addresses
from metafa.results.columns import MEASUREMENTS
from metafa.results.statuses import FINAL
from metafa.results.store import Store
from metafa.results.tables import load, statuses

STUDY = """\
seeds = 2
[network]
hidden = [20]
rule = {{ choices = ["feedback_alignment", "backprop"] }}
[[phases]]
phase = "noise"
steps = {{ choices = {steps} }}
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
tasks = 10
[measure]
points = 5
tasks = 5
[resources]
checkpoint_seconds = 0.3
"""
HOOKS = """\
import datetime, functools, importlib.abc, importlib.machinery, os, sys, time, types


def note(what, trial_id):
    with open(os.environ["CROWD_LOG"], "a") as log:  # appended by one write
        log.write(f"{time.monotonic():.6f} {os.environ['CROWD_DRIVER']} {what} {trial_id}\\n")


def begun(resume):
    @functools.wraps(resume)
    def noted(store, partial):
        note("begun", partial.rpartition("/")[2])
        return resume(store, partial)
    return noted


def published(publish):
    @functools.wraps(publish)
    def noted(store, schema, row, *rest, **options):
        first = publish(store, schema, row, *rest, **options)
        note(row["status"] if first else "late", row["trial_id"])
        return first
    return noted


HOOKED = {"metafa.running.worker": ("checkpoint_to_resume", begun), "metafa.results.publishing": ("publish", published)}
AHEAD = float(os.environ.get("CROWD_CLOCK", 0))


class Wrong(datetime.datetime):
    @staticmethod
    def now(zone=None):
        return datetime.datetime.now(zone) + datetime.timedelta(seconds=AHEAD)

    fromtimestamp, fromisoformat = map(staticmethod, (datetime.datetime.fromtimestamp, datetime.datetime.fromisoformat))


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if not name.startswith("metafa."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def hooked(module):
            execute(module)
            if name in HOOKED:
                attribute, hook = HOOKED[name]
                setattr(module, attribute, hook(getattr(module, attribute)))
            if AHEAD and hasattr(module, "datetime"):
                module.datetime = types.SimpleNamespace(**{**vars(datetime), "datetime": Wrong})

        spec.loader.exec_module = hooked
        return spec


sys.meta_path.insert(0, Finder())
if AHEAD:
    clock, clock_ns = time.time, time.time_ns
    time.time = lambda: clock() + AHEAD
    time.time_ns = lambda: clock_ns() + int(AHEAD * 1e9)
"""


@dataclass
class Driver:
    """A `metafa run`, in a process group of its own. ``hurt``: when it was killed or stopped, by a clock of this
    machine that only runs forward."""

    number: int
    process: subprocess.Popen
    output: Path
    hurt: float | None = None
    by: str = "nothing"

    def kill(self, whole: bool = True) -> None:
        """Kills it, and, where ``whole``, at the same moment all that it has started."""
        self.hurt, self.by = time.monotonic(), "SIGKILL"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL) if whole else self.process.kill()

    def stop(self) -> None:
        self.hurt, self.by = time.monotonic(), "SIGTERM"
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()

    def wait(self, seconds: float = 240) -> str:
        """What it has printed, once it has ended."""
        self.process.wait(seconds)
        return self.output.read_text()


@dataclass(frozen=True)
class Event:
    """Something that an attempt at a trial has come to."""

    moment: float
    driver: int
    what: str
    trial_id: str


@dataclass
class Crowd:
    """Drivers on the study ``study`` in ``folder``, with results at ``address``."""

    folder: Path
    study: str
    address: str
    drivers: list[Driver] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def place(self) -> Store:
        return addresses.at(self.address if "://" in self.address else self.folder / self.address)

    def begin(self, ahead: float = 0.0, workers: int = 1) -> Driver:
        """A driver whose clock is ``ahead`` by so many seconds."""
        hooks = self.folder / "hooks"
        hooks.mkdir(exist_ok=True)
        (hooks / "sitecustomize.py").write_text(HOOKS)
        number = len(self.drivers)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(hooks), os.environ.get("PYTHONPATH")])),
            "CROWD_LOG": str(self.log),
            "CROWD_DRIVER": str(number),
            "CROWD_CLOCK": str(ahead),
        }
        command = [*METAFA, "run", self.study, "--results", self.address, "--workers", str(workers)]
        output = self.folder / f"driver{number}.txt"
        with output.open("w") as file:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        self.drivers.append(driver := Driver(number, process, output))
        return driver

    def events(self) -> list[Event]:
        """What attempts have come to by now, in its order."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        events = [Event(float(a), int(b), c, d) for a, b, c, d in map(str.split, lines)]
        return sorted(events, key=lambda event: event.moment)

    def begun(self, driver: Driver) -> int:
        """How many attempts of a driver have begun."""
        return sum(event.driver == driver.number and event.what == "begun" for event in self.events())

    def until(self, happens: Callable[[], bool], seconds: float = 120) -> None:
        """Waits for something that is to happen while drivers run."""
        deadline = time.monotonic() + seconds
        while not happens():
            assert time.monotonic() < deadline, [driver.output.read_text() for driver in self.drivers]
            time.sleep(0.05)

    def end(self) -> None:
        """Leaves nothing running."""
        for driver in self.drivers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.process.pid, signal.SIGKILL)
            driver.process.wait()


def attempts_again(crowd: Crowd) -> Counter[str]:
    """How many attempts there were at trials beyond the first, by what had ended the one before. Raises AssertionError
    where there is one beside an attempt of a driver that nobody has hurt by then, or after the trial was published."""
    before: dict[str, list[Event]] = {}
    found: Counter[str] = Counter()
    for event in crowd.events():
        past = before.setdefault(event.trial_id, [])
        if event.what == "begun":
            for other in past:
                assert other.what not in FINAL, f"{event} again, after {other}"
                driver = crowd.drivers[other.driver]
                assert (driver.hurt or math.inf) < event.moment, f"{event} while {other} went on"
            if past:
                found[crowd.drivers[past[-1].driver].by] += 1
        past.append(event)
    return found


@dataclass(frozen=True)
class Fate:
    """How a driver ends: so many seconds after it began so many attempts, killed with ``all`` that it started or the
    ``driver`` alone, or told to ``stop``."""

    attempts: int
    delay: float
    how: str


def _drawn(chance: random.Random) -> Fate:
    attempts = chance.randrange(5)
    return Fate(attempts, chance.uniform(0, 2 if attempts else 12), chance.choice(["all", "all", "driver", "stop"]))


def disturb(
    crowd: Crowd, undisturbed: Path, drivers: int, chance: random.Random, at_once: int = 3
) -> dict[str, object]:
    """Begins so many drivers, no more than ``at_once`` of them alive at a time, and kills or stops each at a random
    moment but for the last two and those that are through before; one has a clock that is an hour ahead. Beside them
    compactions begin and are killed, and readers look. Returns what there was of each. Raises AssertionError where a
    reader sees anything but rows of the undisturbed run, each once and for ever, where work is done twice that no
    killed or stopped driver had in hand, or where tables come out otherwise."""
    counts: Counter[str] = Counter()
    over = threading.Event()
    place = crowd.place
    wrong_clock, next_begin, left = chance.randrange(max(1, drivers // 2)), 0.0, 0
    fates: dict[int, Fate] = {}
    since: dict[int, float] = {}  # when each came to the attempt that it is given
    with ThreadPoolExecutor(3) as pool, _cleared(crowd, over):
        beside = [
            pool.submit(_load_again_and_again, place, undisturbed, over),
            pool.submit(_read_with_pandas, place, over),
            pool.submit(_compact_again_and_again, crowd, place, chance.random(), over),
        ]
        while True:
            alive = [driver for driver in crowd.drivers if driver.process.poll() is None]
            now = time.monotonic()
            if len(crowd.drivers) < drivers and len(alive) < at_once and now >= next_begin:
                number = len(crowd.drivers)
                driver = crowd.begin(ahead=3600.0 if number == wrong_clock else 0.0)
                next_begin = now + chance.uniform(0, 3)
                if number < drivers - 2:
                    fates[number] = _drawn(chance)
                if len(crowd.drivers) == drivers:
                    left = len(statuses(place))
            for driver in alive:
                fate = fates.get(driver.number)
                if driver.hurt is not None or fate is None:
                    continue
                if driver.number not in since and crowd.begun(driver) >= fate.attempts:
                    since[driver.number] = now
                if now >= since.get(driver.number, now) + fate.delay:
                    driver.stop() if fate.how == "stop" else driver.kill(whole=fate.how == "all")
            for one in beside:
                if one.done():
                    one.result()
            if len(crowd.drivers) >= drivers and not alive:
                break
            time.sleep(0.05)
        over.set()
        loads, readings, compactions = (one.result() for one in beside)
    for driver in crowd.drivers:
        status, said = driver.process.returncode, driver.output.read_text()
        if driver.by != "SIGKILL" or status >= 0:
            assert status == 0 or (driver.by == "SIGTERM" and status in (143, -15)), f"{driver} {status}: {said}"
            assert "Traceback" not in said, f"driver {driver.number}: {said}"
        ended = {"SIGKILL": "drivers killed", "SIGTERM": "drivers stopped by SIGTERM"}
        counts[ended[driver.by] if status else "drivers that came to their end"] += 1
    again = attempts_again(crowd)
    for one, other in zip(tables(place.opened), tables(undisturbed), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    _assert_once(place)
    events = crowd.events()
    return {
        "drivers begun": len(crowd.drivers),
        **counts,
        "trials done when the last was begun": left,
        "compactions begun": compactions["begun"],
        "compactions killed": compactions["killed"],
        "readings with metafa.load": loads,
        "readings with pandas": readings,
        "trials": len(tables(undisturbed)[0]),
        "attempts": sum(event.what == "begun" for event in events),
        **{f"attempts after {by} of a driver": number for by, number in sorted(again.items())},
        "attempts finished after another was published": sum(event.what == "late" for event in events),
        "the driver whose clock was an hour ahead": f"number {wrong_clock + 1}, {crowd.drivers[wrong_clock].by}",
    }


@contextlib.contextmanager
def _cleared(crowd: Crowd, over: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        over.set()
        crowd.end()


def _load_again_and_again(place: Store, undisturbed: Path, over: threading.Event) -> int:
    """Reads both tables until it is over, and returns how often: what was seen once is seen again, and all that is seen
    is as in the undisturbed run."""
    whole, seen, readings = tables(undisturbed), set[str](), 0
    while not over.is_set():
        if not place.exists("study.toml"):
            time.sleep(0.1)
            continue
        found = load(place.opened)
        ids = set(found.trials.get("trial_id", []))
        assert seen <= ids, f"{seen - ids} have been there"
        seen = ids
        if ids:
            for one, other in zip(in_order(found), whole, strict=True):
                same = other[other["trial_id"].isin(ids)].reset_index(drop=True)
                pd.testing.assert_frame_equal(one, same, check_exact=True, check_dtype=False)
        readings += 1
    return readings


def _assert_once(place: Store) -> int:
    """Reads both folders with pandas; returns 0 where a file went away meanwhile."""
    for table, keys in (("trials", ["trial_id"]), ("measurements", MEASUREMENTS.names[:-1])):
        try:
            found = pd.read_parquet(place.path(table), filesystem=place.filesystem)
        except (FileNotFoundError, OSError):
            return 0
        if len(found):
            twice = found[found.duplicated(keys)]
            assert twice.empty, f"twice in {table}: {twice}"
    return 1


def _read_with_pandas(place: Store, over: threading.Event) -> int:
    readings = 0
    while not over.is_set():
        if place.exists("study.toml"):
            readings += _assert_once(place)
        time.sleep(0.1)
    return readings


def _compact_again_and_again(crowd: Crowd, place: Store, seed: float, over: threading.Event) -> Counter[str]:
    """Begins compactions until it is over, and kills most of them: at a random moment, or when one has begun to put its
    parts there."""
    chance, counts = random.Random(seed), Counter[str]()
    while not over.wait(chance.uniform(0, 3)):
        if not place.exists("study.toml"):
            continue
        process = subprocess.Popen(
            [*METAFA, "compact", crowd.address],
            cwd=crowd.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        counts["begun"] += 1
        how, began, moment = chance.choice(["left", "moment", "parts"]), time.monotonic(), chance.uniform(0, 6)
        while process.poll() is None:
            late = how == "moment" and time.monotonic() > began + moment
            if late or (how == "parts" and _compacting(place)):
                process.kill()
                counts["killed"] += 1
                break
            time.sleep(0.01)
        said = process.communicate()[1].decode()
        assert process.returncode in (0, -9), said
    return counts


def _compacting(place: Store) -> bool:
    names: list[Any] = place.names("measurements")
    return any(name.startswith(".compact-") for name in names)


@contextlib.contextmanager
def an_object_store() -> Iterator[str]:
    """An S3-compatible server on loopback with an empty bucket: an address in it, but for a folder's name. It answers
    one request at a time: of two puts at once that are to be where there is no file, moto would do both."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # which prints every request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    web, one_at_a_time = server._server, threading.Lock()
    assert web is not None
    app = web.app

    def answer(environment: dict[str, Any], start_response: Any) -> Any:
        with one_at_a_time:
            return app(environment, start_response)

    web.app = answer
    host = ":".join(map(str, server.get_host_and_port()))
    options = dict(access_key="key", secret_key="secret", endpoint_override=host, scheme="http")
    fs.S3FileSystem(**options, region="us-east-1", allow_bucket_creation=True).create_dir("bucket")
    try:
        yield f"s3://key:secret@bucket/{{}}?scheme=http&region=us-east-1&endpoint_override={host}"
    finally:
        server.stop()
