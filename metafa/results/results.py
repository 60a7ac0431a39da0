"""A study's results: the tables `trials` and `measurements`, folders that ``pandas.read_parquet`` reads as they are.

A trial is published by one act: its part of `measurements` is created, under its `trial_id`, where there was none, and
carries its row of `trials` with it, which is put there afterwards. Parts are compacted into larger ones, a pair that
counts from the moment in which its second half, in `trials`, is created. What any number of processes may do at once,
and why that loses and doubles nothing, is in docs/results.md.

Every part carries a digest of itself, so that a damaged one is found.
"""

from __future__ import annotations

from metafa.errors import ResultsError
import contextlib
import datetime
import errno
import io
import itertools
import json
import posixpath
import re
import secrets
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metafa.results import heartbeat, leases
from metafa.studies.card import card
from metafa.results import store as stores
from metafa.results.parts import (check_rows, check_schema, check_total, decode, read_metadata)
from metafa.errors import (PartError)
from metafa.studies.settings import DIVERGED_TIMES_CHANCE, NUMERICS, flatten
from metafa.results.store import (Store)
from metafa.errors import (StoreError)
from metafa.studies.study import (Study, parse)
from metafa.errors import (StudyError)

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("trials", "measurements")
PARTIAL = "partial"  # the folder of what trials under way keep
IMAGES = "images.json"  # the digests of the images that its trials draw on
PLAN = ".compacting.json"  # of a compaction, as earlier versions left it when they were interrupted
OF_STUDY = (b"metafa.study", b"metafa.fingerprint")  # in the metadata of every part
ROW = b"metafa.trial"  # in the metadata of a trial's part of `measurements`: its row of `trials`
# what continuing has to know
CONTINUED = ("trial_id", "status", "point", "objectives", "started", "numerics", "data")
ROWS_A_PART = 2_000_000  # of `measurements`, in a compacted part, about
SMALL_BYTES = 2**24  # a part below this size is worth compacting
SHOWN = 3  # settings that differ, in a sentence
HELD_BYTES = 2**27  # of parts that are read whole, at a time
NOTE_BYTES = 2**21  # of what stands beside the tables, at most: a study file has half of it
READERS, LOCAL_READERS = 16, 2  # parts read at a time: more would take each other's interpreter
ITEMS = 16  # of them by each reader, one after the other
PLACES = 5  # attempts at a place where something stands that is no part
PAIRS = 64  # of which is remembered which trials they have
LISTINGS = 50  # of both folders, until two agree
TRIES = 20  # at reading parts that others put together meanwhile
ABANDONED = 60.0  # seconds, after which a file that is being written is taken for left behind
OWN = re.compile(r"([0-9a-f]{16})\.parquet")  # a trial's part, by its trial_id
FAILED = re.compile(r"failed-([0-9a-f]{16})\.parquet")  # in `trials`, of a trial that is to be tried again
COMPACTED = re.compile(r"(\.?)(compact-[0-9a-f]{16}\.parquet)")  # hidden until what it takes the place of is gone

OURS = re.compile(r"[/\\](metafa|analysis)[/\\]\w+\.py$")  # files of metafa

MEASUREMENTS = pa.schema(
    [
        ("trial_id", pa.string()),
        ("seed", pa.int64()),
        ("learning_rate", pa.float64()),  # of the replica, where a trial has several side by side; else null
        ("phase", pa.string()),
        ("step", pa.int64()),
        ("metric", pa.string()),
        ("layer", pa.int64()),  # from 1; null for what is not of one layer
        ("component", pa.int64()),  # from 1: of singular values, the largest first, or principal components; else null
        ("task", pa.string()),  # a task distribution, or "noise"; null for what is not measured on inputs
        ("value", pa.float64()),
    ]
)
# What describes the run and not its result: these columns of `trials` differ when a study is run again.
RUN_COLUMNS = {
    "started": pa.timestamp("us", tz="UTC"),
    "seconds": pa.float64(),
    "host": pa.string(),
    "device": pa.string(),
    "cpus": pa.int64(),
    "metafa_commit": pa.string(),
    **{
        f"{name}_version": pa.string()
        for name in ("python", "metafa", "torch", "numpy", "learn2learn", "ray", "optuna")
    },
}
OUTCOME = {
    "trial_id": pa.string(),
    "study": pa.string(),
    "status": pa.string(),
    "search": pa.string(),  # how the study's trials were chosen, and whether that depends on timing
    "point": pa.string(),  # of the search space, what the study varies, as JSON
    "objectives": pa.list_(pa.float64()),  # what an adaptive search learns of the trial
    "error": pa.string(),
    "divergence_bound": pa.float64(),  # nats
    "divergences": pa.list_(
        pa.struct(
            [
                ("seed", pa.int64()),
                ("learning_rate", pa.float64()),
                ("phase", pa.string()),
                ("step", pa.int64()),
                ("metric", pa.string()),
            ]
        )
    ),
    "diverged_seeds": pa.list_(pa.int64()),
    "diverged_phase": pa.string(),
    "diverged_step": pa.int64(),
    "stopped_phase": pa.string(),
    "stopped_step": pa.int64(),
    "numerics": pa.int64(),  # of metafa: what the same settings compute
    "threads": pa.int64(),  # among which a sum is split
    "data": pa.string(),  # the digests of the images that the trial draws on, as JSON
}
_PLAIN = (pa.bool_(), pa.int64(), pa.float64(), pa.string(), pa.null())
TYPES = {str(kind): kind for kind in (*OUTCOME.values(), *RUN_COLUMNS.values(), *_PLAIN, *map(pa.list_, _PLAIN))}
"""Of columns of `trials`, by how they are called."""
MEANINGS = {
    "measurements": {
        "trial_id": "the trial, as in `trials`",
        "seed": "the replica's, 0, 1, ...; in all trials seed 3 has the same weights, feedback and tasks at the start",
        "learning_rate": "the replica's, where a trial has several side by side; else null",
        "phase": "the phase's name",
        "step": "training steps of a phase that trains; inner steps of one that evaluates; outer steps of `meta`",
        "metric": "what was measured, one of the metrics below",
        "layer": "from 1; null for what is not of one layer",
        "component": "from 1, of singular values and principal components; else null",
        "task": "the inputs measured on: a task distribution, a dataset, one changed such as `mnist10k/rotation=30`, "
        "or `noise`; null for the batch trained on, and for what is not measured on inputs",
        "value": "the number, in the metric's unit",
    },
    "trials": {
        "trial_id": "a hash of what determines the result",
        "study": "the study's name",
        "status": "`done`, `diverged` (at least one seed did, as `divergences` say), `stopped` (early) or `failed` (it "
        "raised an error, or its process died)",
        "search": "how the study's trials were chosen, and whether that depends on timing",
        "point": "what the study varies, as JSON: a value for each search space",
        "objectives": "what an adaptive search learns of the trial; null of other searches",
        "error": "what went wrong, if anything did",
        "divergence_bound": "the loss, in nats, above which a network counts as diverged: "
        f"{DIVERGED_TIMES_CHANCE:,.0f} times that of chance, the logarithm of the number of outputs",
        "divergences": "where each replica that diverged first did, as a list of `seed`, `learning_rate` (as in "
        "`measurements`), `phase`, `step` and `metric`: a number measured there was not finite, or a `loss` or "
        "`meta_loss` above `divergence_bound`; `metric` is null where the weights, the feedback or the readout in "
        "training were not finite. Its numbers of that phase and of all after it are left out of every analysis, and "
        "stay in `measurements` as they were measured. Null of a trial that was stopped or failed",
        "diverged_seeds": "the seeds that diverged",
        "diverged_phase": "where the first of them did",
        "diverged_step": "and at which step",
        "stopped_phase": "where early stopping stopped the trial",
        "stopped_step": "and at which step",
        "numerics": "of metafa, raised when the same settings compute something else",
        "threads": "how many share a sum, and so decide how it rounds: `cpus_per_trial` of the study",
        "data": "the images that the trial draws on, as JSON: for each task distribution and split, and for each "
        "dataset and part, a digest of the images and labels; part of `trial_id`",
        "started": "when the trial started, UTC",
        "seconds": "how long it took",
        "host": "the machine",
        "device": "its CPU or GPU",
        "cpus": "its CPU cores",
        "metafa_commit": "of the checkout that ran it; empty where that was not one",
    },
}
"""What each column is; the settings of `trials` go by their dotted names besides, and so do versions."""
ENDED = ("done", "diverged")  # a stopped or failed trial is no part of any analysis
FINISHED = (*ENDED, "stopped")  # a failed trial is tried again


