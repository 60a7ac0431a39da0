"""Results whose answers are known."""

from __future__ import annotations

import itertools
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from study_texts import study_with

from metafa.results import addresses, columns, heartbeat, leases, parts, preparation, publishing
from metafa.results.tables import load
from metafa.studies import study
from metafa.studies.settings import NUMERICS, flatten
from metafa.studies.study import Study
from metafa.studies.trial import Trial

ANALYSIS = Path(__file__).parents[1] / "analysis"
SMALL = {
    "network": {"rule": {"choices": ["backprop", "feedback_alignment"]}},
    "phases": [
        {"phase": "noise", "steps": {"choices": [0, 100]}},
        {"phase": "evaluate", "task_distributions": ["glyphs"]},
    ],
}


NOISE = {"phase": "noise", "steps": {"choices": [0, 64]}}
SUPERVISED = {"phase": "supervised", "dataset": "glyphs", "steps": 5}
EVALUATE = {"phase": "evaluate", "task_distributions": ["glyphs"], "inner_steps": 1}


def study_of(*phases: dict, **settings: Any) -> str:
    """The text of a study of these phases, or of choices of phases where they are lists."""
    alike = all(isinstance(phase, dict) for phase in phases)
    return study_with({**settings, "phases": [*phases] if alike else {"choices": [*phases]}})


def small_study(**changes: Any) -> Study:
    """The study `SMALL`, of four trials, with some changes of settings."""
    return study.parse(study_with(SMALL, **changes), default_name="small")


def fill(address: object, checked: Study, status: str = "done", but: Collection[str] = ()) -> None:
    """Puts a measurement of each trial, ``but`` of some, into results that are there or not."""
    preparation.prepare(addresses.at(str(address)), checked)
    row = {"seed": 0, "phase": "evaluate", "step": 5, "metric": "meta_loss", "inputs": "glyphs"}
    for number, trial in enumerate(trial for trial in checked.trials if trial.trial_id not in but):
        put(address, checked, trial, [row | {"value": number / 7}], status=status)


def in_order(address: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables as anyone reads them, in an order that does not depend on where their rows stand."""
    trials, measurements = (rows.sort_values("trial_id", ignore_index=True) for rows in load(str(address)))
    return trials, measurements


def assert_unchanged(before: tuple[pd.DataFrame, pd.DataFrame], address: object) -> None:
    """Raises AssertionError where a value is no longer what it was."""
    for one, two in zip(before, in_order(address), strict=True):
        pd.testing.assert_frame_equal(one, two)


def results_of(address: object, text: str, measure: Callable[[Trial], Iterable[dict[str, Any]]]) -> Study:
    """Puts the results of the study ``text`` at ``address``, all trials done, ``measure`` saying what was measured."""
    checked, place = study.parse(text, default_name="made"), addresses.at(str(address))
    preparation.prepare(place, checked)
    for trial in checked.trials:
        put(address, checked, trial, measure(trial))
    return checked


def put(address: object, checked: Study, trial: Trial, rows: Iterable[dict[str, Any]], **outcome: Any) -> None:
    """Puts the rows of one trial."""
    row = {"trial_id": trial.trial_id, "study": checked.name, "status": "done", "numerics": NUMERICS}
    row |= flatten(trial.settings) | {"point": json.dumps(trial.varied)} | outcome
    publishing.write(addresses.at(str(address)), columns.trials_schema(checked), row, rows)


def meta_losses(
    value: Callable[[Trial], float], seeds: int = 6, phases: Iterable[str] = ("evaluate",)
) -> Callable[[Trial], list[dict[str, Any]]]:
    """The meta-loss of a trial after its inner step is ``value`` and a tenth of a seed's number, its accuracy that less
    one."""

    def rows(trial: Trial) -> list[dict[str, Any]]:
        return [
            {"seed": seed, "phase": phase, "step": step, "metric": metric, "inputs": "glyphs", "value": found}
            for seed, phase, step in itertools.product(range(seeds), phases, (0, 1))
            for metric, found in (("meta_loss", value(trial) + 0.1 * seed), ("meta_accuracy", value(trial) - 1))
        ]

    return rows


def make_earlier(folder: Path) -> None:
    """Makes the results in ``folder`` those of a version of metafa that called `outer_steps` `iterations`, and so knew
    trials by other ids."""

    def of_before(said: bytes, trial_ids: Iterable[str]) -> bytes:
        for one in trial_ids:
            said = said.replace(one.encode(), one[::-1].encode())
        return said.replace(b"outer_steps", b"iterations")

    text = (folder / "study.toml").read_bytes()
    (folder / "study.toml").write_bytes(of_before(text, []))
    for path in list(folder.glob("*/*.parquet")):
        rows = pq.read_table(path)
        trial_ids = set(rows["trial_id"].to_pylist())
        rows = rows.rename_columns([name.replace("outer_steps", "iterations") for name in rows.column_names])
        for name in {"trial_id", "point"} & set(rows.column_names):
            place, values = rows.column_names.index(name), rows[name].to_pylist()
            values = [of_before(value.encode(), trial_ids).decode() for value in values]
            rows = rows.set_column(place, name, pa.array(values))
        metadata = {key: of_before(value, trial_ids) for key, value in (rows.schema.metadata or {}).items()}
        path.unlink()
        path.with_name(of_before(path.name.encode(), trial_ids).decode()).write_bytes(
            parts.encode(rows.replace_schema_metadata(metadata))
        )


def driver(address: object, **changed: object) -> leases.Driver:
    """A driver that has said once that it is there, as one of another machine where nothing else is said."""
    one = leases.Driver(addresses.at(str(address)))
    one.store.make_folders("", heartbeat.FOLDER, leases.FOLDER)
    said = heartbeat.now("1/2 trials").model_copy(update={"process": heartbeat.Process(), **changed})
    one.store.put(f"{heartbeat.FOLDER}/{one.token}.json", said.model_dump_json().encode())
    return one


def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
    """Runs a script of analysis/; a warning is an error."""
    command = [sys.executable, "-W", "error", ANALYSIS / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def run_here(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a script of analysis/ in this process."""
    monkeypatch.setattr(sys, "argv", [script, str(folder)])
    monkeypatch.syspath_prepend(str(ANALYSIS))
    runpy.run_path(str(ANALYSIS / script), run_name="__main__")
