"""Which of the paper's claims hold, where, and by how much? A table, and a figure for each, from studies' Parquet.

A study says under [[claims]] what it claims and by which rule that is judged. It reads study.toml and the tables
`trials` and `measurements` of every RESULTS and nothing else, and writes to claims/ beside the first of them (or
--output): claims.csv, and for each claim STUDY_PLACE.png and .svg.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from figures import (
    Output,
    draw,
    grid,
    handles_with_and_without,
    label,
    output_folder,
    panels,
    read,
    screen_table,
    script,
)
from rich.table import Table
from rich.text import Text

from metafa.errors import ResultsError
from metafa.learning.kinds import SHIFTS
from metafa.reporting import claims, statistics
from metafa.reporting.appearance import in_words, named, rule_colour
from metafa.reporting.conditions import Tables
from metafa.results import preparation
from metafa.studies.claims import ClaimSettings
from metafa.studies.metrics import METRICS

STYLES = {"holds": "green", "fails": "red", "undecided": "yellow"}
PANELS = 12  # of a figure at most; the table has all conditions


@script
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", metavar="RESULTS", nargs="+", help="results of studies that claim something")
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="where to write  [default: claims/ beside them]")
    arguments = parser.parse_args()
    found, drawn = [], {}
    for address in arguments.results:
        tables = read(address)
        where = tables.store.address
        study = preparation.read_study(tables.store)
        if not study.claims:
            raise ResultsError(
                f"{where}: this study claims nothing; say under [[claims]] what is to be judged, and how"
            )
        found.append(claims.judge_all(tables, study.claims).assign(study=study.name))
        for number, claim in enumerate(study.claims, start=1):
            drawn[f"{study.name}_{number}"] = figure(tables, claim)
        beside = output_folder(tables).parents[1]
    table = pd.concat(found, ignore_index=True).sort_values("claim", kind="stable", ignore_index=True)
    output = Output(arguments.output, beside / "claims")
    output.table("claims", table, as_rich(table))
    for name, one in drawn.items():
        output.figure(name, one)


def noise_before(tables: Tables, claim: ClaimSettings) -> pd.DataFrame:
    """What was measured of the same layer in noise before the claim's phase, its steps counted back from 0."""
    noise = set(tables.phases_of("noise")) - {claim.phase}
    rows = tables.rows([claim.metric], noise)
    rows = rows[rows["layer"] == claim.layer] if claim.layer else rows[rows["layer"].notna()]
    rows = rows.assign(step=rows["step"] + tables.noise_steps_before(rows))
    return rows.assign(step=rows["step"] - rows.groupby("trial_id")["step"].transform("max"))


def as_rich(table: pd.DataFrame) -> Table:
    """The table for a screen."""
    shown = screen_table("the claims, mean over seeds (95% interval)")
    for column in ("claim", "compared", "conditions", "seeds"):
        shown.add_column(column)
    for column in ("mean", "against", "backprop", "difference", "expected"):
        shown.add_column(column, justify="right")
    shown.add_column("verdict")
    for _, row in table.iterrows():
        shown.add_row(
            str(row["claim"]),
            row["compared"],
            row["conditions"],
            str(row["seeds"]),
            *(f"{row[name]:.3g}" if np.isfinite(row[name]) else "" for name in ("with_noise", "against", "backprop")),
            f"{row['difference']:+.3g} ({row['difference_low']:+.3g} to {row['difference_high']:+.3g})"
            if np.isfinite(row["difference_low"])
            else "",
            row["expected"],
            Text(row["verdict"], STYLES[row["verdict"]]),
        )
    return shown


def figure(tables: Tables, claim: ClaimSettings) -> plt.Figure:
    """What a claim is about, drawn as far as its study recorded it: dimensionality as the spectra that it sums up, a
    generalization error against training images and rank, all else as it went."""
    rows, others = claims.of_claim(tables, claim), tables.others
    spectra = tables.rows(["singular_value"], [claim.phase])
    spectra = spectra[spectra["layer"] == claim.layer]
    sizes = f"{claim.phase}.training_images"
    if METRICS[claim.metric].of_spectrum and len(spectra):
        drawn = plot_spectra(first(spectra, others), others)
    elif claim.metric == "generalization_error" and sizes in others:
        ranks, others = tables.rows(["squared_effective_rank"], [claim.phase]), [one for one in others if one != sizes]
        rows, ranks = (first(one, others) for one in (rows, ranks[ranks["layer"] == 1]))
        drawn = plot_generalization(rows, ranks, sizes, others)
    else:
        drawn = plot_course(first(pd.concat([noise_before(tables, claim), rows]), others), claim, others)
    drawn.suptitle(f"{claim.claim}. {claim.statement}", fontsize=10, wrap=True, parse_math=False)
    return drawn


