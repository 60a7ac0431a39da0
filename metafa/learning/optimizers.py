"""Optimizers by name, for gradients that are computed explicitly. All act on each element, so replicas stay apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metafa.learning.kinds import OPTIMIZERS as OPTIMIZERS
from metafa.learning.kinds import SCHEDULES, resolved
from metafa.learning.layers.base import Parameters, flat

Schedule = torch.optim.lr_scheduler.LRScheduler


def adam(groups: list[dict], momentum: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, fused=True)


def sgd(groups: list[dict], momentum: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, momentum=momentum, fused=True)


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> Schedule:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with torch's defaults but for what is said here.

    learning_rates: one for all replicas; or several, each for the next of as many equal groups of replicas.
    schedule: a row of `kinds.SCHEDULES`, over ``steps``.
    l2_penalty: how many times itself is added to the gradient of every parameter, torch's ``weight_decay``.
    max_norm: of a replica's gradient, as `clipped` has it; None where it may be of any.
    """

    name: str
    learning_rates: tuple[float, ...]
    momentum: float = 0.0
    schedule: str = "constant"
    steps: int = 0
    l2_penalty: float = 0.0
    max_norm: float | None = None


@dataclass(frozen=True)
class Update:
    """What moves parameters along gradients, and what it remembers from one step to the next."""

    optimizer: torch.optim.Optimizer
    schedule: Schedule | None

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
    parts: list[dict] = [
        dict(params=_parts(parameters, groups, k), lr=rate) for k, rate in enumerate(how.learning_rates)
    ]
    for part in parts if how.l2_penalty else []:
        part["weight_decay"] = how.l2_penalty
    optimizer = resolved(OPTIMIZERS[how.name].make)(parts, how.momentum)
    schedule = SCHEDULES[how.schedule]
    return Update(optimizer, None if schedule is None else resolved(schedule)(optimizer, how.steps))


def clipped(gradients: Sequence[Parameters], max_norm: float) -> tuple[Parameters, ...]:
    """The gradients of each layer's parameters, ``[replica, ...]``, times what brings the norm of all that are one
    replica's down to ``max_norm`` (Pascanu, Mikolov and Bengio 2013, algorithm 1); as torch does it, with 1e-6 added
    to the norm. A shorter gradient stays as it is."""
    norms = torch.stack([tensor.flatten(1).norm(dim=1) for tensor in flat(gradients)]).norm(dim=0)
    factors = (max_norm / (norms + 1e-6)).clamp(max=1)
    return tuple(
        {name: tensor * factors.view(-1, *(1,) * (tensor.dim() - 1)) for name, tensor in own.items()}
        for own in gradients
    )


def _parts(tensors: Sequence[Tensor], groups: int, group: int) -> list[Tensor]:
    return [t.detach().unflatten(0, (groups, -1))[group] for t in tensors]
