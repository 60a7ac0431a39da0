"""The phases of a trial, a class each: its settings, and every fact about it.

`phase_settings.PhaseSettings` has the facts that others ask of a phase, with the answers of one that neither trains nor
draws images. A new phase is a class here with its row in `PHASES`, and its function in `metafa/trials/phases.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from metafa.learning.kinds import (
    ACTIVATIONS,
    CONTROLS,
    NOISE_INPUTS,
    NORMALIZATIONS,
    OPTIMIZERS,
    OUTER_ALGORITHMS,
    SHIFTS,
)
from metafa.learning.rules import RULES, Rule
from metafa.studies.data import DATASET_BEFORE, DatasetName, DatasetNeed, Inputs, TaskDistributionName, TaskNeed
from metafa.studies.fields import (
    MAX_SIZE,
    Fraction,
    Known,
    Name,
    Number,
    Rate,
    Rates,
    Size,
    Steps,
    Strengths,
    in_32_bits,
    mistake,
)
from metafa.studies.phase_settings import OneOf, PhaseSettings
from metafa.studies.training_settings import DescentSettings, OptimizerName, ScheduleName, TrainingSettings

RuleName = Annotated[str, Known(RULES)]
ActivationName = Annotated[str, Known(ACTIVATIONS)]
OuterAlgorithmName = Annotated[str, Known(OUTER_ALGORITHMS)]
NormalizationName = Annotated[str, Known(NORMALIZATIONS)]
ShiftName = Annotated[str, Known(SHIFTS)]
NoiseInputsName = Annotated[str, Known(NOISE_INPUTS)]
ControlName = Annotated[str, Known(CONTROLS)]


class NoisePhase(TrainingSettings):
    """Noise pretraining: random inputs, random labels, fresh each step. After a phase that trained on a dataset it is
    tested on that dataset's test images."""

    watches_datasets = True
    retests = True
    measures = ("loss", "accuracy")

    phase: Literal["noise"]
    name: Name = "noise"
    """What the phase is called in settings and results."""
    steps: Steps
    """Training steps; 0 is no noise pretraining."""
    batch_size: Size = 64
    """Random inputs of one step."""
    learning_rate: Rates = 2e-4
    """The optimizer's learning rate, or a list of several, side by side in one trial."""
    rule: Literal["network", "backprop"] = "network"
    """How errors are sent back during the phase: by the network's own rule, or by backprop. Under backprop the
    network's feedback stays as it is; angles are measured against it all the same, and later phases use it."""
    inputs: NoiseInputsName = "normal"
    """The distribution of inputs, as the table below has them. Labels are random whatever the inputs. Pictures have the
    shape of the study's images, and channels that are independent."""
    dataset: DatasetName | None = None
    """The dataset that `images` and `shuffled_images` are of; its labels are not read. Other `inputs` need none."""
    mean: Number = 0.0
    """The mean of every pixel; of `pink` and `dead_leaves` that of each image over its pixels. Images of a dataset have
    their own."""
    standard_deviation: Rate = 1.0
    """The standard deviation of every pixel; of `pink` and `dead_leaves` that of each image over its pixels. Images of
    a dataset have their own."""
    labels: Literal["hard", "soft"] = "hard"
    """`hard`: one class, drawn uniformly. `soft`: probabilities drawn uniformly from the simplex."""
    control: ControlName = "none"
    """What the phase leaves in place of the trained network, as the table below has it. Every control but `none` trains
    on the same noise, and then puts the network back as it was at the phase's start, its feedback included, but for one
    thing. What is measured at a moment is measured of the network that the phase would leave if it ended there; but
    `loss` and `accuracy` of the batch are those of the training."""

    @model_validator(mode="after")
    def _has_images(self) -> Self:
        if NOISE_INPUTS[self.inputs].of_dataset and self.dataset is None:
            raise mistake(f'inputs = "{self.inputs}" needs a `dataset`: whose images')
        return self

    @property
    def has_steps(self) -> bool:
        return self.steps > 0

    @property
    def pictures(self) -> str:
        return f'{self.name}.inputs = "{self.inputs}"' if NOISE_INPUTS[self.inputs].has_rows else ""

    @property
    def turns(self) -> str:
        return f'{self.name}.control = "{self.control}"' if CONTROLS[self.control].turns else ""

    def dataset_needs(self) -> list[DatasetNeed]:
        if self.dataset is None or not NOISE_INPUTS[self.inputs].of_dataset:
            return []
        return [DatasetNeed(f"{self.name}.dataset", self.dataset, labelled=False)]

    def tested_on(self, dataset: DatasetName | None) -> set[Inputs]:
        return {Inputs(dataset)} if dataset else set()

    def transports(self, rule: Rule) -> dict[str, str]:
        return {self.name: (RULES["backprop"] if self.rule == "backprop" else rule).transports}


