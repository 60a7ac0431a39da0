"""What the scripts about claims share: the table, and drawings of what a claim is about, with and without noise."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from figures import draw, grid, label, legend_of, panels, read, screen_table
from matplotlib.lines import Line2D
from rich.table import Table
from rich.text import Text

from metafa.errors import ResultsError
from metafa.learning.kinds import SHIFTS
from metafa.reporting import claims, statistics
from metafa.reporting.appearance import in_words, named, rule_colour
from metafa.reporting.comparison import significant
from metafa.reporting.conditions import NOISE, RULE, Tables
from metafa.results import preparation
from metafa.studies.claims import ClaimSettings
from metafa.studies.metrics import METRICS
from metafa.studies.study import Study

STYLES = {"holds": "green", "fails": "red", "undecided": "yellow"}

BETWEEN = (":", "-.")  # of lines with some noise, but not the most
PANELS = 12  # of a figure at most; the table has all conditions
OTHER = "images"  # those that are as they are, of one dataset or another, and so of no strength


def studies_with_claims(addresses: Iterable[str]) -> Iterator[tuple[Tables, Study]]:
    """The results at each address, with their study. Raises `ResultsError` where that claims nothing."""
    for address in addresses:
        tables = read(address)
        study = preparation.read_study(tables.store)
        if not study.claims:
            raise ResultsError(
                f"{tables.store.address}: this study claims nothing; say under [[claims]] what is to be judged, and how"
            )
        yield tables, study


def as_rich(table: pd.DataFrame) -> Table:
    """The table for a screen."""
    shown = screen_table("the claims, mean over seeds (95% interval)")
    for column in ("claim", "compared", "conditions", "seeds"):
        shown.add_column(column)
    for column in ("mean", "against", "backprop", "difference", "t-test p", "Wilcoxon p", "expected"):
        shown.add_column(column, justify="right")
    shown.add_column("verdict")
    for _, row in table.iterrows():
        shown.add_row(
            row["claim"] or row["figure"],
            row["compared"],
            row["conditions"],
            str(row["seeds"]),
            *(f"{row[name]:.3g}" if np.isfinite(row[name]) else "" for name in ("with_noise", "against", "backprop")),
            f"{row['difference']:+.3g} ({row['difference_low']:+.3g} to {row['difference_high']:+.3g})"
            if np.isfinite(row["difference_low"])
            else "",
            *(significant(row[name]) if np.isfinite(row[name]) else "" for name in ("p_t_test", "p_wilcoxon")),
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
        rows, ranks = with_baselines(rows, tables), tables.rows(["squared_effective_rank"], [claim.phase])
        ranks, others = with_baselines(ranks, tables), [one for one in others if one != sizes]
        rows, ranks = (first(one, others) for one in (rows, ranks[ranks["layer"] == 1]))
        drawn = plot_generalization(rows, ranks, sizes, others)
    else:
        rows = one_after_another(pd.concat([noise_around(tables, claim), rows]), tables, claim.phase)
        rows = with_baselines(rows, tables)
        reference = claim.reference if claim.compare == "reference" else None
        drawn = plot_course(first(rows, others), claim.metric, others, claim.phase, reference)
    drawn.suptitle(suptitle(claim), fontsize=10, wrap=True, parse_math=False)
    return drawn


def suptitle(claim: ClaimSettings) -> str:
    return claim.statement if claim.claim is None else f"{claim.claim}. {claim.statement}"


def with_baselines(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The ``rows``, and those of networks without noise again at each condition with noise that has none of its own
    there, though they are what it is compared with: they differ in what describes noise alone."""
    keys = rows[tables.conditions].drop_duplicates(ignore_index=True)
    numbers = pd.concat([keys, rows[tables.conditions]]).groupby(tables.conditions, dropna=False, sort=False).ngroup()
    numbers, others = numbers.to_numpy()[len(keys) :], tables.others
    whose = keys.groupby([RULE, *others], dropna=False, sort=False).ngroup()  # conditions alike but for noise steps
    has_own, added = set(whose[keys[NOISE] == 0]), {}
    for row, quiet in enumerate(tables.without_noise(keys)):
        if quiet is not None and whose[row] not in has_own:
            added[whose[row]] = rows[numbers == quiet].assign(**{name: keys.at[row, name] for name in others})
    return pd.concat([rows, *added.values()], ignore_index=True)


