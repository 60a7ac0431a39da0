"""The paper's figures in its form, drawn of what a study recorded, with and without noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from before_and_after import Claims, angles_of_units, before_and_after, longest, spectra, without_later
from claim_figures import figure as figure_of_claim
from claim_figures import (
    first,
    one_after_another,
    plot_course,
    with_baselines,
)
from figures import label, legend_of
from matplotlib.lines import Line2D
from weight_path import plot_last_layer

from metafa.reporting import claims, paths, statistics
from metafa.reporting.appearance import in_words, named, rule_colour
from metafa.reporting.conditions import NOISE, RULE, Tables
from metafa.studies.claims import ClaimSettings
from metafa.studies.data import BATCH

ON_NOISE = "noise"  # what inputs of noise are called

MARKERS = ("o", "s", "^", "D", "v", "P")  # of kinds of noise


@dataclass(frozen=True)
class Drawing:
    """A drawing of one of the paper's figures.

    name: of its files, after the figure's and the study's.
    title: what it shows.
    plot: draws it of a study and of its claims of this figure; None where the study did not record what it shows.
    """

    name: str
    title: str
    plot: Callable[[Tables, Claims], plt.Figure | None] = field(repr=False)


def drawings(tables: Tables, of_figure: Claims, figure: str) -> Iterator[tuple[Drawing, plt.Figure]]:
    """Every drawing of a ``figure`` that a study's results allow; where there is none, that of each of its claims by
    itself, as of claims that are of none of the paper's figures."""
    drawn = False
    for drawing in DRAWINGS.get(figure, ()):
        if (plot := drawing.plot(tables, of_figure)) is not None:
            drawn = True
            yield drawing, plot
    for number, claim in enumerate(() if drawn else of_figure, start=1):
        yield Drawing(f"claim_{number}", claim.statement, lambda *_: None), figure_of_claim(tables, claim)


def course(
    tables: Tables,
    of_figure: Claims,
    *,
    metric: str,
    layer: str = "",
    reference: float | None = None,
    in_noise: bool = False,
) -> plt.Figure | None:
    """A metric through the phases that train, 0 where the first of data begins; of noise alone where ``in_noise``.

    layer: of a metric of layers, the ``last`` or the ``first``, where no claim about the metric says which ones.
    """
    noises = tables.phases_of("noise")
    phases = noises if in_noise else tables.training_phases
    rows = tables.rows([metric], phases)
    rows = rows[rows["shift"].isna() & ~rows["inputs"].isin([BATCH.inputs, ON_NOISE])]
    rows = rows[rows[NOISE] > 0] if in_noise else rows
    told = {claim.layer for claim in of_figure if claim.metric == metric and claim.layer} if layer else set()
    if layer and len(rows):
        end = rows["layer"].max() if layer == "last" else rows["layer"].min()
        rows = rows[rows["layer"].isin(told or {end})]
    if rows.empty or (rows.groupby("trial_id")["step"].nunique().max() < 2 and rows["phase"].nunique() < 2):
        return None
    others = without_later(tables, phases, metric) if in_noise else tables.others
    begins = next((name for name in tables.training_phases if name not in noises), "")
    rows = one_after_another(rows, tables, "" if in_noise else begins)
    others = [*others, "layer"] if len(told) > 1 else others
    rows = longest(rows, others) if in_noise else with_baselines(rows, tables)
    title = ", ".join(name for name in phases if name in set(rows["phase"]))
    drawn = plot_course(first(rows, others), metric, others, title, reference, "row" if len(told) < 2 else False)
    for axis in drawn.axes if in_noise else ():
        axis.set_xlabel("noise steps")
    return drawn


def last_accuracies(tables: Tables, of_figure: Claims) -> plt.Figure | None:
    """The accuracy at the end, with its interval, a place a condition: rings without noise, another filled marker for
    each kind of noise."""
    claim = next((one for one in of_figure if one.metric == "accuracy" and one.step == "last"), None)
    if claim is None:
        return None
    values = claims.by_seed(claims.of_claim(tables, claim), tables.others, "last").unstack("seed")
    keys = values.index.to_frame(index=False)
    places = [name for name in tables.others if name not in tables.of_noise]
    titles = [_place(places, key) for key in keys[places].itertuples(index=False)]
    kinds = [(key[RULE], _noise_of(key, tables) if key[NOISE] else "") for key in keys.to_dict("records")]
    names, looks = list(dict.fromkeys(titles)), _looks(kinds)
    drawn, axis = plt.subplots(figsize=(2 + 1.7 * max(3, len(names)), 4), layout="constrained")
    middle, bounds = values.mean(axis=1).to_numpy(), statistics.intervals_by_row(values.to_numpy())
    reaches = np.nan_to_num(np.abs(bounds - middle))
    for row, (title, kind) in enumerate(zip(titles, kinds, strict=True)):
        x = names.index(title) + 0.6 * ((list(looks).index(kind) + 0.5) / len(looks) - 0.5)
        axis.errorbar(x, middle[row], reaches[:, [row]], markersize=5, **looks[kind])
    axis.set_xticks(range(len(names)), names)
    label(axis, "", "", f"accuracy at the end of {claim.phase}")
    handles = [Line2D([], [], label=f"{rule}, {noise or 'no noise'}", **look) for (rule, noise), look in looks.items()]
    legend_of(drawn, handles)
    return drawn


