"""Bad input: one line each, exit status 2, nothing written, no traceback."""

import dataclasses
import io
import itertools
import subprocess
import sys
from pathlib import Path

import made
import pytest
from rich.console import Console
from typer.testing import CliRunner

from metafa import cli, progress, results, search, store, study
from metafa.sweep import Ended

STUDY = """\
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""
SUPERVISED = """\
[[phases]]
phase = "supervised"
dataset = "digits"
steps = 3
"""

BAD = {
    "not TOML": ("[[phases", "not TOML"),
    "an unknown key": (STUDY + "taskz = 3", "evaluate.taskz: unknown key; did you mean 'tasks'?"),
    "a wrong type": (STUDY + 'ways = "five"', "evaluate.ways: found 'five', expected a whole number"),
    "a range the wrong way round": (STUDY + "inner_learning_rate = { low = 1.0, high = 0.1 }", "the wrong way round"),
    "too many ways": (
        STUDY + "ways = 1000",
        "evaluate.ways: found 1000, but the test classes of glyphs are 187",
    ),
    "too many shots": (
        STUDY + "shots = 15",
        "evaluate.shots and evaluate.queries: 25 images of a class together, but the test classes of glyphs have 20",
    ),
    "absent data": (STUDY.replace("glyphs", "kmnist"), "evaluate.task_distributions: kmnist is not in"),
    "too many training images": (
        SUPERVISED + "training_images = 2000",
        "supervised.training_images: found 2000, but digits has 1438 training images",
    ),
    "an absent dataset": (
        SUPERVISED.replace("digits", "mnist10k"),
        "supervised.dataset: mnist10k is not here: none of",
    ),
    "absent folder": (STUDY.replace("glyphs", "omniglot-minimal"), "images_background_small1"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFA_DATA", str(tmp_path / "data"))
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.mark.parametrize("kind", BAD)
def test_bad_studies(kind: str, here: Path) -> None:
    text, said = BAD[kind]
    (here / "bad.toml").write_text(text)
    result = run("run", "bad.toml")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert said in result.stderr
    assert result.stderr.startswith("bad.toml")
    assert [path.name for path in here.iterdir()] == ["bad.toml"]


def test_bad_folders(here: Path) -> None:
    (here / "good.toml").write_text(STUDY)
    (here / "file").write_text("x")
    for folder, said in [("file", "is not a folder"), ("/proc/results", "is not writable"), (".", "not a results fol")]:
        result = run("run", "good.toml", "--results", folder)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert said in result.stderr
    assert run("status", "nowhere").exit_code == 2
    assert sorted(path.name for path in here.iterdir()) == ["file", "good.toml"]


def test_check_tells_what_would_run_and_writes_nothing(here: Path) -> None:
    (here / "good.toml").write_text('question = "Why?"\n' + STUDY.replace('"glyphs"', '"glyphs", "kmnist"'))
    result = run("check", "good.toml")
    assert result.exit_code == 0, result.stderr
    assert "good: Why?" in result.stdout
    assert "trials   1 of 8 seeds, 0 of them done, in results/good" in result.stdout
    assert "data     kmnist is not on this machine" in result.stdout
    assert [path.name for path in here.iterdir()] == ["good.toml"]


def test_check_tells_what_each_part_transports(here: Path) -> None:
    rules = 'network.rule = { choices = ["nested_kolen_pollack", "sign_symmetry_fixed"] }\n'
    meta = '[[phases]]\nphase = "meta"\ntask_distribution = "glyphs"\niterations = 1\nouter_algorithm = '
    (here / "good.toml").write_text(rules + meta + '{ choices = ["exact", "first_order"] }\n' + STUDY)
    lines = [line.replace("│", " ").split() for line in run("check", "good.toml").stdout.splitlines()]
    for row in (
        ["nested_kolen_pollack", "exact", "none", "weights", "none"],
        ["nested_kolen_pollack", "first_order", "none", "none", "none"],
        ["sign_symmetry_fixed", "exact", "signs", "weights", "signs"],
        ["sign_symmetry_fixed", "first_order", "signs", "signs", "signs"],
    ):
        assert row in lines


def test_tasks_tells_which_data_is_here(here: Path) -> None:
    lines = run("tasks").stdout.splitlines()
    assert "here" in next(line for line in lines if "glyphs" in line)
    assert "downloaded on first use" in next(line for line in lines if " kmnist" in line)
    assert "not here" in next(line for line in lines if "omniglot-minimal" in line)


def test_more_resources_than_there_are(here: Path) -> None:
    (here / "greedy.toml").write_text(STUDY + "[resources]\ngpus_per_trial = 9.0\n")
    command = [str(Path(sys.executable).with_name("metafa")), "run", "greedy.toml"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("metafa: resources.gpus_per_trial is 9, but this machine has ")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in here.iterdir()] == ["greedy.toml"]


def test_no_cluster_at_the_address(here: Path) -> None:
    address = "127.0.0.1:1"
    (here / "good.toml").write_text(STUDY)
    command = [str(Path(sys.executable).with_name("metafa")), "run", "good.toml", "--address", address]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith(f"metafa: no Ray cluster at '{address}': ")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in here.iterdir()] == ["good.toml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "To begin: metafa run quickstart"),
        (["run", "."], ".: is a folder; give a study file in it, or one of `metafa studies`"),
        (["run", "absent.toml"], "absent.toml: no such study file; `metafa studies` lists those to begin from"),
        (["report", "absent"], "`metafa run STUDY` says where its results are"),
        (["status", "absent"], "`metafa run STUDY` says where its results are"),
    ],
)
def test_whoever_is_lost_is_told_what_to_do_next(here: Path, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == cli.UNUSABLE
    assert said in " ".join(done.output.split())
    assert list(here.iterdir()) == []


def test_studies_that_come_with_metafa_go_by_name(here: Path) -> None:
    listed = run("studies").output
    for name in ("quickstart", "claims/claim_8_meta_loss", "studies/quickstart.toml"):
        assert name.removeprefix("studies/").removesuffix(".toml") in listed
        done = run("check", name)
        assert done.exit_code == 0, done.output
        assert f"{name.rpartition('/')[2].removesuffix('.toml')}: Does noise pretraining" in done.output


def test_a_study_of_ones_own_comes_before_one_of_that_name(here: Path) -> None:
    (here / "quickstart").write_text(STUDY)
    assert "1 of 8 seeds" in run("check", "quickstart").output


EXHAUSTED = """\
name = "small"
seeds = 1
[[phases]]
phase = "supervised"
dataset = "digits"
steps = 3
batch_size = { choices = [8, 9] }
training_images = { choices = [9, 8] }
[search]
method = "tpe"
trials = 12
objectives = ["supervised.loss"]
"""


def test_a_search_whose_space_is_exhausted_is_done_and_says_so(here: Path) -> None:
    """Three of four points fit. No command starts Ray for it: there is no cluster at the address."""
    (here / "small.toml").write_text(EXHAUSTED)
    checked = study.read(here / "small.toml")
    rows = [
        {"seed": 0, "phase": "supervised", "step": 3, "metric": "loss", "task": "digits", "value": 1.0, "layer": None}
    ]
    said = "the search space has no more than 3, of 12 asked for"
    for number, point in enumerate(search.every(checked.spaces)):
        if point == {"supervised.batch_size": 9, "supervised.training_images": 8}:
            continue
        if number == 0:
            results.prepare(store.at("results/small"), checked)
        assert f"{3 - number} to do" in run("status", "results/small").output
        made.put("results/small", checked, checked.trial(point), rows, objectives=[1.0])
    for arguments in (("check", "small.toml"), ("run", "small.toml", "--address", "127.0.0.1:1")):
        done = run(*arguments)
        assert done.exit_code == 0, done.output
        assert said in done.output
    assert "trials   3 of 1 seeds, 3 of them done" in run("check", "small.toml").output
    assert "3 done, 0 diverged, 0 stopped, 0 failed, 0 to do" in run("status", "results/small").output
    assert said in run("status", "results/small").output
    assert run("report", "results/small").exit_code == 0
    report = (here / "results/small/report.html").read_text()
    assert "done, 3 trials" in report
    assert said[1:] in report


def test_what_a_trial_says_of_itself_is_no_markup() -> None:
    """Brackets in an error or a setting stand on the screen as they are."""
    screen = Console(file=io.StringIO(), width=200)
    checked = study.parse(EXHAUSTED)
    trial = dataclasses.replace(checked.trial({**next(search.every(checked.spaces))}), varied={"x": "[/b] [red]"})
    watcher = progress.Watcher(screen, 2, 0)
    watcher.finished(trial, Ended("failed", "RuntimeError: [/] no [bold]closing[/bold] tag [/b]"))
    watcher.finished(trial, Ended("done", None, ("accuracy", 0.5)))
    with watcher.bar:
        watcher.progressed(trial, 0.5)
    said = screen.file.getvalue()
    assert "failed x [/b] [red]: RuntimeError: [/] no [bold]closing[/bold] tag [/b]" in said
    assert "best accuracy 0.500 (x [/b] [red])" in said


def test_progress_tells_the_better_by_the_metric() -> None:
    checked = study.parse(EXHAUSTED)
    one, other = itertools.islice(map(checked.trial, search.every(checked.spaces)), 2)
    for metric, values, best in (("meta_loss", (2.0, 1.0), other), ("accuracy", (0.9, 0.8), one)):
        watcher = progress.Watcher(Console(file=io.StringIO()), 2, 0)
        for trial, value in zip((one, other), values, strict=True):
            watcher.finished(trial, Ended("done", None, (metric, value)))
        assert watcher.best[1] is best
