"""Real Ray clusters, run through the command as its users do, and disturbed."""

import math
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
import pyarrow as pa
import pytest
import synthetic_results
from disturbances import METAFA, STUDY, assert_equal, metafa, trial_processes
from study_texts import study_with

from metafa.results import heartbeat, parts, tables
from metafa.results.columns import RUN_COLUMNS
from metafa.results.listing import PARTIAL
from metafa.running import stopping


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study run with one worker: its folder, the results in results/small."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "small.toml").write_text(STUDY)
    done = metafa(folder, "run", "small.toml", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a user's screen is for the study alone"
    assert "4 of 4 trials done" in done.stdout
    return folder


def test_a_study_that_is_done_says_so_and_touches_nothing(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "results").rglob("*")}
    again = metafa(undisturbed, "run", "small.toml")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.strip() == "small: 4 of 4 trials done; results in results/small"
    assert {path: path.stat().st_mtime_ns for path in (undisturbed / "results").rglob("*")} == before


def test_status_and_check_tell_what_is_done(undisturbed: Path) -> None:
    said = metafa(undisturbed, "status", "results/small").stdout
    assert "4 done, 0 diverged, 0 stopped, 0 failed, 0 to do" in said
    assert "trials   4 of 2 seeds, 4 of them done" in metafa(undisturbed, "check", "small.toml").stdout


def test_a_part_of_each_table_is_left_and_nothing_of_the_way_there(undisturbed: Path) -> None:
    files = [path for path in (undisturbed / "results/small").rglob("*") if path.is_file()]
    kinds = sorted(str(path.relative_to(undisturbed / "results/small")).split("-")[0] for path in files)
    ours = ["images.json", "leases/upkeep", "measurements/compact", "study.toml", "trials/compact"]
    assert [kind.partition(".")[0] if kind.startswith("leases") else kind for kind in kinds[1:]] == ours
    assert kinds[0].startswith(heartbeat.FOLDER), "the last word of the run"


def test_rows_tell_what_made_them(undisturbed: Path) -> None:
    trials = tables.load(undisturbed / "results/small").trials
    for column in RUN_COLUMNS:
        assert trials[column].notna().all(), column
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    if commit.returncode == 0:
        assert trials["metafa_commit"].str.startswith(commit.stdout.strip()).all()


def test_two_workers_give_the_tables_of_one_and_ray_listens_on_loopback_alone(undisturbed: Path) -> None:
    command = [*METAFA, "run", "small.toml", "--workers", "2", "--results", "two"]
    driver = subprocess.Popen(command, cwd=undisturbed, stdout=subprocess.DEVNULL)
    found = set()
    while driver.poll() is None:
        for process in [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]:
            try:
                connections = process.net_connections("inet")
            except psutil.Error:
                continue
            found |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
        time.sleep(0.5)
    assert driver.returncode == 0
    assert found
    assert found <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert_equal(undisturbed / "results/small", undisturbed / "two")


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
    driver = subprocess.Popen([*METAFA, "run", "small.toml"], cwd=folder, **quiet)
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
    done = metafa(tmp_path, "run", "small.toml")
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
    """Killed once, and told to stop three times, each before the first checkpoint."""
    one_trial(tmp_path, noise_steps=20_000)
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        driver = subprocess.Popen([*METAFA, "run", "small.toml"], cwd=tmp_path, stdout=subprocess.DEVNULL)
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
        [*METAFA, "run", "small.toml"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
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


def test_a_full_disk_is_said_in_a_line_and_the_study_goes_on_when_there_is_room(undisturbed: Path) -> None:
    done = disturbances.fill_a_disk(undisturbed, "small.toml", "disk", 60)
    if done.returncode == 77:
        pytest.skip("nobody may mount a small disk here")
    assert "first: 2" in done.stdout
    assert "second: 0" in done.stdout
    assert done.stderr.strip() == (
        "metafa: small/results cannot be written: No space left on device; nothing that was done is lost, and when it "
        "can be written again the same command continues"
    )
    assert_equal(undisturbed / "results/small", undisturbed / "disk")


def test_damaged_parts_are_named_and_their_trials_run_again(undisturbed: Path) -> None:
    (undisturbed / "damaged").mkdir()
    for name in ("study.toml", "trials", "measurements"):
        subprocess.run(["cp", "-r", undisturbed / "results/small" / name, undisturbed / "damaged"], check=True)
    part = next((undisturbed / "damaged" / "measurements").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1000])
    done = metafa(undisturbed, "run", "small.toml", "--results", "damaged")
    assert done.returncode == 0
    assert done.stderr.strip() == f"damaged/measurements/{part.name}: damaged; its trials run again"
    assert_equal(undisturbed / "results/small", undisturbed / "damaged")


