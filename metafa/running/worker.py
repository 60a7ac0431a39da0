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
from metafa.running import deaths, memory, provenance
from metafa.running.events import FinishedTrial
from metafa.running.trial_rows import divergence_columns, known_columns, without_diverged
from metafa.studies.search import Point
from metafa.studies.settings import TrialSettings
from metafa.studies.study import Study
from metafa.studies.trial import Trial

if TYPE_CHECKING:
    from metafa.trials.trial import Checkpoint, Outcome

REPORT_EVERY = 1.0  # seconds
Report = Callable[[dict[str, Any]], None]  # hands Tune a report, which may end the process that makes it

_prepared: dict[Any, Any] = {}  # the images of the study that this process works for, by Ray's reference to them


@dataclass(frozen=True)
class Task:
    """What a worker needs to know of a study: itself without its trials, where its results are, and the columns of
    `trials` that say which software computes them."""

    study: Study
    address: str
    software: dict[str, Any]

    @cached_property
    def schema(self) -> Any:
        return columns.trials_schema(self.study)


class _Unwritten(Exception):
    """What a trial has measured could not be written; the message says why."""


class _RunningTrial:
    """A trial while it runs: what it tells the driver, and what it keeps in the store on its way."""

    def __init__(self, task: Task, trial: Trial, store: Store, report: Report):
        self.study, self.trial, self.store, self.report = task.study, trial, store, report
        self.partial = f"{PARTIAL}/{trial.trial_id}"
        self.reported, self.kept = -math.inf, time.monotonic()

    def progressed(self, fraction: float) -> None:
        if time.monotonic() - self.reported >= REPORT_EVERY:
            self.reported = time.monotonic()
            self.report({"fraction": fraction, "status": "running"})

    def keep(self, make: Callable[[], Checkpoint]) -> None:
        """Keeps a checkpoint, if it is time for one."""
        from metafa.trials import checkpoints

        if time.monotonic() - self.kept >= self.study.resources.checkpoint_seconds:
            with contextlib.suppress(OSError):  # a trial can do without
                self.store.put(f"{self.partial}.safetensors", checkpoints.encode(make()))
            self.kept = time.monotonic()

    def judged(self, phase: str, step: int, outcome: Outcome, rows: list[dict[str, Any]]) -> None:
        """Reports what early stopping compares trials by, where ``rows``, measured at this step, have it."""
        early = self.study.early_stopping
        if early is None or (value := measurement(rows, early.metric)) is None:
            return
        place = (phase, step, early.metric.rpartition(".")[2])
        values = [row["value"] for row in rows if (row["phase"], row["step"], row["metric"]) == place]
        if not any(map(math.isfinite, values)):  # of no seed: it is about to end as diverged
            return
        worst = math.inf if early.sought == "minimize" else -math.inf
        value = value if math.isfinite(value) else worst
        outcome.judged.append((phase, step, value))
        self.judge(phase, step, value, outcome.rows)

    def judge(self, phase: str, step: int, value: float, rows: list[dict[str, Any]]) -> None:
        """Reports a value that early stopping compares trials by, of which ``rows`` are what was measured by then."""
        # first, since it may be stopped at this report, and what it has measured then stands there
        try:
            self.store.put(f"{self.partial}.parquet", parts.encode(columns.measured(self.trial.trial_id, rows)))
        except OSError as error:
            raise _Unwritten(damage.reason(error)) from error
        self.report({"fraction": 0.0, "status": "running", "phase": phase, "step": step, "objective": value})

    def run(self, reference: Any, device: str) -> Outcome:
        """Runs it from its checkpoint on, if there is one. Raises `_Unwritten`, and whatever goes wrong in a trial."""
        from metafa.trials import trial as trials

        checkpoint = checkpoint_to_resume(self.store, self.partial)
        watch = trials.Watch(self.progressed, checkpoint=self.keep)
        if self.study.early_stopping is not None:
            watch = dataclasses.replace(watch, judges=self.study.early_stopping.judged_steps, judged=self.judged)
        # whoever schedules trials may be another one than before, and has yet to know of them
        for phase, step, value in _judged_before(self.trial.settings, checkpoint):
            rows = [row for row in checkpoint.outcome.rows if row["phase"] != phase or row["step"] <= step]
            self.judge(phase, step, value, rows)
        return trials.run(self.trial.settings, _sources(reference, device), device, watch, checkpoint)


