"""What is timed is timed as a user's process would run it; and how threads of trials wait for each other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metafa.running import cluster

ROOT = Path(__file__).parents[1]


def test_benchmarks_run_in_the_user_s_environment() -> None:
    """The command of `make benchmark`, and what it says of how threads wait, with a policy of the user's or none."""
    said = subprocess.run(["make", "--dry-run", "benchmark"], cwd=ROOT, capture_output=True, text=True, check=True)
    (command,) = (line.split() for line in said.stdout.splitlines() if "benchmark_core" in line)
    command = [sys.executable, *command[1:], "--collect-only"]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    for environment, policy in (
        (bare, "OMP_WAIT_POLICY not set"),
        (bare | {"OMP_WAIT_POLICY": "active"}, "OMP_WAIT_POLICY=active"),
    ):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        assert policy in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("cpus", "said", "policy"),
    [(1, None, None), (10**6, None, "passive"), (10**6, "active", "active"), (0, None, None)],
)
def test_threads_of_trials_spin_but_where_there_are_more_of_them_than_cores(
    cpus: int, said: str | None, policy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if said:
        monkeypatch.setenv("OMP_WAIT_POLICY", said)
    with cluster.switched(alone=True, cpus=cpus):
        assert os.environ.get("OMP_WAIT_POLICY") == policy
    assert os.environ.get("OMP_WAIT_POLICY") == said
