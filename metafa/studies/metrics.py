"""What is measured: every metric, what it means, its unit, and which way it is better, a row each."""

from __future__ import annotations

from typing import Literal, NamedTuple

Direction = Literal["minimize", "maximize"]


class Metric(NamedTuple):
    """What a metric is, its unit, which of two values is better, if either is, whether a phase that trains measures
    it at all of its moments, or only at some, and the axis on which its course is drawn."""

    meaning: str
    unit: str = ""
    better: Literal["lower", "higher"] | None = None
    throughout: bool = True
    scale: Literal["linear", "log"] = "linear"

    @property
    def direction(self) -> Direction | None:
        """The way in which a search or early stopping goes where none is said."""
        return None if self.better is None else "minimize" if self.better == "lower" else "maximize"


METRICS = {
    "meta_loss": Metric(
        "cross-entropy on the query sets, after adaptation to the support sets", "nats", "lower", scale="log"
    ),
    "meta_accuracy": Metric("accuracy on the query sets, after adaptation to the support sets", better="higher"),
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
    ),
    "accuracy": Metric("accuracy on the same", better="higher"),
    "expected_calibration_error": Metric(
        "how far confidence is from accuracy on test images, over 15 bins", better="lower"
    ),
    "alignment_angle": Metric("between a layer's weights and its feedback", "degrees", "lower"),
    "effective_dimensionality": Metric("participation ratio of a layer's squared singular values"),
    "effective_rank": Metric("exponential of the entropy of a layer's normalised squared singular values"),
    "singular_value": Metric(
        "with `measure.singular_values`: every one of a layer, the largest as `component` 1, at the start and the end "
        "of each phase that trains",
        throughout=False,
    ),
    "readout_probability": Metric("mean of the largest readout probability, the network's confidence"),
    "readout_deviation": Metric("mean absolute deviation of the readout probabilities from chance"),
    "inner_learning_rate": Metric("with `learn_inner_rates`: a layer's, its mean over inner steps"),
    "weight_path": Metric(
        "with `measure.weight_path`: where the weights are, along the first two principal components of their path "
        "through the trial",
        throughout=False,
    ),
    "weight_path_variance": Metric("the fraction of that path's variance along each of the two", throughout=False),
}
"""What is measured, by name."""


def direction_of(name: str) -> Direction | None:
    """The way in which a metric, as PHASE.METRIC, is better, and of a setting `minimize`; None where a metric has
    none."""
    metric = METRICS.get(name.rpartition(".")[2])
    return metric.direction if metric else "minimize"


MEASURED_IN_TRAINING = (
    "alignment_angle",
    "effective_dimensionality",
    "effective_rank",
    "readout_probability",
    "readout_deviation",
)

OF_A_LAYER = (
    "alignment_angle",
    "effective_dimensionality",
    "effective_rank",
    "singular_value",
    "inner_learning_rate",
)

OF_TASKS = ("meta_loss", "meta_accuracy")  # measured on tasks and on nothing else

OF_THE_BATCH = ("loss", "accuracy")  # measured after each step, and so of none
