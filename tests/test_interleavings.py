from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any

import interleaved
import pyarrow as pa
from interleaved import Actor, Checks, Explored, Files, Memory, Node, Wrong
from pyarrow import fs

from metafa import parts, results, study
from metafa.settings import NUMERICS
from metafa.store import Store

STUDY = study.parse(
    """\
[[phases]]
phase = "noise"
steps = { choices = [0, 100] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
""",
    default_name="small",
)
# some of the columns of `trials`, since a part is written and read thousands of times here
SCHEMA = pa.schema(
    [(name, results.OUTCOME[name]) for name in ("trial_id", "study", "status", "error", "numerics")]
    + [("host", pa.string())],
    metadata=results.trials_schema(STUDY).metadata,
)
ONE, TWO = (trial.trial_id for trial in STUDY.trials)
BEGUN = {f"{interleaved.ROOT}/study.toml": STUDY.text.encode()}
RANK = {"absent": 0, "failed": 1, "done": 2}


def row(trial_id: str, host: str, status: str) -> dict[str, Any]:
    error = {"error": "out of memory"} if status == "failed" else {}
    known = {"trial_id": trial_id, "study": STUDY.name, "status": status, "host": host, "numerics": NUMERICS}
    return known | error


def values(trial_id: str, host: str, status: str) -> list[float]:
    """What a trial has measured, other numbers on each host, so that none are taken for another's."""
    return [] if status == "failed" else [float(trial_id == ONE), float(ord(host[0]))]


def measurements(trial_id: str, host: str, status: str) -> list[dict[str, Any]]:
    known = {"seed": 0, "phase": "evaluate", "step": 5, "metric": "meta_loss", "layer": None, "task": "glyphs"}
    return [known | {"trial_id": trial_id, "value": value} for value in values(trial_id, host, status)]


def publishing(trial_id: str, host: str = "a", status: str = "done", final: bool = False) -> Callable[[Store], bool]:
    rows = results.measured(trial_id, measurements(trial_id, host, status))
    return lambda store: results.publish(store, SCHEMA, row(trial_id, host, status), rows, final)


def compacting(store: Store) -> int:
    """As `results.compact`, under a lease that keeps nobody away."""
    results.tidy(store)
    return results.put_together(store)


def upkeep(store: Store) -> list[str]:
    """As `results.remove_damaged`, under a lease that keeps nobody away."""
    found = results.mend(store)
    results.tidy(store)
    return found


def opened(memory: Memory) -> Store:
    return Store("memory", fs.PyFileSystem(memory), interleaved.ROOT, "memory", memory.exclusively)


def view(trials: list[dict], measured: list[dict]) -> dict[str, tuple[str, str]]:
    """The status and the host of each trial of both tables. Raises `Wrong` where a trial's rows are not there once."""
    found: dict[str, tuple[str, str]] = {}
    for one in trials:
        if one["trial_id"] in found:
            raise Wrong("twice", f"two rows of {name(one['trial_id'])} in `trials`")
        found[one["trial_id"]] = one["status"], one["host"]
    numbers: dict[str, list[float]] = {}
    for one in measured:
        numbers.setdefault(one["trial_id"], []).append(one["value"])
    for trial_id in found.keys() | numbers.keys():
        status, host = found.get(trial_id, ("absent", "x"))
        expected = values(trial_id, host, status) if trial_id in found else []
        got = numbers.get(trial_id, [])
        if sorted(got) != sorted(expected):
            kind = "twice" if len(got) > max(len(expected), 2) else "half"
            raise Wrong(kind, f"{name(trial_id)} is {status} on {host} with {got}, not {expected}")
    return found


def name(trial_id: str) -> str:
    return {ONE: "ONE", TWO: "TWO"}[trial_id]


def frames(loaded: results.Results) -> dict[str, tuple[str, str]]:
    return view(*(table.to_dict("records") for table in loaded))


