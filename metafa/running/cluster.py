"""Ray as studies want it: started and stopped, its switches, and what of it may fail."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray import tune
from ray._private import ray_constants
from ray._private import utils as ray_utils
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import LocalRayletDiedError, RayActorError, RayError, RayTaskError
from ray.tune.execution.tune_controller import TuneController

from metafa.errors import ResourcesError
from metafa.running import scratch
from metafa.studies.study import Study

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
RAY_SERVERS = ("gcs_server", "raylet")  # without which Ray is none


@contextlib.contextmanager
def switched(alone: bool, cpus: int = 0) -> Iterator[None]:
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
    if alone and cpus > cores():
        os.environ.setdefault(WAIT_POLICY, "passive")
    if alone:
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # of the processes that it starts
        ray_constants.ENABLE_RAY_CLUSTER = False  # of this one, which has read it
    try:
        with _deaths_survived():
            yield
    except (RayLost, RayError, tune.error.TuneError, RuntimeError) as error:
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


class RayLost(BaseException):
    """A process of Ray's is gone, without which nothing can be waited for: Tune is not to tidy up."""


def _of_ray(error: BaseException | None) -> str | None:
    """What Ray said in a line, where an exception comes from one of Ray's."""
    while error is not None:
        if isinstance(error, (RayLost, RayError)):
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
def own_sigterm() -> Iterator[None]:
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


def ray_folder() -> scratch.Folder | None:
    try:
        return scratch.make()
    except OSError as error:
        raise _unstarted(error) from error


def start_ray(address: str | None, cpus: int | None, folder: scratch.Folder | None) -> None:
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
            ray.init(address="local", num_cpus=cpus or cores(), include_dashboard=False, **options)
        except Exception as error:
            raise _unstarted(error) from error


def cores() -> int:
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


def placement_groups() -> set[str]:
    """What this process holds of the cluster for its trials, as Ray's placement groups."""
    job = ray.get_runtime_context().get_job_id()  # with which their ids end
    groups = ray.util.placement_group_table().items()
    return {group for group, found in groups if group.endswith(job) and found["state"] != "REMOVED"}


def check_resources(study: Study, found: Mapping[str, float]) -> None:
    for kind, setting in (("CPU", "cpus_per_trial"), ("GPU", "gpus_per_trial")):
        asked, there = getattr(study.resources, setting), found.get(kind, 0)
        if asked > there:
            raise ResourcesError(f"resources.{setting} is {asked:g}, but this machine has {there:g} {kind}s")
