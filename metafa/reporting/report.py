"""One HTML file of a study: its question, its answer, its figures and tables, what made it, and what went wrong."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import pandas as pd

from metafa.reporting import appearance, conditions
from metafa.reporting.answer_sections import answering_sections
from metafa.reporting.appearance import Line
from metafa.reporting.origin_sections import (
    problems_section,
    provenance_section,
    study_file_section,
    trials_section,
)
from metafa.reporting.sections import Section
from metafa.reporting.trial_table import every_trial
from metafa.results import heartbeat, preparation
from metafa.results.statuses import ANALYSED
from metafa.results.store import Store
from metafa.studies.study import Study

DASHES = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}  # of a condition's mark, in pixels


def render(store: Store) -> str:
    """The report of the results in ``store``, as HTML that needs nothing else. Raises `ResultsError`."""
    study = preparation.read_study(store)
    trials = every_trial(store)
    tables = conditions.of_trials(store, trials) if trials["status"].isin(ANALYSED).any() else None
    lines = appearance.lines(tables) if tables is not None else []
    answering = answering_sections(study, tables, lines) if tables is not None else []
    sections = [
        *(section for section in answering if section.shown),
        problems_section(trials),
        trials_section(study, trials),
        study_file_section(study),
        provenance_section(store, study, trials),
    ]
    answers = [section.answer for section in answering if section.answer]
    remarks = tables.remarks if tables is not None else []
    running = _running(store, study, trials)
    return page(
        study.name,
        study.question,
        answers[0] if answers else _no_answer(running),
        sections,
        warnings=[*remarks, *(warning for section in answering for warning in section.warnings)],
        state=f"{len(trials)} of {study.total} trials" if running else f"done, {len(trials)} trials",
        running=running,
        lines=lines,
        excerpt=tables.excerpt if tables is not None else "",
    )


def page(
    name: str,
    question: str,
    answer: str,
    sections: Sequence[Section],
    *,
    warnings: Sequence[str] = (),
    state: str = "",
    running: str = "",
    lines: Sequence[Line] = (),
    excerpt: str = "",
) -> str:
    """A page of ``sections`` as HTML that needs nothing else.

    warnings: what has to be known before any number is read.
    state: how far a study is, in a few words; ``running``: the same in a sentence, where it is not done.
    lines: the conditions that the reader can show and hide; ``excerpt``: of how many they are the best.
    """
    figures = {
        f"{section.id}-{number}": chart.figure.to_plotly_json()
        for section in sections
        for number, chart in enumerate(section.charts)
    }
    return _template().render(
        name=name,
        question=question,
        state=state,
        running=running,
        answer=answer,
        warnings=warnings,
        contents=[(section.id, section.title) for section in sections],
        lines=lines,
        dashes=DASHES,
        excerpt=excerpt,
        sections=sections,
        plotly_js=_plotly_js() if figures else "",
        charts_json=_json(figures),
    )


def _no_answer(running: str) -> str:
    if running:
        return "Nothing to say yet: no trial has ended that is compared with another."
    return "No answer in a sentence: there is no claim to judge, and no meta-loss both with and without noise."


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

    charts = {
        id_: {"data": figure["data"], "layout": _without_template(figure["layout"])} for id_, figure in figures.items()
    }
    # so that nothing in it can end the element that it stands in
    return to_json_plotly(charts).replace("<", "\\u003c")


def _without_template(layout: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in layout.items() if key != "template"}


def _running(store: Store, study: Study, trials: pd.DataFrame) -> str:
    """How far a study is that is not done; empty where it is."""
    left = study.total - len(trials)
    if left <= 0:
        return ""
    to_do = f"{left} of {study.total} trials are still to do"
    drivers, now = heartbeat.look(store), datetime.datetime.now(datetime.UTC)
    of_drivers = "; ".join(heartbeat.sentences(drivers, now))
    return f"{to_do}; as of {now:%Y-%m-%d %H:%M} UTC: {of_drivers}." if of_drivers else f"{to_do}."
