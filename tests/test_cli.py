"""Bad input: one line each, exit status 2, nothing written, no traceback."""

import datetime
import html
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import synthetic_results as made
from study_bases import EVALUATE, EVALUATED
from study_texts import study_with
from typer.testing import CliRunner

from metafa import cli, cli_inputs
from metafa.reporting import report
from metafa.results import addresses, heartbeat, preparation, sealing, tables, upkeep
from metafa.results.columns import TABLES
from metafa.results.listing import OWN
from metafa.studies import search, study
from metafa.studies.study import Study
from metafa.studies.trial import Trial

STUDY = study_with(EVALUATED)
ON_DATA = {"phases": [{"phase": "supervised", "dataset": "digits", "steps": 3}]}


def evaluating(**settings: object) -> str:
    return study_with(EVALUATED, evaluate=settings)


def training(**settings: object) -> str:
    return study_with(ON_DATA, supervised=settings)


BAD = {
    "not TOML": ("[[phases", "not TOML"),
    "an unknown key": (evaluating(taskz=3), "evaluate.taskz: unknown key; did you mean 'tasks'?"),
    "a wrong type": (evaluating(ways="five"), "evaluate.ways: found 'five', expected a whole number"),
    "a range the wrong way round": (evaluating(inner_learning_rate={"low": 1.0, "high": 0.1}), "the wrong way round"),
    "too many ways": (
        evaluating(ways=1000),
        "evaluate.ways: found 1000, but the test classes of glyphs are 187",
    ),
    "too many shots": (
        evaluating(shots=15),
        "evaluate.shots and evaluate.queries: 25 images of a class together, but the test classes of glyphs have 20",
    ),
    "absent data": (
        evaluating(task_distributions=["kmnist"]),
        "evaluate.task_distributions: kmnist is not in",
    ),
    "too many training images": (
        training(training_images=2000),
        "supervised.training_images: found 2000, but digits has 1438 training images",
    ),
    "too many images of a whole dataset": (
        study_with(
            {"phases": [{"phase": "whole_datasets", "datasets": ["digits"], "steps": 1, "training_images": 2000}]}
        ),
        "whole_datasets.training_images: found 2000, but digits has 1438 training images",
    ),
    "an absent dataset": (
        training(dataset="mnist10k"),
        "supervised.dataset: mnist10k is not here: none of",
    ),
    "absent folder": (evaluating(task_distributions=["omniglot-minimal"]), "images_background_small1"),
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
    evaluate = {"task_distributions": ["glyphs", "kmnist"]}
    (here / "good.toml").write_text(study_with(EVALUATED, question="Why?", evaluate=evaluate))
    result = run("check", "good.toml")
    assert result.exit_code == 0, result.stderr
    assert "good: Why?" in result.stdout
    assert "trials   1 of 8 seeds, 0 of them done, in results/good" in result.stdout
    assert "data     evaluate.task_distributions: kmnist is not on this machine" in result.stdout
    assert [path.name for path in here.iterdir()] == ["good.toml"]


def test_check_tells_what_each_part_transports(here: Path) -> None:
    meta = {"phase": "meta", "task_distribution": "glyphs", "outer_steps": 1}
    two_by_two = {
        "network": {"rule": {"choices": ["nested_kolen_pollack", "sign_symmetry_fixed"]}},
        "phases": [meta | {"outer_algorithm": {"choices": ["exact", "first_order"]}}, EVALUATE],
    }
    (here / "good.toml").write_text(study_with(two_by_two))
    lines = [line.replace("│", " ").split() for line in run("check", "good.toml").stdout.splitlines()]
    for row in (
        ["nested_kolen_pollack", "exact", "none", "weights", "none"],
        ["nested_kolen_pollack", "first_order", "none", "none", "none"],
        ["sign_symmetry_fixed", "exact", "signs", "weights", "signs"],
        ["sign_symmetry_fixed", "first_order", "signs", "signs", "signs"],
    ):
        assert row in lines
    data = {"phase": "supervised", "dataset": "digits", "steps": 1}
    noises = [{"phase": "noise", "steps": 1, "rule": rule} for rule in ("network", "backprop")]
    (here / "good.toml").write_text(study_with({"phases": {"choices": [[noises[0], data], [data, noises[1]], [data]]}}))
    lines = [line.replace("│", " ").split() for line in run("check", "good.toml").stdout.splitlines()]
    for row in (["none", "none"], ["weights", "none"], ["none"]):
        assert ["feedback_alignment", *row] in lines


def test_tasks_tells_which_data_is_here(here: Path) -> None:
    lines = run("tasks").stdout.splitlines()
    assert "here" in next(line for line in lines if "glyphs" in line)
    assert "downloaded on first use" in next(line for line in lines if " kmnist" in line)
    assert "not here" in next(line for line in lines if "omniglot-minimal" in line)


def test_more_resources_than_there_are(here: Path) -> None:
    (here / "greedy.toml").write_text(study_with(EVALUATED, resources={"gpus_per_trial": 9.0}))
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
    assert done.exit_code == cli_inputs.UNUSABLE
    assert said in " ".join(done.output.split())
    assert list(here.iterdir()) == []


def test_studies_that_come_with_metafa_go_by_name(here: Path) -> None:
    listed = run("studies").output
    for name in ("quickstart", "paper/figure_1", "studies/quickstart.toml"):
        assert name.removeprefix("studies/").removesuffix(".toml") in listed
        done = run("check", name)
        assert done.exit_code == 0, done.output
        assert done.output.startswith(f"{name.rpartition('/')[2].removesuffix('.toml')}: Does ")


def test_a_study_of_ones_own_comes_before_one_of_that_name(here: Path) -> None:
    (here / "quickstart").write_text(STUDY)
    assert "1 of 8 seeds" in run("check", "quickstart").output


SCRIPTS = ["adaptation", "alignment", "claims", "meta_loss", "meta_training", "paper", "search", "weight_path"]


def test_analyse_lists_the_scripts_with_what_they_ask(here: Path) -> None:
    rows = [line.strip("│ ").split(maxsplit=1) for line in run("analyse", "--help").stdout.splitlines()]
    listed = {row[0]: row[1] for row in rows if row and row[0] in SCRIPTS}
    assert list(listed) == SCRIPTS
    assert listed["meta_loss"].startswith("Did noise pretraining lower the meta-loss?")
    assert "No such command 'meta_los'" in run("analyse", "meta_los", "results").stderr


def analyse(here: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "metafa.cli", "analyse", *arguments]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=240)


