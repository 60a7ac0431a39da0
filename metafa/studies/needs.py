"""What a trial needs and does, read off its settings: images, metrics, and weights on the way back."""

from __future__ import annotations

from collections.abc import Mapping

from metafa.learning.kinds import OUTER_ALGORITHMS
from metafa.learning.rules import RULES
from metafa.studies.data import BATCH, NO_INPUTS, NOISE, DatasetNeed, Inputs, TaskNeed, images_of_tasks
from metafa.studies.metrics import MEASURED_IN_TRAINING, OF_TASKS, OF_THE_BATCH
from metafa.studies.outlines import images_of
from metafa.studies.phases import (
    MEASURED,
    TRAINS,
    EvaluatePhase,
    MetaPhase,
    NoisePhase,
    OutOfDistributionPhase,
    Phase,
    SupervisedPhase,
    has_steps,
)
from metafa.studies.settings import TrialSettings


def metrics_of(settings: TrialSettings) -> dict[str, set[str]]:
    """The metrics that each phase of a trial measures, by the phase's name."""
    found: dict[str, set[str]] = {}
    evaluated = any(isinstance(phase, EvaluatePhase) for phase in settings.phases)
    learned = False
    for phase in settings.phases:
        found[phase.name] = set(MEASURED[phase.phase])
        if phase.phase not in TRAINS:
            continue
        learned |= isinstance(phase, MetaPhase) and phase.learn_inner_rates
        conditional = {
            OF_THE_BATCH: has_steps(phase),
            ("meta_loss", "meta_accuracy"): evaluated,
            ("inner_learning_rate",): learned,
            ("singular_value",): settings.measure.singular_values,
            ("weight_path",): settings.measure.weight_path,
        }
        found[phase.name].update(MEASURED_IN_TRAINING, *(names for names, holds in conditional.items() if holds))
    trained = [phase.name for phase in settings.phases if phase.phase in TRAINS]
    if settings.measure.weight_path and trained:
        found[trained[-1]].add("weight_path_variance")
    return found


def inputs_of(settings: TrialSettings, phase: str, metric: str) -> set[Inputs]:
    """The inputs on which a phase measures a metric that it measures."""
    one = next(one for one in settings.phases if one.name == phase)
    if isinstance(one, EvaluatePhase):
        return set(map(Inputs, one.task_distributions))
    dataset = settings.datasets().get(phase)
    if isinstance(one, OutOfDistributionPhase):
        shifted = {Inputs(dataset, shift, strength) for shift, strength in one.shifts}
        return {Inputs(dataset), *map(Inputs, one.datasets), *shifted}
    probed = next((other.task_distributions for other in settings.phases if isinstance(other, EvaluatePhase)), [])
    trained = [other.dataset for other in settings.phases if isinstance(other, SupervisedPhase)]
    if metric in OF_TASKS:
        return set(map(Inputs, probed))
    if metric in ("readout_probability", "readout_deviation"):
        return {NOISE, *map(Inputs, trained), *(images_of_tasks(name, trained) for name in probed)}
    if metric in OF_THE_BATCH:
        return {BATCH, Inputs(dataset)} if isinstance(one, SupervisedPhase) else {BATCH}
    return {Inputs(dataset) if metric in MEASURED[one.phase] else NO_INPUTS}


def task_needs(settings: TrialSettings) -> list[TaskNeed]:
    """The tasks that a trial draws."""
    needs: list[TaskNeed] = []
    for phase in settings.phases:
        drawn: list[tuple[str, str, str]]
        if isinstance(phase, MetaPhase):
            drawn = [("task_distribution", phase.task_distribution, "training")]
        elif isinstance(phase, EvaluatePhase):
            drawn = [("task_distributions", name, phase.split) for name in phase.task_distributions]
        else:
            continue
        needs += [
            TaskNeed(f"{phase.name}.{key}", name, split, phase.ways, phase.shots + phase.queries)
            for key, name, split in drawn
        ]
    return needs


def dataset_needs(settings: TrialSettings) -> list[DatasetNeed]:
    """The datasets that a trial trains on or is tested on."""
    needs = []
    for phase in settings.phases:
        if isinstance(phase, SupervisedPhase):
            needs += [
                DatasetNeed(f"{phase.name}.dataset", phase.dataset),
                DatasetNeed(f"{phase.name}.training_images", phase.dataset, phase.training_images or 0),
                DatasetNeed(f"{phase.name}.batch_size", phase.dataset, phase.batch_size),
            ]
        elif isinstance(phase, OutOfDistributionPhase):
            needs.append(DatasetNeed(f"{phase.name}.dataset", settings.datasets()[phase.name]))
            needs += [DatasetNeed(f"{phase.name}.datasets", name) for name in phase.datasets]
    return needs


def image_needs(settings: TrialSettings) -> Mapping[str, str]:
    """The images that a trial draws on, as KIND/NAME/PART such as ``tasks/glyphs/test`` or ``datasets/usps/training``,
    and the setting that asks for them."""
    return images_of(settings.outlines)


def images_by_phase(settings: TrialSettings, phase: Phase) -> tuple[list[str], list[str]]:
    """The images that a phase trains on, and those that it tests on, as `image_needs` calls them."""
    if isinstance(phase, MetaPhase):
        return [f"tasks/{phase.task_distribution}/training"] * has_steps(phase), []
    if isinstance(phase, EvaluatePhase):
        return [], [f"tasks/{name}/{phase.split}" for name in phase.task_distributions]
    if isinstance(phase, SupervisedPhase):
        return [f"datasets/{phase.dataset}/training"] * has_steps(phase), [f"datasets/{phase.dataset}/test"]
    if isinstance(phase, OutOfDistributionPhase):
        names = dict.fromkeys([settings.datasets()[phase.name], *phase.datasets])
        return [], [f"datasets/{name}/test" for name in names]
    return [], []


def transports(settings: TrialSettings) -> dict[str, str]:
    """What each part of a trial reads of the forward weights to send errors back, as in `rules.Rule.transports`."""
    found: dict[str, str] = {}
    rule = RULES[settings.network.rule].transports
    for phase in settings.phases:
        if isinstance(phase, NoisePhase | SupervisedPhase):
            found[phase.name] = rule
        elif isinstance(phase, OutOfDistributionPhase):
            found[phase.name] = "none"  # nothing is learned there
        elif isinstance(phase, EvaluatePhase):
            found[phase.name] = "none" if phase.adapted_layers == "readout" else rule
        else:
            algorithm = OUTER_ALGORITHMS[phase.outer_algorithm]
            by_outer_rule = rule if phase.outer_rule == "inner" else RULES[phase.outer_rule].transports
            sends = algorithm.trains and algorithm.adapts == "all"
            found |= {
                f"{phase.name}, inner loop": rule if sends else "none",
                f"{phase.name}, outer loop": by_outer_rule if algorithm.by_outer_rule else algorithm.transports,
            }
    return found
