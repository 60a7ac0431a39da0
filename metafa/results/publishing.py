"""Publishing a trial: its part of `measurements` is created, once, and its row of `trials` put after it."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from metafa.results.columns import TABLES, measured
from metafa.results.listing import COMPACTED
from metafa.results.pairs import parts_and_pairs, retried
from metafa.results.parts import decode, encode
from metafa.results.reading import metadata_of, read_contents
from metafa.results.rows import ROW, carried, carry
from metafa.results.sealing import sealed
from metafa.results.statuses import FINAL
from metafa.results.store import Store
from metafa.results.tables import published

PLACES = 5  # attempts at a place where something stands that is no part


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
    if row["status"] not in FINAL and not final:
        if _is_kept(store, trial_id, final):
            return False
        store.put(f"trials/{failed}", encode(table), durable=True)
        if trial_id in published(store, [trial_id]):
            store.remove(f"trials/{failed}")
            return False
        return True
    kept = {**(schema.metadata or {}), ROW: carry(table)}
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
        put_row(store, trial_id, table)
    store.remove(f"trials/{failed}")
    return first


def _is_in_a_pair(store: Store, trial_id: str) -> bool:
    """Whether a compacted pair has a trial: then it always will."""
    if not any(map(COMPACTED.fullmatch, store.names("trials"))):
        return False
    _, compacted = retried(parts_and_pairs)(store)
    return any(trial_id in pair.trial_ids for pair in compacted)


def _is_kept(store: Store, trial_id: str, final: bool) -> bool:
    """Whether a trial has a part of its own that is to stay. One that is damaged is taken away, and so is what earlier
    versions left of a trial that was interrupted, or that failed and is tried again."""
    names = [f"{table}/{trial_id}.parquet" for table in TABLES]
    contents = dict(read_contents(store, names))
    if names[1] not in contents:
        return False
    if sealed(contents[names[1]]):
        if carried(metadata_of(contents[names[1]])) is not None:
            return True
        if names[0] in contents and sealed(contents[names[0]]):
            status = decode(contents[names[0]], "trials")["status"][0].as_py()
            if status in FINAL or final:
                return True
    for name, content in contents.items():
        store.remove_same(name, content)
    return False


def put_row(store: Store, trial_id: str, row: pa.Table) -> None:
    """Puts the row that a published trial's part of `measurements` carries into `trials`."""
    store.put(f"trials/{trial_id}.parquet", encode(row))
    if not store.exists(f"measurements/{trial_id}.parquet"):  # both have been put together with others since
        store.remove(f"trials/{trial_id}.parquet")
