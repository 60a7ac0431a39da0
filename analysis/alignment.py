"""Do the weights turn towards the feedback? Angles (degrees), distance from it, ranks of weights and features, and
readout through the phases that train, layer by layer.

Means over seeds with their 95% intervals, for each of the conditions that figures show. It reads RESULTS and nothing
else, and writes to RESULTS/analysis (or --output): alignment.csv, with all conditions, and for each metric
alignment_angle, unit_alignment_angle, feedback_distance, effective_rank, participation_ratio, feature_rank,
readout_probability and readout_deviation as .png and .svg: a row a layer or kind of input, a column a phase.
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
from metafa.reporting.conditions import RULE, Tables

METRICS = [
    *("alignment_angle", "unit_alignment_angle", "feedback_distance"),
    *("effective_rank", "participation_ratio", "feature_rank"),
    *("readout_probability", "readout_deviation"),
]
MAX_ROWS = 6  # of a figure


@script
def main() -> None:
    arguments = parse_arguments(__doc__)
    tables = read(arguments.results)
    where = tables.store.address
    phases = tables.training_phases
    rows = tables.rows_of_shown(METRICS, phases)
    curves = figures.course_curves(rows, tables)
    if curves.empty:
        if len(rows):
            raise ResultsError(f"{where}: every seed of every condition diverged: there is no alignment to show")
        raise ResultsError(f'{where}: no phase trained; give the study one with phase = "noise"')
    output = Output(arguments.output, output_folder(tables))
    output.table("alignment", every_condition(tables, curves, phases), as_rich(curves, tables))
    for metric in METRICS:
        if (curves["metric"] == metric).any():
            output.figure(metric, plot(curves, metric, tables))


def every_condition(tables: Tables, curves: pd.DataFrame, phases: list[str]) -> pd.DataFrame:
    """All conditions: means and standard deviations over seeds, with intervals where figures show them."""
    groups = [*tables.conditions, *figures.COURSE]
    if not tables.excerpt:
        return curves
    found = [
        # a metric at a time: of a large study they do not fit into memory together
        tables.rows([metric], phases).groupby(groups, dropna=False)["value"].agg(value="mean", deviation="std")
        for metric in METRICS
    ]
    return pd.concat(found).reset_index().merge(curves[[*groups, "low", "high", "seeds"]], how="left", on=groups)


def as_rich(curves: pd.DataFrame, tables: Tables) -> Table:
    """Where each layer's angle and dimensionality were before the first phase and after each."""
    shown = screen_table(
        ", ".join(filter(None, ["mean over seeds: at the start, and after each phase that trains", tables.excerpt]))
    )
    layers = curves[curves["layer"].notna()]
    phases = [name for name in tables.phases if name in set(layers["phase"])]
    for name in ("metric", "layer", *tables.conditions):
        shown.add_column(short(name), no_wrap=name in (RULE, "metric"))
    for name in ("start", *phases):
        shown.add_column(name, justify="right")
    lines = appearance.lines(tables)
    for (metric, layer), of_layer in list(layers.groupby(["metric", "layer"]))[:SCREEN_ROWS]:
        shown.add_section()
        for line in lines:
            rows = line.rows(of_layer, tables.conditions).sort_values("step")
            if rows.empty:
                continue
            begun = rows[rows["phase"] == next(name for name in phases if name in set(rows["phase"]))]
            ends = [rows[rows["phase"] == phase].iloc[-1:] for phase in phases]
            most = rows["seeds"].max()

            def cell(row: pd.DataFrame, most: int = most) -> str:
                """A value, with its number of seeds where some have diverged by then."""
                if row.empty:
                    return ""
                seeds = int(row["seeds"].iloc[0])
                return f"{row['value'].iloc[0]:.1f}" + (f" ({seeds} of {most} seeds)" if seeds < most else "")

            cells = [cell(begun.iloc[:1]), *(cell(end) for end in ends)]
            shown.add_row(metric, str(int(layer)), *(value(one) for one in line.condition), *cells)
    return shown


def plot(curves: pd.DataFrame, metric: str, tables: Tables) -> plt.Figure:
    """A row a layer, or what inputs the readout is of; a column a phase."""
    lines = appearance.lines(tables)
    figure = figures.course(curves, metric, tables, lines, MAX_ROWS)
    by_layer = curves.loc[curves["metric"] == metric, "layer"].notna().any()
    plot = drawn(figure, figure.columns, share="row" if by_layer else "all")
    legend(plot, lines, tables.excerpt)
    return plot


if __name__ == "__main__":
    main()
