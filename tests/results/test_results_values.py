"""Values that no study writes are refused."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from odd_parts import TRIAL, measurements, parquet, trials
from synthetic_results import study_of

from metafa.errors import PartError
from metafa.results import parts
from metafa.results.values import check_rows
from metafa.studies import study

ODD_MEASUREMENTS = {
    "another trial_id": ({"trial_id": ["../../escape"] * 3}, "has '../../escape' in the column 'trial_id'"),
    "no trial_id": ({"trial_id": pa.array([TRIAL, None, TRIAL])}, "has a null in the column 'trial_id'"),
    "a metric that moves the cursor": ({"metric": ["\x1b[2J"] * 3}, r"has '\x1b[2J' in the column 'metric'"),
    "inputs of mathematics": ({"inputs": ["$\\frac$"] * 3}, r"has '$\\frac$' in the column 'inputs'"),
}
ODD_TRIALS = {
    "a status": ({"status": ["fine"]}, "has the status 'fine'; it is one of diverged, done, failed, stopped"),
    "a point that is a list": ({"point": ["[1]"]}, "has '[1]' in the column 'point', which is no mapping"),
    "a point that is no JSON": ({"point": ["{"]}, "has '{' in the column 'point', which is no JSON"),
    "a deep point": ({"point": ["[" * 100_000]}, "which is no JSON"),
    "a long number": ({"point": ['{"a": ' + "1" * 10_000 + "}"]}, "which is no JSON"),
    "a point without number": ({"point": ['{"a": NaN}']}, "which is no JSON"),
    "data that names no images": ({"data": ['{"a": "b"}']}, "has 'a' in the column 'data', which names no images"),
    "a start in the year 300,000": (
        {"started": pa.array([2**63 - 1], pa.timestamp("us", tz="UTC"))},
        "has a value in the column 'started' that no study has",
    ),
    "a trial of no time": ({"seconds": [float("nan")]}, "has a value in the column 'seconds' that no study has"),
    "an objective of none": ({"objectives": [[None, 1.0]]}, "has a value in the column 'objectives' that is no number"),
}


ONE_PHASE_VARIED = """\
[[phases]]
choices = [{ phase = "noise", steps = 1 }, { phase = "noise", steps = 2 }]
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


def test_a_trial_of_every_place_that_a_study_may_vary_is_read() -> None:
    noise, evaluate = {"phase": "noise", "steps": 1}, {"phase": "evaluate", "task_distributions": ["glyphs"]}
    texts = [
        ONE_PHASE_VARIED,
        study_of([noise, evaluate], [evaluate]),
        study_of(noise | {"learning_rate": {"choices": [1e-3, 1e-2]}}, evaluate),
    ]
    for text in texts:
        for trial in study.parse(text).trials:
            check_rows(pa.table({"point": [json.dumps(trial.varied)]}), "trials")


@pytest.mark.parametrize(("columns", "said"), ODD_MEASUREMENTS.values(), ids=ODD_MEASUREMENTS)
def test_values_of_measurements_that_no_study_makes_are_refused(columns: dict, said: str) -> None:
    with pytest.raises(PartError) as caught:
        parts.decode(parquet(measurements(**columns)), "measurements")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("columns", "said"), ODD_TRIALS.values(), ids=ODD_TRIALS)
def test_values_of_trials_that_no_study_makes_are_refused(columns: dict, said: str) -> None:
    with pytest.raises(PartError) as caught:
        parts.decode(parquet(trials(**columns)), "trials")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
