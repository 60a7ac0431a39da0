"""Parts are read as they were written, or refused."""

from __future__ import annotations

import contextlib
import time

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from odd_parts import measurements, parquet, trials

from metafa.errors import PartError
from metafa.results import parts
from metafa.results.columns import MEASUREMENTS, TABLES


def test_a_part_is_read_as_it_was_written() -> None:
    found = parts.decode(parts.encode(measurements()), "measurements")
    assert found.equals(measurements().cast(MEASUREMENTS))
    assert parts.decode(parquet(trials(2)), "trials").to_pylist() == trials(2).to_pylist()
    some = parts.decode(parquet(trials(2)), "trials", ["status", "numerics", "trial_id"])
    assert some.column_names == ["status", "trial_id"]


def test_parts_of_earlier_versions_and_of_other_software_are_read() -> None:
    """Without the columns that there were not yet; and as pandas and Polars write them again."""
    early = measurements().drop_columns(["learning_rate", "component"])
    assert parts.decode(parquet(early), "measurements").equals(measurements().cast(MEASUREMENTS))
    again = pa.Table.from_pandas(measurements(layer=[1.0, None, 2.0]).to_pandas())
    found = parts.decode(parquet(again, compression="snappy"), "measurements")
    assert found["layer"].to_pylist() == [1, None, 2]
    assert found.schema.equals(MEASUREMENTS, check_metadata=True)  # nothing that steers pandas
    large = measurements().set_column(5, "metric", pa.array(["loss"] * 3, pa.large_string()))
    assert parts.decode(parquet(large), "measurements").schema == MEASUREMENTS


NOT_WHOLE_NUMBERS = {
    "half a step": ({"step": [0.5, 1.0, 2.0]}, "truncated"),
    "whole numbers too large": ({"step": pa.array([2**64 - 1] * 3, pa.uint64())}, "is no Parquet that can be read"),
}


@pytest.mark.parametrize(("columns", "said"), NOT_WHOLE_NUMBERS.values(), ids=NOT_WHOLE_NUMBERS)
def test_numbers_that_are_none_of_a_study_s_are_refused(columns: dict, said: str) -> None:
    with pytest.raises(PartError) as caught:
        parts.decode(parquet(measurements(**columns)), "measurements")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_texts_that_are_no_utf8_are_refused() -> None:
    as_text = pa.Array.from_buffers(pa.string(), 3, pa.array([b"\xff\xfe"] * 3).buffers())
    content = parquet(measurements().set_column(5, "metric", as_text))
    with pytest.raises(PartError):
        parts.decode(content, "measurements")


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_a_part_of_which_bytes_are_others_is_read_or_refused(data: st.DataObject) -> None:
    """Whoever changes bytes can put the right digest beside them."""
    table = data.draw(st.sampled_from(TABLES))
    content = bytearray(parquet(measurements(20) if table == "measurements" else trials(2)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                content[place] = data.draw(st.integers(0, 255))
            case 1:
                del content[place : place + data.draw(st.integers(1, 40))]
            case 2:
                content[place:place] = data.draw(st.binary(min_size=1, max_size=20))
    began = time.process_time()
    with contextlib.suppress(PartError):
        found = parts.decode(bytes(content), table)
        found.to_pandas()
        found.to_pylist()
        assert found.nbytes < 2**20
    assert time.process_time() - began < 5