def _noise_of(key: Mapping[str, Any], tables: Tables) -> str:
    """What tells a condition's noise from that of others, in words."""
    names = [NOISE, *tables.of_noise]
    return in_words(names, [key[name] for name in names])


def _looks(kinds: Iterable[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """How points of each rule and kind of noise look."""
    order = sorted(set(kinds))
    noises = sorted({noise for _, noise in order} - {""})
    found = {}
    for rule, noise in order:
        shade, marker = rule_colour(rule), MARKERS[noises.index(noise) % len(MARKERS)] if noise else MARKERS[0]
        found[rule, noise] = dict(color=shade, marker=marker, mfc=shade if noise else "white", linestyle="")
    return found


def _place(names: Sequence[str], values: Iterable[object]) -> str:
    """What a condition is called below an axis: a line a setting, without its phase."""
    told = (in_words([name.rpartition(".")[2]], [one]) for name, one in zip(names, values, strict=True))
    return "\n".join(filter(None, told))


def tested(tables: Tables, of_figure: Claims, *, metric: str) -> plt.Figure | None:
    """A metric against the strength of each change of test images, and on images of other datasets."""
    phases = tables.phases_of("out_of_distribution")
    asked = [{"metric": metric, "phase": name, "claim": 1, "statement": "", "expect": "higher"} for name in phases]
    found = [claims.of_claim(tables, ClaimSettings(**one)) for one in asked]
    rows = pd.concat(found) if found else pd.DataFrame()
    if rows.empty:
        return None
    return plot_course(first(with_baselines(rows, tables), tables.others), metric, tables.others, phases[-1])


def last_layer(tables: Tables, of_figure: Claims) -> plt.Figure | None:
    """The path of the last layer's weights, with its feedback, of the first seed."""
    planes = [plane for plane in paths.planes(tables, [0]) if np.isfinite(plane.fractions).all()]
    return plot_last_layer(planes, tables) if planes else None


def _course(metric: str, title: str, **options: object) -> Drawing:
    return Drawing(metric, title, partial(course, metric=metric, **options))


def _tested(metric: str, title: str) -> Drawing:
    return Drawing(f"{metric}_of_tests", title, partial(tested, metric=metric))


LAST = {"layer": "last"}
LAST_LAYER = Drawing(
    "last_layer_path", "The last layer's weights and its feedback in one plane, one network", last_layer
)
DRAWINGS: dict[str, tuple[Drawing, ...]] = {
    "figure_1": (
        _course("unit_alignment_angle", "The angle through noise", reference=90, in_noise=True, **LAST),
        Drawing("angles_of_units", "The angle of each unit, before noise and after", angles_of_units),
    ),
    "figure_2": (
        _course("accuracy", "Accuracy on test images through training"),
        _course("unit_alignment_angle", "The angle through noise and data", reference=90, **LAST),
        _course("feedback_distance", "The distance of weights from feedback through noise and data", **LAST),
        LAST_LAYER,
    ),
    "figure_3": (Drawing("last_accuracy", "Accuracy at the end", last_accuracies),),
    "table_1": (Drawing("last_accuracy", "Accuracy at the end", last_accuracies),),
    "figure_4": (
        Drawing(
            "readout",
            "The distribution of all readout probabilities, before noise and after (a, b)",
            partial(
                before_and_after,
                metric="readout_quantile",
                x="readout probability",
                y="% of probabilities below",
                turned=True,
            ),
        ),
        Drawing("singular_values", "Singular values (c)", spectra),
        _course("effective_rank", "The effective rank through noise (d)", layer="first", in_noise=True),
        _course("generalization_gap", "The gap of training and test error through training (e, f)"),
        _course("feature_rank", "The effective rank of features through training (g, h)", **LAST),
    ),
    "figure_5": (_tested("accuracy", "Accuracy on changed images and on those of other datasets"),),
    "figure_6": (
        _course("whole_dataset_meta_loss", "The meta-loss, averaged over adaptation, through noise", in_noise=True),
        _course(
            "whole_dataset_meta_loss_at_end", "The meta-loss at the end of adaptation, through noise", in_noise=True
        ),
        Drawing(
            "adaptation",
            "Adaptation to each dataset, before noise and after",
            partial(before_and_after, metric="whole_dataset_loss", x="steps of adaptation", y=named("loss")),
        ),
        LAST_LAYER,
    ),
    "calibration": (
        _course("expected_calibration_error_10_bins", "The calibration error through training, over 10 bins"),
        _course("expected_calibration_error", "The same over 15 bins"),
        _tested("auroc", "How well the largest readout probability tells other images"),
    ),
}
"""What is drawn of each of the paper's figures."""
