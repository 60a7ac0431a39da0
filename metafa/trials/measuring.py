"""What a trial measures of its network: weights, readout, meta-loss, test images, and the path of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metafa.learning import credit, measures, meta, networks, supervised
from metafa.learning.kinds import resolved
from metafa.learning.rules import Rule
from metafa.studies.data import NOISE, Inputs, images_of_tasks
from metafa.studies.metrics import METRICS

if TYPE_CHECKING:
    from metafa.trials.trial_run import TrialRun

PROBE_IMAGES = 256  # on which the readout is measured


def measure_network(trial: TrialRun, phase: str, step: int) -> None:
    """Records the state of the network: its weights, its readout, and its meta-loss."""
    recorder, network = trial.recorder, trial.network
    paths = [matrix for pair in credit.alignment_pairs(trial.rule, network) for matrix in pair]  # feedback among them
    finite = torch.stack([finite_replicas(tensor) for tensor in (*network.tensors, *paths)]).all(0)
    recorder.note_broken(step, finite)
    recorder.note_divergences(phase)
    if trial.settings.measure.weight_path:
        recorder.path[phase, step] = torch.cat([weights.flatten(1).cpu() for weights in network.weights], 1)
    for metric, layer, values in weight_measures(trial.rule, network):
        recorder.record(phase, step, metric, values, layer)
    if trial.learned_rates is not None:
        for layer, rates in enumerate(trial.learned_rates.detach().mean(1).unbind(1), start=1):
            recorder.record(phase, step, "inner_learning_rate", rates, layer)
    _measure_readout(trial, phase, step, trial.noise_images, NOISE)
    for name in trial.trained_on:
        _, test = trial.datasets[name]
        images = test.images[:PROBE_IMAGES].expand(len(recorder.seeds), -1, -1)
        _measure_readout(trial, phase, step, images, Inputs(name))
    _measure_meta_loss(trial, phase, step)


def _measure_meta_loss(trial: TrialRun, phase: str, step: int) -> None:
    """Records the readout and the meta-loss on some tasks of the trial's first phase that evaluates, if it has one."""
    evaluation = trial.first_evaluation
    if evaluation is None:
        return
    for distribution in dict.fromkeys(evaluation.task_distributions):
        tasks = trial.tasks(evaluation, distribution, trial.settings.measure.tasks)
        images = tasks.images[tasks.query.flatten(1)[:, :PROBE_IMAGES]]
        _measure_readout(trial, phase, step, images, images_of_tasks(distribution, trial.trained_on))
        loss, accuracy = meta.meta_loss(trial.network, trial.inner_loop(evaluation), tasks)
        trial.recorder.record(phase, step, "meta_loss", loss, inputs=Inputs(distribution))
        trial.recorder.record(phase, step, "meta_accuracy", accuracy, inputs=Inputs(distribution))


def _measure_readout(trial: TrialRun, phase: str, step: int, images: Tensor, inputs: Inputs) -> None:
    logits = networks.forward(trial.network, images).logits
    trial.recorder.record(phase, step, "readout_probability", measures.readout_probability(logits), inputs=inputs)
    trial.recorder.record(phase, step, "readout_deviation", measures.readout_deviation(logits), inputs=inputs)


def measure_singular_values(trial: TrialRun, phase: str, step: int) -> None:
    """Records the singular values of every layer's weights, where the trial measures them."""
    if not trial.settings.measure.singular_values:
        return
    for layer, weights in enumerate(trial.network.weights, start=1):
        for component, values in enumerate(measures.singular_values(weights).unbind(1), start=1):
            trial.recorder.record(phase, step, "singular_value", values, layer, component=component)


def measure_weight_path(trial: TrialRun) -> None:
    """Records where in its plane the weights were at each moment, and how much of their path the plane holds."""
    weights_at = trial.recorder.path
    if not weights_at:
        return
    path, fractions = measures.principal_path(torch.stack(list(weights_at.values())))
    last_phase, last_step = list(weights_at)[-1]
    for component in (1, 2):
        for (phase, step), places in zip(weights_at, path, strict=True):
            trial.recorder.record(phase, step, "weight_path", places[:, component - 1], component=component)
        trial.recorder.record(
            last_phase, last_step, "weight_path_variance", fractions[:, component - 1], component=component
        )


def measure_test_images(trial: TrialRun, phase: str, inputs: Inputs, images: Tensor, labels: Tensor) -> None:
    """Records how the network does on ``images`` that have those labels."""
    logits = supervised.readout(trial.network, images)
    loss, accuracy = supervised.loss_and_accuracy(logits, labels)
    error = measures.expected_calibration_error(logits, labels)
    trial.recorder.record(phase, 0, "loss", loss, inputs=inputs)
    trial.recorder.record(phase, 0, "accuracy", accuracy, inputs=inputs)
    trial.recorder.record(phase, 0, "expected_calibration_error", error, inputs=inputs)
    trial.recorder.record(phase, 0, "readout_probability", measures.readout_probability(logits), inputs=inputs)


def finite_replicas(tensor: Tensor) -> Tensor:
    """Whether all of it is, of each replica."""
    return tensor.isfinite().flatten(1).all(1)


def weight_measures(rule: Rule, network: networks.Network) -> Iterator[tuple[str, int, Tensor]]:
    """What is measured of the weights: metric, layer, and the value of each replica."""
    functions = {name: resolved(metric.function) for name, metric in METRICS.items() if metric.function is not None}
    for layer, weights in enumerate(network.weights, start=1):
        for metric, function in functions.items():
            yield metric, layer, function(weights)
    for layer, (path, sent_by) in enumerate(credit.alignment_pairs(rule, network), start=2):
        yield "alignment_angle", layer, measures.alignment_angle(path, sent_by)


def adaptation_measures(curve: meta.AdaptationCurve) -> Iterator[tuple[int, str, Tensor]]:
    """What is measured of adaptation: inner step, metric, and the value of each replica."""
    for step, (query, accuracy, support) in enumerate(
        zip(curve.query_loss, curve.query_accuracy, curve.support_loss, strict=True)
    ):
        yield step, "meta_loss", query
        yield step, "meta_accuracy", accuracy
        yield step, "generalization_error", query - support
