"""What figures show, whichever library draws it: plotly in `charts.py`, matplotlib in analysis/figures.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from metafa.reporting import comparison, statistics
from metafa.reporting.appearance import Line, named
from metafa.reporting.conditions import EVALUATED, NOISE, Tables
from metafa.studies.data import BATCH
from metafa.studies.metrics import METRICS

Kind = Literal["curve", "profile", "interval", "points", "front", "bars"]
"""How a series is drawn: a ``curve`` with points and a band; a ``profile`` in steps, with a band; an ``interval``, a
point at ``x`` with an error bar to either side; ``points`` alone; the points of a ``front``, joined; horizontal
``bars``."""
Scale = Literal["linear", "whole", "log", "steps"]
"""``whole`` is linear with whole numbers as ticks; ``steps`` begins at 0 and is even in the logarithm."""

COURSE = ["metric", "layer", "inputs", "phase", "step"]  # what tells points of the course of training apart
PROFILE_POINTS = 200
ROOM = 0.03  # beyond the least and the greatest value of a profile, as a fraction of their distance


@dataclass(frozen=True)
class Axis:
    """An axis; its drawer chooses limits and ticks that are not given."""

    label: str
    scale: Scale = "linear"
    limits: tuple[float, float] | None = None
    ticks: tuple[float, ...] = ()
    tick_labels: tuple[str, ...] = ()
    choices: bool = False  # places 0, 1, … stand for choices, which are in no order


@dataclass(frozen=True, eq=False)
class Series:
    """What one colour shows in a panel.

    low, high: ends of the 95% interval, of ``x`` where ``kind`` is ``interval``, else of ``y``.
    texts: a text for each point, shown where the pointer is.
    filled: whether points are dots, and not rings.
    condition: the place of the condition among `appearance.lines`, by which the report shows and hides it.
    """

    words: str
    colour: str
    x: np.ndarray
    y: np.ndarray
    kind: Kind = "curve"
    dash: str = "solid"
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    seeds: np.ndarray | None = None
    texts: tuple[str, ...] = ()
    filled: bool = True
    opacity: float = 1
    condition: int | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes. ``title`` has one or more parts; ``note`` says what the axes leave out."""

    title: tuple[str, ...]
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """Panels, row by row. ``share_y``: whether the panels of a row have one y axis."""

    panels: tuple[Panel, ...]
    columns: int
    share_y: bool = True


def evaluations_of(rows: pd.DataFrame, tables: Tables) -> list[tuple[str, str]]:
    """The evaluations that ``rows`` are of, a phase and its inputs each, in the order of the phases."""
    evaluations = list(rows[EVALUATED].drop_duplicates().itertuples(index=False, name=None))
    return sorted(evaluations, key=lambda evaluation: tables.phases.index(evaluation[0]))


def of_evaluation(rows: pd.DataFrame, evaluation: tuple[str, str]) -> pd.DataFrame:
    """The ``rows`` of one evaluation."""
    phase, inputs = evaluation
    return rows[(rows["phase"] == phase) & (rows["inputs"] == inputs)]


def curves_by_condition(curves: pd.DataFrame, tables: Tables, lines: Sequence[Line]) -> tuple[Series, ...]:
    """A curve against steps for each condition that has one; ``curves`` are those of `comparison.curves`."""
    curves_and_lines = [(line.rows(curves, tables.conditions), line) for line in lines]
    return tuple(
        Series(
            line.words,
            line.colour,
            x=curve["step"].to_numpy(),
            y=curve["value"].to_numpy(),
            dash=line.dash,
            low=curve["low"].to_numpy(),
            high=curve["high"].to_numpy(),
            seeds=curve["seeds"].to_numpy(),
            condition=number,
        )
        for number, (curve, line) in enumerate(curves_and_lines)
        if len(curve)
    )


def adaptation_curves(tables: Tables) -> pd.DataFrame:
    """The mean meta-loss and meta-accuracy after each inner step, of the conditions that figures show."""
    return comparison.curves(tables.of_shown(tables.adaptation), tables, [*EVALUATED, "metric", "step"])


def adaptation(curves: pd.DataFrame, metric: str, tables: Tables, lines: Sequence[Line]) -> Figure:
    """``metric`` against inner steps, a panel an evaluation; ``curves`` are `adaptation_curves`."""
    of_metric, y = curves[curves["metric"] == metric], Axis(named(metric), METRICS[metric].scale)
    evaluations = evaluations_of(curves, tables)
    panels = tuple(
        Panel(
            evaluation,
            Axis("inner steps", "whole"),
            y,
            curves_by_condition(of_evaluation(of_metric, evaluation), tables, lines),
        )
        for evaluation in evaluations
    )
    # a network may be far off before its first inner step in one evaluation alone
    return Figure(panels, len(evaluations), share_y=y.scale != "log")


