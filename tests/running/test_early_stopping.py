"""Early stopping below Ray: the schedulers of real sweeps, told what real trials report."""

import contextlib
import itertools
import json
import math
import random
from dataclasses import dataclass

import pytest

from metafa.results import addresses, continuing, leases, preparation, tables
from metafa.running import proposals, sharing, sweep
from metafa.studies import study
from metafa.studies.settings import EarlyStoppingSettings
from metafa.trials import recording, trial

RULES = ["asha", "median"]


@dataclass(eq=False)
class Tried:
    """A trial as Tune's schedulers know it."""

    trial_id: str


def told(scheduler, one: Tried, result: dict) -> bool:
    """Whether the scheduler stops a trial that reports this."""
    return scheduler.on_trial_result(None, one, result) == "STOP"


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize(
    "curve",
    [lambda step: 2 / step, lambda step: math.log(step), lambda step: math.sin(step), lambda step: 1.0],
    ids=["falling", "rising", "waves", "constant"],
)
def test_of_one_curve_for_all_no_length_is_stopped(curve, method: str, direction: str) -> None:
    """Trials of 50 and of 1,000 steps, in whatever order they report, and whichever were interrupted."""
    stopping = EarlyStoppingSettings(method=method, metric="meta.loss", direction=direction, grace_period=3)
    for seed in range(5):
        chance, scheduler = random.Random(seed), sweep._scheduler(stopping)
        trials = [(Tried(f"{length}-{i}"), length) for length in (50, 1000, 2) for i in range(8)]
        left = {one: sorted(stopping.judged_steps("meta", length)) for one, length in trials}
        again = {one: list(steps) for one, steps in left.items()}
        for one in left:
            scheduler.on_trial_add(None, one)
        while left:
            one = chance.choice(list(left))
            if not left[one]:
                scheduler.on_trial_complete(None, one, {"status": "done", "fraction": 1.0})
                del left[one]
            elif chance.random() < 0.1:
                left[one] = list(again[one])  # its process died, and it reports again
            else:
                step = left[one].pop(0)
                assert not told(scheduler, one, {"step": step, "objective": curve(step)}), (one, step)


@pytest.mark.parametrize("method", RULES)
def test_what_does_worse_is_stopped_whatever_its_length(method: str) -> None:
    stopping = EarlyStoppingSettings(method=method, metric="meta.loss", reduction_factor=2.0)
    scheduler, stopped = sweep._scheduler(stopping), set()
    trials = [(Tried(f"{offset}-{length}-{i}"), length, offset) for length, offset, i in itertools.product(
        (50, 1000), (0.0, 1.0), range(4))]  # fmt: skip
    for one, *_ in trials:
        scheduler.on_trial_add(None, one)
    for step in sorted(stopping.judged_steps("meta", 1000)):
        for one, length, offset in trials:
            if one not in stopped and step < length and told(scheduler, one, {"step": step, "objective": offset}):
                stopped.add(one)
    assert {one.trial_id[0] for one in stopped} == {"1"}
    assert {one.trial_id.split("-")[1] for one in stopped} == {"50", "1000"}


@pytest.mark.parametrize("diverged", [1, 3, 5, 8])
@pytest.mark.parametrize("method", RULES)
def test_what_diverges_is_the_worst_and_stops_nobody_else(method: str, diverged: int) -> None:
    """However many of 8 do, whether they report before the others or after them."""
    stopping = EarlyStoppingSettings(method=method, metric="meta.loss")
    for last in (False, True):
        scheduler, stopped = sweep._scheduler(stopping), set()
        trials = [(Tried(str(i)), i < diverged) for i in range(8)]
        for one, _ in trials:
            scheduler.on_trial_add(None, one)
        for step in sorted(stopping.judged_steps("meta", 100)):
            for one, broken in trials[:: -1 if last else 1]:
                result = {"step": step, "objective": math.inf if broken else 1.0}
                if one not in stopped and told(scheduler, one, result):
                    stopped.add(one)
        assert stopped <= {one for one, broken in trials if broken}
        assert stopped or not last or diverged > 5


STUDY = """\
seeds = 2
[network]
hidden = { choices = [[8], [1_000_000, 1_000_000]] }
[[phases]]
phase = "supervised"
dataset = "digits"
training_images = 200
steps = { choices = STEPS }
optimizer = "sgd"
learning_rate = { choices = RATES }
[measure]
points = 4
[early_stopping]
method = "METHOD"
metric = "supervised.loss"
"""


