"""Optimizers by name, for gradients that are computed explicitly. All act on each element, so replicas stay apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metafa.learning.kinds import OPTIMIZERS as OPTIMIZERS
from metafa.learning.kinds import resolved


def adam(groups: list[dict], momentum: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, fused=True)


def sgd(groups: list[dict], momentum: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, momentum=momentum, fused=True)


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with torch's defaults but for what is said here.

    learning_rates: one for all replicas; or several, each for the next of as many equal groups of replicas.
    schedule: ``constant``, or ``cosine``, from the learning rate to 0 over ``steps`` (Loshchilov and Hutter 2017).
    """

    name: str
    learning_rates: tuple[float, ...]
    momentum: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    steps: int = 0


@dataclass(frozen=True)
class Update:
    """What moves parameters along gradients, and what it remembers from one step to the next."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.CosineAnnealingLR | None

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Moves the parameters in place; one gradient for each, all ``[replica, ...]``."""
        groups = self.optimizer.param_groups
        for k, group in enumerate(groups):
            for parameter, gradient in zip(group["params"], _parts(gradients, len(groups), k), strict=True):
                # torch's fused optimizers read memory in order and pass strides by: a transposed gradient, such as
                # autograd gives for the weights of a linear layer, would silently be applied to the wrong weights
                parameter.grad = gradient.contiguous()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()

    def state(self) -> dict[str, Tensor]:
        """What it remembers, by name."""
        groups = self.optimizer.param_groups
        found = {"rates": torch.tensor([group["lr"] for group in groups], dtype=torch.float64)}
        if self.schedule is not None:
            found["steps"] = torch.tensor(self.schedule.last_epoch)
        for i, parameter in enumerate(self._parameters):
            for key, value in self.optimizer.state[parameter].items():
                if value is not None:  # SGD without momentum
                    found[f"{i}.{key}"] = value
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Remembers what `state` gave, so that the next step is what it would have been there."""
        for group, rate in zip(self.optimizer.param_groups, state["rates"].tolist(), strict=True):
            group["lr"] = rate
        if self.schedule is not None:
            steps = int(state["steps"])
            self.schedule.load_state_dict({"last_epoch": steps, "_step_count": steps + 1})
        for name, value in state.items():
            place, _, key = name.partition(".")
            if key:
                parameter = self._parameters[int(place)]
                self.optimizer.state[parameter][key] = value.to(parameter.device, copy=True)

    @property
    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


def make(how: Optimizer, parameters: Sequence[Tensor]) -> Update:
    """What moves ``parameters``, all ``[replica, ...]``."""
    groups = len(how.learning_rates)
    parts = [dict(params=_parts(parameters, groups, k), lr=rate) for k, rate in enumerate(how.learning_rates)]
    optimizer = resolved(OPTIMIZERS[how.name].make)(parts, how.momentum)
    if how.schedule == "constant":
        return Update(optimizer, None)
    return Update(optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(how.steps, 1)))


def _parts(tensors: Sequence[Tensor], groups: int, group: int) -> list[Tensor]:
    return [t.detach().unflatten(0, (groups, -1))[group] for t in tensors]
