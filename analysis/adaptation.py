"""How does a network adapt to a new task? Meta-loss (nats) and meta-accuracy against inner steps.

A mean over seeds with its 95% interval for each of the conditions that figures show. It reads RESULTS and nothing
else, and writes to RESULTS/analysis (or --output): adaptation.csv, with all conditions, and adaptation.png and .svg, a
panel a phase and task distribution.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from figures import (
    SCREEN_ROWS,
    Output,
    draw_line,
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
from metafa.reporting import appearance, comparison
from metafa.reporting.appearance import named, short, value
from metafa.reporting.conditions import EVALUATED, RULE, Tables
from metafa.studies import metrics

METRICS = ["meta_loss", "meta_accuracy"]


@script
def main() -> None:
    arguments = parse_arguments(__doc__)
    tables = read(arguments.results)
    where = tables.store.address
    if tables.adaptation.empty:
        raise ResultsError(f'{where}: no phase evaluated a meta-loss; give the study one with phase = "evaluate"')
    keys = [*EVALUATED, "metric", "step"]
    curves = comparison.curves(tables.of_shown(tables.adaptation), tables, keys)
    if curves.empty:
        raise ResultsError(f"{where}: every seed of every condition diverged: there is no adaptation to show")
    output = Output(arguments.output, output_folder(tables))
    groups = [*tables.conditions, *keys]
    every = tables.adaptation.groupby(groups, dropna=False)["value"].agg(mean="mean", deviation="std").reset_index()
    every = every.merge(curves[[*groups, "low", "high", "seeds"]], how="left", on=groups)
    output.table("adaptation", every, as_rich(curves, tables))
    output.figure("adaptation", plot(curves, tables))


def as_rich(curves: pd.DataFrame, tables: Tables) -> Table:
    """The meta-loss of each condition after each inner step, and its accuracy after the last."""
    losses = curves[curves["metric"] == "meta_loss"]
    index = [*EVALUATED, *tables.conditions]
    wide = losses.set_index([*index, "step"])["value"].unstack("step").reset_index()
    wide = wide.sort_values("phase", key=lambda column: column.map(tables.phases.index), kind="stable")
    steps = [name for name in wide if name not in index]
    shown = screen_table(
        ", ".join(filter(None, ["meta-loss in nats after so many inner steps, mean over seeds", tables.excerpt]))
    )
    for name in index:
        shown.add_column(short(name), no_wrap=name == RULE)
    for step in steps:
        shown.add_column(str(step), justify="right")
    for _, row in wide.head(SCREEN_ROWS).iterrows():
        shown.add_row(*(value(row[name]) for name in index), *(f"{row[step]:.3f}" for step in steps))
    return shown


def plot(curves: pd.DataFrame, tables: Tables) -> plt.Figure:
    """A column an evaluation; a row a metric."""
    evaluations = list(curves[EVALUATED].drop_duplicates().itertuples(index=False, name=None))
    evaluations.sort(key=lambda one: (one[1], tables.phases.index(one[0])))
    lines = appearance.lines(tables)
    figure, axes = grid(len(METRICS), len(evaluations), share=False)
    for metric, row in zip(METRICS, axes, strict=True):
        for (phase, inputs), axis in zip(evaluations, row, strict=True):
            here = curves[(curves["metric"] == metric) & (curves["phase"] == phase) & (curves["inputs"] == inputs)]
            for line in lines:
                draw_line(axis, line, line.rows(here, tables.conditions))
            axis.xaxis.get_major_locator().set_params(integer=True)
            if metrics.METRICS[metric].scale == "log":
                # a meta-trained network may be far off before its first inner step: equal ratios, equal lengths
                of_losses(axis)
            label(axis, f"{phase}\n{inputs}", "inner steps", named(metric))
    legend(figure, lines, tables.excerpt)
    return figure


if __name__ == "__main__":
    main()
