"""Did noise pretraining lower the meta-loss? Conditions compared over their common seeds.

The table gives the meta-loss (nats) after the last inner step: its mean and interquartile mean over seeds with 95%
intervals, and against the same condition without noise the difference paired by seed, its effect size (Cohen's d), the
probability of improvement (of a run with noise being lower than one without) and the p-value (Wilcoxon's signed ranks)
corrected for the number of comparisons (Holm). meta_loss_pairs.csv has the same for every pair of the conditions that
figures show. Where seeds are too few to pass, that is said.

It reads RESULTS and nothing else, and writes to RESULTS/analysis (or --output): meta_loss.csv, meta_loss_pairs.csv, and
as .svg and .png meta_loss_by_noise_steps, meta_loss_differences and meta_loss_profile, the fraction of runs whose
meta-loss is at most so much. docs/science.md says how often the intervals hold the truth, by simulation.
"""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from figures import (
    SCREEN_ROWS,
    Output,
    by_steps,
    draw,
    drawn,
    grid,
    label,
    legend,
    output_folder,
    parse_arguments,
    read,
    screen_table,
    script,
)
from rich.table import Table
from rich.text import Text

from metafa.errors import ResultsError
from metafa.reporting import appearance, comparison, figures
from metafa.reporting.appearance import named, short
from metafa.reporting.comparison import bounds, significant
from metafa.reporting.conditions import EVALUATED, NOISE, RULE, Tables


@script
def main() -> None:
    arguments = parse_arguments(__doc__)
    tables = read(arguments.results)
    where = tables.store.address
    table = comparison.compare(tables)
    if table.empty:
        raise ResultsError(f'{where}: no phase evaluated a meta-loss; give the study one with phase = "evaluate"')
    output = Output(arguments.output, output_folder(tables))
    output.table("meta_loss", table, as_rich(table, tables.conditions))
    if table["meta_loss"].isna().all():
        output.say("every seed of every condition diverged: there is no meta-loss to compare or to draw")
        return
    for sentence in comparison.verdicts(table, tables.conditions)[:SCREEN_ROWS]:
        output.say(sentence)
    if said := comparison.too_few(table):
        output.say(said)
    if len(pairs := comparison.pairs(tables)):
        output.table("meta_loss_pairs", pairs)
        if said := comparison.too_few(pairs):
            output.say(said)
    output.figure("meta_loss_by_noise_steps", plot_noise_steps(tables, table))
    if table["difference"].notna().any():
        output.figure("meta_loss_differences", plot_differences(tables, table))
    output.figure("meta_loss_profile", plot_profile(tables))


def as_rich(table: pd.DataFrame, conditions: list[str]) -> Table:
    """The table for a screen. What is the same in every row stands in its title."""
    columns = ["phase", "inputs", *conditions, "seeds"]
    shared = [c for c in columns if c not in ("phase", RULE, NOISE) and table[c].nunique(dropna=False) == 1]
    columns = [c for c in columns if c not in shared]
    said = [f"{short(c)}: {appearance.value(table[c].iloc[0])}" for c in shared]
    rows = table
    if len(table) > SCREEN_ROWS:
        rows = table.sort_values("meta_loss").head(SCREEN_ROWS).sort_index()
        said.append(f"the {SCREEN_ROWS} lowest of {len(table)}")
    shown = screen_table(", ".join(["meta-loss in nats, mean over seeds (95% interval)", *said]))
    for column in columns:
        shown.add_column(short(column), no_wrap=column == RULE)
    right = ["meta-loss", "IQM", "accuracy", "against no noise", "effect", "improves", "p"]
    for name in right:
        shown.add_column(name, justify="right", no_wrap=name != "against no noise")
    if rows["diverged"].any():
        shown.add_column("diverged", justify="right")
    before: tuple | None = None
    for _, row in rows.iterrows():
        if before is not None and tuple(row[EVALUATED]) != before:
            shown.add_section()
        before = tuple(row[EVALUATED])
        compared: list[str | Text] = [""] * 4
        if np.isfinite(row["difference"]):
            clear = row["difference_low"] * row["difference_high"] > 0
            style = ("green" if row["difference"] < 0 else "red") if clear else ""
            interval = bounds(row["difference_low"], row["difference_high"], "+")
            compared = [
                Text(f"{row['difference']:+.3f} ({interval})", style),
                f"{row['effect_size']:+.1f}",
                f"{row['probability_of_improvement']:.2f}",
                significant(row["p_corrected"]) if np.isfinite(row["p_corrected"]) else "-",
            ]
        shown.add_row(
            *(appearance.value(row[column]) for column in columns),
            f"{row['meta_loss']:.3f} ({bounds(row['meta_loss_low'], row['meta_loss_high'])})",
            f"{row['interquartile_mean']:.3f}",
            f"{row['meta_accuracy']:.3f}",
            *compared,
            *([f"{row['diverged']} of {row['seeds']}" if row["diverged"] else ""] if rows["diverged"].any() else []),
        )
    return shown


