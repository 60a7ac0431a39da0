"""The phases of a trial, a class each: its settings, and every fact about it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from metafa.learning.kinds import ACTIVATIONS, OPTIMIZERS, OUTER_ALGORITHMS, SHIFTS
from metafa.learning.rules import RULES
from metafa.studies.data import DatasetName, TaskDistributionName
from metafa.studies.fields import (
    MAX_SIZE,
    Fraction,
    Known,
    Name,
    Number,
    Rate,
    Rates,
    Settings,
    Size,
    Steps,
    Strengths,
    mistake,
)

RuleName = Annotated[str, Known(RULES)]
ActivationName = Annotated[str, Known(ACTIVATIONS)]
OuterAlgorithmName = Annotated[str, Known(OUTER_ALGORITHMS)]
OptimizerName = Annotated[str, Known(OPTIMIZERS)]
ShiftName = Annotated[str, Known(SHIFTS)]


class NoisePhase(Settings):
    """Noise pretraining: random inputs, random labels, fresh each step."""

    phase: Literal["noise"]
    name: Name = "noise"
    """What the phase is called in settings and results."""
    steps: Steps
    """Training steps; 0 is no noise pretraining."""
    batch_size: Size = 64
    """Random inputs a step."""
    optimizer: OptimizerName = "adam"
    """The optimizer, with torch's defaults."""
    learning_rate: Rates = 2e-4
    """The optimizer's learning rate, or a list of several, side by side in one trial."""
    weight_decay: Fraction | None = None
    """The fraction that weights above the first layer, and feedback that follows them, lose each step; where it is
    not said, 0.001 for the Kolen-Pollack rules, which align feedback by it, else 0."""
    inputs: Literal["normal", "uniform"] = "normal"
    """The distribution of every pixel."""
    mean: Number = 0.0
    """The mean of every pixel."""
    standard_deviation: Rate = 1.0
    """The standard deviation of every pixel."""
    labels: Literal["hard", "soft"] = "hard"
    """`hard`: one class, drawn uniformly. `soft`: probabilities drawn uniformly from the simplex."""


class SupervisedPhase(Settings):
    """Training on a dataset's images and labels, and testing on its test images."""

    phase: Literal["supervised"]
    name: Name = "supervised"
    """What the phase is called in settings and results."""
    dataset: DatasetName
    """What is learned and tested."""
    training_images: Size | None = None
    """How many of its training images, drawn at random for each seed; where it is not said, all."""
    steps: Steps | None = None
    """Training steps; either these or `epochs`."""
    epochs: Steps | None = None
    """Passes over the training images, each in an order of its own, a last smaller batch left out."""
    batch_size: Size = 64
    """Images a step."""
    optimizer: OptimizerName = "adam"
    """The optimizer, with torch's defaults."""
    learning_rate: Rates = 1e-4
    """The optimizer's learning rate, or a list of several, side by side in one trial."""
    weight_decay: Fraction | None = None
    """The fraction that weights above the first layer, and feedback that follows them, lose each step; where it is
    not said, 0.001 for the Kolen-Pollack rules, which align feedback by it, else 0."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise mistake("a supervised phase is as long as its `steps` or its `epochs` say: one of the two")
        if self.training_images is not None and self.training_images < self.batch_size:
            raise mistake(f"`training_images` is {self.training_images}, less than a batch of {self.batch_size}")
        return self


class OutOfDistributionPhase(Settings):
    """Tests on a dataset's test images, changed by several strengths, and on other datasets of the same classes."""

    phase: Literal["out_of_distribution"]
    name: Name = "out_of_distribution"
    """What the phase is called in settings and results."""
    dataset: DatasetName | None = None
    """Whose test images are changed; where it is not said, that of the supervised phase before."""
    translation: Strengths = []
    """Pixels by which images are moved, each way in turn."""
    rotation: Strengths = []
    """Degrees by which images are turned, each way in turn."""
    scaling: Strengths = []
    """How much larger or smaller images are made in turn: 0.5 is 1.5 times, and 1 / 1.5 times."""
    pixel_noise: Strengths = []
    """Standard deviations of Gaussian noise on every pixel."""
    datasets: list[DatasetName] = []
    """Other datasets whose classes are the ten digits too, their images resized to the size of those of `dataset`,
    which is passed over here."""

    @property
    def shifts(self) -> list[tuple[str, float]]:
        """The changes and their strengths."""
        return [(shift, strength) for shift in SHIFTS for strength in getattr(self, shift, ())]


class TaskSettings(Settings):
    ways: Annotated[int, Field(ge=2, le=MAX_SIZE)] = 5
    """Classes of a task."""
    shots: Size = 5
    """Support images of each class."""
    queries: Size = 10
    """Query images of each class."""
    inner_steps: Annotated[int, Field(ge=0, le=MAX_SIZE)] = 5
    """Steps of gradient descent on the support set."""
    inner_learning_rate: Rates = 0.3
    """The rate of those steps, or a list of several, side by side in one trial."""


