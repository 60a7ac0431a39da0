"""What did the settings do? Importance, slices, contours, parallel coordinates and Pareto fronts of a search.

Objectives are those of an adaptive search, else the meta-loss (or test accuracy) measured last; --objective asks about
others: PHASE.METRIC at the phase's last step, mean over seeds, or a setting such as noise.steps; "maximize NAME" says
which way is better where the metric does not. Importance is of Optuna's evaluators: fANOVA (Hutter et al. 2014), mean
decrease in impurity (Louppe et al. 2013) and PED-ANOVA (Watanabe et al. 2023). Grids and random searches do as well as
adaptive ones, if trials are enough.

It reads RESULTS and nothing else, and writes to RESULTS/analysis (or --output): search.csv, every trial and its
objectives; search_importance.csv; search_best.toml, the best settings as tables of a study file, ready to paste; and as
.svg and .png search_importance, search_slices, search_contours and search_parallel for each objective, and
search_pareto for two.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tomli_w
from figures import (
    SCREEN_ROWS,
    Output,
    draw_axis,
    drawn,
    grid,
    label,
    output_folder,
    parser,
    read,
    screen_table,
    script,
    slanted,
)
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm
from matplotlib.tri import Triangulation
from rich.table import Table

from metafa.errors import ResultsError
from metafa.reporting import importance, search_figures
from metafa.reporting.appearance import EVALUATORS, short, value
from metafa.reporting.objectives import Objective, chosen, front, points
from metafa.results import preparation
from metafa.studies.study import Study

SHARE = 0.2  # of trials, the best, that contours and lines bring forward
CONTOURS = 4  # settings, the most important, of which pairs are drawn
TRIALS = 1000  # that parallel coordinates draw


@script
def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--objective", action="append", metavar="NAME", help="such as evaluate.meta_loss; may be repeated"
    )
    arguments = arguments.parse_args()
    tables = read(arguments.results)
    where = tables.store.address
    study = preparation.read_study(tables.store)
    if not study.spaces:
        raise ResultsError(f"{where}: this study varies nothing; give a setting {{ choices = [...] }} or a range")
    objectives = chosen(tables, study, arguments.objective)
    found = points(tables, study, objectives)
    if len(found) < 2:
        raise ResultsError(f"{where}: {len(found)} trials have {objectives[0].name}; two at least tell them apart")
    output = Output(arguments.output, output_folder(tables))
    best = front(found, objectives)
    output.table("search", found, as_rich(found, best, study, objectives))
    save_best(output, study, found.loc[[best[0]]].to_dict("records")[0], objectives)
    if len(objectives) == 2:
        output.figure("search_pareto", plot_pareto(found, best, study, objectives))
    weights = importance.importances(study, objectives, found)
    objectives = [one for one in objectives if one.name not in study.spaces]
    if not objectives:
        return
    output.table("search_importance", weights, importance_table(weights))
    ranked = importance.ranked(weights)
    output.figure("search_importance", plot_importance(weights, objectives))
    output.figure("search_slices", plot_slices(found, study, objectives, ranked))
    if len(ranked) > 1:
        output.figure("search_contours", plot_contours(found, study, objectives, ranked[:CONTOURS]))
        output.figure("search_parallel", plot_parallel(found, study, objectives, ranked))


def as_rich(found: pd.DataFrame, best: list[int], study: Study, objectives: list[Objective]) -> Table:
    """The best trials for a screen."""
    names = [one.name for one in objectives]
    if len(names) == 1:
        best = list(found.sort_values(names[0], ascending=not objectives[0].maximize).index[:10])
    title = f"the best of {len(found)} trials" if len(names) == 1 else f"the Pareto front of {len(found)} trials"
    shown = screen_table(title)
    columns = list(dict.fromkeys([*names, *study.spaces]))
    for name in columns:
        shown.add_column(short(name), justify="right")
    for row in best[:SCREEN_ROWS]:
        shown.add_row(*(value(found.loc[row, name]) for name in columns))
    return shown


def importance_table(weights: pd.DataFrame) -> Table:
    """The shares for a screen."""
    shown = screen_table("importance of settings, as shares")
    for name in weights:
        shown.add_column(name, justify="right" if name in EVALUATORS else "left")
    for _, row in weights.iterrows():
        shown.add_row(row["objective"], row["setting"], *(f"{row[name]:.2f}" for name in EVALUATORS))
    return shown


def save_best(output: Output, study: Study, row: dict[str, Any], objectives: list[Objective]) -> None:
    """The tables of a study file with the best settings in place of what was varied."""
    tree = study.tree_at({name: row[name] for name in study.spaces})
    tree = {name: part for name, part in tree.items() if name in ("seed", "seeds", "network", "phases", "measure")}
    reached = ", ".join(f"{one.name} {value(float(row[one.name]))}" for one in objectives)
    text = f"# the best of {study.name}: {reached}\n{tomli_w.dumps(tree)}"
    output.text("best", "search_best.toml", text)
    for line in text.rstrip().split("\n"):
        output.say(line)


def plot_importance(weights: pd.DataFrame, objectives: list[Objective]) -> plt.Figure:
    plot = drawn(search_figures.importances(weights, objectives))
    plot.legend(*plot.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return plot


def plot_slices(found: pd.DataFrame, study: Study, objectives: list[Objective], ranked: list[str]) -> plt.Figure:
    """A row an objective, a column a setting, the most important first."""
    figure = search_figures.slices(found, study, objectives, ranked)
    return drawn(figure, figure.columns)


def plot_contours(found: pd.DataFrame, study: Study, objectives: list[Objective], ranked: list[str]) -> plt.Figure:
    """A row an objective, a column a pair of settings: what was tried, coloured by what came out, and between by linear
    interpolation; a colour for each tenth of the trials, so that a few bad ones do not make all others alike."""
    pairs = list(itertools.combinations(ranked, 2))
    figure, axes = grid(len(objectives), len(pairs), share=False)
    for objective, row in zip(objectives, axes, strict=True):
        values = found[objective.name].astype(float)
        levels = np.unique(np.quantile(values, np.linspace(0, 1, 11)))
        colours = colormaps["viridis_r" if objective.maximize else "viridis"]
        norm = BoundaryNorm(levels, colours.N) if len(levels) > 1 else None
        for (across, up), axis in zip(pairs, row, strict=True):
            x, y = (search_figures.places(found[name], name, study) for name in (across, up))
            for axis_of, name in (("x", across), ("y", up)):
                draw_axis(axis_of, axis, search_figures.setting_axis(name, study))
            if x.nunique() > 2 and y.nunique() > 2:
                with contextlib.suppress(ValueError, RuntimeError):  # all on one line
                    heights = (
                        search_figures.setting_coordinate(found[name], name, study).heights for name in (across, up)
                    )
                    near = Triangulation(*heights).triangles
                    axis.tricontourf(x, y, near, values, levels=levels, norm=norm, cmap=colours, alpha=0.5)
            points = axis.scatter(x, y, c=values, norm=norm, cmap=colours, s=22, edgecolor="black", linewidth=0.4)
            label(axis, "", short(across), short(up))
        figure.colorbar(points, ax=row[-1], label=objective.words, format="%.3g")
    return figure


def plot_parallel(found: pd.DataFrame, study: Study, objectives: list[Objective], ranked: list[str]) -> plt.Figure:
    """A line a trial, through the value of each setting and its objective: the best fifth in colour and in front."""
    plot, axes = grid(len(objectives), 1, share=False)
    plot.set_figwidth(2 + 1.9 * len(ranked))
    for objective, axis in zip(objectives, axes[:, 0], strict=True):
        ordered = found.sort_values(objective.name, ascending=objective.maximize).tail(TRIALS)  # the best last
        coordinates = search_figures.parallel(ordered, study, objective, ranked)
        first_of_best = len(ordered) - max(1, math.ceil(SHARE * len(ordered)))
        for place, heights in enumerate(np.stack([one.heights for one in coordinates], 1)):
            best = place >= first_of_best
            axis.plot(heights, color="#D55E00" if best else "#999999", linewidth=0.8, alpha=0.9 if best else 0.35)
        for place, coordinate in enumerate(coordinates):
            axis.axvline(place, color="black", linewidth=0.8)
            ends = ((coordinate.low, value(coordinate.low)), (coordinate.high, value(coordinate.high)))
            for tick, text in coordinate.ticks or ends:
                height = (tick - coordinate.low) / ((coordinate.high - coordinate.low) or 1)
                axis.annotate(text, (place, height), (4, 0), textcoords="offset points", fontsize=7, va="center")
        axis.set_xticks(range(len(coordinates)), [one.label for one in coordinates], fontsize=8)
        if max(len(one.label) for one in coordinates) > 22:  # wider than the place of one
            slanted(axis)
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        axis.set_title(f"in colour the best {SHARE:.0%} by {objective.words}; its axis by rank", fontsize=10)
    return plot


def plot_pareto(found: pd.DataFrame, best: list[int], study: Study, objectives: list[Objective]) -> plt.Figure:
    """All trials, and those that no other is better than in both objectives."""
    plot = drawn(search_figures.pareto(found, best, study, objectives))
    plot.set_figwidth(6)
    plot.legend(loc="outside lower center", ncols=2, frameon=False)
    return plot


if __name__ == "__main__":
    main()
