"""Workers below Ray: real trials, whose reports the schedulers of real studies judge."""

import contextlib
import itertools
import json
from dataclasses import dataclass

import pytest
from test_schedulers import RULES, Tried, told

from metafa.results import addresses, continuing, leases, preparation, tables
from metafa.running import events, proposals, schedulers, sharing, tune_callbacks, worker
from metafa.studies import study
from metafa.trials import recording, trial

TOO_LARGE = "[1, 1_000_000, 1_000_000]"  # for any memory


def text(
    rates: str, steps: str, method: str, hidden: str = "[8]", grace_period: int = 1, checkpoint_seconds: float = 60.0
) -> str:
    """A study of all combinations of these settings, each of them choices in TOML."""
    return f"""\
seeds = 2
[network]
hidden = {{ choices = [{hidden}] }}
[[phases]]
phase = "supervised"
dataset = "digits"
training_images = 200
steps = {{ choices = [{steps}] }}
optimizer = "sgd"
learning_rate = {{ choices = [{rates}] }}
[measure]
points = 4
[early_stopping]
method = "{method}"
metric = "supervised.loss"
grace_period = {grace_period}
[resources]
checkpoint_seconds = {checkpoint_seconds}
"""


class Stopped(BaseException):
    """A trial is stopped, as Tune ends the process that asks it for the next report."""


class Observer:
    def __init__(self) -> None:
        self.ended: dict[str, events.FinishedTrial] = {}

    def progressed(self, one, fraction) -> None:
        pass

    def resources(self, cpus, gpus) -> None:
        pass

    def waits(self) -> None:
        pass

    def finished(self, one, ended) -> None:
        assert one.trial_id not in self.ended
        self.ended[one.trial_id] = ended


@dataclass(eq=False)
class Tuned(Tried):
    last_result: dict
    run_metadata: object


class Metadata:
    def __init__(self) -> None:
        self.metric_analysis, self.metric_n_steps = {}, {}

    def invalidate_cache(self) -> None:
        pass


def run(checked: study.Study, folder, monkeypatch: pytest.MonkeyPatch):
    """Runs a study as one worker does, trial after trial, under its scheduler and the callback to its results."""
    place = addresses.at(str(folder))
    preparation.prepare(place, checked)
    monkeypatch.setattr(tune_callbacks.ray, "cluster_resources", dict)
    fitting = [one.settings for one in checked.trials]
    monkeypatch.setitem(worker._prepared, "images", trial.prepared(trial.load_sources(*fitting)))
    observer, scheduler = Observer(), schedulers.scheduler(checked.early_stopping)
    known = events.finished_trials(continuing.continued_rows(place))
    share = sharing.Share(leases.Driver(place), checked, known, {})
    searcher = tune_callbacks.TrialSearcher(proposals.to_try(checked, known, share))
    callback = tune_callbacks.StudyCallback(checked, place, observer, searcher, known, share)
    task = worker.Task(checked, str(folder), {})
    for number in itertools.count():
        one = Tuned(str(number), {}, Metadata())
        config = searcher.suggest(one.trial_id)
        if not isinstance(config, dict):
            break
        scheduler.on_trial_add(None, one)

        def report(result: dict, one: Tuned = one) -> None:
            one.last_result = result
            callback.on_trial_result(0, [], one, result)
            if told(scheduler, one, result):
                raise Stopped

        with contextlib.suppress(Stopped):
            worker.run_trial(task, json.loads(config["point"]), "images", report)
        scheduler.on_trial_complete(None, one, one.last_result)
        callback.on_trial_complete(0, [], one)
    assert callback.write_error is None
    return observer, tables.load(str(folder))


GOOD, BAD, BROKEN = "1e-2, 2e-2, 5e-3, 4e-2", "1e-9, 2e-9, 3e-9", "3.3e38, 3.4e38"


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize(
    ("rates", "steps", "expected"),
    [
        (f"{GOOD}, {BAD}, {BROKEN}", "40", {"done", "stopped", "diverged", "failed"}),
        (f"{BROKEN}, {GOOD}, {BAD}", "40, 1, 0", {"done", "stopped", "diverged", "failed"}),
        (BROKEN, "40", {"diverged", "failed"}),
        (GOOD, "1, 0", {"done", "failed"}),
    ],
)
def test_every_mixture_of_outcomes_ends_in_its_rows(
    rates: str, steps: str, expected: set[str], method: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Done, diverged before it was judged or after, stopped, failed, too short to be judged: each has its row and its
    measurements, those that were stopped up to a step at which all are judged."""
    checked = study.parse(text(rates, steps, method, hidden=f"[8], {TOO_LARGE}", grace_period=4))
    observer, (trials, measurements) = run(checked, tmp_path / "results", monkeypatch)
    assert len(trials) == len(observer.ended) == len(checked.trials)
    assert set(trials["status"]) == expected
    assert dict(zip(trials["trial_id"], trials["status"], strict=True)) == {
        trial_id: ended.status for trial_id, ended in observer.ended.items()
    }
    judged = checked.early_stopping.judged_steps("supervised", 40)
    for one in trials[trials["status"] == "stopped"].itertuples():
        assert one.stopped_step in judged
        moments = {step for step in recording.measuring_steps(40, 4) if step <= one.stopped_step}
        assert set(measurements.loc[measurements["trial_id"] == one.trial_id, "step"]) == moments
    broken = trials[trials["supervised.learning_rate"].isin([3.3e38, 3.4e38])]
    assert "stopped" not in set(broken["status"])


def test_a_trial_that_goes_on_tells_a_new_scheduler_what_it_was_judged_by(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after step 192 and begun again from its checkpoint there, as the next `metafa run` does, it reports
    what it did before, and what it would have."""
    checked = study.parse(text("1e-3", "300", "median", checkpoint_seconds=1e-6))
    monkeypatch.setitem(worker._prepared, "images", trial.prepared(trial.load_sources(checked.trials[0].settings)))

    def reports(folder, until: int | None = None) -> dict[int, float]:
        preparation.prepare(addresses.at(str(folder)), checked)
        found: dict[int, float] = {}

        def report(result: dict) -> None:
            if result.get("step") == until is not None:
                raise Stopped
            if "step" in result:
                found[result["step"]] = result["objective"]

        with contextlib.suppress(Stopped):
            worker.run_trial(worker.Task(checked, str(folder), {}), checked.trials[0].varied, "images", report)
        return found

    whole = reports(tmp_path / "whole")
    assert list(whole) == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert list(reports(tmp_path / "again", until=256)) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert reports(tmp_path / "again") == whole
