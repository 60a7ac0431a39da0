"""All that metafa changes and reads of Ray and Tune that they do not publish: whoever raises Ray's version looks here.

None of it is needed for a study to run and to give the same numbers. So each name that another version of Ray lacks is
passed by, and what is lost then is said beside it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import LocalRayletDiedError, RayActorError, RayError, RayTaskError

SIGNAL_HANDLER = "_ZN3ray6RayLog36is_failure_signal_handler_installed_E"  # in C++: whether Ray's handler is installed
SERVERS = ("gcs_server", "raylet")  # Ray's processes without which nothing runs
LOG_BYTES = 20_000  # of the end of a process's log, which says what killed it


@contextlib.contextmanager
def replaced(place: str, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Within it the attribute ``name`` of ``place``, a module or a class in one as ``module:class``, is what ``change``
    makes of it. Does nothing where this version of Ray has no such place or attribute."""
    module, _, of_class = place.partition(":")
    try:
        owner = importlib.import_module(module)
        owner = getattr(owner, of_class) if of_class else owner
        before = getattr(owner, name)
    except (ImportError, AttributeError):
        yield
        return
    setattr(owner, name, change(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Within it a Ray that this process starts listens on loopback only, as Ray does on systems where it offers no
    clusters. Without it, other machines could reach the ports of a study that runs on this one.

    Ray copies the environment variable into the constant once, when it is imported, and has no public option that makes
    it listen on loopback. So the variable alone would come too late where a notebook has imported Ray before, and would
    keep every later Ray of this process, and its connection to a cluster, on loopback where metafa imports Ray first.
    """
    variable = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before = os.environ.get(variable)
    os.environ[variable] = "0"
    try:
        with replaced("ray._private.ray_constants", "ENABLE_RAY_CLUSTER", lambda enabled: False):
            yield
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before


@contextlib.contextmanager
def own_python() -> Iterator[None]:
    """Within it workers have this process's Python under `uv run` as well. Without it, Ray would have them look for a
    project to install."""
    with replaced("ray._private.ray_constants", "RAY_ENABLE_UV_RUN_RUNTIME_ENV", lambda enabled: False):
        yield


@contextlib.contextmanager
def deaths_survived() -> Iterator[None]:
    """Within it Tune takes whatever ends a trial's process for that, and tries the trial again. Of itself it knows
    `RayActorError` alone, and ends a study whose process Ray's memory monitor kills; and where a process has died that
    waited for its next trial, Tune hears of it twice, and gives the trial up."""

    def as_death(failed: Callable[..., None]) -> Callable[..., None]:
        def called(manager: Any, exception: Exception, **where: Any) -> None:
            known = (RayActorError, RayTaskError, LocalRayletDiedError)
            if isinstance(exception, RayError) and not isinstance(exception, known):
                exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
            failed(manager, exception=exception, **where)

        return called

    def once(process: Callable[..., None]) -> Callable[..., None]:
        def called(controller: Any, trial: Any, exception: Exception) -> None:
            resetting: set[Any] = getattr(controller, "_resetting_trials", set())
            if trial in resetting and trial not in getattr(controller, "_trial_to_actor", (trial,)):
                resetting.discard(trial)
            else:
                process(controller, trial, exception)

        return called

    manager = "ray.air.execution._internal.actor_manager:RayActorManager"
    controller = "ray.tune.execution.tune_controller:TuneController"
    with (
        replaced(manager, "_actor_task_failed", as_death),
        replaced(manager, "_actor_start_failed", as_death),
        replaced(controller, "_process_trial_failure", once),
    ):
        yield


@contextlib.contextmanager
def own_sigterm() -> Iterator[None]:
    """Within it Ray starts, and leaves SIGTERM to whoever has it. Its own handlers, one in Python and one in C++, would
    end this process with a stack of C++ and SIGABRT; and where it stops, it would take away any other. Nor does it
    print what it has to say of processes that die, which stands in their trials' rows."""
    try:  # Ray installs its handler in C++, and takes it away, where this says that it is not there
        installed = ctypes.c_bool.in_dll(ctypes.CDLL(ray._raylet.__file__), SIGNAL_HANDLER)
    except (AttributeError, ValueError, OSError):
        installed = ctypes.c_bool()
    before, installed.value = installed.value, True
    try:
        with (
            replaced("ray._private.utils", "set_sigterm_handler", lambda install: lambda handler: None),
            replaced("ray._private.worker", "listen_error_messages", lambda listen: lambda worker, stopped: None),
        ):
            yield
    finally:
        installed.value = before
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)


def dead_server() -> str | None:
    """Which of Ray's own processes on this machine has ended, in words. Ray itself would try for a minute to reach it,
    and then end this process."""
    with contextlib.suppress(AttributeError):
        node: Any = ray._private.worker._global_node
        for kind, process in node.dead_processes() if node else []:
            if kind in SERVERS:
                return f"its process {kind} has ended, with status {process.returncode}"
    return None


def log_of_process(number: str) -> str:
    """The end of what a process of this machine has logged, in which Ray notes the signal that it caught; empty where
    it ran elsewhere."""
    text = ""
    with contextlib.suppress(AttributeError, OSError):
        node: Any = ray._private.worker._global_node
        for log in Path(node.get_logs_dir_path()).glob(f"worker-*-{number}.err") if node else []:
            text += log.read_text(errors="replace")[-LOG_BYTES:]
    return text


def forget_metrics(trial: Any) -> None:
    """Has one of Tune's trials that has ended drop the last, the best, and the means of the last 5 and 10 of every
    number that it reported: 29 kB a trial, and Tune keeps all trials."""
    with contextlib.suppress(AttributeError):
        metadata = trial.run_metadata
        metadata.metric_analysis.clear()
        metadata.metric_n_steps.clear()
        metadata.invalidate_cache()


def last_failure(trial: Any) -> str:
    """What Ray said of the last failure of one of Tune's trials, which notes them one after the other in a file."""
    try:
        noted = Path(trial.error_file).read_text(errors="replace")
    except (AttributeError, TypeError, OSError):
        return ""
    return noted.rpartition("Failure # ")[2].partition("\n")[2].strip()


def number_of_failures(trial: Any) -> int | None:
    """How often the process of one of Tune's trials has died."""
    return getattr(trial, "num_failures", None)


def give_up(trial: Any) -> None:
    """Has Tune try a trial no more than once again. Without it, the next attempt says by itself that it is in vain."""
    if (number := number_of_failures(trial)) is not None:
        trial.max_failures = number


def cores() -> int:
    """How many CPU cores this process may use: Ray itself counts those that belong to other jobs on the machine."""
    try:
        there = int(ray._private.utils.get_num_cpus(override_docker_cpu_warning=True))
    except (AttributeError, TypeError):
        there = os.cpu_count() or 1
    return min(there, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else there
