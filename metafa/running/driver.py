"""The driver of a study: Ray Tune schedules the trials, each writes its own rows, the driver follows."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from metafa.results import damage, preparation
from metafa.results.store import Store
from metafa.running import cluster, deaths, proposals, provenance, worker
from metafa.running.cluster import Cluster
from metafa.running.events import FinishedTrial, StudyObserver
from metafa.running.schedulers import scheduler
from metafa.running.sharing import LOOK_EVERY, Share
from metafa.running.tune_callbacks import StopOnWriteError, StudyCallback, TrialSearcher
from metafa.studies.study import Study
from metafa.studies.trial import Trial

if TYPE_CHECKING:
    from metafa.tasks.base import LabelledImages

_NOTHING: Any = object()


@dataclass
class _Run:
    """A study that is being run.

    finished: the trials that have ended, by trial_id. share: this driver's part, from when it is one of the drivers.
    trials: those to try, one after the other; None where that depends on others.
    """

    study: Study
    store: Store
    observer: StudyObserver
    join: Callable[[dict[str, FinishedTrial]], Share]
    workers: int | None
    images: Mapping[str, LabelledImages]
    finished: dict[str, FinishedTrial]
    share: Share | None = None
    trials: Iterator[Trial | None] = field(default_factory=lambda: iter(()))

    def begin(self) -> Share:
        """Makes this process one of the drivers of the study, if it is none yet."""
        if self.share is None:
            self.share = self.join(self.finished)
            self.trials = proposals.to_try(self.study, self.finished, self.share)
        return self.share

    def anything_to_try(self) -> bool:
        """Whether there is a trial to try, once that is known: others may run all that is left, and may die."""
        self.begin()
        while (first := next(self.trials, _NOTHING)) is None:
            self.observer.waits()
            time.sleep(LOOK_EVERY)
        if first is _NOTHING:
            return False
        self.trials = itertools.chain([first], self.trials)
        return True


def run_trials(
    study: Study,
    store: Store,
    known: Mapping[str, FinishedTrial],
    observer: StudyObserver,
    join: Callable[[dict[str, FinishedTrial]], Share],
    workers: int | None = None,
    address: str | None = None,
    images: Mapping[str, LabelledImages] | None = None,
) -> None:
    """Runs those trials of ``study`` that are not ``known`` and that no other driver runs, and returns when the rows of
    all stand in ``store``, at once where they do. Every trial ends in a row, if only as `failed`.

    join: makes this process one of those that share the study, given what is known, which it keeps up to date.
    workers: trials at a time, by default as many as the cluster's CPUs and GPUs allow.
    address: a Ray cluster's, or None for the one that this process has initialised, which goes on afterwards, or else
        one of its own on this machine.
    images: those that trials draw on and that are loaded already, by the names of `settings.image_needs`.

    Raises `ConnectionError` where no cluster answers at ``address``, `ResourcesError` and `ResultsError`, all before
    anything is written; and `ResultsError` where ``store`` cannot be written any more, with nothing lost that was.
    """
    run = _Run(study, store, observer, join, workers, images or {}, dict(known))
    # a search may find nothing to try any more, and does so without Ray; of a new study, whether there is a machine to
    # run it on comes first, and nothing is written
    if store.exists("study.toml") and not run.anything_to_try():
        preparation.keep_text(store, study)
        return
    cpus = None if workers is None else workers * study.resources.cpus_per_trial
    with cluster.connected(address, cpus) as connected:
        if not connected.grows:  # Tune would wait for ever
            cluster.check_resources(study.resources, ray.cluster_resources())
        preparation.prepare(store, study)
        _tune(run, connected)


def _tune(run: _Run, connected: Cluster) -> None:
    """Has Tune run the trials. Raises `ResultsError` where results could not be written."""
    study, share = run.study, run.begin()
    searcher = TrialSearcher(run.trials)
    callback = StudyCallback(
        study, run.store, run.observer, searcher, run.finished, share, run.workers, connected.grows
    )
    callback.look(0.0)
    with _folder(connected) as folder:
        tune.Tuner(
            _trainable(run),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,  # until there are no more proposals
                scheduler=scheduler(study.early_stopping),
                max_concurrent_trials=run.workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=folder,
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # silent; a notebook's would erase what the cell has shown
                stop=StopOnWriteError(callback),
                # an error in a trial is caught there, so what Tune sees fail is a process that died
                failure_config=tune.FailureConfig(max_failures=deaths.DEATHS),
                callbacks=[callback],
            ),
        ).fit()
    if callback.write_error:
        raise damage.unwritten(run.store, callback.write_error)
    if study.adaptive:
        proposals.keep_journal(study, run.store, run.finished)


def _trainable(run: _Run) -> Any:
    """What Tune has a worker run, given a point of the search space: `worker.run_trial`."""
    from metafa.trials import trial as trials

    study = run.study
    left = [trial.settings for trial in study.trials if trial.trial_id not in run.finished]
    images = ray.put(trials.load_sources(*(study.examples if study.adaptive else left), images=run.images))  # a node's
    task = worker.Task(dataclasses.replace(study, trials=()), run.store.opened, provenance.of_software())

    def trainable(config: dict[str, Any]) -> None:
        worker.run_trial(task, json.loads(config["point"]), images, tune.report)

    resources = {"cpu": study.resources.cpus_per_trial, "gpu": study.resources.gpus_per_trial}
    return tune.with_resources(trainable, resources)


@contextlib.contextmanager
def _folder(connected: Cluster) -> Iterator[str]:
    """A temporary folder for what Tune keeps of its own, in that which goes with Ray."""
    with tempfile.TemporaryDirectory(prefix="metafa-", dir=connected.folder) as folder:
        yield folder
