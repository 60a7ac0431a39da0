"""A study's results: the tables `trials` and `measurements`, folders that ``pandas.read_parquet`` reads as they are.

A trial's rows are a part of each, under its `trial_id`; parts are compacted into larger ones. A part of `trials` and
the part of `measurements` of the same name belong together: the measurements come first and the row in `trials`, which
says that the trial is done, last. Every part carries a digest of itself, so that a damaged one is found.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import posixpath
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from metafa import notebook
from metafa import store as stores
from metafa.settings import DIVERGED_TIMES_CHANCE, NUMERICS, flatten
from metafa.store import Store, StoreError
from metafa.study import Study, StudyError, parse

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("trials", "measurements")
PARTIAL = "partial"  # the folder of what trials under way keep
IMAGES = "images.json"  # the digests of the images that its trials draw on
PLAN = ".compacting.json"  # of a compaction under way
CONTINUED = ("trial_id", "status", "point", "objectives", "started", "numerics", "data")  # what continuing has to know
ROWS_A_PART = 2_000_000  # of `measurements`, in a compacted part, about
SMALL_BYTES = 2**24  # a part below this size is worth compacting
SHOWN = 3  # settings that differ, in a sentence
READERS = 16  # parts read at a time
BEING_WRITTEN = 60.0  # seconds, at most, between a trial's measurements and its row
ABANDONED = 3600.0  # seconds, after which nobody puts a hidden part in place any more
PART = re.compile(r"(compact-)?[0-9a-f]{16}\.parquet")  # its name: a trial_id, or of several put together

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


class Results(NamedTuple):
    """Both tables of a study."""

    trials: pd.DataFrame
    measurements: pd.DataFrame

    def _repr_html_(self) -> str:
        if self.trials.empty:
            return notebook.card("Results", {"trials": "none has ended yet"})
        statuses = ", ".join(f"{n} {status}" for status, n in self.trials["status"].value_counts().items())
        rows = {"trials": statuses or "none"}
        rows["phases"] = ", ".join(map(str, self.measurements["phase"].unique()))
        rows |= {f"shape of {table}": "{} rows, {} columns".format(*getattr(self, table).shape) for table in TABLES}
        return notebook.card(f"Results of {', '.join(map(str, self.trials['study'].unique()))}", rows)


class ResultsError(Exception):
    """Results that cannot be used; the message is one line."""


def load(address: str | Path) -> Results:
    """The tables at ``address``, a folder or an object store's, as data frames. Raises `ResultsError` where there are
    none."""
    store = open_store(address)
    _study_text(store)
    return Results(*(read_table(store, table).to_pandas() for table in TABLES))


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
        if not store.exists("study.toml") or store.read("study.toml").decode() != study.text:
            store.put("study.toml", study.text.encode())
        if study.digests and study.digests != _digests(store):
            store.put(IMAGES, json.dumps(study.digests, indent=1, sort_keys=True).encode())
        store.make_folders(*TABLES, PARTIAL)
    except OSError as error:
        raise ResultsError(f"{store.address} cannot be written: {reason(error)}") from error


def check(store: Store, study: Study) -> None:
    """Raises `ResultsError` where ``store`` cannot take the results of ``study``."""
    if store.local:
        _check_folder(store)
    if not store.exists("study.toml"):
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
    try:
        return store.read("study.toml").decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(
            f"{store.address} is not a results folder of metafa: it has no study.toml; `metafa run STUDY` says where "
            "its results are"
        ) from error


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
        return dict(json.loads(store.read(IMAGES)))
    except (OSError, ValueError, TypeError):
        return {}


def read_table(
    store: Store, table: str, columns: Sequence[str] | None = None, filter: pc.Expression | None = None
) -> pa.Table:
    """The rows of a table, of `measurements` those for which ``filter`` holds, in those of ``columns`` that it has;
    without columns where it has no parts. Raises `ResultsError` where a part is damaged."""
    from pyarrow import dataset  # which imports pandas

    for last in (False, False, True):
        paths = [store.path(f"{table}/{name}") for name in parts(store, table)]
        if not paths:
            return pa.table({})
        try:
            found = dataset.dataset(paths, filesystem=store.filesystem, format="parquet")
            if table == "trials":  # a study that has grown may vary more than it did, and its parts have more columns
                with ThreadPoolExecutor(READERS) as pool:
                    rows = list(pool.map(partial(_rows_of_part, columns), found.get_fragments()))
                return pa.concat_tables(rows, promote_options="permissive")
            chosen = None if columns is None else [name for name in columns if name in found.schema.names]
            return found.to_table(columns=chosen, filter=filter)
        except FileNotFoundError as error:  # put together with others since it was listed
            if last:
                raise ResultsError(f"{store.address}: {reason(error)}; try again") from error
        except (OSError, pa.ArrowException) as error:
            raise ResultsError(_damage(store, error)) from error
    raise AssertionError


def _rows_of_part(columns: Sequence[str] | None, part: Any) -> pa.Table:
    names = part.physical_schema.names
    return part.to_table(columns=names if columns is None else [name for name in columns if name in names])


def _damage(store: Store, error: Exception) -> str:
    """Which parts cannot be read, and what to do about it."""
    bad = _damaged(store, [f"{table}/{name}" for table in TABLES for name in parts(store, table)])
    if not bad:
        return f"{store.address}: {reason(error)}"
    more = f" and {len(bad) - 3} more parts" if len(bad) > 3 else ""
    return (
        f"{store.address}: damaged: {', '.join(bad[:3])}{more}; `metafa run STUDY` with the same study takes what is "
        "damaged out, and runs its trials again"
    )


def _damaged(store: Store, names: Sequence[str]) -> list[str]:
    """Which of these parts are not as they were written."""
    with ThreadPoolExecutor(READERS) as pool:
        whole = pool.map(lambda name: stores.sealed(store.read(name)), names)
        return [name for name, good in zip(names, whole, strict=True) if not good]


def trial_rows(store: Store, columns: Sequence[str] = ("trial_id", "status")) -> list[dict[str, Any]]:
    """The rows of `trials`, None in columns that they lack. Raises `ResultsError`."""
    return [dict.fromkeys(columns) | row for row in read_table(store, "trials", columns).to_pylist()]


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


def encode_rows(schema: pa.Schema, trial_id: str, rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A trial's measurements as a part of the table."""
    table = pa.Table.from_pylist([{"trial_id": trial_id, **row} for row in rows], MEASUREMENTS)
    return encode(table.replace_schema_metadata(schema.metadata))


