"""The tables as anyone reads them."""

from pathlib import Path

import pandas as pd
import pytest
from synthetic_results import fill, small_study

from metafa.errors import ResultsError
from metafa.results import (
    addresses,
    preparation,
)
from metafa.results.tables import load
from metafa.studies.study import Study


def test_anyone_reads_the_tables_with_pandas(tmp_path: Path, checked: Study) -> None:
    fill(tmp_path, checked)
    trials, measurements = (pd.read_parquet(tmp_path / table) for table in ("trials", "measurements"))
    assert len(trials) == 4
    assert trials.set_index("trial_id")["noise.steps"].to_dict() == {
        t.trial_id: t.varied["noise.steps"] for t in checked.trials
    }
    assert trials["network.hidden"].map(list).tolist() == [[100]] * 4
    assert trials["error"].isna().all()
    assert sorted(measurements["value"]) == [0, 1 / 7, 2 / 7, 3 / 7]
    columns = [
        "trial_id",
        "seed",
        "learning_rate",
        "phase",
        "step",
        "metric",
        "layer",
        "component",
        "inputs",
        "shift",
        "strength",
        "value",
    ]
    assert list(measurements) == columns
    loaded = load(tmp_path)
    pd.testing.assert_frame_equal(loaded.trials, trials)
    pd.testing.assert_frame_equal(loaded.measurements, measurements)


def test_load_says_what_is_no_results_folder(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"is not a results folder of metafa: it has no study\.toml"):
        load(tmp_path)


def test_a_study_that_nobody_has_begun_has_tables_without_rows(address: str, checked: Study) -> None:
    """A script that selects columns says nothing else before the first trial ends than after the last."""
    preparation.prepare(addresses.at(address), checked)
    empty = load(address)
    assert (len(empty.trials), len(empty.measurements)) == (0, 0)
    fill(address, checked)
    done = load(address)
    assert list(empty.measurements.columns) == list(done.measurements.columns)
    assert set(done.trials.columns) <= set(empty.trials.columns)


def test_results_without_a_trial_are_shown(tmp_path: Path) -> None:
    preparation.prepare(addresses.at(tmp_path), small_study())
    assert "none has ended yet" in load(tmp_path)._repr_html_()
