"""The Ray that a study runs on: started and stopped, or found at an address, and set up as studies want it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup

from metafa.errors import ResourcesError
from metafa.running import ray_internals, scratch, stopping
from metafa.studies.settings import ResourceSettings

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


class RayLost(BaseException):
    """A process of Ray's is gone, without which nothing can be waited for: Tune is not to tidy up."""


@dataclass(frozen=True)
class Cluster:
    """A Ray that this process is connected to.

    grows: whether nodes may come while a study runs, so that what does not fit now may fit later.
    folder: where Ray has its temporary files, if metafa made that.
    """

    grows: bool
    folder: str | None = None


@contextlib.contextmanager
def connected(address: str | None, cpus: int | None) -> Iterator[Cluster]:
    """Within it this process is connected to a Ray: that of ``address``; or the one that it has initialised already; or
    one of its own on this machine, with so many ``cpus``, by default all.

    Raises `ConnectionError` where no cluster answers at ``address``; `ResourcesError` where Ray cannot start, fails, or
    is initialised already and an address is given.
    """
    if ray.is_initialized():
        if address is not None:
            raise ResourcesError(
                f"Ray is initialised in this process already: leave out the address, {address!r}, to run the study "
                "there, or call ray.shutdown() first"
            )
        with switched(alone=False), _nothing_left_running():
            yield Cluster(grows=False)
        return
    folder = None
    with switched(alone=address is None, cpus=cpus or 0):
        try:
            with ray_internals.own_sigterm():
                folder = _folder() if address is None else None
                _start(address, cpus, folder)
            yield Cluster(grows=address is not None, folder=folder.path if folder else None)
        finally:
            with stopping.held():
                ray.shutdown()
                if folder is not None:
                    scratch.remove(folder)


@contextlib.contextmanager
def switched(alone: bool, cpus: int = 0) -> Iterator[None]:
    """Within it Ray and Tune are as studies want them, and where they are ``alone`` on this machine listen on loopback
    only; afterwards they are for others what they were before.

    ``cpus``: how many trials are to share, if that is said. A trial of several threads is fastest where those that wait
    spin, as OpenMP has it by default; but not where trials have more threads than there are cores.
    """
    logger = logging.getLogger("ray")
    level = logger.level
    names = {*SWITCHES, WAIT_POLICY}
    before = {name: value for name, value in os.environ.items() if name in names}
    logger.setLevel("CRITICAL")  # what goes wrong with a trial is in its row, and said in a line
    os.environ.update({name: os.environ.get(name, setting) for name, setting in SWITCHES.items()})
    if alone and cpus > ray_internals.cores():
        os.environ.setdefault(WAIT_POLICY, "passive")
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(ray_internals.own_python())
            stack.enter_context(ray_internals.deaths_survived())
            if alone:
                stack.enter_context(ray_internals.on_loopback())
            yield
    except (RayLost, RayError, tune.error.TuneError, RuntimeError) as error:
        if (failure := _failure_of_ray(error)) is None:
            raise
        raise ResourcesError(
            f"Ray has failed: {failure}; nothing that was done is lost, and the same command continues"
        ) from error
    finally:
        logger.setLevel(level)
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def check_resources(resources: ResourceSettings, available: Mapping[str, float]) -> None:
    """Raises `ResourcesError` where a trial asks for more CPUs or GPUs than are ``available``, by Ray's names."""
    for kind, setting in (("CPU", "cpus_per_trial"), ("GPU", "gpus_per_trial")):
        asked, there = getattr(resources, setting), available.get(kind, 0)
        if asked > there:
            raise ResourcesError(f"resources.{setting} is {asked:g}, but this machine has {there:g} {kind}s")


def _failure_of_ray(error: BaseException | None) -> str | None:
    """What Ray said in a line, where an exception comes from one of Ray's."""
    while error is not None:
        if isinstance(error, (RayLost, RayError)):
            return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        error = error.__cause__ or error.__context__
    return None


def _folder() -> scratch.Folder | None:
    try:
        return scratch.make()
    except OSError as error:
        raise _cannot_start(error) from error


def _start(address: str | None, cpus: int | None, folder: scratch.Folder | None) -> None:
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
            ray.init(address="local", num_cpus=cpus or ray_internals.cores(), include_dashboard=False, **options)
        except Exception as error:
            raise _cannot_start(error) from error


def _cannot_start(error: Exception) -> ResourcesError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    if not isinstance(error, OSError) or isinstance(error, (ConnectionError, TimeoutError)):
        return ResourcesError(f"Ray cannot start on this machine: {reason}")
    return ResourcesError(
        f"Ray cannot start with {scratch.root()} for temporary files: {reason}; set TMPDIR to a folder that can be "
        "written and has a short name, such as /tmp"
    )


@contextlib.contextmanager
def _nothing_left_running() -> Iterator[None]:
    """After it nothing is left in the cluster of what this process began there within it: what an interrupted Tune
    leaves would run on."""
    before = _placement_groups()
    try:
        yield
    finally:
        for group in _placement_groups() - before:
            ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(group)))


def _placement_groups() -> set[str]:
    """What this process holds of the cluster for its trials, as Ray's placement groups."""
    job = ray.get_runtime_context().get_job_id()  # with which their ids end
    groups = ray.util.placement_group_table().items()
    return {group for group, state in groups if group.endswith(job) and state["state"] != "REMOVED"}
