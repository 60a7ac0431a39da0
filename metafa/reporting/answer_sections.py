"""The sections of a report that answer the study's question: its claims, meta-loss, search, and course of training."""

from __future__ import annotations

import pandas as pd

from metafa.errors import ResultsError
from metafa.reporting import appearance, charts, claims, comparison, conditions, importance, objectives
from metafa.reporting.appearance import Line, named
from metafa.reporting.conditions import EVALUATED, Tables
from metafa.reporting.sections import Section
from metafa.studies.data import BATCH
from metafa.studies.study import Study

COURSES = ("alignment_angle", "effective_dimensionality", "readout_probability", "meta_loss", "accuracy")
CAPTIONS = {
    "alignment_angle": "The angle between weights and feedback, layer by layer; 90 degrees is no alignment.",
    "effective_dimensionality": "The participation ratio of each layer's squared singular values.",
    "readout_probability": "The mean of the largest readout probability; on noise, chance is one over the classes.",
    "meta_loss": "The meta-loss on unseen classes while a phase trains.",
    "accuracy": "The accuracy on test images while a phase trains.",
}
EXPLAINED = 10  # trials that importance is told of


def answering_sections(study: Study, tables: Tables, lines: list[Line]) -> list[Section]:
    """The sections that may answer the study's question, the most telling first."""
    makers = (claims_section, meta_loss_section, search_section, course_section)
    return [section for make in makers if (section := make(study, tables, lines)) is not None]


def claims_section(study: Study, tables: Tables, lines: list[Line]) -> Section | None:
    if not study.claims:
        return None
    section = Section("claims", "Claims", ["Judged by the rules that stand in the study file, written before it ran."])
    try:
        judged = claims.judge_all(tables, study.claims)
    except ResultsError as error:
        return Section("claims", "Claims", warnings=[str(error)])
    section.answer = claims.in_a_sentence(judged)
    section.table(judged)
    return section


def meta_loss_section(study: Study, tables: Tables, lines: list[Line]) -> Section | None:
    if tables.adaptation.empty:
        return None
    table = comparison.compare(tables)
    if table["meta_loss"].isna().all():
        answer = "No meta-loss is to be told: every seed of every condition diverged."
        section = Section("meta-loss", "Meta-loss", [answer], answer)
        section.table(table[[*EVALUATED, *tables.conditions, "seeds", "diverged"]])
        return section
    sentences = comparison.verdicts(table, tables.conditions)[: conditions.SHOWN]
    too_few = comparison.too_few(table)
    section = Section(
        "meta-loss",
        "Meta-loss",
        sentences,
        answer=comparison.answer(table, tables.conditions),
        warnings=[too_few] if too_few else [],
    )
    section.chart(
        charts.meta_losses(table, tables, lines),
        "After the last inner step",
        "Means over seeds with 95% intervals; rings are without noise.",
    )
    curves = comparison.curves(tables.of_shown(tables.adaptation), tables, [*EVALUATED, "metric", "step"])
    losses = curves[curves["metric"] == "meta_loss"]
    titles = {key: ", ".join(key) for key in losses[EVALUATED].drop_duplicates().itertuples(index=False, name=None)}
    titles = dict(sorted(titles.items(), key=lambda item: tables.phases.index(item[0][0])))
    for metric in ("meta_loss", "meta_accuracy"):
        of_metric = curves[curves["metric"] == metric]
        section.chart(
            charts.by_steps(of_metric, tables, lines, titles, EVALUATED, metric, "inner steps", 3),
            f"Adaptation: {named(metric)}",
            "Against inner steps on the support set; bands are 95% intervals of the mean over seeds.",
        )
    section.chart(
        charts.profile(tables, lines),
        "Performance profiles",
        "The fraction of seeds whose meta-loss is at most so much: the further left, the better.",
    )
    means = ["of_pairs", "against_pairs"]
    section.table(table.drop(columns=[*means, "pairs"]), "Conditions, and against the same without noise")
    if len(pairs := comparison.pairs(tables)):
        section.table(pairs.drop(columns=means), "Every pair of the conditions shown")
    return section


def search_section(study: Study, tables: Tables, lines: list[Line]) -> Section | None:
    if len(study.spaces) < 2 and not study.adaptive:
        return None
    try:
        sought = objectives.chosen(tables, study)
        trials = objectives.points(tables, study, sought)
    except ResultsError:
        return None
    if len(trials) < 3:
        return None
    best = objectives.front(trials, sought)
    row = trials.loc[best[0]]
    reached = ", ".join(f"{objective.words} {appearance.value(row[objective.name])}" for objective in sought)
    others = [name for name in study.spaces if name not in [objective.name for objective in sought]]
    at = appearance.in_words(others, [row[name] for name in others])
    answer = f"Of {len(trials)} trials the best has {reached}{f', at {at}' if at else ''}."
    section = Section("search", "What the settings did", [answer], answer)
    if len(sought) == 2:
        section.chart(
            charts.pareto(trials, best, sought, study),
            "Pareto front",
            "Trials that no other is better than in both." + _off(trials, sought),
        )
    names = list(study.spaces)
    if len(trials) >= EXPLAINED and len(shares := importance.importances(study, sought, trials)):
        names = importance.ranked(shares)
        section.chart(
            charts.importances(shares, sought),
            "Importance",
            "How much of what came out each setting accounts for, by three evaluators: shares of what they explain.",
        )
    section.chart(
        charts.slices(trials, study, sought, names),
        "Slices",
        "Every trial's objective against each setting." + _off(trials, sought[:1]),
    )
    if len(study.spaces) > 2:
        section.chart(
            charts.parallel(trials, study, sought),
            "Parallel coordinates",
            "A line a trial; drag along an axis to keep those that pass there.",
        )
    section.table(trials.loc[best], "The best" if len(sought) == 1 else "The front")
    return section


def _off(trials: pd.DataFrame, sought: list[objectives.Objective]) -> str:
    """What the axes of objectives leave out, in words."""
    off = max(appearance.beyond(trials[objective.name], objective.maximize) for objective in sought)
    return f" {off} of {len(trials)} lie beyond the axis; a double click shows them." if off else ""


def course_section(study: Study, tables: Tables, lines: list[Line]) -> Section | None:
    trained = [name for kind in ("noise", "supervised", "meta") for name in tables.phases_of(kind)]
    trained = [name for name in tables.phases if name in trained]
    section = Section("course", "Through the phases")
    where = ["phase", "layer", "inputs"]
    for metric in COURSES:
        rows = tables.rows_of_shown([metric], trained)
        if metric == "accuracy":  # of the batch trained on it says little
            rows = rows[rows["inputs"] != BATCH.inputs]
        if rows.empty:
            continue
        curves = comparison.curves(rows, tables, [*where, "step"])
        if curves.empty:  # all diverged
            continue
        of = curves["layer"].map(lambda layer: f"layer {layer:.0f}").where(curves["layer"].notna(), curves["inputs"])
        curves = curves.assign(of=of)
        keys = set(zip(curves["of"], curves["phase"], strict=True))
        titles = {key: f"{key[1]}, {key[0]}" for key in sorted(keys, key=lambda key: (key[0], trained.index(key[1])))}
        figure = charts.by_steps(
            curves, tables, lines, titles, ["of", "phase"], metric, "steps of the phase", len(trained)
        )
        section.chart(figure, named(metric), CAPTIONS[metric])
    return section if section.charts else None
