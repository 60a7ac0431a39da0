"""How does the meta-loss fall while a network is meta-trained, rule by rule? A table and a figure, from a study's
Parquet.

Where a study varies more than the rule, the noise steps and the tasks, and evaluates on validation classes, each of
those conditions is shown at the settings that are best there; without validation classes, at all of them. It reads the
tables `trials` and `measurements` in RESULTS and nothing else, and writes to RESULTS/analysis (or --output):
meta_training.csv, meta_training_settings.csv with every setting tried, meta_training.png and .svg.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from figures import (
    SCREEN_ROWS,
    Output,
    by_steps,
    draw,
    grid,
    label,
    legend,
    of_losses,
    output_folder,
    parse_arguments,
    read,
    screen_table,
    script,
)
from rich.table import Table

from metafa.errors import ResultsError
from metafa.reporting import statistics
from metafa.reporting.appearance import Line, key, named, rule_colour
from metafa.reporting.conditions import NOISE, RULE, Tables

TRAINED_ON = "trained on"
KEYS = [TRAINED_ON, RULE, NOISE]


@script
def main() -> None:
    arguments = parse_arguments(__doc__)
    tables = read(arguments.results)
    where = tables.store.address
    if not tables.phases_of("meta"):
        raise ResultsError(f'{where}: no meta-training here; give the study a phase with phase = "meta"')
    phase = tables.phases_of("meta")[-1]
    splits = {name: set(tables.ended[f"{name}.split"].dropna()) for name in tables.phases_of("evaluate")}
    ends = {split: [name for name, of in splits.items() if of == {split}] for split in ("validation", "test")}
    if not ends["test"]:
        raise ResultsError(f"{where}: no phase evaluated a meta-loss on test classes")
    measured = read_measured(tables, [phase, *ends["validation"][-1:], *ends["test"][-1:]])
    settings = [name for name in tables.conditions if name not in (*KEYS, f"{phase}.task_distribution")]
    output = Output(arguments.output, output_folder(tables))
    if settings:
        tried = summarise(measured, phase, (ends["validation"] or ends["test"])[-1], settings)
        output.table("meta_training_settings", tried)
        if ends["validation"]:
            measured = at_best(measured, tried, settings)
    table = summarise(measured, phase, ends["test"][-1], settings)
    output.table("meta_training", table, as_rich(table, settings))
    output.figure("meta_training", plot(measured, phase, settings))


def read_measured(tables: Tables, phases: list[str]) -> pd.DataFrame:
    """What is told of meta-training, on the tasks trained on."""
    rows = tables.rows(["meta_loss", "meta_accuracy", "alignment_angle"], phases)
    phase = tables.phases_of("meta")[-1]
    rows[TRAINED_ON] = rows["trial_id"].map(tables.ended.set_index("trial_id")[f"{phase}.task_distribution"])
    return rows[rows["inputs"].isna() | (rows["inputs"] == rows[TRAINED_ON])]


def last_step(measured: pd.DataFrame, phase: str, metric: str) -> pd.DataFrame:
    """What was measured of ``metric`` at the last step of ``phase`` that a replica reached."""
    found = measured[(measured["phase"] == phase) & (measured["metric"] == metric)]
    place = ["trial_id", "seed", "learning_rate", "layer"]
    return found[found["step"] == found.groupby(place, dropna=False)["step"].transform("max")]


def at_best(measured: pd.DataFrame, tried: pd.DataFrame, settings: list[str]) -> pd.DataFrame:
    """The measurements of each condition at those of its ``settings`` whose mean meta-loss in ``tried`` is lowest; one
    at which a seed diverged is worse than any at which none did."""
    ranked = tried.sort_values(["diverged", "meta_loss"])
    best = ranked.drop_duplicates(KEYS)[[*KEYS, *settings]]
    return measured.merge(best, on=[*KEYS, *settings])


def summarise(measured: pd.DataFrame, phase: str, evaluation: str, settings: list[str]) -> pd.DataFrame:
    """One row a condition and its ``settings``: the meta-loss and meta-accuracy of ``evaluation``, means over seeds
    with their 95% intervals, and the alignment angle of the readout at the end of ``phase``."""
    rows, keys = [], [*KEYS, *settings]
    losses, accuracies = (last_step(measured, evaluation, metric) for metric in ("meta_loss", "meta_accuracy"))
    angles = last_step(measured, phase, "alignment_angle")
    angles = angles[angles["layer"] == angles["layer"].max()]
    means = {
        name: {key(of): mean for of, mean in frame.groupby(keys, dropna=False)["value"].mean().items()}
        for name, frame in {"meta_accuracy": accuracies, "alignment_angle": angles}.items()
    }
    for values, group in losses.groupby(keys, dropna=False):
        kept = group["value"][np.isfinite(group["value"])].to_numpy()
        low, high = statistics.interval(kept)
        rows.append(
            dict(zip(keys, values, strict=True))
            | {
                "seeds": len(group),
                "diverged": len(group) - len(kept),
                "meta_loss": kept.mean() if len(kept) else np.nan,
                "meta_loss_low": low,
                "meta_loss_high": high,
                "meta_loss_worst": kept.max() if len(kept) else np.nan,
            }
            | {name: of_condition.get(key(values), np.nan) for name, of_condition in means.items()}
        )
    return pd.DataFrame(rows).sort_values([TRAINED_ON, NOISE, "meta_loss"], ignore_index=True)


def _counted(seeds: pd.Series) -> str:
    low, high = seeds.min(), seeds.max()
    return f"{low}" if low == high else f"{low} to {high}"


def as_rich(table: pd.DataFrame, settings: list[str]) -> Table:
    """The table for a screen."""
    title = f"after meta-training: meta-loss in nats on unseen classes, mean over {_counted(table['seeds'])} seeds"
    said = f", the best {SCREEN_ROWS} of {len(table)}" if len(table) > SCREEN_ROWS else ""
    shown = screen_table(f"{title} (95% interval){said}")
    if said:
        table = table.sort_values("meta_loss").head(SCREEN_ROWS).sort_index().reset_index(drop=True)
    for column in (TRAINED_ON, "noise steps", "rule"):
        shown.add_column(column, no_wrap=column != "noise steps")
    shown.add_column("meta-loss", justify="right", no_wrap=True)
    for column in (
        "worst seed",
        "accuracy",
        "angle of readout",
        *(name.split(".")[-1].removeprefix("outer_") for name in settings),
    ):
        shown.add_column(column.replace("_", " "), justify="right")
    if table["diverged"].any():
        shown.add_column("diverged", justify="right")
    for index, row in table.iterrows():
        if index and tuple(row[[TRAINED_ON, NOISE]]) != tuple(table.loc[index - 1, [TRAINED_ON, NOISE]]):
            shown.add_section()
        bounds = f" ({row['meta_loss_low']:.3g} to {row['meta_loss_high']:.3g})" if row["seeds"] > 1 else ""
        shown.add_row(
            row[TRAINED_ON],
            str(row[NOISE]),
            row[RULE],
            f"{row['meta_loss']:.3g}{bounds}",
            f"{row['meta_loss_worst']:.3g}",
            f"{row['meta_accuracy']:.3f}",
            f"{row['alignment_angle']:.0f}°",
            *(f"{row[name]:g}" if isinstance(row[name], float) else str(row[name]) for name in settings),
            *([f"{row['diverged']} of {row['seeds']}"] if table["diverged"].any() else []),
        )
    return shown


def plot(measured: pd.DataFrame, phase: str, settings: list[str]) -> plt.Figure:
    """Meta-loss on unseen classes against outer steps, one line a rule and its ``settings``: the median over seeds,
    since a diverging one would carry a mean away, with the range of all seeds as a band."""
    during = measured[(measured["phase"] == phase) & (measured["metric"] == "meta_loss")]
    rules = sorted(during[RULE].unique())
    tasks, noises = sorted(during[TRAINED_ON].unique()), sorted(during[NOISE].unique())
    figure, axes = grid(len(tasks), len(noises))
    for (task, noise), axis in zip([(t, n) for t in tasks for n in noises], axes.flat, strict=True):
        here = during[(during[TRAINED_ON] == task) & (during[NOISE] == noise)]
        for (rule, *_), of_rule in here.groupby([RULE, *settings], dropna=False):
            by_seed = of_rule.pivot_table("value", "step", "seed")
            bounds = by_seed.min(axis=1), by_seed.max(axis=1)
            draw(axis, by_seed.index, by_seed.median(axis=1), bounds, rule_colour(rule))
        if not np.isfinite(here["value"]).any():
            axis.text(0.5, 0.5, "every network diverged", transform=axis.transAxes, ha="center", color="grey")
        by_steps(axis, here["step"])
        of_losses(axis)
        label(axis, f"{task}, {noise} noise steps", "outer steps", f"{named('meta_loss')}\nmedian and range of seeds")
    axes.flat[0].set_ylim(top=min(20, axes.flat[0].get_ylim()[1]))  # beyond it all is lost; axes are shared
    legend(figure, [Line((rule,), rule, rule_colour(rule), "solid") for rule in rules])
    return figure


if __name__ == "__main__":
    main()
