"""The Parquet store: one folder a study, in it the tables `trials` and `measurements`, one part a trial each.

Both tables are folders that ``pandas.read_parquet`` reads as they are. A part appears whole, by a rename;
a trial's measurements come first and its row in `trials`, which says that it is done, last.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from metafa.settings import flatten
from metafa.study import Study, StudyError, parse

if TYPE_CHECKING:
    import pandas as pd

MEASUREMENTS = pa.schema(
    [
        ("trial_id", pa.string()),
        ("seed", pa.int64()),
        ("learning_rate", pa.float64()),  # of the replica, where a trial has several side by side; else null
        ("phase", pa.string()),
        ("step", pa.int64()),
        ("metric", pa.string()),
        ("layer", pa.int64()),  # from 1; null for what is not of one layer
        ("component", pa.int64()),  # from 1: of singular values, the largest first, or principal components; else null
        ("task", pa.string()),  # a task distribution, or "noise"; null for what is not measured on inputs
        ("value", pa.float64()),
    ]
)
# What describes the run and not its result: these columns of `trials` differ when a study is run again.
RUN_COLUMNS = {
    "started": pa.timestamp("us", tz="UTC"),
    "seconds": pa.float64(),
    "host": pa.string(),
    "device": pa.string(),
    "python_version": pa.string(),
    "metafa_version": pa.string(),
    "torch_version": pa.string(),
    "learn2learn_version": pa.string(),
    "ray_version": pa.string(),
}
OUTCOME = {
    "trial_id": pa.string(),
    "study": pa.string(),
    "status": pa.string(),
    "error": pa.string(),
    "diverged_seeds": pa.list_(pa.int64()),
    "diverged_phase": pa.string(),
    "diverged_step": pa.int64(),
}
FINISHED = ("done", "diverged")  # a failed trial is tried again


class Results(NamedTuple):
    """Both tables of a study."""

    trials: pd.DataFrame
    measurements: pd.DataFrame


class ResultsError(Exception):
    """A results folder that cannot be used; the message is one line."""


def load(folder: str | Path) -> Results:
    """The tables in ``folder`` as data frames. Raises `ResultsError` where there are none."""
    import pandas as pd

    folder = Path(folder)
    _study_text(folder)
    return Results(*(pd.read_parquet(folder / table) for table in ("trials", "measurements")))


def prepare(folder: Path, study: Study) -> None:
    """Makes ``folder`` ready for the results of ``study``. Raises `ResultsError`, and then has written nothing."""
    check(folder, study)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "study.toml").exists():  # first, since by it the folder is known as ours
        _put(folder / "study.toml", lambda path: path.write_text(study.text, encoding="utf-8"))
    for table in ("trials", "measurements"):
        (folder / table).mkdir(exist_ok=True)


def check(folder: Path, study: Study) -> None:
    """Raises `ResultsError` where ``folder`` cannot take the results of ``study``."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ResultsError(f"{existing} is not a folder; choose another with --results")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ResultsError(f"{folder} is not writable ({error.strerror}); choose another with --results") from error
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        text = _study_text(folder)
        try:
            other = parse(text, default_name=study.name)
        except StudyError:
            other = None
        if other is None or other.fingerprint != study.fingerprint:
            name = f" ({other.name!r})" if other else ""
            raise ResultsError(
                f"{folder} holds the results of another study{name}, kept there as study.toml; "
                "choose another folder with --results"
            )
        if unknown := statuses(folder).keys() - {trial.trial_id for trial in study.trials}:
            raise ResultsError(
                f"{folder} holds {len(unknown)} trials of this study from a version of metafa with other numerics; "
                "choose another folder with --results, or move that one away"
            )


def _study_text(folder: Path) -> str:
    try:
        return (folder / "study.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{folder} is not a results folder of metafa: it has no study.toml") from error


def read_study(folder: Path) -> Study:
    """The study whose results stand in ``folder``. Raises `ResultsError`."""
    try:
        return parse(_study_text(folder), default_name=folder.name, file=str(folder / "study.toml"))
    except StudyError as error:
        raise ResultsError(error.messages[0]) from error


def statuses(folder: Path) -> dict[str, str]:
    """The status of each trial that has a row in `trials`, by its trial_id."""
    table = folder / "trials"
    if not table.is_dir() or not any(table.glob("*.parquet")):
        return {}
    rows = pq.read_table(table, columns=["trial_id", "status"])
    return dict(zip(rows["trial_id"].to_pylist(), rows["status"].to_pylist(), strict=True))


def trials_schema(study: Study) -> pa.Schema:
    """The columns of `trials`: the outcome, every setting by its dotted name, then what describes the run."""
    inferred = pa.Table.from_pylist([flatten(trial.settings) for trial in study.trials]).schema
    fields = [*OUTCOME.items(), *((field.name, field.type) for field in inferred), *RUN_COLUMNS.items()]
    return pa.schema(fields, metadata={"metafa.study": study.text})


def write(folder: Path, schema: pa.Schema, row: Mapping[str, Any], measurements: Iterable[Mapping[str, Any]]) -> None:
    """Puts a trial's rows into both tables, in place of any it had."""
    part = f"{row['trial_id']}.parquet"
    table = pa.Table.from_pylist(list(measurements), MEASUREMENTS)
    _put(folder / "measurements" / part, lambda path: pq.write_table(table, path))
    # pyarrow fills columns that the row lacks with null
    trial = pa.Table.from_pylist([dict(row)], schema)
    _put(folder / "trials" / part, lambda path: pq.write_table(trial, path))


def _put(path: Path, write_to: Any) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")  # hidden: readers of a folder pass it by
    try:
        write_to(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
