"""What Ray does not publish is looked for and done without: an attribute that another version lacks ends no study."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import ray
from disturbances import STUDY
from ray.tune.experiment import Trial
from study_texts import study_with

from metafa.results import tables
from metafa.running import ray_internals


@pytest.mark.parametrize("attribute", ["metric_analysis", "metric_n_steps", "_cached_json"])
def test_a_trial_of_tunes_need_not_have_what_is_dropped(attribute: str) -> None:
    trial = Trial("x", stub=True)
    vars(trial.run_metadata).pop(attribute, None)
    ray_internals.forget_metrics(trial)
    del trial.run_metadata
    ray_internals.forget_metrics(trial)
    ray_internals.give_up(trial)


def test_numbers_that_a_trial_reported_are_dropped() -> None:
    trial = Trial("x", stub=True)
    trial.run_metadata.metric_analysis["loss"] = {"last": 1.0}
    ray_internals.forget_metrics(trial)
    assert trial.run_metadata.metric_analysis == {}


def test_what_ray_does_not_tell_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ray._private.worker, "_global_node")
    monkeypatch.delattr(ray._private.utils, "get_num_cpus")
    assert ray_internals.dead_server() is None
    assert ray_internals.log_of_process("1") == ""
    assert 1 <= ray_internals.cores() <= os.cpu_count()


def test_an_attribute_is_replaced_and_put_back_and_one_that_is_not_there_passed_by() -> None:
    place = f"{__name__}:Replaced"
    with ray_internals.replaced(place, "number", lambda before: before + 1):
        assert Replaced.number == 2
    assert Replaced.number == 1
    for absent in ((place, "renamed"), (f"{__name__}:Renamed", "number"), ("ray.no_such_module", "number")):
        with ray_internals.replaced(*absent, lambda before: before + 1):
            assert Replaced.number == 1


class Replaced:
    number = 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a system that keeps no process to some cores")
def test_only_the_cores_that_a_process_may_use_are_counted() -> None:
    """As a job of SLURM's has them, on a machine that it shares with others."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert ray_internals.cores() == 1
    finally:
        os.sched_setaffinity(0, before)


NOTHING_THERE = """\
import contextlib, sys
from metafa import cli
from metafa.running import ray_internals

@contextlib.contextmanager
def absent(place, name, change):
    yield

class Absent:
    def __getattr__(self, name):
        raise AttributeError(name)

forget, ray_internals.replaced = ray_internals.forget_metrics, absent
ray_internals.forget_metrics = lambda trial: forget(Absent())
sys.argv = ["metafa", "run", "small.toml"]
cli.main()
"""


def test_a_study_runs_where_none_of_it_is_there(tmp_path: Path) -> None:
    changes = {"noise": {"steps": {"choices": [0, 20]}}, "meta": {"outer_steps": 2}}
    (tmp_path / "small.toml").write_text(study_with(tomllib.loads(STUDY), **changes))
    command = [sys.executable, "-c", NOTHING_THERE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert set(tables.load(tmp_path / "results" / "small").trials["status"]) == {"done"}
