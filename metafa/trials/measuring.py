"""What a trial measures of its network: weights, readout, features, meta-loss, test images, and the path of the
weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metafa.learning import credit, measures, meta, networks, supervised
from metafa.learning.kinds import resolved
from metafa.learning.rules import Rule
from metafa.studies.data import NO_INPUTS, NOISE, Inputs, images_of_tasks
from metafa.studies.metrics import METRICS

if TYPE_CHECKING:
    from metafa.trials.trial_run import TrialRun

PROBE_IMAGES = 256  # on which the readout is measured
FEATURE_IMAGES = 1000  # on which features are measured, and the distribution of the readout
MAP_IMAGES = 50  # on which feature maps are measured, whose every place is one


def measure_network(trial: TrialRun, phase: str, step: int) -> None:
    """Records the state of the network: its weights, its readout, and its meta-loss."""
    recorder, network = trial.recorder, trial.network
    paths = [matrix for _, *pair in credit.alignment_pairs(trial.rule, network) for matrix in pair]  # feedback too
    finite = torch.stack([finite_replicas(tensor) for tensor in (*network.tensors, *paths)]).all(0)
    recorder.note_broken(step, finite)
    recorder.note_divergences(phase)
    if trial.settings.measure.weight_path:
        recorder.path[phase, step] = torch.cat([weights.flatten(1).cpu() for weights in network.weights], 1)
    for metric, layer, values in weight_measures(trial.rule, network):
        recorder.record(phase, step, metric, values, layer)
    _measure_components(trial, phase, step)
    if trial.learned_rates is not None:
        for layer, rates in enumerate(trial.learned_rates.detach().mean(1).unbind(1), start=1):
            recorder.record(phase, step, "inner_learning_rate", rates, layer)
    _measure_readout(trial, phase, step, trial.noise_images, NOISE)
    for name in trial.trained_on:
        _, test = trial.datasets[name]
        images = test.images[:PROBE_IMAGES].expand(len(recorder.seeds), -1, -1)
        _measure_readout(trial, phase, step, images, Inputs(name))
    seen = MAP_IMAGES if networks.widest_maps(network) else FEATURE_IMAGES
    for inputs, images in _feature_images(trial):
        features = networks.features(network, networks.forward(network, images[:, :seen]))
        for layer, of_layer in enumerate(features, start=1):
            recorder.record(phase, step, "feature_rank", measures.feature_rank(of_layer), layer, inputs)
    _measure_meta_loss(trial, phase, step)


def _feature_images(trial: TrialRun) -> Iterator[tuple[Inputs, Tensor]]:
    """Noise, and the first test images of each dataset that the trial trains on, ``[replica, image, pixel]``."""
    yield NOISE, trial.feature_noise
    for name in trial.trained_on:
        _, test = trial.datasets[name]
        yield Inputs(name), test.images[:FEATURE_IMAGES].expand(len(trial.recorder.seeds), -1, -1)


def _measure_components(trial: TrialRun, phase: str, step: int) -> None:
    """Records what has a row for each of many components: units' angles, and the last layer's weights and feedback."""
    wanted, recorder = trial.settings.measure, trial.recorder
    pairs = credit.alignment_pairs(trial.rule, trial.network) if wanted.units else []
    for layer, path, sent_by in pairs:
        angles = measures.unit_alignment_angles(path, sent_by)
        recorder.record_components(phase, step, "alignment_angle_of_unit", angles, layer)
    measure_last_layer(trial, phase, step, trial.network)


def measure_last_layer(
    trial: TrialRun, phase: str, step: int, network: networks.Network, inputs: Inputs = NO_INPUTS
) -> None:
    """Records the last layer's weights and its feedback, where the trial measures them, of its network or of a copy
    that learns the dataset ``inputs``."""
    if not trial.settings.measure.last_layer_weights:
        return
    record, last = trial.recorder.record_components, len(network.weights)
    record(phase, step, "last_layer_weight", network.weights[-1].flatten(1), last, inputs)
    for _, _, sent_by in credit.alignment_pairs(trial.rule, network)[-1:]:
        record(phase, step, "last_layer_feedback", sent_by.flatten(1), last, inputs)


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
    logits = supervised.readout_of_own(trial.network, images)
    trial.recorder.record(phase, step, "readout_probability", measures.readout_probability(logits), inputs=inputs)
    trial.recorder.record(phase, step, "readout_deviation", measures.readout_deviation(logits), inputs=inputs)


def measure_distributions(trial: TrialRun, phase: str, step: int) -> None:
    """Records the singular values of every layer's weights, and how readout probabilities are distributed, where the
    trial measures them."""
    wanted, recorder, network = trial.settings.measure, trial.recorder, trial.network
    for layer, weights in enumerate(network.weights if wanted.singular_values else (), start=1):
        recorder.record_components(
            phase, step, "singular_value", measures.singular_values(credit.incoming(weights)), layer
        )
    for inputs, images in _feature_images(trial) if wanted.readout_distribution else ():
        logits = supervised.readout_of_own(network, images)
        recorder.record(phase, step, "readout_wilcoxon", measures.readout_wilcoxon(logits), inputs=inputs)
        quantiles = measures.readout_quantiles(logits)
        recorder.record_components(phase, step, "readout_quantile", quantiles, inputs=inputs)


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


def measure_test_images(
    trial: TrialRun, phase: str, step: int, inputs: Inputs, logits: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Records how the network does on test images for which it has these ``logits`` and that have those labels: loss,
    accuracy, calibration. Returns the first two."""
    loss, accuracy = supervised.loss_and_accuracy(logits, labels)
    record = partial(trial.recorder.record, phase, step, inputs=inputs)
    record("loss", loss)
    record("accuracy", accuracy)
    record("expected_calibration_error", measures.expected_calibration_error(logits, labels))
    record("expected_calibration_error_10_bins", measures.expected_calibration_error(logits, labels, bins=10))
    return loss, accuracy


def finite_replicas(tensor: Tensor) -> Tensor:
    """Whether all of it is, of each replica."""
    return tensor.isfinite().flatten(1).all(1)


def weight_measures(rule: Rule, network: networks.Network) -> Iterator[tuple[str, int, Tensor]]:
    """What is measured of the weights: metric, layer, and the value of each replica."""
    of_weights, of_spectrum, of_carrier = (
        {name: resolved(getattr(row, kind)) for name, row in METRICS.items() if getattr(row, kind) is not None}
        for kind in ("function", "of_spectrum", "of_carrier")
    )
    for layer, weights in enumerate(network.weights, start=1):
        matrices = credit.incoming(weights)
        squares = measures.squared_singular_values(matrices)
        for metric, function in of_weights.items():
            yield metric, layer, function(matrices)
        for metric, function in of_spectrum.items():
            yield metric, layer, function(squares)
    for layer, path, sent_by in credit.alignment_pairs(rule, network):
        for metric, function in of_carrier.items():
            yield metric, layer, function(path, sent_by)


def adaptation_measures(curve: meta.AdaptationCurve) -> Iterator[tuple[int, str, Tensor]]:
    """What is measured of adaptation: inner step, metric, and the value of each replica."""
    for step, (query, accuracy, support) in enumerate(
        zip(curve.query_loss, curve.query_accuracy, curve.support_loss, strict=True)
    ):
        yield step, "meta_loss", query
        yield step, "meta_accuracy", accuracy
        yield step, "generalization_error", query - support
