"""What Tune asks and tells the driver while it runs a study's trials."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from metafa.errors import PartError, ResultsError
from metafa.results import columns, damage, heartbeat, parts, publishing
from metafa.results.listing import PARTIAL
from metafa.results.store import Store
from metafa.running import provenance
from metafa.running.cluster import RAY_SERVERS, RayLost
from metafa.running.deaths import (
    DEATHS,
    NO_DEATHS,
    cause_of_death,
    checkpoint_digest,
    last_failure,
    noted_deaths,
    why_given_up,
)
from metafa.running.events import Ended, Watcher
from metafa.running.proposals import Known
from metafa.running.sharing import LOOK_EVERY, Share
from metafa.running.trial_rows import known_columns
from metafa.running.worker import forget
from metafa.studies.study import Study, Trial


class TrialSearcher(Searcher):
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


class StopWhenUnwritten(tune.Stopper):
    """Ends everything once results cannot be written."""

    def __init__(self, bridge: StudyCallback):
        self.bridge = bridge

    def __reduce__(self) -> Any:
        return tune.stopper.NoopStopper, ()  # as of the bridge

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.bridge.unwritten is not None


class StudyCallback(tune.Callback):
    """Passes Tune's events on to a `Watcher` and to the search, and gives a trial its row whose worker could not: one
    that was stopped early, or whose process died."""

    def __init__(
        self,
        study: Study,
        store: Store,
        watcher: Watcher,
        tries: TrialSearcher,
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
            forget(self.store, ours.trial_id)
            metric = self.study.early_stopping.metric.rpartition(".")[2]
            said = f"stopped at step {last['step']} of {last['phase']}"
            self._ended(ours, Ended("stopped", said, (metric, last["objective"]), objectives))

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        node: Any = ray._private.worker._global_node  # Ray itself would try for a minute, and end this process
        for kind, process in node.dead_processes() if node else []:
            if kind in RAY_SERVERS:
                raise RayLost(f"its process {kind} has ended, with status {process.returncode}")

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        cause = cause_of_death(last_failure(trial))
        if cause in NO_DEATHS:
            return
        partial = f"{PARTIAL}/{self.tries.given[trial.trial_id].trial_id}"
        deaths = [*noted_deaths(self.store, partial), (cause, place := checkpoint_digest(self.store, partial))][
            -DEATHS:
        ]
        with contextlib.suppress(OSError):  # then it has one more attempt
            self.store.put(f"{partial}.json", json.dumps({"deaths": deaths}).encode())
        if why_given_up(deaths, place):  # the next worker says so, unless it, too, dies before
            trial.max_failures = trial.run_metadata.num_failures

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        ours = self.tries.given.pop(trial.trial_id)
        partial, said = f"{PARTIAL}/{ours.trial_id}", last_failure(trial)
        given_up = why_given_up(noted_deaths(self.store, partial), checkpoint_digest(self.store, partial))
        summary = (
            given_up
            or f"its process died {trial.run_metadata.num_failures} times, the last time: {cause_of_death(said)}"
        )
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
        row = known_columns(trial, self.study, provenance.of_software()) | outcome
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
