"""What a trial needs and does, read off its settings: images, metrics, and weights on the way back."""

from __future__ import annotations

from collections.abc import Mapping

from metafa.learning.rules import RULES
from metafa.studies.data import BATCH, NO_INPUTS, NOISE, DatasetNeed, Inputs, TaskNeed, images_of_tasks
from metafa.studies.metrics import METRICS, Training
from metafa.studies.outlines import images_of
from metafa.studies.phase_settings import PhaseSettings
from metafa.studies.settings import TrialSettings


def metrics_of(settings: TrialSettings, any_steps: bool = False) -> dict[str, set[str]]:
    """The metrics that each phase of a trial measures, by the phase's name; with ``any_steps``, those too that
    it would measure if it had steps."""
    own = settings.datasets()
    measured: dict[str, set[str]] = {
        phase.name: set()
        if phase.retests and phase.name not in own
        else {metric for metric in phase.measures if phase.measured_on(metric, own.get(phase.name))}
        for phase in settings.phases
    }
    evaluated = any(phase.evaluates for phase in settings.phases)
    adapted = any(phase.adapts_to_datasets for phase in settings.phases)
    training = [phase for phase in settings.phases if phase.trains]
    rates_learned = False
    for phase in settings.phases:
        if not phase.trains and not phase.adapts_to_datasets:
            continue
        rates_learned |= phase.learns_rates
        facts = Training(
            any_steps or phase.has_steps,
            evaluated,
            adapted and phase.watches_datasets,
            rates_learned,
            phase in training[-1:],
            RULES[settings.network.rule].signals is None,
            settings.measure,
            phase.converges,
        )
        rows = {name: row for name, row in METRICS.items() if phase.trains or row.of_copies}
        measured[phase.name] |= {
            name for name, row in rows.items() if row.in_training is not None and row.in_training(facts)
        }
    return measured


def measured_once(settings: TrialSettings, phase: str, metric: str) -> bool:
    """Whether a phase measures a metric that it measures at one moment alone."""
    measuring = next(one for one in settings.phases if one.name == phase)
    return metric in measuring.measures_once or (measuring.trains and METRICS[metric].once)


def inputs_of(settings: TrialSettings, phase: str, metric: str) -> set[Inputs]:
    """The inputs on which a phase measures a metric that it measures."""
    measuring = next(one for one in settings.phases if one.name == phase)
    dataset = settings.datasets().get(phase)
    inputs = measuring.measured_on(metric, dataset) if metric in measuring.measures else set()
    row = METRICS[metric]
    if row.of == "datasets":
        return {NO_INPUTS}
    if measuring.adapts_to_datasets and row.of_copies:
        return measuring.tested_on(dataset)
    if not measuring.trains or row.in_training is None:
        return inputs
    distributions = evaluated_tasks(settings)
    match row.of:
        case "batch":
            return inputs | {BATCH}
        case "tasks":
            return inputs | set(map(Inputs, distributions))
        case "dataset":
            return inputs | set(map(Inputs, adapted_datasets(settings)))
        case "probabilities" | "features":
            return inputs | {NOISE, *map(Inputs, trained_datasets(settings))}
        case "readout":
            datasets = trained_datasets(settings)
            tasks = {images_of_tasks(distribution, datasets) for distribution in distributions}
            return inputs | {NOISE, *map(Inputs, datasets)} | tasks
    return inputs | {NO_INPUTS}


def evaluated_tasks(settings: TrialSettings) -> list[str]:
    """The task distributions on whose tasks phases that train measure the meta-loss: those of the first phase that
    evaluates."""
    first = next((phase for phase in settings.phases if phase.evaluates), None)
    return [need.distribution for need in first.task_needs()] if first else []


def adapted_datasets(settings: TrialSettings) -> list[str]:
    """The whole datasets on which noise pretraining measures the whole-dataset meta-loss: those of the first phase that
    trains copies of the network on some."""
    first = next((phase for phase in settings.phases if phase.adapts_to_datasets), None)
    return list(dict.fromkeys(need.dataset for need in first.dataset_needs())) if first else []


def trained_datasets(settings: TrialSettings) -> list[str]:
    """The datasets that a trial trains on, each once."""
    datasets, trained = settings.datasets(), [phase.name for phase in settings.phases if phase.trains]
    return list(dict.fromkeys(datasets[name] for name in trained if name in datasets))


def task_needs(settings: TrialSettings) -> list[TaskNeed]:
    """The tasks that a trial draws."""
    return [need for phase in settings.phases for need in phase.task_needs()]


def dataset_needs(settings: TrialSettings) -> list[DatasetNeed]:
    """The datasets that a trial trains on or is tested on."""
    return [need for phase in settings.phases for need in dataset_needs_of(settings, phase)]


def dataset_needs_of(settings: TrialSettings, phase: PhaseSettings) -> list[DatasetNeed]:
    """The datasets that a phase of a trial uses, each by its name."""
    own = settings.datasets()
    return [need._replace(dataset=need.dataset or own[phase.name]) for need in phase.dataset_needs()]


def image_needs(settings: TrialSettings) -> Mapping[str, str]:
    """The images that a trial draws on, as KIND/NAME/PART such as ``tasks/glyphs/test`` or ``datasets/usps/training``,
    and the setting that asks for them."""
    return images_of(settings.outlines, settings.network.pixels)


def images_by_phase(settings: TrialSettings, phase: PhaseSettings) -> tuple[list[str], list[str]]:
    """The images that a phase trains on, and those that it tests on, as `image_needs` calls them."""
    tasks = [f"tasks/{need.distribution}/{need.split}" for need in phase.task_needs()]
    needs = dataset_needs_of(settings, phase)
    datasets = dict.fromkeys(need.dataset for need in needs)
    tests = [f"datasets/{name}/test" for name in dict.fromkeys(need.dataset for need in needs if need.labelled)]
    if not phase.trains:
        return [], tasks + tests
    return (tasks + [f"datasets/{name}/training" for name in datasets]) * phase.has_steps, tests


def transports(settings: TrialSettings) -> dict[str, str]:
    """What each part of a trial reads of the forward weights to send errors back, as in `rules.Rule.transports`."""
    rule = RULES[settings.network.rule]
    return {part: read for phase in settings.phases for part, read in phase.transports(rule).items()}
