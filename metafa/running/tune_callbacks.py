"""What Tune asks and tells the driver while it runs a study's trials: the next trial, reports, ends, deaths."""

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
from metafa.running import deaths, provenance, ray_internals
from metafa.running.cluster import RayLost
from metafa.running.events import FinishedTrial, StudyObserver
from metafa.running.sharing import LOOK_EVERY, Share
from metafa.running.trial_rows import known_columns
from metafa.running.worker import forget
from metafa.studies.study import Study
from metafa.studies.trial import Trial


class NotSaved:
    """What Tune is given and cannot save.

    Tune pickles its searcher, stopper and callbacks, so that a run can be restored from them. A study is restored from
    its results instead, and these hold a store, a screen and what else cannot be pickled. Each is pickled as
    ``saved_as``, a class of Tune's that does nothing.
    """

    saved_as: Callable[[], Any]

    def __reduce__(self) -> Any:
        return type(self).saved_as, ()


class TrialSearcher(NotSaved, Searcher):
    """Hands Tune the trials to try, one when it asks."""

    saved_as = Searcher

    def __init__(self, trials: Iterator[Trial | None]):
        super().__init__()
        self.trials = trials
        self.given: dict[str, Trial] = {}
        self.began: dict[str, datetime.datetime] = {}
        self.refused = -math.inf  # when there was nothing to try, in seconds of a clock that runs forward
        self.at_once = 1  # what waits here for its turn might run elsewhere
        self.waits: Callable[[], None] = lambda: None  # is told when others run all that is left

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
        pass  # `StudyCallback` is told

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class StopOnWriteError(NotSaved, tune.Stopper):
    """Ends everything once results cannot be written."""

    saved_as = tune.stopper.NoopStopper

    def __init__(self, callback: StudyCallback):
        self.callback = callback

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.callback.write_error is not None


