"""Which of the paper's claims hold, where, and by how much? A table, and a figure for each, from studies' Parquet.

A study says under [[claims]] what it claims and by which rule that is judged. It reads study.toml and the tables
`trials` and `measurements` of every RESULTS and nothing else, and writes to claims/ beside the first of them (or
--output): claims.csv, and STUDY_claim_NUMBER.png and .svg.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from meta_loss import colour, draw, grid, handles_with_and_without, interval, label, noise_phases, read, save
from rich import box
from rich.console import Console
from rich.table import Table

SEED = ["trial_id", "seed", "learning_rate"]
STYLES = {"holds": "green", "fails": "red", "undecided": "yellow"}
UNITS = {"translation": " (pixels)", "rotation": " (degrees)", "pixel_noise": " (standard deviation)"}
Claim = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "results", metavar="RESULTS", type=Path, nargs="+", help="results folders of studies that claim"
    )
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="where to write  [default: claims/ beside them]")
    arguments = parser.parse_args()
    output = arguments.output or arguments.results[0].parent / "claims"
    tables, figures = [], {}
    for folder in arguments.results:
        trials, measured, conditions = read(folder)
        study = tomllib.loads((folder / "study.toml").read_text(encoding="utf-8"))
        if not study.get("claims"):
            sys.exit(f"{folder}: this study claims nothing; say under [[claims]] what is to be judged, and how")
        for place, claim in enumerate(study["claims"], start=1):
            rows = of_claim(measured, trials, claim)
            if rows.empty:
                sys.exit(f"{folder}: claim {claim['claim']}: no {claim['metric']!r} in phase {claim['phase']!r}")
            others = [name for name in conditions if name not in ("network.rule", "noise_steps")]
            judged = judge(rows, claim, others)
            if judged.empty:
                sys.exit(f"{folder}: claim {claim['claim']}: not all of the trials that it compares are done")
            tables.append(judged.assign(study=study["name"]))
            drawn = pd.concat([noise_before(measured, trials, claim), rows])
            figures[f"{study['name']}_claim_{claim['claim']}_{place}"] = (drawn, claim, others)
    table = pd.concat(tables, ignore_index=True).sort_values("claim", kind="stable", ignore_index=True)
    output.mkdir(parents=True, exist_ok=True)
    table.to_csv(output / "claims.csv", index=False)
    screen = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    screen.print(as_rich(table))
    screen.print(f"table    {output / 'claims.csv'}", soft_wrap=True)
    for name, (rows, claim, others) in figures.items():
        screen.print(f"figure   {save(plot(rows, claim, others), output / name)}", soft_wrap=True)


def of_claim(measured: pd.DataFrame, trials: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The measurements that a claim is about, of all rules: its metric, layer and inputs, in its phase."""
    rows = measured[(measured["metric"] == claim["metric"]) & (measured["phase"] == claim["phase"])]
    rows = rows[rows["layer"] == claim["layer"]] if "layer" in claim else rows[rows["layer"].isna()]
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
    rows = rows[rows["layer"] == claim.get("layer", -1)]
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
    ``mean`` over steps, each step weighing as long as it lasted; then the mean over inputs."""
    keys = ["network.rule", "noise_steps", *others]
    # a rate of several side by side tells both runs and conditions apart
    runs = rows.sort_values("step").groupby(list(dict.fromkeys([*SEED, "task", *keys])), dropna=False)
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
    """One row a condition other than rule and noise: what is compared, their difference's mean over seeds with its 95%
    interval, paired by seed, and whether by the claim's rule it ``holds``, ``fails`` or is ``undecided``."""
    values = by_seed(rows, others, claim.get("step", "last"))
    starts = by_seed(rows, others, "first")
    rule, compare = claim.get("rule", "feedback_alignment"), claim.get("compare", "noise")
    most = values.index.get_level_values("noise_steps").max()
    found = []
    for key, group in values.groupby(others, dropna=False) if others else [((), values)]:
        group = group.droplevel(others)
        done = group.droplevel("seed").index
        if (rule, most) not in done or (compare == "noise" and (rule, 0) not in done):
            continue  # not yet
        with_noise = group.loc[rule, most]
        if compare == "noise":
            against = group.loc[rule, 0]
        elif compare == "start":
            start = starts.groupby(others, dropna=False).get_group(key) if others else starts
            against = start.droplevel(others).loc[rule, most]
        else:
            against = pd.Series(claim["reference"], with_noise.index)
        differences = (with_noise - against).to_numpy()
        differences = differences[np.isfinite(differences)]
        low, high = interval(differences)
        found.append(
            {
                "claim": claim["claim"],
                "statement": claim["statement"],
                "compared": compared(claim, most),
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


def compared(claim: Claim, most: int) -> str:
    """What a claim compares, in words."""
    against = {"noise": "no noise", "start": "its start", "reference": f"{claim.get('reference', 0):g}"}
    where = f" of layer {claim['layer']}" if "layer" in claim else ""
    step = ", mean over steps" if claim.get("step") == "mean" else ""
    return f"{claim['metric']}{where}{step}: {most} noise steps against {against[claim.get('compare', 'noise')]}"


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


def plot(rows: pd.DataFrame, claim: Claim, others: list[str]) -> plt.Figure:
    """What a claim is about, rule by rule, dashed without noise and solid with the most: against the step, or, where a
    phase tests changed images, against the strength of each change, then a row a condition. On other images a ring is
    without noise."""
    strengths = rows["task"].str.extract(r"/(?P<shift>\w+)=(?P<strength>[\d.e+-]+)$")
    rows = rows.assign(shift=strengths["shift"], x=strengths["strength"].astype(float).fillna(rows["step"]))
    rows = rows.assign(shift=rows["shift"].fillna("" if strengths["shift"].isna().all() else "other images"))
    rows["condition"] = [in_words(others, key) for key in rows[others].itertuples(index=False)]
    conditions, shifts = rows["condition"].unique(), sorted(rows["shift"].unique())
    rules, most = sorted(rows["network.rule"].unique()), rows["noise_steps"].max()
    figure, axes = grid(len(conditions), len(shifts)) if len(shifts) > 1 else grid(1, len(conditions))
    for (condition, shift), axis in zip([(c, s) for c in conditions for s in shifts], axes.flat, strict=True):
        here = rows[(rows["shift"] == shift) & (rows["condition"] == condition)]
        x = "task" if shift == "other images" else "x"
        for rule in rules:
            for noise_steps, style in {0: "o--", most: "o-"}.items():
                line = here[(here["network.rule"] == rule) & (here["noise_steps"] == noise_steps)]
                if line.empty:
                    continue
                seeds = line.groupby([x, "seed"])["value"].mean().unstack("seed")
                bounds = np.array([interval(row[np.isfinite(row)]) for row in seeds.to_numpy()])
                if shift == "other images":  # there is no way from one to the next
                    middle = seeds.mean(axis=1)
                    errors = np.abs(bounds.T - middle.to_numpy())
                    filled = None if noise_steps else "white"
                    axis.errorbar(seeds.index, middle, errors, fmt="o", color=colour(rule, rules), mfc=filled)
                else:
                    draw(axis, seeds.index, seeds.mean(axis=1), bounds.T, colour(rule, rules), style)
        if claim.get("compare") == "reference":
            axis.axhline(claim["reference"], color="grey", linewidth=0.8)
        steps = "step (before 0: noise)" if here["step"].min() < 0 else "step"
        x_label = shift.replace("_", " ") + UNITS.get(shift, "") or steps
        label(axis, condition or claim["phase"], x_label, claim["metric"].replace("_", " "))
    handles = handles_with_and_without(rules, most)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(f"{claim['claim']}. {claim['statement']}", fontsize=10, wrap=True)
    return figure


if __name__ == "__main__":
    main()
