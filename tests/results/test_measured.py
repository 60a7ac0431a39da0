"""What a trial comes to: the same number from rows and from the table, and the one that a search was told."""

import itertools
import random
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from study_texts import study_with

from metafa.results import measured
from metafa.studies import study
from metafa.studies.data import Inputs

PHASES, METRICS, INPUTS, STEPS, SEEDS = ("noise", "evaluate"), ("loss", "accuracy"), ("batch", "a", "b"), (0, 1, 5), 7


def random_rows(chance: random.Random) -> list[dict]:
    """Rows of one trial, some left out, in no order, with values of very different sizes."""
    rows = []
    for phase, metric, inputs, step, seed in itertools.product(PHASES, METRICS, INPUTS, STEPS, range(SEEDS)):
        if chance.random() < 0.7:
            value = chance.gauss(0, 1) * 10 ** chance.uniform(-9, 9)
            rows.append(dict(phase=phase, metric=metric, inputs=inputs, step=step, seed=seed, value=value))
    chance.shuffle(rows)
    return rows


def expected(rows: list[dict], phase: str, metric: str) -> float:
    """By exact fractions, rounded once for the sum and once for the quotient."""
    rows = [row for row in rows if (row["phase"], row["metric"]) == (phase, metric)]
    named = [row for row in rows if row["inputs"] != "batch"]
    rows = sorted(named or rows, key=lambda row: row["step"])
    values = [Fraction(row["value"]) for row in rows if row["step"] == rows[-1]["step"]]
    return float(sum(values)) / len(values)


@pytest.mark.parametrize("seed", range(20))
def test_rows_and_the_table_give_the_exact_mean_of_what_was_measured_last(seed: int) -> None:
    chance = random.Random(seed)
    trials = {f"trial {number}": random_rows(chance) for number in range(3)}
    table = pd.DataFrame([{"trial_id": trial_id, **row} for trial_id, rows in trials.items() for row in rows])
    for phase, metric in itertools.product(PHASES, METRICS):
        found = measured.by_trial(table[(table["phase"] == phase) & (table["metric"] == metric)])
        for trial_id, rows in trials.items():
            value = measured.measurement(rows, f"{phase}.{metric}")
            assert value == found[trial_id] == expected(rows, phase, metric)


def test_the_batch_trained_on_counts_where_nothing_else_was_measured() -> None:
    batch = [
        dict(phase="meta", metric="loss", inputs="batch", step=step, value=value)
        for step, value in ((1, 8.0), (9, 4.0))
    ]
    named = [dict(phase="meta", metric="loss", inputs="glyphs", step=3, value=value) for value in (1.0, 2.0)]
    assert measured.measurement(batch, "meta.loss") == 4.0
    assert measured.measurement(batch + named, "meta.loss") == 1.5
    assert measured.measurement(batch, "meta.accuracy") is None


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_one_replica_that_is_not_finite_leaves_no_number(broken: float) -> None:
    rows = [dict(phase="a", metric="loss", inputs="x", step=1, value=value) for value in (1.0, broken)]
    assert np.isnan(measured.measurement(rows, "a.loss"))
    assert np.isnan(measured.by_trial(pd.DataFrame(rows).assign(trial_id="t"))["t"])


def test_what_a_trial_comes_to_is_of_its_dataset_as_it_is() -> None:
    """Not of whichever shift was measured last, nor of another dataset."""
    data = {"phase": "supervised", "dataset": "mnist10k", "steps": 3}
    base = {
        "seeds": 2,
        "phases": [data, {"phase": "out_of_distribution", "rotation": [10.0], "datasets": ["usps"]}],
    }
    (settings,) = study.parse(study_with(base)).examples

    def rows(*places: tuple[str, int, Inputs, float]) -> list[dict]:
        return [
            dict(phase=phase, step=step, metric="accuracy", value=value + 0.1 * seed, **inputs._asdict())
            for phase, step, inputs, value in places
            for seed in (0, 1)
        ]

    data_set, batch = Inputs("mnist10k"), Inputs("batch")
    learned = rows(("supervised", 3, batch, 1.0), ("supervised", 0, data_set, 0.1), ("supervised", 3, data_set, 0.8))
    others = rows(
        ("out_of_distribution", 0, data_set, 0.8),
        ("out_of_distribution", 0, Inputs("mnist10k", "rotation", 10.0), 0.4),
        ("out_of_distribution", 0, Inputs("usps"), 0.2),
    )
    for rows_of_trial in (learned, learned + others):
        assert measured.final_measurement(settings, rows_of_trial) == ("accuracy", pytest.approx(0.85))
    # of another dataset than was trained on, in a study that tests on one as it is
    changes = {"supervised": {"dataset": "fashion-mnist"}, "out_of_distribution": {"dataset": "mnist10k"}}
    (foreign,) = study.parse(study_with(base, **changes)).examples
    renamed = [row | ({"inputs": "fashion-mnist"} if row["inputs"] != "batch" else {}) for row in learned] + others
    assert measured.final_measurement(foreign, renamed) == ("accuracy", pytest.approx(0.85))


def test_what_a_trial_comes_to_is_of_all_its_task_distributions() -> None:
    evaluate = '[[phases]]\nphase = "evaluate"\ntask_distributions = ["glyphs", "omniglot-minimal"]\n'
    (settings,) = study.parse(f"seeds = 2\n{evaluate}").examples
    rows = [
        dict(phase="evaluate", step=step, metric="meta_loss", inputs=task, value=value + seed)
        for step, task, value in ((0, "glyphs", 9.0), (5, "glyphs", 1.0), (5, "omniglot-minimal", 3.0))
        for seed in (0, 1)
    ]
    assert measured.final_measurement(settings, rows) == ("meta_loss", pytest.approx(2.5))


def test_what_a_trial_comes_to_that_ends_with_whole_datasets_is_their_meta_loss() -> None:
    """It is of all of them together, and so has no inputs of its own."""
    whole = {"phase": "whole_datasets", "datasets": ["mnist10k", "fashion-mnist"], "steps": 5}
    (settings,) = study.parse(study_with({"seeds": 2, "phases": [whole]})).examples
    rows = [
        dict(phase="whole_datasets", metric=metric, step=0, inputs=inputs, value=value + seed)
        for metric, inputs, value in (
            ("whole_dataset_meta_loss", None, 3.0),
            ("whole_dataset_accuracy", "mnist10k", 0.5),
            ("whole_dataset_accuracy", "fashion-mnist", 0.5),
        )
        for seed in (0, 1)
    ]
    assert measured.final_measurement(settings, rows) == ("whole_dataset_meta_loss", pytest.approx(3.5))
