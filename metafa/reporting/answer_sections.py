"""The sections of a report that answer the study's question: its claims, meta-loss, search, and course of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from metafa.errors import ResultsError
from metafa.reporting import (
    appearance,
    charts,
    claim_sections,
    claims,
    comparison,
    conditions,
    figures,
    importance,
    objectives,
    search_figures,
)
from metafa.reporting.appearance import Line, named
from metafa.reporting.conditions import EVALUATED, Tables
from metafa.reporting.objectives import Objective
from metafa.reporting.sections import Chart, Section, Table, table_of
from metafa.studies.study import Study

CAPTIONS = {  # of the metrics whose course is drawn
    "alignment_angle": "The angle between each layer's weights and its feedback, each as one vector; 90 degrees is no "
    "alignment.",
    "unit_alignment_angle": "The mean over units of the angle between a unit's outgoing weights and its feedback.",
    "effective_rank": "The effective rank of each layer's weights, of Roy and Vetterli.",
    "participation_ratio": "The participation ratio of each layer's squared singular values.",
    "feature_rank": "The effective rank of the similarities of each hidden layer's units, on noise and on test images.",
    "readout_probability": "The mean of the largest readout probability; on noise, chance is one over the classes.",
    "meta_loss": "The meta-loss on unseen classes while a phase trains.",
    "accuracy": "The accuracy on test images while a phase trains.",
}
EXPLAINED = 10  # trials that importance is told of


def answering_sections(study: Study, tables: Tables, lines: list[Line]) -> list[Section]:
    """The sections that may answer the study's question, the most telling first."""
    makers = (meta_loss_section, search_section, course_section)
    others = (make(study, tables, lines) for make in makers)
    return [*claims_sections(study, tables), *(section for section in others if section is not None)]


def claims_sections(study: Study, tables: Tables) -> list[Section]:
    if not study.claims:
        return []
    try:
        judged, not_judged = claims.judge_measured(tables, study.claims)
    except ResultsError as error:
        return [Section("claims", "Claims", warnings=(str(error),))]
    first, *rest = claim_sections.sections(judged, claim_sections.of_figures(not_judged))
    return [replace(first, answer=claims.in_a_sentence(judged)), *rest]


def meta_loss_section(study: Study, tables: Tables, lines: list[Line]) -> Section | None:
    if tables.adaptation.empty:
        return None
    table = comparison.compare(tables)
    if table["meta_loss"].isna().all():
        answer = "No meta-loss is to be told: every seed of every condition diverged."
        counts = table_of(table[[*EVALUATED, *tables.conditions, "seeds", "diverged"]])
        return Section("meta-loss", "Meta-loss", (answer,), answer, tables=(counts,))
    too_few = comparison.too_few(table)
    return Section(
        "meta-loss",
        "Meta-loss",
        tuple(comparison.verdicts(table, tables.conditions)[: conditions.SHOWN]),
        answer=comparison.answer(table, tables.conditions),
        warnings=(too_few,) if too_few else (),
        charts=_meta_loss_charts(table, tables, lines),
        tables=_meta_loss_tables(table, tables),
    )


def _meta_loss_charts(table: pd.DataFrame, tables: Tables, lines: list[Line]) -> tuple[Chart, ...]:
    last = figures.intervals(table, "meta_loss", named("meta_loss"), tables, lines)
    curves = figures.adaptation_curves(tables)
    return (
        Chart(
            charts.draw_rows(last, 26, 120),
            "After the last inner step",
            "Means over seeds with 95% intervals; rings are without noise.",
        ),
        *(
            Chart(
                charts.draw(figures.adaptation(curves, metric, tables, lines)),
                f"Adaptation: {named(metric)}",
                "Against inner steps on the support set; bands are 95% intervals of the mean over seeds.",
            )
            for metric in ("meta_loss", "meta_accuracy")
        ),
        Chart(
            charts.draw(figures.profile(tables, lines)),
            "Performance profiles",
            "The fraction of seeds whose meta-loss is at most so much: the further left, the better.",
        ),
    )


def _meta_loss_tables(table: pd.DataFrame, tables: Tables) -> tuple[Table, ...]:
    means = ["of_pairs", "against_pairs"]
    against_no_noise = table_of(table.drop(columns=[*means, "pairs"]), "Conditions, and against the same without noise")
    pairs = comparison.pairs(tables)
    if pairs.empty:
        return (against_no_noise,)
    return against_no_noise, table_of(pairs.drop(columns=means), "Every pair of the conditions shown")


def search_section(study: Study, tables: Tables, lines: list[Line]) -> Section | None:
    if len(study.spaces) < 2 and not study.adaptive:
        return None
    try:
        chosen = objectives.chosen(tables, study)
        trials = objectives.points(tables, study, chosen)
    except ResultsError:
        return None
    if len(trials) < 3:
        return None
    best = objectives.front(trials, chosen)
    row = trials.loc[best[0]]
    reached = ", ".join(f"{objective.words} {appearance.value(row[objective.name])}" for objective in chosen)
    others = [name for name in study.spaces if name not in [objective.name for objective in chosen]]
    at = appearance.in_words(others, [row[name] for name in others])
    answer = f"Of {len(trials)} trials the best has {reached}{f', at {at}' if at else ''}."
    return Section(
        "search",
        "What the settings did",
        (answer,),
        answer,
        charts=tuple(_search_charts(study, chosen, trials, best)),
        tables=(table_of(trials.loc[best], "The best" if len(chosen) == 1 else "The front"),),
    )


def _search_charts(study: Study, chosen: list[Objective], trials: pd.DataFrame, best: list[int]) -> Iterator[Chart]:
    if len(chosen) == 2:
        yield Chart(
            charts.draw(search_figures.pareto(trials, best, study, chosen)),
            "Pareto front",
            "Trials that no other is better than in both." + _beyond_the_axes(trials, chosen),
        )
    names = list(study.spaces)
    if len(trials) >= EXPLAINED and len(shares := importance.importances(study, chosen, trials)):
        names = importance.ranked(shares)
        yield Chart(
            charts.draw_bars(search_figures.importances(shares, chosen)),
            "Importance",
            "How much of what came out each setting accounts for, by three evaluators: shares of what they explain.",
        )
    yield Chart(
        charts.draw(search_figures.slices(trials, study, chosen[:1], names)),
        "Slices",
        "Every trial's objective against each setting." + _beyond_the_axes(trials, chosen[:1]),
    )
    if len(study.spaces) > 2:
        yield Chart(
            charts.parallel(search_figures.parallel(trials, study, chosen[0], list(study.spaces)), chosen[0]),
            "Parallel coordinates",
            "A line a trial; drag along an axis to keep those that pass there.",
        )


def _beyond_the_axes(trials: pd.DataFrame, chosen: list[Objective]) -> str:
    """What the axes of objectives leave out, in words."""
    number = max(appearance.beyond(trials[objective.name], objective.maximize) for objective in chosen)
    return f" {number} of {len(trials)} lie beyond the axis; a double click shows them." if number else ""


def course_section(study: Study, tables: Tables, lines: list[Line]) -> Section | None:
    rows = tables.rows_of_shown(list(CAPTIONS), tables.training_phases)
    curves = figures.course_curves(rows, tables)
    columns = len(tables.training_phases)
    drawn = tuple(
        Chart(charts.draw(figures.course(curves, metric, tables, lines), columns), named(metric), caption)
        for metric, caption in CAPTIONS.items()
        if (curves["metric"] == metric).any()
    )
    return Section("course", "Through the phases", charts=drawn) if drawn else None
