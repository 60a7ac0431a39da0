"""Where do the weights go, through noise and then data? A figure, from a study's Parquet.

It is for studies with measure.weight_path = true, reads the tables `trials` and `measurements` in RESULTS and nothing
else, and writes to RESULTS/analysis (or --output): weight_path.csv, weight_path.png and .svg.

Each line is a seed, in the plane of the first two principal components of its own path: paths of different seeds and
conditions can be compared in their shape, and not in their place.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from figures import Output, label, output_folder, panels, parse_arguments, read, script
from matplotlib.lines import Line2D

from metafa.errors import ResultsError
from metafa.reporting.appearance import in_words
from metafa.reporting.conditions import Tables

NOISE, DATA = "#E69F00", ("#0072B2", "#000000", "#999999", "#8B5A2B")  # of Okabe and Ito, but for the last


@script
def main() -> None:
    arguments = parse_arguments(__doc__)
    tables = read(arguments.results)
    where = tables.store.address
    rows = tables.rows_of_shown(["weight_path", "weight_path_variance"])
    if rows.empty:
        raise ResultsError(f"{where}: no weight path was recorded; say weight_path = true under [measure]")
    if not rows["value"].notna().any():
        raise ResultsError(f"{where}: no weights moved, or every seed diverged: there is no path to show")
    output = Output(arguments.output, output_folder(tables))
    path = places(rows, tables)
    output.table("weight_path", path.rename(columns={1: "first_component", 2: "second_component"}))
    output.figure("weight_path", plot(rows, tables))


def places(measured: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """One row a moment of a seed's path, its two components as columns 1 and 2; phases in the order they ran, which
    the order of rows does not tell."""
    path = measured[measured["metric"] == "weight_path"]
    ran = {phase: number for number, phase in enumerate(tables.phases)}
    path = path.assign(ran=path["phase"].map(ran)).sort_values(["ran", "step"], kind="stable")
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
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


if __name__ == "__main__":
    main()
