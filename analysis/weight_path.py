"""Where do the weights go, through noise and then data? Figures, from a study's Parquet.

It is for studies with measure.last_layer_weights = true, or measure.weight_path = true, reads the tables `trials` and
`measurements` in RESULTS and nothing else, and writes to RESULTS/analysis (or --output) what they recorded:

last_layer_path.csv, .png and .svg: the last layer's weights of all conditions that figures show, and its feedback, in
the plane of the first two principal components of all of these points; a panel for each --seed. Of copies of the
network that learn whole datasets, a line leads from the network to the end of that training.

weight_path.csv, .png and .svg: all weights. Each line is a seed, in the plane of the first two principal components of
its own path: paths of different seeds and conditions can be compared in their shape, and not in their place.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from figures import DASHES, Output, label, legend, legend_of, output_folder, panels, parser, read, script
from matplotlib.lines import Line2D

from metafa.errors import ResultsError
from metafa.reporting import appearance, paths
from metafa.reporting.appearance import in_words
from metafa.reporting.conditions import Tables
from metafa.reporting.paths import FEEDBACK, PLACES, WEIGHTS, Plane
from metafa.studies.fields import MAX_SEEDS

MARKERS = ("s", "^", "D", "v", "P", "X")  # of datasets
NOISE, DATA = "#E69F00", ("#0072B2", "#000000", "#999999", "#8B5A2B")  # of Okabe and Ito, but for the last


@script
def main() -> None:
    asked = parser(__doc__)
    text = "seeds whose last layer is drawn, a panel each  [default: 0]"
    asked.add_argument("--seed", metavar="SEED", type=seed, nargs="+", default=[0], help=text)
    arguments = asked.parse_args()
    tables = read(arguments.results)
    where = tables.store.address
    rows = tables.rows_of_shown(["weight_path", "weight_path_variance"])
    planes = list(paths.planes(tables, arguments.seed))
    planes = [plane for plane in planes if np.isfinite(plane.fractions).all()]
    if rows.empty and not planes:
        seeds = ", ".join(map(str, arguments.seed))
        sentence = "say last_layer_weights = true, or weight_path = true, under [measure]"
        raise ResultsError(f"{where}: no path was recorded, not of the last layer of seed {seeds} either; {sentence}")
    if planes and (absent := set(arguments.seed) - {plane.seed for plane in planes}):
        raise ResultsError(f"{where}: seed {min(absent)} has no path of the last layer")
    if not planes and not rows["value"].notna().any():
        raise ResultsError(f"{where}: no weights moved, or every seed diverged: there is no path to show")
    output = Output(arguments.output, output_folder(tables))
    if planes:
        output.table("last_layer_path", pd.concat([plane.places for plane in planes]))
        output.figure("last_layer_path", plot_last_layer(planes, tables))
    if rows["value"].notna().any():
        path = places(rows, tables)
        output.table("weight_path", path.rename(columns={1: "first_component", 2: "second_component"}))
        output.figure("weight_path", plot(rows, tables))


def seed(text: str) -> int:
    """A seed's number, of an argument. Raises ValueError where there can be none such."""
    if not 0 <= (number := int(text)) <= MAX_SEEDS:
        raise ValueError(text)
    return number


def plot_last_layer(planes: Sequence[Plane], tables: Tables) -> plt.Figure:
    """A panel a seed: a line each condition, with a dot where a phase ends, and a thin one each dataset that a copy of
    the network learned; a ring where they start and a star where the feedback is."""
    figure, placed = panels(planes, share=False)
    figure.set_size_inches(1 + 5 * min(4, len(planes)), 6.2 if len(planes) <= 4 else figure.get_figheight() * 1.5)
    lines = appearance.lines(tables)
    datasets = list(dict.fromkeys(name for plane in planes for name in plane.places["inputs"].dropna()))
    markers = {name: MARKERS[number % len(MARKERS)] for number, name in enumerate(datasets)}
    several = len({plane.weights for plane in planes}) > 1
    for plane, axis in placed:
        starts, ends = [], []
        for line in lines:
            places = line.rows(plane.places, tables.conditions)
            weights, feedback = (places[places["metric"] == metric] for metric in (WEIGHTS, FEEDBACK))
            draw_path(axis, weights, line, markers)
            for part in parts(feedback):  # where it moves
                axis.plot(part[PLACES[0]], part[PLACES[1]], ":", color=line.colour, linewidth=0.8)
            starts += [(place, line.colour) for place in weights.head(1)[PLACES].to_numpy(float)]
            ends += [
                (place, line.colour) for part in parts(feedback)[:1] for place in part.tail(1)[PLACES].to_numpy(float)
            ]
        for start, colour in distinct(starts):
            axis.plot(*start, "o", color=colour, mfc="white", markersize=7, zorder=5)
        for end, colour in distinct(ends):
            axis.plot(*end, "*", color=colour, markersize=12, zorder=5)
        title = f"seed {plane.seed}" + (f", {plane.weights:,} weights of the last layer" if several else "")
        first, second = plane.fractions
        label(axis, title, f"first component ({first:.0%} of variance)", f"second component ({second:.0%})")
        axis.set_aspect("equal", adjustable="datalim")
    legend(figure, lines, tables.excerpt)
    shown = [("start", "o", "white"), ("end of a phase", ".", "black"), ("feedback", "*", "black")]
    shown += [(f"{name} learned", marker, "black") for name, marker in markers.items()]
    handles = [
        Line2D([], [], color="black", marker=one, mfc=fill, linestyle="", label=name) for name, one, fill in shown
    ]
    legend_of(figure, handles, side="upper")
    return figure


