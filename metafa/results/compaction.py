"""Compaction: small parts are put together into a pair that counts from one moment on."""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import secrets
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from metafa.errors import PartError
from metafa.results.columns import TABLES
from metafa.results.listing import COMPACTED, Parts, stands
from metafa.results.pairs import Pair, find_entangled, of_trials, parts_and_pairs, retried
from metafa.results.parts import encode
from metafa.results.reading import decode_own_measurements, decode_part, metadata_of, read_contents, read_part
from metafa.results.rows import OF_STUDY, Row, as_tables, carried
from metafa.results.statuses import FINAL
from metafa.results.store import Store

ROWS_A_PART = 2_000_000  # of `measurements`, in a compacted part, about
SMALL_BYTES = 2**24  # a part below this size is worth compacting


def put_together(store: Store, entangled_alone: bool = False) -> int:
    """Puts small parts of finished trials together, or pairs that have trials in common alone, and returns how many
    there were."""
    done = 0
    for some in _groups(store, entangled_alone):
        name = f"compact-{secrets.token_hex(8)}.parquet"
        trials, measurements = join_small(some)
        store.put(f"measurements/.{name}", encode(measurements), durable=True)
        # from here on they count, and count once, whatever else is there
        if not store.create(f"trials/.{name}", encode(trials), durable=True):
            break
        if not stands(store, "measurements", name):  # somebody took this process for gone
            store.remove(f"trials/.{name}")
            break
        take_the_place(store, name, [part.name for part in some])
        done += len(some)
    return done


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


def _groups(store: Store, entangled_alone: bool) -> Iterator[list[Small]]:
    """Small parts that are to be one; and, together whatever their size, pairs that have trials in common: what takes
    the place of one has all its rows, so that no two processes rely each on what the other removes."""
    (found, compacted), sizes = retried(parts_and_pairs)(store), store.sizes("measurements")
    entangled = find_entangled(compacted)
    if entangled:
        together = [small_pair(store, found, pair) for pair in entangled]
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
    for part in itertools.chain((small_pair(store, found, pair) for pair in pairs), small_parts(store, found, own)):
        if part is not None and part.statuses() <= set(FINAL):
            kept.append(part)
            rows += len(part.measurements)
        if rows >= ROWS_A_PART:
            if len(kept) > 1:
                yield kept
            kept, rows = [], 0
    if len(kept) > 1:
        yield kept


def small_pair(store: Store, found: Parts, pair: Pair) -> Small | None:
    contents = dict(read_contents(store, [found.path(table, pair.name) for table in TABLES]))
    if len(contents) < len(TABLES):
        return None  # put together with others meanwhile
    tables = [decode_part(name, content) for name, content in contents.items()]
    if pair.doubled:
        tables = [table.filter(of_trials(pair.trial_ids)) for table in tables]
    return Small(pair.name, *tables)


def small_parts(store: Store, found: Parts, own: list[str]) -> Iterator[Small | None]:
    for name, content in read_contents(store, [f"measurements/{trial_id}.parquet" for trial_id in own]):
        file = posixpath.basename(name)
        trial_id = file.removesuffix(".parquet")
        measurements = decode_own_measurements(trial_id, content)
        row: pa.Table | Row | None = carried(metadata_of(content))
        if row is not None and row.values.get("trial_id") != trial_id:
            raise PartError(f"{name} is of another trial")
        if row is None and trial_id in found.rows:  # of an earlier version
            with contextlib.suppress(FileNotFoundError):
                there = read_part(store, f"trials/{file}")
                # what failed may be published meanwhile: that the row belongs to these measurements
                row = there if store.read(name) == content else None
        yield None if row is None else Small(file, row, measurements)


def join_small(some: list[Small]) -> tuple[pa.Table, pa.Table]:
    rows = [part.trials for part in some if isinstance(part.trials, Row)]
    tables = [part.trials for part in some if isinstance(part.trials, pa.Table)]
    trials = pa.concat_tables([*tables, *as_tables(rows)], promote_options="permissive")
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


def take_the_place(store: Store, name: str, old: Iterable[str], show: bool = True) -> None:
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
