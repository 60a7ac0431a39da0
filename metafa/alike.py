"""Which trials of a study are the same in other words: by facts of what settings do, each stated once, in `FACTS`.

Compared, such trials count as several, in Holm's correction too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from metafa.settings import (
    EvaluatePhase,
    MetaPhase,
    NoisePhase,
    Settings,
    SupervisedPhase,
    TaskSettings,
    TrialSettings,
)
from metafa.study import Study

Changes = Iterator[tuple[str, dict[str, Any]]]  # where, and settings that would compute the same there


class Fact(NamedTuple):
    """What is the same, in a sentence; and of a trial's settings, those that stand for all that compute the same:
    changes of its `network`, or of a phase by its name."""

    sentence: str
    changes: Callable[[TrialSettings], Changes]


def _of_network(applies: Callable[[TrialSettings], bool], **instead: Any) -> Callable[[TrialSettings], Changes]:
    def changes(trial: TrialSettings) -> Changes:
        if applies(trial):
            yield "network", instead

    return changes


def _of_phases(
    kind: type[Settings], applies: Callable[[TrialSettings, Any], bool], *without_effect: str, **instead: Any
) -> Callable[[TrialSettings], Changes]:
    """Settings that have no effect are as good as at their defaults; a list of learning rates is more replicas."""

    def changes(trial: TrialSettings) -> Changes:
        for phase in trial.phases:
            if isinstance(phase, kind) and applies(trial, phase):
                defaults = {
                    name: type(phase).model_fields[name].default
                    for name in without_effect
                    if not isinstance(getattr(phase, name), list)
                }
                yield phase.name, defaults | instead

    return changes


def _first_noise(trial: TrialSettings) -> str:
    return next(phase.name for phase in trial.phases if isinstance(phase, NoisePhase))


def _trains_nothing(trial: TrialSettings, phase: MetaPhase) -> bool:
    return (phase.iterations == 0 or phase.outer_algorithm == "none") and not phase.learn_inner_rates


OF_TRAINING = ("batch_size", "optimizer", "learning_rate", "weight_decay")
OF_NOISE = ("inputs", "mean", "standard_deviation")
FACTS = (
    Fact(
        "with one hidden layer direct_feedback_alignment is feedback_alignment",
        _of_network(
            lambda trial: trial.network.rule == "direct_feedback_alignment" and len(trial.network.hidden) == 1,
            rule="feedback_alignment",
        ),
    ),
    Fact(
        "without tasks nested_kolen_pollack is kolen_pollack",
        _of_network(
            lambda trial: (
                trial.network.rule == "nested_kolen_pollack"
                and not any(isinstance(phase, TaskSettings) for phase in trial.phases)
            ),
            rule="kolen_pollack",
        ),
    ),
    Fact(
        "mirror_learning_rate and mirror_batch_size are for the rule weight_mirror alone",
        _of_network(
            lambda trial: trial.network.rule != "weight_mirror", mirror_learning_rate=0.02, mirror_batch_size=64
        ),
    ),
    Fact(
        "the feedback of sign_symmetry_uniform is of one size, whatever the feedback_distribution",
        _of_network(lambda trial: trial.network.rule == "sign_symmetry_uniform", feedback_distribution="normal"),
    ),
    Fact(
        "backprop sends no error by feedback, which but for the alignment angle tells nothing",
        _of_network(lambda trial: trial.network.rule == "backprop", feedback_distribution="normal", feedback_scale=1.0),
    ),
    Fact(
        "a noise phase of 0 steps has no learning rate and nothing else of training",
        _of_phases(NoisePhase, lambda trial, phase: phase.steps == 0, *OF_TRAINING, "labels"),
    ),
    Fact(  # the first phase's inputs are those that the readout on noise is measured on
        "a second noise phase of 0 steps has no inputs",
        _of_phases(NoisePhase, lambda trial, phase: phase.steps == 0 and phase.name != _first_noise(trial), *OF_NOISE),
    ),
    Fact(
        "a supervised phase of 0 steps has no learning rate and nothing else of training",
        _of_phases(
            SupervisedPhase, lambda trial, phase: 0 in (phase.steps, phase.epochs), *OF_TRAINING, steps=0, epochs=None
        ),
    ),
    Fact(
        'a meta phase of 0 iterations is one of outer_algorithm = "none"',
        _of_phases(
            MetaPhase,
            _trains_nothing,
            *("inner_steps", "inner_learning_rate", "tasks_per_batch", "outer_rule", "outer_optimizer"),
            *("outer_learning_rate", "outer_momentum", "outer_schedule", "outer_weight_decay"),
            outer_algorithm="none",
            iterations=0,
        ),
    ),
    Fact(
        "outer_rule is for first_order alone, and is the same for backprop",
        _of_phases(
            MetaPhase,
            lambda trial, phase: phase.outer_algorithm != "first_order" or trial.network.rule == "backprop",
            "outer_rule",
        ),
    ),
    Fact(
        "an inner loop of 0 steps has no learning rate",
        _of_phases(
            TaskSettings,
            lambda trial, phase: phase.inner_steps == 0,
            "inner_learning_rate",
        ),
    ),
    Fact(
        "where nothing adapts, it is the same which layers do",
        _of_phases(EvaluatePhase, lambda trial, phase: phase.inner_steps == 0, "adapted_layers"),
    ),
)


def sentences(study: Study) -> list[str]:
    """What a study compares with itself, a sentence for each of `FACTS` by which trials of it are the same."""
    trials = [trial.settings for trial in study.trials] or list(study.examples)
    said = [trial.model_dump() for trial in trials]
    known, found = [_key(one) for one in said], []
    for fact in FACTS:
        before, touched = len(set(known)), []
        for number, trial in enumerate(trials):
            for place, instead in fact.changes(trial):
                table = said[number]["network"] if place == "network" else _phase(said[number], place)
                if any(table[name] != value for name, value in instead.items()):
                    table |= instead
                    touched.append(number)
        for number in touched:
            known[number] = _key(said[number])
        if fewer := before - len(set(known)):
            what = "1 trial repeats another" if fewer == 1 else f"{fewer} trials repeat others"
            found.append(
                f"{what} under other names, and would count twice where conditions are compared: {fact.sentence}"
            )
    return found


def _phase(said: dict[str, Any], name: str) -> dict[str, Any]:
    return next(phase for phase in said["phases"] if phase["name"] == name)


def _key(said: dict[str, Any]) -> str:
    return json.dumps(said, sort_keys=True)
