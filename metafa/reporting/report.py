"""One HTML file of a study: its question, its answer, its figures and tables, what made it, and what went wrong."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from metafa.errors import ResultsError
from metafa.reporting import appearance, charts, claims, comparison, conditions, importance, objectives
from metafa.reporting.appearance import Line, named
from metafa.reporting.conditions import EVALUATED, Tables
from metafa.results import heartbeat, preparation
from metafa.results.columns import RUN_COLUMNS
from metafa.results.statuses import ANALYSED
from metafa.results.store import Store
from metafa.results.tables import read_table
from metafa.studies.settings import flatten
from metafa.studies.study import Study

DASHES = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}  # of a condition's mark, in pixels
COURSES = ("alignment_angle", "effective_dimensionality", "readout_probability", "meta_loss", "accuracy")
CAPTIONS = {
    "alignment_angle": "The angle between weights and feedback, layer by layer; 90 degrees is no alignment.",
    "effective_dimensionality": "The participation ratio of each layer's squared singular values.",
    "readout_probability": "The mean of the largest readout probability; on noise, chance is one over the classes.",
    "meta_loss": "The meta-loss on unseen classes while a phase trains.",
    "accuracy": "The accuracy on test images while a phase trains.",
}
EXPLAINED = 10  # trials that importance is told of
TABLE_ROWS = 2000  # the CSV of analysis/ and the Parquet have the rest
MADE_BY = [*(name for name in RUN_COLUMNS if name not in ("started", "seconds")), "numerics"]


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what it says, what it is sorted by, and how it looks."""

    text: str
    sort: str | None = None
    kind: str = ""


@dataclass
class Section:
    """A part of the report, with what it holds in the order it is shown."""

    id: str
    title: str
    sentences: list[str] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def chart(self, figure: go.Figure, title: str, caption: str) -> None:
        self.charts.append(
            {"id": f"{self.id}-{len(self.charts)}", "title": title, "caption": caption, "figure": figure}
        )

    def table(self, frame: pd.DataFrame, title: str = "") -> None:
        self.tables.append(_table(frame, f"{self.id}-table-{len(self.tables)}", title))


def render(store: Store) -> str:
    """The report of the results in ``store``, as HTML that needs nothing else. Raises `ResultsError`."""
    study = preparation.read_study(store)
    trials = _trials(store)
    tables = conditions.of_trials(store, trials) if trials["status"].isin(ANALYSED).any() else None
    lines = appearance.lines(tables) if tables is not None else []
    sections: list[Section] = []
    answers: list[str] = []
    warnings: list[str] = []
    if tables is not None:
        warnings += tables.remarks
        for make in (_claims, _meta_loss, _search, _course):
            found = make(study, tables, lines, answers, warnings)
            sections += [found] if found is not None else []
    sections += [_problems(trials), _all_trials(study, trials), _study_file(study), _provenance(store, study, trials)]
    running = _running(store, study, trials)
    every = {chart["id"]: chart["figure"].to_plotly_json() for section in sections for chart in section.charts}
    return _template().render(
        name=study.name,
        question=study.question,
        state=f"{len(trials)} of {study.total} trials" if running else f"done, {len(trials)} trials",
        running=running,
        answer=answers[0] if answers else "Nothing to say yet: no trial has ended that is compared with another.",
        warnings=warnings,
        contents=[(section.id, section.title) for section in sections],
        lines=lines,
        dashes=DASHES,
        excerpt=tables.excerpt if tables is not None else "",
        sections=sections,
        plotly_js=_plotly_js() if every else "",
        charts_json=_json(every),
    )


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    text = resources.files("metafa.reporting").joinpath("report.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        text
    )


def _plotly_js() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _json(figures: Mapping[str, Any]) -> str:
    from plotly.io.json import to_json_plotly

    found = {id_: {"data": one["data"], "layout": _without_template(one["layout"])} for id_, one in figures.items()}
    # so that nothing in it can end the element that it stands in
    return to_json_plotly(found).replace("<", "\\u003c")