class StudyCallback(NotSaved, tune.Callback):
    """Passes Tune's events on to a `StudyObserver` and to the search, and gives a trial its row whose worker could not:
    one that was stopped early, or whose process died.

    finished: the trials that have ended, by trial_id, to which it adds. share: this driver's part of the study.
    workers: trials at a time, if that is said. grows: whether the cluster may get more nodes.
    """

    saved_as = tune.Callback

    def __init__(
        self,
        study: Study,
        store: Store,
        observer: StudyObserver,
        searcher: TrialSearcher,
        finished: dict[str, FinishedTrial],
        share: Share,
        workers: int | None = None,
        grows: bool = False,
    ):
        self.study, self.store, self.observer, self.searcher = study, store, observer, searcher
        self.finished, self.share, self.workers, self.grows = finished, share, workers, grows
        searcher.waits = observer.waits
        self.write_error: str | None = None
        self.looked = -math.inf

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        ours = self.searcher.given[trial.trial_id]
        if result["status"] == "running":
            if "step" not in result:
                self.observer.progressed(ours, result["fraction"])
        elif result["status"] == "unwritten":
            self.write_error = result["error"]
        else:
            self._ended(ours, FinishedTrial(point=ours.varied, **result["ended"]))

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        if sentence := ray_internals.dead_server():
            raise RayLost(sentence)

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        self.look(heartbeat.EVERY)  # also while no trial has anything to say

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        ours, last = self.searcher.given.pop(trial.trial_id), trial.last_result
        ray_internals.forget_metrics(trial)
        if self.study.early_stopping and not self.write_error and last.get("status") == "running" and "step" in last:
            self._stopped(ours, last)

    def _stopped(self, trial: Trial, last: dict[str, Any]) -> None:
        """Gives a trial its row that early stopping has ended at its ``last`` report."""
        stopping = self.study.early_stopping
        assert stopping is not None
        # to be stopped is to have done badly: a search after the same learns what was measured last
        same = self.study.search.objectives == [stopping.metric]
        objectives = (last["objective"],) if same and math.isfinite(last["objective"]) else None
        row = {"status": "stopped", "stopped_phase": last["phase"], "stopped_step": last["step"]}
        row |= {"objectives": objectives}
        self._write(trial, row, lambda: self._measured(trial))
        forget(self.store, trial.trial_id)
        sentence = f"stopped at step {last['step']} of {last['phase']}"
        final = (stopping.metric.rpartition(".")[2], last["objective"])
        self._ended(trial, FinishedTrial("stopped", trial.varied, objectives, sentence, final))

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        cause = deaths.cause_of_death(ray_internals.last_failure(trial))
        if cause in deaths.NO_DEATHS:
            return
        partial = f"{PARTIAL}/{self.searcher.given[trial.trial_id].trial_id}"
        place = deaths.checkpoint_digest(self.store, partial)
        noted = [*deaths.noted_deaths(self.store, partial), (cause, place)][-deaths.DEATHS :]
        with contextlib.suppress(OSError):  # then it has one more attempt
            self.store.put(f"{partial}.json", json.dumps({"deaths": noted}).encode())
        if deaths.why_given_up(noted, place):  # the next worker says so, unless it, too, dies before
            ray_internals.give_up(trial)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        ours = self.searcher.given.pop(trial.trial_id)
        partial, failure = f"{PARTIAL}/{ours.trial_id}", ray_internals.last_failure(trial)
        noted = deaths.noted_deaths(self.store, partial)
        summary = deaths.why_given_up(noted, deaths.checkpoint_digest(self.store, partial))
        if summary is None:
            number, cause = ray_internals.number_of_failures(trial), deaths.cause_of_death(failure)
            summary = f"its process died{f' {number} times' if number else ''}, the last time: {cause}"
        row = {"status": "failed", "error": f"{failure}\n{summary}".strip()}
        self._write(ours, row, lambda: columns.measured(ours.trial_id, []))
        with contextlib.suppress(OSError):
            self.store.remove(f"{partial}.json")
        self._ended(ours, FinishedTrial("failed", ours.varied, error=summary))

    def _measured(self, trial: Trial) -> Any:
        """What a trial that was stopped had measured."""
        with contextlib.suppress(FileNotFoundError):
            return parts.decode(self.store.read(f"{PARTIAL}/{trial.trial_id}.parquet"), "measurements")
        return columns.measured(trial.trial_id, [])

    def _write(self, trial: Trial, outcome: dict[str, Any], measurements: Callable[[], Any]) -> None:
        row = known_columns(trial, self.study, provenance.of_software()) | outcome
        row |= {"started": self.searcher.began.get(trial.trial_id)}  # by which one attempt is told from another
        try:
            schema = columns.trials_schema(self.study)
            publishing.publish(self.store, schema, row, measurements(), final=self.study.adaptive)
        except (OSError, ResultsError, PartError) as error:
            self.write_error = damage.reason(error)

    def _ended(self, trial: Trial, ended: FinishedTrial) -> None:
        self.finished[trial.trial_id] = ended
        with contextlib.suppress(OSError):  # it has its row, by which others know
            self.share.done(trial.trial_id)
        self.observer.finished(trial, ended)

    def look(self, every: float) -> None:
        """Looks what there is to run on, as nodes come and go, and what the other drivers have done."""
        if time.monotonic() - self.looked < every:
            return
        self.looked = time.monotonic()
        available = ray.cluster_resources()
        self.observer.resources(available.get("CPU", 0), available.get("GPU", 0))
        asked = {"CPU": self.study.resources.cpus_per_trial, "GPU": self.study.resources.gpus_per_trial}
        fit = min(int(available.get(kind, 0) / number + 1e-9) for kind, number in asked.items() if number)
        # a cluster grows where something waits for it
        self.searcher.at_once = max(1, min(fit + self.grows, self.workers or fit + 1))
        with contextlib.suppress(OSError, ResultsError):
            self.share.look(LOOK_EVERY)