def course_curves(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The mean at each step of the phases that train: of ``rows``, but for the accuracy on the batch trained on, which
    says little."""
    rows = rows[(rows["metric"] != "accuracy") | (rows["inputs"] != BATCH.inputs)]
    return comparison.curves(rows, tables, COURSE)


def course(
    curves: pd.DataFrame,
    metric: str,
    tables: Tables,
    lines: Sequence[Line],
    most_rows: int | None = None,
) -> Figure:
    """``metric`` through the phases that train, a column each: a row a layer, or what inputs the metric is of, or each
    of both where it is of a layer on given inputs. A panel is empty where a phase did not measure it. ``curves`` are
    `course_curves`."""
    curves, phases = curves[curves["metric"] == metric], tables.training_phases
    names = [name for name in ("layer", "inputs") if curves[name].notna().any()]
    places = curves[names].dropna().drop_duplicates().sort_values(names)[:most_rows]
    y = Axis(named(metric), METRICS[metric].scale)
    panels = tuple(
        Panel(
            (phase, *(f"layer {one:.0f}" if name == "layer" else f"inputs: {one}" for name, one in place.items())),
            Axis("steps of the phase", "steps"),
            y,
            curves_by_condition(_of_place(curves[curves["phase"] == phase], place), tables, lines),
        )
        for place in places.to_dict("records")
        for phase in phases
    )
    return Figure(panels, len(phases), share_y=y.scale != "log")


def _of_place(curves: pd.DataFrame, place: Mapping[str, Any]) -> pd.DataFrame:
    """The ``curves`` in which columns have the values of ``place``."""
    return curves[(curves[list(place)] == pd.Series(place)).all(axis=1)]


def intervals(table: pd.DataFrame, name: str, x_label: str, tables: Tables, lines: Sequence[Line]) -> Figure:
    """The column ``name`` of `comparison.compare`, such as ``meta_loss``, with its interval: a row a condition, a panel
    an evaluation."""
    evaluations = evaluations_of(table, tables)
    labels = tuple(line.words for line in lines)
    y = Axis("", limits=(len(lines) - 0.5, -0.5), ticks=tuple(range(len(lines))), tick_labels=labels)
    panels = tuple(
        Panel(
            evaluation,
            Axis(x_label),
            y,
            tuple(_intervals_by_condition(of_evaluation(table, evaluation), name, tables, lines)),
        )
        for evaluation in evaluations
    )
    return Figure(panels, len(evaluations))


def _intervals_by_condition(table: pd.DataFrame, name: str, tables: Tables, lines: Sequence[Line]) -> Iterator[Series]:
    for number, line in enumerate(lines):
        row = line.rows(table, tables.conditions)
        if len(row):
            yield Series(
                line.words,
                line.colour,
                x=row[name].to_numpy(),
                y=np.full(len(row), number),
                kind="interval",
                low=row[f"{name}_low"].to_numpy(),
                high=row[f"{name}_high"].to_numpy(),
                seeds=row["seeds"].to_numpy(),
                texts=tuple(f"interquartile mean {value:.4g}" for value in row["interquartile_mean"]),
                filled=bool(row[NOISE].iloc[0]),
                condition=number,
            )


def profile(tables: Tables, lines: Sequence[Line]) -> Figure:
    """Performance profiles (Agarwal et al. 2021): the fraction of runs, over seeds, whose meta-loss is at most so much;
    a panel an evaluation, the bands 95% intervals (Clopper and Pearson 1934) at each point by itself."""
    values = tables.final[np.isfinite(tables.final["meta_loss"])]
    evaluations = evaluations_of(values, tables)
    panels = tuple(
        Panel(
            evaluation,
            Axis(named("meta_loss")),
            Axis("fraction of runs at most this"),
            tuple(_profiles_by_condition(of_evaluation(values, evaluation), tables, lines)),
        )
        for evaluation in evaluations
    )
    return Figure(panels, len(evaluations))


def _profiles_by_condition(values: pd.DataFrame, tables: Tables, lines: Sequence[Line]) -> Iterator[Series]:
    """A profile for each condition of which a seed did not diverge, all at the same thresholds."""
    by_line = [line.rows(values, tables.conditions)["meta_loss"].to_numpy() for line in lines]
    every = np.concatenate(by_line)
    if not len(every):
        return
    least, most = np.quantile(every, [0, 1]) + ROOM * np.ptp(every) * np.array([-1, 1])
    thresholds = np.linspace(least, most, PROFILE_POINTS)
    for number, (line, losses) in enumerate(zip(lines, by_line, strict=True)):
        if len(losses):
            fraction, (low, high) = statistics.performance_profile(losses, thresholds)
            yield Series(
                line.words,
                line.colour,
                x=thresholds,
                y=fraction,
                kind="profile",
                dash=line.dash,
                low=low,
                high=high,
                condition=number,
            )
