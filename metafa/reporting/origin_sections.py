"""The sections of a report that say what it is made of: trials, the study file, and where the results come from."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd

from metafa.reporting import appearance
from metafa.reporting.sections import TABLE_ROWS, Section, table_of
from metafa.results.columns import RUN_COLUMNS
from metafa.results.store import Store
from metafa.studies.settings import flatten
from metafa.studies.study import Study

MADE_BY = [*(name for name in RUN_COLUMNS if name not in ("started", "seconds")), "numerics"]


def problems_section(trials: pd.DataFrame) -> Section:
    """Every trial that failed, diverged or was stopped."""
    bad = trials[~trials["status"].isin(["done"])]
    if bad.empty:
        return Section("problems", "Failed, diverged, stopped", ("None: every trial that ended ran to its end.",))
    counts = ", ".join(f"{number} {status}" for status, number in bad["status"].value_counts().items())
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
    texts = tuple(
        (f"{row['trial_id']}: the whole error", "\n".join(_error(row)))
        for _, row in bad.head(20).iterrows()
        if len(_error(row)) > 1
    )
    return Section(
        "problems", "Failed, diverged, stopped", (counts + ".",), tables=(table_of(pd.DataFrame(rows)),), texts=texts
    )


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


def trials_section(study: Study, trials: pd.DataFrame) -> Section:
    fewer = (f"{study.fewer[0].upper()}{study.fewer[1:]}.",) if study.fewer else ()
    if trials.empty:
        return Section("trials", "Trials", fewer)
    first = (f"The first {TABLE_ROWS} of {len(trials)}.",) if len(trials) > TABLE_ROWS else ()
    return Section("trials", "Trials", (*fewer, *first), tables=(table_of(_trials(study, trials)),))


def _trials(study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame({"trial_id": trials["trial_id"], "status": trials["status"]})
    points = trials["point"].map(lambda text: json.loads(text or "{}"))
    for name in study.spaces:
        frame[name] = points.map(lambda point, name=name: appearance.value(point.get(name)))
        if all(type(point.get(name)) in (int, float) for point in points):
            frame[name] = points.map(lambda point, name=name: point[name])
    return frame.assign(**{name: trials[name] for name in ("seconds", "host", "device")})


def study_file_section(study: Study) -> Section:
    return Section("study", "Study file", texts=(("", study.text.strip()),))


def provenance_section(store: Store, study: Study, trials: pd.DataFrame) -> Section:
    """What made the results."""
    rows: list[tuple[str, str]] = [("results", store.address), ("fingerprint", study.fingerprint)]
    for name in MADE_BY:
        if name in trials and (values := sorted({str(value) for value in trials[name].dropna()})):
            rows.append((name.replace("_", " "), ", ".join(values)))
    if len(trials) and trials["started"].notna().any():
        ends = trials["started"] + pd.to_timedelta(trials["seconds"], "s")
        rows += [("first trial started", f"{trials['started'].min():%Y-%m-%d %H:%M} UTC")]
        rows += [("last trial ended", f"{ends.max():%Y-%m-%d %H:%M} UTC")]
        rows += [("time in trials", f"{trials['seconds'].sum() / 3600:.2f} hours")]
    rows += [("this report", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC")]
    settings = flatten(study.examples[0])
    shown_otherwise = {*study.spaces, *(f"{phase}.phase" for phase in settings["phases"])}
    fixed = "\n".join(f"{name} = {value}" for name, value in settings.items() if name not in shown_otherwise)
    return Section(
        "provenance",
        "Provenance",
        tables=(table_of(pd.DataFrame(rows, columns=["what", "value"])),),
        texts=(("every setting that the study does not vary, defaults included", fixed),),
    )