def noise_around(tables: Tables, claim: ClaimSettings) -> pd.DataFrame:
    """What was measured of the same layer in the noise phases besides the claim's own."""
    rows = tables.rows([claim.metric], set(tables.phases_of("noise")) - {claim.phase})
    return rows[rows["layer"] == claim.layer] if claim.layer else rows[rows["layer"].notna()]


def one_after_another(rows: pd.DataFrame, tables: Tables, phase: str) -> pd.DataFrame:
    """The ``rows`` with steps that count through all of a trial's phases that train, in the order they ran, from 0
    where ``phase`` begins."""
    lasts, trains = rows.groupby(["trial_id", "phase"])["step"].max().to_dict(), set(tables.training_phases)
    begins = {}
    for trial in tables.ended.to_dict("records"):
        place, of_trial = 0, {}
        for name in trial["phases"]:
            of_trial[name] = place
            if name in trains:  # one that has converged ends earlier than its settings say
                place += lasts.get((trial["trial_id"], name), _number(trial.get(f"{name}.steps")))
        zero = of_trial.get(phase, 0)
        begins |= {(trial["trial_id"], name): place - zero for name, place in of_trial.items()}
    places = [begins[key] for key in zip(rows["trial_id"], rows["phase"], strict=True)]
    return rows.assign(step=rows["step"] + np.array(places, dtype=float))


def _number(steps: float | None) -> float:
    """A number of steps, 0 where the phase says it in another way."""
    return 0 if steps is None or pd.isna(steps) else steps


def first(rows: pd.DataFrame, others: list[str]) -> pd.DataFrame:
    """The rows of as many conditions as a figure has room for."""
    return rows[rows.groupby(others, dropna=False).ngroup() < PANELS] if others else rows


def is_test(rows: pd.DataFrame) -> bool:
    """Whether networks were tested on images at one moment, so that there are no steps to draw against."""
    return rows["shift"].notna().any() or (rows["inputs"].notna().all() and rows["step"].nunique() == 1)


def dashes_of(rows: pd.DataFrame) -> dict[int, str]:
    """How lines of each number of noise steps in a figure's ``rows`` are drawn: dashed without noise, solid with the
    most, dotted in between."""
    noises = sorted({*rows["noise_steps"]} - {0})
    found = {noise_steps: BETWEEN[place % len(BETWEEN)] for place, noise_steps in enumerate(noises[:-1])}
    return found | {noise_steps: "-" for noise_steps in noises[-1:]} | {0: "--"}