class Stopped(BaseException):
    """A trial is stopped, as Tune ends the process that asks it for the next report."""


class Watcher:
    def __init__(self) -> None:
        self.ended: dict[str, sweep.Ended] = {}

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
    """Runs a study as one worker does, trial after trial, under its scheduler and the bridge to its results."""
    place = addresses.at(str(folder))
    preparation.prepare(place, checked)
    monkeypatch.setattr(sweep.ray, "cluster_resources", dict)
    fitting = [one.settings for one in checked.trials]
    monkeypatch.setitem(sweep._ready, "images", trial.prepared(trial.load_sources(*fitting)))
    watcher, scheduler = Watcher(), sweep._scheduler(checked.early_stopping)
    known = proposals.known_trials(continuing.continued_rows(place))
    share = sharing.Share(leases.Driver(place), checked, known, {})
    tries = sweep._Tries(proposals.to_try(checked, known, share))
    bridge = sweep._Bridge(checked, place, watcher, tries, known, share)
    task = sweep._Task(checked, str(folder), {})
    for number in itertools.count():
        one = Tuned(str(number), {}, Metadata())
        config = tries.suggest(one.trial_id)
        if not isinstance(config, dict):
            break
        scheduler.on_trial_add(None, one)

        def report(result: dict, one: Tuned = one) -> None:
            one.last_result = result
            bridge.on_trial_result(0, [], one, result)
            if told(scheduler, one, result):
                raise Stopped

        with contextlib.suppress(Stopped):
            sweep._run_trial(task, json.loads(config["point"]), "images", report)
        scheduler.on_trial_complete(None, one, one.last_result)
        bridge.on_trial_complete(0, [], one)
    assert bridge.unwritten is None
    return watcher, tables.load(str(folder))


GOOD, BAD, BROKEN = "1e-2, 2e-2, 5e-3, 4e-2", "1e-9, 2e-9, 3e-9", "3.3e38, 3.4e38"


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize(
    ("rates", "steps", "expected"),
    [
        (f"{GOOD}, {BAD}, {BROKEN}", "[40]", {"done", "stopped", "diverged", "failed"}),
        (f"{BROKEN}, {GOOD}, {BAD}", "[40, 1, 0]", {"done", "stopped", "diverged", "failed"}),
        (BROKEN, "[40]", {"diverged", "failed"}),
        (GOOD, "[1, 0]", {"done", "failed"}),
    ],
)
def test_every_mixture_of_outcomes_ends_in_its_rows(
    rates: str, steps: str, expected: set[str], method: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Done, diverged before it was judged or after, stopped, failed, too short to be judged: each has its row and its
    measurements, those that were stopped up to a step at which all are judged."""
    text = STUDY.replace("RATES", f"[{rates}]").replace("STEPS", steps).replace("METHOD", method)
    checked = study.parse(text + "grace_period = 4\n")
    watcher, (trials, measurements) = run(checked, tmp_path / "results", monkeypatch)
    assert len(trials) == len(watcher.ended) == len(checked.trials)
    assert set(trials["status"]) == expected
    assert dict(zip(trials["trial_id"], trials["status"], strict=True)) == {
        trial_id: ended.status for trial_id, ended in watcher.ended.items()
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
    text = STUDY.replace(", [1_000_000, 1_000_000]", "").replace("RATES", "[1e-3]").replace("METHOD", "median")
    checked = study.parse(text.replace("STEPS", "[300]") + "[resources]\ncheckpoint_seconds = 1e-6\n")
    monkeypatch.setitem(sweep._ready, "images", trial.prepared(trial.load_sources(checked.trials[0].settings)))

    def reports(folder, until: int | None = None) -> dict[int, float]:
        preparation.prepare(addresses.at(str(folder)), checked)
        found: dict[int, float] = {}

        def report(result: dict) -> None:
            if result.get("step") == until is not None:
                raise Stopped
            if "step" in result:
                found[result["step"]] = result["objective"]

        with contextlib.suppress(Stopped):
            sweep._run_trial(sweep._Task(checked, str(folder), {}), checked.trials[0].varied, "images", report)
        return found

    whole = reports(tmp_path / "whole")
    assert list(whole) == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert list(reports(tmp_path / "again", until=256)) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert reports(tmp_path / "again") == whole
