"""Who does what on one study, told by files beside its results: no server, and nobody's clock.

A *lease* is a name, such as a trial's, and a chain of files ``leases/NAME.1``, ``NAME.2``, ...: the one of the highest
number says by which driver it is held, or, where it is empty, by none. To take it, to take it over and to give it back
are each to create the next file, so that of several who try one succeeds.

A driver renews all that it holds at once, by its heartbeat. Who has seen that stand still for `GONE_AFTER` seconds, by
a clock of its own that only runs forward, takes its holder for gone; so does, at once, whoever sees on the same machine
that its process is. Both may be wrong of a driver that has been suspended: then work is done twice, and the results are
those that are published first.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from metafa.results import heartbeat
from metafa.results.heartbeat import BYTES, EVERY, GONE_AFTER, Heartbeat
from metafa.results.sealing import digest
from metafa.results.store import Store

FOLDER = "leases"
UPKEEP = "upkeep"  # of the files of the results
PROPOSING = "proposing"  # of an asynchronous search
NAME = re.compile(r"([a-z]+(?:-[0-9a-f]{16})?)\.([1-9][0-9]{0,8})")
POLL, LONGEST_POLL = 0.1, 2.0  # seconds, between two looks at a lease that another holds: longer and longer
READERS = 8  # of files at a time


def of_trial(trial_id: str) -> str:
    """The name of a trial's lease."""
    return f"trial-{trial_id}"


