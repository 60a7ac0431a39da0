"""Every command over results that no metafa wrote: each is shown as it is, or ends with a sentence and exit status 2;
nothing is written elsewhere, nothing waits, and memory is bounded."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_results
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from odd_parts import bombs

from metafa import cli_scripts
from metafa.results import parts, sealing
from metafa.results.columns import MEASUREMENTS
from metafa.running import screens
from metafa.studies.trial import Trial

STUDY = """\
name = "made"
seeds = 4
[network]
rule = { choices = ["backprop", "feedback_alignment"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 100] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
[[claims]]
claim = 1
figure = "figure_3"
statement = "Noise costs nothing: $\\\\frac"
phase = "evaluate"
metric = "meta_loss"
compare = "noise"
expect = "lower"
"""


SCRIPTS = [command.name for command in cli_scripts.scripts.registered_commands]


SERVER = """if True:
    import importlib, io, json, os, resource, signal, sys, tempfile, time
    from metafa import __main__, cli
    from metafa.reporting import report
    from metafa.results import tensorboard
    from metafa.running import bundled, stopping
    sys.path.insert(0, bundled.folder("analysis").as_posix())
    for script in json.loads(sys.argv[1]):
        importlib.import_module(script)
    import tensorboardX
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        sys.argv = ["metafa", *json.loads(line)]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            if not (child := os.fork()):
                os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
                signal.alarm(60)
                status = 1
                try:
                    __main__.main()
                except SystemExit as error:
                    status = error.code or 0
                except BaseException:
                    import traceback
                    traceback.print_exc()
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(status)
            _, status, used = os.wait4(child, 0)
            said = [file.seek(0) or file.read().decode() for file in (out, err)]
        answers.write(json.dumps([os.waitstatus_to_exitcode(status), *said, used.ru_maxrss]) + chr(10))
        answers.flush()
"""


class Said(NamedTuple):
    """What a command came to: its exit status, what it printed, and the memory that it took, in kilobytes."""

    status: int
    out: str
    err: str
    kilobytes: int


@pytest.fixture(scope="module")
def metafa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Said]]:
    """The command, each call in a process of its own, which is a copy of one that has imported everything already."""
    command = [sys.executable, "-c", SERVER, json.dumps(SCRIPTS)]
    folder = tmp_path_factory.mktemp("elsewhere")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as server:

        def call(*arguments: object) -> Said:
            server.stdin.write(json.dumps([*map(str, arguments)]) + "\n")
            server.stdin.flush()
            said = Said(*json.loads(server.stdout.readline()))
            assert not list(folder.iterdir()), "written where nobody asked for it"
            return said

        yield call
        server.stdin.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results as metafa writes them."""
    folder = tmp_path_factory.mktemp("sound") / "made"

    def measure(trial: Trial) -> list[dict[str, object]]:
        return [
            {"seed": seed, "phase": "evaluate", "step": step, "metric": metric, "inputs": "glyphs", "value": seed + 0.5}
            for seed in range(4)
            for step in (0, 5)
            for metric in ("meta_loss", "meta_accuracy")
        ]

    synthetic_results.results_of(folder, STUDY, measure)
    return folder


def sane(said: Said) -> Said:
    """Checks what holds whatever was read."""
    assert "Traceback" not in said.err + said.out
    assert said.status in (0, 1, 2), said
    assert said.kilobytes < 1.5 * 2**20
    for line in (said.out + said.err).split("\n"):
        assert screens.printable(line) == line
    if said.status == 2:
        assert said.err.count("\n") == 1, said.err
    return said


def commands(folder: Path) -> list[tuple[object, ...]]:
    """What reads results, but for `verify`, which computes."""
    (folder.parent / "study.toml").write_text(STUDY)
    return [
        ("status", folder),
        ("report", folder),
        ("tensorboard", folder, folder.parent / "events"),
        ("compact", folder),
        ("check", folder.parent / "study.toml", "--results", folder),
        *(("analyse", script, folder) for script in SCRIPTS),
    ]


def a_part(folder: Path, table: str) -> Path:
    return min((folder / table).glob("*.parquet"))


def with_rows(table: str, **columns: object) -> Callable[[Path], None]:
    """Puts ``columns`` into a part, sealed as metafa does."""

    def attack(folder: Path) -> None:
        path = a_part(folder, table)
        rows = pq.read_table(path)
        for name, value in columns.items():
            if value is Ellipsis:
                rows = rows.drop_columns([name])
                continue
            values = value if isinstance(value, pa.Array) else pa.array([value] * len(rows))
            place = rows.column_names.index(name) if name in rows.column_names else len(rows.column_names)
            rows = (
                rows.set_column(place, name, values) if place < rows.num_columns else rows.append_column(name, values)
            )
        path.write_bytes(parts.encode(rows))

    return attack


def with_file(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def with_pipe(name: str) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return attack


def with_link(name: str, to: str) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return attack


def with_bomb(name: str) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        table, content = bombs()[name]
        a_part(folder, table).write_bytes(sealing.seal(content))

    return attack


STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold]:bug:[/bold]\nmetafa: all is well"


ATTACKS = {
    "a trial_id that climbs": with_rows("trials", trial_id="../../escape"),
    "a trial_id that climbs, of measurements": with_rows("measurements", trial_id="../../escape"),
    "a status that steers": with_rows("trials", status=STEERING),
    "a point that is none": with_rows("trials", point="[1]"),
    "a part of rows": with_bomb("rows"),
    "a part of texts": with_bomb("texts"),
    "a part that is no Parquet": lambda folder: a_part(folder, "measurements").write_bytes(b"PAR1" * 100) and None,
    "an empty part": lambda folder: a_part(folder, "trials").write_bytes(b"") and None,
    "a part without values": with_rows("measurements", value=...),
    "values in words": with_rows("measurements", value="much"),
    "a metric that steers": with_rows("measurements", metric=STEERING),
    "a study that is a pipe": with_pipe("study.toml"),
    "a study that never ends": with_link("study.toml", "/dev/zero"),
    "a study that steers": with_file("study.toml", f'"{STEERING}" = 1'.encode()),
    "a study that is deep": with_file("study.toml", b"a = " + b"[" * 50_000),
    "a study that is no text": with_file("study.toml", b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_every_command_ends_well_over_results_that_no_study_has(
    attack: Callable[[Path], None], sound: Path, tmp_path: Path, metafa: Callable[..., Said]
) -> None:
    found = []
    for number in range(len(commands(sound))):
        folder = tmp_path / str(number) / "made"
        shutil.copytree(sound, folder)
        attack(folder)
        found.append(sane(metafa(*commands(folder)[number])))
        assert not (tmp_path / "escape").exists()
        assert {path.name for path in folder.parent.iterdir()} <= {"made", "study.toml", "events", "claims", "paper"}
    assert {said.status for said in found} & {2}


CONTENT = {
    "a last word that steers": with_file(
        "progress.json",
        json.dumps(
            {"written": "2026-01-01T00:00:00Z", "host": STEERING, "summary": STEERING, "running": {STEERING: 0.5}}
        ).encode(),
    ),
    "a last word of the year 1": with_file(
        "progress.json",
        b'{"written": "0001-01-01T00:00:00+23:59", "host": "a", "summary": "b", "running": {}}',
    ),
    "a last word that is deep": with_file("progress.json", b"[" * 100_000),
    "a last word that is a pipe": with_pipe("progress.json"),
    "images that are a list": with_file("images.json", b"[1, 2]"),
    "images that are deep": with_file("images.json", b"[" * 100_000),
    "images that are numbers": with_file("images.json", b'{"tasks/glyphs/test": [1]}'),
    "images that are a pipe": with_pipe("images.json"),
    "a plan that is deep": with_file(".compacting.json", b"[" * 100_000),
    "a plan that climbs": with_file(".compacting.json", b'{"old": ["../../outside"], "new": ["../x"]}'),
    "a part that is a pipe": with_pipe("trials/0123456789abcdef.parquet"),
    "a name that steers": with_file("trials/\x1b[2J\n.parquet", b"PAR1"),
    "an error that steers": with_rows("trials", error=STEERING, host=STEERING, device=STEERING, status="failed"),
}


@pytest.mark.parametrize("attack", CONTENT.values(), ids=CONTENT)
def test_what_is_shown_of_somebody_elses_results_steers_no_terminal(
    attack: Callable[[Path], None], sound: Path, tmp_path: Path, metafa: Callable[..., Said]
) -> None:
    folder = tmp_path / "made"
    shutil.copytree(sound, folder)
    (tmp_path / "outside").write_text("mine")
    attack(folder)
    for command in commands(folder)[:3]:
        sane(metafa(*command))
    assert (tmp_path / "outside").read_text() == "mine"


def test_reports_and_analyses_are_written_through_no_link(
    sound: Path, tmp_path: Path, metafa: Callable[..., Said]
) -> None:
    folder, outside = tmp_path / "made", tmp_path / "outside"
    shutil.copytree(sound, folder)
    outside.mkdir()
    (outside / "file").write_text("mine")
    (folder / "report.html").symlink_to(outside / "file")
    (folder / "analysis").symlink_to(outside)
    assert sane(metafa("report", folder)).status == 0
    assert "<html" in (folder / "report.html").read_text()
    said = sane(metafa("analyse", "adaptation", folder))
    assert (said.status, said.err) == (
        2,
        f"{folder}/analysis cannot be written (it is a link, to {outside}, through which nothing is written); choose "
        "another folder with --output\n",
    )
    (folder / "analysis").unlink()
    (folder / "analysis").mkdir()
    (folder / "analysis" / "adaptation.csv").symlink_to(outside / "file")
    (folder / "analysis" / "adaptation.png").symlink_to(outside / "new")
    assert sane(metafa("analyse", "adaptation", folder)).status == 0
    assert len(pd.read_csv(folder / "analysis" / "adaptation.csv")) == 4 * 2 * 2
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": "mine"}
    # what the user names is theirs
    (tmp_path / "named.html").symlink_to(outside / "named")
    assert sane(metafa("report", folder, "--output", tmp_path / "named.html")).status == 0
    assert "<html" in (outside / "named").read_text()


whole = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 2**62])


words = st.sampled_from(
    ["", "noise", "x" * 300, "[1]", "{}", "\x1b[2J", "$\\frac$", "<script>", "=1", '{"noise.steps": "x"}']
)


of_any_kind = st.one_of(
    whole,
    st.floats(),
    words,
    st.none(),
    st.booleans(),
    *(st.lists(one, max_size=3) for one in (words, whole, st.floats())),
)


TRIALS = "point phases network.rule network.hidden noise.steps noise.inputs noise.learning_rate divergences seconds"


TRIALS += " diverged_seeds diverged_phase started numerics data error objectives seeds other.inputs other.steps"


changes = st.one_of(
    st.tuples(st.just("trials"), st.sampled_from(TRIALS.split()), of_any_kind | st.just(...)),
    st.tuples(st.just("trials"), st.just("status"), st.sampled_from(["diverged", "failed", "stopped"])),
    st.tuples(st.just("measurements"), st.sampled_from(MEASUREMENTS.names[1:]), of_any_kind),
)


readers = st.sampled_from([("report",), ("status",), *(("analyse", script) for script in SCRIPTS)])


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(changes=st.lists(changes, min_size=1, max_size=3), command=readers)
def test_columns_that_do_not_fit_each_other_are_shown_or_refused(
    changes: list[tuple[str, str, object]],
    command: tuple[str, ...],
    sound: Path,
    tmp_path_factory: pytest.TempPathFactory,
    metafa: Callable[..., Said],
) -> None:
    folder = tmp_path_factory.mktemp("changed") / "made"
    shutil.copytree(sound, folder)
    for table, name, value in changes:
        with contextlib.suppress(pa.ArrowException, OverflowError, KeyError):  # what no Parquet can hold
            with_rows(table, **{name: value})(folder)
    said = metafa(*command, folder)
    *remarks, last = said.err.splitlines(keepends=True) or [""]  # what stands beside every number is said first
    assert all(line.startswith(f"{folder}: ") for line in remarks)
    sane(said._replace(err=last))
