"""What a trial measures, at which steps, of which inputs."""

import math
from collections import defaultdict
from typing import Any

import pandas as pd
import pytest
from trial_runs import ON_DATA, ON_TASKS, run, settings_of, values

from metafa.learning.rules import RULES
from metafa.results import columns, parts
from metafa.studies.data import BATCH, Inputs
from metafa.studies.metrics import METRICS, is_of
from metafa.studies.needs import inputs_of, metrics_of
from metafa.trials import trial


def test_every_metric_is_measured_where_it_says(sources) -> None:
    rows = trial.run(settings_of(ON_TASKS), sources).rows
    found = defaultdict(set)
    for row in rows:
        found[row["phase"], row["metric"]].add((row["step"], row["layer"], row["inputs"]))
    noise_steps, meta_steps = [0, 1, 5, 30], [0, 1, 2, 4]
    for phase, steps in (("noise", noise_steps), ("meta", meta_steps)):
        assert found[phase, "loss"] == {(s, None, "batch") for s in steps[1:]}
        assert found[phase, "accuracy"] == {(s, None, "batch") for s in steps[1:]}
        assert found[phase, "alignment_angle"] == {(s, 2, None) for s in steps}
        for metric in ("effective_dimensionality", "effective_rank"):
            assert found[phase, metric] == {(s, layer, None) for s in steps for layer in (1, 2)}
        for metric in ("readout_probability", "readout_deviation"):
            assert found[phase, metric] == {(s, None, task) for s in steps for task in ("noise", "glyphs")}
        for metric in ("meta_loss", "meta_accuracy"):
            assert found[phase, metric] == {(s, None, "glyphs") for s in steps}
    for phase in ("before_meta", "evaluate"):
        for metric in ("meta_loss", "meta_accuracy", "generalization_error"):
            assert found[phase, metric] == {(s, None, "glyphs") for s in range(6)}
    assert len(values(rows)) == len(rows), "no measurement stands twice"
    assert {row["seed"] for row in rows} == {0, 1}
    assert all(math.isfinite(row["value"]) for row in rows)


def of_kinds(
    *kinds: str, rule: str = "feedback_alignment", steps: int = 2, meta: dict | None = None, **measure: bool
) -> dict[str, Any]:
    """A trial of one phase of each of these kinds."""
    settings: dict[str, dict] = {
        "noise": {"steps": steps},
        "supervised": {"dataset": "glyphs", "steps": steps},
        "meta": {"task_distribution": "glyphs", "outer_steps": steps, "tasks_per_batch": 1, **(meta or {})},
        "out_of_distribution": {"rotation": [10]},
        "evaluate": {"task_distributions": ["glyphs"], "tasks": 1},
    }
    return {
        "seeds": 1,
        "network": {"hidden": [4], "rule": rule},
        "measure": {"points": 3, "tasks": 1, **measure},
        "phases": [{"phase": kind, "name": f"phase_{i}", **settings[kind]} for i, kind in enumerate(kinds)],
    }


KINDS = ("noise", "supervised", "meta", "out_of_distribution", "evaluate")
EVERY = {"singular_values": True, "weight_path": True}
LEARNED = {"learn_inner_rates": True}


@pytest.fixture(scope="module")
def every_source() -> trial.Sources:
    return trial.prepared(trial.load_sources(settings_of(of_kinds(*KINDS))))