Read = TypeVar("Read")
Item = TypeVar("Item")
Made = TypeVar("Made")


class Results(NamedTuple):
    """Both tables of a study."""

    trials: pd.DataFrame
    measurements: pd.DataFrame

    def _repr_html_(self) -> str:
        if self.trials.empty:
            return card("Results", {"trials": "none has ended yet"})
        statuses = ", ".join(f"{n} {status}" for status, n in self.trials["status"].value_counts().items())
        rows = {"trials": statuses or "none"}
        rows["phases"] = ", ".join(map(str, self.measurements["phase"].unique()))
        rows |= {f"shape of {table}": "{} rows, {} columns".format(*getattr(self, table).shape) for table in TABLES}
        return card(f"Results of {', '.join(map(str, self.trials['study'].unique()))}", rows)


def load(address: str | Path) -> Results:
    """The tables at ``address``, a folder or an object store's, as data frames. Raises `ResultsError` where there are
    none."""
    store = open_store(address)
    _study_text(store)
    trials, measurements = (read_table(store, table) for table in TABLES)
    # what was published after `trials` was read is left out
    ended = trials.filter(pc.field("status") != "failed")["trial_id"].to_pylist() if trials.num_columns else []
    measurements = measurements.filter(_among(ended))
    return Results(trials.to_pandas(), measurements.to_pandas())


@contextlib.contextmanager
def of_a_study(which: str) -> Iterator[None]:
    """Within it, whatever fails over results raises `ResultsError`, which names the place in metafa: their types and
    names are checked where they are read, and not that rows, settings and study fit each other."""
    try:
        yield
    except (ResultsError, OSError):
        raise
    except Exception as error:
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if OURS.search(frame.filename)]
        place = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
        said = (str(error).splitlines() or [""])[0][:200]
        raise ResultsError(
            f"{which}: the tables hold what no study of metafa writes ({type(error).__name__}{place}: {said})"
        ) from error


def open_store(address: str | Path) -> Store:
    """The store at ``address``. Raises `ResultsError`."""
    try:
        return stores.at(address)
    except StoreError as error:
        raise ResultsError(str(error)) from error


def prepare(store: Store, study: Study) -> None:
    """Makes ``store`` ready for the results of ``study``. Raises `ResultsError`, and then has written nothing."""
    check(store, study)
    try:
        store.make_folders("")
        # first, since by it the folder is known as ours; later a study with more trials takes its place
        new = store.create("study.toml", study.text.encode(), durable=True)
        if not new and store.read("study.toml").decode() != study.text:
            check(store, study)  # another run may have begun here meanwhile
            store.put("study.toml", study.text.encode(), durable=True)
        if study.digests and study.digests != _digests(store):
            store.put(IMAGES, json.dumps(study.digests, indent=1, sort_keys=True).encode())
        store.make_folders(*TABLES, PARTIAL, leases.FOLDER, heartbeat.FOLDER)
    except OSError as error:
        raise ResultsError(f"{store.address} cannot be written: {reason(error)}") from error


def check(store: Store, study: Study) -> None:
    """Raises `ResultsError` where ``store`` cannot take the results of ``study``."""
    if store.local:
        _check_folder(store)
    if not store.exists("study.toml") and not _every_part(store):
        if store.local and Path(store.root).is_dir() and any(p.name[0] != "." for p in Path(store.root).iterdir()):
            raise ResultsError(f"{store.address} is not a results folder of metafa: it has no study.toml")
        return
    elsewhere = "choose another folder with --results"
    try:
        other = parse(_study_text(store), study.name, f"{store.address}/study.toml", has_results=True)
    except StudyError as error:
        raise ResultsError(
            f"{store.address} holds the results of a study, kept there as study.toml, that this metafa cannot "
            f"read ({error.messages[0]}); {elsewhere}"
        ) from error
    if not study.continues(other):
        found = study.differences(other)
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        room = "`choices`" if other.search.method == "grid" else "`trials`"
        raise ResultsError(
            f"{store.address} holds the results of another study ({other.name!r}), kept there as study.toml: "
            f"{'; '.join(found[:SHOWN]) or 'its trials are others'}{more}. A study that has results may be given more "
            f"{room}; for any other change, {elsewhere}"
        )


def _check_folder(store: Store) -> None:
    folder = Path(store.root)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ResultsError(f"{existing} is not a folder; choose another with --results")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ResultsError(
            f"{store.address} is not writable ({error.strerror}); choose another with --results"
        ) from error


def _study_text(store: Store) -> str:
    """The study file in ``store``, or, where that is gone, the one that its parts say they are of."""
    try:
        return store.read("study.toml", NOTE_BYTES).decode()
    except (FileNotFoundError, NotADirectoryError) as error:
        texts = _texts_of_parts(store)
        if texts:
            return texts[-1]
        raise ResultsError(
            f"{store.address} is not a results folder of metafa: it has no study.toml; `metafa run STUDY` says where "
            "its results are"
        ) from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{store.address}/study.toml is damaged: it is not UTF-8") from error
    except OSError as error:
        raise ResultsError(f"{store.address}/study.toml cannot be read: {reason(error)}") from error