class SoftAlignmentPhase(PhaseSettings):
    """The outgoing weights of each hidden unit are turned towards its feedback, once, to a given angle: one-time soft
    alignment (after Cheon, Bae and Paik, arXiv 2505.20892). Step 0 is before it, step 1 after it. It needs a rule whose
    feedback has the weights' shape and does not depend on them."""

    trains = True

    phase: Literal["soft_alignment"]
    name: Name = "soft_alignment"
    """What the phase is called in settings and results."""
    angle: Annotated[float, Field(ge=0, le=180), AfterValidator(in_32_bits)]
    """The angle, in degrees, of every hidden unit's outgoing weights to its feedback. They are turned within the plane
    of both, and keep their norm; the first layer and the biases stay as they are."""

    @property
    def turns(self) -> str:
        return f'{self.name}.phase = "soft_alignment"'

    def transports(self, rule: Rule) -> dict[str, str]:
        return {self.name: "none"}


def check_length(phase: SupervisedPhase | WholeDatasetsPhase) -> None:
    """Raises a mistake where a phase that trains on images has no length, two, or less images than a batch."""
    if (phase.steps is None) == (phase.epochs is None):
        raise mistake(f"a {phase.phase} phase is as long as its `steps` or its `epochs` say: one of the two")
    if phase.training_images is not None and phase.training_images < phase.batch_size:
        raise mistake(f"`training_images` is {phase.training_images}, less than a batch of {phase.batch_size}")


