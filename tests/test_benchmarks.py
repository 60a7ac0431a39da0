"""What is timed is timed as a user's process would run it."""

import os
import subprocess
import sys
from pathlib import Path

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