def test_analyse_runs_a_script_with_all_of_its_options(here: Path) -> None:
    def measure(trial: Trial) -> Iterator[dict]:
        rate = trial.settings.phases[0].inner_learning_rate
        for seed, step in itertools.product(range(8), range(6)):
            row = {"trial_id": trial.trial_id, "seed": seed, "phase": "evaluate", "step": step, "inputs": "glyphs"}
            yield row | {"metric": "meta_loss", "value": rate + seed / 100 - step / 10}

    rates = {"inner_learning_rate": {"choices": [0.1, 0.2, 0.3, 0.4]}}
    text = study_with(EVALUATED, seeds=8, evaluate=rates)
    made.results_of(here / "results", text, measure)
    done = analyse(here, "search", "results", "--objective", "evaluate.meta_loss", "--output", "elsewhere")
    assert done.returncode == 0, done.stderr
    best = pd.read_csv(here / "elsewhere" / "search.csv")["evaluate.meta_loss"].min()
    assert best == pytest.approx(0.1 + 0.035 - 0.5), "the smallest rate's mean over seeds after the last step"
    assert not (here / "results" / "analysis").exists()


def test_a_scripts_mistakes_are_its_own(here: Path) -> None:
    done = analyse(here, "meta_loss", "nowhere", "--outptu", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert "unrecognized arguments: --outptu x" in done.stderr


TWO_RULES = EVALUATED | {"seeds": 2, "network": {"rule": {"choices": ["backprop", "feedback_alignment"]}}}
TWO = study_with(TWO_RULES)


def measured(trial: Trial) -> list[dict]:
    where = {"layer": None, "component": None, "inputs": "glyphs", "learning_rate": None, "phase": "evaluate"}
    return [
        where | {"seed": seed, "step": step, "metric": metric, "value": 1.0 - 0.1 * step + seed}
        for seed in range(2)
        for step in range(6)
        for metric in ("meta_loss", "meta_accuracy")
    ]


def half_done(address: Path, text: str = TWO) -> Study:
    """Results of which one of two trials is done."""
    checked = made.study.parse(text, default_name="made")
    preparation.prepare(addresses.at(address), checked)
    made.put(address, checked, checked.trials[0], measured(checked.trials[0]))
    return checked


def beat(address: Path, trial_id: str, ago: float, **changed: object) -> None:
    """What a driver said so many seconds ago, by a clock in India."""
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    written = datetime.datetime.now(zone) - datetime.timedelta(seconds=ago)
    said = {"written": written.isoformat(), "host": "node7", "summary": "1/2 trials", "running": {trial_id: 0.4}}
    (address / heartbeat.FOLDER).mkdir(exist_ok=True)
    addresses.at(address).put(f"{heartbeat.FOLDER}/{TOKEN}.json", json.dumps(said | changed).encode())


TOKEN = "0" * 32
MINUTE, HOUR, DAY = 60, 3600, 86400
GONE = "; nothing since, so it is gone, and the same command continues"
STOPPED = "; it was stopped then, and the same command continues"


@pytest.mark.parametrize(
    ("ago", "ended", "said"),
    [
        (0.5, False, "just now: 1/2 trials"),
        (7.5, False, "7 s ago: 1/2 trials"),
        (-10, False, "just now: 1/2 trials"),
        (-3 * HOUR, False, "just now, by a clock that is 3 h ahead of this one: 1/2 trials"),
        (HOUR, False, "just now, by a clock that is 1 h behind this one: 1/2 trials"),
        (7.5, True, "7 s ago: 1/2 trials" + STOPPED),
        (2 * MINUTE + 5, False, "2 min ago: 1/2 trials" + GONE),
        (HOUR + 5, False, "1 h ago: 1/2 trials" + GONE),
        (3 * HOUR + 20 * MINUTE + 5, True, "3 h, 20 min ago: 1/2 trials" + STOPPED),
        (DAY + 5, False, "1 day ago: 1/2 trials" + GONE),
        (2 * DAY + 5, False, "2 days ago: 1/2 trials" + GONE),
        (2 * DAY + 3 * HOUR + 5, False, "2 days, 3 h ago: 1/2 trials" + GONE),
        (400 * DAY + 5, False, "400 days ago: 1/2 trials" + GONE),
    ],
)
def test_the_age_of_a_heartbeat_is_told_in_words(ago: float, ended: bool, said: str) -> None:
    now = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    india = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    written = (now - datetime.timedelta(seconds=ago)).astimezone(india)
    one = heartbeat.Heartbeat(written=written, host="node7", summary="1/2 trials", running={}, ended=ended)
    assert one.sentence(now, alive=GONE not in said and STOPPED not in said) == f"node7, {said}"


@pytest.mark.parametrize(
    ("ago", "changed", "said"),
    [
        (-10, {"job": "4711_3"}, "node7, job 4711_3, just now: 1/2 trials"),
        (2 * DAY + 5, {}, "node7, 2 days ago: 1/2 trials" + GONE),
        (HOUR, {"ended": True}, "node7, 1 h ago: 1/2 trials" + STOPPED),
    ],
)
def test_status_tells_a_driver_that_runs_from_one_that_is_gone(
    ago: float, changed: dict, said: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.0)
    checked = half_done(here / "made")
    beat(here / "made", checked.trials[1].trial_id, ago, **changed)
    done = run("status", "made")
    assert done.stdout.splitlines()[-1] == said
    assert ("running, 40%, node7" in done.stdout) == (GONE not in said and STOPPED not in said)
    assert "1 done, 0 diverged, 0 stopped, 0 failed, 1 to do" in done.stdout
    told = report._running(addresses.at(here / "made"), checked, tables.load(here / "made").trials)
    assert told.startswith("1 of 2 trials are still to do; as of 20")
    assert told.endswith(f" UTC: {said}.")


def test_of_several_drivers_is_said_what_each_does(here: Path) -> None:
    checked = half_done(here / "made")
    running = checked.trials[1].trial_id
    for number, changed in enumerate(({"job": "4711_0"}, {"job": "4711_1", "running": {}}, {"ended": True})):
        beat(here / "made", running, ago=5, **changed)
        written = here / "made" / heartbeat.FOLDER / f"{TOKEN}.json"
        written.rename(written.with_name(f"{number + 1:032}.json"))
    said = run("status", "made").stdout
    assert "running, 40%, node7 job 4711_0" in said
    assert re.sub(r"\d+ s ago", "then", said).splitlines()[-2:] == [
        "node7, job 4711_0, then: 1 trial running",
        "node7, job 4711_1, then: 1/2 trials",
    ]


@pytest.mark.parametrize("ago", [-1.5 * HOUR, 1.5 * HOUR])
def test_a_driver_whose_clock_is_wrong_is_known_by_its_heartbeat(
    ago: float, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one that changes, whatever it says of when."""
    monkeypatch.setattr(heartbeat, "EVERY", 0.0)
    checked, beating = half_done(here / "made"), threading.Event()

    def beats() -> None:
        for number in itertools.count():
            beat(here / "made", checked.trials[1].trial_id, ago, beat=number)
            if beating.wait(0.2):
                return

    beat(here / "made", checked.trials[1].trial_id, ago)
    thread = threading.Thread(target=beats)
    thread.start()
    try:
        said = run("status", "made").stdout
    finally:
        beating.set()
        thread.join()
    side = "behind" if ago > 0 else "ahead of"
    told = rf"node7, just now, by a clock that is 1 h, (29|30|31) min {side} this one: 1/2 trials"
    assert re.fullmatch(told, said.splitlines()[-1])
    assert "running, 40%, node7" in said


def test_a_driver_of_this_machine_is_known_by_its_process(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat.time, "sleep", lambda seconds: pytest.fail("there is nothing to wait for"))
    checked = half_done(here / "made")
    done = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = heartbeat.Process(
        table=heartbeat.this_process().table, number=done.pid, started=heartbeat._started(done.pid)
    )
    beat(here / "made", checked.trials[1].trial_id, HOUR, process=process.model_dump())
    assert "running, 40%, node7" in run("status", "made").stdout
    done.kill()
    done.communicate()
    assert run("status", "made").stdout.splitlines()[-1] == "node7, 1 h ago: 1/2 trials" + GONE


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"written": "yesterday", "host": "a", "summary": "b", "running": {}}',
        '{"written": "2026-11-24T00:00:00", "host": "a", "summary": "b", "running": {}}',
        '{"written": "2026-11-24T00:00:00+00:00", "host": "a", "summary": "b", "running": ["x"]}',
        '{"written": "2026-11-24T00:00:00+00:00", "host": "a", "summary": "b", "running": {"x": "half"}}',
        '{"written": "2026-11-24T00:00:00+00:00", "host": "a"}',
    ],
)
def test_a_heartbeat_that_cannot_be_read_is_none(content: str, here: Path) -> None:
    half_done(here / "made")
    (here / "made" / heartbeat.FOLDER).mkdir(exist_ok=True)
    (here / "made" / heartbeat.FOLDER / f"{TOKEN}.json").write_text(content)
    done = run("status", "made")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "1 done, 0 diverged, 0 stopped, 0 failed, 1 to do"


ODD = "Is it so [/b]? [bold]x[/] [link=x] :warning: [/"


def test_nothing_that_is_not_ours_is_markup(here: Path) -> None:
    """Names, questions, paths, values, statuses and errors stand on the screen as they are."""
    odd = TWO_RULES | {"question": ODD, "network": TWO_RULES["network"] | {"hidden": {"choices": [[8], [9]]}}}
    text = study_with(odd)
    folder = here / "a [/b]" / "[bold]"
    folder.mkdir(parents=True)
    (folder / "made.toml").write_text(text, encoding="utf-8")
    address = str(folder / "[red]results[/b]")
    checked = half_done(Path(address), text)
    made.put(address, checked, checked.trials[1], [], status="failed", error=ODD)
    beat(Path(address), checked.trials[2].trial_id, -60, host="[/node]", summary=ODD)

    done = run("check", str(folder / "made.toml"), "--results", address)
    assert f"made: {ODD}" in done.stdout, done.output
    assert address in done.stdout
    done = run("status", address)
    assert f"[/node], just now: {ODD}" in done.stdout
    for command in ("report", "compact"):
        done = run(command, address)
        assert done.exit_code == 0, done.output
    assert html.escape(ODD) in (Path(address) / "report.html").read_text(encoding="utf-8")
    done = run("tensorboard", address, str(folder / "[/events]"))
    assert str(folder / "[/events]") in done.stdout, done.output
    for command in ("run", "check", "status", "report", "compact", "verify"):
        assert "[/b].toml" in run(command, "[/b].toml").stderr
    (folder / "[x].toml").write_text(study_with(odd, claims=[{"odd": "[/b]"}]), encoding="utf-8")
    assert "[x].toml" in run("check", str(folder / "[x].toml")).stderr
    assert run("check", "[/b]", "[/c]").exit_code == 2
    assert run("tasks").exit_code == 0

    for script in ("meta_loss.py", "adaptation.py"):
        drawn = made.run(script, address)
        assert drawn.returncode == 0, drawn.stderr
        assert f"{address}/analysis/{script.removesuffix('.py')}.csv" in drawn.stdout
    refused = made.run("alignment.py", address)
    assert refused.stderr.strip() == f'{address}: no phase trained; give the study one with phase = "noise"'


def test_the_help_tells_defaults() -> None:
    for command, defaults in {
        "run": ["results/NAME", "as many as the CPUs and GPUs allow", "this machine"],
        "report": ["RESULTS/report.html, or NAME.html of an object store"],
    }.items():
        shown = " ".join(run(command, "--help").output.replace("│", " ").split())
        for default in defaults:
            assert f"[default: {default}]" in shown


@pytest.mark.parametrize(
    "terminal",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=["ascii", "the C locale", "latin-1"],
)
def test_terminals_that_are_not_utf8(terminal: dict[str, str], here: Path) -> None:
    """What they lack is replaced on the screen, and nowhere else."""
    question = "Où → µ ☃?"
    text = study_with(TWO_RULES, question=question, phases=[{"phase": "noise", "steps": 0}, EVALUATE])
    (here / "made.toml").write_text(text, encoding="utf-8")
    half_done(here / "results" / "made", text)
    encoding = "latin-1" if terminal.get("PYTHONIOENCODING") == "latin-1" else "ascii"
    script = (
        "import contextlib, sys; from metafa import cli\n"
        "for said in sys.argv[1:]:\n"
        "    sys.argv[1:] = said.split()\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        cli.main()\n"
    )
    commands = ["check made.toml", "status results/made", "report results/made", "run --help"]
    command = [sys.executable, "-c", script, *commands]
    done = subprocess.run(command, env=os.environ | terminal, cwd=here, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode(encoding)
    for said in ("made: O", "phases   noise -> evaluate", "1 to do", "report   results/made/report.html", "[default:"):
        assert said in shown
    assert question in (here / "results" / "made" / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def littered(here: Path) -> Path:
    """Results that are done, among whose parts stand things that are none of metafa's."""
    address = here / "results" / "made"
    (here / "made.toml").write_text(TWO)
    checked = made.results_of(address, TWO, measured)
    part = address / "trials" / f"{checked.trials[0].trial_id}.parquet"
    for table in TABLES:
        for name in ("notes.txt", ".DS_Store", f"{part.name}.tmp", "odd.parquet", "Thumbs.db"):
            (address / table / name).write_text("not ours")
        for name in ("part (conflicted copy).parquet", f"{part.stem} (1).parquet", f"{part.stem}-mac.parquet"):
            shutil.copy(address / table / part.name, address / table / name)
        (address / table / "folder.parquet").mkdir()
        (address / table / "old").mkdir()
        shutil.copy(address / table / part.name, address / table / "old" / part.name)
    return address


def test_what_stands_among_the_parts_and_is_none_is_passed_by_and_left_alone(littered: Path, here: Path) -> None:
    strays = {path for path in littered.rglob("*") if "compact" not in path.name and not OWN.fullmatch(path.name)}
    for command, said in [
        (["status", "results/made"], "2 done, 0 diverged, 0 stopped, 0 failed, 0 to do"),
        (["check", "made.toml"], "trials   2 of 2 seeds, 2 of them done"),
        (["run", "made.toml"], "made: 2 of 2 trials done"),
        (["report", "results/made"], "report   results/made/report.html"),
        (["tensorboard", "results/made", "events"], "2 trials written"),
        (["compact", "results/made"], "2 files of each table put together"),
        (["status", "results/made"], "2 done, 0 diverged, 0 stopped, 0 failed, 0 to do"),
    ]:
        done = run(*command)
        assert (done.exit_code, done.stderr) == (0, ""), done.output
        assert said in done.stdout
    assert all(path.exists() for path in strays)
    trials, measurements = tables.load(littered)
    assert (len(trials), len(measurements)) == (2, 48)
    drawn = made.run("meta_loss.py", littered)
    assert drawn.returncode == 0, drawn.stderr


DAMAGES = pytest.mark.parametrize("content", [b"", b"not Parquet", None], ids=["empty", "text", "cut"])
READERS = [
    ["status", "made"],
    ["check", "made.toml", "--results", "made"],
    ["report", "made"],
    ["tensorboard", "made", "events"],
    ["compact", "made"],
]


def damage(here: Path, table: str, content: bytes | None) -> str:
    """Damages one of two trials' parts of a table; returns its name."""
    (here / "made.toml").write_text(TWO)
    checked = made.results_of(here / "made", TWO, measured)
    name = f"{table}/{checked.trials[1].trial_id}.parquet"
    damaged = here / "made" / name
    damaged.write_bytes(damaged.read_bytes()[:-20] if content is None else content)
    return name


@DAMAGES
def test_every_command_names_a_damaged_part_and_what_it_advises_works(content: bytes | None, here: Path) -> None:
    name = damage(here, "measurements", content)
    advice = "; `metafa run STUDY` with the same study takes what is damaged out, and runs its trials again"
    for command in READERS:
        done = run(*command)
        assert (done.exit_code, done.stderr) == (2, f"metafa: made: damaged: {name}{advice}\n"), done.output
    said = [f"{name}: damaged; its trials run again"]
    assert upkeep.remove_damaged(addresses.at(here / "made")) == said  # as `metafa run` begins
    assert "1 done, 0 diverged, 0 stopped, 0 failed, 1 to do" in run("status", "made").stdout
    for command in READERS:
        assert run(*command).exit_code == 0


@DAMAGES
def test_a_damaged_row_is_read_from_the_measurements(content: bytes | None, here: Path) -> None:
    name = damage(here, "trials", content)
    assert "2 done, 0 diverged, 0 stopped, 0 failed, 0 to do" in run("status", "made").stdout
    said = [f"{name}: damaged; it is made again of measurements/{Path(name).name}"]
    assert upkeep.remove_damaged(addresses.at(here / "made")) == said
    assert sealing.sealed((here / "made" / name).read_bytes())
    for command in READERS:
        assert run(*command).exit_code == 0


def test_a_search_whose_space_is_exhausted_is_done_and_says_so(here: Path) -> None:
    """Three of four points fit. No command starts Ray for it: there is no cluster at the address."""
    text = study_with(
        ON_DATA,
        name="small",
        seeds=1,
        supervised={"batch_size": {"choices": [8, 9]}, "training_images": {"choices": [9, 8]}},
        search={"method": "tpe", "trials": 12, "objectives": ["supervised.loss"]},
    )
    (here / "small.toml").write_text(text)
    checked = study.read(here / "small.toml")
    rows = [
        {"seed": 0, "phase": "supervised", "step": 3, "metric": "loss", "inputs": "digits", "value": 1.0, "layer": None}
    ]
    said = "the search space has no more than 3, of 12 asked for"
    for number, point in enumerate(search.every(checked.spaces)):
        if point == {"supervised.batch_size": 9, "supervised.training_images": 8}:
            continue
        if number == 0:
            preparation.prepare(addresses.at("results/small"), checked)
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