class SupervisedPhase(TrainingSettings):
    """Training on a dataset's images and labels, and testing on its test images."""

    measures = (
        *("loss", "accuracy", "generalization_error", "generalization_gap"),
        *("expected_calibration_error", "expected_calibration_error_10_bins"),
    )

    phase: Literal["supervised"]
    name: Name = "supervised"
    """What the phase is called in settings and results."""
    dataset: DatasetName
    """The dataset that the network is trained and tested on."""
    training_images: Size | None = None
    """How many of the dataset's training images are used, drawn at random for each seed. Default: all of them."""
    steps: Steps | None = None
    """Training steps. A phase has either `steps` or `epochs`."""
    epochs: Steps | None = None
    """Passes over the training images, each in a new random order. A last batch that is not full is left out."""
    batch_size: Size = 64
    """Images of one step."""
    learning_rate: Rates = 1e-4
    """The optimizer's learning rate, or a list of several, side by side in one trial."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_length(self)
        return self

    @property
    def has_steps(self) -> bool:
        return bool(self.steps or self.epochs)

    def dataset_needs(self) -> list[DatasetNeed]:
        return [
            DatasetNeed(f"{self.name}.dataset", self.dataset),
            DatasetNeed(f"{self.name}.training_images", self.dataset, self.training_images or 0),
            DatasetNeed(f"{self.name}.batch_size", self.dataset, self.batch_size),
        ]


class WholeDatasetsPhase(DescentSettings):
    """Ordinary training on each of several whole datasets, each time of a copy of the network as the phase finds it,
    and the *whole-dataset meta-loss*: the sum over the datasets of the loss on the test images, averaged over that
    training and at its end (after Cheon, Lee and Paik 2024, whose text leaves open which of the two). Noise phases of
    the trial measure it at all of their moments too. The network stays as it was."""

    adapts_to_datasets = True
    measures = ("loss", "accuracy", "whole_dataset_meta_loss", "whole_dataset_meta_loss_at_end")

    phase: Literal["whole_datasets"]
    name: Name = "whole_datasets"
    """What the phase is called in settings and results."""
    datasets: Annotated[list[DatasetName], Field(min_length=1)]
    """The datasets that copies of the network are trained and tested on."""
    training_images: Size | None = None
    """How many of each dataset's training images are used, drawn at random for each seed. Default: all of them."""
    steps: Steps | None = None
    """Training steps on each dataset. A phase has either `steps` or `epochs`."""
    epochs: Steps | None = None
    """Passes over the training images, each in a new random order. A last batch that is not full is left out."""
    batch_size: Size = 64
    """Images of one step."""
    learning_rate: Rates = 1e-4
    """The optimizer's learning rate, or a list of several, side by side in one trial."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_length(self)
        return self

    def dataset_needs(self) -> list[DatasetNeed]:
        images = max(self.training_images or 0, self.batch_size)
        return [DatasetNeed(f"{self.name}.datasets", name, images) for name in self.datasets]

    def seen_as_they_are(self) -> list[DatasetName]:
        return self.datasets

    def tested_on(self, dataset: DatasetName | None) -> set[Inputs]:
        return set(map(Inputs, self.datasets))

    def transports(self, rule: Rule) -> dict[str, str]:
        return {self.name: rule.transports}


class OutOfDistributionPhase(PhaseSettings):
    """Tests on a dataset's test images, changed by several strengths, and on other datasets of the same classes."""

    skips_own_dataset = True
    measures = (
        *("loss", "accuracy", "expected_calibration_error", "expected_calibration_error_10_bins"),
        *("readout_probability", "auroc"),
    )

    phase: Literal["out_of_distribution"]
    name: Name = "out_of_distribution"
    """What the phase is called in settings and results."""
    dataset: DatasetName | None = None
    """The dataset whose test images are changed. Default: the dataset of the supervised phase before."""
    translation: Strengths = []
    """Pixels by which images are moved, each way in turn."""
    rotation: Strengths = []
    """Degrees by which images are turned, each way in turn."""
    scaling: Strengths = []
    """Changes of size: with 0.5 images are made 1.5 times as large, and in turn 1.5 times smaller."""
    pixel_noise: Strengths = []
    """Standard deviations of Gaussian noise on every pixel."""
    datasets: list[DatasetName] = []
    """Other datasets to test on. The classes of all of them, and of `dataset`, are the ten digits; their images are
    resized to the size of those of `dataset`. `dataset` itself may stand here, and is tested on once."""

    @property
    def shifts(self) -> list[tuple[str, float]]:
        """The changes and their strengths, each once."""
        return list(dict.fromkeys((shift, strength) for shift in SHIFTS for strength in getattr(self, shift, ())))

    def dataset_needs(self) -> list[DatasetNeed]:
        others = [
            DatasetNeed(f"{self.name}.datasets", name, same_classes=True, parts=("test",)) for name in self.datasets
        ]
        own = DatasetNeed(f"{self.name}.dataset", self.dataset or DATASET_BEFORE, parts=("test",))
        return [own, *others]

    def tested_on(self, dataset: DatasetName | None) -> set[Inputs]:
        shifted = {Inputs(dataset, shift, strength) for shift, strength in self.shifts}
        return {Inputs(dataset), *map(Inputs, self.datasets), *shifted}

    def measured_on(self, metric: str, dataset: DatasetName | None) -> set[Inputs]:
        """The AUROC is of all other inputs against the dataset's unchanged images."""
        inputs = self.tested_on(dataset)
        return inputs - {Inputs(dataset)} if metric == "auroc" else inputs


class TaskSettings(PhaseSettings):
    """A phase whose networks adapt to tasks."""

    ways: Annotated[int, Field(ge=2, le=MAX_SIZE)] = 5
    """Classes of a task."""
    shots: Size = 5
    """Support images of each class."""
    queries: Size = 10
    """Query images of each class."""
    inner_steps: Annotated[int, Field(ge=0, le=MAX_SIZE)] = 5
    """Steps of gradient descent on the support set."""
    inner_learning_rate: Rates = 0.3
    """The learning rate of those steps, or a list of several, side by side in one trial."""

    @property
    def adapts(self) -> Literal["all", "readout"]:
        """The layers that adapt to a task, whatever an outer algorithm says of them."""
        return "all"

    def task_need(self, setting: str, distribution: TaskDistributionName, split: str) -> TaskNeed:
        """The tasks of one distribution, named by ``setting``."""
        return TaskNeed(f"{self.name}.{setting}", distribution, split, self.ways, self.shots + self.queries)


