"""Publishing a trial: once, whole, and a failure in no result's place."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from study_texts import study_with
from synthetic_results import SMALL, assert_unchanged, fill, in_order

from metafa.results import (
    addresses,
    preparation,
    publishing,
    upkeep,
)
from metafa.results.columns import TABLES, trials_schema
from metafa.results.tables import load, statuses
from metafa.studies.study import Study


def test_a_part_tells_what_study_made_it(tmp_path: Path, checked: Study) -> None:
    fill(tmp_path, checked)
    for table in TABLES:
        part = next((tmp_path / table).glob("*.parquet"))
        metadata = pq.read_schema(part).metadata
        assert metadata[b"metafa.study"].decode() == 'name = "small"\n' + study_with(SMALL)
        assert metadata[b"metafa.fingerprint"].decode() == checked.fingerprint


def test_a_trial_written_twice_stands_once(address: str, checked: Study) -> None:
    place = addresses.at(address)
    fill(address, checked, "failed")
    fill(address, checked)
    assert set(statuses(place).values()) == {"done"}
    assert preparation.read_study(place).name == "small"
    assert len(load(address).measurements) == 4


def test_a_write_that_fails_leaves_no_part(tmp_path: Path, checked: Study) -> None:
    preparation.prepare(addresses.at(tmp_path), checked)
    bad = {"trial_id": checked.trials[0].trial_id, "noise.steps": "many"}
    with pytest.raises(Exception, match="many"):
        publishing.write(addresses.at(tmp_path), trials_schema(checked), bad, [])
    assert statuses(addresses.at(tmp_path)) == {}
    assert not list((tmp_path / "trials").iterdir())


def test_a_failure_takes_no_result_s_place(address: str, checked: Study) -> None:
    """Whoever comes second finds what was published first; where both failed, the later failure stands."""
    place = addresses.at(address)
    fill(address, checked)
    before = in_order(address)
    fill(address, checked, "failed")
    assert_unchanged(before, address)
    upkeep.compact(place)
    fill(address, checked, "failed")
    assert_unchanged(before, address)
    assert len(place.names("trials")) == 1
