"""The types of a part's columns: which a study's parts may have, and in which rows are handed on."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from metafa.errors import PartError
from metafa.results.columns import COLUMNS, READ_TYPES

MAX_COLUMNS = 2**14
COLUMN = re.compile(r"[A-Za-z0-9_.-]{1,200}")  # a setting by its dotted name
TEXT_A_BYTE, TEXT_BYTES = 64, 2**28  # of text, were no text shared: studies' parts hold up to 30 a byte


def check_schema(schema: pa.Schema, table: str) -> None:
    """Raises `PartError` where a part of ``table`` has other columns than those of a study."""
    if len(schema) > MAX_COLUMNS:
        raise PartError(f"has {len(schema):,} columns")
    if len(set(schema.names)) < len(schema.names):
        raise PartError("has two columns of one name")
    if lacking := [name for name, column in COLUMNS[table].items() if column.needed and name not in schema.names]:
        raise PartError(f"lacks the column {lacking[0]!r}, and is no part of {table!r}")
    if table == "trials" and (odd := [name for name in schema.names if not COLUMN.fullmatch(name)]):
        raise PartError(f"has the column {odd[0][:100]!r}, which is no setting's name")
    known = READ_TYPES[table]
    for column in schema:
        wanted = known.get(column.name)
        if column.name in known and not _fits(column.type, wanted):
            raise PartError(f"has the column {column.name!r} as {column.type}, where it is {wanted}"[:300])
        if column.name not in known and table == "trials" and not _of_setting(column.type):
            raise PartError(f"has the column {column.name!r} as {column.type}, as which no setting is kept"[:300])


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column of one type holds values of the other: that which metafa writes, or to which other software
    widens it, or of nothing but nulls."""
    types = pa.types
    if found.equals(wanted) or types.is_null(found):
        return True
    if types.is_list(wanted) and types.is_list(found):
        return _fits(found.value_type, wanted.value_type)
    if types.is_struct(wanted) and types.is_struct(found):  # of divergences, which had no metric once
        inner = {one.name: one.type for one in found.fields}
        return len(inner) == found.num_fields and all(
            _fits(inner[one.name], one.type) if one.name in inner else one.name == "metric" for one in wanted.fields
        )
    if types.is_integer(wanted):  # which other software writes as floats where some are null
        return types.is_integer(found) or types.is_floating(found)
    if types.is_timestamp(wanted):
        return types.is_timestamp(found) and found.tz == wanted.tz
    return (types.is_floating(wanted) and types.is_floating(found)) or (
        types.is_string(wanted) and types.is_large_string(found)
    )


def _of_setting(found: pa.DataType) -> bool:
    types = pa.types
    kinds = (types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_string)
    inner = found.value_type if types.is_list(found) else found
    return types.is_large_string(inner) or any(kind(inner) for kind in kinds)


def spelled_out(rows: pa.Table, table: str, size: int) -> pa.Table:
    """The rows with texts that are shared each in full, and in the types of the table. Raises `PartError` where the
    texts would take too much."""
    length = sum(_text_bytes(chunk) for column in rows.columns for chunk in column.chunks)
    if length > max(TEXT_BYTES, TEXT_A_BYTE * size):
        raise PartError(f"holds {length:,} bytes of text in {size:,}, far more than a study's results do")
    known = READ_TYPES[table]
    metadata = {key: value for key, value in (rows.schema.metadata or {}).items() if key.startswith(b"metafa.")}
    fields = [pa.field(one.name, _handed_on(one.type, known.get(one.name))) for one in rows.schema]
    schema = pa.schema(fields, metadata=metadata or None)
    return rows if schema.equals(rows.schema, check_metadata=True) else rows.cast(schema)


def _handed_on(found: pa.DataType, wanted: pa.DataType | None = None) -> pa.DataType:
    """The type in which a column is handed on: that which it is to have, or its own with texts spelled out."""
    types = pa.types
    if wanted is not None and not (types.is_list(wanted) and types.is_struct(wanted.value_type)):
        return wanted
    if types.is_dictionary(found) or types.is_large_string(found):
        return pa.string()
    if types.is_list(found):
        return pa.list_(_handed_on(found.value_type))
    if types.is_struct(found):  # of divergences, which may lack the metric
        return pa.struct([pa.field(one.name, _handed_on(one.type)) for one in found.fields])
    return found


def _text_bytes(array: pa.Array) -> int:
    """How many bytes the texts of an array have, were each spelled out."""
    types = pa.types
    if types.is_dictionary(array.type):
        lengths = pc.fill_null(pc.binary_length(array.dictionary).cast(pa.int64()), 0)
        return pc.sum(lengths.take(array.indices)).as_py() or 0
    if types.is_list(array.type):
        return _text_bytes(array.flatten())
    if types.is_struct(array.type):
        return sum(map(_text_bytes, array.flatten()))
    return 0
