"""Interactive figures of a report, of the same numbers, colours and names as those of analysis/."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from metafa.reporting import statistics
from metafa.reporting.appearance import (
    EVALUATORS,
    LOSSES,
    Line,
    choice_labels,
    named,
    reach,
    short,
    ticks,
    value,
    with_room,
)
from metafa.reporting.conditions import EVALUATED, NOISE, Tables
from metafa.reporting.objectives import Objective
from metafa.studies.metrics import METRICS
from metafa.studies.study import Study

HEIGHT = 330  # pixels of a row of panels
TICKS_OF_LOSSES = [one * 10.0**n for n in range(-4, 5) for one in LOSSES]
BAND = 0.18  # of a colour's opacity
# every trace of conditions says in `meta` the numbers of those that it shows, in the order of `appearance.lines`


def _panels(titles: Sequence[str], columns: int, x: str, y: str, shared: bool = True) -> go.Figure:
    columns = min(columns, max(1, len(titles)))
    rows = math.ceil(len(titles) / columns)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=titles,
        shared_yaxes=shared,  # of a row
        horizontal_spacing=0.09 if columns > 1 else 0,
        vertical_spacing=min(0.28, 0.28 / max(1, rows - 1)) if rows > 1 else 0,
    )
    figure.update_layout(height=HEIGHT * rows, showlegend=False, margin=dict(l=60, r=10, t=70, b=50))
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(showticklabels=True)
    figure.update_yaxes(title_text=y, col=1)
    figure.update_annotations(font_size=13)
    return figure


def _cell(number: int, columns: int) -> dict[str, int]:
    return {"row": number // columns + 1, "col": number % columns + 1}


def _add_curve(
    figure: go.Figure, cell: dict, number: int, line: Line, x: pd.Series, curve: pd.DataFrame, least: float
) -> None:
    """A condition's line with its interval as a band, cut off at ``least``, and what it is said to be where the pointer
    is."""
    low, high = (curve[name].fillna(curve["value"]) for name in ("low", "high"))
    low = low.clip(lower=least)
    figure.add_trace(
        go.Scatter(
            x=[*x, *x[::-1]],
            y=[*high, *low[::-1]],
            fill="toself",
            fillcolor=_faint(line.colour),
            mode="lines",
            line=dict(width=0),
            hoverinfo="skip",
            meta=[number],
        ),
        **cell,
    )
    figure.add_trace(
        go.Scatter(
            x=x,
            y=curve["value"],
            mode="lines+markers",
            name=line.words,
            line=dict(color=line.colour, dash=line.dash, width=2),
            marker=dict(size=5),
            customdata=np.stack([curve["step"], curve["low"], curve["high"], curve["seeds"]], 1),
            hovertemplate="<b>%{fullData.name}</b><br>step %{customdata[0]}: %{y:.4g}<br>"
            "95% interval %{customdata[1]:.4g} to %{customdata[2]:.4g}, %{customdata[3]} seeds<extra></extra>",
            meta=[number],
        ),
        **cell,
    )


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{BAND})"


def _ticks(steps: pd.Series) -> dict[str, list]:
    """Ticks of an axis of log10(1 + step), which is even in the logarithm and begins with 0; none where steps are so
    few that they are shown as they are."""
    if not steps.max() > 20:
        return {}
    shown = [0, *(10**n for n in range(9) if 10**n <= steps.max())]
    return dict(tickvals=[math.log10(1 + tick) for tick in shown], ticktext=[f"{tick:,}" for tick in shown])


def by_steps(
    curves: pd.DataFrame,
    tables: Tables,
    lines: list[Line],
    titles: dict[tuple, str],
    keys: list[str],
    metric: str,
    x: str,
    columns: int,
) -> go.Figure:
    """A panel for each of ``titles``, values of ``keys``: ``metric`` against steps, a line a condition."""
    logarithmic = METRICS[metric].scale == "log"
    figure = _panels(list(titles.values()), columns, x, named(metric), shared=not logarithmic)
    columns = min(columns, len(titles))
    for place, key in enumerate(titles):
        here = curves[np.logical_and.reduce([curves[name] == one for name, one in zip(keys, key, strict=True)])]
        cell = _cell(place, columns)
        axis = _ticks(here["step"])
        # a logarithmic axis has no place for an end at or below 0, which few seeds may have
        least = here["value"].min() / 2 if logarithmic else -math.inf
        for number, line in enumerate(lines):
            curve = line.rows(here, tables.conditions)
            if len(curve):
                stretched = np.log10(1 + curve["step"]) if axis else curve["step"]
                _add_curve(figure, cell, number, line, stretched, curve, least)
        figure.update_xaxes(**axis, **cell)
    if logarithmic:
        figure.update_yaxes(type="log", tickvals=TICKS_OF_LOSSES, ticktext=[f"{one:g}" for one in TICKS_OF_LOSSES])
    return figure


def meta_losses(table: pd.DataFrame, tables: Tables, lines: list[Line]) -> go.Figure:
    """Each condition's meta-loss with its interval, a panel an evaluation."""
    evaluations = list(table[EVALUATED].drop_duplicates().itertuples(index=False, name=None))
    figure = _panels([f"{phase}, {inputs}" for phase, inputs in evaluations], 3, named("meta_loss"), "", shared=True)
    columns = min(3, len(evaluations))
    for place, (phase, inputs) in enumerate(evaluations):
        here = table[(table["phase"] == phase) & (table["inputs"] == inputs)]
        for number, line in enumerate(lines):
            for _, row in line.rows(here, tables.conditions).iterrows():
                ends = row["meta_loss_high"] - row["meta_loss"], row["meta_loss"] - row["meta_loss_low"]
                said = [row["meta_loss_low"], row["meta_loss_high"], row["seeds"], row["interquartile_mean"]]
                figure.add_trace(
                    go.Scatter(
                        x=[row["meta_loss"]],
                        y=[line.words],
                        error_x=dict(array=[ends[0]], arrayminus=[ends[1]], thickness=2),
                        marker=dict(color=line.colour, size=9, symbol="circle" if row[NOISE] else "circle-open"),
                        mode="markers",
                        name=line.words,
                        customdata=[said],
                        hovertemplate="<b>%{fullData.name}</b><br>"
                        "%{x:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g})<br>"
                        "interquartile mean %{customdata[3]:.4g}, %{customdata[2]} seeds<extra></extra>",
                        meta=[number],
                    ),
                    **_cell(place, columns),
                )
    rows = math.ceil(len(evaluations) / columns)
    figure.update_layout(height=(120 + 26 * len(lines)) * rows, margin=dict(l=10))
    figure.update_yaxes(autorange="reversed", automargin=True, showticklabels=False)
    for place in range(0, len(evaluations), columns):
        figure.update_yaxes(showticklabels=True, **_cell(place, columns))
    return figure


