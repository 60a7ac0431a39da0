"""The tables of a study file but for phases and claims: every setting, defined, typed, defaulted and explained here.

Nothing here imports torch, so that a study is read and checked in a moment.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from metafa.learning.kinds import ARCHITECTURES
from metafa.studies.claims import ClaimSettings
from metafa.studies.data import DATASETS, DatasetName
from metafa.studies.fields import (
    MAX_CPUS,
    MAX_GPUS,
    MAX_SEEDS,
    MAX_SIZE,
    Count,
    Name,
    Positive,
    Rate,
    Settings,
    Size,
    Text,
    in_32_bits,
    mistake,
    whole_gpus,
)
from metafa.studies.metrics import Direction, direction_of
from metafa.studies.outlines import Outlines, datasets_of, lists_of, misfit, pixels_of, shape_of, unturnable
from metafa.studies.phases import ActivationName, ArchitectureName, NormalizationName, Phase, RuleName

# Increment when the same settings, defaults included, would give other results; part of every trial_id.
NUMERICS = 6

DIVERGED_TIMES_CHANCE = 1000.0  # a loss above so many times that of chance counts as diverged


class NetworkSettings(Settings):
    """The network. It has as many outputs as the trial's widest task has ways or, if that is more, as its dataset has
    classes."""

    architecture: ArchitectureName = "mlp"
    """The layers. `mlp`: a multilayer perceptron with the layers `hidden`, which has one input for each pixel of an
    image. `omniglot-cnn`: learn2learn's OmniglotCNN, four blocks of a 3 x 3 convolution of stride 2, a normalization
    and the activation function, then the mean of each feature map and a linear readout. `cnn4`: learn2learn's CNN4,
    four blocks of a 3 x 3 convolution, a normalization, the activation function and 2 x 2 max-pooling, then a linear
    readout. `resnet12`: learn2learn's ResNet12 without dropout, four residual blocks of three 3 x 3 convolutions, each
    with a normalization, and a 1 x 1 convolution around them, of 1, 2.5, 5 and 10 times `filters`, each followed by 2 x
    2 max-pooling; then the mean of each feature map and a linear readout. Weights start as learn2learn's do."""
    hidden: Annotated[list[Size], Field(min_length=1)] = [100]
    """Units of each hidden layer, for `mlp`."""
    filters: Size = 64
    """Filters of each convolution, for architectures that have some."""
    activation: ActivationName = "relu"
    """The hidden units' activation function. Default: `leaky_relu` for `resnet12`, `relu` for all others."""
    normalization: NormalizationName = "none"
    """What stands between a hidden layer and its activation function, with torch's defaults; its scale and shift are
    learned, by its own derivative under every rule. `batch`: batch normalization, of each unit, or of each feature map;
    it tests with the mean and variance that it has kept of the batches trained on, noise among them, but for tasks:
    there `batch_statistics` says which serve. `group`: group normalization, of each image by itself. Default: `none`
    for `mlp`, `batch` for all others."""
    batch_statistics: Literal["transductive", "support"] = "transductive"
    """For `normalization = "batch"`, on the query set of a task: its own mean and variance, `transductive`, as in
    MAML's and learn2learn's examples, so that what a network says of one query image depends on the others; or those
    of the `support` set, so that it does not. In the inner loop they are those of the support set."""
    groups: Size = 8
    """For `normalization = "group"`: into how many groups the units, or the feature maps, of a layer are divided."""
    pixels: Literal["unit", "standardized"] = "unit"
    """The pixels of images as the network sees them. `unit`: from 0 to 1. `standardized`: for each colour less the
    mean, and divided by the standard deviation, of all training images of the dataset that the trial trains on first;
    or, where it trains on none, of the first dataset or task distribution that it names. All images are standardized
    by these numbers, those of tasks and of tests out of distribution too, after any shift. Noise stays as it is."""
    rule: RuleName = "feedback_alignment"
    """The credit assignment rule: how errors travel back, during noise pretraining and in the inner loop."""
    feedback_distribution: Literal["normal", "uniform"] = "normal"
    """The distribution that feedback is drawn from; its mean is 0. Under sign symmetry only the sizes of the entries
    matter."""
    feedback_scale: Rate = 1.0
    """The standard deviation of feedback, in units of that of the weights at the start."""
    mirror_learning_rate: Annotated[float, Field(gt=0, le=1), AfterValidator(in_32_bits)] = 0.02
    """For the rule `weight_mirror`: how far feedback moves towards what it mirrors with each training step or outer
    step."""
    mirror_batch_size: Size = 64
    """For the rule `weight_mirror`: how many noise vectors each of those moves is estimated from."""

    @property
    def hidden_units(self) -> tuple[int, ...]:
        """The units, or feature maps, of each hidden layer with weights."""
        return ARCHITECTURES[self.architecture].filters(self.filters) or tuple(self.hidden)

    def senders(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """The units, or feature maps, that send into each layer with weights but the first, of images of that
        shape."""
        *below, last = self.hidden_units
        row = ARCHITECTURES[self.architecture]
        return (*below, row.readout_inputs(self.filters, image) if row.widths else last)

    @model_validator(mode="before")
    @classmethod
    def _as_the_architecture_has_it(cls, said: Any) -> Any:
        """Its own normalization and activation function where none is said."""
        name = said.get("architecture", "mlp") if isinstance(said, dict) else None
        if not isinstance(name, str) or name not in ARCHITECTURES:
            return said
        row = ARCHITECTURES[name]
        return {"normalization": row.normalization, "activation": row.activation} | said

    @model_validator(mode="after")
    def _fits_the_architecture(self) -> Self:
        other, own = ("hidden", "filters") if ARCHITECTURES[self.architecture].widths else ("filters", "hidden")
        if other in self.model_fields_set:
            raise mistake(f'architecture = "{self.architecture}" has no `{other}`; it has `{own}`')
        for units in self.hidden_units if self.normalization == "group" else ():
            if units % self.groups:
                raise mistake(f"found {self.groups} groups, which do not divide the {units} units of a hidden layer")
            if units == self.groups and own == "hidden":  # a feature map has more values than one
                raise mistake(f"found {self.groups} groups of {units} units: normalization of one unit makes 0 of it")
        return self


class MeasureSettings(Settings):
    """What is measured while a phase trains."""

    points: Annotated[int, Field(ge=3, le=MAX_SIZE)] = 10
    """How many moments of each phase are measured. They are evenly spaced in the logarithm of the step, with the start,
    the first step and the end among them."""
    tasks: Size = 100
    """How many tasks of each evaluated distribution the meta-loss is measured on at those moments."""
    singular_values: bool = False
    """Whether to record every layer's singular values at the start and the end of each phase that trains."""
    units: bool = False
    """Whether to record, at those moments, the alignment angle of each unit that sends into a layer: a row each, beside
    the mean over them."""
    readout_distribution: bool = False
    """Whether to record, at the start and the end of each phase that trains, the quantiles of all readout
    probabilities, and Wilcoxon's signed-rank test of them against chance."""
    last_layer_weights: bool = False
    """Whether to record, at those moments, every weight of the last layer and what stands in its place on the way back:
    a row each; in a phase `whole_datasets`, those of the copy that learns each dataset, which is their `inputs`. So
    paths of several conditions can be drawn in one plane, together with their feedback. Of 100 units and 10 outputs
    they are 2,000 rows a moment and network: at 10 moments of noise and of three datasets, of 16 seeds, 1,280,000."""
    weight_path: bool = False
    """Whether to keep the weights at those moments until the trial ends, and record the path they took through all
    its phases in the plane of its first two principal components."""


class TrialSettings(Settings):
    """Everything that determines a trial's result, besides what metafa computes from it."""

    seed: Count = 0
    """The study's seed, part of every random stream."""
    seeds: Annotated[int, Field(ge=1, le=MAX_SEEDS)] = 8
    """How many seeds a trial has, numbered from 0. Each has a replica, or one for each of several learning rates side
    by side. In all trials, replicas of the same seed share weights, feedback and tasks."""
    network: NetworkSettings = NetworkSettings()
    phases: Annotated[list[Phase], Field(min_length=1)]
    """The phases of a trial, in the order in which they run."""
    measure: MeasureSettings = MeasureSettings()

    @property
    def outlines(self) -> Outlines:
        """The outline of each phase."""
        return tuple(phase.outline for phase in self.phases)

    def datasets(self) -> dict[str, DatasetName]:
        """The dataset that each phase trains on, changes or is tested on, by the phase's name."""
        return dict(datasets_of(self.outlines))

    @property
    def outputs(self) -> int:
        """The network's outputs: as many as the widest task has ways, or a dataset classes."""
        ways = [need.ways for phase in self.phases for need in phase.task_needs()]
        datasets = {*self.datasets().values(), *(name for phase in self.phases for name in phase.seen_as_they_are())}
        return max([*ways, *(DATASETS[name].classes for name in datasets)])

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
    def image_shape(self) -> tuple[int, ...]:
        """The shape of the images that the network takes: rows, columns, and channels where there are several."""
        return shape_of(self.outlines)

    @property
    def side_by_side(self) -> dict[str, list[float]]:
        """The learning rates that are lists, by dotted name: one at most."""
        return {name: list(rates) for name, rates in lists_of(self.outlines).items()}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        network = self.network
        said = misfit(self.outlines, network.architecture, network.normalization)
        if said := said or unturnable(self.outlines, network.rule):
            raise mistake(said)
        return self


MAX_TRIALS = 100_000


class SearchSettings(Settings):
    """How the search space is searched."""

    method: Literal["grid", "random", "sobol", "tpe", "gp", "cmaes", "nsgaii"] = "grid"
    """`grid`: every combination of all `choices`. `random`: `trials` points drawn independently. `sobol`: `trials`
    points of a scrambled Sobol sequence, which fill the space more evenly; a power of 2 is best. The others are
    adaptive searches, Optuna's samplers of those names: from the `objectives` of earlier trials they predict which
    points are good, and propose these. Their first points are drawn at random; `metafa check` says how many. `cmaes`
    takes only ranges, and no `choices`."""
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    """How many points to try; for every method but `grid`. An adaptive search may be continued with more trials, and
    ends early where its space has no more points."""
    objectives: list[Text] = []
    """What an adaptive search optimises: a phase and a metric, such as `evaluate.meta_loss` (the mean over seeds at the
    phase's last step), or a setting, such as `noise.steps`. `tpe` and `nsgaii` take several."""
    directions: list[Direction] = []
    """The direction of each objective. Default: the direction in which its metric is better; `minimize` for a
    setting."""
    batch: Positive = 8
    """Points that a synchronous adaptive search proposes at a time."""
    synchronous: bool = True
    """Whether an adaptive search proposes points only after whole batches: the same study then tries the same points
    with any number of workers. Otherwise each proposal depends on all trials that are done by then, and no worker ever
    waits; only `tpe` and `gp` can do so."""

    @property
    def sought(self) -> list[Direction]:
        """The direction of each objective, whether it is said or not."""
        return self.directions or [direction_of(name) or "minimize" for name in self.objectives]


ADAPTIVE = ("tpe", "gp", "cmaes", "nsgaii")

MEDIAN_FACTOR = 2.0  # by which the steps grow at which the median rule judges


class EarlyStoppingSettings(Settings):
    """Trials that do worse than others at the same step of a phase are stopped. Which trials are stopped depends on
    timing: a trial is compared with those that have reached the step by then. All trials are compared after the same
    steps of the phase, however many steps the phase has in each; `metric` is measured at these steps too."""

    method: Literal["asha", "median"]
    """The rule, one of Ray's, that says which trials go on after a step at which they are compared. `asha`: those among
    the best 1 / `reduction_factor` (Li et al. 2020). `median`: a trial goes on unless its best value so far is worse
    than the median over the other trials of each one's mean value so far (Golovin et al. 2017)."""
    metric: Text
    """A phase that trains, and what is measured there, such as `meta.meta_loss`: the mean over seeds."""
    direction: Direction | None = None
    """The direction that is better. Default: that of the metric."""
    grace_period: Positive = 1
    """The first step of the phase after which trials are compared. Each further one is `reduction_factor` times as
    late, or, for `median`, twice as late."""
    reduction_factor: Annotated[float, Field(ge=1.1), AfterValidator(in_32_bits)] = 4.0
    """For `asha`: the factor by which the steps grow at which trials are compared. Of the trials, 1 / this factor goes
    on."""

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
    gpus_per_trial: Annotated[float, Field(ge=0, le=MAX_GPUS), AfterValidator(whole_gpus)] = 0.0
    """GPUs of a trial. With a fraction, trials share a GPU; with 0, they run on the CPU."""
    checkpoint_seconds: Rate = 60.0
    """How long a trial trains before it writes a checkpoint, from which it goes on if it is interrupted."""


class StudySettings(TrialSettings):
    """A study file. Any setting of `seed`, `seeds`, `network`, `phases` and `measure` may be a search space instead of
    a value: `{ choices = [...] }`, or `{ low = ..., high = ... }` with `log` or `step` as Optuna has them."""

    name: Name
    """The study's name, by default the file's; its results stand in `results/NAME`."""
    question: Text = ""
    """What the study asks, in a sentence."""
    claims: list[ClaimSettings] = []
    """The claims that the study makes, and how its results are to be judged."""
    search: SearchSettings = SearchSettings()
    early_stopping: EarlyStoppingSettings | None = None
    """Whether and how trials are stopped early."""
    resources: ResourceSettings = ResourceSettings()


def flatten(settings: TrialSettings) -> dict[str, Any]:
    """Every setting of a trial under its dotted name, such as ``noise.steps``, and every phase's kind, such as
    ``noise.phase``."""
    flat: dict[str, Any] = {}
    for key, value in settings:
        if isinstance(value, Settings):
            flat.update({f"{key}.{name}": inner for name, inner in value})
        elif key == "phases":
            flat["phases"] = [phase.name for phase in value]
            for phase in value:
                flat.update({f"{phase.name}.{name}": inner for name, inner in phase if name != "name"})
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
