"""What is measured: every metric with every fact about it, a row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from metafa.learning.kinds import Reference

if TYPE_CHECKING:
    from metafa.studies.settings import MeasureSettings

Direction = Literal["minimize", "maximize"]
Of = Literal["batch", "tasks", "readout", "probabilities", "layer", "features", "path", "dataset", "datasets", "phase"]


class Training(NamedTuple):
    """What decides which metrics a phase that trains measures.

    has_steps: whether the phase changes the network at all.
    evaluated: whether the trial has a phase that evaluates.
    adapted: whether the phase watches how the network would learn whole datasets, which the trial names.
    rates_learned: whether the phase, or one before it, learns the inner loop's learning rates.
    last: whether no phase after it trains.
    has_carriers: whether the rule carries errors through something in the weights' place, between which and them there
        is an angle.
    measure: the trial's settings of what is measured.
    converges: whether the phase ends when its networks have converged.
    """

    has_steps: bool
    evaluated: bool
    adapted: bool
    rates_learned: bool
    last: bool
    has_carriers: bool
    measure: MeasureSettings
    converges: bool = False


def always(training: Training) -> bool:
    return True


def carried(training: Training) -> bool:
    return training.has_carriers


@dataclass(frozen=True)
class Metric:
    """A metric.

    meaning: what it is, for the documentation.
    unit: of its values; empty where it has none.
    better: which of two values is better, if either is.
    of: what it is a property of: the ``batch`` trained on, the query sets of ``tasks``, the ``readout`` of the images
        that it is watched on, noise, a trial's datasets and its tasks' images; the ``probabilities`` that it has of
        noise and of datasets; a ``layer``; a layer's ``features`` of noise and of datasets; the ``path`` of the
        weights; each whole ``dataset`` that copies of the network are trained on, or all of these ``datasets``
        together; or the training of a ``phase``. None of a metric that no phase measures because it trains: the phase
        that has it in its `measures` says on what.
    lowest_layer: of a metric of layers, the lowest that has it.
    in_training: whether a phase that trains measures it; None of a metric that no phase measures because it trains.
    of_copies: whether a phase that trains copies of the network on whole datasets measures it of each of them, on its
        dataset, where the same holds.
    throughout: whether a phase that trains measures it at all of its moments, or at some only.
    once: whether such a phase measures it at one moment alone.
    comparable: whether its mean over layers, and over its components where it has some, tells one network from another:
        then a claim, a search or early stopping may be by it.
    scale: of the axes of figures.
    is_loss: whether a replica has diverged where it is above `TrialSettings.divergence_bound`.
    may_be_undefined: whether it is no number for some networks that are sound, so that a replica has not diverged
        there.
    function: of a metric of a layer's weights, from these, ``[replica, out, in]``, to a value for each replica. Every
        phase that trains measures it at all of its moments. None of other metrics, which have one of the next two or
        are known to `measuring` by name.
    of_spectrum: of a metric of a layer's singular values, the same from their squares, ``[replica, value]``: these are
        computed once for all such metrics.
    of_carrier: of a metric of a layer and its feedback, the same from both, as `credit.alignment_pairs` has them.
    """

    meaning: str
    unit: str = ""
    better: Literal["lower", "higher"] | None = None
    of: Of | None = None
    lowest_layer: int = 1
    in_training: Callable[[Training], bool] | None = None
    of_copies: bool = False
    throughout: bool = True
    once: bool = False
    comparable: bool = True
    scale: Literal["linear", "log"] = "linear"
    is_loss: bool = False
    may_be_undefined: bool = False
    function: Reference | None = None
    of_spectrum: Reference | None = None
    of_carrier: Reference | None = None

    @property
    def direction(self) -> Direction | None:
        """The way in which a search or early stopping goes where none is said."""
        return None if self.better is None else "minimize" if self.better == "lower" else "maximize"


# Metrics may be undefined of matrices that are all zeros, which have no direction and no spectrum, as feedback has on a
# scale that float32 rounds to 0; and of the path of weights that never moved. That weights or feedback are not finite
# is watched by itself.
METRICS: dict[str, Metric] = {
    "meta_loss": Metric(
        "cross-entropy on the query sets, after adaptation to the support sets",
        "nats",
        "lower",
        of="tasks",
        in_training=lambda training: training.evaluated,
        scale="log",
        is_loss=True,
    ),
    "meta_accuracy": Metric(
        "accuracy on the query sets, after adaptation to the support sets",
        better="higher",
        of="tasks",
        in_training=lambda training: training.evaluated,
    ),
    "whole_dataset_meta_loss": Metric(
        "the sum over whole datasets of the cross-entropy on the test images, averaged over ordinary training on each "
        "from the present weights",
        "nats",
        "lower",
        of="datasets",
        in_training=lambda training: training.adapted,
        scale="log",
    ),
    "whole_dataset_meta_loss_at_end": Metric(
        "the same sum at the end of that training",
        "nats",
        "lower",
        of="datasets",
        in_training=lambda training: training.adapted,
        scale="log",
    ),
    "whole_dataset_loss": Metric(
        "the cross-entropy on a dataset's test images after `component` steps of that training",
        "nats",
        "lower",
        of="dataset",
        in_training=lambda training: training.adapted,
        scale="log",
        is_loss=True,
    ),
    "generalization_error": Metric(
        "the meta-loss less the loss on the support sets; of a dataset, the loss on test images less that on training "
        "images",
        "nats",
        "lower",
    ),
    "loss": Metric(
        "cross-entropy of the batch trained on (noise, images, or the query sets of training tasks) where `inputs` is "
        "`batch`, else of the dataset's test images",
        "nats",
        "lower",
        of="batch",
        in_training=lambda training: training.has_steps,
        is_loss=True,
    ),
    "accuracy": Metric(
        "accuracy on what `loss` is measured on",
        better="higher",
        of="batch",
        in_training=lambda training: training.has_steps,
    ),
    "generalization_gap": Metric(
        "the error on a dataset's test images less that on training images: the accuracy of training images less that "
        "of test images",
        better="lower",
    ),
    "expected_calibration_error": Metric(
        "how far confidence is from accuracy on test images, over 15 bins", better="lower"
    ),
    "expected_calibration_error_10_bins": Metric("the same over 10 bins", better="lower"),
    "auroc": Metric(
        "how well the largest readout probability tells the dataset's unchanged test images from these: the area under "
        "the receiver operating characteristic; 0.5 is not at all",
        better="higher",
    ),
    "alignment_angle": Metric(
        "the angle between a layer's weights and its feedback, each as one vector",
        "degrees",
        "lower",
        of="layer",
        lowest_layer=2,
        in_training=carried,
        may_be_undefined=True,
        of_carrier="metafa.learning.measures:alignment_angle",
    ),
    "unit_alignment_angle": Metric(
        "the angle between the outgoing weights of a unit that sends into a layer and that unit's feedback, the mean "
        "over units",
        "degrees",
        "lower",
        of="layer",
        lowest_layer=2,
        in_training=carried,
        may_be_undefined=True,
        of_carrier="metafa.learning.measures:unit_alignment_angle",
    ),
    "alignment_angle_of_unit": Metric(
        "with `measure.units`: that angle of every unit, its number as `component`",
        "degrees",
        "lower",
        of="layer",
        lowest_layer=2,
        in_training=lambda training: training.measure.units and training.has_carriers,
        may_be_undefined=True,
    ),
    "feedback_distance": Metric(
        "the Frobenius norm of a layer's weights less its feedback",
        better="lower",
        of="layer",
        lowest_layer=2,
        in_training=carried,
        of_carrier="metafa.learning.measures:feedback_distance",
    ),
    "effective_rank": Metric(
        "exponential of the entropy of a layer's singular values, each divided by their sum",
        of="layer",
        in_training=always,
        may_be_undefined=True,
        of_spectrum="metafa.learning.measures:effective_rank",
    ),
    "squared_effective_rank": Metric(
        "the same of its squared singular values; what was `effective_rank` before numerics 6",
        of="layer",
        in_training=always,
        may_be_undefined=True,
        of_spectrum="metafa.learning.measures:squared_effective_rank",
    ),
    "participation_ratio": Metric(
        "the participation ratio of a layer's squared singular values; what was `effective_dimensionality` before "
        "numerics 6",
        of="layer",
        in_training=always,
        may_be_undefined=True,
        of_spectrum="metafa.learning.measures:participation_ratio",
    ),
    "feature_rank": Metric(
        "the effective rank of the Gram matrix of cosine similarities of a hidden layer's units, over the first 1,000 "
        "test images or as many of noise",
        of="features",
        in_training=always,
        may_be_undefined=True,
    ),
    "singular_value": Metric(
        "with `measure.singular_values`: every one of a layer, the largest as `component` 1, at the start and the end "
        "of each phase that trains",
        of="layer",
        in_training=lambda training: training.measure.singular_values,
        throughout=False,
        comparable=False,
    ),
    "readout_probability": Metric(
        "mean of the largest readout probability, the network's confidence", of="readout", in_training=always
    ),
    "readout_deviation": Metric(
        "mean absolute deviation of the readout probabilities from chance", of="readout", in_training=always
    ),
    "readout_wilcoxon": Metric(
        "with `measure.readout_distribution`: the decimal logarithm of the p-value of Wilcoxon's signed-rank test of "
        "all readout probabilities less chance, over the first 1,000 test images or as many of noise, at the start and "
        "the end of each phase that trains",
        of="probabilities",
        in_training=lambda training: training.measure.readout_distribution,
        throughout=False,
    ),
    "readout_quantile": Metric(
        "with `measure.readout_distribution`: the quantiles of those probabilities, their percent, 1 to 99, as "
        "`component`",
        of="probabilities",
        in_training=lambda training: training.measure.readout_distribution,
        throughout=False,
        comparable=False,
    ),
    "converged_step": Metric(
        "with `converged_metric`: the step after which a network had converged, at the end of the phase; no number "
        "where it had not",
        "steps",
        of="phase",
        in_training=lambda training: training.converges and training.has_steps,
        throughout=False,
        may_be_undefined=True,
        once=True,
    ),
    "inner_learning_rate": Metric(
        "with `learn_inner_rates`: a layer's inner learning rate, the mean over inner steps",
        of="layer",
        in_training=lambda training: training.rates_learned,
    ),
    "last_layer_weight": Metric(
        "with `measure.last_layer_weights`: every weight of the last layer, its place in the flattened matrix, outputs "
        "first, as `component`",
        of="layer",
        lowest_layer=2,
        in_training=lambda training: training.measure.last_layer_weights,
        of_copies=True,
        comparable=False,
    ),
    "last_layer_feedback": Metric(
        "the same of what stands in their place on the way back",
        of="layer",
        lowest_layer=2,
        in_training=lambda training: training.measure.last_layer_weights and training.has_carriers,
        of_copies=True,
        comparable=False,
    ),
    "weight_path": Metric(
        "with `measure.weight_path`: where the weights are, along the first two principal components of their path "
        "through the trial",
        of="path",
        in_training=lambda training: training.measure.weight_path,
        throughout=False,
        may_be_undefined=True,
        comparable=False,
    ),
    "weight_path_variance": Metric(
        "the fraction of that path's variance along each of the two",
        of="path",
        in_training=lambda training: training.measure.weight_path and training.last,
        throughout=False,
        may_be_undefined=True,
        once=True,
    ),
}
"""What is measured, by name."""


def direction_of(name: str) -> Direction | None:
    """The way in which a metric, as PHASE.METRIC, is better, and of a setting `minimize`; None where a metric has
    none."""
    metric = METRICS.get(name.rpartition(".")[2])
    return metric.direction if metric else "minimize"


def is_of(name: str, *kinds: str) -> bool:
    """Whether a metric is a property of one of ``kinds``, as in `Metric.of`; a metric without a row is of none."""
    return name in METRICS and METRICS[name].of in kinds