def profile(tables: Tables, lines: list[Line]) -> go.Figure:
    """The fraction of runs whose meta-loss is at most so much, a panel an evaluation."""
    values = tables.final
    values = values[np.isfinite(values["meta_loss"])]
    evaluations = list(values[EVALUATED].drop_duplicates().itertuples(index=False, name=None))
    figure = _panels([", ".join(one) for one in evaluations], 3, named("meta_loss"), "fraction of runs at most this")
    for place, (phase, inputs) in enumerate(evaluations):
        here = values[(values["phase"] == phase) & (values["inputs"] == inputs)]
        every = [line.rows(here, tables.conditions)["meta_loss"].to_numpy() for line in lines]
        if not any(map(len, every)):
            continue  # all of the conditions shown diverged
        least, most = np.quantile(np.concatenate(every), [0, 1])
        thresholds = np.linspace(least, most, 100)
        for number, (line, losses) in enumerate(zip(lines, every, strict=True)):
            if len(losses):
                fraction, _ = statistics.performance_profile(losses, thresholds)
                figure.add_trace(
                    go.Scatter(
                        x=thresholds,
                        y=fraction,
                        name=line.words,
                        line=dict(color=line.colour, dash=line.dash, width=2, shape="hv"),
                        hovertemplate="<b>%{fullData.name}</b><br>%{y:.0%} at most %{x:.4g}<extra></extra>",
                        meta=[number],
                    ),
                    **_cell(place, min(3, len(evaluations))),
                )
    return figure


def importances(shares: pd.DataFrame, objectives: list[Objective]) -> go.Figure:
    """Each setting's share by each evaluator, a panel an objective."""
    explained = [one for one in objectives if (shares["objective"] == one.name).any()]
    figure = _panels([one.words for one in explained], 2, "share of importance", "", shared=False)
    for place, objective in enumerate(explained):
        here = shares[shares["objective"] == objective.name]
        for evaluator, colour in EVALUATORS.items():
            figure.add_trace(
                go.Bar(
                    x=here[evaluator],
                    y=here["setting"].map(short),
                    orientation="h",
                    name=evaluator,
                    marker=dict(color=colour),
                    showlegend=place == 0,
                    hovertemplate="<b>%{y}</b><br>%{fullData.name}: %{x:.2f}<extra></extra>",
                ),
                **_cell(place, min(2, len(explained))),
            )
    settings = shares["setting"].nunique()
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(range=[0, 1])
    height = (140 + 45 * settings) * math.ceil(len(explained) / 2)
    legend = dict(orientation="h", x=1, xanchor="right", y=1, yanchor="bottom", traceorder="normal")
    figure.update_layout(height=height, showlegend=True, legend=legend, margin=dict(l=10))
    return figure