class MetaPhase(TaskSettings):
    """Meta-training on tasks of a distribution's training classes."""

    phase: Literal["meta"]
    name: Name = "meta"
    """What the phase is called in settings and results."""
    task_distribution: TaskDistributionName
    """Where the tasks come from."""
    tasks_per_batch: Size = 16
    """Tasks of one outer step."""
    outer_algorithm: OuterAlgorithmName = "exact"
    """`exact`: the gradient of the meta-loss through the inner loop. `first_order`: the query loss's gradient at
    the adapted weights. `reptile`: towards the adapted weights. `anil`: exact, but only the readout adapts.
    `none`: no meta-training."""
    outer_rule: Literal["inner", "backprop"] = "inner"
    """How `first_order` sends query errors back: by the network's own rule, or by backprop."""
    outer_optimizer: OptimizerName = "adam"
    """The optimizer of the outer loop, with torch's defaults."""
    outer_learning_rate: Rates = 1e-3
    """The outer optimizer's learning rate, or a list of several, side by side in one trial."""
    outer_momentum: Fraction = 0.0
    """The momentum of `sgd`."""
    outer_schedule: Literal["constant", "cosine"] = "constant"
    """The outer learning rate: as it is, or falling to 0 along a cosine."""
    outer_weight_decay: Fraction | None = None
    """The fraction that weights above the first layer, and feedback that follows them, lose each outer step; where
    it is not said, 0.03 for the Kolen-Pollack rules, which align feedback by it, else 0."""
    learn_inner_rates: bool = False
    """Whether `exact` and `anil` learn an inner learning rate for each layer and step along with the weights."""
    outer_steps: Steps
    """Steps of the outer loop; 0 is no meta-training."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.outer_momentum and not OPTIMIZERS[self.outer_optimizer].momentum:
            raise mistake('`outer_momentum` is for outer_optimizer = "sgd"; adam has its own')
        if self.learn_inner_rates and not OUTER_ALGORITHMS[self.outer_algorithm].learns_rates:
            able = " or ".join(f'"{name}"' for name, row in OUTER_ALGORITHMS.items() if row.learns_rates)
            raise mistake(f"`learn_inner_rates` needs outer_algorithm = {able}")
        if self.learn_inner_rates and not self.inner_steps:
            raise mistake("`learn_inner_rates` needs `inner_steps`: each has a rate to learn, and there are none")
        return self


class EvaluatePhase(TaskSettings):
    """The adaptation curve on tasks of unseen classes, from 0 inner steps to `inner_steps`."""

    phase: Literal["evaluate"]
    name: Name = "evaluate"
    """What the phase is called in settings and results."""
    task_distributions: Annotated[list[TaskDistributionName], Field(min_length=1)]
    """Where the tasks come from; each is evaluated."""
    split: Literal["validation", "test"] = "test"
    """Whose classes the tasks are made of."""
    tasks: Size = 300
    """Tasks of each distribution, for every seed."""
    adapted_layers: Literal["all", "readout"] = "all"
    """What adapts to a task: all layers, or, as in meta-training by `anil`, the readout alone."""
    learned_rates: bool = False
    """Whether to adapt with the inner learning rates that the meta phase before learned, its last step's for any
    further step, in place of `inner_learning_rate`."""


Phase = Annotated[
    Annotated[NoisePhase, Tag("noise")]
    | Annotated[SupervisedPhase, Tag("supervised")]
    | Annotated[OutOfDistributionPhase, Tag("out_of_distribution")]
    | Annotated[MetaPhase, Tag("meta")]
    | Annotated[EvaluatePhase, Tag("evaluate")],
    Discriminator(lambda value: value.get("phase") if isinstance(value, dict) else getattr(value, "phase", None)),
]

PHASES: dict[str, type[Settings]] = {
    "noise": NoisePhase,
    "supervised": SupervisedPhase,
    "out_of_distribution": OutOfDistributionPhase,
    "meta": MetaPhase,
    "evaluate": EvaluatePhase,
}


def has_steps(phase: Phase) -> bool:
    """Whether a phase trains at all."""
    if isinstance(phase, MetaPhase):
        return phase.outer_steps > 0 and OUTER_ALGORITHMS[phase.outer_algorithm].trains
    return bool(getattr(phase, "steps", None) or getattr(phase, "epochs", None))


TRAINS = ("noise", "supervised", "meta")  # the kinds of phases that train

# What a kind of phase measures of its own, and what each that trains does besides; `metrics_of` has the rest.
MEASURED: dict[str, tuple[str, ...]] = {
    "noise": (),
    "supervised": ("loss", "accuracy", "generalization_error", "expected_calibration_error"),
    "out_of_distribution": ("loss", "accuracy", "expected_calibration_error", "readout_probability"),
    "meta": (),
    "evaluate": ("meta_loss", "meta_accuracy", "generalization_error"),
}
