"""Running a study: Ray Tune schedules the trials, each writes its own rows, the driver watches."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import datetime
import itertools
import json
import logging
import math
import os
import re
import signal
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray import tune
from ray._private import ray_constants
from ray._private import utils as ray_utils
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import LocalRayletDiedError, RayActorError, RayError, RayTaskError
from ray.tune import schedulers
from ray.tune.execution.tune_controller import TuneController
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup

from metafa.errors import PartError, ResourcesError, ResultsError
from metafa.results import addresses, columns, damage, heartbeat, parts, preparation, publishing, tables
from metafa.results.listing import PARTIAL
from metafa.results.sealing import DIGEST_BYTES
from metafa.results.store import Store
from metafa.running import proposals, provenance, scratch, stopping
from metafa.running.proposals import Known
from metafa.running.sharing import LOOK_EVERY, Share
from metafa.studies import search
from metafa.studies.fields import MAX_WHOLE
from metafa.studies.settings import NUMERICS, EarlyStoppingSettings, TrialSettings, flatten
from metafa.studies.study import Study
from metafa.studies.trial import Trial

if TYPE_CHECKING:
    from metafa.tasks.base import LabelledImages
    from metafa.trials.trial import Outcome

# what Ray and Tune read from the environment; what is there already stays
SWITCHES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # they repeat every number as JSON and CSV
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: whatever is done is already in the results
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # not every report measures what may stop a trial
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),  # a study is restored from its results, never from Tune's
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
WAIT_POLICY = "OMP_WAIT_POLICY"  # what threads do that wait for others
RAY_HANDLES_SIGNALS = "_ZN3ray6RayLog36is_failure_signal_handler_installed_E"  # in C++, whether its handler is there
REPORT_EVERY = 1.0  # seconds
WORST = 1e300  # in place of an infinite value, where values are added and subtracted
ATTEMPTS = 3  # at a trial whose process dies, without getting further than a checkpoint
_NONE: Any = object()
DEATHS = 20  # of a trial's process, however far it got
DEATHS_BYTES = 100_000  # of what is kept of them, far more than they take
OUT_OF_MEMORY = "out of memory, and Ray's monitor killed it"
NODE_LOST = "its node was lost"
TOLD_TO_STOP = "SIGTERM, SIGHUP or SIGINT ended it"
# what Ray says of a process that died, and what that comes to
CAUSES = (
    (r"OutOfMemoryError|due to the node running low on memory", OUT_OF_MEMORY),
    (r"node has died|NodeDiedError|actor \w+ is unavailable", NODE_LOST),
    (r"receives? a SIG(TERM|HUP|INT)", TOLD_TO_STOP),
    (r"exit code (?P<code>\d+)", "it exited with status {code}"),
    (r"\*\*\* (?P<signal>SIG[A-Z]+) received", "{signal} killed it"),
    (r"connection error code", "it was killed, as by SIGKILL or by a system that is short of memory"),
)
NO_DEATHS = (NODE_LOST, TOLD_TO_STOP)  # of a trial's own process: whatever ran there would have died
RAY_SERVERS = ("gcs_server", "raylet")  # without which Ray is none


@dataclass(frozen=True)
class Ended:
    """How a trial ended: its status, its error in a line, what it comes to, and what a search learns of it."""

    status: str
    error: str | None = None
    final: tuple[str, float] | None = None
    objectives: tuple[float, ...] | None = None


class Watcher(Protocol):
    """Whoever watches a study run."""

    def resources(self, cpus: float, gpus: float) -> None:
        """What there is to run trials on."""

    def progressed(self, trial: Trial, fraction: float) -> None:
        """``fraction`` of a running trial is done."""

    def finished(self, trial: Trial, ended: Ended) -> None:
        """A trial has ended."""

    def waits(self) -> None:
        """Other runs have taken all that is left."""


def run(
    study: Study,
    store: Store,
    known: Mapping[str, Known],
    watcher: Watcher,
    join: Callable[[dict[str, Known]], Share],
    workers: int | None = None,
    address: str | None = None,
    images: Mapping[str, LabelledImages] | None = None,
) -> None:
    """Runs those trials of ``study`` that are not ``known`` and that no other driver runs, and returns when the rows of
    all stand in ``store``, at once where they do.

    ``join`` makes this process one of those that share the study, given what is known, which it keeps up to date.
    ``workers``: trials at a time, by default as many as the cluster's CPUs and GPUs allow. ``address``: a Ray
    cluster's, or None for the one that this process has initialised, which goes on afterwards, or else one of its own
    on this machine. ``images``: those that trials draw on and that are loaded already, by the names of
    `settings.image_needs`. Every trial ends in a row, if only as `failed`.
    Raises `ConnectionError` where no cluster answers at ``address``, `ResourcesError` and `ResultsError`, all before
    anything is written; and `ResultsError` where ``store`` cannot be written any more, with nothing lost that was.
    """
    ended, share = dict(known), None
    to_try: Iterator[Trial | None] = iter(())
    if store.exists("study.toml"):  # else whether there is a machine to run on comes first, and nothing is written
        share = join(ended)
        to_try = proposals.to_try(study, ended, share)
        while (first := next(to_try, _NONE)) is None:  # others run all that is left, and may die
            watcher.waits()
            time.sleep(LOOK_EVERY)
        if first is _NONE:  # a search may find nothing to try any more, and does so without Ray
            return
        to_try = itertools.chain([first], to_try)
    if ray.is_initialized():
        if address is not None:
            raise ResourcesError(
                f"Ray is initialised in this process already: leave out the address, {address!r}, to run the study "
                "there, or call ray.shutdown() first"
            )
        groups = _placement_groups()
        with _switched(alone=False):
            try:
                _run(study, store, ended, share, to_try, watcher, join, workers, images or {}, alone=True)
            finally:  # what an interrupted Tune leaves would run on
                for group in _placement_groups() - groups:
                    ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(group)))
        return
    cpus = None if workers is None else workers * study.resources.cpus_per_trial
    folder = None
    with _switched(alone=address is None, cpus=cpus or 0):
        try:
            with _own_sigterm():
                folder = _ray_folder() if address is None else None
                _start_ray(address, cpus, folder)
            alone, within = address is None, folder.path if folder else None
            _run(study, store, ended, share, to_try, watcher, join, workers, images or {}, alone, within)
        finally:
            with stopping.held():
                ray.shutdown()
                if folder is not None:
                    scratch.remove(folder)


def _run(
    study: Study,
    store: Store,
    ended: dict[str, Known],
    share: Share | None,
    to_try: Iterator[Trial | None],
    watcher: Watcher,
    join: Callable[[dict[str, Known]], Share],
    workers: int | None,
    images: Mapping[str, LabelledImages],
    alone: bool,
    within: str | None = None,
) -> None:
    from metafa.trials import trial as trials

    found = ray.cluster_resources()
    if alone:  # a cluster may grow; this machine does not, and Tune would wait for ever
        _check_resources(study, found)
    preparation.prepare(store, study)
    if share is None:
        share = join(ended)
        to_try = proposals.to_try(study, ended, share)
    needed = study.examples if study.adaptive else [one.settings for one in study.trials if one.trial_id not in ended]
    sources = ray.put(trials.load_sources(*needed, images=images))  # once a node
    task = _Task(dataclasses.replace(study, trials=()), store.opened, provenance.of_software())

    def trainable(config: dict[str, Any]) -> None:
        _run_trial(task, json.loads(config["point"]), sources, tune.report)

    tries = _Tries(to_try)
    bridge = _Bridge(study, store, watcher, tries, ended, share, workers, alone)
    bridge.look(0.0)
    resources = {"cpu": study.resources.cpus_per_trial, "gpu": study.resources.gpus_per_trial}
    # a temporary folder for what Tune keeps of its own, in that which goes with Ray
    with tempfile.TemporaryDirectory(prefix="metafa-", dir=within) as kept:
        tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=tries,
                num_samples=-1,  # until there are no more proposals
                scheduler=_scheduler(study.early_stopping),
                max_concurrent_trials=workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=kept,
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # silent; a notebook's would erase what the cell has shown
                stop=_WhenUnwritten(bridge),
                # an error in a trial is caught there, so what Tune sees fail is a process that died
                failure_config=tune.FailureConfig(max_failures=DEATHS),
                callbacks=[bridge],
            ),
        ).fit()
    if study.adaptive and not bridge.unwritten:
        proposals.keep_journal(study, store, ended)
    if bridge.unwritten:
        raise damage.unwritten(store, bridge.unwritten)


@contextlib.contextmanager
def _switched(alone: bool, cpus: int = 0) -> Iterator[None]:
    """Within it Ray and Tune are as studies want them, and where they are ``alone`` on this machine listen on loopback
    only, as Ray does where it knows no clusters; afterwards they are for others what they were before.

    ``cpus``: how many trials are to share, if that is said. A trial of several threads is fastest where those that wait
    spin, as OpenMP has it by default; but not where trials have more threads than there are cores.
    """
    logger = logging.getLogger("ray")
    names = {*SWITCHES, ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, WAIT_POLICY}
    before = {name: said for name, said in os.environ.items() if name in names}
    level, knows = logger.level, ray_constants.ENABLE_RAY_CLUSTER
    uv = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV
    # under `uv run` workers have this process's Python as always; Ray would have them look for a project to install
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    logger.setLevel("CRITICAL")  # what goes wrong with a trial is in its row, and said in a line
    os.environ.update({name: os.environ.get(name, setting) for name, setting in SWITCHES.items()})
    if alone and cpus > _cores():
        os.environ.setdefault(WAIT_POLICY, "passive")
    if alone:
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # of the processes that it starts
        ray_constants.ENABLE_RAY_CLUSTER = False  # of this one, which has read it
    try:
        with _deaths_survived():
            yield
    except (_RayLost, RayError, tune.error.TuneError, RuntimeError) as error:
        if (found := _of_ray(error)) is None:
            raise
        raise ResourcesError(
            f"Ray has failed: {found}; nothing that was done is lost, and the same command continues"
        ) from error
    finally:
        logger.setLevel(level)
        ray_constants.ENABLE_RAY_CLUSTER = knows
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = uv
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


class _RayLost(BaseException):
    """A process of Ray's is gone, without which nothing can be waited for: Tune is not to tidy up."""


