"""Whether the networks of a phase have converged, by the criterion that its settings say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from metafa.learning.training import Step
from metafa.studies.training_settings import TrainingSettings

SIGNS = {"loss": 1.0, "accuracy": -1.0}  # by which what is lower is better


class Convergence:
    """Follows a metric of every replica: judged after every ``interval`` steps, it has converged as soon as,
    ``patience`` times in a row, the metric was not better than its best value before by more than ``change``, as
    torch's ReduceLROnPlateau with an absolute threshold tells a plateau. Each replica is judged by itself.

    steps: the step at which each replica had first converged, -1 where it has not.
    """

    def __init__(self, phase: TrainingSettings, replicas: int, value: Callable[[Step], tuple[Tensor, Tensor]]):
        """``value`` gives the loss and the accuracy after a step, both ``[replica]``."""
        assert phase.converged_metric is not None
        self._metric, self._value = phase.converged_metric, value
        self._interval = phase.converged_interval
        self._patience, self._change = phase.converged_patience, phase.converged_change
        self._best = torch.full((replicas,), torch.inf, dtype=torch.float64)
        self._waited = torch.zeros(replicas, dtype=torch.int64)
        self.steps = torch.full((replicas,), -1)

    def judge(self, step: Step) -> bool:
        """Takes the metric after a step into account where it is its turn, and says whether it was."""
        if step.number % self._interval:
            return False
        loss, accuracy = self._value(step)
        value = SIGNS[self._metric] * (loss if self._metric == "loss" else accuracy).double().cpu()
        better = value < self._best - self._change
        self._best = torch.where(better, value, self._best)
        self._waited = torch.where(better, 0, self._waited + 1)
        self.steps = torch.where((self.steps < 0) & (self._waited >= self._patience), step.number, self.steps)
        return True

    def ended(self, broken: Tensor) -> bool:
        """Whether every replica has converged but those that are ``broken``, of which it is known at which step, -1
        where they are not."""
        return bool(((self.steps >= 0) | (broken.cpu() >= 0)).all())

    @property
    def measured(self) -> Tensor:
        """The steps as they are recorded: no number where a replica has not converged."""
        return torch.where(self.steps < 0, torch.nan, self.steps.double())

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it."""
        return {
            "convergence/best": self._best,
            "convergence/waited": self._waited,
            "convergence/steps": self.steps,
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state` gave."""
        self._best, self._waited, self.steps = (state[name].clone() for name in self.state())
