"""What a trial leaves behind: its measurements as rows, which replicas diverged, and when it measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metafa.studies.data import NO_INPUTS, Inputs
from metafa.studies.metrics import METRICS


@dataclass(frozen=True)
class Divergence:
    """Where a replica was first found to have diverged: its weights, its feedback or something measured of it was not
    finite, or its loss was above the bound. ``learning_rate`` is None but where several are side by side; ``metric`` is
    what was measured, None where it was the network itself, its weights, feedback or readout."""

    seed: int
    learning_rate: float | None
    phase: str
    step: int
    metric: str | None = None


@dataclass
class Outcome:
    """What a trial leaves behind: measurements as columns of the table, which replicas diverged, and what it was judged
    by for early stopping: phase, step and value."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    divergences: dict[int, Divergence] = field(default_factory=dict)  # by replica
    judged: list[tuple[str, int, float]] = field(default_factory=list)


class Recorder:
    """Takes down what is measured of a trial's replicas, and which of them diverged.

    ``seeds`` and ``learning_rates`` are those of each replica; a rate is None where a trial has only one. ``path`` has
    the weights of all layers, ``[replica, weight]``, by the phase and step at which they were kept.
    """

    def __init__(self, seeds: Sequence[int], learning_rates: Sequence[float | None], bound: float, device: str):
        self.seeds, self.learning_rates = seeds, learning_rates
        self.outcome = Outcome()
        self.path: dict[tuple[str, int], Tensor] = {}
        self._bound, self._device = bound, device
        self.broken = self._none_broken()

    def _none_broken(self) -> Tensor:
        """The step at which each replica was first not finite in the present phase, -1 where it is finite."""
        return torch.full((len(self.seeds),), -1, device=self._device)

    def begin_phase(self) -> None:
        """Forgets which replicas were not finite in the phase before."""
        self.broken = self._none_broken()

    def restore(self, outcome: Outcome, path: dict[tuple[str, int], Tensor], broken: Tensor) -> None:
        """Goes on from what a checkpoint has kept."""
        self.path, self.broken = path, broken.to(self._device, copy=True)
        self.outcome.rows += outcome.rows
        self.outcome.divergences |= outcome.divergences
        self.outcome.judged += outcome.judged

    def record(
        self,
        phase: str,
        step: int,
        metric: str,
        values: Tensor,
        layer: int | None = None,
        inputs: Inputs = NO_INPUTS,
        component: int | None = None,
    ) -> None:
        """Adds a row for each replica's value, ``[replica]``, and notes which of the values show a divergence."""
        facts = METRICS[metric]
        highest = self._bound if facts.is_loss else math.inf
        rows = measured_rows(
            self.seeds,
            self.learning_rates,
            phase,
            step,
            metric,
            values,
            layer=layer,
            inputs=inputs,
            component=component,
        )
        for replica, row in enumerate(rows):
            if not facts.may_be_undefined and not (math.isfinite(row["value"]) and row["value"] <= highest):
                self._note_divergence(replica, phase, step, metric)
        self.outcome.rows += rows

    def record_components(
        self,
        phase: str,
        step: int,
        metric: str,
        values: Tensor,
        layer: int | None = None,
        inputs: Inputs = NO_INPUTS,
    ) -> None:
        """As `record`, of ``[replica, component]``; components are numbered from 1."""
        for component, of_component in enumerate(values.cpu().unbind(1), start=1):
            self.record(phase, step, metric, of_component, layer, inputs, component)

    def apart(self, measure: Callable[[], None]) -> list[dict[str, Any]]:
        """The rows that ``measure`` records, which then are no part of what the trial leaves behind: that depends on
        nothing but the trial's settings."""
        kept = self.outcome, dict(self.path), self.broken
        self.outcome = Outcome()
        measure()
        rows = self.outcome.rows
        self.outcome, self.path, self.broken = kept
        return rows

    def note_broken(self, step: int, finite: Tensor) -> None:
        """Keeps, on the device, which replicas are not finite; no step of training waits for it."""
        self.broken = torch.where((self.broken < 0) & ~finite, step, self.broken)

    def note_divergences(self, phase: str) -> None:
        """Takes the replicas that were not finite by now for diverged."""
        for replica, step in enumerate(self.broken.tolist()):
            if step >= 0:
                self._note_divergence(replica, phase, step)

    def _note_divergence(self, replica: int, phase: str, step: int, metric: str | None = None) -> None:
        divergence = Divergence(self.seeds[replica], self.learning_rates[replica], phase, step, metric)
        self.outcome.divergences.setdefault(replica, divergence)


def measured_rows(
    seeds: Sequence[int],
    learning_rates: Sequence[float | None],
    phase: str,
    step: int,
    metric: str,
    values: Tensor,
    *,
    layer: int | None = None,
    inputs: Inputs = NO_INPUTS,
    component: int | None = None,
) -> list[dict[str, Any]]:
    """A row of `measurements` for each replica's value, ``[replica]``, its trial_id aside."""
    shared = dict(phase=phase, step=step, metric=metric, layer=layer, component=component, **inputs._asdict())
    replicas = zip(seeds, learning_rates, values.tolist(), strict=True)
    return [dict(seed=seed, learning_rate=rate, value=value, **shared) for seed, rate, value in replicas]


def measuring_steps(total: int, points: int) -> frozenset[int]:
    """The steps of a phase at which it is measured: 0, then up to ``points`` - 1 from 1 to ``total``, evenly
    spaced in the logarithm."""
    if total == 0:
        return frozenset({0})
    return frozenset({0, *np.rint(np.geomspace(1, total, points - 1)).astype(int).tolist(), total})