class MetaPhase(TaskSettings):
    """Meta-training on tasks of a distribution's training classes."""

    trains = True

    phase: Literal["meta"]
    name: Name = "meta"
    """What the phase is called in settings and results."""
    task_distribution: TaskDistributionName
    """The task distribution that the tasks are drawn from."""
    tasks_per_batch: Size = 16
    """Tasks of one outer step."""
    outer_algorithm: OuterAlgorithmName = "exact"
    """`exact` descends the gradient of the meta-loss through the inner loop; `first_order` descends the query loss's
    gradient at the adapted weights; `reptile` moves towards the adapted weights; `anil` is exact, but only the readout
    adapts; `none` trains nothing."""
    outer_rule: Literal["inner", "backprop"] = "inner"
    """How `first_order` sends query errors back: by the network's own rule, or by backprop."""
    outer_optimizer: OptimizerName = "adam"
    """The optimizer of the outer loop, with torch's defaults."""
    outer_learning_rate: Rates = 1e-3
    """The outer optimizer's learning rate, or a list of several, side by side in one trial."""
    outer_momentum: Fraction = 0.0
    """The momentum of `sgd`."""
    outer_schedule: ScheduleName = "constant"
    """Whether the outer learning rate stays `constant` or falls to 0 along a `cosine`."""
    outer_weight_decay: Fraction | None = None
    """The fraction that weights above the first layer, and feedback that follows them, lose each outer step. Default:
    0.03 for the Kolen-Pollack rules, which align feedback by it; 0 for all others."""
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

    @property
    def has_steps(self) -> bool:
        return self.outer_steps > 0 and OUTER_ALGORITHMS[self.outer_algorithm].trains

    @property
    def learns_rates(self) -> bool:
        return self.learn_inner_rates

    def task_needs(self) -> list[TaskNeed]:
        return [self.task_need("task_distribution", self.task_distribution, "training")]

    def transports(self, rule: Rule) -> dict[str, str]:
        algorithm = OUTER_ALGORITHMS[self.outer_algorithm]
        outer_rule = rule if self.outer_rule == "inner" else RULES[self.outer_rule]
        sends = algorithm.trains and algorithm.adapts == "all"
        return {
            f"{self.name}, inner loop": rule.transports if sends else "none",
            f"{self.name}, outer loop": outer_rule.transports if algorithm.by_outer_rule else algorithm.transports,
        }


class EvaluatePhase(TaskSettings):
    """The adaptation curve on tasks of unseen classes, from 0 inner steps to `inner_steps`."""

    evaluates = True
    measures = ("meta_loss", "meta_accuracy", "generalization_error")

    phase: Literal["evaluate"]
    name: Name = "evaluate"
    """What the phase is called in settings and results."""
    task_distributions: Annotated[list[TaskDistributionName], Field(min_length=1)]
    """The task distributions that tasks are drawn from. Each of them is evaluated."""
    split: Literal["validation", "test"] = "test"
    """The split whose classes the tasks are made of."""
    tasks: Size = 300
    """Tasks of each distribution, for every seed."""
    adapted_layers: Literal["all", "readout"] = "all"
    """The layers that adapt to a task: all of them, or, as in meta-training by `anil`, the readout alone."""
    learned_rates: bool = False
    """Whether to adapt with the inner learning rates that the meta phase before has learned, in place of
    `inner_learning_rate`. Steps beyond those of the meta phase take the rates of its last step."""

    @property
    def adapts(self) -> Literal["all", "readout"]:
        return self.adapted_layers

    @property
    def takes_learned_rates(self) -> bool:
        return self.learned_rates

    def task_needs(self) -> list[TaskNeed]:
        return [self.task_need("task_distributions", name, self.split) for name in self.task_distributions]

    def tested_on(self, dataset: DatasetName | None) -> set[Inputs]:
        return set(map(Inputs, self.task_distributions))

    def transports(self, rule: Rule) -> dict[str, str]:
        return {self.name: "none" if self.adapted_layers == "readout" else rule.transports}


PHASES: dict[str, type[PhaseSettings]] = {
    "noise": NoisePhase,
    "soft_alignment": SoftAlignmentPhase,
    "supervised": SupervisedPhase,
    "whole_datasets": WholeDatasetsPhase,
    "out_of_distribution": OutOfDistributionPhase,
    "meta": MetaPhase,
    "evaluate": EvaluatePhase,
}


Phase = Annotated[PhaseSettings, OneOf(PHASES)]
