"""The content of a part that may be anybody's: it is read where it is what a study writes, in memory that its size
bounds, and refused in a sentence where it is not.

Parquet compresses without bound: two megabytes hold a billion rows, or one long text a million times. What a part
claims to hold, in its footer and in the headers of its pages, is compared with its size before anything is allocated.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from metafa.errors import PartError
from metafa.results import earlier
from metafa.results.columns import MEASUREMENTS, READ_TYPES
from metafa.results.pages import MOST_COMPRESSED, check_pages
from metafa.results.schemas import TEXT_A_BYTE, TEXT_BYTES, check_schema, spelled_out
from metafa.results.sealing import seal
from metafa.results.values import check_rows
from metafa.studies.settings import NUMERICS

FOOTER_BYTES = 2**24  # at most; a study file, which stands in it, has 2**20
VALUES_A_BYTE = 40  # studies' parts hold up to 5; but of trials that diverged a byte may stand for 200, up to
VALUES = {"trials": 2**20, "measurements": 12 * 2**22}
ENCODINGS = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"}  # of texts; others make much of little
MANY_BYTES = 2**20  # which several threads read faster


def decode(content: bytes, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part: of `trials` in those of ``columns`` that it has, by default all; of `measurements` in the
    columns of this version. Where an earlier version wrote the part, its columns have the names of this version. Of the
    file's metadata those of metafa are kept.

    Memory: some small multiple of what the rows need, which `check_file` bounds. Raises `PartError`.
    """
    try:
        metadata = read_metadata(pa.BufferReader(content))
        file = pq.ParquetFile(pa.BufferReader(content), metadata=metadata)
        chosen = check_file(file, table, len(content), columns)
        if shared := check_pages(content, metadata, leaf_columns(metadata, chosen)):
            file = pq.ParquetFile(pa.BufferReader(content), metadata=metadata, read_dictionary=shared)
        rows = file.read(chosen, use_threads=len(content) > MANY_BYTES)
        rows.validate(full=True)  # texts that are no UTF-8 among it
        rows = spelled_out(rows, table, len(content))
        check_rows(rows, table)
        if table == "trials":
            rows = earlier.with_new_names(rows)
        if table == "measurements":
            rows = earlier.with_new_metrics(_of_this_version(rows), metadata.metadata or {})
    except PartError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError, RecursionError) as error:
        raise PartError(f"is no Parquet that can be read: {first_line(error)}") from error
    return rows


def _of_this_version(measurements: pa.Table) -> pa.Table:
    """The rows with every column of this version, though an earlier one wrote them."""
    if "inputs" not in measurements.column_names:
        measurements = earlier.with_inputs(measurements)
    for column in MEASUREMENTS:
        if column.name not in measurements.column_names:
            measurements = measurements.append_column(column, pa.nulls(len(measurements), column.type))
    return measurements.select(MEASUREMENTS.names)


def encode(table: pa.Table) -> bytes:
    """A table as a part; metrics in it have the names of this version."""
    content = io.BytesIO()
    if "metric" in table.column_names:
        names = {earlier.METRICS_OF: str(NUMERICS).encode()}
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **names})
    pq.write_table(table, content, compression="zstd")
    return seal(content.getvalue())


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
    wanted = columns if columns is not None else schema.names if table == "trials" else READ_TYPES[table]
    chosen = [name for name in wanted if name in schema.names]
    places = leaf_columns(metadata, chosen)
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
        raise PartError(f"is no Parquet that can be read: {first_line(error)}") from error


def leaf_columns(metadata: pq.FileMetaData, chosen: Sequence[str]) -> list[int]:
    """Where the values of columns stand among those of the file; a list has its own inside it."""
    found, names = [], set(chosen)
    for place in range(metadata.num_columns):
        column = metadata.schema.column(place)
        if (column.path.rsplit(".list.", 1)[0] if column.max_repetition_level else column.path) in names:
            found.append(place)
    return found


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
