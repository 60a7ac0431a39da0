"""Who holds what, of several who ask at once, and what happens when a holder is gone."""

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
from synthetic_results import driver

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