def _texts_of_parts(store: Store) -> list[str]:
    """The study files that parts carry, those of fewer trials first: a study may have grown."""
    found: dict[str, int] = {}
    try:
        for name in (name for name in _every_part(store) if name.startswith("measurements/")):
            with store.filesystem.open_input_file(store.path(name)) as file:
                text = (read_metadata(file).metadata or {}).get(b"metafa.study", b"").decode()
            if text and text not in found:
                found[text] = parse(text, file="study", has_results=True).total
    except (OSError, ValueError, StudyError, pa.ArrowException) as error:
        raise ResultsError(f"{store.address} has no study.toml, and its parts say none: {reason(error)}") from error
    return sorted(found, key=lambda text: found[text])


def read_study(store: Store) -> Study:
    """The study whose results stand in ``store``, over the images that they are of. Raises `ResultsError`."""
    name = posixpath.basename(store.root)
    try:
        found = parse(_study_text(store), name, f"{store.address}/study.toml", has_results=True)
        return found.over(_digests(store))
    except StudyError as error:
        raise ResultsError(error.messages[0]) from error


def _digests(store: Store) -> dict[str, str]:
    """The digests of the images that results are of, as `prepare` has left them."""
    try:
        found = json.loads(store.read(IMAGES, NOTE_BYTES))
        return {name: digest for name, digest in found.items() if isinstance(digest, str)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


class Parts(NamedTuple):
    """Where the rows of both tables are at one moment."""

    own: list[str]
    """By their trial_id, the trials that have a part of `measurements` of their own, whether or not it is published:
    one of an earlier version is where `trials` has its row."""
    rows: set[str]
    """The trials that have a part of `trials` of their own."""
    failed: list[str]
    """The trials that have failed and are to be tried again, unless they are published as well."""
    compacted: dict[str, tuple[str, str]]
    """The pairs of compacted parts: by name, their files in `trials` and in `measurements`."""
    gone: set[str]
    """The trials that had a part of their own just before: one of the pairs has them, unless a listing missed it."""

    def path(self, table: str, name: str) -> str:
        return f"{table}/{self.compacted[name][TABLES.index(table)]}"


def find_parts(store: Store) -> Parts:
    """The parts of both tables. Raises `ResultsError` where a compacted part has lost its fellow."""
    own: set[str] = set()
    seen: Any = None
    for _ in range(LISTINGS):
        # measurements first: what is published is there until a pair that has it stands in both
        measurements, trials = store.names("measurements"), store.names("trials")
        before, seen = seen, (_compacted(store, "trials", trials), _compacted(store, "measurements", measurements))
        were, own = own, {match[1] for match in map(OWN.fullmatch, measurements) if match}
        if before == seen:  # a listing may miss a file that gets another name while it is made
            alone = {name: file for name, file in seen[0].items() if name not in seen[1]}
            if all(
                not _stands(store, "measurements", name) and store.exists(f"trials/{file}")
                for name, file in alone.items()
            ):
                break
    else:
        raise ResultsError(f"{store.address}: others put its parts together all the time; try again")
    if lost := [name for name, file in alone.items() if name == file]:
        raise ResultsError(
            f"{store.address}: the measurements of trials/{lost[0]} are lost; `metafa run STUDY` with the same study "
            "runs its trials again"
        )
    owned, rows, failed = (
        [match[1] for match in map(pattern.fullmatch, names) if match]
        for pattern, names in ((OWN, measurements), (OWN, trials), (FAILED, trials))
    )
    files, others = seen
    pairs = {name: (files[name], others[name]) for name in files.keys() & others.keys()}
    return Parts(owned, set(rows), failed, pairs, were - own)


def _stands(store: Store, table: str, name: str) -> bool:
    """Whether a compacted part is in a table: hidden at first, and renamed then, so that this is the order to look."""
    return any(store.exists(f"{table}/{dot}{name}") for dot in (".", ""))


def _compacted(store: Store, table: str, names: Iterable[str]) -> dict[str, str]:
    """Of the compacted parts among the files of a table, by their final name, the file: the one that is not hidden,
    where both are there. A hidden part without content counts for nothing: by it somebody has ended an interrupted
    compaction."""
    found = [match for match in map(COMPACTED.fullmatch, sorted(names)) if match]  # a dot comes before letters
    return {match[2]: match[0] for match in found if not match[1] or store.size(f"{table}/{match[0]}")}


def _again(read: Callable[[Store], Read]) -> Callable[[Store], Read]:
    """``read``, begun again where a part that was listed has been put together with others meanwhile."""

    def until_read(store: Store) -> Read:
        for attempt in range(TRIES):
            try:
                return read(store)
            except FileNotFoundError as error:
                if attempt + 1 == TRIES:
                    raise ResultsError(f"{store.address}: {reason(error)}; try again") from error
                time.sleep(0.01 * attempt)
            except (OSError, pa.ArrowException, PartError) as error:
                raise ResultsError(_damage(store, error)) from error
        raise AssertionError

    return until_read


def read_table(
    store: Store, table: str, columns: Sequence[str] | None = None, filter: pc.Expression | None = None
) -> pa.Table:
    """The rows of a table, of `measurements` those for which ``filter`` holds, in those of ``columns`` that it has;
    without columns where it has no parts. Raises `ResultsError` where a part is damaged."""
    read = partial(_read_trials, columns) if table == "trials" else partial(_read_measurements, columns, filter)
    return _again(read)(store)


def _read_trials(columns: Sequence[str] | None, store: Store) -> pa.Table:
    found, compacted = _listed(store)
    known = {trial_id for pair in compacted for trial_id in pair.trial_ids}
    tables = [_read_compacted(store, found, pair, columns) for pair in compacted]
    own = [one for one in found.own if one not in known]
    rows = _each(store, partial(_own_row, store, found), own)
    known |= {one for one, row in zip(own, rows, strict=True) if row is not None}
    rows += _each(store, partial(_failed_row, store), [one for one in found.failed if one not in known])
    tables += _as_tables([row for row in rows if row is not None], columns)
    return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})


def _read_measurements(columns: Sequence[str] | None, filter: pc.Expression | None, store: Store) -> pa.Table:
    found, compacted = _listed(store)
    known = {trial_id for pair in compacted for trial_id in pair.trial_ids}
    own = {one for one in found.own if one not in known}
    unsure = sorted(own - found.rows)  # without a row in `trials`, as one that is being published, or never was
    rows = _each(store, partial(_own_row, store, found), unsure)
    own -= {one for one, row in zip(unsure, rows, strict=True) if row is None}
    there = MEASUREMENTS.names if columns is None else [name for name in MEASUREMENTS.names if name in columns]

    values, size, counting = 0, 0, threading.Lock()

    def own_rows(trial_id: str) -> pa.Table:
        nonlocal values, size
        name = f"measurements/{trial_id}.parquet"
        content = store.read(name)
        with _naming(name), counting:  # each of many may hold little, and all of them more than there is memory for
            values += _metadata(content).num_rows * len(MEASUREMENTS)
            size += len(content)
            check_total(values, "measurements", size)
        table = _own_measurements(trial_id, content)
        return (table if filter is None else table.filter(filter)).select(there).replace_schema_metadata(None)

    tables = _each(store, own_rows, sorted(own))
    for pair in compacted:
        name = found.path("measurements", pair.name)
        table = _decoded(store, name)
        if set(pc.unique(table["trial_id"]).to_pylist()) - {*pair.trial_ids, *pair.doubled}:
            raise PartError(f"{name} has measurements of trials that its fellow in `trials` does not name")
        chosen = _both(filter, _among(pair.trial_ids)) if pair.doubled else filter
        tables.append((table if chosen is None else table.filter(chosen)).select(there).replace_schema_metadata(None))
    return pa.concat_tables(tables) if tables else MEASUREMENTS.empty_table().select(there)


