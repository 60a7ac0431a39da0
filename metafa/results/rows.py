"""Rows of `trials` as parts of `measurements` carry them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from metafa.errors import PartError
from metafa.results.columns import COLUMN_TYPES
from metafa.results.damage import reason
from metafa.results.earlier import point_with_new_names
from metafa.results.listing import Parts
from metafa.results.reading import metadata_of, naming, read_part, undamaged
from metafa.results.schemas import check_schema
from metafa.results.store import Store
from metafa.results.values import check_rows
from metafa.studies.earlier import new_name

ROW = b"metafa.trial"  # in the metadata of a trial's part of `measurements`: its row of `trials`
_SETTING_TYPES = (pa.bool_(), pa.int64(), pa.float64(), pa.string(), pa.null())
TYPES = {
    str(column_type): column_type
    for column_type in (*COLUMN_TYPES["trials"].values(), *_SETTING_TYPES, *map(pa.list_, _SETTING_TYPES))
}
"""Of columns of `trials`, by how they are called."""
OF_STUDY = (b"metafa.study", b"metafa.fingerprint")  # in the metadata of every part


class Row(NamedTuple):
    """A row of `trials`: the types of its columns, by name, and of those that are not null the values."""

    types: Mapping[str, pa.DataType]
    values: Mapping[str, Any]
    metadata: Mapping[bytes, bytes]

    def chosen(self, columns: Iterable[str]) -> dict[str, Any]:
        return {name: self.values.get(name) for name in columns}


def own_row(store: Store, found: Parts, trial_id: str) -> Row | None:
    """A trial's row of `trials`, as its part of `measurements` carries it; None where it is not published. Raises
    `PartError`."""
    name = f"measurements/{trial_id}.parquet"
    content = store.read(name)
    with naming(name):
        row = carried(metadata_of(undamaged(content)))
    if row is None and trial_id in found.rows:  # of an earlier version
        row = row_of(read_part(store, f"trials/{trial_id}.parquet"))
    if row is not None and row.values.get("trial_id") != trial_id:
        raise PartError(f"{name} is of another trial")
    return row


def failed_row(store: Store, trial_id: str) -> Row:
    """The row of a trial that has failed and is to be tried again. Raises `PartError`."""
    name = f"trials/failed-{trial_id}.parquet"
    with naming(name):
        row = row_of(read_part(store, name))
        if (row.values.get("trial_id"), row.values.get("status")) != (trial_id, "failed"):
            raise PartError("is of no failure of that trial")
    return row


def carry(row: pa.Table) -> bytes:
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
        types = {new_name(name): TYPES[kind] for name, kind in said["types"].items()}
        values = {name: value for old, value in said["values"].items() if (name := new_name(old)) in types}
        if "point" in values:
            values["point"] = point_with_new_names(values["point"])
        for name, kind in types.items():
            if pa.types.is_timestamp(kind) and name in values:
                values[name] = datetime.datetime.fromisoformat(values[name]).astimezone(datetime.UTC)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise PartError("carries no row of `trials`") from error
    return Row(types, values, {key: kept[key] for key in OF_STUDY if key in kept})


def row_of(table: pa.Table) -> Row:
    """The row of a table of one."""
    if len(table) != 1:
        raise PartError(f"has {len(table)} rows, where a trial has one")
    values = {name: value for name, value in table.to_pylist()[0].items() if value is not None}
    return Row({column.name: column.type for column in table.schema}, values, table.schema.metadata or {})


def as_tables(rows: Iterable[Row], columns: Sequence[str] | None = None) -> list[pa.Table]:
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
                tables += [table for row in some for table in as_tables([row], columns)]
                continue
            name = f"measurements/{some[0].values.get('trial_id')}.parquet"
            raise PartError(f"{name} carries a row of `trials` that no study has: {reason(error)}") from error
        tables.append(table)
    return tables