def test_results_in_an_object_store_are_those_in_a_folder(undisturbed: Path, object_store: str) -> None:
    address = object_store.format("sweep")
    done = metafa(undisturbed, "run", "small.toml", "--results", address)
    assert (done.returncode, done.stderr) == (0, "")
    assert "secret" not in done.stdout, "keys in an address are shown to nobody"
    assert_equal(undisturbed / "results/small", address)
    assert "4 done" in metafa(undisturbed, "status", address).stdout
    assert "4 of 4 trials done" in metafa(undisturbed, "run", "small.toml", "--results", address).stdout
    script = Path(__file__).parents[2] / "analysis" / "meta_loss.py"
    for results_at, output in ((address, "of store"), ("results/small", "of folder")):
        subprocess.run([sys.executable, script, results_at, "--output", output], cwd=undisturbed, check=True)
    one, other = (undisturbed / output / "meta_loss.csv" for output in ("of store", "of folder"))
    assert one.read_text() == other.read_text()


def test_an_object_store_that_is_not_there_is_said_in_a_line(undisturbed: Path) -> None:
    for address, said in [
        ("s3://key:secret@bucket/x?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:9", "cannot be used"),
        ("gs://anonymous@bucket/x?scheme=http&endpoint_override=127.0.0.1:9&retry_limit_seconds=1", "cannot be used"),
        ("nowhere://x", "cannot be opened"),
    ]:
        done = metafa(undisturbed, "run", "small.toml", "--results", address)
        assert done.returncode == 2
        assert said in done.stderr
        assert "secret" not in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_trials_run_again_are_compared_with_their_rows(undisturbed: Path, tmp_path: Path) -> None:
    done = metafa(undisturbed, "verify", "results/small", "--trials", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal, to the bit") == 2
    subprocess.run(["cp", "-r", undisturbed / "results/small", tmp_path / "forged"], check=True)
    part = next((tmp_path / "forged" / "measurements").glob("*.parquet"))
    rows = parts.decode(part.read_bytes(), "measurements")
    values = [
        math.nextafter(value, math.inf) if metric == "meta_loss" else value
        for value, metric in zip(rows["value"].to_pylist(), rows["metric"].to_pylist(), strict=True)
    ]
    place = rows.schema.get_field_index("value")
    part.write_bytes(parts.encode(rows.set_column(place, rows.schema.field(place), pa.array(values))))
    done = metafa(tmp_path, "verify", "forged", "--trials", "1")
    assert done.returncode == 1
    assert "measurements differ, the most meta_loss at step" in done.stdout


def test_trials_of_a_version_that_called_settings_otherwise_are_run_again(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed / "results/small", tmp_path / "earlier")
    synthetic_results.make_earlier(tmp_path / "earlier")
    done = metafa(tmp_path, "verify", "earlier", "--trials", "1")
    assert done.returncode == 0, done.stderr
    assert "equal, to the bit" in done.stdout
    done = metafa(undisturbed, "run", "small.toml", "--results", str(tmp_path / "earlier"))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "in which `outer_steps` is called `iterations`: they are to be read, and not continued" in done.stderr


def test_event_files_hold_the_means_over_seeds(undisturbed: Path, tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    done = metafa(undisturbed, "tensorboard", "results/small", str(tmp_path / "events"))
    assert "4 trials written" in done.stdout, done.stderr
    trials, measurements = tables.load(undisturbed / "results/small")
    trial_id = trials["trial_id"].iloc[0]
    of_trial = measurements[(measurements["trial_id"] == trial_id) & (measurements["metric"] == "alignment_angle")]
    wanted = of_trial.groupby(["phase", "step"])["value"].mean()
    content, found = next((tmp_path / "events" / trial_id).iterdir()).read_bytes(), {}
    while content:  # records: length, its checksum, the event, its checksum
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            if "alignment_angle" in value.tag:
                found[value.tag.split("/")[0], event.step] = value.simple_value
    assert found == pytest.approx(wanted.to_dict(), rel=1e-6)
    assert "0 trials written" in metafa(undisturbed, "tensorboard", "results/small", str(tmp_path / "events")).stdout


def test_a_study_that_is_stopped_leaves_a_last_word_and_goes_on_under_uv(tmp_path: Path) -> None:
    """Ctrl-C; then the same command through `uv run`, below a project's folder, in a terminal that knows ASCII alone;
    the question and the paths hold what would be rich's markup."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists():
        pytest.skip("there is no uv")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "project"\nversion = "0"\n')
    folder = tmp_path / "a [bold]"
    folder.mkdir()
    (folder / "small.toml").write_text(f'question = "Où [/b]?"\n{STUDY}', encoding="utf-8")
    run = [*METAFA, "run", "small.toml", "--results", "[/r]", "--workers", "1"]
    driver = subprocess.Popen(run, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while driver.poll() is None and not disturbances.ended(folder / "[/r]"):
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=120)
    assert (driver.returncode, said) == (
        130,
        "metafa: stopped; what is done is kept, and the same command continues\n",
    )
    status = metafa(folder, "status", "[/r]").stdout
    assert "; it was stopped then, and the same command continues" in status
    assert "running" not in status
    others = os.environ | {"PYTHONIOENCODING": "ascii", "UV_OFFLINE": "1", "UV_PYTHON": sys.executable}
    done = subprocess.run([uv, "run", *run], cwd=folder, env=others, capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert b"small: 4 of 4 trials done; results in [/r]" in done.stdout
    assert b" | best meta-loss" in done.stdout


def test_failed_and_diverged_trials_are_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    """One layer is larger than any memory, and those before it are small; one learning rate sends the weights to infinity."""
    text = study_with(
        tomllib.loads(STUDY),
        network={"hidden": {"choices": [[20], [1, 1_000_000, 1_000_000]]}, "rule": "feedback_alignment"},
        noise={"steps": 20, "optimizer": "sgd", "learning_rate": {"choices": [1e-3, 1e30]}},
    )
    (tmp_path / "hard.toml").write_text(text)
    done = metafa(tmp_path, "run", "hard.toml")
    assert done.returncode == 1
    assert "metafa: 2 trials failed; their errors stand in the column `error`" in done.stderr
    trials, measurements = tables.load(tmp_path / "results" / "hard")
    trials = trials.assign(units=trials["network.hidden"].map(max))
    by_condition = trials.set_index(["units", "noise.learning_rate"])
    assert by_condition["status"].to_dict() == {
        (20, 1e-3): "done",
        (20, 1e30): "diverged",
        (10**6, 1e-3): "failed",
        (10**6, 1e30): "failed",
    }
    diverged = by_condition.loc[(20, 1e30)]
    assert (diverged["diverged_phase"], list(diverged["diverged_seeds"])) == ("noise", [0, 1])
    assert 1 <= diverged["diverged_step"] <= 5
    assert [(one["seed"], one["learning_rate"], one["phase"]) for one in diverged["divergences"]] == [
        (0, None, "noise"),
        (1, None, "noise"),
    ]
    assert min(one["step"] for one in diverged["divergences"]) == diverged["diverged_step"]
    assert list(by_condition.loc[(20, 1e-3)]["divergences"]) == []
    assert trials["divergence_bound"].tolist() == pytest.approx([1000 * math.log(5)] * 4)
    assert "RuntimeError" in by_condition.loc[(10**6, 1e-3)]["error"]
    failed = trials.loc[trials["status"] == "failed", "trial_id"]
    assert not measurements["trial_id"].isin(failed).any()