def parts(path: pd.DataFrame) -> list[pd.DataFrame]:
    """The path of a network, if there is one, and then that of each of its copies."""
    own, copies = path[path["inputs"].isna()], path.dropna(subset="inputs")
    return [own] * (len(own) > 0) + [copy for _, copy in copies.groupby(["phase", "inputs"], sort=False)]


def draw_path(axis: plt.Axes, path: pd.DataFrame, line: appearance.Line, markers: dict[str, str]) -> None:
    """A condition's path, and those of its copies."""
    for part in parts(path):
        name = part["inputs"].iloc[0]
        width, marker, size = (1.5, ".", 9) if pd.isna(name) else (0.8, markers[name], 5)
        axis.plot(part[PLACES[0]], part[PLACES[1]], DASHES[line.dash], color=line.colour, linewidth=width)
        ends = part.groupby("phase", sort=False).tail(1)
        axis.plot(ends[PLACES[0]], ends[PLACES[1]], linestyle="", marker=marker, color=line.colour, markersize=size)


def distinct(places: Sequence[tuple[np.ndarray, str]]) -> list[tuple[np.ndarray, str]]:
    """Each of these places once, with its colour, or in black where several conditions share it."""
    found: list[tuple[np.ndarray, str]] = []
    for place, colour in places:
        same = [number for number, (other, _) in enumerate(found) if np.allclose(place, other, rtol=0, atol=1e-6)]
        if same:
            found[same[0]] = place, "black"
        else:
            found.append((place, colour))
    return found


def places(measured: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """One row a moment of a seed's path, its two components as columns 1 and 2; phases in the order they ran, which
    the order of rows does not tell."""
    path = paths.in_time(measured[measured["metric"] == "weight_path"], tables)
    return path.pivot_table(
        "value", [*tables.conditions, "seed", "phase", "step"], "component", sort=False
    ).reset_index()


def plot(measured: pd.DataFrame, tables: Tables) -> plt.Figure:
    """A panel a condition: every seed's path, a ring where it starts and a dot where it ends."""
    path, variance = places(measured, tables), measured[measured["metric"] == "weight_path_variance"]
    conditions, phases, noises = tables.conditions, list(dict.fromkeys(path["phase"])), tables.phases_of("noise")
    others = iter(DATA)
    colours = {phase: NOISE if phase in noises else next(others) for phase in phases}
    figure, placed = panels(list(path.groupby(conditions, dropna=False)), share=False)
    for (key, group), axis in placed:
        for _, seed in group.groupby("seed"):
            for phase, line in seed.groupby("phase", sort=False):
                axis.plot(line[1], line[2], color=colours[phase], linewidth=0.8, alpha=0.7)
            axis.plot(*seed.iloc[0][[1, 2]], "o", color="black", mfc="white", markersize=4)
            axis.plot(*seed.iloc[-1][[1, 2]], "o", color="black", markersize=4)
        of_group = (variance[conditions] == list(key)).all(axis=1)
        held = variance[of_group].groupby("component")["value"].mean()
        words = in_words(conditions, key)
        label(axis, words, f"first component ({held[1]:.0%} of variance)", f"second component ({held[2]:.0%})")
        axis.set_aspect("equal", adjustable="datalim")
    handles = [Line2D([], [], color=shade, label=phase) for phase, shade in colours.items()]
    handles += [
        Line2D([], [], color="black", marker="o", mfc=fill, linestyle="", markersize=4, label=name)
        for name, fill in (("start", "white"), ("end", "black"))
    ]
    legend_of(figure, handles)
    return figure


if __name__ == "__main__":
    main()
