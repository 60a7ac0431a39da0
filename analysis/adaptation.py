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
    drawn,
    legend,
    output_folder,
    parse_arguments,
    read,
    screen_table,
    script,
)
from rich.table import Table

from metafa.errors import ResultsError
from metafa.reporting import appearance, figures
from metafa.reporting.appearance import short, value
from metafa.reporting.conditions import EVALUATED, RULE, Tables

METRICS = ["meta_loss", "meta_accuracy"]


@script
def main() -> None:
    arguments = parse_arguments(__doc__)
    tables = read(arguments.results)
    where = tables.store.address
    if tables.adaptation.empty:
        raise ResultsError(f'{where}: no phase evaluated a meta-loss; give the study one with phase = "evaluate"')
    curves = figures.adaptation_curves(tables)
    if curves.empty:
        raise ResultsError(f"{where}: every seed of every condition diverged: there is no adaptation to show")
    output = Output(arguments.output, output_folder(tables))
    groups = [*tables.conditions, *EVALUATED, "metric", "step"]
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
    lines = appearance.lines(tables)
    by_metric = [figures.adaptation(curves, metric, tables, lines) for metric in METRICS]
    panels = tuple(panel for figure in by_metric for panel in figure.panels)
    columns = by_metric[0].columns
    plot = drawn(figures.Figure(panels, columns), columns, share=False)
    legend(plot, lines, tables.excerpt)
    return plot


if __name__ == "__main__":
    main()
