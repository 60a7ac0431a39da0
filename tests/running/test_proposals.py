"""Which trials are run next: batches, what runs meanwhile, spaces that are exhausted, points that do not fit."""

import contextlib
import tomllib
from typing import Any

import pytest
from study_texts import study_with

from metafa.running import proposals
from metafa.running.events import FinishedTrial
from metafa.studies import study
from metafa.studies.trial import Trial


class Alone:
    """A driver that has a study for itself."""

    def __init__(self, ended: dict[str, FinishedTrial]):
        self.ended, self.taken = ended, dict[str, Any]()

    def take(self, trial: Trial) -> bool:
        free = trial.trial_id not in self.taken
        self.taken[trial.trial_id] = trial.varied
        return free

    def running(self) -> dict[str, Any]:
        return {trial_id: point for trial_id, point in self.taken.items() if trial_id not in self.ended}

    def proposing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


TEXT = """\
seeds = 1
[network]
hidden = { choices = [[4], [8]] }
[[phases]]
phase = "noise"
steps = { low = 0, high = 1000 }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
[search]
method = "tpe"
trials = 6
batch = 3
objectives = ["evaluate.meta_loss"]
"""


def test_a_batch_waits_for_the_one_before() -> None:
    checked, ended = study.parse(TEXT), {}
    trials = proposals.to_try(checked, ended, Alone(ended))
    first = [next(trials) for _ in range(3)]
    assert len({trial.trial_id for trial in first}) == 3
    for trial in first:
        assert next(trials) is None
        ended[trial.trial_id] = FinishedTrial("done", trial.varied, (1.0,))
    assert next(trials) is not None


def test_a_search_goes_on_whatever_of_a_batch_is_done() -> None:
    """Some of the first batch done, one failed: the rest of it, then the second as it would have been."""
    checked = study.parse(TEXT)

    def follow(ended: dict[str, FinishedTrial]) -> list[str]:
        tried = []
        for trial in proposals.to_try(checked, ended, Alone(ended)):
            assert trial is not None
            tried.append(trial.trial_id)
            value = None if len(trial.settings.network.hidden) == 0 else (float(trial.varied["noise.steps"]),)
            ended[trial.trial_id] = FinishedTrial("done", trial.varied, value)
        return tried

    ended: dict[str, FinishedTrial] = {}
    whole = follow(ended)
    assert len(whole) == 6
    for done in range(1, 6):
        assert follow({trial_id: ended[trial_id] for trial_id in whole[:done]}) == whole[done:]
    # what failed teaches nothing and is not tried again; what follows may differ
    failed = {whole[0]: FinishedTrial("failed", ended[whole[0]].point)}
    again = follow(dict(failed))
    assert again[:2] == whole[1:3]
    assert whole[0] not in again


def test_an_asynchronous_search_never_waits_and_tries_nothing_twice() -> None:
    checked, ended = study.parse(TEXT + "synchronous = false\n"), {}
    tried = [trial for trial in proposals.to_try(checked, ended, Alone(ended)) if trial]
    assert len({trial.trial_id for trial in tried}) == len(tried) == 6
    # stopped when some had ended, not the first ones: as many trials all the same
    for through in ([0], [1], [0, 2], [2, 3, 5]):
        ended = {tried[i].trial_id: FinishedTrial("done", tried[i].varied, (1.0,)) for i in through}
        left = {trial.trial_id for trial in proposals.to_try(checked, ended, Alone(ended)) if trial}
        assert len(left | ended.keys()) == 6
    # there are but two
    small = study.parse(study_with(tomllib.loads(TEXT), noise={"steps": 10}, search={"synchronous": False}))
    assert len({trial.trial_id for trial in proposals.to_try(small, {}, Alone({})) if trial}) == 2


SMALL = """\
seeds = 1
[[phases]]
phase = "noise"
steps = {steps}
batch_size = {{ low = 8, high = 9 }}
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
[search]
method = "{method}"
trials = 12
batch = 4
synchronous = {synchronous}
objectives = ["evaluate.meta_loss"]
"""
SEARCHES = [("tpe", True), ("cmaes", True), ("nsgaii", True), ("tpe", False)]
SPACES_OF = [("1", 2), ("{ low = 1, high = 4 }", 8), ("{ low = 1, high = 8 }", 12)]


def follow(checked: study.Study, ended: dict[str, FinishedTrial]) -> list[str]:
    """The trials that a search runs, by trial_id, each of which ends at once."""
    found = []
    for trial in proposals.to_try(checked, ended, Alone(ended)):
        if trial is not None:
            found.append(trial.trial_id)
            ended[trial.trial_id] = FinishedTrial("done", trial.varied, (float(sum(trial.varied.values())),))
    return found


@pytest.mark.parametrize(
    ("method", "synchronous", "steps", "there_are"),
    [(*how, *space) for how in SEARCHES for space in SPACES_OF] + [("gp", True, "1", 2), ("gp", False, "1", 2)],
)
def test_a_search_ends_with_what_its_space_has(method: str, synchronous: bool, steps: str, there_are: int) -> None:
    """Whatever it proposes again: each point once, and as many trials as are asked for, or all; then it is done."""
    checked = study.parse(SMALL.format(steps=steps, method=method, synchronous=str(synchronous).lower()))
    assert checked.total == there_are
    assert (checked.fewer == "") == (there_are == 12)
    ended: dict[str, FinishedTrial] = {}
    found = follow(checked, ended)
    assert len(set(found)) == len(found) == there_are
    assert follow(checked, ended) == []
    for through in (1, there_are - 1):
        left = {id_: ended[id_] for id_ in found[:through]}
        assert len({*follow(checked, left), *found[:through]}) == there_are


MISFITS = """\
seeds = 1
[[phases]]
phase = "supervised"
dataset = "digits"
steps = {steps}
training_images = {{ choices = {images} }}
batch_size = {{ choices = {batches} }}
[search]
method = "{method}"
trials = 6
batch = 4
synchronous = {synchronous}
objectives = ["supervised.loss"]
"""


@pytest.mark.parametrize(("method", "synchronous"), [("tpe", True), ("nsgaii", True), ("tpe", False)])
def test_points_that_do_not_fit_take_no_trials_place(method: str, synchronous: bool) -> None:
    """A training set smaller than a batch fits nowhere."""
    many = {"images": [1000, 70, 71, 72, 73], "batches": [64, 80, 81, 82, 83]}  # 9 of 25 fit
    two = {"images": [1000, 70], "batches": [64, 80]}  # 3 of 4
    for steps, sizes, there_are in (("1", many, 6), ("{ low = 1, high = 100_000 }", many, 6), ("1", two, 3)):
        checked = study.parse(MISFITS.format(steps=steps, method=method, synchronous=str(synchronous).lower(), **sizes))
        assert checked.total == there_are
        ended: dict[str, FinishedTrial] = {}
        for trial in proposals.to_try(checked, ended, Alone(ended)):
            if trial is not None:
                ended[trial.trial_id] = FinishedTrial("done", trial.varied, (1.0,))
        assert len(ended) == there_are
        assert list(proposals.to_try(checked, ended, Alone(ended))) == []
