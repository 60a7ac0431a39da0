"""What the results promise, at every interleaving of those who publish, read, compact and look after them.

Of each scenario all schedules are followed, or all in which one actor interrupts another no more than so many times,
and beyond those some at random. After each step, and so wherever all may have died, is looked at

- what a reader finds: each published trial once, whole, in both tables, and never less than before, nor another result;
- what a reader finds that began earlier and ends now: no less than there was when it began, no more than there is now;
- what upkeep makes of it: tables in which who reads the files without metafa finds the same, and nothing left over.

Here the leases keep nobody away: every holder is taken for gone at once, and goes on all the same.

The results as they were before publications, compacted pairs and leases (a put of measurements, then a put of the row;
a compaction by hidden files and a plan) fail so, in the same model; each is the schedule of the fewest interruptions:

=============================================  ================================================================
two compactions: rows lost                     B reads that there is no plan | A puts its hidden parts, then its
                                               plan, and finds both there | B removes A's hidden measurements,
                                               which are old | A carries its plan out: removes the trials' parts
a compaction and a driver that begins: rows    U reads that there is no plan | A compacts, up to the copy of its
lost                                           measurements to their name | U finds them without a row in `trials`,
                                               and removes them | A removes the hidden measurements
a compaction and a driver that begins: an      U lists `trials` | A compacts | U reads a part that is gone
error for a result
two drivers, the same trial: rows twice        B reads what is done | A runs all trials and compacts | B writes a
                                               trial that A's compacted part has as well
two drivers, the same trial: of the one half   A writes a trial | B puts its measurements, and dies
the row, of the other the measurements
done in one driver, failed in another: rows    A writes the trial | B puts no measurements | B puts the row that says
wiped                                          `failed`
a trial that is written while a driver         A puts its measurements | U finds them without a row, and removes
begins: rows lost, and said to be done         them | A puts its row, and says that the trial is done
a reader and a trial that is written: half     L reads `trials` | A writes the trial | L reads `measurements`
a reader and a compaction: rows missing        A removes the trials' parts | L reads | A renames its own
=============================================  ================================================================
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import interleaved
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from interleaved import Actor, Checks, Explored, Files, Memory, Node, Violation, Wrong
from pyarrow import fs

from metafa.results import compaction, exports, leases, listing, mending, parts, tables, upkeep
from metafa.results.columns import COLUMN_TYPES, TABLES, measured, trials_schema
from metafa.results.publishing import publish
from metafa.results.store import Store
from metafa.results.tables import Results, load, rows_of
from metafa.results.upkeep import PLAN, compact, tidy
from metafa.studies import study
from metafa.studies.settings import NUMERICS

STUDY = study.parse(
    """\