def run_trial(task: Task, point: Point, reference: Any, report: Report) -> None:
    """Runs the trial at ``point``, or what is left of it, on the images that ``reference`` is of, and writes its rows,
    whatever comes of it."""
    import torch

    memory.keep_freed()
    # a sum's rounding depends on how many threads share it, so that number is a setting
    torch.set_num_threads(task.study.resources.cpus_per_trial)
    device = "cuda" if task.study.resources.gpus_per_trial else "cpu"
    began = time.monotonic()
    store, trial = addresses.at(task.address), task.study.trial(point)
    running = _RunningTrial(task, trial, store, report)
    row = known_columns(trial, task.study, task.software) | provenance.of_machine(device)
    row |= {"started": datetime.datetime.now(datetime.UTC)}
    ended, rows = FinishedTrial("failed", trial.varied), []
    try:
        outcome = running.run(reference, device)
        rows = outcome.rows
        ended = _ended(task.study, trial, outcome)
        row |= divergence_columns(trial.settings, outcome)
    except _Unwritten as error:
        return report({"fraction": 1.0, "status": "unwritten", "error": str(error)})
    except Exception as error:
        row |= {"error": "".join(traceback.format_exception(error))}
    row |= {"status": ended.status, "objectives": ended.objectives, "seconds": time.monotonic() - began}
    try:
        ended = _published(task, store, row, rows, ended)
    except (OSError, ResultsError, PartError) as error:
        return report({"fraction": 1.0, "status": "unwritten", "error": damage.reason(error)})
    last_line = (row.get("error") or "").strip().splitlines()[-1:]
    fields = dataclasses.asdict(dataclasses.replace(ended, error="".join(last_line) or None))
    del fields["point"]  # the driver knows it
    report({"fraction": 1.0, "status": ended.status, "ended": fields})


def _ended(study: Study, trial: Trial, outcome: Outcome) -> FinishedTrial:
    """What a trial that came to its end tells the driver; replicas that diverged count as not a number."""
    rows = without_diverged(trial.settings, outcome)
    return FinishedTrial(
        "diverged" if outcome.divergences else "done",
        trial.varied,
        objectives_of(study, trial.settings, rows),
        final=final_measurement(trial.settings, rows),
    )


def _published(
    task: Task, store: Store, row: dict[str, Any], rows: list[dict[str, Any]], ended: FinishedTrial
) -> FinishedTrial:
    """Publishes the rows of a trial, and returns how it ended as everybody reads it: that is as another driver has
    published it, if one took this one for gone and was first."""
    measurements = columns.measured(row["trial_id"], rows)
    if not publishing.publish(store, task.schema, row, measurements, final=task.study.adaptive):
        for published in tables.rows_of(store, [row["trial_id"]]):
            objectives = published["objectives"] and tuple(published["objectives"])
            ended = dataclasses.replace(ended, status=published["status"], objectives=objectives)
    forget(store, row["trial_id"])
    return ended


def _sources(reference: Any, device: str) -> Any:
    from metafa.trials import trial as trials

    if reference not in _prepared:
        _prepared.clear()
        _prepared[reference] = trials.prepared(ray.get(reference), device)
    return _prepared[reference]


def checkpoint_to_resume(store: Store, partial: str) -> Any:
    """The checkpoint that a trial goes on from, if there is one. Raises `RuntimeError` where its process has died too
    often and got no further: what kills it there would do so again."""
    from metafa.trials import checkpoints

    content = b""
    with contextlib.suppress(FileNotFoundError):
        content = store.read(f"{partial}.safetensors")
    place = content[-DIGEST_BYTES:].hex()
    if reason := deaths.why_given_up(deaths.noted_deaths(store, partial), place):
        store.remove(f"{partial}.json")
        raise RuntimeError(reason)
    return checkpoints.decode(content) if content else None


def _judged_before(settings: TrialSettings, checkpoint: Checkpoint | None) -> list[tuple[str, int, float]]:
    """What a trial was judged by before it was interrupted, where that is in the phase that it goes on with."""
    if checkpoint is None:
        return []
    present = settings.phases[checkpoint.phase].name
    return [judgement for judgement in checkpoint.outcome.judged if judgement[0] == present]


def forget(store: Store, trial_id: str) -> None:
    """Removes what a trial has kept on its way."""
    for suffix in ("safetensors", "parquet", "json"):
        store.remove(f"{PARTIAL}/{trial_id}.{suffix}")
