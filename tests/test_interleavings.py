from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import interleaved
import pandas as pd
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
Rows = Mapping[str, tuple[str, str]]  # the status and the host of each trial
BEGUN = {f"{interleaved.ROOT}/study.toml": STUDY.text.encode()}


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


def of_before(trial_id: str, host: str = "a", status: str = "done") -> tuple[pa.Table, pa.Table]:
    """The parts that earlier versions wrote of a trial, neither of which knows of the other: its row of `trials`, and
    its measurements, without any of a trial that failed."""
    rows = results.measured(trial_id, measurements(trial_id, host, status))
    return pa.Table.from_pylist([row(trial_id, host, status)], SCHEMA), rows.replace_schema_metadata(SCHEMA.metadata)


def compacted_before(*written: tuple[pa.Table, pa.Table], upto: int) -> Callable[[Store], None]:
    """What an earlier version's compaction of these parts left, which was interrupted after so many steps."""
    both = [results.encode(pa.concat_tables(tables)) for tables in zip(*written, strict=True)]
    new = "compact-0123456789abcdef.parquet"
    old = [f"{rows['trial_id'][0]}.parquet" for rows, _ in written]

    def compacts(store: Store) -> None:
        for part, names in zip(written, old, strict=True):
            for table, rows in zip(results.TABLES, part, strict=True):
                store.put(f"{table}/{names}", results.encode(rows))
        steps = [lambda: store.put(f"measurements/.{new}", both[1]), lambda: store.put(f"trials/.{new}", both[0])]
        steps.append(lambda: store.put(results.PLAN, json.dumps({"old": old, "new": [new]}).encode()))
        steps += [partial(store.remove, f"{table}/{name}") for table in results.TABLES for name in old]
        steps += [
            partial(store.rename, f"{table}/.{new}", f"{table}/{new}") for table in reversed(results.TABLES)
        ]
        for step in steps[:upto]:
            step()

    return compacts


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
    def records(frame: pd.DataFrame, *columns: str) -> list[dict]:
        rows = zip(*(frame[column].tolist() for column in columns), strict=True) if len(frame) else ()
        return [dict(zip(columns, row, strict=True)) for row in rows]

    return view(
        records(loaded.trials, "trial_id", "status", "host"), records(loaded.measurements, "trial_id", "value")
    )


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

    def raw_once(self, number: int) -> None:
        """Who reads the files without metafa finds no row twice."""
        for table, rows in self.rows(number).items():
            keys = [(one["trial_id"], one.get("value")) for one in rows]
            if twice := {name(one) for one, *_ in keys if keys.count((one, *_)) > 1}:
                raise Wrong("raw twice", f"the files of `{table}` have {twice} twice")

    def raw(self, number: int) -> dict[str, tuple[str, str]]:
        """What the files themselves hold, for those who read them without metafa."""
        rows = self.rows(number)
        return view(rows["trials"], rows["measurements"])

    def rows(self, number: int) -> dict[str, list[dict]]:
        rows: dict[str, list[dict]] = {table: [] for table in results.TABLES}
        for path, content in sorted(self.files.known[number].items()):
            table, _, part = path.removeprefix(interleaved.ROOT + "/").rpartition("/")
            if table in rows and part[0] != ".":
                if content not in self.decoded:
                    self.decoded[content] = parts.decode(content, table).to_pylist()
                rows[table] += self.decoded[content]
        return rows

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
            kept(self.seen(owed), found, "a reader", present)
            kept(found, present, "what a reader saw")
        for trial_id in actor.promises:
            if rank(*present.get(trial_id, ("absent", ""))) < 2:
                raise Wrong("lost", f"{name(trial_id)} was said to be done by {actor.name} and is not")


def rank(status: str, host: str) -> int:
    """How far a trial is: not in the tables, failed and to be tried again, or published. Of a search that learns from
    failures they are published as results are; here those are of hosts in capitals."""
    return 0 if status == "absent" else 1 if status == "failed" and host.islower() else 2


def kept(before: Rows, after: Rows, who: str, meanwhile: Rows | None = None) -> None:
    """Raises `Wrong` where a trial is less than it was, or another."""
    for trial_id, was in before.items():
        now = after.get(trial_id, ("absent", ""))
        if rank(*now) < rank(*was):
            if rank(*was) == 1 and meanwhile is not None and rank(*meanwhile[trial_id]) == 2:
                continue  # a failure goes when the trial is published, so that a reader may find neither
            kind = "replaced by a failure" if now[0] == "failed" else "lost"
            raise Wrong(kind, f"{name(trial_id)} was {' on '.join(was)} and for {who} is {' on '.join(now)}")
        if rank(*was) == 2 and now != was:
            raise Wrong("replaced", f"{name(trial_id)} was {' on '.join(was)} and for {who} is {' on '.join(now)}")


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


def explore(begun: Mapping[str, bytes], *actors: Actor, **how: Any) -> Explored:
    files = Files()
    ways = WAYS | {key: how.pop(key) for key in WAYS.keys() & how.keys()}
    tables = Tables(files, ways)
    checks = Checks(tables.hold, tables.step, tables.end)
    return interleaved.explore(files, files.number(begun), [tables.actor(actor) for actor in actors], checks, **how)


def wander(begun: Mapping[str, bytes], *actors: Actor, schedules: int, seed: int = 0, **ways: bool):
    files = Files()
    tables = Tables(files, WAYS | ways)
    checks = Checks(tables.hold, tables.step, tables.end)
    return interleaved.wander(files, files.number(begun), [tables.actor(one) for one in actors], checks, schedules, seed)
