"""Columns and types that no study writes are refused."""

from __future__ import annotations

import pyarrow as pa
import pytest
from odd_parts import measurements, parquet, trials

from metafa.errors import PartError
from metafa.results import parts

ODD_MEASUREMENTS = {
    "a seed in words": ({"seed": ["a", "b", "c"]}, "has the column 'seed' as string, where it is int64"),
    "no value": ({"value": ...}, "lacks the column 'value'"),
    "lists": ({"value": [[0.5]] * 3}, "has the column 'value' as list"),
    "a dictionary": ({"metric": pa.array(["loss"] * 3).dictionary_encode()}, "has the column 'metric' as dictionary"),
    "an extension": ({"metric": pa.array(["1"] * 3, pa.json_())}, "has the column 'metric' as extension"),
}
ODD_TRIALS = {
    "no status": ({"status": ...}, "lacks the column 'status'"),
    "a structure": ({"noise.steps": [{"a": 1}]}, "has the column 'noise.steps' as struct"),
    "lists of lists": ({"network.hidden": [[[1]]]}, "has the column 'network.hidden' as list"),
    "a name that moves the cursor": ({"\x1b[2J": [1]}, r"has the column '\x1b[2J', which is no setting's name"),
}


@pytest.mark.parametrize(("columns", "said"), ODD_MEASUREMENTS.values(), ids=ODD_MEASUREMENTS)
def test_columns_of_measurements_that_no_study_has_are_refused(columns: dict, said: str) -> None:
    with pytest.raises(PartError) as caught:
        parts.decode(parquet(measurements(**columns)), "measurements")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("columns", "said"), ODD_TRIALS.values(), ids=ODD_TRIALS)
def test_columns_of_trials_that_no_study_has_are_refused(columns: dict, said: str) -> None:
    with pytest.raises(PartError) as caught:
        parts.decode(parquet(trials(**columns)), "trials")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
