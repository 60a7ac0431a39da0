"""A worker: runs one trial, or what is left of it, and writes its rows."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ray

from metafa.errors import PartError, ResultsError
from metafa.results import addresses, columns, damage, parts, publishing, tables
from metafa.results.listing import PARTIAL
from metafa.results.measured import final_measurement, measurement, objectives_of
from metafa.results.sealing import DIGEST_BYTES
from metafa.results.store import Store
from metafa.running import provenance
from metafa.running.deaths import noted_deaths, why_given_up
from metafa.running.events import Ended
from metafa.running.trial_rows import divergence_columns, known_columns, without_diverged
from metafa.studies import search
from metafa.studies.settings import TrialSettings
from metafa.studies.study import Study

if TYPE_CHECKING:
    from metafa.trials.trial import Outcome


REPORT_EVERY = 1.0  # seconds
_ready: dict[Any, Any] = {}  # the images, once a process


@dataclass(frozen=True)
class Task:
    """What a worker needs to know of a study."""

    study: Study
    address: str
    software: dict[str, Any]

    @cached_property
    def schema(self) -> Any:
        return columns.trials_schema(self.study)


class _Unwritten(Exception):
    """What a trial has measured could not be written; the message says why."""


def _sources(reference: Any, device: str) -> Any:
    from metafa.trials import trial as trials

    if reference not in _ready:
        _ready.clear()
        _ready[reference] = trials.prepared(ray.get(reference), device)
    return _ready[reference]


def run_trial(task: Task, point: search.Point, reference: Any, report: Callable[[dict], None]) -> None:
    """In the worker: runs a trial, or what is left of it, and writes its rows, whatever comes of it."""
    import torch

    from metafa.running import memory
    from metafa.trials import checkpoints
    from metafa.trials import trial as trials

    study, store, trial = task.study, addresses.at(task.address), task.study.trial(point)
    memory.keep_freed()
    # a sum's rounding depends on how many threads share it, so that number is a setting
    torch.set_num_threads(study.resources.cpus_per_trial)
    device = "cuda" if study.resources.gpus_per_trial else "cpu"
    started, reported, kept = time.time(), 0.0, time.monotonic()
    schema = task.schema
    partial = f"{PARTIAL}/{trial.trial_id}"
    early = study.early_stopping

    def progress(fraction: float) -> None:
        nonlocal reported
        if time.time() - reported >= REPORT_EVERY:
            reported = time.time()
            report({"fraction": fraction, "status": "running"})

    def judge(place: tuple[str, int], value: float, rows: list[dict[str, Any]]) -> None:
        # first, since it may be stopped at this report, and what it has measured then stands there
        try:
            store.put(f"{partial}.parquet", parts.encode(columns.measured(trial.trial_id, rows)))
        except OSError as error:
            raise _Unwritten(damage.reason(error)) from error
        phase, step = place
        report({"fraction": 0.0, "status": "running", "phase": phase, "step": step, "objective": value})

    def judged(phase: str, step: int, outcome: Outcome, rows: list[dict[str, Any]]) -> None:
        if early is None or (found := measurement(rows, early.metric)) is None:
            return
        here = (phase, step, early.metric.rpartition(".")[2])
        values = [row["value"] for row in rows if (row["phase"], row["step"], row["metric"]) == here]
        if not any(map(math.isfinite, values)):  # of no seed: it is about to end as diverged
            return
        worst = math.inf if early.sought == "minimize" else -math.inf
        value = found if math.isfinite(found) else worst
        outcome.judged.append((phase, step, value))
        judge((phase, step), value, outcome.rows)

    def keep(make: Callable[[], trials.Checkpoint]) -> None:
        nonlocal kept
        if time.monotonic() - kept >= study.resources.checkpoint_seconds:
            with contextlib.suppress(OSError):  # a trial can do without
                store.put(f"{partial}.safetensors", checkpoints.encode(make()))
            kept = time.monotonic()

    row = known_columns(trial, study, task.software) | provenance.of_machine(device)
    row |= {"started": datetime.datetime.fromtimestamp(started, datetime.UTC)}
    ended, rows = Ended("failed"), []
    try:
        checkpoint = checkpoint_to_resume(store, partial)
        watch = trials.Watch(progress, checkpoint=keep)
        if early is not None:
            watch = dataclasses.replace(watch, judges=early.judged_steps, judged=judged)
        # whoever schedules trials may be another one than before, and has yet to know of them
        for phase, step, value in _judged_again(trial.settings, checkpoint):
            before = checkpoint.outcome.rows
            judge((phase, step), value, [row for row in before if row["phase"] != phase or row["step"] <= step])
        outcome = trials.run(trial.settings, _sources(reference, device), device, watch, checkpoint)
        rows = outcome.rows
        ended = Ended(
            "diverged" if outcome.divergences else "done",
            None,
            final_measurement(trial.settings, sound := without_diverged(trial.settings, outcome)),
            objectives_of(study, trial.settings, sound),
        )
        row |= divergence_columns(trial.settings, outcome)
    except _Unwritten as error:
        report({"fraction": 1.0, "status": "unwritten", "error": str(error)})
        return
    except Exception as error:
        row |= {"error": "".join(traceback.format_exception(error))}
    row |= {"status": ended.status, "objectives": ended.objectives, "seconds": time.time() - started}
    try:
        measured = columns.measured(trial.trial_id, rows)
        if not publishing.publish(store, schema, row, measured, final=study.adaptive):
            # by a driver that took this one for gone: what everybody reads is what is learned from
            for there in tables.rows_of(store, [trial.trial_id]):
                objectives = there["objectives"] and tuple(there["objectives"])
                ended = dataclasses.replace(ended, status=there["status"], objectives=objectives)
        forget(store, trial.trial_id)
    except (OSError, ResultsError, PartError) as error:
        report({"fraction": 1.0, "status": "unwritten", "error": damage.reason(error)})
        return
    last_line = (row.get("error") or "").strip().splitlines()[-1:]
    ended = dataclasses.replace(ended, error="".join(last_line) or None)
    report({"fraction": 1.0, "status": ended.status, "ended": dataclasses.asdict(ended)})


def checkpoint_to_resume(store: Store, partial: str) -> Any:
    """The checkpoint that a trial goes on from, if there is one. Raises `RuntimeError` where its process has died too
    often and got no further: what kills it there would do so again."""
    from metafa.trials import checkpoints

    content = b""
    with contextlib.suppress(FileNotFoundError):
        content = store.read(f"{partial}.safetensors")
    place = content[-DIGEST_BYTES:].hex()
    if cause := why_given_up(noted_deaths(store, partial), place):
        store.remove(f"{partial}.json")
        raise RuntimeError(cause)
    return checkpoints.decode(content) if content else None


def _judged_again(settings: TrialSettings, checkpoint: Any) -> list[tuple[str, int, float]]:
    """What a trial was judged by before it was interrupted, where that is in the phase that it goes on with."""
    if checkpoint is None:
        return []
    present = settings.phases[checkpoint.phase].name
    return [one for one in checkpoint.outcome.judged if one[0] == present]


def forget(store: Store, trial_id: str) -> None:
    """Removes what a trial has kept on its way."""
    for suffix in ("safetensors", "parquet", "json"):
        store.remove(f"{PARTIAL}/{trial_id}.{suffix}")
