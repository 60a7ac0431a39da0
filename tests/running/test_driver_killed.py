"""Studies whose driver, trials, nodes or Ray are killed, or told to stop, on real clusters."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import disturbances
import psutil
import pytest
from disturbances import METAFA, STUDY, assert_equal, metafa, trial_processes
from study_texts import study_with

from metafa.results import tables
from metafa.results.listing import PARTIAL
from metafa.running import stopping


def test_a_study_whose_driver_is_killed_goes_on(undisturbed: Path) -> None:
    address = undisturbed / "killed"
    disturbances.kill_driver(undisturbed, "small.toml", "killed", lambda: disturbances.begun(address))
    assert disturbances.kill_driver(undisturbed, "small.toml", "killed", lambda: disturbances.ended(address))
    trials = tables.load(address).trials
    started = dict(zip(trials["trial_id"], trials["started"], strict=True))
    assert 1 <= len(started) < 4
    done = metafa(undisturbed, "run", "small.toml", "--results", "killed")
    assert done.returncode == 0, done.stderr
    trials = tables.load(undisturbed / "killed").trials
    assert started.items() <= dict(zip(trials["trial_id"], trials["started"], strict=True)).items(), "done once"
    assert_equal(undisturbed / "results/small", undisturbed / "killed")


def test_a_study_that_is_told_to_stop_stops_and_goes_on(undisturbed: Path) -> None:
    """By SIGTERM, twice, once a trial has left a checkpoint."""
    command, address = [*METAFA, "run", "small.toml", "--results", "stopped"], undisturbed / "stopped"
    driver = subprocess.Popen(command, cwd=undisturbed, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 280
    while driver.poll() is None and not disturbances.begun(address):
        assert time.time() < deadline
        time.sleep(0.02)
    started = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGTERM)
    driver.send_signal(signal.SIGTERM)
    said = driver.communicate(timeout=60)[1]
    assert (driver.returncode, said) == (143, f"{stopping.SENTENCE}\n")
    _, left = psutil.wait_procs(started, timeout=30)
    assert started
    assert left == [], "Ray's processes, and those of trials, have gone"
    assert metafa(undisturbed, "run", "small.toml", "--results", "stopped").returncode == 0
    assert_equal(undisturbed / "results/small", address)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for Ray's temporary files, with a short name; it is to be empty at the end."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as name:
        monkeypatch.setenv("RAY_TMPDIR", name)
        yield Path(name)
        assert list(Path(name).iterdir()) == []


# SIGTERM while Ray's handler in C++ stands, before that is taken back; and again while Ray's processes end
STOPPED_EARLY = """\
import os, signal, sys
from ray._private import node, worker
from metafa import cli

connect, kill = worker.connect, node.Node.kill_all_processes

def then_sigterm(*arguments, **options):
    connect(*arguments, **options)
    os.kill(os.getpid(), signal.SIGTERM)

def sigterm_then(*arguments, **options):
    os.kill(os.getpid(), signal.SIGTERM)
    kill(*arguments, **options)

worker.connect, node.Node.kill_all_processes = then_sigterm, sigterm_then
sys.argv = ["metafa", "run", "small.toml", "--results", "early"]
cli.main()
"""


def test_a_study_is_stopped_while_ray_starts_and_while_it_ends(undisturbed: Path, temporary: Path) -> None:
    command = [sys.executable, "-c", STOPPED_EARLY]
    done = subprocess.run(command, cwd=undisturbed, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (143, f"{stopping.SENTENCE}\n")


@pytest.mark.parametrize("folder", ["/dev/null/x", f"/tmp/{'x' * 60}"])
def test_a_folder_in_which_ray_cannot_start_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "small.toml").write_text(STUDY)
    monkeypatch.setenv("RAY_TMPDIR", folder)
    done = metafa(tmp_path, "run", "small.toml")
    assert done.returncode == 2
    assert done.stderr.startswith(f"metafa: Ray cannot start with {folder} for temporary files: ")
    assert done.stderr.endswith("; set TMPDIR to a folder that can be written and has a short name, such as /tmp\n")
    assert len(done.stderr.splitlines()) == 1
    shutil.rmtree(folder, ignore_errors=True)  # Ray makes it before it finds the name too long
    assert not (tmp_path / "results" / "small" / "study.toml").exists(), "nothing is written"


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the trials' processes in /proc")


@needs_proc
def test_trials_whose_processes_are_killed_go_on_from_their_checkpoints(undisturbed: Path) -> None:
    killed = disturbances.kill_workers(undisturbed, "small.toml", "workers", 3, random.Random(0))
    assert killed >= 2
    assert_equal(undisturbed / "results/small", undisturbed / "workers")


def one_trial(folder: Path, noise_steps: int) -> None:
    """Writes a study of one trial that keeps no checkpoint."""
    changes = {
        "network": {"rule": "backprop"},
        "noise": {"steps": noise_steps},
        "resources": {"checkpoint_seconds": 1e9},
    }
    (folder / "small.toml").write_text(study_with(tomllib.loads(STUDY), **changes))


def signal_trials(folder: Path, *signals: int) -> int:
    """Runs a study, and ends each process in which a trial runs by the next of ``signals``; returns its status."""
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    driver = subprocess.Popen([*METAFA, "run", "small.toml", "--workers", "1"], cwd=folder, **quiet)
    left, ended, deadline = list(signals), set(), time.time() + 200
    while driver.poll() is None:
        assert time.time() < deadline
        for process in set(trial_processes(driver.pid)) - ended:
            if left:
                time.sleep(0.3)
                os.kill(process, left.pop(0))
                ended.add(process)
        time.sleep(0.02)
    assert left == []
    return driver.returncode


@needs_proc
def test_a_trial_that_dies_in_the_same_place_again_and_again_has_failed(tmp_path: Path) -> None:
    """A trial that is told to stop has not died: a scheduler may tell all processes of a job, and the driver last."""
    one_trial(tmp_path, noise_steps=500_000)
    assert signal_trials(tmp_path, signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT) == 1
    trials = tables.load(tmp_path / "results" / "small").trials
    assert trials["status"].tolist() == ["failed"]
    error = trials["error"].item().strip().splitlines()[-1]
    _, died, causes = error.partition("its process died in each of 3 attempts: ")
    assert died
    assert causes == "SIGSEGV killed it; it was killed, as by SIGKILL or by a system that is short of memory; " + (
        "SIGABRT killed it"
    )
    left = list((tmp_path / "results" / "small" / PARTIAL).iterdir())
    assert left == [], "the next run tries afresh"


def test_processes_that_rays_memory_monitor_kills_have_died_and_the_study_ends_in_a_sentence(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its threshold is below what is in use, so that it kills what there is, every few seconds."""
    one_trial(tmp_path, noise_steps=500_000)
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "5000")
    done = metafa(tmp_path, "run", "small.toml", "--workers", "1")
    assert done.returncode == 1
    assert done.stderr.startswith("metafa: 1 trials failed")
    assert len(done.stderr.splitlines()) == 1
    assert "(raylet)" not in done.stdout
    trials = tables.load(tmp_path / "results" / "small").trials
    assert trials["status"].tolist() == ["failed"]
    last = trials["error"].item().strip().splitlines()[-1]
    assert "its process died in each of 3 attempts: out of memory, and Ray's monitor killed it" in last


