"""Rows of `trials` that parts of `measurements` carry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from odd_parts import TRIAL, measurements
from study_texts import study_with
from synthetic_results import SMALL

from metafa.errors import ResultsError
from metafa.results import parts, tables
from metafa.results.columns import TABLES
from metafa.results.rows import ROW

CARRIED = {
    "types": {"trial_id": "string", "status": "string", "point": "string", "started": "timestamp[us, tz=UTC]"}
    | {"objectives": "list<item: double>", "noise.steps": "int64", "numerics": "int64"},
    "values": {"trial_id": TRIAL, "status": "done", "point": "{}", "started": "2026-01-02T03:04:05+00:00"}
    | {"objectives": [0.5], "noise.steps": 3, "numerics": 5},
}


ODD_ROWS = {
    "no JSON": b"{",
    "not UTF-8": b'{"types": {}, "values": {"status": "\xff"}}',
    "nested deeply": b"[" * 100_000,
    "a list": b"[]",
    "nothing": b"{}",
    "no types": {"types": None},
    "an unknown type": {"types": CARRIED["types"] | {"noise.steps": "map<string, int64>"}},
    "another trial's": {"values": CARRIED["values"] | {"trial_id": "f" * 16}},
    "no trial's": {"values": CARRIED["values"] | {"trial_id": "../../../x"}},
    "an unknown status": {"values": CARRIED["values"] | {"status": "fine"}},
    "a number as a text": {"values": CARRIED["values"] | {"status": 5}},
    "a text as a number": {"values": CARRIED["values"] | {"noise.steps": "many"}},
    "a number that fits no column": {"values": CARRIED["values"] | {"noise.steps": 2**64}},
    "a point that is none": {"values": CARRIED["values"] | {"point": "[1]"}},
    "a start that is none": {"values": CARRIED["values"] | {"started": "yesterday"}},
    "a setting that is none": {"types": CARRIED["types"] | {"\x1b[31m": "int64"}},
    "an infinite objective": {"values": CARRIED["values"] | {"objectives": [float("inf")]}},
}


def carrying(folder: Path, row: bytes) -> Path:
    """Results of one trial whose part of `measurements` carries ``row``."""
    table = measurements(1).replace_schema_metadata({ROW: row})
    table = table.set_column(0, "trial_id", [[TRIAL]])
    for name in TABLES:
        (folder / name).mkdir(parents=True)
    (folder / "study.toml").write_text(study_with(SMALL))
    (folder / "measurements" / f"{TRIAL}.parquet").write_bytes(parts.encode(table))
    return folder


def test_a_row_that_a_part_carries_is_read(tmp_path: Path) -> None:
    found = tables.load(carrying(tmp_path / "made", json.dumps(CARRIED).encode()))
    assert found.trials["noise.steps"].tolist() == [3]
    assert str(found.trials["started"][0]) == "2026-01-02 03:04:05+00:00"
    assert found.measurements["trial_id"].tolist() == [TRIAL]


@pytest.mark.parametrize("odd", ODD_ROWS.values(), ids=ODD_ROWS)
def test_a_row_that_no_study_has_is_refused_in_a_sentence(odd: bytes | dict, tmp_path: Path) -> None:
    row = odd if isinstance(odd, bytes) else json.dumps(CARRIED | odd).encode()
    with pytest.raises(ResultsError, match=f"measurements/{TRIAL}.parquet") as caught:
        tables.load(carrying(tmp_path / "made", row))
    assert str(caught.value).isprintable()