@pytest.mark.parametrize(
    "base",
    [
        *(of_kinds(*KINDS, rule=rule) for rule in RULES),
        *(of_kinds(kind, *others) for kind in ("noise", "supervised", "meta") for others in ((), ("evaluate",))
          if kind != "noise" or others),
        *(of_kinds(*KINDS, steps=0, **one) for one in ({}, EVERY)),
        *(of_kinds(*KINDS, **one) for one in ({"singular_values": True}, {"weight_path": True}, EVERY)),
        of_kinds("noise", "meta", "supervised", "evaluate", "noise", meta=LEARNED, **EVERY),
        of_kinds("meta", "noise", "evaluate", steps=0, meta=LEARNED),
        of_kinds("meta", "evaluate", meta={"outer_algorithm": "none"}),
        of_kinds("evaluate", **EVERY),
    ],
)  # fmt: skip
def test_what_each_phase_measures_is_known_before_it_runs(base: dict, every_source) -> None:
    """For every kind of phase, every rule, and every setting that what is measured depends on, both ways."""
    settings = settings_of(base)
    rows = trial.run(settings, every_source).rows
    found = {phase.name: set() for phase in settings.phases}
    steps = defaultdict(set)
    for row in rows:
        found[row["phase"]].add(row["metric"])
        steps[row["phase"], row["metric"]].add(row["step"])
    assert found == metrics_of(settings)
    inputs = defaultdict(set)
    for row in rows:
        inputs[row["phase"], row["metric"]].add(Inputs(row["inputs"], row["shift"], row["strength"]))
    for (phase, metric), found_on in inputs.items():
        without = {BATCH} - found_on if is_of(metric, "batch") else set()  # after no step
        assert found_on == inputs_of(settings, phase, metric) - without
    keys = [tuple(value for name, value in row.items() if name != "value") for row in rows]
    assert len(set(keys)) == len(keys), "no two numbers stand under one name"
    table = columns.measured("0" * 16, rows)
    read = parts.decode(parts.encode(table), "measurements").to_pandas()
    pd.testing.assert_frame_equal(read, table.to_pandas(), check_exact=True)  # what a trial measures can be read
    # what may stop a trial early is measured at every moment after the start
    for (phase, metric), here in steps.items():
        if METRICS[metric].throughout and (phase, "alignment_angle") in steps:
            assert here - {0} == steps[phase, "alignment_angle"] - {0}


def test_a_supervised_phase_measures_training_and_test_images() -> None:
    rows = run(settings_of(ON_DATA)).rows
    steps = {0, 1, 2, 6}  # two epochs of three whole batches
    found = defaultdict(set)
    for row in rows:
        found[row["phase"], row["metric"]].add((row["step"], row["layer"], row["inputs"]))
    for metric in ("loss", "accuracy"):
        of_batches = {(step, None, "batch") for step in steps - {0}}
        assert found["supervised", metric] == of_batches | {(step, None, "digits") for step in steps}
    for metric in ("generalization_error", "expected_calibration_error"):
        assert found["supervised", metric] == {(step, None, "digits") for step in steps}
    assert found["supervised", "alignment_angle"] == {(step, 2, None) for step in steps}
    assert found["noise", "readout_probability"] == {
        (s, None, task) for s in (0, 1, 5, 30) for task in ("noise", "digits")
    }
    assert len(values(rows)) == len(rows), "no measurement stands twice"
    first = values(rows, phase="supervised", metric="accuracy", inputs="digits", step=0)
    assert all(0 <= value <= 0.4 for value in first.values()), "chance is 0.1"


def test_the_path_of_the_weights_leads_through_all_phases() -> None:
    rows = run(settings_of(ON_DATA, measure={"weight_path": True})).rows
    moments = {("noise", step) for step in (0, 1, 5, 30)} | {("supervised", step) for step in (0, 1, 2, 6)}
    for component in (1, 2):
        of_a_seed = [
            row for row in rows if (row["metric"], row["component"], row["seed"]) == ("weight_path", component, 0)
        ]
        places = {(row["phase"], row["step"]): row["value"] for row in of_a_seed}
        assert places.keys() == moments
        assert places["noise", 30] == pytest.approx(places["supervised", 0], abs=1e-9), "data begins where noise ended"
        assert places["supervised", 6] >= 0
    variance = [row["value"] for row in rows if row["metric"] == "weight_path_variance" and row["seed"] == 0]
    assert len(variance) == 2
    assert 0.5 < sum(variance) <= 1


def test_singular_values_are_kept_at_each_end_of_a_phase() -> None:
    """Their participation ratio is the effective dimensionality measured at the same step."""
    rows = run(settings_of(ON_DATA, measure={"singular_values": True})).rows
    spectra = defaultdict(dict)
    for row in (row for row in rows if row["metric"] == "singular_value"):
        spectra[row["phase"], row["step"], row["layer"], row["seed"]][row["component"]] = row["value"]
    ends = (("noise", 0), ("noise", 30), ("supervised", 0), ("supervised", 6))
    assert spectra.keys() == {(*end, layer, seed) for end in ends for layer in (1, 2) for seed in (0, 1)}
    for (phase, step, layer, seed), found in spectra.items():
        assert list(found) == list(range(1, (20 if layer == 1 else 10) + 1))
        assert list(found.values()) == sorted(found.values(), reverse=True)
        squares = [value**2 for value in found.values()]
        where = dict(phase=phase, step=step, layer=layer, seed=seed)
        (ratio,) = values(rows, metric="effective_dimensionality", **where).values()
        assert sum(squares) ** 2 / sum(square**2 for square in squares) == pytest.approx(ratio, rel=1e-6)
