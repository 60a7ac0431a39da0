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
from figures import SCREEN_ROWS, Output, grid, label, output_folder, panels, parser, read, screen_table, script
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm
from matplotlib.ticker import NullFormatter
from matplotlib.tri import Triangulation
from rich.table import Table

from metafa.errors import ResultsError
from metafa.reporting import importance
from metafa.reporting.appearance import EVALUATORS, beyond, choice_labels, reach, short, ticks, value, with_room
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
        output.figure("search_pareto", plot_pareto(found, best, objectives))
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


def of_space(axis_of: str, axis: plt.Axes, name: str, study: Study, values: pd.Series) -> pd.Series:
    """Makes an axis that of a setting; returns where on it each of ``values`` is."""
    space = study.spaces[name]
    if space.get("log"):
        logarithmic(axis_of, axis, space["low"], space["high"])
    if "choices" not in space:
        return values.astype(float)
    choices = space["choices"]
    getattr(axis, f"set_{axis_of}ticks")(range(len(choices)), choice_labels(choices), fontsize=8)
    getattr(axis, f"set_{axis_of}lim")(-0.5, len(choices) - 0.5)
    return values.map(choices.index).astype(float)


def of_objective(axis_of: str, axis: plt.Axes, found: pd.DataFrame, objective: Objective) -> None:
    """Makes an axis that of an objective, and says how many trials lie beyond it."""
    low, high = reach(found[objective.name], objective.maximize)
    *ends, as_ratios = with_room(low, high)
    if as_ratios:
        logarithmic(axis_of, axis, low, high)
    getattr(axis, f"set_{axis_of}lim")(*ends)
    if off := beyond(found[objective.name], objective.maximize):
        axis.set_title(f"{off} of {len(found)} beyond the axis", loc="right", fontsize=7, color="#666666")


def logarithmic(axis_of: str, axis: plt.Axes, low: float, high: float) -> None:
    getattr(axis, f"set_{axis_of}scale")("log")
    said = ticks(low, high)
    getattr(axis, f"set_{axis_of}ticks")(said, [f"{one:g}" for one in said])
    getattr(axis, f"{axis_of}axis").set_minor_formatter(NullFormatter())


def plot_importance(weights: pd.DataFrame, objectives: list[Objective]) -> plt.Figure:
    figure, placed = panels([one.name for one in objectives], share=False)
    for name, axis in placed:
        here = weights[weights["objective"] == name].iloc[::-1]
        places = np.arange(len(here))
        for i, (evaluator, colour) in enumerate(EVALUATORS.items()):
            axis.barh(places + 0.27 * (1 - i), here[evaluator], 0.25, color=colour, label=evaluator)
        axis.set_yticks(places, [short(name) for name in here["setting"]], fontsize=8)
        label(axis, name, "share of importance", "")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def plot_slices(found: pd.DataFrame, study: Study, objectives: list[Objective], ranked: list[str]) -> plt.Figure:
    """A row an objective, a column a setting, the most important first; the later trials darker."""
    figure, axes = grid(len(objectives), len(ranked))
    for objective, row in zip(objectives, axes, strict=True):
        for setting, axis in zip(ranked, row, strict=True):
            places = of_space("x", axis, setting, study, found[setting])
            if "choices" in study.spaces[setting]:  # beside each other
                places = places + np.random.default_rng(0).uniform(-0.15, 0.15, len(places))
            axis.scatter(places, found[objective.name], c="#0072B2", s=14, alpha=0.6, linewidth=0)
            of_objective("y", axis, found, objective)
            label(axis, "", short(setting), objective.words)
    return figure


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
            x, y = of_space("x", axis, across, study, found[across]), of_space("y", axis, up, study, found[up])
            if x.nunique() > 2 and y.nunique() > 2:
                with contextlib.suppress(ValueError, RuntimeError):  # all on one line
                    near = Triangulation(*(height(found[name], study.spaces[name]) for name in (across, up))).triangles
                    axis.tricontourf(x, y, near, values, levels=levels, norm=norm, cmap=colours, alpha=0.5)
            points = axis.scatter(x, y, c=values, norm=norm, cmap=colours, s=22, edgecolor="black", linewidth=0.4)
            label(axis, "", short(across), short(up))
        figure.colorbar(points, ax=row[-1], label=objective.words, format="%.3g")
    return figure


def plot_parallel(found: pd.DataFrame, study: Study, objectives: list[Objective], ranked: list[str]) -> plt.Figure:
    """A line a trial, through the value of each setting and its objective: the best fifth in colour and in front."""
    figure, axes = grid(len(objectives), 1, share=False)
    figure.set_figwidth(2 + 1.9 * len(ranked))
    for objective, axis in zip(objectives, axes[:, 0], strict=True):
        ordered = found.sort_values(objective.name, ascending=objective.maximize).tail(TRIALS)  # the best last
        columns = [*ranked, objective.name]
        heights = pd.DataFrame({name: height(ordered[name], study.spaces[name]) for name in ranked})
        ranks = ordered[objective.name].rank()
        heights[objective.name] = (ranks - 1) / max(1, len(ranks) - 1)
        first = len(ordered) - max(1, math.ceil(SHARE * len(ordered)))
        for place, line in enumerate(heights.to_numpy()):
            best = place >= first
            axis.plot(line, color="#D55E00" if best else "#999999", linewidth=0.8, alpha=0.9 if best else 0.35)
        for place, name in enumerate(columns):
            axis.axvline(place, color="black", linewidth=0.8)
            space = study.spaces.get(name) if name in ranked else None
            for at, said in ends(ordered[name], space):
                axis.annotate(said, (place, at), (4, 0), textcoords="offset points", fontsize=7, va="center")
        axis.set_xticks(range(len(columns)), [*(short(name) for name in ranked), objective.words], fontsize=8)
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        axis.set_title(f"in colour the best {SHARE:.0%} by {objective.words}; its axis by rank", fontsize=10)
    return figure


def height(values: pd.Series, space: dict[str, Any]) -> pd.Series:
    """Where on an axis from 0 to 1 each value of a setting is."""
    if "choices" in space:
        return values.map(space["choices"].index) / max(1, len(space["choices"]) - 1)
    numbers, low, high = values.astype(float), space["low"], space["high"]
    if space.get("log"):
        numbers, low, high = np.log(numbers), math.log(low), math.log(high)
    return (numbers - low) / (high - low)


def ends(values: pd.Series, space: dict[str, Any] | None) -> list[tuple[float, str]]:
    """What an axis says, and where; that of an objective is of ranks."""
    if space is None:
        return [(part, value(float(values.quantile(part)))) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    if "choices" in space:
        number = max(1, len(space["choices"]) - 1)
        return [(i / number, label) for i, label in enumerate(choice_labels(space["choices"]))]
    return [(0.0, value(space["low"])), (1.0, value(space["high"]))]


def plot_pareto(found: pd.DataFrame, best: list[int], objectives: list[Objective]) -> plt.Figure:
    """All trials, and those that no other is better than in both objectives."""
    first, second = objectives
    figure, ((axis,),) = grid(1, 1)
    figure.set_figwidth(6)
    axis.scatter(found[second.name], found[first.name], c="#999999", s=14, label="trials")
    line = found.loc[best].sort_values(second.name)
    axis.plot(line[second.name], line[first.name], "o-", color="#D55E00", markersize=5, label="Pareto front")
    for axis_of, one in (("x", second), ("y", first)):
        of_objective(axis_of, axis, found, one)
    label(axis, "", second.words, first.words)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


if __name__ == "__main__":
    main()