def with_and_without(rows: pd.DataFrame, dashes: dict[int, str]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The rows of each rule and each number of noise steps: the rule's colour, the line's style, the rows."""
    for (rule, noise_steps), line in rows.groupby(["network.rule", "noise_steps"]):
        yield rule_colour(rule), dashes[noise_steps], line


def means_by_seed(rows: pd.DataFrame, x: str) -> tuple[pd.Index, pd.Series, np.ndarray]:
    """The values of the column ``x``, and at each the mean over seeds of a line's ``rows``, with its 95% interval."""
    seeds = rows.groupby([x, "seed"])["value"].mean().unstack("seed")
    return seeds.index, seeds.mean(axis=1), statistics.intervals_by_row(seeds.to_numpy())


def add_legend(figure: plt.Figure, rows: pd.DataFrame, dashes: dict[int, str], quiet: str = "no noise") -> None:
    """A legend of lines as `with_and_without` tells them apart; ``quiet`` is what those without noise are called."""
    noises = sorted(rows["noise_steps"].unique())
    words = {dashes[one]: f"{one} noise steps" if one else quiet for one in noises}
    rules = sorted(rows["network.rule"].unique())
    handles = [Line2D([], [], color=rule_colour(rule), label=rule) for rule in rules]
    if len(noises) > 1:  # where all are alike, dashes say nothing
        handles += [Line2D([], [], color="grey", linestyle=style, label=text) for style, text in words.items()]
    legend_of(figure, handles)


def conditions_of(rows: pd.DataFrame, others: list[str]) -> pd.Series:
    return pd.Series([in_words(others, key) for key in rows[others].itertuples(index=False)], rows.index, dtype=object)


def plot_course(
    rows: pd.DataFrame,
    metric: str,
    others: list[str],
    title: str,
    reference: float | None = None,
    share: bool | str = "row",
) -> plt.Figure:
    """Rule by rule, dashed without noise, dotted with some and solid with the most: against the step, or, where a phase
    tests changed images, against the strength of each change, then a row a condition. On other images a ring is without
    noise.

    title: what a panel is called where there is one condition.
    reference: a value at which there is a line.
    share: which panels have one y axis, where there is no row a condition.
    """
    plain = OTHER if is_test(rows) else ""
    rows = rows.assign(x=rows["strength"].fillna(rows["step"]), shift=rows["shift"].fillna(plain))
    rows = rows.sort_values(others, kind="stable") if others else rows
    rows = rows.assign(condition=conditions_of(rows, others))
    dashes, conditions, shifts = dashes_of(rows), rows["condition"].unique(), sorted(rows["shift"].unique())
    places = list(itertools.product(conditions, shifts))
    if len(shifts) > 1:
        drawn, axes = grid(len(conditions), len(shifts))
        placed = zip(places, axes.flat, strict=True)
    else:
        drawn, placed = panels(places, share)
    for (condition, shift), axis in placed:
        here = rows[(rows["shift"] == shift) & (rows["condition"] == condition)]
        x, lines = "inputs" if shift == OTHER else "x", list(with_and_without(here, dashes))
        for number, (shade, style, line) in enumerate(lines):
            at, middle, bounds = means_by_seed(line, x)
            if shift == OTHER:  # there is no way from one to the next
                filled, beside = "white" if style == "--" else None, 0.6 * ((number + 0.5) / len(lines) - 0.5)
                reach, places = np.abs(bounds - middle.to_numpy()), np.arange(len(at)) + beside
                axis.errorbar(places, middle, reach, fmt="o", color=shade, mfc=filled)
                axis.set_xticks(range(len(at)), at)
                axis.set_xlim(-0.5, len(at) - 0.5)
            else:
                draw(axis, at, middle, bounds, shade, f"o{style}")
        if reference is not None:
            axis.axhline(reference, color="grey", linewidth=0.8)
        steps = "step"
        if here["step"].min() < 0:
            steps = "step (before 0: noise)"
            axis.locator_params("x", nbins=5)  # numbers are longer
        unit = SHIFTS[shift].unit if shift in SHIFTS else ""
        x_label = shift.replace("_", " ") + (f" ({unit})" if unit else "") or steps
        label(axis, condition or title, x_label, named(metric))
    add_legend(drawn, rows, dashes)
    return drawn


def plot_spectra(spectra: pd.DataFrame, others: list[str]) -> plt.Figure:
    """A layer's singular values, the largest first, at the end of a phase: dashed without noise, or where there are no
    such networks as they were at its start; solid with the most."""
    quiet = "no noise" if (spectra["noise_steps"] == 0).any() else "before noise"
    if quiet == "no noise":
        spectra = spectra[spectra["step"] == spectra.groupby("trial_id")["step"].transform("max")]
    else:
        spectra = spectra.assign(noise_steps=spectra["noise_steps"].where(spectra["step"] > 0, 0))
    spectra = spectra.sort_values(others, kind="stable") if others else spectra
    spectra = spectra.assign(condition=conditions_of(spectra, others))
    dashes = dashes_of(spectra)
    drawn, placed = panels(spectra["condition"].unique())
    for condition, axis in placed:
        for shade, style, line in with_and_without(spectra[spectra["condition"] == condition], dashes):
            draw(axis, *means_by_seed(line, "component"), shade, style)
        label(axis, condition, "singular value, by size", "singular value")
    for axis in drawn.axes:
        axis.set_ylim(bottom=0)
    add_legend(drawn, spectra, dashes, quiet)
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
    dashes, conditions = dashes_of(values), values["condition"].unique()
    drawn, axes = grid(len(conditions), 2)
    for condition, (by_size, by_rank) in zip(conditions, axes, strict=True):
        for shade, dash, line in with_and_without(values[values["condition"] == condition], dashes):
            style = f"o{dash}"
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
    add_legend(drawn, values, dashes)
    return drawn
