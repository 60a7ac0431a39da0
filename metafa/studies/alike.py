"""Which trials of a study are the same in other words: by facts of what settings do, each stated once, in `FACTS`.

Compared, such trials count as several, in Holm's correction too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from metafa.learning.kinds import NOISE_INPUTS, OUTER_ALGORITHMS
from metafa.learning.rules import FIXED, KOLEN_POLLACK, REDRAWN, RULES, Rule
from metafa.studies.fields import Settings
from metafa.studies.phases import EvaluatePhase, MetaPhase, NoisePhase, SupervisedPhase
from metafa.studies.settings import NetworkSettings, TrialSettings
from metafa.studies.study import Study
from metafa.studies.task_phases import TaskSettings
from metafa.studies.training_settings import TrainingSettings


class Around(NamedTuple):
    """What of a trial decides, beside a table of settings itself, which of these have an effect."""

    rule: str
    has_tasks: bool
    first_noise: str | None


class Fact(NamedTuple):
    """What is the same, in a sentence: where it ``applies`` to a table of a ``kind``, a network or a phase,
    settings are ``without_effect``, and as good as at their defaults, or may be called otherwise, ``instead``, or, for
    a network, as the ``other`` rule there is called."""

    sentence: str
    kind: type[Settings]
    applies: Callable[[Around, Any], bool]
    without_effect: tuple[str, ...] = ()
    instead: Mapping[str, Any] = MappingProxyType({})
    other: Callable[[Rule], str | None] = lambda rule: None

    def changes(self, around: Around, table: Settings) -> dict[str, Any]:
        """Settings that would compute the same there. A list of learning rates is more replicas."""
        if not isinstance(table, self.kind) or not self.applies(around, table):
            return {}
        free = [name for name in self.without_effect if not isinstance(getattr(table, name), list)]
        found = {name: type(table).model_fields[name].default for name in free} | dict(self.instead)
        if isinstance(table, NetworkSettings) and (name := self.other(RULES[table.rule])):
            found["rule"] = name
        return found


def _called(rule: Rule, **changes: Any) -> str | None:
    """The first of the rules that do what ``rule`` would with these ``changes``."""
    wanted = dataclasses.replace(rule, **changes, source="")
    return next((name for name, row in RULES.items() if dataclasses.replace(row, source="") == wanted), None)


def _trains_nothing(around: Around, phase: MetaPhase) -> bool:
    return not phase.has_steps and not phase.learn_inner_rates


OF_CONVERGENCE = ("converged_interval", "converged_patience", "converged_change")
OF_TRAINING = (
    *("batch_size", "optimizer", "learning_rate", "weight_decay"),
    *("momentum", "schedule", "gradient_clipping", "l2_penalty", "converged_metric", *OF_CONVERGENCE),
)
OF_NOISE = ("inputs", "dataset", "mean", "standard_deviation")
FACTS = (
    Fact(
        "with one hidden layer errors go straight from the outputs under every rule: direct_feedback_alignment is "
        "feedback_alignment",
        NetworkSettings,
        lambda around, network: RULES[network.rule].route == "direct" and len(network.hidden_units) == 1,
        other=lambda rule: _called(rule, route="layered"),
    ),
    Fact(
        "without tasks nothing learns within them: nested_kolen_pollack is kolen_pollack",
        NetworkSettings,
        lambda around, network: RULES[network.rule].nested and not around.has_tasks,
        other=lambda rule: _called(rule, nested=False),
    ),
    Fact(
        "mirror_learning_rate and mirror_batch_size are for feedback that mirrors the weights, as in weight_mirror",
        NetworkSettings,
        lambda around, network: (
            RULES[network.rule].learning in (FIXED, REDRAWN, KOLEN_POLLACK) and RULES[network.rule].signals is None
        ),
        ("mirror_learning_rate", "mirror_batch_size"),
    ),
    Fact(
        "feedback of one size, as in sign_symmetry_uniform, is the same whatever the feedback_distribution",
        NetworkSettings,
        lambda around, network: RULES[network.rule].magnitudes == "constant" and RULES[network.rule].signals is None,
        ("feedback_distribution",),
    ),
    Fact(
        "backprop sends no error by feedback, which but for the alignment angle and the distance from it tells nothing",
        NetworkSettings,
        lambda around, network: not RULES[network.rule].reads_feedback and RULES[network.rule].signals is None,
        ("feedback_distribution", "feedback_scale"),
    ),
    Fact(
        "groups are those of group normalization",
        NetworkSettings,
        lambda around, network: network.normalization != "group",
        ("groups",),
    ),
    Fact(
        "batch_statistics are those of batch normalization, on the query sets of tasks",
        NetworkSettings,
        lambda around, network: network.normalization != "batch" or not around.has_tasks,
        ("batch_statistics",),
    ),
    Fact(
        "a noise phase of 0 steps has no learning rate and nothing else of training",
        NoisePhase,
        lambda around, phase: phase.steps == 0,
        (*OF_TRAINING, "labels", "rule", "control"),
    ),
    Fact(
        "noise is learned by backprop where that is the network's rule",
        NoisePhase,
        lambda around, phase: _called(RULES[around.rule]) == "backprop",
        ("rule",),
    ),
    Fact(
        "noise inputs that are not made of images need no dataset",
        NoisePhase,
        lambda around, phase: not NOISE_INPUTS[phase.inputs].of_dataset,
        ("dataset",),
    ),
    Fact(
        "a dataset's images have a mean and a standard deviation of their own",
        NoisePhase,
        lambda around, phase: NOISE_INPUTS[phase.inputs].of_dataset,
        ("mean", "standard_deviation"),
    ),
    Fact(  # the first phase's inputs are those that the readout on noise is measured on
        "a second noise phase of 0 steps has no inputs",
        NoisePhase,
        lambda around, phase: phase.steps == 0 and phase.name != around.first_noise,
        OF_NOISE,
    ),
    Fact(
        "a supervised phase of 0 steps has no learning rate and nothing else of training",
        SupervisedPhase,
        lambda around, phase: 0 in (phase.steps, phase.epochs),
        OF_TRAINING,
        {"steps": 0, "epochs": None},
    ),
    Fact(
        "converged_interval, converged_patience and converged_change are for a converged_metric",
        TrainingSettings,
        lambda around, phase: phase.converged_metric is None,
        OF_CONVERGENCE,
    ),
    Fact(
        'a meta phase of 0 outer steps is one of outer_algorithm = "none"',
        MetaPhase,
        _trains_nothing,
        (
            *("inner_steps", "inner_learning_rate", "tasks_per_batch", "outer_rule", "outer_optimizer"),
            *("outer_learning_rate", "outer_momentum", "outer_schedule", "outer_weight_decay"),
        ),
        {"outer_algorithm": "none", "outer_steps": 0},
    ),
    Fact(
        "outer_rule is for first_order alone, and is the same for backprop",
        MetaPhase,
        lambda around, phase: (
            not OUTER_ALGORITHMS[phase.outer_algorithm].by_outer_rule or _called(RULES[around.rule]) == "backprop"
        ),
        ("outer_rule",),
    ),
    Fact(
        "an inner loop of 0 steps has no learning rate",
        TaskSettings,
        lambda around, phase: phase.inner_steps == 0,
        ("inner_learning_rate",),
    ),
    Fact(
        "where nothing adapts, it is the same which layers do",
        EvaluatePhase,
        lambda around, phase: phase.inner_steps == 0,
        ("adapted_layers",),
    ),
)


def sentences(study: Study) -> list[str]:
    """What a study compares with itself, a sentence for each of `FACTS` by which trials of it are the same."""
    forms = _Forms()
    trials = [forms.of_trial(settings) for settings in _settings(study)]
    found, before = [], len({tuple(of_table[0] for of_table in trial) for trial in trials})
    for number in sorted(forms.telling):
        after = len({tuple(of_table[number] for of_table in trial) for trial in trials})
        if fewer := before - after:
            what = "1 trial repeats another" if fewer == 1 else f"{fewer} trials repeat others"
            found.append(
                f"{what} under other names, and would count twice where conditions are compared: "
                f"{FACTS[number - 1].sentence}"
            )
        before = after
    return found


def _settings(study: Study) -> Iterator[TrialSettings]:
    yield from (trial.settings for trial in study.trials) if study.trials else study.examples


class _Forms:
    """Tables of settings as they would be by the first fact, by the first two, and so on: worked out once for each
    table, of which many trials have the same."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, Around], tuple[Settings, list[bytes]]] = {}  # by identity, so tables are kept
        self.telling: set[int] = set()
        """How many facts it takes to change a table of them."""

    def of_trial(self, trial: TrialSettings) -> list[list[bytes]]:
        """The forms of what a trial consists of: before any fact, after the first, after the second, ..."""
        noises = (phase.name for phase in trial.phases if isinstance(phase, NoisePhase))
        tasks = any(phase.task_needs() for phase in trial.phases)
        around = Around(trial.network.rule, tasks, next(noises, None))
        seeds = [b"%d of %d" % (trial.seeds, trial.seed)] * (len(FACTS) + 1)
        return [seeds, *(self._of_table(one, around) for one in (trial.measure, trial.network, *trial.phases))]

    def _of_table(self, table: Settings, around: Around) -> list[bytes]:
        found = self.known.get((id(table), around))
        if found is None:
            said = table.model_dump()
            forms = [_digest(said)]
            for number, fact in enumerate(FACTS, start=1):
                changes = fact.changes(around, table)
                if any(said[name] != value for name, value in changes.items()):
                    said |= changes
                    self.telling.add(number)
                    forms.append(_digest(said))
                else:
                    forms.append(forms[-1])
            found = self.known[id(table), around] = (table, forms)
        return found[1]


def _digest(said: dict[str, Any]) -> bytes:
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).digest()