def slices(found: pd.DataFrame, study: Study, objectives: list[Objective], names: list[str]) -> go.Figure:
    """Every trial's first objective against each setting that was searched, in the order of ``names``."""
    objective = objectives[0]
    figure = _panels([short(name) for name in names], 3, "", objective.words)
    columns = min(3, len(names))
    said = found.apply(lambda row: "<br>".join(f"{short(n)} {value(row[n])}" for n in names), axis=1)
    for place, name in enumerate(names):
        cell = _cell(place, columns)
        of = found[name]
        if choices := study.spaces[name].get("choices"):
            labels = choice_labels(choices)
            of = of.map(lambda one, choices=choices, labels=labels: labels[choices.index(one)])
        figure.add_trace(
            go.Scatter(
                x=of,
                y=found[objective.name],
                mode="markers",
                marker=dict(color="#0072B2", size=7, opacity=0.6),
                text=said,
                hovertemplate="%{y:.4g}<br>%{text}<extra></extra>",
            ),
            **cell,
        )
        if study.spaces[name].get("log"):
            figure.update_xaxes(**_logarithmic(study.spaces[name]["low"], study.spaces[name]["high"]), **cell)
    figure.update_yaxes(**_of_objective(found, objective))
    return figure


def _logarithmic(low: float, high: float) -> dict[str, Any]:
    said = ticks(low, high)
    return dict(type="log", tickvals=said, ticktext=[f"{one:g}" for one in said])


def _of_objective(found: pd.DataFrame, objective: Objective) -> dict[str, Any]:
    """An axis that shows what `reach` says, with a little room."""
    low, high = reach(found[objective.name], objective.maximize)
    *ends, logarithmic = with_room(low, high)
    return dict(range=np.log10(ends).tolist()) | _logarithmic(low, high) if logarithmic else dict(range=ends)


def parallel(found: pd.DataFrame, study: Study, objectives: list[Objective]) -> go.Figure:
    """A line a trial through its settings and its first objective, whose ranks colour it; axes can be brushed."""
    objective, dimensions = objectives[0], []
    for name, space in study.spaces.items():
        if "choices" in space:
            labels = choice_labels(space["choices"])
            places = found[name].map(space["choices"].index)
            dimensions.append(
                dict(label=short(name), values=places, tickvals=list(range(len(labels))), ticktext=labels)
            )
        elif space.get("log"):
            low, high = math.log10(space["low"]), math.log10(space["high"])
            shown = ticks(space["low"], space["high"])
            numbers = np.log10(found[name].astype(float))
            said = dict(tickvals=np.log10(shown).tolist(), ticktext=[f"{one:g}" for one in shown])
            dimensions.append(dict(label=short(name), values=numbers, range=[low, high], **said))
        else:
            dimensions.append(dict(label=short(name), values=found[name], range=[space["low"], space["high"]]))
    ranks = found[objective.name].rank(ascending=not objective.maximize)
    worst = len(found)
    parts = sorted({1, *(max(1, round(worst * part)) for part in (0.25, 0.5, 0.75, 1))})
    ordered = found[objective.name].sort_values(ascending=not objective.maximize).to_numpy()
    dimensions.append(
        dict(
            label=f"{objective.words}, by rank",
            values=ranks,
            range=[worst, 1],
            tickvals=parts,
            ticktext=[value(float(ordered[part - 1])) for part in parts],
        )
    )
    shades = dict(color=ranks, colorscale="Viridis", cmin=1, cmax=worst)
    fonts = dict(labelfont=dict(size=12), tickfont=dict(size=11))
    figure = go.Figure(go.Parcoords(line=shades, dimensions=dimensions, **fonts))
    figure.update_layout(height=420, margin=dict(l=110, r=110, t=60, b=30))
    return figure


def pareto(found: pd.DataFrame, best: list[int], objectives: list[Objective], study: Study) -> go.Figure:
    """All trials by two objectives, and the front of those that no other is better than in both."""
    first, second = objectives
    figure = _panels([""], 1, second.words, first.words)
    front = found.loc[best].sort_values(second.name)
    for rows, mode, colour, name in (
        (found, "markers", "#999999", "trial"),
        (front, "lines+markers", "#D55E00", "front"),
    ):
        said = rows.apply(lambda row: "<br>".join(f"{short(n)} {value(row[n])}" for n in study.spaces), axis=1)
        figure.add_trace(
            go.Scatter(
                x=rows[second.name],
                y=rows[first.name],
                mode=mode,
                name=name,
                marker=dict(color=colour, size=8),
                line=dict(color=colour),
                text=said,
                hovertemplate="%{y:.4g}, %{x:.4g}<br>%{text}<extra>%{fullData.name}</extra>",
            ),
            row=1,
            col=1,
        )
    for axis, one in ((figure.update_xaxes, second), (figure.update_yaxes, first)):
        axis(**_of_objective(found, one))
    return figure