def write(store: Store, schema: pa.Schema, row: Mapping[str, Any], measurements: Iterable[Mapping[str, Any]]) -> None:
    """Puts a trial's rows into both tables, in place of any it had. Raises OSError; without its row in `trials` it then
    counts as not done."""
    put_rows(store, schema, row, encode_rows(schema, row["trial_id"], measurements))


def put_rows(store: Store, schema: pa.Schema, row: Mapping[str, Any], measurements: bytes) -> None:
    """As `write`, of measurements that are a part already."""
    part = f"{row['trial_id']}.parquet"
    store.put(f"measurements/{part}", measurements)
    # pyarrow fills columns that the row lacks with null
    store.put(f"trials/{part}", encode(pa.Table.from_pylist([dict(row)], schema)))


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


def decode(content: bytes) -> pa.Table:
    """The table of a part."""
    return pq.read_table(pa.BufferReader(content))


def read_part(store: Store, name: str) -> tuple[pa.Table, pa.Table]:
    """The rows of a part in both tables. Raises `ResultsError` where it is damaged, and FileNotFoundError where it has
    been put together with others."""
    try:
        trials, measurements = (decode(store.read(f"{table}/{name}")) for table in TABLES)
    except pa.ArrowException as error:
        raise ResultsError(_damage(store, error)) from error
    return trials, measurements


def parts(store: Store, table: str) -> list[str]:
    """The names of the parts of a table; other files in its folder are none of ours."""
    return [name for name in store.names(table) if PART.fullmatch(name)]


