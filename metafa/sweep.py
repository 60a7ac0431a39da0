"""Running a study: Ray Tune schedules the trials, each writes its own rows, the driver watches."""

from __future__ import annotations

import datetime
import logging
import os
import platform
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

# before ray is imported: no usage reports, no default loggers (they repeat every number as JSON and CSV),
# and Ctrl-C reaches us instead of Tune, since whatever is done is already in the results
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune

import metafa
from metafa import results
from metafa.settings import flatten
from metafa.study import Study, Trial

REPORT_EVERY = 1.0  # seconds
ATTEMPTS = 3  # at a trial whose process dies


class ResourcesError(Exception):
    """A study that asks for more than this machine has; the message is one line."""


class Watcher(Protocol):
    """Whoever watches a study run."""

    def progressed(self, trial: Trial, fraction: float) -> None:
        """``fraction`` of a running trial is done."""

    def finished(self, trial: Trial, status: str, error: str | None, final: tuple[str, float] | None) -> None:
        """A trial has ended; ``final`` is what `final_measurement` says of it."""


def run(
    study: Study, folder: Path, todo: list[Trial], watcher: Watcher, workers: int | None, address: str | None
) -> None:
    """Runs the trials ``todo`` of ``study`` and returns when their rows stand in ``folder``.

    ``workers``: trials at a time, by default as many as the cluster's CPUs and GPUs allow. ``address``: a Ray
    cluster's, or None for one of its own on this machine. Every trial ends in a row, if only as `failed`.
    Raises `ConnectionError` where no cluster answers at ``address``, `ResourcesError` and `ResultsError`, all before
    anything is written.
    """
    from metafa import trial as trials

    _start_ray(address, None if workers is None else workers * study.resources.cpus_per_trial)
    if address is None:  # a cluster may grow; this machine does not, and Tune would wait for ever
        _check_resources(study)
    results.prepare(folder, study)
    folder, schema = folder.absolute(), results.trials_schema(study)
    by_id = {trial.trial_id: trial for trial in todo}
    sources = trials.load_sources(*(trial.settings for trial in todo))

    def trainable(config: dict[str, Any], sources: Any) -> None:
        _run_trial(by_id[config["trial_id"]], study, folder, schema, sources, tune.report)

    resources = {"cpu": study.resources.cpus_per_trial, "gpu": study.resources.gpus_per_trial}
    try:
        with tempfile.TemporaryDirectory(prefix="metafa-") as scratch:  # for what Tune keeps of its own
            tune.Tuner(
                tune.with_resources(tune.with_parameters(trainable, sources=sources), resources),
                param_space={"trial_id": tune.grid_search(list(by_id))},
                tune_config=tune.TuneConfig(max_concurrent_trials=workers, reuse_actors=True),
                run_config=tune.RunConfig(
                    name="study",
                    storage_path=scratch,
                    verbose=0,
                    # an error in a trial is caught there, so what Tune sees fail is a process that died
                    failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
                    callbacks=[_Bridge(by_id, study, folder, watcher)],
                ),
            ).fit()
    finally:
        ray.shutdown()


def _start_ray(address: str | None, cpus: int | None) -> None:
    # what goes wrong with a trial is in its row, and said in a line
    logging.getLogger("ray").setLevel("CRITICAL")
    options = dict(log_to_driver=False, logging_level="CRITICAL", configure_logging=False)
    if address is not None:
        host, _, port = address.rpartition(":")
        if host and port.isdigit() and "/" not in host:  # Ray itself would knock for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, **options)
    else:
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **options)


def _check_resources(study: Study) -> None:
    found = ray.cluster_resources()
    for kind, setting in (("CPU", "cpus_per_trial"), ("GPU", "gpus_per_trial")):
        asked, there = getattr(study.resources, setting), found.get(kind, 0)
        if asked > there:
            raise ResourcesError(f"resources.{setting} is {asked:g}, but this machine has {there:g} {kind}s")


