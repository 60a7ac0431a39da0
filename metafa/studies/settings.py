"""What a study file may say: every setting, defined, typed, defaulted and explained in this one place.

Nothing here imports torch, so that a study is read and checked in a moment.
"""

from __future__ import annotations

import functools
import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from metafa.learning.rules import RULES

# Raised by whoever changes what the same settings compute, a default among them; part of every trial_id.
NUMERICS = 5

MAX_TRIALS = 100_000

DIVERGED_TIMES_CHANCE = 1000.0  # a loss above so many times that of chance counts as diverged


class Metric(NamedTuple):
    """What a metric is, its unit, which of two values is better, if either is, and whether a phase that trains measures
    it at all of its moments, or only at some."""

    meaning: str
    unit: str = ""
    better: Literal["lower", "higher"] | None = None
    throughout: bool = True

    @property
    def direction(self) -> Direction | None:
        """The way in which a search or early stopping goes where none is said."""
        return None if self.better is None else "minimize" if self.better == "lower" else "maximize"


Direction = Literal["minimize", "maximize"]
METRICS = {
    "meta_loss": Metric("cross-entropy on the query sets, after adaptation to the support sets", "nats", "lower"),
    "meta_accuracy": Metric("accuracy on the query sets, after adaptation to the support sets", better="higher"),
    "generalization_error": Metric(
        "the meta-loss less the loss on the support sets; of a dataset, the loss on test images less that on training "
        "images",
        "nats",
        "lower",
    ),
    "loss": Metric(
        "cross-entropy of the batch trained on: noise, images, or the query sets of training tasks; with a `task`, of "
        "those test images",
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

RuleName = Literal[
    "backprop",
    "feedback_alignment",
    "direct_feedback_alignment",
    "sign_symmetry_uniform",
    "sign_symmetry_fixed",
    "sign_symmetry_random",
    "kolen_pollack",
    "nested_kolen_pollack",
    "weight_mirror",
]
ActivationName = Literal["relu", "tanh"]
OuterAlgorithmName = Literal["exact", "first_order", "reptile", "anil", "none"]
OptimizerName = Literal["adam", "sgd"]
TaskDistributionName = Literal["glyphs", "omniglot", "omniglot-minimal", "mnist", "fashion-mnist", "kmnist"]
DatasetName = Literal["glyphs", "digits", "mnist", "mnist10k", "fashion-mnist", "kmnist", "usps", "cifar10"]

# Of the images of tasks, and of each dataset: rows, columns, and channels where there are several. Said here, so that a
# study is checked without loading any.
TASK_SHAPE = (28, 28)
DATASET_SHAPES: dict[str, tuple[int, ...]] = {name: (28, 28) for name in get_args(DatasetName)} | {
    "digits": (8, 8),
    "usps": (16, 16),
    "cifar10": (32, 32, 3),
}
DIGITS = ("glyphs", "digits", "mnist", "mnist10k", "usps")  # the datasets whose classes are the ten digits
DATASET_CLASSES = 10  # of every dataset

MAX_WHOLE = 2**63 - 1  # the largest whole number that a column of Parquet holds
MAX_STEPS = 10**12  # of a phase: more than anybody waits for
MAX_SIZE = 1_000_000  # of anything that a trial holds as many of at once: units, images of a batch, tasks
MAX_SEEDS = 10_000  # of a trial; each has generators of its own
MAX_CPUS, MAX_GPUS = 4096, 1024  # of a trial; torch starts as many threads
LARGEST, SMALLEST = 3.4028234663852886e38, 1.1754943508222875e-38  # the sizes of numbers in 32 bits, but for 0
MAX_LETTERS = 10_000  # of a text


def mistake(sentence: str) -> PydanticCustomError:
    """What a setting that is wrong, or does not fit another, raises."""
    return PydanticCustomError("misfit", "{sentence}", {"sentence": sentence})


def _in_32_bits(value: float) -> float:
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise mistake(f"found {value}: numbers of 32 bits are 0, or from {SMALLEST:.3g} to {LARGEST:.3g} in size")
    return value


def _readable(value: str) -> str:
    if len(value) > MAX_LETTERS:
        raise mistake(f"found a text of {len(value)} letters, expected at most {MAX_LETTERS}")
    if odd := [letter for letter in value if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t"]:
        raise mistake(f"found {odd[0]!r} in it, expected a text without control characters")
    return value


def _whole_gpus(value: float) -> float:
    if value and not 0.0001 <= value <= 1 and not (value > 1 and value.is_integer()):
        raise mistake(f"found {value}: GPUs are shared by fractions from 0.0001, and of more than one taken whole")
    return value


def _end_of_range(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticKnownError("float_type")
    if isinstance(value, int) and not -MAX_WHOLE <= value <= MAX_WHOLE:
        raise mistake(f"found an integer of {value.bit_length()} bits, expected one from 1 - 2^63 to 2^63 - 1")
    if not math.isfinite(value):
        raise PydanticKnownError("finite_number")
    return value


Positive = Annotated[int, Field(ge=1, le=MAX_WHOLE)]
Count = Annotated[int, Field(ge=0, le=MAX_WHOLE)]
Steps = Annotated[int, Field(ge=0, le=MAX_STEPS)]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Number = Annotated[float, AfterValidator(_in_32_bits)]
Rate = Annotated[float, Field(gt=0), AfterValidator(_in_32_bits)]
Fraction = Annotated[float, Field(ge=0, lt=1), AfterValidator(_in_32_bits)]
NotNegative = Annotated[float, Field(ge=0), AfterValidator(_in_32_bits)]
Rates = Annotated[
    Annotated[Rate, Tag("one rate")] | Annotated[list[Rate], Field(min_length=1), Tag("rates")],
    Discriminator(lambda value: "rates" if isinstance(value, list) else "one rate"),
]
"""A learning rate; or a list of them, each of which all seeds train with, side by side in one trial."""
Strengths = list[NotNegative]
End = Annotated[float | int, BeforeValidator(_end_of_range)]
Text = Annotated[str, AfterValidator(_readable)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class NetworkSettings(Settings):
    """The multilayer perceptron: one input a pixel, hidden layers, one output a way of the widest task or a class."""

    hidden: Annotated[list[Size], Field(min_length=1)] = [100]
    """Units of each hidden layer."""
    activation: ActivationName = "relu"
    """The hidden units' activation function."""
    rule: RuleName = "feedback_alignment"
    """The credit assignment rule: how errors travel back, during noise pretraining and in the inner loop."""
    feedback_distribution: Literal["normal", "uniform"] = "normal"
    """What feedback is drawn from; its mean is 0. Under sign symmetry its sizes alone matter."""
    feedback_scale: Rate = 1.0
    """The standard deviation of feedback, in units of that of the weights at the start."""
    mirror_learning_rate: Annotated[float, Field(gt=0, le=1), AfterValidator(_in_32_bits)] = 0.02
    """For `weight_mirror`: how far feedback moves towards what it mirrors, a training step or an outer step."""
    mirror_batch_size: Size = 64
    """For `weight_mirror`: noise vectors of each of those moves."""


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
        kinds = ("translation", "rotation", "scaling", "pixel_noise")
        return [(kind, strength) for kind in kinds for strength in getattr(self, kind)]


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
    iterations: Steps
    """Outer steps."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.outer_momentum and self.outer_optimizer != "sgd":
            raise mistake('`outer_momentum` is for outer_optimizer = "sgd"; adam has its own')
        if self.learn_inner_rates and self.outer_algorithm not in ("exact", "anil"):
            raise mistake('`learn_inner_rates` needs outer_algorithm = "exact" or "anil"')
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


class Outline(NamedTuple):
    """What of a phase other phases have to fit, and what decides which images it draws on."""

    kind: str
    name: str
    lists: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """The learning rates that are lists, by name."""
    dataset: DatasetName | None = None
    datasets: tuple[DatasetName, ...] = ()
    task_distributions: tuple[TaskDistributionName, ...] = ()
    split: str | None = None
    learns_rates: bool = False
    takes_learned_rates: bool = False


RATES = {kind: [name for name in model.model_fields if name.endswith("rate")] for kind, model in PHASES.items()}


def outline(phase: Phase) -> Outline:
    """The outline of a phase."""
    rates = [(name, getattr(phase, name)) for name in RATES[phase.phase]]
    plain = Outline(phase.phase, phase.name, tuple((name, tuple(one)) for name, one in rates if isinstance(one, list)))
    if isinstance(phase, SupervisedPhase):
        return plain._replace(dataset=phase.dataset)
    if isinstance(phase, OutOfDistributionPhase):
        return plain._replace(dataset=phase.dataset, datasets=tuple(phase.datasets))
    if isinstance(phase, MetaPhase):
        distributions = (phase.task_distribution,)
        return plain._replace(task_distributions=distributions, split="training", learns_rates=phase.learn_inner_rates)
    if isinstance(phase, EvaluatePhase):
        return plain._replace(
            task_distributions=tuple(phase.task_distributions),
            split=phase.split,
            takes_learned_rates=phase.learned_rates,
        )
    return plain


Outlines = tuple[Outline, ...]  # of the phases of a trial, many of which have the same


@functools.lru_cache(maxsize=1024)
def datasets_of(outlines: Outlines) -> dict[str, DatasetName]:
    """The dataset that each phase trains on or changes, by the phase's name."""
    found: dict[str, DatasetName] = {}
    before: DatasetName | None = None
    for one in outlines:
        if one.kind in ("supervised", "out_of_distribution") and (name := one.dataset or before):
            found[one.name] = name
            before = name if one.kind == "supervised" else before
    return found


@functools.lru_cache(maxsize=1024)
def pixels_of(outlines: Outlines) -> dict[str, int]:
    """The pixels of the images that each phase sees, by its name; a network takes but one number."""
    tasks = {one.name: TASK_SHAPE for one in outlines if one.task_distributions}
    shapes = tasks | {name: DATASET_SHAPES[dataset] for name, dataset in datasets_of(outlines).items()}
    return {one.name: math.prod(shapes[one.name]) for one in outlines if one.name in shapes}


def lists_of(outlines: Outlines) -> dict[str, tuple[float, ...]]:
    """The learning rates that are lists, by dotted name."""
    return {f"{one.name}.{name}": rates for one in outlines for name, rates in one.lists}


@functools.lru_cache(maxsize=1024)
def misfit(outlines: Outlines) -> str | None:
    """Why phases do not fit each other, in a sentence, if they do not."""
    lists = lists_of(outlines)
    if len(lists) > 1:
        return f"one learning rate at most is a list, found {' and '.join(lists)}"
    for name, rates in lists.items():
        if len(set(rates)) < len(rates):
            return f"{name} has a rate twice"
    pixels = pixels_of(outlines)
    if len(set(pixels.values())) > 1:
        found = ", ".join(f"{number} in {name}" for name, number in pixels.items())
        return f"a network takes images of one size, found pixels: {found}"
    learned, datasets = False, datasets_of(outlines)
    for one in outlines:
        if one.kind == "out_of_distribution":
            if one.name not in datasets:
                return f"{one.name} needs a `dataset`, or a supervised phase before it"
            unlike = [name for name in (datasets[one.name], *one.datasets) if name not in DIGITS]
            if one.datasets and unlike:
                return f"{one.name}.datasets: their classes are the ten digits; those of {unlike[0]} are not"
        learned |= one.learns_rates
        if one.takes_learned_rates and not learned:
            return f"{one.name}.learned_rates needs a meta phase before it with learn_inner_rates = true"
    return None


TRAINS = ("noise", "supervised", "meta")  # the kinds of phases that train
# What a kind of phase measures of its own, and what each that trains does besides; `metrics_of` has the rest.
MEASURED: dict[str, tuple[str, ...]] = {
    "noise": (),
    "supervised": ("loss", "accuracy", "generalization_error", "expected_calibration_error"),
    "out_of_distribution": ("loss", "accuracy", "expected_calibration_error", "readout_probability"),
    "meta": (),
    "evaluate": ("meta_loss", "meta_accuracy", "generalization_error"),
}
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


class MeasureSettings(Settings):
    """What is measured while a phase trains."""

    points: Annotated[int, Field(ge=3, le=MAX_SIZE)] = 10
    """Moments of each phase, evenly spaced in the logarithm of the step; its start, first step and end among them."""
    tasks: Size = 100
    """Tasks of each evaluated distribution for the meta-loss at those moments."""
    singular_values: bool = False
    """Whether to record every layer's singular values at the start and the end of each phase that trains."""
    weight_path: bool = False
    """Whether to keep the weights at those moments until the trial ends, and record the path they took through all
    its phases in the plane of its first two principal components."""


class TrialSettings(Settings):
    """Everything that determines a trial's result, besides what metafa computes from it."""

    seed: Count = 0
    """The study's seed, part of every random stream."""
    seeds: Annotated[int, Field(ge=1, le=MAX_SEEDS)] = 8
    """Seeds of a trial, 0, 1, ... : a replica each, or one for each of several learning rates side by side.
    Trials with the same seed share weights, feedback and tasks."""
    network: NetworkSettings = NetworkSettings()
    phases: Annotated[list[Phase], Field(min_length=1)]
    """What a trial does, in this order."""
    measure: MeasureSettings = MeasureSettings()

    @property
    def outlines(self) -> Outlines:
        """The outline of each phase."""
        return tuple(map(outline, self.phases))

    def datasets(self) -> dict[str, DatasetName]:
        """The dataset that each phase trains on or changes, by the phase's name."""
        return dict(datasets_of(self.outlines))

    @property
    def outputs(self) -> int:
        """The network's outputs: as many as the widest task has ways, or a dataset classes."""
        ways = [phase.ways for phase in self.phases if isinstance(phase, TaskSettings)]
        return max([*ways, *(DATASET_CLASSES for _ in self.datasets())])

    @property
    def divergence_bound(self) -> float:
        """The loss, in nats, above which a network counts as diverged: `DIVERGED_TIMES_CHANCE` times the cross-entropy
        of chance, the logarithm of the number of outputs."""
        return DIVERGED_TIMES_CHANCE * math.log(self.outputs)

    @property
    def pixels(self) -> dict[str, int]:
        """The pixels of the images that each phase sees, by its name; a network takes but one number."""
        return dict(pixels_of(self.outlines))

    @property
    def side_by_side(self) -> dict[str, list[float]]:
        """The learning rates that are lists, by dotted name: one at most."""
        return {name: list(rates) for name, rates in lists_of(self.outlines).items()}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if said := misfit(self.outlines):
            raise mistake(said)
        return self


class SearchSettings(Settings):
    """How the search space is searched."""

    method: Literal["grid", "random", "sobol", "tpe", "gp", "cmaes", "nsgaii"] = "grid"
    """`grid`: every combination of all `choices`. `random`: `trials` points drawn independently. `sobol`: `trials`
    points of a scrambled Sobol sequence, which fill the space more evenly; a power of 2 is best. The others adapt: they
    are Optuna's samplers of those names, and propose where what they have seen of `objectives` promises most. `metafa
    check` says how many points they draw at random before; `cmaes` takes ranges alone."""
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    """Points to try; for all but `grid`. A study that adapts may be continued with more, and is done where its space
    has no more."""
    objectives: list[Text] = []
    """What an adaptive search is after: a phase and what is measured in it, such as `evaluate.meta_loss` (at the
    phase's last step, the mean over seeds), or a setting such as `noise.steps`. `tpe` and `nsgaii` take several."""
    directions: list[Direction] = []
    """For each objective; where they are not said, that in which its metric is better, and of a setting `minimize`."""
    batch: Positive = 8
    """Points that a synchronous adaptive search proposes at a time."""
    synchronous: bool = True
    """Whether proposals of an adaptive search depend on whole batches alone: the same study then tries the same points
    whatever the number of workers. If not, each depends on all that is done by then, and no worker ever waits; for
    `tpe` and `gp`."""

    @property
    def sought(self) -> list[Direction]:
        """The direction of each objective, whether it is said or not."""
        return self.directions or [direction_of(name) or "minimize" for name in self.objectives]


def direction_of(name: str) -> Direction | None:
    """The way in which a metric, as PHASE.METRIC, is better, and of a setting `minimize`; None where a metric has
    none."""
    metric = METRICS.get(name.rpartition(".")[2])
    return metric.direction if metric else "minimize"


ADAPTIVE = ("tpe", "gp", "cmaes", "nsgaii")


MEDIAN_FACTOR = 2.0  # by which the steps grow at which the median rule judges


class EarlyStoppingSettings(Settings):
    """Trials that do worse than others at the same step of a phase are stopped. Which, depends on timing. All trials
    are judged after the same steps, however long each of them is, and measured there besides."""

    method: Literal["asha", "median"]
    """Ray's: `asha`, the best 1 / `reduction_factor` go on at each of steps that grow by that factor (Li et al. 2020);
    `median`, at each of steps that double, those whose best is not worse than the median of the others' means so far
    (Golovin et al. 2017)."""
    metric: Text
    """A phase that trains, and what is measured there, such as `meta.meta_loss`: the mean over seeds."""
    direction: Direction | None = None
    """Which is better; where it is not said, as the metric has it."""
    grace_period: Positive = 1
    """The first step after which trials are judged; each further one is `reduction_factor` times as late, or, for
    `median`, twice."""
    reduction_factor: Annotated[float, Field(ge=1.1), AfterValidator(_in_32_bits)] = 4.0
    """For `asha`."""

    @property
    def sought(self) -> Direction:
        """The direction, whether it is said or not."""
        return self.direction or direction_of(self.metric) or "minimize"

    @property
    def phase(self) -> str:
        """The phase in which trials are judged."""
        return self.metric.rpartition(".")[0]

    def judged_steps(self, phase: str, total: int) -> frozenset[int]:
        """The steps of a phase of ``total`` steps after which a trial is judged: the same in all trials as far as they
        go, and not a trial's last, since other phases follow."""
        if phase != self.phase:
            return frozenset()
        factor = self.reduction_factor if self.method == "asha" else MEDIAN_FACTOR
        rungs = (math.ceil(self.grace_period * factor**k) for k in itertools.count())
        return frozenset(itertools.takewhile(lambda rung: rung < total, rungs))


class ResourceSettings(Settings):
    """What one trial is given. The number of CPUs, and whether there are GPUs, decide how sums round, and so have to
    stay as they are where a study is continued."""

    cpus_per_trial: Annotated[int, Field(ge=1, le=MAX_CPUS)] = 1
    """CPU cores, and threads, of a trial."""
    gpus_per_trial: Annotated[float, Field(ge=0, le=MAX_GPUS), AfterValidator(_whole_gpus)] = 0.0
    """GPUs of a trial; a fraction shares one. With 0 it runs on the CPU."""
    checkpoint_seconds: Rate = 60.0
    """How long a trial trains before it writes a checkpoint, from which it goes on if it is interrupted."""


class ClaimSettings(Settings):
    """A claim, and the rule by which `analysis/claims.py` judges it, written down before the study runs: the mean over
    seeds of a difference, with its 95% interval, has to be on the side expected, by more than `margin`."""

    claim: Positive
    """Its number, of the eight of Cheon, Lee and Paik (2024); 9 is calibration, of their later arXiv 2412.17411."""
    statement: Text
    """What is claimed, in a sentence."""
    metric: Text
    """What is compared, such as `accuracy`."""
    phase: Name
    """The phase that it is measured in."""
    task: Text | None = None
    """The inputs it is measured on, or how their names begin. Where it is not said: the phase's dataset; out of
    distribution, all but that dataset as it is; of the meta-loss, all task distributions that it is measured on."""
    layer: Positive | None = None
    """The layer, for what is measured of one; where it is not said, the mean over layers."""
    step: Literal["last", "mean"] = "last"
    """At the phase's last step, or the mean over its steps."""
    rule: RuleName = "feedback_alignment"
    """Whose networks are compared."""
    compare: Literal["noise", "start", "reference"] = "noise"
    """What networks with noise, as many steps of it as there are values, are compared with. `noise`: those without, of
    the same seed. `start`: themselves at the phase's start. `reference`: a number."""
    reference: Number = 0.0
    """That number."""
    expect: Literal["lower", "higher", "near"]
    """Where the difference should be: below 0, above it, or closer to it than `margin`."""
    margin: NotNegative = 0.0
    """By how much."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.expect == "near" and not self.margin:
            raise mistake('expect = "near" needs a `margin` above 0: how near')
        return self


class StudySettings(TrialSettings):
    """A study file. Any setting of `seed`, `network`, `phases` and `measure` may be a search space instead of a
    value: `{ choices = [...] }`, or `{ low = ..., high = ... }` with `log` or `step` as Optuna has them."""

    name: Name
    """The study's name, by default the file's; its results stand in `results/NAME`."""
    question: Text = ""
    """What the study asks, in a sentence."""
    claims: list[ClaimSettings] = []
    """What it claims, and how its results are to be judged."""
    search: SearchSettings = SearchSettings()
    early_stopping: EarlyStoppingSettings | None = None
    """Whether and how trials are stopped early."""
    resources: ResourceSettings = ResourceSettings()


class Range(Settings):
    low: End
    high: End
    log: bool = False
    step: End | None = None


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


def inputs_of(settings: TrialSettings, phase: str, metric: str) -> set[str | None]:
    """The inputs on which a phase measures a metric that it measures, as the column `task` calls them; None for the
    batch trained on, and for what is not measured on inputs."""
    one = next(one for one in settings.phases if one.name == phase)
    if isinstance(one, EvaluatePhase):
        return set(one.task_distributions)
    dataset = settings.datasets().get(phase)
    if isinstance(one, OutOfDistributionPhase):
        return {dataset, *one.datasets, *(f"{dataset}/{shift}={strength:g}" for shift, strength in one.shifts)}
    probed = next((other.task_distributions for other in settings.phases if isinstance(other, EvaluatePhase)), [])
    trained = [other.dataset for other in settings.phases if isinstance(other, SupervisedPhase)]
    if metric in OF_TASKS:
        return set(probed)
    if metric in ("readout_probability", "readout_deviation"):
        return {"noise", *trained, *(images_of_tasks(name, trained) for name in probed)}
    if metric in OF_THE_BATCH:
        return {None, dataset} if isinstance(one, SupervisedPhase) else {None}
    return {dataset if metric in MEASURED[one.phase] else None}


def images_of_tasks(distribution: str, datasets: Sequence[str]) -> str:
    """What the images of a distribution's tasks are called, beside ``datasets``, of which one may have its name."""
    return f"tasks of {distribution}" if distribution in datasets else distribution


def has_steps(phase: Phase) -> bool:
    """Whether a phase trains at all."""
    if isinstance(phase, MetaPhase):
        return phase.iterations > 0 and phase.outer_algorithm != "none"
    return bool(getattr(phase, "steps", None) or getattr(phase, "epochs", None))


class TaskNeed(NamedTuple):
    """Tasks that a phase draws."""

    place: str
    distribution: str
    split: str
    ways: int
    images_per_class: int


def flatten(settings: TrialSettings) -> dict[str, Any]:
    """Every setting of a trial under its dotted name, such as ``noise.steps``."""
    flat: dict[str, Any] = {}
    for key, value in settings:
        if isinstance(value, Settings):
            flat.update({f"{key}.{name}": inner for name, inner in value})
        elif key == "phases":
            flat["phases"] = [phase.name for phase in value]
            for phase in value:
                flat.update({f"{phase.name}.{name}": inner for name, inner in phase if name not in ("name", "phase")})
        else:
            flat[key] = value
    return flat


def as_text(value: Any) -> str:
    """A setting's value as people read it, such as ``100, 100`` or ``noise (steps 64), evaluate (tasks 20)``; nothing
    where it is missing."""
    if isinstance(value, list | tuple):
        return ", ".join(map(as_text, value))
    if isinstance(value, dict):  # a phase
        settings = [f"{key} {as_text(one)}" for key, one in value.items() if key not in ("phase", "name")]
        return f"{value.get('name', value.get('phase'))} ({', '.join(settings)})"
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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


class DatasetNeed(NamedTuple):
    """A dataset that a phase uses, and how many training images of it."""

    place: str
    dataset: str
    training_images: int = 0


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


@functools.lru_cache(maxsize=1024)
def images_of(outlines: Outlines) -> Mapping[str, str]:
    """As `image_needs`."""
    needs: dict[str, str] = {}
    for one in outlines:
        setting = "task_distribution" if one.kind == "meta" else "task_distributions"
        for distribution in one.task_distributions:
            needs.setdefault(f"tasks/{distribution}/{one.split}", f"{one.name}.{setting}")
    datasets = datasets_of(outlines)
    for one in outlines:
        used = [("dataset", datasets[one.name])] if one.name in datasets else []
        for setting, name in (*used, *(("datasets", name) for name in one.datasets)):
            for part in ("training", "test"):
                needs.setdefault(f"datasets/{name}/{part}", f"{one.name}.{setting}")
    return needs


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
        elif phase.outer_algorithm == "none":
            found |= {f"{phase.name}, inner loop": "none", f"{phase.name}, outer loop": "none"}
        else:
            first_order = rule if phase.outer_rule == "inner" else RULES[phase.outer_rule].transports
            found |= {
                f"{phase.name}, inner loop": "none" if phase.outer_algorithm == "anil" else rule,
                # to differentiate through the inner loop is to go back through the weights; Reptile sends no error
                f"{phase.name}, outer loop": {"first_order": first_order, "reptile": "none"}.get(
                    phase.outer_algorithm, "weights"
                ),
            }
    return found