class Tables:
    """What has to hold of the tables."""

    def __init__(self, files: Files, ways: Mapping[str, bool]):
        self.files, self.ways = files, ways
        self.reader = self.actor(Actor("reader", results.load))
        self.upkeep = self.actor(Actor("upkeep", recover))
        self.viewed: dict[Node, Any] = {}
        self.decoded: dict[bytes, list[dict]] = {}
        self.good: set = set()

    def actor(self, actor: Actor) -> Actor:
        actor.files, actor.opened, actor.ways = self.files, opened, self.ways
        return actor

    def seen(self, number: int) -> dict[str, tuple[str, str]]:
        """What who reads these files finds."""
        return self.of(self.reader.alone(number)[1])

    def of(self, end: Node) -> dict[str, tuple[str, str]]:
        if end not in self.viewed:
            if end.raised is not None:
                self.viewed[end] = Wrong("error", f"a reader finds {end.raised!r}")
            else:
                try:
                    self.viewed[end] = frames(end.returned)
                except Wrong as wrong:
                    self.viewed[end] = wrong
        if isinstance(self.viewed[end], Wrong):
            raise self.viewed[end]
        return self.viewed[end]

    def raw(self, number: int) -> dict[str, tuple[str, str]]:
        """What the files themselves hold, for those who read them without metafa."""
        rows: dict[str, list[dict]] = {table: [] for table in results.TABLES}
        for path, content in sorted(self.files.known[number].items()):
            table, _, part = path.removeprefix(interleaved.ROOT + "/").rpartition("/")
            if table in rows and part[0] != ".":
                if content not in self.decoded:
                    self.decoded[content] = parts.decode(content, table).to_pylist()
                rows[table] += self.decoded[content]
        return view(rows["trials"], rows["measurements"])

    def hold(self, number: int) -> None:
        """Whatever happens, if all who are at work die now, upkeep finds everything and leaves tables for all."""
        seen = self.seen(number)
        after, end = self.upkeep.alone(number)
        if end.raised is not None:
            raise Wrong("error", f"upkeep ends with {end.raised!r}")
        kept(seen, self.seen(after), "upkeep")
        if after in self.good:
            return
        if self.raw(after) != self.seen(after):
            raise Wrong("unsettled", f"files with {self.raw(after)}, of {self.seen(after)}")
        left = [path for path in self.files.known[after] if posixpath.basename(path)[0] == "."]
        if left:
            raise Wrong("unsettled", f"{', '.join(left)} is left")
        self.good.add(after)

    def step(self, before: int, after: int) -> None:
        if (before, after, "step") not in self.good:
            kept(self.seen(before), self.seen(after), "a step")
            self.good.add((before, after, "step"))

    def end(self, actor: Actor, end: Node, owed: int, number: int) -> None:
        if end.raised is not None:
            raise Wrong("error", f"{actor.name} ends with {end.raised!r}")
        present = self.seen(number)
        if actor.observes:
            found = self.of(end)
            kept(self.seen(owed), found, "a reader")
            kept(found, present, "what a reader saw")
        for trial_id in actor.promises:
            if RANK[present.get(trial_id, ("absent",))[0]] < 2:
                raise Wrong("lost", f"{name(trial_id)} was said to be done by {actor.name} and is not")


def kept(before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]], who: str) -> None:
    """Raises `Wrong` where a trial is less than it was, or another."""
    for trial_id, (status, host) in before.items():
        now, there = after.get(trial_id, ("absent", ""))
        if RANK[now] < RANK[status]:
            kind = "replaced by a failure" if now == "failed" else "lost"
            raise Wrong(kind, f"{name(trial_id)} was {status} on {host} and for {who} is {now}")
        if RANK[now] == 2 and RANK[status] == 2 and there != host:
            raise Wrong("replaced", f"{name(trial_id)} was done on {host} and for {who} was on {there}")


def recover(store: Store) -> None:
    said = upkeep(store)
    assert not said, said
    compacting(store)


def prepared(*writers, **ways: bool) -> dict[str, bytes]:
    """The files once these have run, one after the other."""
    files = Files()
    tables = Tables(files, WAYS | ways)
    number = files.number(BEGUN)
    for place, writer in enumerate(writers):
        number, end = tables.actor(Actor(f"before {place}", writer)).alone(number)
        assert end.raised is None
    return files.known[number]


WAYS = {"atomic_rename": False, "aged": True}


def explore(begun: Mapping[str, bytes], *actors: Actor, most: int = 200_000, stop=True, **ways: bool) -> Explored:
    files = Files()
    tables = Tables(files, WAYS | ways)
    checks = Checks(tables.hold, tables.step, tables.end)
    return interleaved.explore(
        files, files.number(begun), [tables.actor(actor) for actor in actors], checks, most, stop
    )