@needs_proc
def test_a_driver_that_is_told_to_stop_is_no_death_of_its_trial(tmp_path: Path, temporary: Path) -> None:
    """Killed once, and told to stop twice, each before the first checkpoint."""
    one_trial(tmp_path, noise_steps=20_000)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        driver = subprocess.Popen(
            [*METAFA, "run", "small.toml", "--workers", "1"], cwd=tmp_path, stdout=subprocess.DEVNULL
        )
        while driver.poll() is None and not trial_processes(driver.pid):
            time.sleep(0.02)
        time.sleep(1)  # it has begun
        assert len(list(temporary.iterdir())) == 1, "what a killed run left has been removed"
        driver.send_signal(number)
        assert driver.wait(60) in (-number, 128 + number)
    assert list((tmp_path / "results" / "small" / PARTIAL).iterdir()) == []
    done = metafa(tmp_path, "run", "small.toml")
    assert done.returncode == 0, done.stderr
    assert tables.load(tmp_path / "results" / "small").trials["status"].tolist() == ["done"]


# the process that waits for its next trial is killed just before that comes, once
KILLED_IDLE = """\
import os, signal, sys
import ray
from ray.tune.execution.tune_controller import TuneController
from metafa import cli

reset = TuneController._schedule_trial_reset

def reset_dead(controller, trial, *arguments):
    TuneController._schedule_trial_reset = reset
    actor = controller._actor_manager._live_actors_to_ray_actors_resources[controller._trial_to_actor[trial]][0]
    os.kill(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
    reset(controller, trial, *arguments)

TuneController._schedule_trial_reset = reset_dead
sys.argv = ["metafa", "run", "small.toml", "--results", "idle", "--workers", "1"]
cli.main()
"""


def test_a_process_that_is_killed_while_it_waits_costs_no_trial(undisturbed: Path) -> None:
    command = [sys.executable, "-c", KILLED_IDLE]
    done = subprocess.run(command, cwd=undisturbed, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert_equal(undisturbed / "results/small", undisturbed / "idle")


@needs_proc
@pytest.mark.parametrize("server", ["raylet", "gcs_server"])
def test_a_ray_that_dies_below_a_study_is_said_in_a_line(tmp_path: Path, temporary: Path, server: str) -> None:
    one_trial(tmp_path, noise_steps=500_000)
    driver = subprocess.Popen(
        [*METAFA, "run", "small.toml", "--workers", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while driver.poll() is None and not trial_processes(driver.pid):
        time.sleep(0.02)
    below = psutil.Process(driver.pid).children(recursive=True)
    next(process for process in below if process.name() == server).kill()
    shown, said = driver.communicate(timeout=100)
    assert driver.returncode == 2
    assert said == (
        f"metafa: Ray has failed: its process {server} has ended, with status -9; nothing that was done is lost, and "
        "the same command continues\n"
    )
    assert "(raylet)" not in shown


def test_a_study_that_loses_a_node_goes_on(undisturbed: Path) -> None:
    done = disturbances.lose_a_node(undisturbed, "small.toml", "node")
    assert "nodes lost: 1" in done.stdout, done.stderr
    assert_equal(undisturbed / "results/small", undisturbed / "node")
