"""The phases of a trial: one function for each kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from metafa.learning import controls, measures, meta, noise, shifts, supervised
from metafa.learning.networks import Network
from metafa.learning.optimizers import Optimizer
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams
from metafa.learning.training import Step
from metafa.studies.data import DATASETS, Inputs
from metafa.studies.phases import (
    EvaluatePhase,
    MetaPhase,
    NoisePhase,
    OutOfDistributionPhase,
    SoftAlignmentPhase,
    SupervisedPhase,
    WholeDatasetsPhase,
)
from metafa.trials.convergence import Convergence
from metafa.trials.measuring import (
    adaptation_measures,
    measure_distributions,
    measure_last_layer,
    measure_network,
    measure_test_images,
)
from metafa.trials.trial_run import OUTER_DECAY, STEP_DECAY, optimizer_of, rates_of
from metafa.trials.whole_datasets import courses_of, measure_whole_datasets, record_meta_losses

if TYPE_CHECKING:
    from metafa.trials.trial_run import TrialRun


def _convergence(
    trial: TrialRun, phase: NoisePhase | SupervisedPhase, value: Callable[[Step], tuple[Tensor, Tensor]]
) -> Convergence | None:
    return Convergence(phase, trial.network.replicas, value) if phase.converges else None


def run_noise(trial: TrialRun, phase: NoisePhase) -> None:
    rule = RULES["backprop"] if phase.rule == "backprop" else trial.rule
    learner = trial.learner(optimizer_of(phase, phase.steps), phase.weight_decay, STEP_DECAY, rule)
    control = controls.begin(phase.control, trial.network, trial.rule, trial.streams, trial.resume)
    steps = noise.pretrain(learner, trial.noise(phase), steps=phase.steps, batch_size=phase.batch_size)
    dataset = trial.settings.datasets().get(phase.name)  # trained on before

    def measure(step: int) -> None:
        measure_whole_datasets(trial, phase.name, step)
        if dataset is not None:
            loss, accuracy = supervised.evaluate(trial.network, trial.datasets[dataset][1])
            trial.recorder.record(phase.name, step, "loss", loss, inputs=Inputs(dataset))
            trial.recorder.record(phase.name, step, "accuracy", accuracy, inputs=Inputs(dataset))

    convergence = _convergence(trial, phase, lambda step: (step.loss, step.accuracy))
    trial.train(phase.name, phase.steps, steps, measure, control, convergence)


def run_soft_alignment(trial: TrialRun, phase: SoftAlignmentPhase) -> None:
    for step in (0, 1):
        if step:
            controls.align(trial.network, trial.rule, phase.angle)
        measure_network(trial, phase.name, step)
        measure_distributions(trial, phase.name, step)
    trial.advance(1.0)


def run_supervised(trial: TrialRun, phase: SupervisedPhase) -> None:
    training, test = trial.datasets[phase.dataset]
    chosen = supervised.choose(training, phase.training_images, trial.streams)
    total = phase.steps_on(chosen.shape[1])
    learner = trial.learner(optimizer_of(phase, total), phase.weight_decay, STEP_DECAY)
    steps = supervised.train(learner, training, chosen, steps=total, batch_size=phase.batch_size)
    tested = Inputs(phase.dataset)

    def measure(step: int) -> None:
        logits = supervised.readout(trial.network, test.images)
        loss, accuracy = measure_test_images(trial, phase.name, step, tested, logits, test.labels)
        training_loss, training_accuracy = supervised.evaluate(trial.network, training, chosen)
        trial.recorder.record(phase.name, step, "generalization_error", loss - training_loss, inputs=tested)
        trial.recorder.record(phase.name, step, "generalization_gap", training_accuracy - accuracy, inputs=tested)

    convergence = _convergence(trial, phase, lambda step: supervised.evaluate(trial.network, training, chosen))
    trial.train(phase.name, total, steps, measure, convergence=convergence)


def run_whole_datasets(trial: TrialRun, phase: WholeDatasetsPhase) -> None:
    def watch(dataset: str, step: int, network: Network) -> None:
        measure_last_layer(trial, phase.name, step, network, Inputs(dataset))

    courses = courses_of(trial, phase, watch)
    for dataset, course in courses.items():
        for step, loss, accuracy in zip(*course, strict=True):
            trial.recorder.record(phase.name, step, "loss", loss, inputs=Inputs(dataset))
            trial.recorder.record(phase.name, step, "accuracy", accuracy, inputs=Inputs(dataset))
    record_meta_losses(trial, phase.name, max(course.steps[-1] for course in courses.values()), courses)
    trial.advance(1.0)


def run_out_of_distribution(trial: TrialRun, phase: OutOfDistributionPhase) -> None:
    """The confidence on each set of images, and how well it tells them from the dataset's own; where the classes are
    its own, the loss, accuracy and calibration too. The same noise is on them in every trial."""
    dataset = trial.settings.datasets()[phase.name]
    (_, test), shape = trial.unit_datasets[dataset], DATASETS[dataset].shape
    images = _pictures(test.images, shape)
    unchanged = supervised.readout(trial.network, trial.as_seen(test.images))

    def measure(inputs: Inputs, logits: Tensor, labels: Tensor | None) -> None:
        if labels is not None:
            measure_test_images(trial, phase.name, 0, inputs, logits, labels)
        record = partial(trial.recorder.record, phase.name, 0, inputs=inputs)
        record("readout_probability", measures.readout_probability(logits))
        if inputs != Inputs(dataset):
            record("auroc", measures.auroc(unchanged, logits))

    def readout(pictures: Tensor) -> Tensor:
        return supervised.readout(trial.network, trial.as_seen(_flat(pictures)))

    measure(Inputs(dataset), unchanged, test.labels)
    for shift, strength in phase.shifts:
        generator = Streams(trial.settings.seed, (0,), "cpu").generators(f"out_of_distribution/{shift}")[0]
        changed = shifts.shifted(shift, images, strength, generator)
        measure(Inputs(dataset, shift, strength), readout(changed), test.labels)
    for name in dict.fromkeys([*phase.datasets, *phase.unknown_datasets]):
        if name == dataset:
            continue
        _, other = trial.unit_datasets[name]
        resized = shifts.resized(_pictures(other.images, DATASETS[name].shape), (shape[0], shape[1]))
        measure(Inputs(name), readout(resized), None if name in phase.unknown_datasets else other.labels)
    trial.advance(1.0)


def _pictures(flat: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``[image, channel, row, column]`` of ``[image, pixel]``, as a dataset of that shape has them."""
    return flat.unflatten(1, shape).unsqueeze(1) if len(shape) == 2 else flat.unflatten(1, shape).movedim(-1, 1)


