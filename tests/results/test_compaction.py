"""Compaction keeps every row once, wherever it is interrupted and whoever else is at it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import pytest
from synthetic_results import assert_unchanged, fill, in_order, put, small_study

from metafa.results import (
    addresses,
    heartbeat,
    leases,
    listing,
    preparation,
    upkeep,
)
from metafa.results.columns import TABLES
from metafa.results.tables import load, statuses
from metafa.studies.study import Study


def test_compaction_keeps_every_row_once(address: str, checked: Study) -> None:
    """And what is added later is compacted with what was."""
    place = addresses.at(address)
    fill(address, checked)
    before = in_order(address)
    assert upkeep.compact(place) == 4
    assert len(listing.visible_parts(place, "trials")) == len(listing.visible_parts(place, "measurements")) == 1
    assert_unchanged(before, address)
    assert upkeep.compact(place) == 0, "there is nothing left to put together"
    assert upkeep.remove_damaged(place) == []
    more = small_study(noise={"steps": {"choices": [0, 100, 200]}})
    assert more.continues(checked)
    preparation.prepare(place, more)
    for trial in more.trials:
        if trial.varied["noise.steps"] == 200:
            put(address, more, trial, [])
    assert upkeep.compact(place) == 3
    assert statuses(place).keys() == {trial.trial_id for trial in more.trials}
    assert len(load(address).measurements) == 4


def test_failed_trials_are_not_compacted(tmp_path: Path, checked: Study) -> None:
    """Their rows are to be replaced when they are tried again."""
    fill(tmp_path, checked, "failed")
    assert upkeep.compact(addresses.at(tmp_path)) == 0
    fill(tmp_path, checked)
    assert set(statuses(addresses.at(tmp_path)).values()) == {"done"}


def assert_read_once(folder: Path) -> None:
    """By whoever reads the folders as they are."""
    for table in TABLES:
        visible = listing.visible_parts(addresses.at(folder), table)
        found = pd.read_parquet(folder / table)["trial_id"] if visible else pd.Series([])
        assert not found.duplicated().any()


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("changes", range(26))
def test_compaction_may_be_interrupted_anywhere(
    changes: int, earlier: bool, tmp_path: Path, checked: Study, killed_after: Callable[[int], AbstractContextManager]
) -> None:
    """Until it is finished no reader finds a trial twice; then each finds all, as they were: also where trials of an
    ``earlier`` compaction are put together with others."""
    place = addresses.at(tmp_path)
    fill(tmp_path, checked)
    if earlier:
        upkeep.compact(place)
        more = small_study(noise={"steps": {"choices": [0, 100, 200]}})
        fill(tmp_path, more, but={trial.trial_id for trial in checked.trials})
    before = in_order(tmp_path)
    with killed_after(changes):
        upkeep.compact(place)
    assert_read_once(tmp_path)
    assert upkeep.remove_damaged(place) == []
    assert_read_once(tmp_path)
    assert_unchanged(before, tmp_path)
    upkeep.compact(place)
    assert_unchanged(before, tmp_path)
    for table in TABLES:
        assert len(place.names(table)) == 1, "nothing hidden is left"
    assert place.names(heartbeat.FOLDER) == []
    assert [name.partition(".")[0] for name in place.names(leases.FOLDER)] == [leases.UPKEEP]


def test_two_who_compact_at_once_lose_no_row_and_raise_nothing(address: str, checked: Study) -> None:
    """As two drivers that end at the same time, and one that begins meanwhile."""
    place, all_at_once = addresses.at(address), threading.Barrier(3)

    def compacts() -> int:
        all_at_once.wait()
        return upkeep.compact(addresses.at(address))

    def begins() -> list[str]:
        all_at_once.wait()
        return upkeep.remove_damaged(addresses.at(address))

    for _ in range(5):
        fill(address, checked)
        before = in_order(address)
        with ThreadPoolExecutor() as pool:
            done = [pool.submit(compacts), pool.submit(compacts), pool.submit(begins)]
        assert done[2].result() == []
        assert sum(one.result() for one in done[:2]) >= 0
        assert_unchanged(before, address)
        for table in TABLES:
            for name in listing.visible_parts(place, table):
                place.remove(f"{table}/{name}")
