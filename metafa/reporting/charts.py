"""The report's figures, drawn by plotly from what `figures.py` and `search_figures.py` say that they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from metafa.reporting.appearance import LOSSES
from metafa.reporting.figures import Axis, Figure, Kind, Panel, Series
from metafa.reporting.objectives import Objective
from metafa.reporting.search_figures import Coordinate

HEIGHT = 330  # pixels of a row of panels
COLUMNS = 3  # of panels at most, where the figure says no number
TICKS_OF_LOSSES = [part * 10.0**n for n in range(-4, 5) for part in LOSSES]
BAND = 0.18  # of a colour's opacity
FEW_STEPS = 20  # are shown as they are
# what stands where the pointer is; customdata has a point's x, the ends of its interval, and its seeds
HOVER: dict[Kind, str] = {
    "curve": "<b>%{fullData.name}</b><br>step %{customdata[0]}: %{y:.4g}<br>"
    "95% interval %{customdata[1]:.4g} to %{customdata[2]:.4g}, %{customdata[3]} seeds<extra></extra>",
    "profile": "<b>%{fullData.name}</b><br>%{y:.0%} at most %{x:.4g}<extra></extra>",
    "interval": "<b>%{fullData.name}</b><br>%{x:.4g} (%{customdata[1]:.4g} to %{customdata[2]:.4g})<br>"
    "%{text}, %{customdata[3]} seeds<extra></extra>",
    "points": "%{text}<extra></extra>",
    "front": "%{text}<extra>%{fullData.name}</extra>",
    "bars": "<b>%{text}</b><br>%{fullData.name}: %{x:.2f}<extra></extra>",
}


def draw(figure: Figure, columns: int = COLUMNS) -> go.Figure:
    """The panels of a figure that show something, in so many columns at most. Every trace of a condition says in `meta`
    which one it is of, by its place in `appearance.lines`."""
    panels = [panel for panel in figure.panels if panel.series]
    columns = min(columns, max(1, len(panels)))
    rows = math.ceil(len(panels) / columns)
    drawn = make_subplots(
        rows,
        columns,
        subplot_titles=[", ".join(panel.title) for panel in panels],
        shared_yaxes=figure.share_y,  # of a row
        horizontal_spacing=0.09 if columns > 1 else 0,
        vertical_spacing=min(0.28, 0.28 / max(1, rows - 1)) if rows > 1 else 0,
    )
    drawn.update_layout(height=HEIGHT * rows, showlegend=False, margin=dict(l=60, r=10, t=70, b=50))
    drawn.update_annotations(font_size=13)
    for place, panel in enumerate(panels):
        cell = {"row": place // columns + 1, "col": place % columns + 1}
        for series in panel.series:
            for trace in _traces(series, panel):
                drawn.add_trace(trace.update(showlegend=place == 0), **cell)
        drawn.update_xaxes(title_text=panel.x.label, **_axis(panel.x, panel), **cell)
        drawn.update_yaxes(showticklabels=True, **_axis(panel.y, panel), **cell)
        if cell["col"] == 1:
            drawn.update_yaxes(title_text=panel.y.label, **cell)
    return drawn


def draw_rows(figure: Figure, row: int, around: int, columns: int = COLUMNS) -> go.Figure:
    """As `draw`, of panels whose y axis has a row, of so many pixels, for each tick; its labels stand beside the first
    panel of each row alone. ``around`` is the height of what is above and below the rows."""
    drawn = draw(figure, columns)
    shown = [panel for panel in figure.panels if panel.series]
    columns = min(columns, max(1, len(shown)))
    ticks = max((len(panel.y.ticks) for panel in shown), default=0)
    drawn.update_layout(height=(around + row * ticks) * math.ceil(len(shown) / columns), margin=dict(l=10))
    drawn.update_yaxes(automargin=True)
    if figure.share_y:
        for place in range(len(shown)):
            cell = {"row": place // columns + 1, "col": place % columns + 1}
            drawn.update_yaxes(showticklabels=cell["col"] == 1, **cell)
    return drawn


def draw_bars(figure: Figure) -> go.Figure:
    """As `draw_rows`, of shares, with a legend."""
    drawn = draw_rows(figure, 45, 140, columns=2)
    drawn.update_xaxes(range=[0, 1])
    legend = dict(orientation="h", x=1, xanchor="right", y=1, yanchor="bottom", traceorder="normal")
    return drawn.update_layout(showlegend=True, legend=legend)


def parallel(coordinates: Sequence[Coordinate], objective: Objective) -> go.Figure:
    """A line a trial through its settings and its objective, the best at the top, whose ranks colour it; axes can be
    brushed."""
    *settings, outcome = coordinates
    dimensions = [
        dict(label=one.label, values=one.places, range=[one.low, one.high])
        | (_tick_texts(*zip(*one.ticks, strict=True)) if one.ticks else {})
        for one in settings
    ]
    ends = [outcome.low, outcome.high] if objective.maximize else [outcome.high, outcome.low]
    texts = _tick_texts(*zip(*outcome.ticks, strict=True))
    dimensions.append(dict(label=f"{outcome.label}, by rank", values=outcome.places, range=ends) | texts)
    # the best in the colour of the scale's beginning
    shades = dict(color=outcome.places, colorscale="Viridis", reversescale=objective.maximize)
    shades |= dict(cmin=outcome.low, cmax=outcome.high)
    fonts = dict(labelfont=dict(size=12), tickfont=dict(size=11))
    drawn = go.Figure(go.Parcoords(line=shades, dimensions=dimensions, **fonts))
    return drawn.update_layout(height=420, margin=dict(l=110, r=110, t=60, b=30))


def _traces(series: Series, panel: Panel) -> list[Any]:
    shared: dict[str, Any] = {} if series.condition is None else {"meta": [series.condition]}
    texts = [text.replace("\n", "<br>") for text in series.texts] or None
    shared |= dict(name=series.words, hovertemplate=HOVER[series.kind], text=texts)
    return TRACES[series.kind](series, panel, shared)


def _customdata(series: Series) -> np.ndarray:
    nothing = np.full(len(series.x), math.nan)
    return np.stack([nothing if one is None else one for one in (series.x, series.low, series.high, series.seeds)], 1)


def _curve(series: Series, panel: Panel, shared: dict[str, Any]) -> list[go.Scatter]:
    """A line with its interval as a band."""
    x = np.log10(1 + series.x) if _stretched(panel) else series.x
    line = dict(color=series.colour, dash=series.dash, width=2)
    options = dict(mode="lines+markers", line=line, marker=dict(size=5), customdata=_customdata(series))
    drawn = go.Scatter(x=x, y=series.y, **options, **shared)
    if series.low is None or series.high is None:
        return [drawn]
    low, high = (np.where(np.isnan(end), series.y, end) for end in (series.low, series.high))
    if panel.y.scale == "log":  # which has no place for an end at or below 0, which few seeds may have
        low = np.maximum(low, min(one.y.min() for one in panel.series) / 2)
    band = go.Scatter(
        x=[*x, *x[::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        fillcolor=_faint(series.colour),
        mode="lines",
        line=dict(width=0),
        hoverinfo="skip",
        meta=shared.get("meta"),
    )
    return [band, drawn]


def _profile(series: Series, panel: Panel, shared: dict[str, Any]) -> list[go.Scatter]:
    line = dict(color=series.colour, dash=series.dash, width=2, shape="hv")
    return [go.Scatter(x=series.x, y=series.y, mode="lines", line=line, **shared)]


def _interval(series: Series, panel: Panel, shared: dict[str, Any]) -> list[go.Scatter]:
    if series.low is None or series.high is None:
        raise ValueError(f"{series.words} has no interval")
    ends = dict(array=series.high - series.x, arrayminus=series.x - series.low, thickness=2)
    marker = dict(color=series.colour, size=9, symbol="circle" if series.filled else "circle-open")
    options = dict(error_x=ends, marker=marker, mode="markers", customdata=_customdata(series))
    return [go.Scatter(x=series.x, y=series.y, **options, **shared)]


def _points(series: Series, panel: Panel, shared: dict[str, Any]) -> list[go.Scatter]:
    marker = dict(color=series.colour, size=7, opacity=series.opacity)
    return [go.Scatter(x=series.x, y=series.y, mode="markers", marker=marker, **shared)]


def _front(series: Series, panel: Panel, shared: dict[str, Any]) -> list[go.Scatter]:
    options = dict(mode="lines+markers", marker=dict(color=series.colour, size=8), line=dict(color=series.colour))
    return [go.Scatter(x=series.x, y=series.y, **options, **shared)]


def _bars(series: Series, panel: Panel, shared: dict[str, Any]) -> list[go.Bar]:
    options = dict(orientation="h", marker=dict(color=series.colour), textposition="none")
    return [go.Bar(x=series.x, y=series.y, **options, **shared)]


TRACES: dict[Kind, Callable[[Series, Panel, dict[str, Any]], list[Any]]] = {
    "curve": _curve,
    "profile": _profile,
    "interval": _interval,
    "points": _points,
    "front": _front,
    "bars": _bars,
}


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{BAND})"


def _last_step(panel: Panel) -> float:
    return max((series.x.max() for series in panel.series), default=0)


def _stretched(panel: Panel) -> bool:
    """Whether the x axis is of log10(1 + step), which is even in the logarithm and begins with 0."""
    return panel.x.scale == "steps" and _last_step(panel) > FEW_STEPS


def _axis(axis: Axis, panel: Panel) -> dict[str, Any]:
    """The options of an axis: its scale, its limits and its ticks."""
    if axis is panel.x and _stretched(panel):
        steps = [0, *(10**n for n in range(9) if 10**n <= _last_step(panel))]
        return _tick_texts([math.log10(1 + step) for step in steps], [f"{step:,}" for step in steps])
    options: dict[str, Any] = {}
    if axis.scale == "log":
        texts = axis.tick_labels or [f"{tick:g}" for tick in TICKS_OF_LOSSES]
        options |= dict(type="log") | _tick_texts(axis.ticks or TICKS_OF_LOSSES, texts)
    elif axis.ticks:
        options |= _tick_texts(axis.ticks, axis.tick_labels)
    if axis.limits:
        options["range"] = np.log10(axis.limits).tolist() if axis.scale == "log" else list(axis.limits)
    return options


def _tick_texts(ticks: Sequence[float], texts: Sequence[str]) -> dict[str, Any]:
    return dict(tickvals=list(ticks), ticktext=list(texts))
