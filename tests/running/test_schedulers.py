"""The schedulers that stop trials early, told what trials report."""

import itertools
import math
import random
from dataclasses import dataclass

import pytest

from metafa.running import schedulers
from metafa.studies.settings import EarlyStoppingSettings

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
        chance, scheduler = random.Random(seed), schedulers.scheduler(stopping)
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
    scheduler, stopped = schedulers.scheduler(stopping), set()
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
        scheduler, stopped = schedulers.scheduler(stopping), set()
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
