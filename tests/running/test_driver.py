"""Real Ray clusters, run through the command as its users do, and disturbed."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import disturbances
import psutil
import pyarrow as pa
import pytest
import synthetic_results
from disturbances import METAFA, STUDY, assert_equal, metafa
from study_texts import study_with

from metafa.results import heartbeat, parts, tables
from metafa.results.columns import RUN_COLUMNS


def test_a_study_that_is_done_says_so_and_touches_nothing(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "results").rglob("*")}
    again = metafa(undisturbed, "run", "small.toml")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.strip() == "small: 4 of 4 trials done; results in results/small"
    assert {path: path.stat().st_mtime_ns for path in (undisturbed / "results").rglob("*")} == before


def test_a_study_that_is_done_may_claim_something_else(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed / "results", tmp_path / "results")
    claims = [{"statement": "s", "metric": "loss", "phase": "noise", "compare": "start", "expect": "lower"}]
    (tmp_path / "small.toml").write_text(
        study_with(tomllib.loads((undisturbed / "small.toml").read_text()), claims=claims)
    )
    assert metafa(tmp_path, "run", "small.toml").returncode == 0
    assert metafa(tmp_path, "analyse", "claims", "results/small").returncode == 0


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
    done = metafa(undisturbed, "run", "small.toml", "--results", "damaged", "--workers", "1")
    assert done.returncode == 0
    assert done.stderr.strip() == f"damaged/measurements/{part.name}: damaged; its trials run again"
    assert_equal(undisturbed / "results/small", undisturbed / "damaged")


def test_results_in_an_object_store_are_those_in_a_folder(undisturbed: Path, object_store: str) -> None:
    address = object_store.format("sweep")
    done = metafa(undisturbed, "run", "small.toml", "--results", address, "--workers", "1")
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
            if "/alignment_angle" in value.tag:
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
    """One layer is larger than any memory, those before it are small; one learning rate sends weights to infinity."""
    text = study_with(
        tomllib.loads(STUDY),
        network={"hidden": {"choices": [[20], [1, 1_000_000, 1_000_000]]}, "rule": "feedback_alignment"},
        noise={"steps": 20, "optimizer": "sgd", "learning_rate": {"choices": [1e-3, 1e30]}},
    )
    (tmp_path / "hard.toml").write_text(text)
    done = metafa(tmp_path, "run", "hard.toml", "--workers", "1")
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
