"""What earlier versions left is read, continued, compacted and cleared away."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from synthetic_results import assert_unchanged, fill, in_order

from metafa.results import (
    addresses,
    listing,
    parts,
    upkeep,
)
from metafa.results.columns import TABLES
from metafa.results.rows import ROW, carried
from metafa.results.store import Store
from metafa.results.tables import load, statuses
from metafa.results.upkeep import ABANDONED, PLAN
from metafa.studies.study import Study


def of_an_earlier_version(place: Store, status: str | None = None) -> None:
    """Makes of every trial's parts what versions before left, whose measurements carry no row: of trials of another
    ``status``, if one is given."""
    for name in listing.visible_parts(place, "measurements"):
        trials = parts.decode(place.read(f"trials/{name}"), "trials")
        if status is not None:
            trials = trials.set_column(trials.column_names.index("status"), "status", [[status]])
        rows = parts.decode(place.read(f"measurements/{name}"), "measurements")
        metadata = {key: text for key, text in rows.schema.metadata.items() if key != ROW}
        rows = rows.replace_schema_metadata(metadata)
        place.put(f"trials/{name}", parts.encode(trials))
        place.put(f"measurements/{name}", parts.encode(rows if status != "failed" else rows[:0]))


def test_measurements_without_a_row_of_an_earlier_version_are_of_no_trial(tmp_path: Path, checked: Study) -> None:
    """It wrote both, one after the other, and may still be about to; a trial that is published takes its place."""
    place = addresses.at(tmp_path)
    fill(tmp_path, checked)
    of_an_earlier_version(place)
    name, other, *_ = listing.visible_parts(place, "trials")
    for one in (name, other):
        (tmp_path / "trials" / one).unlink()
    assert len(statuses(place)) == 2
    assert set(load(tmp_path).measurements["trial_id"]) == statuses(place).keys()
    assert upkeep.remove_damaged(place) == []
    assert name in listing.visible_parts(place, "measurements")
    then = time.time() - ABANDONED - 1
    os.utime(tmp_path / "measurements" / name, (then, then))
    assert upkeep.remove_damaged(place) == []
    assert name not in listing.visible_parts(place, "measurements")
    fill(tmp_path, checked)
    assert len(statuses(place)) == len(load(tmp_path).measurements) == 4
    assert parts.decode(place.read(f"trials/{other}"), "trials")["status"].to_pylist() == ["done"]


def test_results_of_an_earlier_version_are_read_continued_and_compacted(address: str, checked: Study) -> None:
    """Its failures are tried again, and those of an adaptive search are not; its interrupted compaction is finished."""
    place = addresses.at(address)
    fill(address, checked)
    before = in_order(address)
    of_an_earlier_version(place)
    assert_unchanged(before, address)
    fill(address, checked)  # leaves them as they are
    assert carried(pq.read_metadata(pa.BufferReader(place.read(f"measurements/{place.names('trials')[0]}")))) is None
    tables = [[parts.decode(place.read(f"{table}/{name}"), table) for name in place.names(table)] for table in TABLES]
    for table, some in zip(TABLES, tables, strict=True):
        place.put(f"{table}/.compact-0123456789abcdef.parquet", parts.encode(pa.concat_tables(some)))
    place.put(PLAN, b'{"old": [], "new": ["compact-0123456789abcdef.parquet"]}')
    place.remove(f"trials/{place.names('trials')[-1]}")
    assert_unchanged(before, address)
    assert upkeep.remove_damaged(place) == []
    assert place.names("trials") == place.names("measurements") == ["compact-0123456789abcdef.parquet"]
    assert not place.exists(PLAN)
    assert_unchanged(before, address)


def test_failures_of_an_earlier_version_are_tried_again(address: str, checked: Study) -> None:
    place = addresses.at(address)
    fill(address, checked)
    of_an_earlier_version(place, "failed")
    assert set(statuses(place).values()) == {"failed"}
    assert upkeep.compact(place) == 0
    fill(address, checked, "failed")
    assert set(statuses(place).values()) == {"failed"}
    assert len(load(address).trials) == 4
    fill(address, checked)
    assert set(statuses(place).values()) == {"done"}
    assert len(load(address).measurements) == 4
