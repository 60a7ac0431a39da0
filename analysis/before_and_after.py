"""Drawings of networks before noise and after, for the paper's figures."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from claim_figures import add_legend, conditions_of, dashes_of, first, means_by_seed, plot_spectra, with_and_without
from figures import draw, label, legend_of, panels
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from metafa.reporting.appearance import rule_colour
from metafa.reporting.claim_conditions import measured_as_in
from metafa.reporting.conditions import NOISE, RATE, RULE, Tables
from metafa.studies.claims import ClaimSettings
from metafa.studies.metrics import METRICS

Claims = Sequence[ClaimSettings]


def longest(rows: pd.DataFrame, others: Sequence[str]) -> pd.DataFrame:
    """Of conditions that differ in how long noise lasts, the longest, as if they all had the same number of steps: the
    others are its beginning."""
    groups = rows.groupby([RULE, *others], dropna=False)[NOISE]
    return rows[rows[NOISE] == groups.transform("max")].assign(**{NOISE: rows[NOISE].max()})


def without_later(tables: Tables, phases: Sequence[str], metric: str) -> list[str]:
    """The conditions that can matter to a metric in phases of noise: not the settings of later phases, nor their rates,
    but for those that say how it is measured."""
    later = set(tables.phases) - {*phases, *measured_as_in(metric, tables)}
    rates = {RATE} - set(tables.of_noise)
    return [name for name in tables.others if name.rpartition(".")[0] not in later and name not in rates]


def before_and_after(
    tables: Tables, of_figure: Claims, *, metric: str, x: str, y: str, turned: bool = False
) -> plt.Figure | None:
    """Values by ``component`` at the first moment of noise, dashed, and at its last, a panel for each kind of inputs:
    components across, or, ``turned``, values across.

    x, y: what the axes are called.
    """
    noises = tables.phases_of("noise")
    others = without_later(tables, noises, metric)
    rows = tables.rows([metric], noises)
    rows = rows[rows[NOISE] > 0]
    last = rows.groupby(["trial_id", "phase"])["step"].transform("max")
    rows = rows[(rows["step"] == last) | ((rows["step"] == 0) & (rows["phase"] == noises[0]))] if len(rows) else rows
    if rows.empty or not rows["step"].max():
        return None
    rows = first(rows, others)
    rows = rows.assign(noise_steps=rows[NOISE].where(rows["step"] > 0, 0))
    told = conditions_of(rows, others) if others else ""
    titles = rows["inputs"].fillna("layer " + rows["layer"].astype(str))
    rows = rows.assign(condition=titles.str.removesuffix(".0") + (", " + told if others else ""))
    dashes = dashes_of(rows)
    drawn, placed = panels(sorted(rows["condition"].unique()), share=False)
    for title, axis in placed:
        for shade, style, line in with_and_without(rows[rows["condition"] == title], dashes):
            at, middle, bounds = means_by_seed(line, "component")
            if turned:
                axis.plot(middle, at, style, color=shade)
                axis.fill_betweenx(at, *bounds, color=shade, alpha=0.2, linewidth=0)
            else:
                draw(axis, at, middle, bounds, shade, style)
        label(axis, title, x, y)
    add_legend(drawn, rows, dashes, "before noise")
    return drawn


def spectra(tables: Tables, of_figure: Claims) -> plt.Figure | None:
    """A layer's singular values at the start of noise and at its end."""
    layer = next((claim.layer for claim in of_figure if claim.layer and METRICS[claim.metric].of_spectrum), 1)
    noises = tables.phases_of("noise")
    rows = tables.rows(["singular_value"], noises)
    rows = rows[(rows["layer"] == layer) & (rows[NOISE] > 0)]
    others = without_later(tables, noises, "singular_value")
    return plot_spectra(first(rows, others), others) if len(rows) else None


def angles_of_units(tables: Tables, of_figure: Claims) -> plt.Figure | None:
    """How many hidden units have which angle to their feedback, of the last layer and all seeds: at the start of noise,
    dashed, and at its end, filled; a panel a condition, of noise as long as there is."""
    noises = tables.phases_of("noise")
    others = without_later(tables, noises, "alignment_angle_of_unit")
    rows = tables.rows(["alignment_angle_of_unit"], noises)
    rows = rows[(rows[NOISE] > 0) & (rows["layer"] == rows["layer"].max())]
    if rows.empty or not rows["step"].max():
        return None
    rows = first(longest(rows, others), others)
    rows = rows.assign(condition=conditions_of(rows, others) if others else "")
    last = rows["step"] == rows.groupby(["trial_id", "phase"])["step"].transform("max")
    bins = np.linspace(*np.nanquantile(rows["value"], [0, 1]), 40)
    drawn, placed = panels(sorted(rows["condition"].unique()))
    for title, axis in placed:
        for rule, line in rows[rows["condition"] == title].groupby(RULE):
            ends = line["value"][last[line.index]]
            axis.hist(line["value"][line["step"] == 0], bins, histtype="step", linestyle="--", color=rule_colour(rule))
            axis.hist(ends, bins, color=rule_colour(rule), alpha=0.5)
        axis.axvline(90, color="grey", linewidth=0.8)
        label(axis, title, "angle to the feedback (degrees)", "units")
    kinds = [
        Line2D([], [], color="grey", linestyle="--", label="before noise"),
        Patch(color="grey", label="after noise"),
    ]
    legend_of(drawn, kinds)
    return drawn
