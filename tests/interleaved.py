"""All interleavings of a few actors over a store in memory.

An actor is a function of a store: a publisher, a compaction, a reader, as metafa has them. Each operation on the
store's filesystem is a step, and between any two steps of one actor any steps of the others may come. An actor that
dies anywhere is one whose next step never comes, so that every death is among the interleavings.

What an actor does next depends on nothing but what its operations so far have answered. So each actor is run once for
each series of answers that it may get, and what it did is kept as a tree: its next operation, and for each answer what
follows. With that, a state of the whole is the files and each actor's place in its tree, and all states that can be
reached are visited, each once, in the order of how often one actor had to interrupt another to get there: the first
that is wrong is reached by one of the simplest schedules.

The filesystem is the weakest that metafa has to bear: a listing is not a snapshot, so that an entry which appears,
changes or goes away while it is made is in it or not, and a rename is a copy and a deletion, as in object stores.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import posixpath
import random
import secrets
import time
import uuid
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset, fs

from metafa.results import pairs, parts, preparation, publishing, reading, tables

ROOT = "results"
LISTED_AT_MOST = 6  # changed entries of a listing of which every combination is tried


class Operation(NamedTuple):
    """A step: what is done, with what path, and the content or the second path."""

    kind: str
    path: str
    argument: Hashable = None

    def sees(self, path: str) -> bool:
        """Whether what it answers depends on this file."""
        if self.kind == "list":
            return posixpath.dirname(path) == self.path
        return path in (self.path, self.argument)

    def __str__(self) -> str:
        more = f" to {_short(self.argument)}" if self.kind == "copy" else ""
        return f"{self.kind} {_short(self.path)}{more}"


def _short(path: Any) -> str:
    return str(path).removeprefix(ROOT + "/")


class Files:
    """All contents that the store has had, by number, and what each operation makes of each.

    The number stands for the content, so that two that are equal have the same.
    """

    def __init__(self) -> None:
        self.known: list[dict[str, bytes]] = []
        self.numbers: dict[frozenset, int] = {}
        self.applied: dict[tuple[int, Operation], tuple[int, Hashable]] = {}
        self.listed: dict[tuple[int, Operation], dict[str, int]] = {}
        self.contents: dict[bytes, bytes] = {}  # so that equal ones are the same object, which compares fast

    def number(self, files: Mapping[str, bytes]) -> int:
        files = {path: self.contents.setdefault(content, content) for path, content in files.items()}
        key = frozenset(files.items())
        if key not in self.numbers:
            self.numbers[key] = len(self.known)
            self.known.append(files)
        return self.numbers[key]

    def apply(self, number: int, operation: Operation) -> tuple[int, Hashable]:
        """The content afterwards, and the answer."""
        known = (number, operation)
        if known not in self.applied:
            self.applied[known] = self._apply(number, *operation)
        return self.applied[known]

    def _apply(self, number: int, kind: str, path: str, argument: Any) -> tuple[int, Hashable]:
        files = self.known[number]
        if kind == "begin":
            return number, None
        if kind == "look":
            return number, len(files[path]) if path in files else None
        if kind == "list":
            return number, as_answer(self.entries(number, Operation(kind, path)))
        if kind == "read":
            return number, files.get(path)
        if kind == "put":
            return self.number(files | {path: argument}), None
        if kind == "create":
            return (number, False) if path in files else (self.number(files | {path: argument}), True)
        if kind == "delete":
            left = {name: content for name, content in files.items() if name != path}
            return self.number(left), path in files
        if kind in ("copy", "move"):
            if path not in files:
                return number, False
            moved = files | {argument: files[path]}
            if kind == "move":
                del moved[path]
            return self.number(moved), True
        raise NotImplementedError(kind)

    def entries(self, number: int, operation: Operation) -> dict[str, int]:
        """What a listing finds: the paths and sizes of the files in a folder."""
        known = (number, operation)
        if known not in self.listed:
            files = self.known[number].items()
            self.listed[known] = {path: len(file) for path, file in files if operation.sees(path)}
        return self.listed[known]

    def changes(self, before: int, after: int, listing: Operation) -> frozenset:
        """The entries of a listing that a step has changed, each as it was and as it is; "none" where it was not."""
        old, new = self.entries(before, listing), self.entries(after, listing)
        changed = (name for name in old.keys() | new.keys() if old.get(name, "none") != new.get(name, "none"))
        return frozenset((name, one.get(name, "none")) for name in changed for one in (old, new))


def as_answer(entries: Mapping[str, int]) -> Hashable:
    return tuple(sorted(entries.items()))


def listings(now: Mapping[str, int], changed: frozenset) -> list[Hashable]:
    """What a listing may answer that began before these entries ``changed``."""
    if not changed:
        return [as_answer(now)]
    options: dict[str, list] = {}
    for name, option in sorted(changed, key=str):
        options.setdefault(name, []).append(option)
    same = {name: size for name, size in now.items() if name not in options}
    if len(options) <= LISTED_AT_MOST:
        combinations: Iterable[tuple] = itertools.product(*options.values())
    else:  # each by itself as it was and as it is, the others all the same way
        ways = [tuple(found[way] for found in options.values()) for way in (0, -1)]
        combinations = {
            (*way[:place], other[place], *way[place + 1 :])
            for way, other in (ways, ways[::-1])
            for place in range(len(options))
        } | {*ways}
    found = []
    for combination in combinations:
        chosen = {n: size for n, size in zip(options, combination, strict=True) if size != "none"}
        found.append(as_answer(same | chosen))
    return list(dict.fromkeys(found))


class Run:
    """One run of an actor: its first operations are answered as they were before, the others by files of its own."""

    def __init__(self, actor: Actor, answers: list[Hashable], after: int):
        self.actor, self.answers, self.number = actor, answers, after
        self.operations: list[Operation] = []
        self.drawn = 0

    def perform(self, kind: str, path: str, argument: Hashable = None) -> Any:
        operation = Operation(kind, path, argument)
        self.operations.append(operation)
        place = len(self.operations) - 1
        if place == len(self.answers):
            self.number, answer = self.actor.files.apply(self.number, operation)
            self.answers.append(answer)
        return self.answers[place]

    def draw(self) -> str:
        """A random name, the same whenever the actor is run."""
        self.drawn += 1
        return random.Random(f"{self.actor.name} {self.drawn}").randbytes(16).hex()


class _Written(io.BytesIO):
    """A file that appears whole when it is closed."""

    def __init__(self, put: Callable[[bytes], Any]):
        super().__init__()
        self.put = put

    def close(self) -> None:
        if not self.closed:
            self.put(self.getvalue())
        super().close()


class Memory(fs.FileSystemHandler):
    """The filesystem that an actor sees in a run."""

    def __init__(self, run: Run, atomic_rename: bool, aged: bool):
        self.run, self.atomic_rename, self.aged = run, atomic_rename, aged

    def get_type_name(self) -> str:
        return "memory"

    def normalize_path(self, path: str) -> str:
        return path

    def _info(self, path: str, size: int | None) -> fs.FileInfo:
        if size is None:
            return fs.FileInfo(path, fs.FileType.NotFound)
        written = 1e9 if self.aged else time.time()  # as long ago as can be, or just now
        return fs.FileInfo(path, fs.FileType.File, mtime_ns=int(written * 1e9), size=size)

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return [self._info(path, self.run.perform("look", path)) for path in paths]

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        assert not selector.recursive
        found = self.run.perform("list", selector.base_dir.rstrip("/"))
        if not found and not selector.allow_not_found:
            raise FileNotFoundError(selector.base_dir)
        return [self._info(path, size) for path, size in found]

    def open_input_file(self, path: str) -> pa.NativeFile:
        content = self.run.perform("read", path)
        if content is None:
            raise FileNotFoundError(2, "No such file", path)
        return pa.BufferReader(content)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        return pa.PythonFile(_Written(lambda content: self.run.perform("put", path, content)), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        raise NotImplementedError

    def create_dir(self, path: str, recursive: bool) -> None:
        pass

    def delete_dir(self, path: str) -> None:
        raise NotImplementedError

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        if not self.run.perform("delete", path):
            raise FileNotFoundError(2, "No such file", path)

    def copy_file(self, path: str, other: str) -> None:
        if not self.run.perform("copy", path, other):
            raise FileNotFoundError(2, "No such file", path)

    def move(self, path: str, other: str) -> None:
        if self.atomic_rename:
            if not self.run.perform("move", path, other):
                raise FileNotFoundError(2, "No such file", path)
            return
        self.copy_file(path, other)
        with contextlib.suppress(FileNotFoundError):  # which object stores do not say of a deletion
            self.delete_file(path)

    def exclusively(self, path: str, content: bytes) -> bool:
        """Creates a file, unless it is there."""
        return self.run.perform("create", path, bytes(content))


class _Inline:
    """In place of a pool of threads: one call after the other."""

    def __init__(self, workers: int | None = None):
        pass

    def __enter__(self) -> _Inline:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def map(self, function: Callable, *arguments: Iterable) -> Iterator:
        return iter([function(*some) for some in zip(*arguments, strict=False)])


@functools.cache
def _decode(content: bytes, table: str, columns: tuple[str, ...] | None) -> pa.Table:
    return parts.decode(content, table, columns)


def _decoded(content: bytes, table: str, columns: Iterable[str] | None = None) -> pa.Table:
    return _decode(content, table, columns and (*columns,))


@functools.cache
def _read_metadata(content: bytes) -> pq.FileMetaData:
    return parts.read_metadata(pa.BufferReader(content))


@functools.cache
def _rows(content: bytes, schema: pa.Schema) -> pa.Table:
    return pq.read_table(pa.BufferReader(content)).cast(schema)


_made_dataset = dataset.dataset


def _dataset(paths: list[str], filesystem: fs.FileSystem, format: str, schema: pa.Schema) -> dataset.Dataset:
    """In place of `pyarrow.dataset.dataset`, whose threads open files in any order: files are opened in theirs."""
    assert format == "parquet"
    tables = []
    for path in paths:
        with filesystem.open_input_file(path) as file:
            tables.append(_rows(file.read(), schema))
    return _made_dataset(tables)


@dataclass
class Node:
    """A place in the tree of what an actor does: its next operation, or, at an end, what it returned or raised."""

    operation: Operation | None = None
    returned: Any = None
    raised: BaseException | None = None
    answers: tuple[Hashable, ...] = ()
    next: dict[Hashable, Node] = field(default_factory=dict)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass
class Actor:
    """Whoever uses the store, by a ``name`` that no other has, on which depends what it draws at random.

    ``call``: a function of a `Store`, or of whatever ``opened`` makes. ``observes``: what it returns is
    what a reader has seen. ``promises``: the trials that have to be in the tables once it has returned.
    """

    name: str
    call: Callable[[Any], Any]
    observes: bool = False
    promises: frozenset[str] = frozenset()
    files: Files = field(init=False)
    opened: Callable[[Memory], Any] = field(init=False)
    ways: Mapping[str, bool] = field(init=False)
    first: Node | None = field(init=False, default=None)
    runs: int = field(init=False, default=0)

    def start(self, number: int) -> Node:
        if self.first is None:
            self.first = self._run((), number)
        return self.first

    def follow(self, node: Node, answer: Hashable, after: int) -> Node:
        """Where the actor is once its operation was answered, with these files."""
        if answer not in node.next:
            self._run((*node.answers, answer), after)
        return node.next[answer]

    def _run(self, answers: tuple[Hashable, ...], after: int) -> Node:
        run = Run(self, list(answers), after)
        self.runs += 1
        end = Node()
        with _deterministic(run):
            try:
                run.perform("begin", "")
                end.returned = self.call(self.opened(Memory(run, **self.ways)))
            except Exception as error:
                end.raised = error
        # the run's operations become a branch of the tree
        here = first = self.first or Node(run.operations[0])
        self.first = first
        for place, answer in enumerate(run.answers):
            assert here.operation == run.operations[place], (
                f"{self.name} is not deterministic: {here.operation} before, {run.operations[place]} now"
            )
            last = place + 1 == len(run.operations)
            if answer not in here.next:
                new = end if last else Node(run.operations[place + 1])
                new.answers = tuple(run.answers[: place + 1])
                here.next[answer] = new
            here = here.next[answer]
        return first

    def alone(self, number: int) -> tuple[int, Node]:
        """Runs it to its end with nobody beside it: the files afterwards, and its end."""
        node = self.start(number)
        while node.operation is not None:
            number, answer = self.files.apply(number, node.operation)
            node = self.follow(node, answer, number)
        return number, node


class _Forgetful(dict):
    """Knows what was put last, as long as that is asked for."""

    def __contains__(self, key: object) -> bool:
        return False


@contextlib.contextmanager
def _deterministic(run: Run) -> Iterator[None]:
    """Within it nothing but the answers of the store decides what is done."""
    with contextlib.ExitStack() as stack:
        for place, name, new in (
            (uuid, "uuid4", lambda: uuid.UUID(run.draw())),
            (secrets, "token_hex", lambda size=16: (run.draw() * 4)[: 2 * size]),
            (time, "sleep", lambda seconds: None),
            (dataset, "dataset", _dataset),
            # the same content is decoded once
            *((place, "decode", _decoded) for place in (reading, publishing)),
            *((place, "read_metadata", lambda file: _read_metadata(file.read())) for place in (reading, preparation)),
            (reading, "ThreadPoolExecutor", _Inline),
            (tables, "open_store", lambda store: store),
            (pairs, "_known_pairs", _Forgetful()),  # here a name is used again in another schedule
        ):
            stack.enter_context(mock.patch.object(place, name, new))
        yield


class Step(NamedTuple):
    actor: str
    what: str

    def __str__(self) -> str:
        return f"{self.actor}: {self.what}"


@dataclass(frozen=True)
class Violation:
    """What is wrong, and the steps that lead there."""

    kind: str
    what: str
    steps: tuple[Step, ...]
    interruptions: int

    def __str__(self) -> str:
        return "\n  ".join(
            [f"{self.kind}: {self.what}, after {self.interruptions} interruptions", *map(str, self.steps)]
        )


@dataclass
class Explored:
    """What was visited, and what was found wrong, one of each kind."""

    states: int
    runs: int
    """Of actors: as many series of answers were met."""
    whole: bool
    """Whether all was visited that was asked for."""
    interruptions: int
    """Of the state visited last, which takes the most."""
    violations: dict[str, Violation]


class Wrong(Exception):
    """Raised by checks: the kind of the violation and what it is."""

    def __init__(self, kind: str, what: str):
        super().__init__(f"{kind}: {what}")
        self.kind, self.what = kind, what


class Place(NamedTuple):
    """Where an actor is: in its tree, in a listing that the others have changed meanwhile, and what it has to see."""

    node: Node
    changed: frozenset
    owed: int | None  # the files as they were when it began


class Visit(NamedTuple):
    """A state and a way to it: the files, where each actor is, who came last, and the step that led here."""

    number: int
    places: tuple[Place, ...]
    last: int | None
    interruptions: int
    before: Visit | None
    step: Step | None

    def steps(self) -> tuple[Step, ...]:
        found, visit = [], self
        while visit.step is not None:
            found.append(visit.step)
            visit = visit.before
        return tuple(reversed(found))


@dataclass
class Checks:
    """What has to hold: of any files, of files before and after a step, and of what an actor has come to."""

    files: Callable[[int], None]
    step: Callable[[int, int], None]
    end: Callable[[Actor, Node, int, int], None]


class _Changed(Exception):
    """An actor has changed a file that none was known to change."""


def explore(
    files: Files,
    initial: int,
    actors: list[Actor],
    checks: Checks,
    most: int = 200_000,
    interruptions: int | None = None,
    stop: bool = True,
) -> Explored:
    """Visits all states, or the ``most`` that take the fewest interruptions, or those that take no more than so many;
    stops at the first that is wrong, or else finds the first of each kind.

    A step that changes nothing, and sees no file that any other actor ever changes, may as well come first of all: of
    schedules that differ in when it comes only one is visited. Which files those are shows while states are visited;
    where there turn out to be more of them, all begins again.
    """
    changed: list[set[str]] = [set() for _ in actors]
    while True:
        with contextlib.suppress(_Changed):
            return _explore(files, initial, actors, checks, most, interruptions, stop, changed)


def _explore(
    files: Files,
    initial: int,
    actors: list[Actor],
    checks: Checks,
    most: int,
    interruptions: int | None,
    stop: bool,
    changed: list[set[str]],
) -> Explored:
    places = tuple(Place(actor.start(initial), frozenset(), None) for actor in actors)
    queue = deque([Visit(initial, places, None, 0, None, None)])
    reached: dict[tuple, tuple[int, set]] = {}
    violations: dict[str, Violation] = {}
    whole, bound = True, 0
    private: dict[tuple[int, Operation], bool] = {}

    def is_private(actor: int, operation: Operation | None, number: int) -> bool:
        if operation is None or files.apply(number, operation)[0] != number:
            return False
        if (actor, operation) not in private:
            others = set().union(*(paths for other, paths in enumerate(changed) if other != actor))
            private[actor, operation] = not any(map(operation.sees, others))
        return private[actor, operation]

    def checked(visit: Visit, check: Callable, *arguments: Any) -> bool:
        try:
            check(*arguments)
        except Wrong as wrong:
            found = Violation(wrong.kind, wrong.what, visit.steps(), visit.interruptions)
            violations.setdefault(wrong.kind, found)
            return False
        return True

    checked(queue[0], checks.files, initial)
    while queue and not (stop and violations):
        visit = queue.popleft()
        if interruptions is not None and visit.interruptions > interruptions:
            break
        key = (visit.number, visit.places)
        if key not in reached:
            if len(reached) >= most:
                whole = False
                break
            reached[key] = (visit.interruptions, {visit.last})
            movers: Iterable[int] = range(len(actors))
            bound = visit.interruptions
        else:  # it was reached with another actor's step last, who may go on without an interruption
            least, lasts = reached[key]
            if visit.interruptions > least or visit.last in lasts:
                continue
            lasts.add(visit.last)
            movers = (visit.last,)
        alone = [
            mover
            for mover, place in enumerate(visit.places)
            # from when a reader begins counts what it has to see
            if not (actors[mover].observes and place.node is actors[mover].first)
            and is_private(mover, place.node.operation, visit.number)
        ][:1]
        for mover in alone or movers:
            operation = visit.places[mover].node.operation
            if operation is None:
                continue
            switches = visit.last not in (None, mover) and visit.places[visit.last].node.operation is not None
            for after in _after(files, actors, visit, mover, visit.interruptions + (switches and not alone)):
                if alone and visit.last is not None:
                    after = after._replace(last=visit.last)
                good = True
                if after.number != visit.number:
                    new = {path for path in (operation.path, operation.argument) if isinstance(path, str)}
                    if not new <= changed[mover]:
                        changed[mover] |= new
                        raise _Changed
                    good = checked(after, checks.step, visit.number, after.number)
                    good = good and checked(after, checks.files, after.number)
                place = after.places[mover]
                if place.node.operation is None:
                    good &= checked(after, checks.end, actors[mover], place.node, place.owed, after.number)
                if good:  # what comes after what is wrong is wrong for the same reason
                    queue.append(after) if after.interruptions > visit.interruptions else queue.appendleft(after)
    return Explored(len(reached), sum(actor.runs for actor in actors), whole, bound, violations)


def wander(
    files: Files, initial: int, actors: list[Actor], checks: Checks, schedules: int, seed: int
) -> Violation | None:
    """Follows so many schedules drawn at random, in which any actor may come at any step, to the first violation."""
    chance = random.Random(seed)
    places = tuple(Place(actor.start(initial), frozenset(), None) for actor in actors)
    for _ in range(schedules):
        visit = Visit(initial, places, None, 0, None, None)
        weights = [chance.random() for _ in actors]  # so that in some an actor is slow
        while movers := [mover for mover, place in enumerate(visit.places) if place.node.operation is not None]:
            mover = chance.choices(movers, [weights[mover] for mover in movers])[0]
            interrupts = visit.last in movers and visit.last != mover
            found = list(_after(files, actors, visit, mover, visit.interruptions + interrupts))
            before, visit = visit.number, chance.choice(found)
            try:
                if visit.number != before:
                    checks.step(before, visit.number)
                    checks.files(visit.number)
                place = visit.places[mover]
                if place.node.operation is None:
                    checks.end(actors[mover], place.node, place.owed, visit.number)
            except Wrong as wrong:
                return Violation(wrong.kind, wrong.what, visit.steps(), visit.interruptions)
    return None


def _after(files: Files, actors: list[Actor], visit: Visit, mover: int, interruptions: int) -> Iterator[Visit]:
    """The states to which an actor's next step leads."""
    place, actor = visit.places[mover], actors[mover]
    operation = place.node.operation
    number, answer = files.apply(visit.number, operation)
    answers = [answer]
    if operation.kind == "list":
        answers = listings(files.entries(number, operation), place.changed)
    others = visit.places
    if number != visit.number:
        others = tuple(
            one._replace(changed=one.changed | files.changes(visit.number, number, one.node.operation))
            if one.node.operation is not None and one.node.operation.kind == "list"
            else one
            for one in visit.places
        )
    owed = visit.number if place.owed is None else place.owed
    if not actor.observes:
        owed = -1  # one for all, since it makes no difference
    for answer in answers:
        new = Place(actor.follow(place.node, answer, number), frozenset(), owed)
        said = f"{operation}{_told(operation, answer)}"
        places = (*others[:mover], new, *others[mover + 1 :])
        yield Visit(number, places, mover, interruptions, visit, Step(actor.name, said))


def _told(operation: Operation, answer: Any) -> str:
    """What an operation answered, in a step's line."""
    if operation.kind == "list":
        return f": {', '.join(posixpath.basename(path) for path, _ in answer) or 'nothing'}"
    if operation.kind in ("read", "look"):
        return ": not there" if answer is None else ""
    if operation.kind == "create":
        return "" if answer else ": there already"
    return "" if operation.kind in ("begin", "put") or answer else ": not there"