def _of_ray(error: BaseException | None) -> str | None:
    """What Ray said in a line, where an exception comes from one of Ray's."""
    while error is not None:
        if isinstance(error, (_RayLost, RayError)):
            return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def _deaths_survived() -> Iterator[None]:
    """Within it Tune takes whatever ends a trial's process for that, and tries the trial again. Of itself it knows
    `RayActorError` alone, and ends a study whose process Ray's memory monitor kills; and it hears twice, and gives a
    trial up, where a process has died that waited for its next trial."""

    def as_death(failed: Callable[..., None]) -> Callable[..., None]:
        def told(manager: Any, exception: Exception, **where: Any) -> None:
            known = (RayActorError, RayTaskError, LocalRayletDiedError)
            if isinstance(exception, RayError) and not isinstance(exception, known):
                exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
            failed(manager, exception=exception, **where)

        return told

    def once(process: Callable[..., None]) -> Callable[..., None]:
        def told(controller: Any, trial: Any, exception: Exception) -> None:
            if trial in controller._resetting_trials and trial not in controller._trial_to_actor:
                controller._resetting_trials.discard(trial)
            else:
                process(controller, trial, exception)

        return told

    changes: list[tuple[Any, str, Callable[..., Any]]] = [
        (RayActorManager, "_actor_task_failed", as_death),
        (RayActorManager, "_actor_start_failed", as_death),
        (TuneController, "_process_trial_failure", once),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, change in changes:
        setattr(owner, name, change(getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, was in before:
            setattr(owner, name, was)


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Within it Ray starts, and leaves SIGTERM to whoever has it. Its own handlers, one in Python and one in C++, would
    end this process with a stack of C++ and SIGABRT; and where it stops, it would take away any other. Nor does it
    print what it has to say of processes that die, which stands in their trials' rows."""
    set_handler, listen = ray_utils.set_sigterm_handler, ray._private.worker.listen_error_messages
    ray_utils.set_sigterm_handler = lambda handler: None
    ray._private.worker.listen_error_messages = lambda worker, threads_stopped: None
    try:  # Ray's handler in C++ is installed, and taken away, where it thinks that it is not, and is
        installed = ctypes.c_bool.in_dll(ctypes.CDLL(ray._raylet.__file__), RAY_HANDLES_SIGNALS)
    except (ValueError, OSError):  # of another version
        installed = ctypes.c_bool()
    before, installed.value = installed.value, True
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler, installed.value = set_handler, before
        ray._private.worker.listen_error_messages = listen
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)


def _ray_folder() -> scratch.Folder | None:
    try:
        return scratch.make()
    except OSError as error:
        raise _unstarted(error) from error


def _start_ray(address: str | None, cpus: int | None, folder: scratch.Folder | None) -> None:
    options: dict[str, Any] = dict(log_to_driver=False, logging_level="CRITICAL", configure_logging=False)
    if address is not None:
        host, _, port = address.rpartition(":")
        if host and port.isdigit() and "/" not in host:  # Ray itself would knock for minutes
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except OSError as error:  # a name that is not known, or no answer, among them
                raise ConnectionError(str(error)) from error
        ray.init(address=address, **options)
    else:
        if folder is not None:
            options |= dict(_temp_dir=folder.path)
        try:
            ray.init(address="local", num_cpus=cpus or _cores(), include_dashboard=False, **options)
        except Exception as error:
            raise _unstarted(error) from error


def _cores() -> int:
    """How many CPU cores this process may use: Ray itself counts those that belong to other jobs on the machine."""
    there = int(ray_utils.get_num_cpus(override_docker_cpu_warning=True))
    return min(there, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else there


def _unstarted(error: Exception) -> ResourcesError:
    said = next(iter(str(error).splitlines()), type(error).__name__)
    if not isinstance(error, OSError) or isinstance(error, (ConnectionError, TimeoutError)):
        return ResourcesError(f"Ray cannot start on this machine: {said}")
    return ResourcesError(
        f"Ray cannot start with {scratch.root()} for temporary files: {said}; set TMPDIR to a folder that can be "
        "written and has a short name, such as /tmp"
    )


def _placement_groups() -> set[str]:
    """What this process holds of the cluster for its trials, as Ray's placement groups."""
    job = ray.get_runtime_context().get_job_id()  # with which their ids end
    groups = ray.util.placement_group_table().items()
    return {group for group, found in groups if group.endswith(job) and found["state"] != "REMOVED"}


def _check_resources(study: Study, found: Mapping[str, float]) -> None:
    for kind, setting in (("CPU", "cpus_per_trial"), ("GPU", "gpus_per_trial")):
        asked, there = getattr(study.resources, setting), found.get(kind, 0)
        if asked > there:
            raise ResourcesError(f"resources.{setting} is {asked:g}, but this machine has {there:g} {kind}s")


def _scheduler(stopping: EarlyStoppingSettings | None) -> schedulers.TrialScheduler | None:
    if stopping is None:
        return None
    how: dict[str, Any] = dict(time_attr="step", metric="objective", mode=stopping.sought[:3])
    how |= dict(grace_period=stopping.grace_period)
    if stopping.method == "median":
        # a trial that is paused begins again, so none is made to wait until there are others to be compared with
        return _MedianStoppingRule(**how | dict(min_time_slice=math.inf))
    # a phase's last step is no reason to stop: other phases follow
    how |= dict(max_t=MAX_WHOLE, reduction_factor=stopping.reduction_factor, stop_last_trials=False)
    return _ASHAScheduler(**how)


class _ASHAScheduler(schedulers.ASHAScheduler):
    """Ray's, whose percentiles are none where a value is infinite, as that of a trial that diverges is."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        if math.isinf(value := result.get("objective", 0.0)):
            result = result | {"objective": math.copysign(WORST, value)}
        return super().on_trial_result(tune_controller, trial, result)


class _MedianStoppingRule(schedulers.MedianStoppingRule):
    """Ray's, which takes every report to measure, and each step to be reported once. A trial's last report measures
    nothing, and one that was interrupted reports again what it did before."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        known = self._results.get(trial)
        if "step" in result and known and known[-1]["step"] >= result["step"]:
            return schedulers.TrialScheduler.CONTINUE
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict) -> None:
        pass


@dataclass(frozen=True)
class _Task:
    """What a worker needs to know of a study."""

    study: Study
    address: str
    software: dict[str, Any]

    @cached_property
    def schema(self) -> Any:
        return columns.trials_schema(self.study)


class _Unwritten(Exception):
    """What a trial has measured could not be written; the message says why."""


_ready: dict[Any, Any] = {}  # the images, once a process


def _sources(reference: Any, device: str) -> Any:
    from metafa.trials import trial as trials

    if reference not in _ready:
        _ready.clear()
        _ready[reference] = trials.prepared(ray.get(reference), device)
    return _ready[reference]


def _run_trial(task: _Task, point: search.Point, reference: Any, report: Callable[[dict], None]) -> None:
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

    row = _row(trial, study, task.software) | provenance.of_machine(device)
    row |= {"started": datetime.datetime.fromtimestamp(started, datetime.UTC)}
    ended, rows = Ended("failed"), []
    try:
        checkpoint = _go_on(store, partial)
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
            final_measurement(trial.settings, sound := _of_sound(trial.settings, outcome)),
            _objectives(study, trial.settings, sound),
        )
        row |= _divergences(trial.settings, outcome)
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
        _forget(store, trial.trial_id)
    except (OSError, ResultsError, PartError) as error:
        report({"fraction": 1.0, "status": "unwritten", "error": damage.reason(error)})
        return
    last_line = (row.get("error") or "").strip().splitlines()[-1:]
    ended = dataclasses.replace(ended, error="".join(last_line) or None)
    report({"fraction": 1.0, "status": ended.status, "ended": dataclasses.asdict(ended)})


def _go_on(store: Store, partial: str) -> Any:
    """The checkpoint that a trial goes on from, if there is one. Raises `RuntimeError` where its process has died too
    often and got no further: what kills it there would do so again."""
    from metafa.trials import checkpoints

    content = b""
    with contextlib.suppress(FileNotFoundError):
        content = store.read(f"{partial}.safetensors")
    place = content[-DIGEST_BYTES:].hex()
    if cause := _in_vain(_deaths(store, partial), place):
        store.remove(f"{partial}.json")
        raise RuntimeError(cause)
    return checkpoints.decode(content) if content else None


def _deaths(store: Store, partial: str) -> list[tuple[str, str]]:
    """The deaths of a trial's process that count: each one's cause in words, and the digest of the checkpoint that it
    left. None where nobody has noted any, or what is noted cannot be read."""
    path = store.path(f"{partial}.json")
    try:
        there = store.filesystem.get_file_info(path)
        if not there.is_file or there.size > DEATHS_BYTES:
            return []
        with store.filesystem.open_input_file(path) as file:
            found = json.loads(file.read(DEATHS_BYTES))["deaths"]
        return [("".join(filter(str.isprintable, str(cause)))[:200], str(place)) for cause, place in found]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def _place(store: Store, partial: str) -> str:
    """The digest of a trial's checkpoint, which is at its end; empty where there is none."""
    try:
        with store.filesystem.open_input_file(store.path(f"{partial}.safetensors")) as file:
            return file.read_at(DIGEST_BYTES, max(0, file.size() - DIGEST_BYTES)).hex()
    except OSError:
        return ""


def _in_vain(deaths: list[tuple[str, str]], place: str) -> str | None:
    """What to say of a trial whose process has died too often in the place where it is."""
    causes = [cause for cause, where in deaths if where == place]
    if len(causes) < ATTEMPTS:
        return None
    return f"its process died in each of {ATTEMPTS} attempts: {'; '.join(dict.fromkeys(causes[-ATTEMPTS:]))}"


def _said(trial: Any) -> str:
    """What Ray said of the last failure of one of Tune's trials, which notes them one after the other."""
    try:
        return Path(trial.error_file).read_text(errors="replace").rpartition("Failure # ")[2].partition("\n")[2].strip()
    except OSError:
        return ""


def _cause(said: str) -> str:
    """Why a trial's process died, in words, from what Ray said of that."""
    process, node = re.search(r"\bpid: (\d+)", said), ray._private.worker._global_node
    if process and node:  # Ray notes in a process's log which signal it caught; where it runs elsewhere, there is none
        for log in Path(node.get_logs_dir_path()).glob(f"worker-*-{process[1]}.err"):
            with contextlib.suppress(OSError):
                said += log.read_text(errors="replace")[-20_000:]
    for pattern, words in CAUSES:
        if found := re.search(pattern, said):
            return words.format(**found.groupdict())
    return next((line.strip()[:200] for line in said.splitlines() if line.strip()), "it was killed")


def _judged_again(settings: TrialSettings, checkpoint: Any) -> list[tuple[str, int, float]]:
    """What a trial was judged by before it was interrupted, where that is in the phase that it goes on with."""
    if checkpoint is None:
        return []
    present = settings.phases[checkpoint.phase].name
    return [one for one in checkpoint.outcome.judged if one[0] == present]


def _forget(store: Store, trial_id: str) -> None:
    """Removes what a trial has kept on its way."""
    for suffix in ("safetensors", "parquet", "json"):
        store.remove(f"{PARTIAL}/{trial_id}.{suffix}")


def _row(trial: Trial, study: Study, software: Mapping[str, Any]) -> dict[str, Any]:
    known = {"trial_id": trial.trial_id, "study": study.name, "numerics": NUMERICS, "point": json.dumps(trial.varied)}
    known |= {"threads": study.resources.cpus_per_trial}
    known |= {"data": json.dumps(trial.data, sort_keys=True), "divergence_bound": trial.settings.divergence_bound}
    chosen = study.search.method + (", depends on timing" if study.by_timing else "")
    return {**flatten(trial.settings), **known, "search": chosen, **software}


def _of_sound(settings: TrialSettings, outcome: Outcome) -> list[dict[str, Any]]:
    """The measurements, not a number where they are of a replica that had diverged: in that phase or before."""
    order = {phase.name: place for place, phase in enumerate(settings.phases)}
    since = {(one.seed, one.learning_rate): order[one.phase] for one in outcome.divergences.values()}
    if not since:
        return outcome.rows
    return [
        row | {"value": math.nan}
        if order[row["phase"]] >= since.get((row["seed"], row["learning_rate"]), len(order))
        else row
        for row in outcome.rows
    ]


def _divergences(settings: TrialSettings, outcome: Outcome) -> dict[str, Any]:
    """What the row of a trial that came to its end says of the replicas that diverged."""
    found = [divergence for _, divergence in sorted(outcome.divergences.items())]
    told: dict[str, Any] = {"divergences": [dataclasses.asdict(divergence) for divergence in found]}
    if not found:
        return told
    phases = [phase.name for phase in settings.phases]
    first = min(found, key=lambda divergence: (phases.index(divergence.phase), divergence.step))
    at_rate = "" if first.learning_rate is None else f" at learning rate {first.learning_rate:g}"
    measured = f", by its {first.metric}" if first.metric else ""
    return told | {
        "error": f"seed {first.seed}{at_rate} diverged at step {first.step} of {first.phase}{measured}",
        "diverged_seeds": sorted({divergence.seed for divergence in found}),
        "diverged_phase": first.phase,
        "diverged_step": first.step,
    }


def measurement(rows: list[dict[str, Any]], name: str) -> float | None:
    """What was measured last under a name such as `evaluate.meta_loss`, its mean over seeds and whatever else it was
    measured of: of inputs by name rather than of the batch trained on."""
    phase, _, metric = name.rpartition(".")
    found = [row for row in rows if row["phase"] == phase and row["metric"] == metric]
    found = [row for row in found if row["task"] is not None] or found
    values = [row["value"] for row in found if row["step"] == found[-1]["step"]]
    if not values:
        return None
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan


def _objectives(study: Study, settings: TrialSettings, rows: list[dict[str, Any]]) -> tuple[float, ...] | None:
    """What an adaptive search learns of a trial; None where a network has diverged."""
    flat = flatten(settings)
    found = [flat[name] if name in flat else measurement(rows, name) for name in study.search.objectives]
    known = [float(value) for value in found if value is not None and math.isfinite(value)]
    return tuple(known) if found and len(known) == len(found) else None


def final_measurement(settings: TrialSettings, rows: list[dict[str, Any]]) -> tuple[str, float] | None:
    """What a trial comes to: the meta-loss or, where none was measured, the accuracy on the test images of the dataset
    that was trained on, where it was measured last, as `measurement` has it."""
    trained = [phase.name for phase in settings.phases if phase.phase == "supervised"]
    for metric in ("meta_loss", "accuracy"):
        phases = [row["phase"] for row in rows if row["metric"] == metric and row["task"] is not None]
        if metric == "accuracy":  # images changed by a shift, or of another dataset, say nothing of what was learned
            phases = [name for name in phases if name in trained]
        if phases and (found := measurement(rows, f"{phases[-1]}.{metric}")) is not None:
            return metric, found
    return None


class _Tries(Searcher):
    """Hands Tune the trials to try, one when it asks."""

    def __init__(self, trials: Iterator[Trial | None]):
        super().__init__()
        self.trials = trials
        self.given: dict[str, Trial] = {}
        self.began: dict[str, datetime.datetime] = {}
        self.refused = -math.inf  # when there was nothing to try, in seconds of a clock that runs forward
        self.at_once = 1  # what waits here for its turn might run elsewhere
        self.waits: Callable[[], None] = lambda: None  # is told when others run all that is left

    def __reduce__(self) -> Any:
        return Searcher, ()  # as of the bridge

    def suggest(self, trial_id: str) -> Any:
        if len(self.given) >= self.at_once or time.monotonic() - self.refused < LOOK_EVERY:
            return None
        trial = next(self.trials, Searcher.FINISHED)
        if trial is None:
            self.refused = time.monotonic()
            if not self.given:
                self.waits()
        if isinstance(trial, Trial):
            self.given[trial_id], self.began[trial.trial_id] = trial, datetime.datetime.now(datetime.UTC)
            return {"point": json.dumps(trial.varied)}
        return trial

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        pass  # what comes out is told by the bridge

    def save(self, checkpoint_path: str) -> None:
        pass  # a study is continued from its results

    def restore(self, checkpoint_path: str) -> None:
        pass


class _WhenUnwritten(tune.Stopper):
    """Ends everything once results cannot be written."""

    def __init__(self, bridge: _Bridge):
        self.bridge = bridge

    def __reduce__(self) -> Any:
        return tune.stopper.NoopStopper, ()  # as of the bridge

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.bridge.unwritten is not None


class _Bridge(tune.Callback):
    """Passes Tune's events on to a `Watcher` and to the search, and gives a trial its row whose worker could not: one
    that was stopped early, or whose process died."""

    def __init__(
        self,
        study: Study,
        store: Store,
        watcher: Watcher,
        tries: _Tries,
        ended: dict[str, Known],
        share: Share,
        workers: int | None = None,
        alone: bool = True,
    ):
        self.study, self.store, self.watcher, self.tries, self.ended = study, store, watcher, tries, ended
        self.share, self.workers, self.alone = share, workers, alone
        tries.waits = watcher.waits
        self.unwritten: str | None = None
        self.looked = -math.inf

    def __reduce__(self) -> Any:
        # Tune saves its callbacks to restore a run from; we restore from the results, and a screen cannot be saved
        return tune.Callback, ()

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        ours = self.tries.given[trial.trial_id]
        if result["status"] == "running":
            if "step" not in result:
                self.watcher.progressed(ours, result["fraction"])
        elif result["status"] == "unwritten":
            self.unwritten = result["error"]
        else:
            self._ended(ours, Ended(**result["ended"]))

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        self.look(heartbeat.EVERY)  # also while no trial has anything to say

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        ours, last = self.tries.given.pop(trial.trial_id), trial.last_result
        # Tune keeps its trials, and of each number the last, the best, the means of the last 5 and 10: 29 kB a trial
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()
        trial.run_metadata.invalidate_cache()
        if self.study.early_stopping and not self.unwritten and last.get("status") == "running" and "step" in last:
            # to be stopped is to have done badly: a search after the same learns what was measured last
            same = self.study.search.objectives == [self.study.early_stopping.metric]
            objectives = (last["objective"],) if same and math.isfinite(last["objective"]) else None
            row = {"status": "stopped", "stopped_phase": last["phase"], "stopped_step": last["step"]}
            row |= {"objectives": objectives}
            partial = f"{PARTIAL}/{ours.trial_id}"
            self._write(ours, row, lambda: self._measured(ours, f"{partial}.parquet"))
            _forget(self.store, ours.trial_id)
            metric = self.study.early_stopping.metric.rpartition(".")[2]
            said = f"stopped at step {last['step']} of {last['phase']}"
            self._ended(ours, Ended("stopped", said, (metric, last["objective"]), objectives))

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        node: Any = ray._private.worker._global_node  # Ray itself would try for a minute, and end this process
        for kind, process in node.dead_processes() if node else []:
            if kind in RAY_SERVERS:
                raise _RayLost(f"its process {kind} has ended, with status {process.returncode}")

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        cause = _cause(_said(trial))
        if cause in NO_DEATHS:
            return
        partial = f"{PARTIAL}/{self.tries.given[trial.trial_id].trial_id}"
        deaths = [*_deaths(self.store, partial), (cause, place := _place(self.store, partial))][-DEATHS:]
        with contextlib.suppress(OSError):  # then it has one more attempt
            self.store.put(f"{partial}.json", json.dumps({"deaths": deaths}).encode())
        if _in_vain(deaths, place):  # the next worker says so, unless it, too, dies before
            trial.max_failures = trial.run_metadata.num_failures

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        ours = self.tries.given.pop(trial.trial_id)
        partial, said = f"{PARTIAL}/{ours.trial_id}", _said(trial)
        in_vain = _in_vain(_deaths(self.store, partial), _place(self.store, partial))
        summary = in_vain or f"its process died {trial.run_metadata.num_failures} times, the last time: {_cause(said)}"
        row = {"status": "failed", "error": f"{said}\n{summary}".strip()}
        self._write(ours, row, lambda: columns.measured(ours.trial_id, []))
        with contextlib.suppress(OSError):
            self.store.remove(f"{partial}.json")
        self._ended(ours, Ended("failed", summary))

    def _measured(self, trial: Trial, name: str) -> Any:
        """What a trial that was stopped had measured."""
        with contextlib.suppress(FileNotFoundError):
            return parts.decode(self.store.read(name), "measurements")
        return columns.measured(trial.trial_id, [])

    def _write(self, trial: Trial, outcome: dict[str, Any], measurements: Callable[[], Any]) -> None:
        row = _row(trial, self.study, provenance.of_software()) | outcome
        row |= {"started": self.tries.began.get(trial.trial_id)}  # by which one attempt is told from another
        try:
            schema = columns.trials_schema(self.study)
            publishing.publish(self.store, schema, row, measurements(), final=self.study.adaptive)
        except (OSError, ResultsError, PartError) as error:
            self.unwritten = damage.reason(error)

    def _ended(self, trial: Trial, ended: Ended) -> None:
        self.ended[trial.trial_id] = Known(ended.status, trial.varied, ended.objectives)
        with contextlib.suppress(OSError):  # it has its row, by which others know
            self.share.done(trial.trial_id)
        self.watcher.finished(trial, ended)

    def look(self, every: float) -> None:
        """Looks what there is to run on, as nodes come and go, and what the other drivers have done."""
        if time.monotonic() - self.looked < every:
            return
        self.looked = time.monotonic()
        found = ray.cluster_resources()
        self.watcher.resources(found.get("CPU", 0), found.get("GPU", 0))
        asked = {"CPU": self.study.resources.cpus_per_trial, "GPU": self.study.resources.gpus_per_trial}
        fit = min(int(found.get(kind, 0) / number + 1e-9) for kind, number in asked.items() if number)
        # a cluster grows where something waits for it
        self.tries.at_once = max(1, min(fit + (not self.alone), self.workers or fit + 1))
        with contextlib.suppress(OSError, ResultsError):
            self.share.look(LOOK_EVERY)