[[phases]]
phase = "noise"
steps = { choices = [0, 100, 200] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
""",
    default_name="small",
)
ONE, TWO, THREE = (trial.trial_id for trial in STUDY.trials)
NAMES = {ONE: "ONE", TWO: "TWO", THREE: "THREE"}
# some of the columns of `trials`, since a part is written and read thousands of times here
SCHEMA = pa.schema(
    [(name, COLUMN_TYPES["trials"][name]) for name in ("trial_id", "study", "status", "error", "numerics")]
    + [("host", pa.string())],
    metadata=trials_schema(STUDY).metadata,
)
Rows = Mapping[str, tuple[str, str]]  # the status and the host of each trial
Does = Callable[[Store], Any]
WAYS = {"atomic_rename": False, "aged": True}


def row(trial_id: str, host: str, status: str) -> dict[str, Any]:
    error = {"error": "out of memory"} if status == "failed" else {}
    known = {"trial_id": trial_id, "study": STUDY.name, "status": status, "host": host, "numerics": NUMERICS}
    return known | error


def values(trial_id: str, host: str, status: str) -> list[float]:
    """What a trial has measured, other numbers on each host, so that none are taken for another's."""
    return [] if status == "failed" else [float(trial_id == ONE), float(ord(host))]


def measurements(trial_id: str, host: str, status: str) -> pa.Table:
    known = {"seed": 0, "phase": "evaluate", "step": 5, "metric": "meta_loss", "layer": None, "inputs": "glyphs"}
    return measured(trial_id, [known | {"value": value} for value in values(trial_id, host, status)])


def publishing(trial_id: str, host: str = "a", status: str = "done", final: bool = False) -> Does:
    rows = measurements(trial_id, host, status)
    return lambda store: publish(store, SCHEMA, row(trial_id, host, status), rows, final)


def compacting(store: Store) -> None:
    """As `upkeep.compact`, under a lease that keeps nobody away."""
    tidy(store)
    compaction.put_together(store)


def looking_after(store: Store) -> None:
    """As `upkeep.remove_damaged`, under a lease that keeps nobody away."""
    assert mending.mend(store) == [], "nothing is damaged"
    tidy(store)


def recover(store: Store) -> None:
    looking_after(store)
    compaction.put_together(store)


def read_in_parts(store: Store) -> Results:
    tables = zip(*exports.in_parts(store), strict=True)
    return Results(*(pa.concat_tables(some).to_pandas() for some in tables))


def as_driver(token: str, does: Callable[[Store, leases.Driver], Any]) -> Does:
    """With the leases as they are, of which every other holder is taken for gone."""

    def driven(store: Store) -> None:
        with mock.patch.object(leases.Driver, "alive", lambda self, other: other == self.token):
            does(store, leases.Driver(store, token * 32))

    return driven


def running(trial_id: str, host: str) -> Callable[[Store, leases.Driver], None]:
    """A driver's part in one trial: it claims and publishes it, unless that is done."""

    def runs(store: Store, driver: leases.Driver) -> None:
        name = leases.of_trial(trial_id)
        if not rows_of(store, [trial_id]) and driver.take(name):
            if not rows_of(store, [trial_id]):
                publishing(trial_id, host)(store)
            driver.end(name)

    return runs


def before(trial_id: str, status: str = "done", only: Sequence[str] = TABLES) -> Does:
    """Puts the parts of a trial as earlier versions wrote them: neither knows of the other."""

    def puts(store: Store) -> None:
        for table, rows in zip(TABLES, tables_before(trial_id, status), strict=True):
            if table in only:
                store.put(f"{table}/{trial_id}.parquet", parts.encode(rows))

    return puts


def tables_before(trial_id: str, status: str = "done") -> tuple[pa.Table, pa.Table]:
    rows = measurements(trial_id, "e", status).replace_schema_metadata(SCHEMA.metadata)
    return pa.Table.from_pylist([row(trial_id, "e", status)], SCHEMA), rows


def compacted_before(steps: int) -> Does:
    """What an earlier version's compaction of two trials left, which was interrupted after so many steps."""
    both = [parts.encode(pa.concat_tables(tables)) for tables in zip(*map(tables_before, (ONE, TWO)), strict=True)]
    new, old = "compact-0123456789abcdef.parquet", [f"{ONE}.parquet", f"{TWO}.parquet"]

    def compacts(store: Store) -> None:
        before(ONE)(store)
        before(TWO)(store)
        plan = json.dumps({"old": old, "new": [new]}).encode()
        for step in [
            partial(store.put, f"measurements/.{new}", both[1]),
            partial(store.put, f"trials/.{new}", both[0]),
            partial(store.put, PLAN, plan),
            *(partial(store.remove, f"{table}/{name}") for table in TABLES for name in old),
            *(partial(store.rename, f"{table}/.{new}", f"{table}/{new}") for table in reversed(TABLES)),
        ][:steps]:
            step()

    return compacts


def opened(memory: Memory) -> Store:
    return Store("memory", fs.PyFileSystem(memory), interleaved.ROOT, "memory", memory.exclusively)


def view(trials: list[dict], measured: list[dict]) -> Rows:
    """The status and the host of each trial of both tables. Raises `Wrong` where a trial's rows are not there once."""
    found: dict[str, tuple[str, str]] = {}
    for one in trials:
        if one["trial_id"] in found:
            raise Wrong("twice", f"two rows of {NAMES[one['trial_id']]} in `trials`")
        found[one["trial_id"]] = one["status"], one["host"]
    numbers: dict[str, list[float]] = {}
    for one in measured:
        numbers.setdefault(one["trial_id"], []).append(one["value"])
    for trial_id in found.keys() | numbers.keys():
        status, host = found.get(trial_id, ("failed", "absent"))
        expected, got = values(trial_id, host, status), numbers.get(trial_id, [])
        if sorted(got) != sorted(expected):
            kind = "twice" if len(got) > max(len(expected), 2) else "half"
            raise Wrong(kind, f"{NAMES[trial_id]} is {status} on {host} with {got}, not {expected}")
    return found


def records(frame: pd.DataFrame, *columns: str) -> list[dict]:
    rows = zip(*(frame[column].tolist() for column in columns), strict=True) if len(frame) else ()
    return [dict(zip(columns, row, strict=True)) for row in rows]


class Tables:
    """What has to hold of the tables; of each content of the files it is looked at once."""

    def __init__(self, files: Files, ways: Mapping[str, bool]):
        self.files, self.ways = files, ways
        # by names that no other has, of which what they draw at random depends
        self.reader = self.actor(Actor("who reads in the end", load))
        self.upkeep = self.actor(Actor("who clears up in the end", recover))
        self.viewed: dict[Node, Any] = {}
        self.decoded: dict[bytes, list[dict]] = {}
        self.good: set = set()

    def actor(self, actor: Actor) -> Actor:
        actor.files, actor.opened, actor.ways = self.files, opened, self.ways
        return actor

    def checks(self) -> Checks:
        return Checks(self.hold, self.step, self.end)

    def seen(self, number: int) -> Rows:
        """What who reads these files finds."""
        return self.of(self.reader.alone(number)[1])

    def of(self, end: Node) -> Rows:
        """What a reader has found."""
        if end not in self.viewed:
            try:
                if end.raised is not None:
                    raise Wrong("error", f"a reader finds {end.raised!r}")
                trials, measured = end.returned
                rows = records(trials, "trial_id", "status", "host"), records(measured, "trial_id", "value")
                self.viewed[end] = view(*rows)
            except Wrong as wrong:
                self.viewed[end] = wrong
        if isinstance(self.viewed[end], Wrong):
            raise self.viewed[end]
        return self.viewed[end]

    def raw(self, number: int) -> Rows:
        """What the files themselves hold, for those who read them without metafa."""
        rows: dict[str, list[dict]] = {table: [] for table in TABLES}
        for path, content in sorted(self.files.known[number].items()):
            table, _, part = path.removeprefix(interleaved.ROOT + "/").rpartition("/")
            if table in rows and part[0] != ".":
                if content not in self.decoded:
                    self.decoded[content] = parts.decode(content, table).to_pylist()
                rows[table] += self.decoded[content]
        return view(rows["trials"], rows["measurements"])

    def hold(self, number: int) -> None:
        """Should all who are at work die now: upkeep keeps what is there, and leaves tables for everyone."""
        seen = self.seen(number)
        after, end = self.upkeep.alone(number)
        if end.raised is not None:
            raise Wrong("error", f"upkeep ends with {end.raised!r}")
        kept(seen, self.seen(after), "upkeep")
        if after not in self.good:
            if self.raw(after) != self.seen(after):
                raise Wrong("unsettled", f"the files hold {self.raw(after)}, of {self.seen(after)}")
            if left := [path for path in self.files.known[after] if posixpath.basename(path)[0] == "."]:
                raise Wrong("unsettled", f"{', '.join(left)} is left")
            self.good.add(after)

    def step(self, before: int, after: int) -> None:
        if (before, after) not in self.good:
            kept(self.seen(before), self.seen(after), "the next")
            self.good.add((before, after))

    def end(self, actor: Actor, end: Node, owed: int, number: int) -> None:
        if end.raised is not None:
            raise Wrong("error", f"{actor.name} ends with {end.raised!r}")
        present = self.seen(number)
        if actor.observes:
            found = self.of(end)
            kept(self.seen(owed), found, "a reader", present)
            kept(found, present, "the next")
        for trial_id in actor.promises:
            if rank(*present.get(trial_id, ("absent", ""))) < 2:
                raise Wrong("lost", f"{NAMES[trial_id]} was said to be done by {actor.name} and is not")


def rank(status: str, host: str) -> int:
    """How far a trial is: not in the tables, failed and to be tried again, or published. Of a search that learns from
    failures they are published as results are; here those are of hosts in capitals. A failure of an earlier version,
    here of the host `e`, is taken away before the trial is published, and counts for nothing."""
    if status == "absent" or (status, host) == ("failed", "e"):
        return 0
    return 1 if status == "failed" and host.islower() else 2


def kept(before: Rows, after: Rows, who: str, meanwhile: Rows | None = None) -> None:
    """Raises `Wrong` where a trial is less than it was, or another."""
    for trial_id, was in before.items():
        now = after.get(trial_id, ("absent", ""))
        said = f"{NAMES[trial_id]} was {' on '.join(was)} and for {who} is {' on '.join(now)}"
        if rank(*now) < rank(*was):
            if rank(*was) == 1 and meanwhile is not None and rank(*meanwhile[trial_id]) == 2:
                continue  # a failure goes when the trial is published, so that a reader may find neither
            raise Wrong("replaced by a failure" if now[0] == "failed" else "lost", said)
        if rank(*was) == 2 and now != was:
            raise Wrong("replaced", said)


def done(*does: Does, ways: Mapping[str, bool] = WAYS) -> dict[str, bytes]:
    """The files once these have been done, one after the other."""
    files = Files()
    tables = Tables(files, ways)
    number = files.number({f"{interleaved.ROOT}/study.toml": STUDY.text.encode()})
    for place, one in enumerate(does):
        number, end = tables.actor(Actor(f"before {place}", one)).alone(number)
        assert end.raised is None, end.raised
    return files.known[number]


def publisher(name: str, trial_id: str, status: str = "done", final: bool = False) -> Actor:
    """An actor that is its own host; with a capital where failures are published."""
    counts = frozenset([trial_id] if status == "done" or final else [])
    return Actor(name, publishing(trial_id, name, status, final), promises=counts)


def actors(*names: str) -> list[Actor]:
    """Whoever these stand for: a compaction, the upkeep when a driver begins, or a reader."""
    kinds = {"compaction": compacting, "upkeep": looking_after, "reader": load, "reader of parts": read_in_parts}
    return [Actor(name, kinds[name.rstrip(" ABC")], name.startswith("reader")) for name in names]


class Scenario(NamedTuple):
    """What is there, who comes, and up to how many interruptions all schedules are followed; None: all there are."""

    begun: Callable[[], dict[str, bytes]]
    actors: Callable[[], list[Actor]]
    interruptions: int | None = None


EMPTY = partial(done)
TWO_DONE = partial(done, publishing(ONE), publishing(TWO))
COMPACTED = partial(done, publishing(ONE), publishing(TWO), compacting)
MORE = partial(done, publishing(ONE), publishing(TWO), compacting, publishing(THREE))
FAILED = partial(done, publishing(ONE, "f", "failed"))


def doubled() -> dict[str, bytes]:
    """Two pairs of the same trials, as two leave who compact at once."""
    return COMPACTED() | done(publishing(ONE), publishing(TWO), lambda store: None, compacting)


SCENARIOS = {
    "two publish a trial": Scenario(EMPTY, lambda: [publisher("a", ONE), publisher("b", ONE), *actors("reader")]),
    "one is done, the other fails": Scenario(
        EMPTY, lambda: [publisher("a", ONE), publisher("f", ONE, "failed"), *actors("reader")], 3
    ),
    "failed before, then one is done, the other fails again": Scenario(
        FAILED, lambda: [publisher("a", ONE), publisher("g", ONE, "failed"), *actors("reader")], 3
    ),
    "a failure is published": Scenario(
        FAILED, lambda: [publisher("a", ONE), publisher("F", ONE, "failed", True), publisher("g", ONE, "failed")]
    ),
    "published while a driver begins": Scenario(EMPTY, lambda: [publisher("a", ONE), *actors("upkeep", "reader")], 2),
    "published after a failure while a driver begins": Scenario(
        FAILED, lambda: [publisher("a", ONE), *actors("upkeep", "reader")], 2
    ),
    "published while others are compacted": Scenario(
        TWO_DONE, lambda: [publisher("b", THREE), *actors("compaction", "reader")], 1
    ),
    "published twice while others are compacted": Scenario(
        TWO_DONE, lambda: [publisher("b", THREE), publisher("c", THREE), *actors("compaction")], 2
    ),
    "published again once it is compacted": Scenario(
        TWO_DONE, lambda: [publisher("a", ONE), *actors("compaction", "reader")], 1
    ),
    "a compaction and a reader": Scenario(TWO_DONE, lambda: actors("compaction", "reader"), 2),
    "a compaction and a reader of parts": Scenario(TWO_DONE, lambda: actors("compaction", "reader of parts"), 2),
    "a compaction of more and a reader": Scenario(MORE, lambda: actors("compaction", "reader"), 2),
    "two compactions": Scenario(TWO_DONE, lambda: actors("compaction A", "compaction B"), 2),
    "two compactions of more": Scenario(MORE, lambda: actors("compaction A", "compaction B"), 1),
    "two compactions and a reader": Scenario(TWO_DONE, lambda: actors("compaction A", "compaction B", "reader"), 1),
    "a compaction while a driver begins": Scenario(TWO_DONE, lambda: actors("compaction", "upkeep"), 2),
    "a compaction while a driver begins, and a reader": Scenario(
        MORE, lambda: actors("compaction", "upkeep", "reader"), 1
    ),
    "pairs that have trials in common": Scenario(doubled, lambda: actors("upkeep", "reader"), 2),
    "pairs that have trials in common, compacted twice": Scenario(
        doubled, lambda: actors("compaction A", "compaction B"), 1
    ),
    "leases of holders that go on: compactions": Scenario(
        TWO_DONE, lambda: [Actor(one, as_driver(one, compact)) for one in "cd"], 1
    ),
    "leases of holders that go on: trials": Scenario(
        EMPTY, lambda: [Actor(one, as_driver(one, running(ONE, one))) for one in "ab"] + actors("reader"), 2
    ),
    **{
        f"a compaction of an earlier version, after {steps} steps": Scenario(
            partial(done, compacted_before(steps)), lambda: actors("upkeep A", "upkeep B", "reader"), 1
        )
        for steps in range(10)
    },
    # an object store removes no file on condition of its content: what earlier versions left of a failed trial goes
    # by a read and a deletion, between which no two may come who both take it for left behind
    "failed in an earlier version": Scenario(
        partial(done, before(ONE, "failed"), before(TWO)), lambda: [publisher("b", ONE), *actors("compaction")], 1
    ),
    "failed in an earlier version, and a reader": Scenario(
        partial(done, before(ONE, "failed"), before(TWO)), lambda: [publisher("b", ONE), *actors("upkeep", "reader")], 1
    ),
    "parts of an earlier version, compacted twice": Scenario(
        partial(done, before(ONE), before(TWO)), lambda: actors("compaction A", "compaction B"), 1
    ),
    "parts of an earlier version": Scenario(
        partial(done, before(ONE)), lambda: [publisher("b", TWO), *actors("compaction", "reader")], 1
    ),
    "measurements without a row, of an earlier version": Scenario(
        partial(done, before(ONE, only=("measurements",))), lambda: [publisher("b", ONE), *actors("reader")]
    ),
}
CROWDS = {
    "three compactions": Scenario(
        TWO_DONE, lambda: actors("compaction A", "compaction B", "compaction C", "reader A", "reader B")
    ),
    "everybody": Scenario(
        FAILED,
        lambda: [
            publisher("a", ONE),
            publisher("b", ONE),
            publisher("c", TWO),
            publisher("f", TWO, "failed"),
            *actors("compaction A", "compaction B", "upkeep", "reader"),
        ],
    ),
}


def readable(violation: Violation) -> str:
    said = str(violation)
    for trial_id, name in NAMES.items():
        said = said.replace(trial_id, name)
    return said.replace(".parquet", "")


def prepared(scenario: Scenario, ways: Mapping[str, bool]) -> tuple[Files, int, list[Actor], Checks]:
    files = Files()
    tables = Tables(files, ways)
    return files, files.number(scenario.begun()), list(map(tables.actor, scenario.actors())), tables.checks()


def explore(scenario: Scenario, interruptions: int | None, **how: Any) -> Explored:
    return interleaved.explore(*prepared(scenario, WAYS), interruptions=interruptions, **how)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_no_interleaving_loses_a_row_or_doubles_one(scenario: Scenario) -> None:
    explored = explore(scenario, scenario.interruptions)
    for violation in explored.violations.values():
        pytest.fail(readable(violation))
    assert explored.whole


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
@pytest.mark.parametrize("atomic_rename", [False, True], ids=["as in object stores", "as in folders"])
def test_nor_does_a_crowd(crowd: Scenario, atomic_rename: bool) -> None:
    """Schedules at random, in which interruptions are many."""
    violation = interleaved.wander(*prepared(crowd, WAYS | {"atomic_rename": atomic_rename}), schedules=60, seed=0)
    assert violation is None, readable(violation)


def _put_over(store: Store, name: str, content: bytes, durable: bool = False) -> bool:
    store.put(name, content)
    return True


@pytest.mark.parametrize(
    ("places", "name", "broken", "scenario", "kind"),
    [
        # a publication that takes the place of another
        ([Store], "create", _put_over, "two publish a trial", "replaced"),
        # a compaction that takes its rows back once somebody else has made them visible
        (
            [compaction, listing, mending, upkeep],
            "stands",
            lambda store, table, name: store.exists(f"{table}/.{name}"),
            "a compaction while a driver begins",
            "lost",
        ),
        # upkeep that leaves compactions where they were interrupted
        ([upkeep], "end_begun", lambda store: None, "a compaction and a reader", "unsettled"),
        # measurements that are read later than the rows, without being held against them
        ([tables], "of_trials", lambda trial_ids: pc.scalar(True), "published while a driver begins", "half"),
    ],
)
def test_what_would_be_wrong_is_found(
    places: list[Any], name: str, broken: Callable, scenario: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in places:
        monkeypatch.setattr(place, name, broken)
    found = explore(SCENARIOS[scenario], None, most=20_000).violations
    assert list(found) == [kind], [*map(readable, found.values())]
