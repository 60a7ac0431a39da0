"""What a driver knows of the others on the same study, and of what they have done, without Ray."""

import contextlib
import datetime
import itertools
import json
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as fs
import pytest
from study_texts import study_with
from synthetic_results import driver

from metafa.errors import PartError, ResultsError, StoreError
from metafa.reporting import conditions, report
from metafa.results import (
    addresses,
    columns,
    compaction,
    exports,
    leases,
    listing,
    pairs,
    parts,
    preparation,
    publishing,
    tables,
    upkeep,
)
from metafa.results.columns import TABLES
from metafa.results.store import Store
from metafa.running import proposals, sharing
from metafa.running.events import FinishedTrial
from metafa.studies import study
from metafa.studies.settings import NUMERICS, flatten
from metafa.studies.study import Study
from metafa.studies.trial import Trial

GRID = """\
[[phases]]
phase = "noise"
steps = { choices = [0, 100, 200, 300] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""
SEARCH = """\
[[phases]]
phase = "noise"
steps = { low = 0, high = 1000 }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
[search]
method = "tpe"
trials = 12
objectives = ["evaluate.meta_loss"]
"""


def begun(address: object, text: str = GRID) -> Study:
    checked = study.parse(text, default_name="shared")
    preparation.prepare(addresses.at(str(address)), checked)
    return checked


def share(address: object, checked: Study, **known: Any) -> sharing.Share:
    one = sharing.Share(driver(address), checked, known.pop("ended", {}), known.pop("failed", {}))
    return one


def publish(place: Store, checked: Study, trial: Trial, status: str = "done", **outcome: Any) -> None:
    row = {"trial_id": trial.trial_id, "study": checked.name, "status": status, "numerics": NUMERICS}
    row |= flatten(trial.settings) | {"point": json.dumps(trial.varied)} | outcome
    where = {"seed": 0, "phase": "evaluate", "inputs": "glyphs", "value": 1.0}
    rows = [where | {"step": step, "metric": f"meta_{name}"} for step in range(6) for name in ("loss", "accuracy")]
    schema = columns.trials_schema(checked)
    publishing.publish(place, schema, row, columns.measured(trial.trial_id, rows), final=checked.adaptive)


def ran_by(one: sharing.Share) -> Iterator[Trial | None]:
    """What a driver tries, each published as it is taken."""
    for trial in proposals.to_try(one.study, one.ended, one):
        if trial is not None:
            loss = (trial.varied["noise.steps"] - 500.0) ** 2
            objectives = (loss,) if one.study.adaptive else None
            publish(one.driver.store, one.study, trial, objectives=objectives)
            one.ended[trial.trial_id] = FinishedTrial("done", trial.varied, objectives)
            one.done(trial.trial_id)
        yield trial


@pytest.mark.parametrize("synchronous", [None, "true", "false"], ids=["grid", "synchronous", "asynchronous"])
def test_many_drivers_run_each_trial_once(synchronous: str | None, tmp_path: Path) -> None:
    """Taking turns at random places; of a search as many trials as were asked for, and of a synchronous one the same
    as one driver alone tries."""
    text = GRID if synchronous is None else f"{SEARCH}synchronous = {synchronous}\n"
    tried: dict[str, list[str]] = {}
    for name, many in (("alone", 1), ("shared", 3)):
        checked = begun(tmp_path / name, text)
        running = [ran_by(share(tmp_path / name, checked)) for _ in range(many)]
        tried[name], turns = [], itertools.cycle([0, 0, 1, 2, 1, 1, 0, 2, 2])
        while running:
            place = next(turns) % len(running)
            trial = next(running[place], False)
            if trial is False:
                del running[place]
            elif trial is not None:
                tried[name].append(trial.trial_id)
    assert len(tried["shared"]) == len(set(tried["shared"])) == checked.total
    if synchronous != "false":
        assert sorted(tried["shared"]) == sorted(tried["alone"])
    left = addresses.at(tmp_path / "shared").names(leases.FOLDER)
    assert not [name for name in left if name.startswith("trial-")]


def test_a_trial_of_a_driver_that_is_gone_is_tried_by_another(tmp_path: Path) -> None:
    checked = begun(tmp_path)
    gone, other = share(tmp_path, checked), share(tmp_path, checked)
    assert [gone.take(trial) for trial in checked.trials] == [True] * 4
    waiting = proposals.to_try(checked, other.ended, other)
    assert next(waiting) is None
    gone.driver.store.remove(f"drivers/{gone.driver.token}.json")
    other._looked = -10.0  # a second later
    assert next(waiting) == checked.trials[0]


def test_a_failure_of_another_driver_is_learned_and_one_of_before_is_tried_again(tmp_path: Path) -> None:
    """Also one that has no start, as the driver writes it of a trial whose process died."""
    checked, place = begun(tmp_path), addresses.at(tmp_path)
    before = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    first, second, third, _ = checked.trials
    publish(place, checked, first, "failed", started=before)
    failed = {row["trial_id"]: row["started"] for row in tables.rows_of(place)}
    one = share(tmp_path, checked, failed=failed)
    assert one.take(first)
    one.give_back()
    publish(place, checked, first, "failed", started=before + datetime.timedelta(hours=1))
    publish(place, checked, second, "failed")
    assert [one.take(trial) for trial in (first, second, third)] == [False, False, True]
    assert {trial_id: known.status for trial_id, known in one.ended.items()} == {
        first.trial_id: "failed", second.trial_id: "failed"
    }  # fmt: skip


def test_a_lease_whose_answer_was_lost_is_held_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a store has done what it was asked for, and the connection broke before it said so."""
    checked = begun(tmp_path)
    one, create = share(tmp_path, checked), Store.create

    def lost(self: Store, name: str, content: bytes, durable: bool = False) -> bool:
        create(self, name, content, durable)
        return False

    monkeypatch.setattr(Store, "create", lost)
    assert one.take(checked.trials[0])
    assert not one.take(checked.trials[0])
    monkeypatch.undo()
    assert not share(tmp_path, checked).take(checked.trials[0])