def _among(trial_ids: list[str]) -> pc.Expression:
    return pc.field("trial_id").isin(pa.array(trial_ids, pa.string()))


def _decoded(store: Store, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part. Raises `PartError`."""
    return _table(name, store.read(name), columns)


def _table(name: str, content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part that has this content, and may be anybody's. Raises `PartError`."""
    with _naming(name):
        return decode(_sound(content), name.partition("/")[0], columns)


def _own_measurements(trial_id: str, content: bytes) -> pa.Table:
    """The rows of a trial's part of `measurements`. Raises `PartError`."""
    name = f"measurements/{trial_id}.parquet"
    table = _table(name, content)
    if set(pc.unique(table["trial_id"]).to_pylist()) - {trial_id}:
        raise PartError(f"{name} is of another trial")
    return table


def _sound(content: bytes) -> bytes:
    """The content of a part, if it is as it was written: a flipped bit might read as another number. Raises
    `PartError`."""
    if not stores.sealed(content):
        raise PartError("is damaged")
    return content


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Has what is wrong with a part begin with its name."""
    try:
        yield
    except PartError as error:
        raise PartError(f"{name} {error}") from error


def _both(one: pc.Expression | None, other: pc.Expression) -> pc.Expression:
    return other if one is None else one & other


def _chosen(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    return table if columns is None else table.select([name for name in columns if name in table.column_names])


def _each(store: Store, do: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """What ``do`` makes of each item, several at a time: of an object store most of it is waiting."""
    some = [items[i : i + ITEMS] for i in range(0, len(items), ITEMS)]
    with ThreadPoolExecutor(LOCAL_READERS if store.local else READERS) as pool:
        return [one for made in pool.map(lambda group: [do(item) for item in group], some) for one in made]


class Compacted(NamedTuple):
    """A pair of compacted parts: which of its trials are to be read from it, and which another pair has as well, as it
    comes to be where a process was taken for gone and went on."""

    name: str
    trial_ids: list[str]
    doubled: list[str]


_known_pairs: dict[tuple[str, str, str], list[str]] = {}
"""The trials of compacted parts that this process has read, by the store and the name: what has one never changes."""


def _trial_ids(store: Store, name: str, file: str) -> list[str]:
    key = (store.address, store.root, name)
    if key not in _known_pairs:
        trial_ids = _decoded(store, file, ["trial_id"])["trial_id"].to_pylist()
        if len(set(trial_ids)) < len(trial_ids):
            raise PartError(f"{file} has two rows of one trial")
        if len(_known_pairs) >= PAIRS:
            _known_pairs.clear()
        _known_pairs[key] = trial_ids
    return _known_pairs[key]


def _compacted_trials(store: Store, found: Parts) -> list[Compacted]:
    pairs, known = [], set[str]()
    for name in sorted(found.compacted):
        trial_ids = _trial_ids(store, name, found.path("trials", name))
        pairs.append(
            Compacted(name, [one for one in trial_ids if one not in known], [one for one in trial_ids if one in known])
        )
        known.update(trial_ids)
    return pairs


def _listed(store: Store) -> tuple[Parts, list[Compacted]]:
    """What there is to be read: parts, and the trials of those that are pairs."""
    for _ in range(LISTINGS):
        found = find_parts(store)
        compacted = _compacted_trials(store, found)
        if found.gone <= {trial_id for pair in compacted for trial_id in pair.trial_ids}:
            return found, compacted
    raise ResultsError(f"{store.address}: its parts are removed all the time; try again")


def _read_compacted(store: Store, found: Parts, pair: Compacted, columns: Sequence[str] | None) -> pa.Table:
    file = found.path("trials", pair.name)
    if not pair.doubled:
        return _decoded(store, file, columns)
    rows = _decoded(store, file, None if columns is None else ["trial_id", *columns])
    return _chosen(rows.filter(_among(pair.trial_ids)), columns)


class Row(NamedTuple):
    """A row of `trials`: the types of its columns, by name, and of those that are not null the values."""

    types: Mapping[str, pa.DataType]
    values: Mapping[str, Any]
    metadata: Mapping[bytes, bytes]

    def chosen(self, columns: Iterable[str]) -> dict[str, Any]:
        return {name: self.values.get(name) for name in columns}


def _own_row(store: Store, found: Parts, trial_id: str) -> Row | None:
    """A trial's row of `trials`, as its part of `measurements` carries it; None where it is not published. Raises
    `PartError`."""
    name = f"measurements/{trial_id}.parquet"
    content = store.read(name)
    with _naming(name):
        row = carried(_metadata(_sound(content)))
    if row is None and trial_id in found.rows:  # of an earlier version
        row = _row_of(_decoded(store, f"trials/{trial_id}.parquet"))
    if row is not None and row.values.get("trial_id") != trial_id:
        raise PartError(f"{name} is of another trial")
    return row


def _failed_row(store: Store, trial_id: str) -> Row:
    """The row of a trial that has failed and is to be tried again. Raises `PartError`."""
    name = f"trials/failed-{trial_id}.parquet"
    with _naming(name):
        row = _row_of(_decoded(store, name))
        if (row.values.get("trial_id"), row.values.get("status")) != (trial_id, "failed"):
            raise PartError("is of no failure of that trial")
    return row


def _carry(row: pa.Table) -> bytes:
    """A row of `trials` as JSON, with the types of its columns."""
    values = {name: value for name, value in row.to_pylist()[0].items() if value is not None}
    types = {column.name: str(column.type) for column in row.schema}
    return json.dumps({"types": types, "values": values}, default=lambda moment: moment.isoformat()).encode()


def carried(metadata: pq.FileMetaData) -> Row | None:
    """The row of `trials` that a part of `measurements` carries; None of an earlier version's. Raises `PartError`."""
    kept = metadata.metadata or {}
    if ROW not in kept:
        return None
    try:
        said = json.loads(kept[ROW])
        types = {name: TYPES[kind] for name, kind in said["types"].items()}
        values = {name: value for name, value in said["values"].items() if name in types}
        for name, kind in types.items():
            if pa.types.is_timestamp(kind) and name in values:
                values[name] = datetime.datetime.fromisoformat(values[name]).astimezone(datetime.UTC)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise PartError("carries no row of `trials`") from error
    return Row(types, values, {key: kept[key] for key in OF_STUDY if key in kept})


def _row_of(table: pa.Table) -> Row:
    """The row of a table of one."""
    if len(table) != 1:
        raise PartError(f"has {len(table)} rows, where a trial has one")
    values = {name: value for name, value in table.to_pylist()[0].items() if value is not None}
    return Row({column.name: column.type for column in table.schema}, values, table.schema.metadata or {})


def _as_tables(rows: Iterable[Row], columns: Sequence[str] | None = None) -> list[pa.Table]:
    """Rows of `trials` as tables, one of those that have the same columns."""
    alike: dict[tuple, list[Row]] = {}
    for row in rows:
        alike.setdefault((*row.types.items(), *row.metadata.items()), []).append(row)
    tables = []
    for some in alike.values():
        names = [name for name in some[0].types if columns is None or name in columns]
        schema = pa.schema([(name, some[0].types[name]) for name in names], metadata=dict(some[0].metadata))
        try:
            check_schema(pa.schema(some[0].types.items()), "trials")
            table = pa.Table.from_pylist([row.chosen(names) for row in some], schema)
            check_rows(table, "trials")
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            if len(some) > 1:  # whose it is
                tables += [table for row in some for table in _as_tables([row], columns)]
                continue
            name = f"measurements/{some[0].values.get('trial_id')}.parquet"
            raise PartError(f"{name} carries a row of `trials` that no study has: {reason(error)}") from error
        tables.append(table)
    return tables


def _damage(store: Store, error: Exception) -> str:
    """Which parts cannot be read, and what to do about it."""
    bad = [name for name, content in _contents(store, _every_part(store)) if not stores.sealed(content)]
    if not bad:
        return f"{store.address}{'/' if isinstance(error, PartError) else ': '}{reason(error)}"
    more = f" and {len(bad) - 3} more parts" if len(bad) > 3 else ""
    return (
        f"{store.address}: damaged: {', '.join(bad[:3])}{more}; `metafa run STUDY` with the same study takes what is "
        "damaged out, and runs its trials again"
    )


def _every_part(store: Store) -> list[str]:
    return [
        f"{table}/{name}"
        for table in TABLES
        for name in store.names(table)
        if any(pattern.fullmatch(name) for pattern in (OWN, FAILED, COMPACTED))
    ]


def _contents(store: Store, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The content of each of these files that is there."""

    def read(name: str) -> tuple[str, bytes | None]:
        with contextlib.suppress(FileNotFoundError):
            return name, store.read(name)
        return name, None

    sizes = {f"{table}/{name}": size for table in TABLES for name, size in store.sizes(table).items()}
    some, held = list[str](), 0  # no more of them than that are held at once
    for name in itertools.chain(names, [None]):
        if name is not None:
            some.append(name)
            held += sizes.get(name, 0)
        if name is None or held >= HELD_BYTES or len(some) >= READERS * ITEMS:
            yield from ((one, content) for one, content in _each(store, read, some) if content is not None)
            some, held = [], 0


def trial_rows(store: Store, columns: Sequence[str] = ("trial_id", "status")) -> list[dict[str, Any]]:
    """The rows of `trials`, None in columns that they lack. Raises `ResultsError`."""
    return rows_of(store, columns=columns)


def continued_rows(store: Store) -> list[dict[str, Any]]:
    """What a study that is continued has to know of its trials. Raises `ResultsError` where this version of metafa
    would not compute the same."""
    rows = trial_rows(store, CONTINUED)
    if others := sum(row["numerics"] != NUMERICS for row in rows):
        raise ResultsError(
            f"{store.address} holds {others} trials of this study from a version of metafa with other numerics; "
            "choose another folder with --results, or move that one away"
        )
    return rows


def digests_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The digests of the images that rows of `trials` are of, by the names of `settings.image_needs`."""
    found: dict[str, str] = {}
    for said in {row["data"] for row in rows} - {None}:
        found |= json.loads(said)
    return found


def check_images(store: Store, rows: Sequence[Mapping[str, Any]], digests: Mapping[str, str]) -> None:
    """Raises `ResultsError` where rows of ``store`` are of other images than those that have these digests."""
    for said, number in Counter(row["data"] for row in rows if row["data"]).items():
        for name, digest in json.loads(said).items():
            if digests.get(name, digest) != digest:
                _, of, part = name.split("/")
                made = "; another version of matplotlib draws other glyphs" if of == "glyphs" else ""
                raise ResultsError(
                    f"{store.address} holds {number} trials over other {part} images of {of}: those had the digest "
                    f"{digest}, those here have {digests[name]}{made}; choose another folder with --results, or put "
                    "the images of before back"
                )


def statuses(store: Store) -> dict[str, str]:
    """The status of each trial that has a row in `trials`, by its trial_id. Raises `ResultsError`."""
    return {row["trial_id"]: row["status"] for row in trial_rows(store)}


def trials_schema(study: Study) -> pa.Schema:
    """The columns of `trials`: the outcome, every setting by its dotted name, then what describes the run."""
    examples = [flatten(settings) for settings in study.examples]
    names = dict.fromkeys(name for example in examples for name in example)  # not every trial has every phase
    settings = {name: pa.array([example.get(name) for example in examples]).type for name in names}
    fields = [*OUTCOME.items(), *settings.items(), *RUN_COLUMNS.items()]
    return pa.schema(fields, metadata={"metafa.study": study.text, "metafa.fingerprint": study.fingerprint})


def measured(trial_id: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A trial's measurements as rows of the table."""
    return pa.Table.from_pylist([{"trial_id": trial_id, **row} for row in rows], MEASUREMENTS)


def write(store: Store, schema: pa.Schema, row: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> bool:
    """As `publish`, of measurements as they come."""
    return publish(store, schema, row, measured(row["trial_id"], rows))


def publish(
    store: Store, schema: pa.Schema, row: Mapping[str, Any], measurements: pa.Table, final: bool = False
) -> bool:
    """Puts what came of a trial into both tables, once and for all, and says whether it did: where somebody else has
    published the trial before, that stays as it is.

    A failure is put into `trials` alone, and stands there until the trial is published, unless it is ``final``.
    Raises OSError, and then the trial counts as not done.
    """
    trial_id = row["trial_id"]
    own, failed = f"{trial_id}.parquet", f"failed-{trial_id}.parquet"
    # pyarrow fills columns that the row lacks with null
    table = pa.Table.from_pylist([dict(row)], schema)
    if row["status"] not in FINISHED and not final:
        if _is_kept(store, trial_id, final):
            return False
        store.put(f"trials/{failed}", encode(table), durable=True)
        if trial_id in published(store, [trial_id]):
            store.remove(f"trials/{failed}")
            return False
        return True
    kept = {**(schema.metadata or {}), ROW: _carry(table)}
    part = encode(measurements.replace_schema_metadata(kept))
    for attempt in range(PLACES):
        if (first := store.create(f"measurements/{own}", part, durable=True)) or _is_kept(store, trial_id, final):
            break
        if attempt + 1 == PLACES:
            raise OSError(errno.EEXIST, "something that is no file stands in its place", f"measurements/{own}")
    if first and _is_in_a_pair(store, trial_id):  # of a driver that took this one for gone, whose rows were compacted
        store.remove_same(f"measurements/{own}", part)
        first = False
    if first:
        _put_row(store, trial_id, table)
    store.remove(f"trials/{failed}")
    return first


def _is_in_a_pair(store: Store, trial_id: str) -> bool:
    """Whether a compacted pair has a trial: then it always will."""
    if not any(map(COMPACTED.fullmatch, store.names("trials"))):
        return False
    _, compacted = _again(_listed)(store)
    return any(trial_id in pair.trial_ids for pair in compacted)


def _is_kept(store: Store, trial_id: str, final: bool) -> bool:
    """Whether a trial has a part of its own that is to stay. One that is damaged is taken away, and so is what earlier
    versions left of a trial that was interrupted, or that failed and is tried again."""
    names = [f"{table}/{trial_id}.parquet" for table in TABLES]
    contents = dict(_contents(store, names))
    if names[1] not in contents:
        return False
    if stores.sealed(contents[names[1]]):
        if carried(_metadata(contents[names[1]])) is not None:
            return True
        if names[0] in contents and stores.sealed(contents[names[0]]):
            status = decode(contents[names[0]], "trials")["status"][0].as_py()
            if status in FINISHED or final:
                return True
    for name, content in contents.items():
        store.remove_same(name, content)
    return False


def _metadata(content: bytes) -> pq.FileMetaData:
    return read_metadata(pa.BufferReader(content))


def _put_row(store: Store, trial_id: str, row: pa.Table) -> None:
    """Puts the row that a published trial's part of `measurements` carries into `trials`."""
    store.put(f"trials/{trial_id}.parquet", encode(row))
    if not store.exists(f"measurements/{trial_id}.parquet"):  # both have been put together with others since
        store.remove(f"trials/{trial_id}.parquet")


def rows_of(
    store: Store,
    trial_ids: Collection[str] | None = None,
    but: Collection[str] = (),
    columns: Sequence[str] = CONTINUED,
) -> list[dict[str, Any]]:
    """These columns of `trials` in the rows of these trials, or of all ``but`` some, None in columns that a row lacks.
    Little more than those rows is read. Raises `ResultsError`."""

    def wanted(trial_id: str) -> bool:
        return trial_id not in but if trial_ids is None else trial_id in trial_ids

    def read(store: Store) -> list[dict[str, Any]]:
        found, compacted = _listed(store)
        rows: list[dict[str, Any]] = []
        known: set[str] = set()
        for pair in compacted:
            if any(map(wanted, pair.trial_ids)):
                there = _read_compacted(store, found, pair, sorted({"trial_id", *columns})).to_pylist()
                rows += [dict.fromkeys(columns) | row for row in there if wanted(row["trial_id"])]
            known.update(pair.trial_ids)
        own = [one for one in found.own if wanted(one) and one not in known]
        of_own = [row for row in _each(store, partial(_own_row, store, found), own) if row is not None]
        _as_tables(of_own, columns)  # which looks whether they can be
        known.update(row.values["trial_id"] for row in of_own)
        of_failed = _each(
            store, partial(_failed_row, store), [one for one in found.failed if wanted(one) and one not in known]
        )
        return rows + [row.chosen(columns) for row in [*of_own, *of_failed]]

    return _again(read)(store)


def published(store: Store, trial_ids: Collection[str]) -> set[str]:
    """Those of these trials that are published."""

    def read(store: Store) -> set[str]:
        found, compacted = _listed(store)
        known = {one for pair in compacted for one in pair.trial_ids}
        own = [one for one in found.own if one in trial_ids and one not in known]
        return known & set(trial_ids) | {one for one in own if _own_row(store, found, one) is not None}

    return _again(read)(store)


def differences(store: Store, other: Store, trial_ids: Sequence[str]) -> dict[str, str]:
    """What differs between the measurements of the same trials in two stores, a sentence a trial."""
    import pandas as pd

    keys = [name for name in MEASUREMENTS.names if name != "value"]
    chosen = pc.field("trial_id").isin(trial_ids)
    tables = [read_table(one, "measurements", filter=chosen) for one in (store, other)]
    both = pd.merge(*(table.to_pandas() for table in tables), on=keys, how="outer", indicator=True)
    unequal = (both["value_x"] != both["value_y"]) & ~(both["value_x"].isna() & both["value_y"].isna())
    wrong = both[unequal | (both["_merge"] != "both")]
    return {
        trial_id: _difference(rows, (both["trial_id"] == trial_id).sum())
        for trial_id, rows in wrong.groupby("trial_id")
    }


def _difference(rows: pd.DataFrame, total: int) -> str:
    worst = rows.loc[(rows["value_x"] - rows["value_y"]).abs().fillna(float("inf")).idxmax()]
    where = f"{worst['metric']} at step {worst['step']} of {worst['phase']}, seed {worst['seed']}"
    return f"{len(rows)} of {total} measurements differ, the most {where}: {worst['value_x']} and {worst['value_y']}"


def encode(table: pa.Table) -> bytes:
    """A table as a part."""
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return stores.seal(content.getvalue())


def in_parts(store: Store) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The rows of both tables, some trials at a time, every published trial once. Raises `ResultsError`."""
    given: set[str] = set()
    left: set[str] | None = None
    while left is None or left & published(store, left):  # else again for what has been put together meanwhile
        found, compacted = _again(_listed)(store)
        known = {trial_id for pair in compacted for trial_id in pair.trial_ids}
        own = [one for one in found.own if one not in known | given]
        pairs = [
            Compacted(pair.name, [one for one in pair.trial_ids if one not in given], [*pair.doubled, *given])
            for pair in compacted
            if not given.issuperset(pair.trial_ids)
        ]
        some = itertools.chain((_small_pair(store, found, pair) for pair in pairs), _small_parts(store, found, own))
        with _in_a_sentence(store):
            for part in some:
                if part is not None:
                    trials, measurements = _together([part])
                    given.update(trials["trial_id"].to_pylist())
                    yield trials, measurements
        left = (known | set(own)) - given


def parts(store: Store, table: str) -> list[str]:
    """The names of the parts of a table, as whoever reads the folder finds them; other files in it are none of ours."""
    visible = (name for name in store.names(table) if not name.startswith("."))
    return [name for name in visible if any(pattern.fullmatch(name) for pattern in (OWN, FAILED, COMPACTED))]


def compact(store: Store, driver: leases.Driver | None = None) -> int:
    """Puts small parts of finished trials together, and returns how many there were.

    It may be interrupted, and others may read, write and compact beside it: of those who compact at once, the others
    wait. Raises `ResultsError` where a part is damaged.
    """
    with _upkeep(store, driver, "puts parts together"):
        tidy(store)
        return put_together(store)


def remove_damaged(store: Store, driver: leases.Driver | None = None) -> list[str]:
    """Takes damaged parts, and parts without their fellow in the other table, out of both tables, so that their trials
    are to be done; says which, a sentence each. Finishes what others have left unfinished."""
    sentences = mend(store)  # which reads everything, and others need not wait for
    look_after(store, driver)
    return sentences


def look_after(store: Store, driver: leases.Driver | None = None) -> None:
    """Finishes what others have left unfinished."""
    with _upkeep(store, driver, "clears up"):
        tidy(store)


def is_tidy(store: Store) -> bool:
    """Whether whoever reads the folders finds all that is published, once: nothing is left to be finished there."""
    parts_of = [
        {name for name in store.names(table) if OWN.fullmatch(name) or COMPACTED.fullmatch(name)} for table in TABLES
    ]
    return parts_of[0] == parts_of[1] and not any(name.startswith(".") for name in parts_of[0])


@contextlib.contextmanager
def _upkeep(store: Store, driver: leases.Driver | None, doing: str) -> Iterator[None]:
    """Within it this process looks after the files of the results, and no other does."""
    with contextlib.ExitStack() as stack:
        try:
            if driver is None:
                driver = stack.enter_context(leases.driver(store, lambda: heartbeat.now(doing)))
            stack.enter_context(driver.holding(leases.UPKEEP))
        except OSError as error:
            raise unwritten(store, reason(error)) from error
        leases.clear(driver)
        with _in_a_sentence(store):
            yield


@contextlib.contextmanager
def _in_a_sentence(store: Store) -> Iterator[None]:
    """Has what cannot be read of results end as `ResultsError`."""
    try:
        yield
    except (PartError, pa.ArrowException) as error:
        raise ResultsError(_damage(store, error)) from error


def mend(store: Store) -> list[str]:
    """Takes out what is damaged or has lost its fellow, and says what, a sentence each. Raises `ResultsError`."""
    with _in_a_sentence(store):
        return _mended(store)


def _mended(store: Store) -> list[str]:
    sentences = []
    for name, content in _contents(store, _every_part(store)):
        table, _, file = name.partition("/")
        if not stores.sealed(content) and (content or not file.startswith(".")):
            if table == "trials" and OWN.fullmatch(file) and (row := _own_row_again(store, file)) is not None:
                store.put(name, encode(*_as_tables([row])))
                sentences.append(f"{name}: damaged; it is made again of measurements/{file}")
                continue
            fellows = [f"{one}/{file}" for one in TABLES if one != table and not FAILED.fullmatch(file)]
            for fellow, there in dict(_contents(store, fellows)).items():
                store.remove_same(fellow, there)
            store.remove_same(name, content)
            sentences.append(f"{name}: damaged; its trials run again")
    measurements, trials = store.sizes("measurements"), store.sizes("trials")
    hidden = {match[2] for match in map(COMPACTED.fullmatch, measurements) if match}
    for file in sorted(trials.keys() - measurements.keys() - hidden):
        # what stands in `trials` after its measurements are gone has lost them: otherwise it is taken away first
        kept = (OWN.fullmatch(file) or COMPACTED.fullmatch(file)) and not file.startswith(".")
        if kept and not _stands(store, "measurements", file) and store.exists(f"trials/{file}"):
            own = OWN.fullmatch(file)
            rows = [own[1]] if own else _decoded(store, f"trials/{file}", ["trial_id"])["trial_id"].to_pylist()
            store.remove(f"trials/{file}")
            if not published(store, rows) >= set(rows):
                sentences.append(f"trials/{file}: its measurements are lost; its trials run again")
    return sentences


def _own_row_again(store: Store, file: str) -> Row | None:
    """The row of `trials` that a trial's part of `measurements` carries, if that is whole."""
    with contextlib.suppress(FileNotFoundError):
        content = store.read(f"measurements/{file}")
        return carried(_metadata(content)) if stores.sealed(content) else None
    return None


def tidy(store: Store) -> None:
    """Finishes compactions that were interrupted, puts missing rows into `trials`, and clears away what is left of
    writing that was interrupted. Who holds the lease does so; should two, no row is lost."""
    for folder in ("", *TABLES, PARTIAL, leases.FOLDER, heartbeat.FOLDER):
        for name in store.names(folder):
            file = f"{folder}/{name}" if folder else name
            if stores.PARTIAL.fullmatch(name) and store.age(file) > ABANDONED:
                # a whole part may have been on its way back to its place
                if folder in TABLES and OWN.fullmatch(final := name[1:].rpartition(".")[0]):
                    content = store.read(file)
                    if stores.sealed(content):
                        store.create(f"{folder}/{final}", content, durable=True)
                store.remove(file)
    _end_begun(store)
    found, compacted = _again(_listed)(store)
    own, entangled = set(found.own) | found.rows, _entangled(compacted)
    for pair in compacted:
        covered = [trial_id for trial_id in pair.trial_ids if trial_id in own]
        if pair.name in found.compacted and (covered or found.compacted[pair.name] != (pair.name, pair.name)):
            with contextlib.suppress(FileNotFoundError):  # somebody else finishes it
                for table in TABLES:
                    with _naming(found.path(table, pair.name)):
                        _sound(store.read(found.path(table, pair.name)))
                # of pairs with trials in common one stays hidden until they are one: who reads the folder would find
                # those trials in both
                _take_the_place(
                    store, pair.name, [f"{trial_id}.parquet" for trial_id in covered], show=pair not in entangled
                )
    if entangled:
        put_together(store, entangled_alone=True)
    known = {trial_id for pair in compacted for trial_id in pair.trial_ids}
    for trial_id in found.own:
        if trial_id not in found.rows and trial_id not in known:
            with contextlib.suppress(FileNotFoundError):
                name = f"measurements/{trial_id}.parquet"
                content = store.read(name)
                with _naming(name):
                    row = carried(_metadata(_sound(content)))
                if row is not None:
                    _put_row(store, trial_id, *_as_tables([row]))
                elif store.age(name) > ABANDONED:  # of an earlier version, which was interrupted
                    store.remove_same(name, content)
    for trial_id in published(store, found.failed) if found.failed else ():
        store.remove(f"trials/failed-{trial_id}.parquet")
    _clear_after(store, known | (set(found.own) & found.rows))


def _clear_after(store: Store, done: set[str]) -> None:
    """Removes what trials that are ``done`` left on their way, and what earlier versions kept beside the tables."""
    for folder in (PARTIAL, leases.FOLDER):
        for name in store.names(folder):
            if (match := re.search("[0-9a-f]{16}", name)) and match[0] in done:
                store.remove(f"{folder}/{name}")
    for name in (PLAN, "progress.json"):
        store.remove(name)


def _end_begun(store: Store) -> None:
    """Ends compactions that never came to count, and removes what is left where one was renamed by a copy."""
    sizes = store.sizes("measurements"), store.sizes("trials")
    for table, names in zip(reversed(TABLES), sizes, strict=True):
        for match in map(COMPACTED.fullmatch, names):
            if match and match[1] and match[2] in names:
                store.remove(f"{table}/{match[0]}")
    files = [{match[2]: match[0] for match in map(COMPACTED.fullmatch, some) if match} for some in sizes]
    for name in files[0].keys() - files[1].keys():
        if files[0][name] == name:  # it came to count, and its rows are in another pair since
            if not _stands(store, "trials", name):
                store.remove(f"measurements/{name}")
        # who began it may go on: first of all that has to be kept from counting
        elif not _stands(store, "trials", name) and store.create(f"trials/.{name}", b""):
            _end(store, name)
    for name, file in files[1].items():
        if file != name and not sizes[1][file]:
            _end(store, name)
        elif file != name and not _stands(store, "measurements", name):
            store.remove(f"trials/{file}")


def _end(store: Store, name: str) -> None:
    store.remove(f"measurements/.{name}")
    store.remove(f"trials/.{name}")


def _take_the_place(store: Store, name: str, old: Iterable[str], show: bool = True) -> None:
    """Removes parts of which a compacted pair has all rows, and has that ``show``."""
    for one in old:
        for table in TABLES:
            if COMPACTED.fullmatch(one):  # first as long as it is hidden, since then it is renamed
                store.remove(f"{table}/.{one}")
            store.remove(f"{table}/{one}")
    for table in reversed(TABLES) if show else ():
        if store.exists(f"{table}/{name}"):  # somebody else has done so
            store.remove(f"{table}/.{name}")
        with contextlib.suppress(FileNotFoundError):  # or has put it together with others
            store.rename(f"{table}/.{name}", f"{table}/{name}")


class Small(NamedTuple):
    """A part that is to be put together with others: its name, and its rows in both tables, that of a single trial as
    its measurements carry it."""

    name: str
    trials: pa.Table | Row
    measurements: pa.Table

    def statuses(self) -> set[str]:
        if isinstance(self.trials, Row):
            return {self.trials.values["status"]}
        return set(self.trials["status"].to_pylist())


def put_together(store: Store, entangled_alone: bool = False) -> int:
    """Puts small parts of finished trials together, or pairs that have trials in common alone, and returns how many
    there were."""
    done = 0
    for some in _groups(store, entangled_alone):
        name = f"compact-{secrets.token_hex(8)}.parquet"
        trials, measurements = _together(some)
        store.put(f"measurements/.{name}", encode(measurements), durable=True)
        # from here on they count, and count once, whatever else is there
        if not store.create(f"trials/.{name}", encode(trials), durable=True):
            break
        if not _stands(store, "measurements", name):  # somebody took this process for gone
            store.remove(f"trials/.{name}")
            break
        _take_the_place(store, name, [part.name for part in some])
        done += len(some)
    return done


def _entangled(compacted: Sequence[Compacted]) -> list[Compacted]:
    """The pairs that have trials in common with others."""
    doubled = {trial_id for pair in compacted for trial_id in pair.doubled}
    return [pair for pair in compacted if pair.doubled or not doubled.isdisjoint(pair.trial_ids)]


def _groups(store: Store, entangled_alone: bool) -> Iterator[list[Small]]:
    """Small parts that are to be one; and, together whatever their size, pairs that have trials in common: what takes
    the place of one has all its rows, so that no two processes rely each on what the other removes."""
    (found, compacted), sizes = _again(_listed)(store), store.sizes("measurements")
    entangled = _entangled(compacted)
    if entangled:
        together = [_small_pair(store, found, pair) for pair in entangled]
        if None not in together:  # of each trial they have only one row, so that all of them are needed
            yield [part for part in together if part is not None]
    if entangled_alone:
        return
    known = {trial_id for pair in compacted for trial_id in pair.trial_ids}
    pairs = [
        pair
        for pair in compacted
        if pair not in entangled and sizes.get(found.compacted[pair.name][1], SMALL_BYTES) < SMALL_BYTES
    ]
    own = [one for one in found.own if one not in known and sizes.get(f"{one}.parquet", SMALL_BYTES) < SMALL_BYTES]
    kept, rows = list[Small](), 0
    for part in itertools.chain((_small_pair(store, found, pair) for pair in pairs), _small_parts(store, found, own)):
        if part is not None and part.statuses() <= set(FINISHED):
            kept.append(part)
            rows += len(part.measurements)
        if rows >= ROWS_A_PART:
            if len(kept) > 1:
                yield kept
            kept, rows = [], 0
    if len(kept) > 1:
        yield kept


def _small_pair(store: Store, found: Parts, pair: Compacted) -> Small | None:
    contents = dict(_contents(store, [found.path(table, pair.name) for table in TABLES]))
    if len(contents) < len(TABLES):
        return None  # put together with others meanwhile
    tables = [_table(name, content) for name, content in contents.items()]
    if pair.doubled:
        tables = [table.filter(_among(pair.trial_ids)) for table in tables]
    return Small(pair.name, *tables)


def _small_parts(store: Store, found: Parts, own: list[str]) -> Iterator[Small | None]:
    for name, content in _contents(store, [f"measurements/{trial_id}.parquet" for trial_id in own]):
        file = posixpath.basename(name)
        trial_id = file.removesuffix(".parquet")
        measurements = _own_measurements(trial_id, content)
        row: pa.Table | Row | None = carried(_metadata(content))
        if row is not None and row.values.get("trial_id") != trial_id:
            raise PartError(f"{name} is of another trial")
        if row is None and trial_id in found.rows:  # of an earlier version
            with contextlib.suppress(FileNotFoundError):
                there = _decoded(store, f"trials/{file}")
                # what failed may be published meanwhile: that the row belongs to these measurements
                row = there if store.read(name) == content else None
        yield None if row is None else Small(file, row, measurements)


def _together(some: list[Small]) -> tuple[pa.Table, pa.Table]:
    rows = [part.trials for part in some if isinstance(part.trials, Row)]
    tables = [part.trials for part in some if isinstance(part.trials, pa.Table)]
    trials = pa.concat_tables([*tables, *_as_tables(rows)], promote_options="permissive")
    trial_ids = trials["trial_id"].to_pylist()
    if len(set(trial_ids)) < len(trial_ids):
        raise PartError(f"trials/{some[0].name} and those after it have two rows of one trial")
    measurements = pa.concat_tables([part.measurements.replace_schema_metadata(None) for part in some])
    if foreign := set(pc.unique(measurements["trial_id"]).to_pylist()) - set(trial_ids):
        raise PartError(f"measurements/{some[0].name} and those after it are of a trial without a row, {min(foreign)}")
    # so that whoever asks for one metric reads little more
    ordered = measurements.sort_by([("metric", "ascending"), ("phase", "ascending")])
    return trials, ordered.replace_schema_metadata(
        {key: text for key, text in (trials.schema.metadata or {}).items() if key in OF_STUDY}
    )


def unwritten(store: Store, why: str) -> ResultsError:
    """What is said where results cannot be written any more."""
    return ResultsError(
        f"{store.address} cannot be written: {why}; nothing that was done is lost, and when it can be written again "
        "the same command continues"
    )


def reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
