"""Who holds what, of several who ask at once, and what happens when a holder is gone."""

import errno
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made import driver

from metafa.errors import StoreError
from metafa.results import addresses, heartbeat, leases

ONE = leases.of_trial("0123456789abcdef")


def test_a_lease_is_one_driver_s_until_it_gives_it_back(address: str) -> None:
    first, second = driver(address), driver(address)
    assert first.take(ONE, note="a point")
    assert not second.take(ONE)
    assert not first.take(ONE), "also to its holder"
    assert second.held() == {ONE: (first.token, "a point")}
    second.give_back(ONE)  # which is not its to give
    assert not second.take(ONE)
    first.give_back(ONE)
    assert second.take(ONE)
    assert not first.take(ONE)
    second.end(ONE)
    assert first.numbers() == {}


def test_of_many_who_ask_at_once_one_gets_it(tmp_path: Path) -> None:
    drivers = [driver(tmp_path) for _ in range(8)]
    for name in itertools.islice((leases.of_trial(f"{number:016x}") for number in itertools.count()), 20):
        together = threading.Barrier(len(drivers))

        def asks(one: leases.Driver, name: str = name, together: threading.Barrier = together) -> bool:
            together.wait()
            return one.take(name)

        with ThreadPoolExecutor(len(drivers)) as pool:
            assert sum(pool.map(asks, drivers)) == 1