def _run_trial(
    trial: Trial, study: Study, folder: Path, schema: Any, sources: Any, report: Callable[[dict], None]
) -> None:
    """In the worker: runs a trial and writes its rows, whatever comes of it."""
    import torch

    from metafa import memory
    from metafa import trial as trials

    memory.keep_freed()
    # a sum's rounding depends on how many threads share it, so that number is a setting
    torch.set_num_threads(study.resources.cpus_per_trial)
    device = "cuda" if study.resources.gpus_per_trial else "cpu"
    started, reported = time.time(), 0.0

    def progress(fraction: float) -> None:
        nonlocal reported
        if time.time() - reported >= REPORT_EVERY:
            reported = time.time()
            report({"fraction": fraction, "status": "running"})

    row = _row(trial, study) | {
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC),
        "host": platform.node(),
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
    }
    final, measurements = None, []
    try:
        outcome = trials.run(trial.settings, sources, device, progress)
        measurements = [{"trial_id": trial.trial_id} | measurement for measurement in outcome.rows]
        final = final_measurement(outcome.rows)
        first = min(outcome.divergences.values(), key=lambda d: d.step, default=None)
        row |= {"status": "diverged" if first else "done"}
        if first:
            row |= {
                "error": f"seed {first.seed} diverged at step {first.step} of {first.phase}",
                "diverged_seeds": sorted({divergence.seed for divergence in outcome.divergences.values()}),
                "diverged_phase": first.phase,
                "diverged_step": first.step,
            }
    except Exception as error:
        row |= {"status": "failed", "error": "".join(traceback.format_exception(error))}
    results.write(folder, schema, row | {"seconds": time.time() - started}, measurements)
    last_line = (row.get("error") or "").strip().splitlines()[-1:]
    report({"fraction": 1.0, "status": row["status"], "error": "".join(last_line), "final": final})


def _row(trial: Trial, study: Study) -> dict[str, Any]:
    return flatten(trial.settings) | {
        "trial_id": trial.trial_id,
        "study": study.name,
        "python_version": platform.python_version(),
        "metafa_version": metafa.__version__,
        **{f"{package}_version": version(package) for package in ("torch", "learn2learn", "ray")},
    }


def final_measurement(rows: list[dict[str, Any]]) -> tuple[str, float] | None:
    """What a trial comes to: the metric and its mean over seeds of the meta-loss that was measured last, or, where none
    was, of the accuracy on test images."""
    for metric in ("meta_loss", "accuracy"):
        if measured := [row for row in rows if row["metric"] == metric and row["task"] is not None]:
            place = ("phase", "step", "task")
            values = [row["value"] for row in measured if all(row[name] == measured[-1][name] for name in place)]
            return metric, sum(values) / len(values)
    return None


class _Bridge(tune.Callback):
    """Passes Tune's events on to a `Watcher`, and gives a trial whose process died its row."""

    def __init__(self, trials: dict[str, Trial], study: Study, folder: Path, watcher: Watcher):
        self.trials, self.study, self.folder, self.watcher = trials, study, folder, watcher

    def __reduce__(self) -> Any:
        # Tune saves its callbacks to restore a run from; we restore from the results, and a screen cannot be saved
        return tune.Callback, ()

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        ours = self.trials[trial.config["trial_id"]]
        if result["status"] == "running":
            self.watcher.progressed(ours, result["fraction"])
        else:
            self.watcher.finished(ours, result["status"], result["error"], result["final"])

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        ours = self.trials[trial.config["trial_id"]]
        summary = f"its process died in each of {ATTEMPTS} attempts, killed or out of memory"
        row = _row(ours, self.study) | {"status": "failed", "error": f"{summary}\n{trial.get_pickled_error() or ''}"}
        results.write(self.folder, results.trials_schema(self.study), row, [])
        self.watcher.finished(ours, "failed", summary, None)
