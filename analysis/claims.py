"""Which of the paper's claims hold, where, and by how much? A table, and a figure for each, from studies' Parquet.

A study says under [[claims]] what it claims and by which rule that is judged. It reads study.toml and the tables
`trials` and `measurements` of every RESULTS and nothing else, and writes to claims/ beside the first of them (or
--output): claims.csv, and for each claim STUDY_PLACE.png and .svg.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from meta_loss import (
    colour,
    draw,
    grid,
    handles_with_and_without,
    interval,
    label,
    noise_phases,
    output_folder,
    panels,
    place,
    read,
    save,
)
from rich import box
from rich.console import Console
from rich.table import Table

SEED = ["trial_id", "seed", "learning_rate"]
STYLES = {"holds": "green", "fails": "red", "undecided": "yellow"}
UNITS = {"translation": " (pixels)", "rotation": " (degrees)", "pixel_noise": " (standard deviation)"}
Claim = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", metavar="RESULTS", nargs="+", help="results of studies that claim something")
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="where to write  [default: claims/ beside them]")
    arguments = parser.parse_args()
    output = arguments.output or output_folder(arguments.results[0]).parents[1] / "claims"
    tables, figures = [], {}
    for folder in arguments.results:
        trials, measured, conditions = read(folder)
        filesystem, root = place(folder)
        with filesystem.open_input_file(f"{root}/study.toml") as file:
            study = tomllib.loads(file.read().decode())
        if not study.get("claims"):
            sys.exit(f"{folder}: this study claims nothing; say under [[claims]] what is to be judged, and how")
        for number, claim in enumerate(study["claims"], start=1):
            rows = of_claim(measured, trials, claim)
            if rows.empty:
                sys.exit(f"{folder}: claim {claim['claim']}: no {claim['metric']!r} in phase {claim['phase']!r}")
            others = [name for name in conditions if name not in ("network.rule", "noise_steps")]
            judged = judge(rows, claim, others)
            if judged.empty:
                sys.exit(f"{folder}: claim {claim['claim']}: not all of the trials that it compares are done")
            tables.append(judged.assign(study=study["name"]))
            figures[f"{study['name']}_{number}"] = figure(measured, trials, rows, claim, others)
    table = pd.concat(tables, ignore_index=True).sort_values("claim", kind="stable", ignore_index=True)
    output.mkdir(parents=True, exist_ok=True)
    table.to_csv(output / "claims.csv", index=False)
    screen = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    screen.print(as_rich(table))
    screen.print(f"table    {output / 'claims.csv'}", soft_wrap=True)
    for name, drawn in figures.items():
        screen.print(f"figure   {save(drawn, output / name)}", soft_wrap=True)


def of_claim(measured: pd.DataFrame, trials: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The measurements that a claim is about, of all rules: its metric, layer and inputs, in its phase."""
    rows = measured[(measured["metric"] == claim["metric"]) & (measured["phase"] == claim["phase"])]
    rows = rows[rows["layer"] == claim["layer"]] if "layer" in claim else rows
    if "task" in claim:
        return rows[rows["task"].fillna("").str.startswith(claim["task"])]
    of_dataset = rows["task"] == rows["trial_id"].map(datasets(trials, claim["phase"]))
    if f"{claim['phase']}.translation" in trials:
        return rows[~of_dataset]
    return rows[of_dataset] if of_dataset.any() else rows[rows["task"].isna()]


