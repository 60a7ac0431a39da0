"""The phases whose networks adapt to tasks: a class each, as `phases` has them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from metafa.learning.kinds import OPTIMIZERS, OUTER_ALGORITHMS
from metafa.learning.rules import RULES, Rule
from metafa.studies.data import DatasetName, Inputs, TaskDistributionName, TaskNeed
from metafa.studies.fields import MAX_SIZE, Fraction, Known, Name, Rates, Size, Steps, mistake
from metafa.studies.phase_settings import PhaseSettings
from metafa.studies.training_settings import OptimizerName, ScheduleName

OuterAlgorithmName = Annotated[str, Known(OUTER_ALGORITHMS)]


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
