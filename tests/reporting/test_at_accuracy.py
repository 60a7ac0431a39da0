"""Metrics at a given accuracy, computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from claim_rows import rows_of
from synthetic_results import NOISE, SUPERVISED, results_of, study_of

from metafa.reporting import claims, conditions
from metafa.reporting.at_accuracy import values_at
from metafa.reporting.claims import SEED
from metafa.studies.trial import Trial


@pytest.mark.parametrize(
    ("accuracy", "value", "expected"),
    [
        ([0.1, 0.5, 0.9], [1.0, 0.6, 0.2], 0.3),  # three quarters of the way from the second moment to the third
        ([0.2, 0.8, 0.9], [1.0, 0.6, 0.2], 0.6),  # there at a moment
        ([0.2, 1.0, 0.6, 0.9], [1.0, 0.6, 0.5, 0.4], 0.7),  # and then worse again
        ([0.85, 0.9], [1.0, 0.6], 1.0),  # there from the first
        ([0.1, 0.7], [1.0, 0.6], None),  # never
    ],
)
def test_a_value_lies_between_the_moments_around_the_accuracy(
    accuracy: list[float], value: list[float], expected: float | None
) -> None:
    found = [("t", 0, step, of) for step, of in enumerate(value)][::-1]
    rows = rows_of("trial_id seed step value", found, inputs="glyphs", accuracy_on="glyphs")
    seen = rows_of(
        "trial_id seed step value", [("t", 0, step, of) for step, of in enumerate(accuracy)], inputs="glyphs"
    )
    (one,) = values_at(rows, seen, 0.8, SEED)["value"]
    assert one == pytest.approx(expected) if expected is not None else pd.isna(one)


def test_a_network_counts_that_is_there_on_all_inputs() -> None:
    """A metric of layers goes by the accuracy on the phase's dataset."""
    accuracies = [
        *((seed, step, "glyphs", None, of) for seed in (0, 1) for step, of in enumerate((0.4, 0.8))),
        *(
            (seed, step, "digits", None, of)
            for seed, of_seed in enumerate([(0.5, 1), (0, 0.5)])
            for step, of in enumerate(of_seed)
        ),
    ]
    seen = rows_of("seed step inputs shift value", accuracies, trial_id="t")
    of_images = [(seed, step, name, 10.0 * step) for seed in (0, 1) for step in (0, 1) for name in ("glyphs", "digits")]
    rows = rows_of("seed step inputs value", of_images, trial_id="t", accuracy_on="glyphs")
    found = values_at(rows, seen, 0.7, SEED).set_index(["seed", "inputs"])["value"]
    assert found[0].to_dict() == pytest.approx({"glyphs": 7.5, "digits": 4.0})
    assert found[1].isna().all(), "never there on digits"
    of_layers = [(1, step, layer, layer * step) for step in (0, 1) for layer in (1, 2)]
    rows = rows_of("seed step layer value", of_layers, trial_id="t", accuracy_on="glyphs")
    found = values_at(rows, seen, 0.7, SEED).set_index("layer")["value"]
    assert found.to_dict() == pytest.approx({1: 0.75, 2: 1.5})


def test_a_claim_compares_networks_at_an_accuracy(tmp_path: Path) -> None:
    """Those pairs of which both get there; with `start`, with the first moment."""
    text = {
        "claim": 9,
        "statement": "s",
        "metric": "loss",
        "phase": "supervised",
        "expect": "lower",
        "at_accuracy": 0.5,
    }
    text = study_of(NOISE, SUPERVISED, seeds=5, claims=[text, text | {"compare": "start"}])

    def rows(trial: Trial) -> Any:
        noisy = trial.varied["noise.steps"] > 0
        for seed in range(5):
            # accuracy is 0.5 after four fifths of the steps with noise, and after half of them without; seed 4 without
            # noise never gets there
            end = 0.625 if noisy else 0.4 if seed == 4 else 1.0
            for step in (0, 5):
                at = {"phase": "supervised", "step": step, "seed": seed, "inputs": "glyphs"}
                yield at | {"metric": "accuracy", "value": end * step / 5}
                yield at | {"metric": "loss", "value": 4.0 - step / 5 * (2 + 0.4 * seed)}
                yield at | {"metric": "loss", "value": 99.0, "inputs": "batch"}

    checked = results_of(tmp_path, text, rows)
    judged = claims.judge_all(conditions.read(tmp_path), checked.claims)
    assert judged["compared"].tolist() == [
        "loss at accuracy 0.5: 64 noise steps against no noise",
        "loss at accuracy 0.5: 64 noise steps against its start",
    ]
    assert judged["seeds"].tolist() == [4, 5]
    drops = [2 + 0.4 * seed for seed in range(5)]
    assert judged["difference"].tolist() == pytest.approx([-0.3 * sum(drops[:4]) / 4, -0.8 * sum(drops) / 5])
    assert judged["verdict"].tolist() == ["holds", "holds"]