def _without_template(layout: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in layout.items() if key != "template"}


def _trials(store: Store) -> pd.DataFrame:
    """The table of trials, which may be empty while a study is young."""
    table = read_table(store, "trials")
    return conditions.as_frame(table) if table.num_rows else pd.DataFrame({"trial_id": [], "status": []}, dtype=str)


def _running(store: Store, study: Study, trials: pd.DataFrame) -> str:
    """How far a study is that is not done; empty where it is."""
    left = study.total - len(trials)
    if left <= 0:
        return ""
    said = f"{left} of {study.total} trials are still to do"
    drivers, now = heartbeat.look(store), datetime.datetime.now(datetime.UTC)
    told = "; ".join(heartbeat.sentences(drivers, now))
    return f"{said}; as of {now:%Y-%m-%d %H:%M} UTC: {told}." if told else f"{said}."


def _claims(study: Study, tables: Tables, lines: list[Line], answers: list[str], warnings: list[str]) -> Section | None:
    if not study.claims:
        return None
    section = Section("claims", "Claims", ["Judged by the rules that stand in the study file, written before it ran."])
    try:
        judged = claims.judge_all(tables, study.claims)
    except ResultsError as error:
        warnings.append(str(error))
        return None
    answers.append(claims.in_a_sentence(judged))
    section.table(judged)
    return section


