"""Did noise pretraining lower the meta-loss? A table, and two figures, from a study's Parquet.

It reads the tables `trials` and `measurements` in RESULTS and nothing else, and writes to
RESULTS/analysis (or --output): meta_loss.csv, meta_loss_by_noise_steps.png and .svg,
meta_loss_by_inner_steps.png and .svg.
"""

from __future__ import annotations

import argparse
import math
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from pyarrow import fs
from rich import box
from rich.console import Console
from rich.table import Table
from scipy import stats

# Okabe and Ito's colours, told apart by people of every colour vision
COLOURS = {
    "feedback_alignment": "#D55E00",
    "backprop": "#0072B2",
    "nested_kolen_pollack": "#009E73",
    "kolen_pollack": "#CC79A7",
    "weight_mirror": "#E69F00",
    "sign_symmetry_fixed": "#56B4E9",
}
MORE_COLOURS = ["#000000", "#999999", "#8B5A2B"]
RESAMPLES = 9999
EVALUATED = ["phase", "task"]  # what tells one evaluation of a network from another


def main() -> None:
    arguments = parse_arguments(__doc__)
    output = arguments.output or output_folder(arguments.results)
    trials, measured, conditions = read(arguments.results)
    table = compare(measured, conditions, list(trials["phases"].iloc[0]))
    if table.empty:
        sys.exit(f'{arguments.results}: no phase evaluated a meta-loss; give the study one with phase = "evaluate"')
    output.mkdir(parents=True, exist_ok=True)
    table.to_csv(output / "meta_loss.csv", index=False)
    screen = Console(highlight=False, width=None if sys.stdout.isatty() else 130)
    screen.print(as_rich(table, conditions))
    for sentence in verdicts(table, conditions):
        screen.print(sentence, soft_wrap=True)
    paths = [
        save(plot_noise_steps(measured, trials, table), output / "meta_loss_by_noise_steps"),
        save(plot_inner_steps(measured, table), output / "meta_loss_by_inner_steps"),
    ]
    screen.print(f"table    {output / 'meta_loss.csv'}", soft_wrap=True)
    for path in paths:
        screen.print(f"figure   {path}", soft_wrap=True)


def parse_arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", metavar="RESULTS", help="results, such as results/quickstart or s3://BUCKET/FOLDER")
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="where to write  [default: RESULTS/analysis]")
    return parser.parse_args()


def place(address: str) -> tuple[fs.FileSystem, str]:
    """The filesystem that results are on, a local one or an object store, and their path there."""
    return fs.FileSystem.from_uri(address) if "://" in address else (fs.LocalFileSystem(), address)


def output_folder(address: str) -> Path:
    """Where an analysis goes: into the results, or, where those are not on this machine, beside where they would be."""
    return (Path("results") / place(address)[1].split("/")[-1] if "://" in address else Path(address)) / "analysis"


def read(results: str) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The trials that came to an end, their measurements, and the columns of both that tell conditions apart."""
    try:
        filesystem, root = place(results)
        trials, measurements = (
            pq.read_table(f"{root}/{table}", filesystem=filesystem).to_pandas() for table in ("trials", "measurements")
        )
    except (OSError, ValueError) as error:
        sys.exit(f"{results}: no tables `trials` and `measurements` of metafa here ({error})")
    trials = trials[trials["status"].isin(["done", "diverged"])]
    if trials.empty:
        sys.exit(f"{results}: no trial is done yet")
    trials, conditions = with_conditions(trials)
    measured = measurements.merge(trials[["trial_id", *conditions]], on="trial_id")
    if measured["learning_rate"].notna().any():  # several, side by side in one trial
        conditions = [*conditions, "learning_rate"]
    return trials, measured, conditions


def with_conditions(trials: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The trials with a column `noise_steps`, all noise phases together, and the columns that tell their
    conditions apart: the rule, the noise steps, and every other setting of which the study has several values."""
    noise_columns = [f"{phase}.steps" for phase in noise_phases(trials)]
    trials = trials.assign(noise_steps=trials[noise_columns].fillna(0).sum(axis=1).astype(int) if noise_columns else 0)
    others = [
        name
        for name in trials
        if (name in ("seed", "seeds") or "." in name)  # a setting goes by its dotted name
        and name not in {*noise_columns, "network.rule"}
        and trials[name].map(repr).nunique() > 1
    ]
    trials = trials.assign(**{name: trials[name].map(_plain) for name in others})
    return trials, ["network.rule", "noise_steps", *others]