def first(rows: pd.DataFrame, others: list[str]) -> pd.DataFrame:
    """The rows of as many conditions as a figure has room for."""
    return rows[rows.groupby(others, dropna=False).ngroup() < PANELS] if others else rows


def with_and_without(rows: pd.DataFrame) -> Iterator[tuple[str, bool, pd.DataFrame]]:
    """The rows of each rule, without noise and with the most: the rule's colour, whether with noise, the rows."""
    rules, most = sorted(rows["network.rule"].unique()), rows["noise_steps"].max()
    for rule, noise_steps in itertools.product(rules, sorted({0, most})):
        line = rows[(rows["network.rule"] == rule) & (rows["noise_steps"] == noise_steps)]
        if len(line):
            yield rule_colour(rule), noise_steps > 0, line


def add_legend(figure: plt.Figure, rows: pd.DataFrame) -> None:
    handles = handles_with_and_without(sorted(rows["network.rule"].unique()), rows["noise_steps"].max())
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)


def conditions_of(rows: pd.DataFrame, others: list[str]) -> pd.Series:
    return pd.Series([in_words(others, key) for key in rows[others].itertuples(index=False)], rows.index, dtype=object)


def plot_course(rows: pd.DataFrame, claim: ClaimSettings, others: list[str]) -> plt.Figure:
    """Rule by rule, dashed without noise and solid with the most: against the step, or, where a phase tests changed
    images, against the strength of each change, then a row a condition. On other images a ring is without noise."""
    plain = "" if rows["shift"].isna().all() else "other images"
    rows = rows.assign(x=rows["strength"].fillna(rows["step"]), shift=rows["shift"].fillna(plain))
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
        x = "inputs" if shift == "other images" else "x"
        for shade, noisy, line in with_and_without(here):
            seeds = line.groupby([x, "seed"])["value"].mean().unstack("seed")
            middle, bounds = seeds.mean(axis=1), statistics.intervals_by_row(seeds.to_numpy())
            if shift == "other images":  # there is no way from one to the next
                filled = None if noisy else "white"
                axis.errorbar(seeds.index, middle, np.abs(bounds - middle.to_numpy()), fmt="o", color=shade, mfc=filled)
            else:
                draw(axis, seeds.index, middle, bounds, shade, "o-" if noisy else "o--")
        if claim.compare == "reference":
            axis.axhline(claim.reference, color="grey", linewidth=0.8)
        steps = "step (before 0: noise)" if here["step"].min() < 0 else "step"
        unit = SHIFTS[shift].unit if shift in SHIFTS else ""
        x_label = shift.replace("_", " ") + (f" ({unit})" if unit else "") or steps
        label(axis, condition or claim.phase, x_label, named(claim.metric))
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
            draw(
                axis,
                seeds.index,
                seeds.mean(axis=1),
                statistics.intervals_by_row(seeds.to_numpy()),
                shade,
                "-" if noisy else "--",
            )
        axis.set_ylim(bottom=0)
        label(axis, condition, "singular value, by size", "singular value")
    add_legend(drawn, spectra)
    return drawn


def plot_generalization(errors: pd.DataFrame, ranks: pd.DataFrame, sizes: str, others: list[str]) -> plt.Figure:
    """The generalization error against the number of training images, and against the squared effective rank of the
    first layer's weights, each at the phase's end: a row a condition, a point a number of training images."""
    groups = [*others, sizes]
    values = pd.DataFrame(
        {"error": claims.by_seed(errors, groups, "last"), "rank": claims.by_seed(ranks, groups, "last")}
    )
    values = values.reset_index()
    values = values.assign(condition=conditions_of(values, others))
    conditions = values["condition"].unique()
    drawn, axes = grid(len(conditions), 2)
    for condition, (by_size, by_rank) in zip(conditions, axes, strict=True):
        for shade, noisy, line in with_and_without(values[values["condition"] == condition]):
            style = "o-" if noisy else "o--"
            seeds, rank = (line.pivot_table(name, sizes, "seed") for name in ("error", "rank"))
            draw(by_size, seeds.index, seeds.mean(axis=1), statistics.intervals_by_row(seeds.to_numpy()), shade, style)
            across, up = (
                np.abs(statistics.intervals_by_row(one.to_numpy()) - one.mean(axis=1).to_numpy())
                for one in (rank, seeds)
            )
            by_rank.errorbar(
                rank.mean(axis=1), seeds.mean(axis=1), up, across, fmt=style, color=shade, markersize=4, elinewidth=0.8
            )
        by_size.set_xscale("log")
        label(by_size, condition, "training images", "generalization error (nats)")
        label(by_rank, condition, "squared effective rank of layer 1", "generalization error (nats)")
    add_legend(drawn, values)
    return drawn


if __name__ == "__main__":
    main()