def test_a_heartbeat_that_cannot_be_read_for_once_is_no_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = begun(tmp_path)
    first, second = share(tmp_path, checked), share(tmp_path, checked)
    assert first.take(checked.trials[0])
    read = Store.read

    def stale(self: Store, name: str, limit: int = 2**20) -> bytes:
        if name.startswith("drivers/"):
            raise OSError(116, "Stale file handle", name)
        return read(self, name, limit)

    monkeypatch.setattr(Store, "read", stale)
    assert not second.take(checked.trials[0])
    assert second.take(checked.trials[1])


@pytest.mark.parametrize("note", ['{"x": 1}', '{"noise.steps": 5}', "{}", "[1]", "no JSON", "[" * 100_000, ""])
def test_a_lease_that_is_of_no_trial_of_a_search_is_in_nobody_s_way(note: str, tmp_path: Path) -> None:
    """As another version may have left it."""
    checked = begun(tmp_path, f"{SEARCH}synchronous = false\n")
    assert driver(tmp_path).take(leases.of_trial("0" * 16), note=note)
    tried = [trial for trial in ran_by(share(tmp_path, checked)) if trial is not None]
    assert len(tried) == 12


# Compactions beside it


def filled(address: Path, text: str = GRID) -> tuple[Store, Study]:
    checked, place = begun(address, text), addresses.at(address)
    for trial in checked.trials:
        publish(place, checked, trial)
    return place, checked