@pytest.mark.parametrize("ahead", [-3600, 0, 3600], ids=["a clock behind", "the same clock", "a clock ahead"])
def test_a_holder_is_gone_when_its_heartbeat_stands_still_whatever_its_clock(
    ahead: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = heartbeat.now("").written.timestamp() + ahead
    moment = heartbeat.datetime.datetime.fromtimestamp(written, heartbeat.datetime.UTC)
    clock = [0.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock[0])
    first, second = driver(tmp_path, written=moment), driver(tmp_path)
    assert first.take(ONE)
    file = tmp_path / heartbeat.FOLDER / f"{first.token}.json"
    said = json.loads(file.read_text())
    for beat in range(20):  # it goes on, with a clock that stands still
        file.write_text(json.dumps(said | {"beat": beat}))
        clock[0] += leases.EVERY
        assert not second.take(ONE)
    changed = clock[0]
    while not second.take(ONE):
        clock[0] += 1.0
    assert clock[0] - changed == leases.GONE_AFTER
    assert not first.take(ONE)
    first.give_back(ONE)
    assert second.holder(ONE, second.numbers()[ONE]) == second.token, "it is not first's any more"


def test_of_two_who_take_over_one_does(tmp_path: Path) -> None:
    gone, *others = driver(tmp_path), driver(tmp_path), driver(tmp_path)
    assert gone.take(ONE)
    (tmp_path / heartbeat.FOLDER / f"{gone.token}.json").unlink()
    assert [one.take(ONE) for one in others] == [True, False]


@pytest.mark.skipif(not heartbeat.this_process().table, reason="processes are found in /proc")
def test_a_process_of_this_machine_is_known_to_be_gone_at_once(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = heartbeat.this_process().model_copy(update={"number": done.pid, "started": heartbeat._started(done.pid)})
    first, second = driver(tmp_path, process=process), driver(tmp_path)
    assert first.take(ONE)
    assert not second.take(ONE)
    done.kill()
    done.stdin.close()
    while Path(f"/proc/{done.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert second.take(ONE), "though nobody has asked yet how it ended"
    done.wait()
    again = process.model_copy(update={"number": os.getpid()})
    assert again.gone(), "a number that is used again is another process"


def test_a_driver_beats_while_it_is_there_and_leaves_what_is_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "EVERY", 0.01)
    place = addresses.at(tmp_path)
    with leases.driver(place, lambda: heartbeat.now("at work"), last_word=True) as one:
        (first,) = heartbeat.every(place)
        assert (first.token, first.ended, first.process.gone()) == (one.token, False, False)
        while heartbeat.every(place)[0].beat < first.beat + 2:
            time.sleep(0.01)
    (last,) = heartbeat.every(place)
    assert last.ended
    with leases.driver(place, lambda: heartbeat.now("puts parts together")) as other:
        assert not other.alive(one.token)
        assert other.others() == []
        leases.clear(other)
        assert heartbeat.tokens(place) == [other.token]
    assert heartbeat.tokens(place) == []


# What leases and publications stand on


def test_of_many_who_create_a_file_at_once_one_does(tmp_path: Path) -> None:
    place = addresses.at(tmp_path)
    for number in range(50):
        together = threading.Barrier(8)

        def creates(who: int, number: int = number, together: threading.Barrier = together) -> bool:
            together.wait()
            return place.create(f"{number}", bytes([who]) * 1000)

        with ThreadPoolExecutor(8) as pool:
            created = list(pool.map(creates, range(8)))
        assert created.count(True) == 1
        assert place.read(f"{number}") == bytes([created.index(True)]) * 1000
    assert len(place.names("")) == 50, "nothing else is left"


def test_what_is_there_is_not_created(address: str) -> None:
    place = addresses.at(address)
    place.make_folders("")
    assert place.tells_apart("trying")
    assert not place.exists("trying")
    assert place.create("a", b"first")
    assert not place.create("a", b"second")
    assert place.read("a") == b"first"
    assert not place.remove_same("a", b"second")
    assert place.read("a") == b"first"
    assert place.remove_same("a", b"first")
    assert not place.exists("a")
    assert not place.remove_same("a", b"first")


@pytest.mark.parametrize("how", ["put", "create"])
def test_what_is_durable_is_on_the_disk_before_it_has_its_name(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's content before it can be found, and the folder's entry before the call returns."""
    place, synced, fsync = addresses.at(tmp_path), [], os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((path == str(tmp_path), (tmp_path / "part").exists()))

    monkeypatch.setattr(os, "fsync", watched)
    getattr(place, how)("part", b"content")
    assert synced == []
    place.remove("part")
    getattr(place, how)("part", b"content", durable=True)
    assert synced == [(False, False), (True, True)]


def test_a_filesystem_without_links_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(old: str, new: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", old)

    monkeypatch.setattr(os, "link", link)
    place = addresses.at(tmp_path)
    assert not place.tells_apart("trying")
    assert place.create("a", b"first")
    assert not place.create("a", b"second")
    assert place.names("") == ["a"]


def test_a_part_that_is_cleared_away_while_it_is_written_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who clears up cannot know whose it is, and that its process only was slow."""
    place, link, times = addresses.at(tmp_path), os.link, itertools.count()

    def cleared(old: str, new: str) -> None:
        if next(times) == 0:
            os.unlink(old)
        link(old, new)

    monkeypatch.setattr(os, "link", cleared)
    assert place.create("a", b"content")
    assert place.read("a") == b"content"
    assert place.names("") == ["a"]


@pytest.mark.parametrize("address", ["memory://x", "memory://"])
def test_what_is_gone_with_the_process_is_no_store(address: str) -> None:
    with pytest.raises(StoreError, match="of one process alone"):
        addresses.at(address)


def test_an_address_of_a_folder_is_that_folder(tmp_path: Path) -> None:
    place = addresses.at(f"file://{tmp_path}")
    assert (place.address, place.root, place.local) == (str(tmp_path), str(tmp_path), True)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [("", addresses.RETRY_SECONDS), ("?scheme=http", addresses.RETRY_SECONDS), ("?retry_limit_seconds=5", 5)],
)
def test_a_store_of_google_s_that_does_not_answer_is_given_up(options: str, seconds: int) -> None:
    """By itself pyarrow tries for a quarter of an hour, and no signal reaches this process until then."""
    place = addresses.at(f"gs://anonymous@bucket/folder{options}")
    _, (settings,) = place.filesystem.__reduce__()
    assert settings["retry_time_limit"].total_seconds() == seconds
    assert "retry" not in place.address or "5" in options