def noise_phases(trials: pd.DataFrame) -> list[str]:
    """The phases of noise pretraining, which alone have a distribution of inputs."""
    return [name.removesuffix(".inputs") for name in trials if name.endswith(".inputs")]


def _plain(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list | np.ndarray) else value


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95% interval of the mean of ``values``, one a seed: bias-corrected and accelerated bootstrap (Efron
    1987); not a number where fewer than two values differ."""
    if len(values) < 2 or np.ptp(values) == 0:
        return np.nan, np.nan
    result = stats.bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0))
    return tuple(result.confidence_interval)


def compare(measured: pd.DataFrame, conditions: list[str], phases: list[str]) -> pd.DataFrame:
    """One row a condition and evaluation: the meta-loss after the last inner step, its mean over seeds with a 95%
    interval, and its difference, paired by seed, to the same condition without noise. ``phases`` in their order."""
    final = evaluated(measured)
    final = final[final["step"] == final.groupby([*EVALUATED, *conditions])["step"].transform("max")]
    values = final.pivot_table("value", [*EVALUATED, *conditions, "seed"], "metric", sort=False, dropna=False)
    values = values.reset_index().dropna(how="all", subset=["meta_loss", "meta_accuracy"])
    others = [name for name in conditions if name != "noise_steps"]
    rows = []
    for key, seeds in values.groupby([*EVALUATED, *conditions], sort=False, dropna=False):
        losses = seeds.set_index("seed")["meta_loss"]
        kept = losses[np.isfinite(losses)]
        row = dict(zip([*EVALUATED, *conditions], key, strict=True))
        low, high = interval(kept.to_numpy())
        row |= {
            "seeds": len(losses),
            "diverged": len(losses) - len(kept),
            "meta_loss": kept.mean(),
            "meta_loss_low": low,
            "meta_loss_high": high,
            "meta_accuracy": seeds.loc[np.isfinite(seeds["meta_loss"]), "meta_accuracy"].mean(),
        }
        without = values[(values["noise_steps"] == 0)]
        for name in [*EVALUATED, *others]:
            without = without[without[name] == row[name]]
        if row["noise_steps"] and len(without):
            paired = (losses - without.set_index("seed")["meta_loss"]).to_numpy()
            paired = paired[np.isfinite(paired)]
            low, high = interval(paired)
            row |= {
                "difference": paired.mean() if len(paired) else np.nan,
                "difference_low": low,
                "difference_high": high,
            }
        rows.append(row)
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    for name in ("difference", "difference_low", "difference_high"):
        table[name] = table.get(name, np.nan)
    place = {phase: i for i, phase in enumerate(phases)}
    return table.sort_values(
        [*EVALUATED, *conditions],
        key=lambda column: column.map(place) if column.name == "phase" else column,
        ignore_index=True,
    )


def evaluated(measured: pd.DataFrame) -> pd.DataFrame:
    """The adaptation curves: the rows of phases that evaluate, whose steps are inner steps."""
    curves = measured.loc[measured["metric"] == "generalization_error", "phase"].unique()
    return measured[measured["phase"].isin(curves) & measured["metric"].isin(["meta_loss", "meta_accuracy"])]


def as_rich(table: pd.DataFrame, conditions: list[str]) -> Table:
    """The table for a screen. What is the same in every row stands in its title."""
    names = {"phase": "phase", "task": "tasks", "network.rule": "rule", "noise_steps": "noise steps", "seeds": "seeds"}
    columns = ["phase", "task", *conditions, "seeds"]
    shared = [c for c in columns if c not in ("phase", "network.rule", "noise_steps") and table[c].nunique() == 1]
    columns = [c for c in columns if c not in shared]
    title = "meta-loss in nats, mean over seeds (95% interval)"
    shown = Table(
        title=", ".join([title, *(f"{names.get(c, c)}: {table[c].iloc[0]}" for c in shared)]),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        title_style="bold",
    )
    for column in columns:
        shown.add_column(names.get(column, column))
    for name in ("meta-loss", "accuracy", "against no noise"):
        shown.add_column(name, justify="right")
    if table["diverged"].any():
        shown.add_column("diverged", justify="right")
    for index, row in table.iterrows():
        if index > 0 and tuple(row[EVALUATED]) != tuple(table.loc[index - 1, EVALUATED]):
            shown.add_section()
        difference = ""
        if np.isfinite(row["difference"]):
            clear = row["difference_low"] * row["difference_high"] > 0
            style = f"[{'green' if row['difference'] < 0 else 'red'}]" if clear else "[default]"
            interval = _interval(row["difference_low"], row["difference_high"], "+")
            difference = f"{style}{row['difference']:+.3f} ({interval})[/]"
        shown.add_row(
            *(str(row[column]) for column in columns),
            f"{row['meta_loss']:.3f} ({_interval(row['meta_loss_low'], row['meta_loss_high'])})",
            f"{row['meta_accuracy']:.3f}",
            difference,
            *([f"{row['diverged']} of {row['seeds']}" if row["diverged"] else ""] if table["diverged"].any() else []),
        )
    return shown


def _interval(low: float, high: float, sign: str = "") -> str:
    return f"{low:{sign}.3f} to {high:{sign}.3f}" if np.isfinite(low) else "-"


def verdicts(table: pd.DataFrame, conditions: list[str]) -> list[str]:
    """A sentence a rule and evaluation: what the most noise steps did to the meta-loss."""
    sentences = []
    others = [name for name in conditions if name not in ("network.rule", "noise_steps")]
    with_noise = table[table["difference"].notna()]
    for key, rows in with_noise.groupby([*EVALUATED, "network.rule", *others], sort=False):
        row = rows.loc[rows["noise_steps"].idxmax()]
        low, high = row["difference_low"], row["difference_high"]
        did = "lowered" if high < 0 else "raised" if low > 0 else "did not clearly change"
        extra = "".join(f", {name} {value}" for name, value in zip(others, key[3:], strict=True))
        sentences.append(
            f"{row['phase']}: {row['noise_steps']} noise steps {did} the meta-loss of {row['network.rule']} on "
            f"{row['task']}{extra}: {row['difference']:+.3f} ({_interval(low, high, '+')}, {row['seeds']} seeds)"
        )
    return sentences


def colour(rule: str, rules: list[str]) -> str:
    """The same colour for the same rule in every figure."""
    new = [name for name in sorted(rules) if name not in COLOURS]
    return COLOURS.get(rule) or MORE_COLOURS[new.index(rule) % len(MORE_COLOURS)]


def plot_noise_steps(measured: pd.DataFrame, trials: pd.DataFrame, table: pd.DataFrame) -> plt.Figure:
    """Meta-loss against noise steps, one line a rule: while the noise goes on, and at each evaluation."""
    during = measured[(measured["metric"] == "meta_loss") & ~measured["phase"].isin(table["phase"].unique())]
    during = during[during["phase"].isin(noise_phases(trials))]
    longest = during["noise_steps"].max() if len(during) else 0
    during = during[during["noise_steps"] == longest]
    rows = []
    for (rule, task, step), group in during.groupby(["network.rule", "task", "step"]):
        losses = group.groupby("seed")["value"].mean()
        losses = losses[np.isfinite(losses)].to_numpy()
        if len(losses):
            rows.append(
                dict(zip(("meta_loss_low", "meta_loss_high"), interval(losses), strict=True))
                | {
                    "panel": "during noise pretraining",
                    "network.rule": rule,
                    "task": task,
                    "noise_steps": step,
                    "meta_loss": losses.mean(),
                }
            )
    panels = pd.concat([pd.DataFrame(rows), table.rename(columns={"phase": "panel"})])
    names, tasks = list(panels["panel"].unique()), list(panels["task"].unique())
    rules = sorted(panels["network.rule"].unique())
    figure, axes = grid(len(tasks), len(names))
    smallest = panels.loc[panels["noise_steps"] > 0, "noise_steps"].min()
    for (name, task), axis in zip([(n, t) for t in tasks for n in names], axes.flat, strict=True):
        here = panels[(panels["panel"] == name) & (panels["task"] == task)]
        for rule in rules:
            line = (
                here[here["network.rule"] == rule]
                .groupby("noise_steps")[["meta_loss", "meta_loss_low", "meta_loss_high"]]
                .mean()
            )
            if line.empty:
                continue
            bounds = line["meta_loss_low"], line["meta_loss_high"]
            draw(axis, line.index, line["meta_loss"], bounds, colour(rule, rules))
        if np.isfinite(smallest):
            axis.set_xscale("symlog", linthresh=smallest)
            axis.set_xlim(left=0)
        label(
            axis,
            f"{name}\n{task}" if name == "during noise pretraining" else f"evaluation: {name}\n{task}",
            "noise steps",
            "meta-loss (nats)",
        )
    handles = [Line2D([], [], color=colour(rule, rules), marker="o", markersize=4, label=rule) for rule in rules]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(rules), frameon=False)
    return figure


def plot_inner_steps(measured: pd.DataFrame, table: pd.DataFrame) -> plt.Figure:
    """Meta-loss against inner steps: one line a rule, dashed without noise, solid with the most noise steps."""
    curves = evaluated(measured)
    curves = curves[(curves["metric"] == "meta_loss") & np.isfinite(curves["value"])]
    most = curves["noise_steps"].max()
    rules, tasks = (sorted(curves[name].unique()) for name in ("network.rule", "task"))
    phases = list(table["phase"].unique())
    figure, axes = grid(len(tasks), len(phases), share=False)
    for (phase, task), axis in zip([(p, t) for t in tasks for p in phases], axes.flat, strict=True):
        here = curves[(curves["phase"] == phase) & (curves["task"] == task)]
        for rule in rules:
            for noise_steps, style in {0: "o--", most: "o-"}.items():
                lines = here[(here["network.rule"] == rule) & (here["noise_steps"] == noise_steps)]
                if lines.empty:
                    continue
                by_seed = lines.groupby(["step", "seed"])["value"].mean().unstack("seed")
                bounds = np.array([interval(row[np.isfinite(row)]) for row in by_seed.to_numpy()])
                draw(axis, by_seed.index, by_seed.mean(axis=1), bounds.T, colour(rule, rules), style)
        axis.xaxis.get_major_locator().set_params(integer=True)
        # a meta-trained network may be far off before its first inner step: equal ratios, equal lengths
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 3, 5, 7)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        label(axis, f"evaluation: {phase}\n{task}", "inner steps", "meta-loss (nats)")
    handles = handles_with_and_without(rules, most)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def handles_with_and_without(rules: list[str], most: int) -> list[Line2D]:
    """For a legend of lines that are a rule's by colour, dashed without noise and solid with the most."""
    handles = [Line2D([], [], color=colour(rule, rules), label=rule) for rule in rules]
    handles += [Line2D([], [], color="grey", linestyle="--", label="no noise")]
    return handles + ([Line2D([], [], color="grey", label=f"{most} noise steps")] if most else [])