def _flat(pictures: Tensor) -> Tensor:
    return pictures.movedim(1, -1).flatten(1)


def run_meta(trial: TrialRun, phase: MetaPhase) -> None:
    outer_steps = phase.outer_steps if phase.has_steps else 0
    inner = trial.inner_loop(phase)
    if phase.learn_inner_rates:
        if trial.resume.steps and trial.learned_rates is not None:
            inner.learning_rates.copy_(trial.learned_rates)
        trial.learned_rates = inner.learning_rates.requires_grad_()
    optimizer = Optimizer(
        phase.outer_optimizer,
        rates_of(phase.outer_learning_rate),
        phase.outer_momentum,
        phase.outer_schedule,
        outer_steps,
    )
    steps = meta.train(
        trial.learner(optimizer, phase.outer_weight_decay, OUTER_DECAY),
        inner,
        trial.source(phase, phase.task_distribution, "training"),
        shots=phase.shots,
        tasks_per_batch=phase.tasks_per_batch,
        outer_algorithm=phase.outer_algorithm,
        outer_rule=trial.rule if phase.outer_rule == "inner" else RULES["backprop"],
        outer_steps=outer_steps,
    )
    trial.train(phase.name, outer_steps, steps)


def run_evaluate(trial: TrialRun, phase: EvaluatePhase) -> None:
    for distribution in dict.fromkeys(phase.task_distributions):
        curve = meta.evaluate(trial.network, trial.inner_loop(phase), trial.tasks(phase, distribution, phase.tasks))
        for step, metric, values in adaptation_measures(curve):
            trial.recorder.record(phase.name, step, metric, values, inputs=Inputs(distribution))
    trial.advance(1.0)


RUN_PHASE: dict[str, Callable[[Any, Any], None]] = {
    "noise": run_noise,
    "soft_alignment": run_soft_alignment,
    "supervised": run_supervised,
    "whole_datasets": run_whole_datasets,
    "out_of_distribution": run_out_of_distribution,
    "meta": run_meta,
    "evaluate": run_evaluate,
}
