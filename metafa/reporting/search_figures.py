"""What figures of a search show: importances, slices, parallel coordinates and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metafa.reporting.appearance import EVALUATORS, beyond, choice_labels, reach, short, ticks, value, with_room
from metafa.reporting.figures import Axis, Figure, Kind, Panel, Series
from metafa.reporting.objectives import Objective
from metafa.studies.study import Study

TRIAL, BEST, OTHERS = "#0072B2", "#D55E00", "#999999"


def setting_axis(name: str, study: Study) -> Axis:
    """The axis of a setting that a study varies."""
    space = study.spaces[name]
    if "choices" in space:
        labels = choice_labels(space["choices"])
        places = tuple(range(len(labels)))
        return Axis(short(name), "linear", (-0.5, len(labels) - 0.5), places, tuple(labels), choices=True)
    if space.get("log"):
        return _logarithmic(short(name), space["low"], space["high"])
    return Axis(short(name))


def places(values: pd.Series, name: str, study: Study) -> pd.Series:
    """Where on its axis each value of a setting is."""
    choices = study.spaces[name].get("choices")
    return (values.map(choices.index) if choices else values).astype(float)


def objective_axis(points: pd.DataFrame, objective: Objective) -> Axis:
    """An axis that shows what `appearance.reach` says, with a little room."""
    low, high = reach(points[objective.name], objective.maximize)
    start, end, logarithmic = with_room(low, high)
    if not logarithmic:
        return Axis(objective.words, limits=(start, end))
    return _logarithmic(objective.words, low, high, (start, end))


def _logarithmic(label: str, low: float, high: float, limits: tuple[float, float] | None = None) -> Axis:
    shown = tuple(ticks(low, high))
    return Axis(label, "log", limits, shown, tuple(f"{tick:g}" for tick in shown))


def note_of_beyond(points: pd.DataFrame, *objectives: Objective) -> str:
    """How many trials lie beyond the axes of these objectives; empty where none does."""
    number = max(beyond(points[objective.name], objective.maximize) for objective in objectives)
    return f"{number} of {len(points)} beyond the axis" if number else ""


def trial_texts(points: pd.DataFrame, objectives: Sequence[Objective], names: Sequence[str]) -> tuple[str, ...]:
    """What each trial came to, and below it a line for each setting."""
    return tuple(
        "\n".join(
            [
                ", ".join(f"{point[objective.name]:.4g}" for objective in objectives),
                *(f"{short(name)} {value(point[name])}" for name in names),
            ]
        )
        for point in points.to_dict("records")
    )


def importances(shares: pd.DataFrame, objectives: Sequence[Objective]) -> Figure:
    """Each setting's share by each evaluator, a panel an objective; the most important setting is at place 0."""
    explained = [objective for objective in objectives if (shares["objective"] == objective.name).any()]
    panels = []
    for objective in explained:
        of_objective = shares[shares["objective"] == objective.name]
        labels = tuple(short(name) for name in of_objective["setting"])
        settings = np.arange(len(labels))
        series = tuple(
            Series(evaluator, colour, of_objective[evaluator].to_numpy(), settings, kind="bars", texts=labels)
            for evaluator, colour in EVALUATORS.items()
        )
        y = Axis("", limits=(len(labels) - 0.5, -0.5), ticks=tuple(settings.tolist()), tick_labels=labels)
        panels.append(Panel((objective.words,), Axis("share of importance"), y, series))
    return Figure(tuple(panels), max(1, len(explained)), share_y=False)


def slices(points: pd.DataFrame, study: Study, objectives: Sequence[Objective], names: Sequence[str]) -> Figure:
    """Every trial's objective against each setting that was searched: a row an objective, the columns as ``names``."""
    panels = []
    for objective in objectives:
        texts = trial_texts(points, [objective], names)
        y, note = objective_axis(points, objective), note_of_beyond(points, objective)
        outcomes = points[objective.name].to_numpy(float)
        for name in names:
            settings = places(points[name], name, study).to_numpy()
            series = Series("trials", TRIAL, settings, outcomes, kind="points", texts=texts, opacity=0.6)
            panels.append(Panel(("",), setting_axis(name, study), y, (series,), note))
    return Figure(tuple(panels), len(names))


def pareto(points: pd.DataFrame, front: Sequence[int], study: Study, objectives: Sequence[Objective]) -> Figure:
    """All trials by two objectives, and the ``front`` of those that no other is better than in both."""
    up, across = objectives

    def shown(words: str, colour: str, kind: Kind, trials: pd.DataFrame) -> Series:
        x, y = (trials[objective.name].to_numpy(float) for objective in (across, up))
        return Series(words, colour, x, y, kind, texts=trial_texts(trials, objectives, list(study.spaces)))

    best = points.loc[list(front)].sort_values(across.name)
    series = (shown("trials", OTHERS, "points", points), shown("Pareto front", BEST, "front", best))
    note = note_of_beyond(points, up, across)
    return Figure((Panel(("",), objective_axis(points, across), objective_axis(points, up), series, note),), 1)


@dataclass(frozen=True, eq=False)
class Coordinate:
    """One of parallel coordinates: a setting, or an objective by the rank of its value. ``places`` has each trial's
    place on an axis from ``low`` to ``high``; ``ticks`` are places with what is written there."""

    label: str
    places: np.ndarray
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    @property
    def heights(self) -> np.ndarray:
        """Where each trial is between ``low`` (0) and ``high`` (1)."""
        return (self.places - self.low) / ((self.high - self.low) or 1)


def parallel(points: pd.DataFrame, study: Study, objective: Objective, names: Sequence[str]) -> list[Coordinate]:
    """The coordinates of every trial: its settings, then its objective by rank, the lowest value first."""
    coordinates = [setting_coordinate(points[name], name, study) for name in names]
    ordered, number = np.sort(points[objective.name].to_numpy(float)), len(points)
    ranks = sorted({1, *(max(1, round(number * part)) for part in (0.25, 0.5, 0.75, 1))})
    ticks_of_ranks = tuple((float(rank), value(float(ordered[rank - 1]))) for rank in ranks)
    of_objective = points[objective.name].rank().to_numpy()
    return [*coordinates, Coordinate(objective.words, of_objective, 1, number, ticks_of_ranks)]


def setting_coordinate(values: pd.Series, name: str, study: Study) -> Coordinate:
    """The coordinate of a setting; one that is logarithmic is by the logarithms."""
    axis, numbers = setting_axis(name, study), places(values, name, study).to_numpy()
    if axis.choices:
        return Coordinate(axis.label, numbers, 0, len(axis.ticks) - 1, _marks(axis.ticks, axis.tick_labels))
    low, high = study.spaces[name]["low"], study.spaces[name]["high"]
    if axis.scale != "log":
        return Coordinate(axis.label, numbers, low, high, ())
    marks = _marks(np.log10(axis.ticks).tolist(), axis.tick_labels)
    return Coordinate(axis.label, np.log10(numbers), math.log10(low), math.log10(high), marks)


def _marks(at: Sequence[float], labels: Sequence[str]) -> tuple[tuple[float, str], ...]:
    return tuple(zip(at, labels, strict=True))