def interrupted(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts all parts together, and is killed before the new ones are to be seen."""

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, "rename", killed)
        with contextlib.suppress(KeyboardInterrupt):
            compaction.put_together(place)


def test_reports_and_analyses_find_what_an_interrupted_compaction_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, checked = filled(tmp_path / "made")
    interrupted(place, monkeypatch)
    assert listing.visible_parts(place, "trials") == []
    assert len(tables.load(tmp_path / "made").trials) == 4
    assert len(conditions.read_trials(place)) == 4
    assert "4 trials" in report.render(place)
    assert not listing.is_tidy(place)
    place.remove("study.toml")
    preparation.check(place, checked)
    assert preparation.read_study(place).total == 4
    upkeep.look_after(place)
    assert listing.is_tidy(place)
    assert len(listing.visible_parts(place, "trials")) == 1


def test_readers_come_through_while_many_parts_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a store on which that takes longer than a listing."""
    many = study_with(tomllib.loads(GRID), noise={"steps": {"choices": list(range(200))}})
    place, _ = filled(tmp_path, many)
    remove, removed = Store.remove, threading.Semaphore(0)

    def slowly(self: Store, name: str) -> None:
        if threading.current_thread() is not threading.main_thread() and name.startswith(("trials/", "measurements/")):
            removed.acquire()
        remove(self, name)

    monkeypatch.setattr(Store, "remove", slowly)
    names = Store.names

    def listed(self: Store, folder: str) -> list[str]:
        removed.release(3)  # in every listing there are some less
        return names(self, folder)

    monkeypatch.setattr(Store, "names", listed)
    compacting = threading.Thread(target=compaction.put_together, args=(place,))
    compacting.start()
    found = set()
    while compacting.is_alive():
        found.add(len(tables.load(tmp_path).measurements))
    compacting.join()
    assert found == {200 * 12}


def test_what_is_one_part_already_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, _ = filled(tmp_path)
    assert upkeep.compact(place) == 4
    before = place.names("trials")
    monkeypatch.setattr(compaction, "ROWS_A_PART", 2)
    assert upkeep.compact(place) == 0
    assert place.names("trials") == before


def test_who_publishes_after_a_compaction_of_the_same_trial_comes_second(tmp_path: Path) -> None:
    """A driver that was taken for gone, and went on."""
    place, checked = filled(tmp_path)
    upkeep.compact(place)
    before = place.names("measurements")
    row = {"trial_id": checked.trials[0].trial_id, "status": "done"} | flatten(checked.trials[0].settings)
    again = columns.measured(row["trial_id"], [])
    assert not publishing.publish(place, columns.trials_schema(checked), row, again)
    assert place.names("measurements") == before
    assert len(tables.load(tmp_path).trials) == 4


def test_conditional_puts_of_which_the_answer_was_lost(object_store: str, tmp_path: Path) -> None:
    """A put that is sent again, since nobody answered, is refused by itself."""
    place = addresses.at(object_store.format(tmp_path.name))
    assert isinstance(place.filesystem, fs.S3FileSystem)
    assert place.create("leases/a.1", b"token")
    assert place.create("leases/a.1", b"token")
    assert not place.create("leases/a.1", b"another")
    assert not place.create("leases/a.1", b"")


# What is none of ours among it


def rewritten(place: Store, name: str, table: pa.Table) -> None:
    """Puts other rows into a part, with their digest, and what it carries."""
    kept = parts.read_metadata(pa.BufferReader(place.read(name))).metadata
    metadata = {key: text for key, text in kept.items() if key.startswith(b"metafa.")}
    place.put(name, parts.encode(table.replace_schema_metadata(metadata)))


@pytest.mark.parametrize("compacted", [False, True])
def test_rows_of_another_trial_are_read_and_compacted_nowhere(compacted: bool, tmp_path: Path) -> None:
    place, checked = filled(tmp_path)
    if compacted:
        upkeep.compact(place)
        first = checked.trials[0]
        another = study_with(tomllib.loads(GRID), noise={"steps": {"choices": [0, 100, 200, 400]}})
        publish(place, study.parse(another, default_name="shared"), first)
    name = f"measurements/{listing.visible_parts(place, 'measurements')[0]}"
    table = parts.decode(place.read(name), "measurements")
    other = pa.array(["f" * 16] * len(table))
    rewritten(place, name, table.set_column(0, "trial_id", other))
    before = {table: place.names(table) for table in TABLES}
    for reads in (lambda: tables.load(tmp_path), lambda: list(exports.in_parts(place))):
        with pytest.raises((ResultsError, PartError), match=r"another trial|does not name|without a row"):
            reads()
    if not compacted:
        with pytest.raises(ResultsError, match="another trial"):
            upkeep.compact(place)
        assert before == {table: place.names(table) for table in TABLES}


def test_no_flipped_bit_is_read_as_another_number(tmp_path: Path) -> None:
    place, _ = filled(tmp_path)
    upkeep.compact(place)
    for table in TABLES:
        name = f"{table}/{listing.visible_parts(place, table)[0]}"
        content = place.read(name)
        for at in range(4, len(content), 97):
            flipped = bytearray(content)
            flipped[at] ^= 1 << at % 8
            place.put(name, bytes(flipped))
            pairs._known_pairs.clear()
            with pytest.raises(ResultsError, match="damaged"):
                tables.load(tmp_path)
        place.put(name, content)


@pytest.mark.parametrize("name", ["upkeep.999999999", "upkeep.1"])
def test_what_is_no_lease_is_said_in_a_line_and_waited_for_by_nobody(name: str, tmp_path: Path) -> None:
    place, _ = filled(tmp_path)
    if name == "upkeep.1":
        (tmp_path / leases.FOLDER / name).mkdir()
    else:
        (tmp_path / leases.FOLDER / name).write_text("")
    with pytest.raises((ResultsError, OSError), match=r"upkeep|directory|lease"):
        upkeep.compact(place)


def test_a_heartbeat_that_is_none_keeps_nobody_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it changes, as a link to some file of the system does."""
    clock, one = [0.0], driver(tmp_path)
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock[0])
    for second in range(61):
        clock[0] = float(second)
        one.store.put(f"drivers/{'a' * 32}.json", str(second).encode())
        alive = one.alive("a" * 32)
    assert not alive


def test_a_link_in_a_part_s_place_is_said_in_a_line(tmp_path: Path) -> None:
    checked, place = begun(tmp_path), addresses.at(tmp_path)
    (tmp_path / "measurements" / f"{checked.trials[0].trial_id}.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="no file stands in its place"):
        publish(place, checked, checked.trials[0])


@pytest.mark.parametrize(
    "address",
    ["simplecache::memory://x", "filecache::memory://x", "github://", "dir://x", "hf://datasets/x/y", "s3://"],
)
def test_addresses_that_are_none_are_said_in_a_line(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        addresses.at(address)
    assert "\n" not in str(caught.value)