def _meta_loss(
    study: Study, tables: Tables, lines: list[Line], answers: list[str], warnings: list[str]
) -> Section | None:
    if tables.adaptation.empty:
        return None
    table = comparison.compare(tables)
    if table["meta_loss"].isna().all():
        answers.append("No meta-loss is to be told: every seed of every condition diverged.")
        section = Section("meta-loss", "Meta-loss", [answers[-1]])
        section.table(table[[*EVALUATED, *tables.conditions, "seeds", "diverged"]])
        return section
    if said := comparison.answer(table, tables.conditions):
        answers.append(said)
    sentences = comparison.verdicts(table, tables.conditions)[: conditions.SHOWN]
    if said := comparison.too_few(table):
        warnings.append(said)
    section = Section("meta-loss", "Meta-loss", sentences)
    section.chart(
        charts.meta_losses(table, tables, lines),
        "After the last inner step",
        "Means over seeds with 95% intervals; rings are without noise.",
    )
    curves = comparison.curves(tables.of_shown(tables.adaptation), tables, [*EVALUATED, "metric", "step"])
    losses = curves[curves["metric"] == "meta_loss"]
    titles = {key: ", ".join(key) for key in losses[EVALUATED].drop_duplicates().itertuples(index=False, name=None)}
    titles = dict(sorted(titles.items(), key=lambda one: tables.phases.index(one[0][0])))
    for metric in ("meta_loss", "meta_accuracy"):
        here = curves[curves["metric"] == metric]
        section.chart(
            charts.by_steps(here, tables, lines, titles, EVALUATED, metric, "inner steps", 3),
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


def _search(study: Study, tables: Tables, lines: list[Line], answers: list[str], warnings: list[str]) -> Section | None:
    if len(study.spaces) < 2 and not study.adaptive:
        return None
    try:
        asked = objectives.chosen(tables, study)
        found = objectives.points(tables, study, asked)
    except ResultsError:
        return None
    if len(found) < 3:
        return None
    best = objectives.front(found, asked)
    row = found.loc[best[0]]
    reached = ", ".join(f"{one.words} {appearance.value(row[one.name])}" for one in asked)
    others = [name for name in study.spaces if name not in [one.name for one in asked]]
    at = appearance.in_words(others, [row[name] for name in others])
    answers.append(f"Of {len(found)} trials the best has {reached}{f', at {at}' if at else ''}.")
    section = Section("search", "What the settings did", [answers[-1]])
    if len(asked) == 2:
        section.chart(
            charts.pareto(found, best, asked, study),
            "Pareto front",
            "Trials that no other is better than in both." + _off(found, asked),
        )
    names = list(study.spaces)
    if len(found) >= EXPLAINED and len(shares := importance.importances(study, asked, found)):
        names = importance.ranked(shares)
        section.chart(
            charts.importances(shares, asked),
            "Importance",
            "How much of what came out each setting accounts for, by three evaluators: shares of what they explain.",
        )
    section.chart(
        charts.slices(found, study, asked, names),
        "Slices",
        "Every trial's objective against each setting." + _off(found, asked[:1]),
    )
    if len(study.spaces) > 2:
        section.chart(
            charts.parallel(found, study, asked),
            "Parallel coordinates",
            "A line a trial; drag along an axis to keep those that pass there.",
        )
    section.table(found.loc[best], "The best" if len(asked) == 1 else "The front")
    return section


def _off(found: pd.DataFrame, asked: list[objectives.Objective]) -> str:
    """What the axes of objectives leave out, in words."""
    off = max(appearance.beyond(found[one.name], one.maximize) for one in asked)
    return f" {off} of {len(found)} lie beyond the axis; a double click shows them." if off else ""


def _course(study: Study, tables: Tables, lines: list[Line], answers: list[str], warnings: list[str]) -> Section | None:
    trained = [name for kind in ("noise", "supervised", "meta") for name in tables.phases_of(kind)]
    trained = [name for name in tables.phases if name in trained]
    section = Section("course", "Through the phases")
    where = ["phase", "layer", "task"]
    for metric in COURSES:
        rows = tables.rows_of_shown([metric], trained)
        if metric == "accuracy":  # of the batch trained on it says little
            rows = rows[rows["task"].notna()]
        if rows.empty:
            continue
        curves = comparison.curves(rows, tables, [*where, "step"])
        if curves.empty:  # all diverged
            continue
        of = curves["layer"].map(lambda layer: f"layer {layer:.0f}").where(curves["layer"].notna(), curves["task"])
        curves = curves.assign(of=of)
        keys = set(zip(curves["of"], curves["phase"], strict=True))
        titles = {key: f"{key[1]}, {key[0]}" for key in sorted(keys, key=lambda key: (key[0], trained.index(key[1])))}
        figure = charts.by_steps(
            curves, tables, lines, titles, ["of", "phase"], metric, "steps of the phase", len(trained)
        )
        section.chart(figure, named(metric), CAPTIONS[metric])
    return section if section.charts else None


def _problems(trials: pd.DataFrame) -> Section:
    """Every trial that failed, diverged or was stopped."""
    bad = trials[~trials["status"].isin(["done"])]
    if bad.empty:
        return Section("problems", "Failed, diverged, stopped", ["None: every trial that ended ran to its end."])
    counts = ", ".join(f"{number} {status}" for status, number in bad["status"].value_counts().items())
    section = Section("problems", "Failed, diverged, stopped", [counts + "."])
    rows = [
        {
            "trial_id": row["trial_id"],
            "status": row["status"],
            "where": _where(row),
            "settings": _point(row),
            "error": "".join(_error(row)[-1:]),
        }
        for _, row in bad.iterrows()
    ]
    section.table(pd.DataFrame(rows))
    section.texts = [
        (f"{row['trial_id']}: the whole error", "\n".join(_error(row)))
        for _, row in bad.head(20).iterrows()
        if len(_error(row)) > 1
    ]
    return section


def _error(row: pd.Series) -> list[str]:
    """The lines of a trial's error; none where it has none, as one that was stopped."""
    error = row.get("error")
    return error.strip().splitlines() if isinstance(error, str) else []


def _where(row: pd.Series) -> str:
    for kind in ("diverged", "stopped"):
        if isinstance(phase := row.get(f"{kind}_phase"), str) and np.isfinite(row[f"{kind}_step"]):
            return f"step {int(row[f'{kind}_step'])} of {phase}"
    return ""


def _point(row: pd.Series) -> str:
    point = json.loads(row.get("point") or "{}")
    return appearance.in_words(list(point), point.values()) or "the only trial"


def _all_trials(study: Study, trials: pd.DataFrame) -> Section:
    section = Section("trials", "Trials", [f"{study.fewer[0].upper()}{study.fewer[1:]}."] if study.fewer else [])
    if len(trials):
        frame = pd.DataFrame({"trial_id": trials["trial_id"], "status": trials["status"]})
        points = trials["point"].map(lambda text: json.loads(text or "{}"))
        for name in study.spaces:
            frame[name] = points.map(lambda point, name=name: appearance.value(point.get(name)))
            if all(type(point.get(name)) in (int, float) for point in points):
                frame[name] = points.map(lambda point, name=name: point[name])
        for name in ("seconds", "host", "device"):
            frame[name] = trials[name]
        section.table(frame)
        if len(frame) > TABLE_ROWS:
            section.sentences.append(f"The first {TABLE_ROWS} of {len(frame)}.")
    return section


def _study_file(study: Study) -> Section:
    return Section("study", "Study file", texts=[("", study.text.strip())])


def _provenance(store: Store, study: Study, trials: pd.DataFrame) -> Section:
    """What made the results."""
    rows: list[tuple[str, str]] = [("results", store.address), ("fingerprint", study.fingerprint)]
    for name in MADE_BY:
        if name in trials and (found := sorted({str(one) for one in trials[name].dropna()})):
            rows.append((name.replace("_", " "), ", ".join(found)))
    if len(trials) and trials["started"].notna().any():
        ends = trials["started"] + pd.to_timedelta(trials["seconds"], "s")
        rows += [("first trial started", f"{trials['started'].min():%Y-%m-%d %H:%M} UTC")]
        rows += [("last trial ended", f"{ends.max():%Y-%m-%d %H:%M} UTC")]
        rows += [("time in trials", f"{trials['seconds'].sum() / 3600:.2f} hours")]
    rows += [("this report", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC")]
    section = Section("provenance", "Provenance")
    section.table(pd.DataFrame(rows, columns=["what", "value"]))
    settings = flatten(study.examples[0])
    fixed = [f"{name} = {value}" for name, value in settings.items() if name not in study.spaces]
    section.texts = [("every setting that the study does not vary, defaults included", "\n".join(fixed))]
    return section


def _table(frame: pd.DataFrame, id_: str, title: str) -> dict[str, Any]:
    numbers = {name: pd.api.types.is_numeric_dtype(frame[name]) for name in frame}
    # an interval stands beside what it is of
    names = [name for name in frame if not (str(name).endswith(("_low", "_high")) and numbers[name])]
    columns = [{"name": appearance.short(str(name)), "number": numbers[name]} for name in names]
    shown = frame.head(TABLE_ROWS).to_dict("records")
    rows = [[_cell(row, str(name), numbers[name]) for name in names] for row in shown]
    return {"id": id_, "title": title, "columns": columns, "rows": rows}


def _cell(row: Mapping[str, Any], name: str, number: bool) -> Cell:
    one, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if number and (one is None or one != one):
        return Cell("", "", "number")
    if number and name.startswith("p_") and one is not None:
        return Cell(comparison.significant(one), str(one), "number")
    if number:
        interval = f" ({low:.4g} to {high:.4g})" if low is not None and low == low else ""
        return Cell(appearance.value(one) + interval, str(one), "number")
    text = "" if one is None or one != one else str(one)
    kind = {"holds": "good", "fails": "bad", "failed": "bad", "done": "good"}.get(text, "")
    return Cell(text, None, kind or ("wrap" if len(text) > 60 else ""))