def plot_noise_steps(tables: Tables, table: pd.DataFrame) -> plt.Figure:
    """Meta-loss against noise steps, one line a rule and other settings: while the noise goes on, for those with the
    most of it, and at each evaluation."""
    alike = [name for name in tables.conditions if name != NOISE]
    shown = tables.shown[alike].drop_duplicates()
    rows = tables.rows_of_shown(["meta_loss"], tables.phases_of("noise"))
    rows = rows[rows[NOISE] == rows.groupby(alike, dropna=False)[NOISE].transform("max")]
    rows = rows.assign(step=rows["step"] + tables.noise_steps_before(rows))
    during = comparison.curves(rows, tables, ["inputs", "step"]) if len(rows) else pd.DataFrame()
    during = during.assign(phase="during noise pretraining", **({NOISE: during["step"]} if len(during) else {}))
    names = {"meta_loss": "value", "meta_loss_low": "low", "meta_loss_high": "high"}
    evaluated = table[table["inputs"] != comparison.ALL].rename(columns=names)
    values = pd.concat([during, evaluated.merge(shown, on=alike)])
    tasks, phases = list(values["inputs"].unique()), list(values["phase"].unique())
    figure, axes = grid(len(tasks), len(phases))
    lines = {
        appearance.key(v for n, v in zip(tables.conditions, line.condition, strict=True) if n != NOISE): line
        for line in appearance.lines(tables)
    }
    for (inputs, phase), axis in zip([(i, p) for i in tasks for p in phases], axes.flat, strict=True):
        here = values[(values["inputs"] == inputs) & (values["phase"] == phase)]
        for key, line in here.groupby(alike, sort=False, dropna=False):
            (quiet,) = tables.without_noise(here[tables.conditions], line[tables.conditions].tail(1))
            if quiet is not None and not (line[NOISE] == 0).any():
                line = pd.concat([here.iloc[[quiet]], line])
            line = line.sort_values(NOISE)
            colour = lines[appearance.key(key)].colour
            draw(axis, line[NOISE], line["value"], (line["low"], line["high"]), colour)
        by_steps(axis, here[NOISE])
        label(axis, f"{phase}\n{inputs}", "noise steps", named("meta_loss"))
    named_by = alike if tables.several_rules or len(alike) == 1 else alike[1:]
    solid = [
        line._replace(dash="solid", words=appearance.in_words(named_by, key[-len(named_by) :]))
        for key, line in lines.items()
    ]
    legend(figure, solid, tables.excerpt)
    return figure


def plot_differences(tables: Tables, table: pd.DataFrame) -> plt.Figure:
    """What noise changed: each condition's difference to the same without noise, with its interval, a panel an
    evaluation."""
    compared = table[table["difference"].notna()]
    lines = [line for line in appearance.lines(tables) if line.condition[tables.conditions.index(NOISE)]]
    words = "difference of meta-loss\nto no noise (nats)"
    figure = figures.intervals(compared, "difference", words, tables, lines)
    plot = drawn(figure)
    broken = max((text.get_text().count("\n") for text in plot.axes[0].get_yticklabels()), default=0)
    height = max(3 * 0.35, len(lines) * (0.35 + 0.17 * broken))
    plot.set_figheight(1.2 + height * math.ceil(len(figure.panels) / 4))
    for axis in plot.axes:
        axis.axvline(0, color="grey", linewidth=0.8)
    if tables.excerpt:
        plot.suptitle(f"shown: {tables.excerpt}", fontsize=9)
    return plot


def plot_profile(tables: Tables) -> plt.Figure:
    """Performance profiles, a panel an evaluation."""
    lines = appearance.lines(tables)
    plot = drawn(figures.profile(tables, lines))
    legend(plot, lines, tables.excerpt)
    return plot


if __name__ == "__main__":
    main()
