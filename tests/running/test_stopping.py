"""The command is stopped by signals at moments that it tells itself, as Ctrl-C, SLURM, Kubernetes and `kill` do."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metafa.running import stopping

STUDY = """\
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""
STATUSES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def reading(folder: Path, **options) -> tuple[subprocess.Popen, int]:
    """The command while it reads a study file, a pipe that it waits for; and the other end of that."""
    os.mkfifo(folder / "study.toml")
    command = [sys.executable, "-m", "metafa", "check", "study.toml"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running = subprocess.Popen(command, cwd=folder, **pipes, **options)
    return running, os.open(folder / "study.toml", os.O_WRONLY)  # which waits for whoever reads


@pytest.mark.parametrize("number", STATUSES, ids=lambda number: number.name)
def test_a_command_that_is_stopped_says_so_and_ends_with_the_signal_s_status(number: int, tmp_path: Path) -> None:
    running, pipe = reading(tmp_path)
    running.send_signal(number)
    said = running.communicate(timeout=60)
    os.close(pipe)
    assert (running.returncode, *said) == (STATUSES[number], "", f"{stopping.SENTENCE}\n")


def test_a_signal_that_is_ignored_from_outside_stays_so(tmp_path: Path) -> None:
    """As `nohup` has it."""
    running, pipe = reading(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    running.send_signal(signal.SIGHUP)
    os.write(pipe, STUDY.encode())
    os.close(pipe)
    said, wrong = running.communicate(timeout=60)
    assert (running.returncode, wrong) == (0, "")
    assert "study" in said


def test_a_command_is_stopped_while_it_is_imported(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "metafa", "studies"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in running.stderr:  # a line an import, as it is done
        if line.endswith("metafa.running.stopping\n"):
            break
    for line in running.stderr:
        if "rich" in line:
            break
    running.send_signal(signal.SIGTERM)
    said, rest = running.communicate(timeout=60)
    assert (running.returncode, said) == (143, "")
    told = [line for line in rest.splitlines() if not line.startswith("import time:")]
    assert told == [stopping.SENTENCE]


def test_a_signal_that_comes_while_python_ends_changes_nothing() -> None:
    script = """\
import os, signal, sys
from metafa.running import stopping

class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.SIGTERM):
        kill(process, number)

sys.last_of_all = Last()
with stopping.announced():
    os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (143, f"{stopping.SENTENCE}\n")


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_signals_wait_while_what_has_to_be_tidied_up_is(raised: type[BaseException]) -> None:
    """And whatever it is that they come out as, the command was stopped."""
    script = f"""\
import os, signal
from metafa.running import stopping
with stopping.announced():
    try:
        with stopping.held():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            print("tidy", flush=True)
    except KeyboardInterrupt:
        raise {raised.__name__}("of a library")
    print("not reached")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "tidy\n", f"{stopping.SENTENCE}\n")