def grid(rows: int, columns: int, share: bool = True) -> tuple[plt.Figure, np.ndarray]:
    return plt.subplots(
        rows,
        columns,
        figsize=(1 + 3.4 * columns, 0.8 + 2.9 * rows),
        squeeze=False,
        sharey="row" if share else False,
        layout="constrained",
    )


def panels(names: Sequence, share: bool = True) -> tuple[plt.Figure, Iterator[tuple[Any, plt.Axes]]]:
    """A panel for each of ``names``, four in a row at most."""
    columns = min(4, len(names))
    figure, axes = grid(math.ceil(len(names) / columns), columns, share)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    return figure, zip(names, axes.flat[: len(names)], strict=True)


def draw(axis: plt.Axes, x: pd.Index, y: pd.Series, bounds: Iterable, colour: str, style: str = "o-") -> None:
    """A line with its interval as a band."""
    axis.plot(x, y, style, markersize=4, color=colour)
    axis.fill_between(x, *bounds, color=colour, alpha=0.2, linewidth=0)


def label(axis: plt.Axes, title: str, x: str, y: str) -> None:
    axis.set_title("\n".join(textwrap.fill(line, 40) for line in title.splitlines()), fontsize=10)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.spines[["top", "right"]].set_visible(False)
    axis.yaxis.set_tick_params(labelleft=True)


def save(figure: plt.Figure, stem: Path) -> Path:
    for suffix in (".svg", ".png"):
        figure.savefig(stem.with_suffix(suffix), dpi=150)
    plt.close(figure)
    return stem.with_suffix(".png")


if __name__ == "__main__":
    main()
