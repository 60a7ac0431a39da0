"""Where do the weights go, through noise and then data? A figure, from a study's Parquet.

It is for studies with measure.weight_path = true, reads the tables `trials` and `measurements` in RESULTS and nothing
else, and writes to RESULTS/analysis (or --output): weight_path.png and .svg.

Each line is a seed, in the plane of the first two principal components of its own path: paths of different seeds and
conditions can be compared in their shape, and not in their place.
"""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D
from meta_loss import MORE_COLOURS, label, noise_phases, output_folder, panels, parse_arguments, read, save

NOISE, DATA = "#E69F00", "#0072B2"  # of Okabe and Ito


def main() -> None:
    arguments = parse_arguments(__doc__)
    output = arguments.output or output_folder(arguments.results)
    trials, measured, conditions = read(arguments.results)
    if not (measured["metric"] == "weight_path").any():
        sys.exit(f"{arguments.results}: no weight path was recorded; say weight_path = true under [measure]")
    output.mkdir(parents=True, exist_ok=True)
    print(f"figure   {save(plot(measured, trials, conditions), output / 'weight_path')}")


def places(measured: pd.DataFrame, trials: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    """One row a moment of a seed's path, its two components as columns 1 and 2; phases in the order they ran, which
    the order of rows does not tell."""
    path = measured[measured["metric"] == "weight_path"]
    ran = {phase: number for number, phase in enumerate(trials["phases"].iloc[0])}
    path = path.assign(ran=path["phase"].map(ran)).sort_values(["ran", "step"], kind="stable")
    return path.pivot_table("value", [*conditions, "seed", "phase", "step"], "component", sort=False).reset_index()


def plot(measured: pd.DataFrame, trials: pd.DataFrame, conditions: list[str]) -> plt.Figure:
    """A panel a condition: every seed's path, a ring where it starts and a dot where it ends."""
    path, variance = places(measured, trials, conditions), measured[measured["metric"] == "weight_path_variance"]
    phases, noises = list(dict.fromkeys(path["phase"])), noise_phases(trials)
    others = iter([DATA, *MORE_COLOURS])
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
        named = [(name.split(".")[-1].replace("_", " "), value) for name, value in zip(conditions, key, strict=True)]
        words = ", ".join(f"{name} {value}" for name, value in named)
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