@dataclass(frozen=True)
class Driver:
    """This process as one of those that work on the results in ``store``."""

    store: Store
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _seen: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    """Of each driver a digest of the heartbeat seen last, and when it was first seen, by a clock that runs forward."""

    def numbers(self) -> dict[str, int]:
        """The highest number of each lease."""
        found: dict[str, int] = {}
        for match in filter(None, map(NAME.fullmatch, self.store.names(FOLDER))):
            found[match[1]] = max(int(match[2]), found.get(match[1], 0))
        return found

    def _said(self, name: str, number: int) -> tuple[str, str]:
        """The token and the note in a lease's file of this number, each empty where there is none."""
        with contextlib.suppress(FileNotFoundError):
            holder, _, note = (
                self.store.read(f"{FOLDER}/{name}.{number}", BYTES).decode(errors="replace").partition("\n")
            )
            return holder, note
        return "", ""

    def holder(self, name: str, number: int) -> str:
        """The token of the driver that a lease's file of this number says; empty where it says none, or is gone."""
        return self._said(name, number)[0]

    def take(self, name: str, note: str = "") -> bool:
        """Takes a lease that nobody holds, or whose holder is gone, with a ``note`` for the others, and says whether it
        did. Raises OSError, also where something that is no lease has its name."""
        number = self.numbers().get(name, 0)
        holder = self.holder(name, number) if number else ""
        if holder and self.alive(holder):
            return False
        file = f"{name}.{number + 1}"
        if not NAME.fullmatch(file):
            raise OSError(errno.EINVAL, "it is no lease of metafa", f"{FOLDER}/{name}.{number}")
        if not self.store.create(f"{FOLDER}/{file}", f"{self.token}\n{note}".encode()):
            if self.numbers().get(name, 0) <= number:  # what is there is no file, which is said by reading it
                self.store.read(f"{FOLDER}/{file}", BYTES)
            return False
        return self.numbers().get(name) == number + 1  # what it was held by may have been removed meanwhile

    def holds(self, name: str) -> bool:
        """Whether the lease is this driver's: it may have been taken over."""
        number = self.numbers().get(name, 0)
        return number > 0 and self.holder(name, number) == self.token

    def give_back(self, name: str) -> None:
        """Lets others take the lease, if it is still held."""
        number = self.numbers().get(name, 0)
        if number and self.holder(name, number) == self.token:
            self.store.create(f"{FOLDER}/{name}.{number + 1}", b"")
            self._clear(name, number)

    def end(self, name: str) -> None:
        """Removes a lease that is not needed: its trial is published, or has failed and will be tried again later."""
        self._clear(name, self.numbers().get(name, 0))

    def _clear(self, name: str, up_to: int) -> None:
        files = [match for one in self.store.names(FOLDER) if (match := NAME.fullmatch(one)) and match[1] == name]
        for match in files:
            if int(match[2]) <= up_to:
                self.store.remove(f"{FOLDER}/{match[0]}")

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Holds the lease while the block runs, once whoever holds it has given it back, or is gone."""
        wait = POLL
        while not self.holds(name) and not self.take(name):  # what could not be given back is still held
            time.sleep(wait)
            wait = min(1.5 * wait, LONGEST_POLL)
        try:
            yield
        finally:
            self.give_back(name)

    def alive(self, token: str) -> bool:
        """Whether a driver is at work, as far as can be told from here."""
        if token == self.token:
            return True
        try:
            known = heartbeat.TOKEN.fullmatch(token)
            content = self.store.read(f"{heartbeat.FOLDER}/{token}.json", BYTES) if known else b""
        except FileNotFoundError:
            content = b""
        except OSError:  # it was replaced while it was read, or the store has too much to do: nothing new was seen
            _, since = self._seen.setdefault(token, (b"?", time.monotonic()))
            return time.monotonic() - since < GONE_AFTER
        if not content:  # none, and a driver leaves one before it takes a lease
            return False
        beat = heartbeat.parse(content)
        # what is no heartbeat may change as it likes
        told = digest(content) if beat is not None else b"?"
        before, since = self._seen.get(token, (b"", 0.0))
        if told != before:
            self._seen[token] = told, (since := time.monotonic())
        if beat is not None and (beat.ended or beat.process.gone()):
            return False
        return time.monotonic() - since < GONE_AFTER

    def others(self) -> list[str]:
        """The tokens of the other drivers at work."""
        there = [token for token in heartbeat.tokens(self.store) if token != self.token]
        with ThreadPoolExecutor(READERS) as pool:
            return [token for token, alive in zip(there, pool.map(self.alive, there), strict=True) if alive]

    def held(self) -> dict[str, tuple[str, str]]:
        """Of each lease that a driver holds, or held when it was last heard of, that driver's token and its note."""
        numbers = self.numbers()
        with ThreadPoolExecutor(READERS) as pool:
            said = pool.map(self._said, numbers.keys(), numbers.values())
            return {name: one for name, one in zip(numbers, said, strict=True) if one[0]}


@contextlib.contextmanager
def driver(store: Store, say: Callable[[], Heartbeat], last_word: bool = False) -> Iterator[Driver]:
    """This process as a driver, whose heartbeat says every few seconds what ``say`` returns, until the block ends;
    ``last_word``: it then stays, as of a driver that has ended."""
    one = Driver(store)
    file = f"{heartbeat.FOLDER}/{one.token}.json"
    ended, beats = threading.Event(), itertools.count()

    def beat(over: bool = False) -> None:
        said = say().model_copy(update={"ended": over, "token": one.token, "beat": next(beats)})
        store.put(file, said.model_dump_json().encode())

    def renew() -> None:
        while not ended.wait(EVERY):
            # whatever goes wrong with one, of a store of any kind, there is another: without them it is taken for gone
            with contextlib.suppress(Exception):
                beat()

    store.make_folders(heartbeat.FOLDER, FOLDER)
    beat()
    thread = threading.Thread(target=renew, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield one
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            if last_word:
                beat(over=True)
            else:
                store.remove(file)


def clear(one: Driver) -> None:
    """Removes the heartbeats of drivers that have ended or are gone. The leases that they hold are to be taken."""
    for token in heartbeat.tokens(one.store):
        if not one.alive(token):
            one.store.remove(f"{heartbeat.FOLDER}/{token}.json")