def noise_before(measured: pd.DataFrame, trials: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """What was measured of the same layer in noise before the claim's phase, its steps counted back from 0."""
    noise = set(noise_phases(trials)) - {claim["phase"]}
    rows = measured[measured["phase"].isin(noise) & (measured["metric"] == claim["metric"])]
    rows = rows[rows["layer"] == claim["layer"]] if "layer" in claim else rows[rows["layer"].notna()]
    return rows.assign(step=rows["step"] - rows.groupby(["trial_id", "phase"])["step"].transform("max"))


def datasets(trials: pd.DataFrame, phase: str) -> pd.Series:
    """The dataset that ``phase`` trains on or changes, by trial: its own, or that of the last supervised phase."""
    supervised = [name.removesuffix(".training_images") for name in trials if name.endswith(".training_images")]
    found = pd.Series(None, trials["trial_id"], dtype=object)
    for name in (*supervised[-1:], phase):
        if f"{name}.dataset" in trials:
            found = trials.set_index("trial_id")[f"{name}.dataset"].fillna(found)
    return found


def by_seed(rows: pd.DataFrame, others: list[str], step: str) -> pd.Series:
    """One value a rule, number of noise steps, other condition and seed: at the ``last`` or ``first`` step or the
    ``mean`` over steps, each step weighing as long as it lasted; then the mean over inputs or layers."""
    keys = ["network.rule", "noise_steps", *others]
    # a rate of several side by side tells both runs and conditions apart
    runs = rows.sort_values("step").groupby(list(dict.fromkeys([*SEED, "task", "layer", *keys])), dropna=False)
    if step == "mean":
        values = runs[["step", "value"]].apply(
            lambda run: (
                np.trapezoid(run["value"], run["step"]) / np.ptp(run["step"]) if len(run) > 1 else run["value"].iloc[0]
            )
        )
    else:
        values = runs["value"].last() if step == "last" else runs["value"].first()
    return values.groupby([*keys, "seed"], dropna=False).mean()


def judge(rows: pd.DataFrame, claim: Claim, others: list[str]) -> pd.DataFrame:
    """One row a number of noise steps and other condition: what is compared, their difference's mean over seeds with
    its 95% interval, paired by seed, and whether by the claim's rule it ``holds``, ``fails`` or is ``undecided``."""
    values = by_seed(rows, others, claim.get("step", "last"))
    starts = by_seed(rows, others, "first")
    rule, compare = claim.get("rule", "feedback_alignment"), claim.get("compare", "noise")
    noises = sorted({0, *values.index.get_level_values("noise_steps")} - {0})
    groups = list(values.groupby(others, dropna=False)) if others else [((), values)]
    found = []
    for (key, group), noise in itertools.product(groups, noises):
        group = group.droplevel(others)
        done = group.droplevel("seed").index
        if (rule, noise) not in done or (compare == "noise" and (rule, 0) not in done):
            continue  # not yet
        with_noise = group.loc[rule, noise]
        if compare == "noise":
            against = group.loc[rule, 0]
        elif compare == "start":
            start = starts.groupby(others, dropna=False).get_group(key) if others else starts
            against = start.droplevel(others).loc[rule, noise]
        else:
            against = pd.Series(claim["reference"], with_noise.index)
        differences = (with_noise - against).to_numpy()
        differences = differences[np.isfinite(differences)]
        low, high = interval(differences)
        found.append(
            {
                "claim": claim["claim"],
                "statement": claim["statement"],
                "compared": compared(claim, noise),
                "conditions": in_words(others, key),
                "seeds": len(differences),
                "with_noise": with_noise.mean(),
                "against": against.mean(),
                "backprop": group.loc["backprop", 0].mean() if ("backprop", 0) in done else np.nan,
                "difference": differences.mean() if len(differences) else np.nan,
                "difference_low": low,
                "difference_high": high,
                "expected": expected(claim),
                "verdict": verdict(low, high, claim["expect"], claim.get("margin", 0.0)),
            }
        )
    return pd.DataFrame(found)


def in_words(others: list[str], values: Iterable) -> str:
    """A condition by the settings that tell it apart."""
    return ", ".join(f"{name.split('.')[-1]} {value}" for name, value in zip(others, values, strict=True))


def compared(claim: Claim, noise_steps: int) -> str:
    """What a claim compares, in words."""
    against = {"noise": "no noise", "start": "its start", "reference": f"{claim.get('reference', 0):g}"}
    where = f" of layer {claim['layer']}" if "layer" in claim else ""
    step = ", mean over steps" if claim.get("step") == "mean" else ""
    return f"{claim['metric']}{where}{step}: {noise_steps} noise steps against {against[claim.get('compare', 'noise')]}"


def expected(claim: Claim) -> str:
    """Where a claim's difference should be, in words."""
    margin = claim.get("margin", 0.0)
    if claim["expect"] == "near":
        return f"within {margin:g}"
    return claim["expect"] + (f" by {margin:g}" if margin else "")


def verdict(low: float, high: float, expect: str, margin: float) -> str:
    """Whether an interval lies on the side expected of 0 by more than a margin (or within the margin, where a
    difference is to be ``near`` 0): it ``holds`` where all of it does, ``fails`` where none of it does."""
    if not np.isfinite(low):
        return "undecided"
    if expect == "near":
        inside, outside = -margin < low and high < margin, low > margin or high < -margin
    else:
        sign = 1 if expect == "higher" else -1
        ends = sorted((sign * low, sign * high))
        inside, outside = ends[0] > margin, ends[1] < margin
    return "holds" if inside else "fails" if outside else "undecided"


def as_rich(table: pd.DataFrame) -> Table:
    """The table for a screen."""
    shown = Table(title="the claims, mean over seeds (95% interval)", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("claim", "compared", "conditions", "seeds"):
        shown.add_column(column)
    for column in ("with noise", "against", "backprop", "difference", "expected"):
        shown.add_column(column, justify="right")
    shown.add_column("verdict")
    for _, row in table.iterrows():
        shown.add_row(
            str(row["claim"]),
            row["compared"],
            row["conditions"],
            str(row["seeds"]),
            f"{row['with_noise']:.3g}",
            f"{row['against']:.3g}",
            f"{row['backprop']:.3g}" if np.isfinite(row["backprop"]) else "",
            f"{row['difference']:+.3g} ({row['difference_low']:+.3g} to {row['difference_high']:+.3g})",
            row["expected"],
            f"[{STYLES[row['verdict']]}]{row['verdict']}[/]",
        )
    return shown


def figure(
    measured: pd.DataFrame, trials: pd.DataFrame, rows: pd.DataFrame, claim: Claim, others: list[str]
) -> plt.Figure:
    """What a claim is about, drawn as far as its study recorded it: dimensionality as the spectra that it sums up, a
    generalization error against training images and rank, all else as it went."""
    of_layer = (measured["phase"] == claim["phase"]) & (measured["layer"] == claim.get("layer"))
    spectra = measured[of_layer & (measured["metric"] == "singular_value")]
    sizes = f"{claim['phase']}.training_images"
    if claim["metric"] in ("effective_dimensionality", "effective_rank") and len(spectra):
        drawn = plot_spectra(spectra, others)
    elif claim["metric"] == "generalization_error" and sizes in others:
        ranks = measured["metric"].eq("effective_rank") & measured["phase"].eq(claim["phase"]) & measured["layer"].eq(1)
        drawn = plot_generalization(rows, measured[ranks], sizes, [name for name in others if name != sizes])
    else:
        drawn = plot_course(pd.concat([noise_before(measured, trials, claim), rows]), claim, others)
    drawn.suptitle(f"{claim['claim']}. {claim['statement']}", fontsize=10, wrap=True)
    return drawn


def with_and_without(rows: pd.DataFrame) -> Iterator[tuple[str, bool, pd.DataFrame]]:
    """The rows of each rule, without noise and with the most: the rule's colour, whether with noise, the rows."""
    rules, most = sorted(rows["network.rule"].unique()), rows["noise_steps"].max()
    for rule, noise_steps in itertools.product(rules, sorted({0, most})):
        line = rows[(rows["network.rule"] == rule) & (rows["noise_steps"] == noise_steps)]
        if len(line):
            yield colour(rule, rules), noise_steps > 0, line


def intervals(seeds: pd.DataFrame) -> np.ndarray:
    """The bounds ``[2, row]`` of each row's interval over its columns, one a seed."""
    return np.array([interval(row[np.isfinite(row)]) for row in seeds.to_numpy()]).T


def add_legend(figure: plt.Figure, rows: pd.DataFrame) -> None:
    handles = handles_with_and_without(sorted(rows["network.rule"].unique()), rows["noise_steps"].max())
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)


def conditions_of(rows: pd.DataFrame, others: list[str]) -> pd.Series:
    return pd.Series([in_words(others, key) for key in rows[others].itertuples(index=False)], rows.index, dtype=object)


def plot_course(rows: pd.DataFrame, claim: Claim, others: list[str]) -> plt.Figure:
    """Rule by rule, dashed without noise and solid with the most: against the step, or, where a phase tests changed
    images, against the strength of each change, then a row a condition. On other images a ring is without noise."""
    strengths = rows["task"].str.extract(r"/(?P<shift>\w+)=(?P<strength>[\d.e+-]+)$")
    rows = rows.assign(shift=strengths["shift"], x=strengths["strength"].astype(float).fillna(rows["step"]))
    rows = rows.assign(shift=rows["shift"].fillna("" if strengths["shift"].isna().all() else "other images"))
    rows = rows.sort_values(others, kind="stable") if others else rows
    rows = rows.assign(condition=conditions_of(rows, others))
    conditions, shifts = rows["condition"].unique(), sorted(rows["shift"].unique())
    places = list(itertools.product(conditions, shifts))
    if len(shifts) > 1:
        drawn, axes = grid(len(conditions), len(shifts))
        placed = zip(places, axes.flat, strict=True)
    else:
        drawn, placed = panels(places)
    for (condition, shift), axis in placed:
        here = rows[(rows["shift"] == shift) & (rows["condition"] == condition)]
        x = "task" if shift == "other images" else "x"
        for shade, noisy, line in with_and_without(here):
            seeds = line.groupby([x, "seed"])["value"].mean().unstack("seed")
            middle, bounds = seeds.mean(axis=1), intervals(seeds)
            if shift == "other images":  # there is no way from one to the next
                filled = None if noisy else "white"
                axis.errorbar(seeds.index, middle, np.abs(bounds - middle.to_numpy()), fmt="o", color=shade, mfc=filled)
            else:
                draw(axis, seeds.index, middle, bounds, shade, "o-" if noisy else "o--")
        if claim.get("compare") == "reference":
            axis.axhline(claim["reference"], color="grey", linewidth=0.8)
        steps = "step (before 0: noise)" if here["step"].min() < 0 else "step"
        x_label = shift.replace("_", " ") + UNITS.get(shift, "") or steps
        label(axis, condition or claim["phase"], x_label, claim["metric"].replace("_", " "))
    add_legend(drawn, rows)
    return drawn


def plot_spectra(spectra: pd.DataFrame, others: list[str]) -> plt.Figure:
    """A layer's singular values, the largest first, at the end of a phase: dashed without noise, or where there are no
    such networks as they were at its start; solid with the most."""
    if (spectra["noise_steps"] == 0).any():
        spectra = spectra[spectra["step"] == spectra.groupby("trial_id")["step"].transform("max")]
    else:
        spectra = spectra.assign(noise_steps=spectra["noise_steps"].where(spectra["step"] > 0, 0))
    spectra = spectra.sort_values(others, kind="stable") if others else spectra
    spectra = spectra.assign(condition=conditions_of(spectra, others))
    drawn, placed = panels(spectra["condition"].unique())
    for condition, axis in placed:
        for shade, noisy, line in with_and_without(spectra[spectra["condition"] == condition]):
            seeds = line.groupby(["component", "seed"])["value"].mean().unstack("seed")
            draw(axis, seeds.index, seeds.mean(axis=1), intervals(seeds), shade, "-" if noisy else "--")
        axis.set_ylim(bottom=0)
        label(axis, condition, "singular value, by size", "singular value")
    add_legend(drawn, spectra)
    return drawn


def plot_generalization(errors: pd.DataFrame, ranks: pd.DataFrame, sizes: str, others: list[str]) -> plt.Figure:
    """The generalization error against the number of training images, and against the rank of the first layer's
    weights, each at the phase's end: a row a condition, a point a number of training images."""
    groups = [*others, sizes]
    values = pd.DataFrame({"error": by_seed(errors, groups, "last"), "rank": by_seed(ranks, groups, "last")})
    values = values.reset_index()
    values = values.assign(condition=conditions_of(values, others))
    conditions = values["condition"].unique()
    drawn, axes = grid(len(conditions), 2)
    for condition, (by_size, by_rank) in zip(conditions, axes, strict=True):
        for shade, noisy, line in with_and_without(values[values["condition"] == condition]):
            style = "o-" if noisy else "o--"
            seeds, rank = (line.pivot_table(name, sizes, "seed") for name in ("error", "rank"))
            draw(by_size, seeds.index, seeds.mean(axis=1), intervals(seeds), shade, style)
            across, up = (np.abs(intervals(one) - one.mean(axis=1).to_numpy()) for one in (rank, seeds))
            by_rank.errorbar(
                rank.mean(axis=1), seeds.mean(axis=1), up, across, fmt=style, color=shade, markersize=4, elinewidth=0.8
            )
        by_size.set_xscale("log")
        label(by_size, condition, "training images", "generalization error (nats)")
        label(by_rank, condition, "effective rank of layer 1", "generalization error (nats)")
    add_legend(drawn, values)
    return drawn


if __name__ == "__main__":
    main()
