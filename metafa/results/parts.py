"""The content of a part that may be anybody's: it is read where it is what a study writes, in memory that its size
bounds, and refused in a sentence where it is not.

Parquet compresses without bound: two megabytes hold a billion rows, or one long text a million times. What a part
claims to hold, in its footer and in the headers of its pages, is compared with its size before anything is allocated.
"""

from __future__ import annotations

from metafa.errors import PartError
import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FOOTER_BYTES = 2**24  # at most; a study file, which stands in it, has 2**20
VALUES_A_BYTE = 40  # studies' parts hold up to 5; but of trials that diverged a byte may stand for 200, up to
VALUES = {"trials": 2**20, "measurements": 10 * 2**22}
COLUMNS = 2**14
TEXT_A_BYTE, TEXT_BYTES = 64, 2**28  # of text, were no text shared: studies' parts hold up to 30 a byte
PAGE_VALUES = 256  # on average at least, but for a few pages; pyarrow writes 20,000
SOME_PAGES = 64
MOST_COMPRESSED = {"UNCOMPRESSED": 1, "SNAPPY": 32, "ZSTD": 2**15}  # how many bytes one byte can stand for
ENCODINGS = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"}  # of texts; others make much of little
MANY_BYTES = 2**20  # which several threads read faster
TRIAL_ID = r"[0-9a-f]{16}"
STATUSES = {"done", "diverged", "stopped", "failed"}
LABEL = r"[A-Za-z0-9_./=+:-]{1,200}"  # a phase, a metric, or a task
COLUMN = re.compile(r"[A-Za-z0-9_.-]{1,200}")  # a setting by its dotted name
NEEDED = {"trials": ("trial_id", "status"), "measurements": ("trial_id", "seed", "phase", "step", "metric", "value")}
LONGEST_SECONDS = 1e9
FIRST, LAST = 0, 7_000_000_000_000_000  # a trial's start, in microseconds: from 1970 to 2191


