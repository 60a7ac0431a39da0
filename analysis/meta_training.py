"""How does the meta-loss fall while a network is meta-trained, rule by rule? A table and a figure, from a study's
Parquet.

Where a study has several learning rates side by side and evaluates on validation classes, each condition is shown at
the rate that is best there. It reads the tables `trials` and `measurements` in RESULTS and nothing else, and writes
to RESULTS/analysis (or --output): meta_training.csv, meta_training.png and .svg.
"""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from meta_loss import colour, draw, grid, interval, label, parse_arguments, read, save
from rich import box
from rich.console import Console
from rich.table import Table

TRAINED_ON = "trained on"
KEYS = [TRAINED_ON, "network.rule", "noise_steps"]


def main() -> None:
    arguments = parse_arguments(__doc__)
    trials, measured, conditions = read(arguments.results)
    phases = [name.removesuffix(".outer_algorithm") for name in trials if name.endswith(".outer_algorithm")]
    if not phases:
        sys.exit(f'{arguments.results}: no meta-training here; give the study a phase with phase = "meta"')
    phase = phases[-1]
    trained_on = trials.set_index("trial_id")[f"{phase}.task_distribution"]
    measured[TRAINED_ON] = measured["trial_id"].map(trained_on)
    measured = measured[measured["task"].isna() | (measured["task"] == measured[TRAINED_ON])]
    splits = {name.removesuffix(".split"): trials[name].iloc[0] for name in trials.columns if name.endswith(".split")}
    ends = {split: [name for name, s in splits.items() if s == split] for split in ("validation", "test")}
    if not ends["test"]:
        sys.exit(f"{arguments.results}: no phase evaluated a meta-loss on test classes")
    if "learning_rate" in conditions:
        measured = at_best_rate(measured, (ends["validation"] or ends["test"])[-1])
    table = summarise(measured, phase, ends["test"][-1])
    output = arguments.output or arguments.results / "analysis"
    output.mkdir(parents=True, exist_ok=True)
    table.to_csv(output / "meta_training.csv", index=False)
    screen = Console(highlight=False, width=None if sys.stdout.isatty() else 130)
    screen.print(as_rich(table))
    screen.print(f"table    {output / 'meta_training.csv'}", soft_wrap=True)
    screen.print(f"figure   {save(plot(measured, phase), output / 'meta_training')}", soft_wrap=True)


def last_step(measured: pd.DataFrame, phase: str, metric: str) -> pd.DataFrame:
    """What was measured of ``metric`` at the last step of ``phase`` that a replica reached."""
    found = measured[(measured["phase"] == phase) & (measured["metric"] == metric)]
    place = ["trial_id", "seed", "learning_rate", "layer"]
    return found[found["step"] == found.groupby(place, dropna=False)["step"].transform("max")]


def at_best_rate(measured: pd.DataFrame, phase: str) -> pd.DataFrame:
    """The measurements of each condition at the learning rate whose mean meta-loss in ``phase`` is lowest."""
    losses = last_step(measured, phase, "meta_loss")
    # a diverged replica's loss is no number: the worst there is
    means = losses.assign(value=losses["value"].fillna(np.inf)).groupby([*KEYS, "learning_rate"])["value"].mean()
    best = means.groupby(KEYS).idxmin().map(lambda place: place[-1]).rename("best").reset_index()
    merged = measured.merge(best, on=KEYS)
    return merged[merged["learning_rate"] == merged["best"]]


def summarise(measured: pd.DataFrame, phase: str, evaluation: str) -> pd.DataFrame:
    """One row a condition: the meta-loss and meta-accuracy of ``evaluation``, means over seeds with their 95%
    intervals, and the alignment angle of the readout at the end of ``phase``."""
    rows = []
    losses, accuracies = (last_step(measured, evaluation, metric) for metric in ("meta_loss", "meta_accuracy"))
    angles = last_step(measured, phase, "alignment_angle")
    angles = angles[angles["layer"] == angles["layer"].max()]
    for key, group in losses.groupby(KEYS):
        kept = group["value"][np.isfinite(group["value"])].to_numpy()
        same = [(frame[KEYS] == pd.Series(key, KEYS)).all(axis=1) for frame in (accuracies, angles)]
        low, high = interval(kept)
        rows.append(
            dict(zip(KEYS, key, strict=True))
            | {
                "learning_rate": group["learning_rate"].iloc[0],
                "seeds": len(group),
                "diverged": len(group) - len(kept),
                "meta_loss": kept.mean() if len(kept) else np.nan,
                "meta_loss_low": low,
                "meta_loss_high": high,
                "meta_loss_worst": kept.max() if len(kept) else np.nan,
                "meta_accuracy": accuracies.loc[same[0], "value"].mean(),
                "alignment_angle": angles.loc[same[1], "value"].mean(),
            }
        )
    return pd.DataFrame(rows).sort_values([TRAINED_ON, "noise_steps", "meta_loss"], ignore_index=True)


def as_rich(table: pd.DataFrame) -> Table:
    """The table for a screen."""
    title = f"after meta-training: meta-loss in nats on unseen classes, mean over {table['seeds'].max()} seeds"
    shown = Table(title=f"{title} (95% interval)", title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for column in (TRAINED_ON, "noise steps", "rule"):
        shown.add_column(column)
    for column in ("meta-loss", "worst seed", "accuracy", "angle of readout", "rate"):
        shown.add_column(column, justify="right")
    for index, row in table.iterrows():
        if index and tuple(row[[TRAINED_ON, "noise_steps"]]) != tuple(
            table.loc[index - 1, [TRAINED_ON, "noise_steps"]]
        ):
            shown.add_section()
        bounds = f" ({row['meta_loss_low']:.3g} to {row['meta_loss_high']:.3g})" if row["seeds"] > 1 else ""
        shown.add_row(
            row[TRAINED_ON],
            str(row["noise_steps"]),
            row["network.rule"],
            f"{row['meta_loss']:.3g}{bounds}",
            f"{row['meta_loss_worst']:.3g}",
            f"{row['meta_accuracy']:.3f}",
            f"{row['alignment_angle']:.0f}°",
            f"{row['learning_rate']:g}" if np.isfinite(row["learning_rate"]) else "",
        )
    return shown


def plot(measured: pd.DataFrame, phase: str) -> plt.Figure:
    """Meta-loss on unseen classes against outer steps, one line a rule: the median over seeds, since a diverging one
    would carry a mean away, with the range of all seeds as a band."""
    during = measured[(measured["phase"] == phase) & (measured["metric"] == "meta_loss")]
    rules = sorted(during["network.rule"].unique())
    tasks, noises = sorted(during[TRAINED_ON].unique()), sorted(during["noise_steps"].unique())
    figure, axes = grid(len(tasks), len(noises))
    for (task, noise), axis in zip([(t, n) for t in tasks for n in noises], axes.flat, strict=True):
        here = during[(during[TRAINED_ON] == task) & (during["noise_steps"] == noise)]
        for rule in rules:
            by_seed = here[here["network.rule"] == rule].pivot_table("value", "step", "seed")
            bounds = by_seed.min(axis=1), by_seed.max(axis=1)
            draw(axis, by_seed.index, by_seed.median(axis=1), bounds, colour(rule, rules))
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xlim(left=0)
        axis.set_yscale("log")
        axis.set_ylim(top=20)  # beyond it all is lost
        label(axis, f"{task}, {noise} noise steps", "outer steps", "meta-loss (nats)")
    handles = [Line2D([], [], color=colour(rule, rules), marker="o", markersize=4, label=rule) for rule in rules]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    main()
