"""Running a study: Ray Tune schedules the trials, each writes its own rows, the driver watches."""

from __future__ import annotations

import dataclasses
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.util.placement_group import PlacementGroup

from metafa.errors import ResourcesError
from metafa.results import damage, preparation
from metafa.results.store import Store
from metafa.running import proposals, provenance, scratch, stopping
from metafa.running.cluster import check_resources, own_sigterm, placement_groups, ray_folder, start_ray, switched
from metafa.running.deaths import DEATHS
from metafa.running.events import Watcher
from metafa.running.proposals import Known
from metafa.running.schedulers import scheduler
from metafa.running.sharing import LOOK_EVERY, Share
from metafa.running.tune_callbacks import StopWhenUnwritten, StudyCallback, TrialSearcher
from metafa.running.worker import Task, run_trial
from metafa.studies.study import Study, Trial

if TYPE_CHECKING:
    from metafa.tasks.base import LabelledImages


_NONE: Any = object()


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
        groups = placement_groups()
        with switched(alone=False):
            try:
                _run(study, store, ended, share, to_try, watcher, join, workers, images or {}, alone=True)
            finally:  # what an interrupted Tune leaves would run on
                for group in placement_groups() - groups:
                    ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(group)))
        return
    cpus = None if workers is None else workers * study.resources.cpus_per_trial
    folder = None
    with switched(alone=address is None, cpus=cpus or 0):
        try:
            with own_sigterm():
                folder = ray_folder() if address is None else None
                start_ray(address, cpus, folder)
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
        check_resources(study, found)
    preparation.prepare(store, study)
    if share is None:
        share = join(ended)
        to_try = proposals.to_try(study, ended, share)
    needed = study.examples if study.adaptive else [one.settings for one in study.trials if one.trial_id not in ended]
    sources = ray.put(trials.load_sources(*needed, images=images))  # once a node
    task = Task(dataclasses.replace(study, trials=()), store.opened, provenance.of_software())

    def trainable(config: dict[str, Any]) -> None:
        run_trial(task, json.loads(config["point"]), sources, tune.report)

    tries = TrialSearcher(to_try)
    bridge = StudyCallback(study, store, watcher, tries, ended, share, workers, alone)
    bridge.look(0.0)
    resources = {"cpu": study.resources.cpus_per_trial, "gpu": study.resources.gpus_per_trial}
    # a temporary folder for what Tune keeps of its own, in that which goes with Ray
    with tempfile.TemporaryDirectory(prefix="metafa-", dir=within) as kept:
        tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=tries,
                num_samples=-1,  # until there are no more proposals
                scheduler=scheduler(study.early_stopping),
                max_concurrent_trials=workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=kept,
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # silent; a notebook's would erase what the cell has shown
                stop=StopWhenUnwritten(bridge),
                # an error in a trial is caught there, so what Tune sees fail is a process that died
                failure_config=tune.FailureConfig(max_failures=DEATHS),
                callbacks=[bridge],
            ),
        ).fit()
    if study.adaptive and not bridge.unwritten:
        proposals.keep_journal(study, store, ended)
    if bridge.unwritten:
        raise damage.unwritten(store, bridge.unwritten)