def decode(content: bytes, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part of ``table``, in those of ``columns`` that the table has; of `measurements` with the columns
    that an earlier version did not write, null. Of the file's metadata those of metafa are kept.

    Memory: some small multiple of what the rows need, which `check_file` bounds. Raises `PartError`.
    """
    try:
        metadata = read_metadata(pa.BufferReader(content))
        file = pq.ParquetFile(pa.BufferReader(content), metadata=metadata)
        chosen = check_file(file, table, len(content), columns)
        if shared := _check_pages(content, metadata, _places(metadata, chosen)):
            file = pq.ParquetFile(pa.BufferReader(content), metadata=metadata, read_dictionary=shared)
        rows = file.read(chosen, use_threads=len(content) > MANY_BYTES)
        rows.validate(full=True)  # texts that are no UTF-8 among it
        rows = _spelled_out(rows, table, len(content))
        check_rows(rows, table)
        if table == "measurements":
            for place, name in enumerate(name for name in columns or _types(table) if name in _types(table)):
                if name not in chosen:
                    rows = rows.add_column(place, name, pa.nulls(len(rows), _types(table)[name]))
    except PartError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError, RecursionError) as error:
        raise PartError(f"is no Parquet that can be read: {_first_line(error)}") from error
    return rows


def check_total(values: int, table: str, size: int) -> None:
    """Raises `PartError` where files of ``table``, of ``size`` bytes together, hold more ``values`` (rows times
    columns) than those of a study do."""
    if values > max(VALUES[table], VALUES_A_BYTE * size):
        raise PartError(f"holds {values:,} values in {size:,} bytes, far more than a study's results do")


def check_file(file: pq.ParquetFile, table: str, size: int, columns: Sequence[str] | None = None) -> list[str]:
    """Which of ``columns``, by default of all, a file of ``size`` bytes has. Raises `PartError` where it cannot be a
    part of ``table``, by its footer alone: it lacks columns or has other types, is compressed as metafa does not, or
    claims more in those columns than fits. Raises pa.ArrowException or OSError where the footer is damaged."""
    metadata, schema = file.metadata, file.schema_arrow
    check_schema(schema, table)
    wanted = columns if columns is not None else schema.names if table == "trials" else list(_types(table))
    chosen = [name for name in wanted if name in schema.names]
    places = _places(metadata, chosen)
    for i in range(metadata.num_row_groups):
        # where a chunk is described as none can be, this raises, and what is asked of it below ends the process
        list(file.reader.iter_batches(0, [i], places, use_threads=False))
    rows = values = compressed = plain = 0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        if group.num_rows < 0:
            raise PartError("has a footer that contradicts itself")
        rows += group.num_rows
        for j in places:
            chunk = group.column(j)
            sizes = (chunk.num_values, chunk.total_compressed_size, chunk.total_uncompressed_size)
            flat = metadata.schema.column(j).max_repetition_level == 0
            if min(sizes) < 0 or (flat and chunk.num_values != group.num_rows):
                raise PartError("has a footer that contradicts itself")
            if chunk.compression not in MOST_COMPRESSED:
                raise PartError(f"is compressed with {chunk.compression}; metafa writes ZSTD")
            if chunk.file_path:
                raise PartError("keeps its columns in another file")
            if chunk.physical_type == "BYTE_ARRAY" and not ENCODINGS.issuperset(chunk.encodings):
                raise PartError(f"has the column {chunk.path_in_schema!r} encoded as metafa does not")
            values, compressed, plain = values + sizes[0], compressed + sizes[1], plain + sizes[2]
    if rows != metadata.num_rows:
        raise PartError("has a footer that contradicts itself")
    check_total(max(rows * len(chosen), values), table, size)
    if compressed > size:
        raise PartError(f"claims pages of {compressed:,} bytes, and has {size:,} in all")
    if plain > max(TEXT_BYTES, TEXT_A_BYTE * size):
        raise PartError(f"claims {plain:,} bytes in {size:,}, far more than a study's results do")
    return chosen


def check_rows(rows: pa.Table, table: str) -> None:
    """Raises `PartError` where ``rows``, whose types are right, hold what no study writes."""
    for name, check in _CHECKS[table].items():
        if name in rows.column_names:
            check(name, rows[name])


# The footer


def read_metadata(file: pa.NativeFile) -> pq.FileMetaData:
    """What the footer of a file says. Raises `PartError` where it has none, or one larger than any of a study."""
    try:
        size = file.size()
        end = file.read_at(8, size - 8) if size >= 12 else b""
        if end[4:] != b"PAR1":
            raise PartError("is no Parquet")
        footer = int.from_bytes(end[:4], "little")
        if footer > min(FOOTER_BYTES, size - 12):
            raise PartError(f"has a footer of {footer:,} bytes")
        return pq.read_metadata(file)
    except PartError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise PartError(f"is no Parquet that can be read: {_first_line(error)}") from error


def _places(metadata: pq.FileMetaData, chosen: Sequence[str]) -> list[int]:
    """Where the values of columns stand among those of the file; a list has its own inside it."""
    found, names = [], set(chosen)
    for place in range(metadata.num_columns):
        column = metadata.schema.column(place)
        if (column.path.rsplit(".list.", 1)[0] if column.max_repetition_level else column.path) in names:
            found.append(place)
    return found


def check_schema(schema: pa.Schema, table: str) -> None:
    """Raises `PartError` where a part of ``table`` has other columns than those of a study."""
    if len(schema) > COLUMNS:
        raise PartError(f"has {len(schema):,} columns")
    if len(set(schema.names)) < len(schema.names):
        raise PartError("has two columns of one name")
    if lacking := [name for name in NEEDED[table] if name not in schema.names]:
        raise PartError(f"lacks the column {lacking[0]!r}, and is no part of {table!r}")
    if table == "trials" and (odd := [name for name in schema.names if not COLUMN.fullmatch(name)]):
        raise PartError(f"has the column {odd[0][:100]!r}, which is no setting's name")
    known = _types(table)
    for column in schema:
        wanted = known.get(column.name)
        if column.name in known and not _fits(column.type, wanted):
            raise PartError(f"has the column {column.name!r} as {column.type}, where it is {wanted}"[:300])
        if column.name not in known and table == "trials" and not _of_setting(column.type):
            raise PartError(f"has the column {column.name!r} as {column.type}, as which no setting is kept"[:300])


@functools.cache
def _types(table: str) -> dict[str, pa.DataType]:
    from metafa.results import results  # which imports this

    if table == "measurements":
        return {column.name: column.type for column in results.MEASUREMENTS}
    return {**results.OUTCOME, **results.RUN_COLUMNS}


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


# The pages


def _check_pages(content: bytes, metadata: pq.FileMetaData, places: Sequence[int]) -> list[str]:
    """Raises `PartError` where pages are other than the footer says. Returns the columns of text, as paths in the
    schema, that are to be read with equal texts shared, since it may be that they do not fit otherwise.

    Pages are looked at where a chunk could hold much, whatever the footer says: most chunks of a trial are too small.
    """
    shared: dict[str, None] = {}
    text, unseen = 0, 0
    for j in places:
        column = metadata.schema.column(j)
        path, nested = column.path, column.max_repetition_level > 0
        is_text = column.physical_type == "BYTE_ARRAY"
        for i in range(metadata.num_row_groups):
            chunk = metadata.row_group(i).column(j)
            worst = chunk.total_compressed_size * MOST_COMPRESSED[chunk.compression]
            worst *= chunk.num_values if is_text else 1
            if not nested and unseen + worst <= TEXT_BYTES:
                unseen += worst
                continue
            _walk(content, chunk)
            text += chunk.num_values * chunk.total_uncompressed_size * is_text
            if is_text and text > TEXT_BYTES:
                shared[path] = None
    return list(shared)


def _walk(content: bytes, chunk: Any) -> None:
    """Raises `PartError` where the pages of a column chunk hold anything else than its footer says."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    end = start + chunk.total_compressed_size
    path = chunk.path_in_schema
    if not 4 <= start <= end <= len(content):
        raise PartError(f"has the column {path!r} outside of itself")
    at, values, plain, pages = start, 0, 0, 0
    try:
        while at < end and values < chunk.num_values:
            header = _Header(content, at)
            held = header.plain + header.end - at
            if header.plain < 0 or header.compressed < 0 or header.values < 0:
                raise PartError(f"has a page of the column {path!r} that is damaged")
            if header.of_dictionary and header.values > header.plain:
                raise PartError(f"has a dictionary of the column {path!r} that does not fit")
            values += 0 if header.of_dictionary else header.values
            plain, pages, at = plain + held, pages + 1, header.end + header.compressed
            if plain > chunk.total_uncompressed_size or values > chunk.num_values:
                raise PartError(f"holds more in the column {path!r} than it claims to")
            if pages > SOME_PAGES + chunk.num_values // PAGE_VALUES:
                raise PartError(f"has the column {path!r} in too many pages")
            if chunk.physical_type == "BYTE_ARRAY" and header.encoding not in (0, 2, 3, 8):
                raise PartError(f"has the column {path!r} encoded as metafa does not")
    except IndexError as error:
        raise PartError(f"has a page of the column {path!r} that is cut off") from error
    if at > end:
        raise PartError(f"has a page of the column {path!r} that is cut off")


class _Header:
    """The header of a page, in Thrift's compact protocol: how many bytes the page has, plain and ``compressed``, how
    many ``values``, and where the header ends. Raises IndexError where it is cut off, `PartError` where it is none."""

    def __init__(self, content: bytes, at: int):
        self.content, self.end, self.fields = content, at, 0
        self.plain = self.compressed = self.values = self.encoding = 0
        self.of_dictionary = False
        self._read(top=True)

    def _read(self, top: bool, depth: int = 0, of: int = 0) -> None:
        if depth > 8:
            raise PartError("has a page whose header is damaged")
        number = 0
        while kind := self.content[self.end]:
            self.end, self.fields = self.end + 1, self.fields + 1
            if self.fields > 200:
                raise PartError("has a page whose header is damaged")
            number = number + (kind >> 4) if kind >> 4 else self._whole()
            kind &= 15
            if top and kind == 12 and number in (5, 7, 8):  # of data, of a dictionary, of data of the second version
                self.of_dictionary = number == 7
                self._read(top=False, depth=depth + 1, of=number)
            elif kind == 5:
                found = self._whole()
                if top and number in (2, 3):
                    self.plain, self.compressed = (found, self.compressed) if number == 2 else (self.plain, found)
                elif of and number == 1:
                    self.values = found
                elif of and number == (4 if of == 8 else 2):
                    self.encoding = found
            else:
                self._skip(kind, depth)
        self.end += 1

    def _skip(self, kind: int, depth: int) -> None:
        match kind:
            case 1 | 2:  # a truth value, which the kind says
                pass
            case 3:
                self.end += 1
            case 4 | 6:
                self._varint()
            case 7:
                self.end += 8
            case 8:
                length = self._varint()
                self.end += length
            case 12:
                self._read(top=False, depth=depth + 1)
            case _:  # lists and maps, which headers have none of
                raise PartError("has a page whose header is damaged")

    def _varint(self) -> int:
        found = shift = 0
        while True:
            byte = self.content[self.end]
            self.end += 1
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found
            if shift > 63:
                raise PartError("has a page whose header is damaged")

    def _whole(self) -> int:
        found = self._varint()
        return (found >> 1) ^ -(found & 1)


# The rows


def _spelled_out(rows: pa.Table, table: str, size: int) -> pa.Table:
    """The rows with texts that are shared each in full, and in the types of the table. Raises `PartError` where the
    texts would take too much."""
    length = sum(_text_bytes(chunk) for column in rows.columns for chunk in column.chunks)
    if length > max(TEXT_BYTES, TEXT_A_BYTE * size):
        raise PartError(f"holds {length:,} bytes of text in {size:,}, far more than a study's results do")
    known = _types(table)
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


def _matching(pattern: str, may_be_null: bool = False) -> Callable[[str, pa.ChunkedArray], None]:
    whole = re.compile(pattern)

    def check(name: str, values: pa.ChunkedArray) -> None:
        for value in _unique(values):
            if value is None and may_be_null:
                continue
            if value is None or not whole.fullmatch(value):
                raise PartError(f"has {_quoted(value)} in the column {name!r}, as no study has")

    return check


def _unique(values: pa.ChunkedArray) -> list[Any]:
    return pc.unique(values).to_pylist()


def _quoted(value: Any) -> str:
    return "a null" if value is None else f"{value!r:.60}"


def _without_nulls(name: str, values: pa.ChunkedArray) -> None:
    if values.null_count:
        raise PartError(f"has a null in the column {name!r}, as no study has")


def _check_statuses(name: str, values: pa.ChunkedArray) -> None:
    if odd := [value for value in _unique(values) if value not in STATUSES]:
        raise PartError(f"has the status {_quoted(odd[0])}; it is one of {', '.join(sorted(STATUSES))}")


def _mapping(name: str, values: pa.ChunkedArray) -> Iterable[dict[str, Any]]:
    for value in _unique(values):
        if value:
            try:
                found = json.loads(value, parse_constant=_no_number)
            except (ValueError, RecursionError) as error:
                raise PartError(f"has {_quoted(value)} in the column {name!r}, which is no JSON") from error
            if not isinstance(found, dict):
                raise PartError(f"has {_quoted(value)} in the column {name!r}, which is no mapping")
            yield found


def _no_number(found: str) -> float:
    raise ValueError(f"{found} is no JSON")


def _check_points(name: str, values: pa.ChunkedArray) -> None:
    for found in _mapping(name, values):
        if odd := [key for key in found if not COLUMN.fullmatch(key)]:
            raise PartError(f"has a point with {_quoted(odd[0])}, which is no setting's name")


def _check_data(name: str, values: pa.ChunkedArray) -> None:
    for found in _mapping(name, values):
        for key, digest in found.items():
            if not (re.fullmatch(LABEL, key) and key.count("/") == 2 and isinstance(digest, str)):
                raise PartError(f"has {_quoted(key)} in the column {name!r}, which names no images")


def _check_objectives(name: str, values: pa.ChunkedArray) -> None:
    inner = pc.list_flatten(values)
    if inner.null_count or pc.any(pc.invert(pc.is_finite(inner))).as_py():
        raise PartError(f"has a value in the column {name!r} that is no number")


def _within(low: float, high: float) -> Callable[[str, pa.ChunkedArray], None]:
    def check(name: str, values: pa.ChunkedArray) -> None:
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        values = values.drop_null()
        if len(values) and not pc.all(pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))).as_py():
            raise PartError(f"has a value in the column {name!r} that no study has")

    return check


_CHECKS: dict[str, dict[str, Callable[[str, pa.ChunkedArray], None]]] = {
    "trials": {
        "trial_id": _matching(TRIAL_ID),
        "status": _check_statuses,
        "point": _check_points,
        "data": _check_data,
        "objectives": _check_objectives,
        "started": _within(FIRST, LAST),
        "seconds": _within(0.0, LONGEST_SECONDS),
    },
    "measurements": {
        "trial_id": _matching(TRIAL_ID),
        "seed": _without_nulls,
        "phase": _matching(LABEL),
        "step": _without_nulls,
        "metric": _matching(LABEL),
        "task": _matching(LABEL, may_be_null=True),
    },
}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
