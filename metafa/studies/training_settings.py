"""The settings that phases share which descend a loss on batches: noise pretraining and training on data."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from metafa.learning.kinds import OPTIMIZERS, SCHEDULES
from metafa.studies.fields import Fraction, Known, NotNegative, Positive, Rate, mistake
from metafa.studies.phase_settings import PhaseSettings

OptimizerName = Annotated[str, Known(OPTIMIZERS)]
ScheduleName = Annotated[str, Known(SCHEDULES)]


class DescentSettings(PhaseSettings):
    """How a phase descends a loss by an optimizer's steps on batches."""

    optimizer: OptimizerName = "adam"
    """The optimizer, with torch's defaults."""
    momentum: Fraction = 0.0
    """The momentum of `sgd`."""
    schedule: ScheduleName = "constant"
    """Whether the learning rate stays `constant` or falls to 0 along a `cosine` over all steps of the phase."""
    gradient_clipping: Rate | None = None
    """The largest norm that a network's gradient may have, of all its parameters together: a longer one is shortened to
    it. Default: none is shortened."""
    l2_penalty: NotNegative = 0.0
    """The weight decay in the loss: so many times itself is added to the gradient of every parameter, and of feedback
    that follows the weights, after clipping and before the optimizer, as torch's `weight_decay` does."""
    weight_decay: Fraction | None = None
    """The weight decay beside the loss: the fraction that weights above the first layer, and feedback that follows
    them, lose each step, whatever the learning rate. Default: 0.001 for the Kolen-Pollack rules, which align feedback
    by it; 0 for all others."""

    @model_validator(mode="after")
    def _has_momentum(self) -> Self:
        if self.momentum and not OPTIMIZERS[self.optimizer].momentum:
            raise mistake('`momentum` is for optimizer = "sgd"; adam has its own')
        return self


class TrainingSettings(DescentSettings):
    """A phase that trains the network so, and may end when it has converged."""

    trains = True

    converged_metric: Literal["loss", "accuracy"] | None = None
    """Whether the phase ends early, as soon as all its networks have converged by this metric: that of all images
    trained on, or, of noise, that of the batch. Default: no phase ends early."""
    converged_interval: Positive = 500
    """The metric is judged after every so many steps."""
    converged_patience: Positive = 3
    """A network has converged when, so many times in a row, the metric was not better than its best value before by
    more than `converged_change`. What follows is trained on with it, until all have."""
    converged_change: NotNegative = 0.001
    """The change, in nats or as a fraction, that counts as better."""

    @property
    def converges(self) -> bool:
        return self.converged_metric is not None

    @model_validator(mode="after")
    def _may_converge(self) -> Self:
        steps = getattr(self, "steps", None)  # None where epochs say how long the phase is
        earliest = self.converged_interval * (self.converged_patience + 1)
        if self.converges and steps and earliest > steps:
            raise mistake(
                f"no network can have converged before step {earliest}, `converged_interval` times "
                f"`converged_patience` + 1, and the phase has {steps} steps"
            )
        return self
