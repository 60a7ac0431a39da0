"""Parts of tables that no study writes, and some that it does."""

from __future__ import annotations

import functools
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metafa.results.columns import MEASUREMENTS

TRIAL = "0123456789abcdef"


def measurements(rows: int = 3, **columns: object) -> pa.Table:
    """Measurements with ``columns`` in place of some."""
    known = {
        "trial_id": [TRIAL] * rows,
        "seed": list(range(rows)),
        "learning_rate": [None] * rows,
        "phase": ["evaluate"] * rows,
        "step": [5] * rows,
        "metric": ["meta_loss"] * rows,
        "layer": [None] * rows,
        "component": [None] * rows,
        "inputs": ["glyphs"] * rows,
        "shift": [None] * rows,
        "strength": [None] * rows,
        "value": [0.5] * rows,
    }
    types = {field.name: field.type for field in MEASUREMENTS}
    given = {name: value for name, value in (known | columns).items() if value is not Ellipsis}
    return pa.table(
        {
            name: pa.array(value, types[name]) if name not in columns else pa.array(value)
            for name, value in given.items()
        }
    )


def trials(rows: int = 1, **columns: object) -> pa.Table:
    known: dict[str, object] = {
        "trial_id": [f"{i:016x}" for i in range(rows)],
        "status": ["done"] * rows,
        "point": ["{}"] * rows,
        "phases": [["noise", "evaluate"]] * rows,
    }
    given = {name: value for name, value in (known | columns).items() if value is not Ellipsis}
    return pa.table({name: pa.array(value) for name, value in given.items()})


def parquet(table: pa.Table, **options: object) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, **({"compression": "zstd"} | options))
    return content.getvalue()


def varint(value: int, length: int | None = None) -> bytes:
    """A whole number as Thrift's compact protocol has it, in as many bytes as are asked for."""
    value, found = value << 1, []
    while value or not found or len(found) < (length or 0):
        found.append(value & 127 | 128)
        value >>= 7
    return bytes(found[:-1]) + bytes([found[-1] & 127])


def lying(content: bytes, told: int, instead: int) -> bytes:
    """A file whose footer says ``instead`` wherever it said ``told``."""
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    said = varint(told)
    assert said in content[footer:]
    return content[:footer] + content[footer:].replace(said, varint(instead, len(said)))


def chunk(content: bytes, path: str) -> object:
    group = pq.read_metadata(pa.BufferReader(content)).row_group(0)
    return next(group.column(j) for j in range(group.num_columns) if group.column(j).path_in_schema == path)


@functools.cache
def bombs() -> dict[str, tuple[str, bytes]]:
    """Parts of some kilobytes that would be gigabytes: of which table, and the content."""
    rows = 2**20
    plain = measurements(rows, seed=np.zeros(rows, int)).drop_columns(["learning_rate", "layer", "component"])
    many = io.BytesIO()
    with pq.ParquetWriter(many, plain.schema, compression="zstd") as writer:
        for _ in range(8):
            writer.write_table(plain)
    one_text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 2**20]))
    texts = parquet(plain.set_column(plain.column_names.index("inputs"), "inputs", one_text), store_schema=False)
    growing = measurements(4000, metric=["a" * i for i in range(4000)])
    error = parquet(trials(error=["x" * 2**28]), use_dictionary=False, write_statistics=False)
    layers = pa.ListArray.from_arrays(pa.array([0, 2**24], pa.int32()), pa.array(np.zeros(2**24, np.int64)))
    long = parquet(trials().append_column("network.hidden", layers))
    return {
        "rows": ("measurements", many.getvalue()),
        "texts": ("measurements", texts),
        "texts and a footer that lies": (
            "measurements",
            lying(texts, chunk(texts, "inputs").total_uncompressed_size, 100),
        ),
        "texts that grow": (
            "measurements",
            parquet(growing, use_dictionary=False, column_encoding={"metric": "DELTA_BYTE_ARRAY"}),
        ),
        "an error": ("trials", error),
        "an error and a footer that lies": ("trials", lying(error, chunk(error, "error").total_uncompressed_size, 100)),
        "a list": ("trials", long),
        "a list and a footer that lies": ("trials", lying(long, 2**24, 1)),
    }