def remove_damaged(store: Store) -> list[str]:
    """Takes damaged parts, and parts without their fellow in the other table, out of both tables, so that their trials
    are to be done; says which, a sentence each. Finishes a compaction that was interrupted."""
    with store.alone():
        _finish_compaction(store)
        found = {table: set(parts(store, table)) for table in TABLES}
        sentences = [
            f"trials/{name}: its measurements are lost" for name in sorted(found["trials"] - found["measurements"])
        ]
        names = [f"{table}/{name}" for table in TABLES for name in sorted(found["trials"] & found["measurements"])]
        sentences += [f"{name}: damaged" for name in _damaged(store, names)]
        bad = {sentence.partition(":")[0].partition("/")[2] for sentence in sentences}
        # measurements without a row in `trials`: of a trial that was interrupted between the two, unless another driver
        # writes both just now
        alone = found["measurements"] - found["trials"] - set(parts(store, "trials"))
        for name in sorted(bad | {name for name in alone if store.age(f"measurements/{name}") > BEING_WRITTEN}):
            for table in TABLES:
                store.remove(f"{table}/{name}")
        return sentences


def compact(store: Store) -> int:
    """Puts small parts of finished trials together, and returns how many there were.

    It may be interrupted: new parts are hidden until a plan says that all of them stand; from then on the plan is
    carried out, if by the next who comes. Between, readers find fewer trials, and none twice. Of two who come at once
    the second waits for the first. Raises `ResultsError` where a part is damaged.
    """
    with store.alone():
        _finish_compaction(store)
        for table in TABLES:
            for name in store.names(table):
                if name.startswith(".compact-") and store.age(f"{table}/{name}") > ABANDONED:
                    store.remove(f"{table}/{name}")
        old: list[str] = []
        new: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            for names, trials, measurements in _groups(store):
                name = f"compact-{hashlib.blake2b(' '.join(names).encode(), digest_size=8).hexdigest()}.parquet"
                store.put(f"measurements/.{name}", encode(measurements))
                store.put(f"trials/.{name}", encode(trials))
                old, new = [*old, *names], [*new, name]
        if not set(old) <= set(parts(store, "trials")):
            return 0  # where nobody is alone, another has put them together meanwhile
        if new:
            store.put(PLAN, json.dumps({"old": old, "new": new}).encode())
            _finish_compaction(store)
        return len(old)


def _groups(store: Store) -> Iterator[tuple[list[str], pa.Table, pa.Table]]:
    """Small parts that are to be one: their names and their rows."""
    selector = fs.FileSelector(store.path("measurements"), allow_not_found=True)
    sizes = {info.base_name: info.size for info in store.filesystem.get_file_info(selector)}
    names = [name for name in parts(store, "trials") if sizes.get(name, SMALL_BYTES) < SMALL_BYTES]
    kept: list[tuple[str, pa.Table, pa.Table]] = []
    with ThreadPoolExecutor(READERS) as pool:
        for some in (names[i : i + READERS] for i in range(0, len(names), READERS)):
            for name, (trials, measurements) in zip(some, pool.map(partial(read_part, store), some), strict=True):
                if set(trials["status"].to_pylist()) <= set(FINISHED):
                    kept.append((name, trials, measurements))
            if sum(len(rows) for _, _, rows in kept) >= ROWS_A_PART:
                yield _together(kept)
                kept = []
    if len(kept) > 1:
        yield _together(kept)


def _together(kept: list[tuple[str, pa.Table, pa.Table]]) -> tuple[list[str], pa.Table, pa.Table]:
    names, *tables = zip(*kept, strict=True)
    trials, measurements = (pa.concat_tables(table, promote_options="permissive") for table in tables)
    # so that whoever asks for one metric reads little more
    return list(names), trials, measurements.sort_by([("metric", "ascending"), ("phase", "ascending")])


def _finish_compaction(store: Store) -> None:
    try:
        plan = json.loads(store.read(PLAN))
        old, new = ([posixpath.basename(name) for name in plan[key]] for key in ("old", "new"))
    except FileNotFoundError:
        return
    except (ValueError, TypeError, KeyError) as error:
        raise ResultsError(f"{store.address}/{PLAN} is damaged: it says which hidden parts take whose place") from error
    # where another has taken a new part away, what it was made of stays
    if all(store.exists(f"{table}/.{name}") or store.exists(f"{table}/{name}") for table in TABLES for name in new):
        for table in TABLES:
            for name in old:
                store.remove(f"{table}/{name}")
        for table in reversed(TABLES):
            for name in new:
                try:
                    if store.exists(f"{table}/.{name}"):
                        store.rename(f"{table}/.{name}", f"{table}/{name}")
                except OSError:  # where nobody is alone, another may put it in place first
                    if not store.exists(f"{table}/{name}"):
                        raise
    store.remove(PLAN)


def reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
