"""Several drivers at once on one study, through the command, as independent jobs of a cluster are."""

import json
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import crowd
import pandas as pd
import pytest
import synthetic_results
from crowd import Crowd, attempts_again
from disturbances import assert_equal, metafa
from study_texts import study_with

from metafa.results import addresses, heartbeat, leases, preparation, tables, upkeep
from metafa.results.columns import TABLES
from metafa.running import stopping
from metafa.studies import study

# as of 2026, two drivers on this left four rows for its three trials, and 544 measurements
TWO_DRIVERS = """\
seeds = 2
[network]
hidden = [20]
[[phases]]
phase = "noise"
steps = { choices = [0, 100, 8000] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
tasks = 10
[measure]
points = 5
tasks = 5
"""
SEARCH = """\
seeds = 2
[network]
hidden = [20]
rule = { choices = ["feedback_alignment", "backprop"] }
[[phases]]
phase = "noise"
steps = { low = 500, high = 900 }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
tasks = 10
[measure]
points = 5
tasks = 5
[search]
method = "tpe"
trials = 8
batch = 4
objectives = ["evaluate.meta_loss"]
"""


@pytest.fixture
def drivers(tmp_path: Path) -> Iterator[Crowd]:
    """Drivers on the study shared.toml, of which none is left running."""
    begun = Crowd(tmp_path, "shared.toml", "shared")
    yield begun
    begun.end()


def done(address: Path) -> int:
    return len(list((address / "measurements").glob("[0-9a-f]*.parquet")))


def test_drivers_that_are_killed_stopped_and_begun_share_a_study(drivers: Crowd, tmp_path: Path) -> None:
    """Its tables are those of an undisturbed run, and no trial's work is done twice but what was in flight."""
    (tmp_path / "shared.toml").write_text(crowd.STUDY.format(steps=[1200 + i for i in range(4)]))
    killed, stopped = drivers.begin(), drivers.begin()
    drivers.until(lambda: (tmp_path / "shared" / "study.toml").exists())
    late = drivers.begin()
    drivers.until(lambda: drivers.begun(killed) > 0)
    killed.kill()
    drivers.until(lambda: drivers.begun(late) > 0 and drivers.begun(stopped) > 0)
    place = addresses.at(tmp_path / "shared")
    tokens = {beat.process.number: beat.token for beat in heartbeat.every(place)}
    stopped.stop()
    assert stopped.wait().endswith(f"{stopping.SENTENCE}\n")
    assert stopped.process.returncode == 143
    asks = leases.Driver(place)
    held = {name: asks.holder(name, number) for name, number in asks.numbers().items()}
    assert tokens[stopped.process.pid] not in held.values(), "it has given back what it had taken"
    assert "8 of 8 trials done" in late.wait()
    assert metafa(tmp_path, "run", "shared.toml", "--results", "undisturbed").returncode == 0
    assert_equal(tmp_path / "undisturbed", tmp_path / "shared")
    assert sum(attempts_again(drivers).values()) <= 2, "one for each of those that were killed and stopped"
    assert sum(event.what == "done" for event in drivers.events()) == 8
    assert not [name for name in place.names(leases.FOLDER) if name.startswith("trial")]


def test_a_second_driver_doubles_no_row_and_says_so(drivers: Crowd, tmp_path: Path) -> None:
    (tmp_path / "shared.toml").write_text(TWO_DRIVERS)
    first = drivers.begin()
    drivers.until(lambda: done(tmp_path / "shared") == 2)
    second = drivers.begin()
    drivers.until(lambda: len(heartbeat.every(addresses.at(tmp_path / "shared"))) == 2)
    drivers.until(lambda: "other runs have taken all that is left; waiting for them" in second.output.read_text())
    assert metafa(tmp_path, "compact", "shared").returncode == 0
    for driver in (first, second):
        assert "3 of 3 trials done" in driver.wait()
        assert driver.process.returncode == 0
    found = tables.load(tmp_path / "shared")
    assert (len(found.trials), len(found.measurements)) == (3, 492)
    for table, rows in zip(TABLES, found, strict=True):
        assert len(pd.read_parquet(tmp_path / "shared" / table)) == len(rows)
    assert [event.what for event in drivers.events()] == ["begun", "done"] * 3


@pytest.mark.parametrize("synchronous", [True, False])
def test_two_drivers_share_a_search(
    synchronous: bool, drivers: Crowd, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Of a synchronous one they try what one driver tries; of another, so many trials as were asked for."""
    (tmp_path / "shared.toml").write_text(SEARCH + f"synchronous = {json.dumps(synchronous)}\n")
    alone = Crowd(tmp_path / "alone", "../shared.toml", "one")
    alone.folder.mkdir()
    request.addfinalizer(alone.end)
    both, one = (drivers.begin(), drivers.begin()), alone.begin() if synchronous else None
    for driver in both:
        assert "8 of 8 trials done" in driver.wait()
    assert len(tables.load(tmp_path / "shared").trials) == 8
    assert all(drivers.begun(driver) for driver in both)
    assert sum(attempts_again(drivers).values()) == 0
    if one is not None:
        assert "8 of 8 trials done" in one.wait()
        assert_equal(alone.folder / "one", tmp_path / "shared")


def test_a_driver_that_begins_beside_one_that_writes_takes_nothing_away(tmp_path: Path) -> None:
    """It looks for damage while parts are put there, and puts them together."""
    text = study_with(tomllib.loads(TWO_DRIVERS), noise={"steps": {"choices": list(range(300))}})
    checked, place = study.parse(text, default_name="made"), addresses.at(tmp_path)
    preparation.prepare(place, checked)
    row = dict(seed=0, phase="evaluate", step=5, metric="meta_loss", layer=None, inputs="glyphs", value=0.5)

    def writes() -> None:
        for trial in checked.trials:
            synthetic_results.put(tmp_path, checked, trial, [row])

    with ThreadPoolExecutor() as pool:
        writer, seen, said = pool.submit(writes), set[str](), list[str]()
        while not writer.done():
            said += upkeep.remove_damaged(place)
            if len(seen) % 2:
                upkeep.compact(place)
            now = set(tables.statuses(place))
            assert seen <= now
            seen = now
    writer.result()
    assert said == []
    trials, measurements = tables.load(tmp_path)
    assert sorted(trials["trial_id"]) == sorted(measurements["trial_id"]) == sorted(t.trial_id for t in checked.trials)
