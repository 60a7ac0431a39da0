"""What a trial measures, at which steps, of which inputs."""

import itertools
import math
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from oracles import Perceptron
from scipy import linalg, stats
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity
from torchmetrics.functional.classification import multiclass_calibration_error
from trial_runs import ON_DATA, ON_TASKS, run, settings_of, values

from metafa.learning import shifts, supervised
from metafa.learning.rules import RULES
from metafa.results import columns, parts
from metafa.studies.data import BATCH, Inputs
from metafa.studies.metrics import METRICS, is_of
from metafa.studies.needs import inputs_of, metrics_of
from metafa.trials import trial
from metafa.trials.phases import RUN_PHASE
from metafa.trials.trial_run import NO_WATCH, TrialRun


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
        for metric in ("effective_rank", "squared_effective_rank", "participation_ratio"):
            assert found[phase, metric] == {(s, layer, None) for s in steps for layer in (1, 2)}
        for metric in ("readout_probability", "readout_deviation"):
            assert found[phase, metric] == {(s, None, task) for s in steps for task in ("noise", "glyphs")}
        assert found[phase, "feature_rank"] == {(s, 1, "noise") for s in steps}
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
EVERY = {
    name: True for name in ("singular_values", "units", "readout_distribution", "last_layer_weights", "weight_path")
}
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
        *(of_kinds(*KINDS, **one) for one in (*({name: True} for name in EVERY), EVERY)),
        of_kinds(*KINDS, rule="direct_feedback_alignment", **EVERY),
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
    calibration = ("expected_calibration_error", "expected_calibration_error_10_bins")
    for metric in ("generalization_error", "generalization_gap", *calibration):
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
    """Their participation ratio is the one measured at the same step, and so is their effective rank."""
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
        (ratio,) = values(rows, metric="participation_ratio", **where).values()
        assert sum(squares) ** 2 / sum(square**2 for square in squares) == pytest.approx(ratio, rel=1e-6)
        shares = [value / sum(found.values()) for value in found.values()]
        (rank,) = values(rows, metric="effective_rank", **where).values()
        assert math.exp(-sum(share * math.log(share) for share in shares)) == pytest.approx(rank, rel=1e-6)


def test_what_is_measured_of_a_trained_network_is_what_others_measure_of_it() -> None:
    """By an ordinary module, torchmetrics, scikit-learn and scipy, at the end of training on data."""
    base = {**ON_DATA, "phases": [*ON_DATA["phases"], {"phase": "out_of_distribution", "rotation": [30]}]}
    settings = settings_of(base, network={"hidden": [20, 15]}, measure={"readout_distribution": True})
    run_of = TrialRun(settings, trial.prepared(trial.load_sources(settings)), "cpu", NO_WATCH)
    for number, phase in enumerate(settings.phases):
        assert run_of.begins(number)
        RUN_PHASE[phase.phase](run_of, phase)
    rows, (training, test) = run_of.recorder.outcome.rows, run_of.datasets["digits"]
    chosen = supervised.choose(training, 200, run_of.streams)
    turned = shifts.shifted("rotation", test.images.unflatten(1, (1, 8, 8)), 30.0, torch.Generator()).flatten(1)
    for seed in range(2):
        module = Perceptron(run_of.network, seed, align=False)
        with torch.no_grad():
            logits, other, fitted = (module(one) for one in (test.images, turned, training.images[chosen[seed]]))
            first = torch.relu(test.images @ module.weights[0].T + module.biases[0])
            second = torch.relu(first @ module.weights[1].T + module.biases[1])
        p, p_other = (torch.softmax(one.double(), -1) for one in (logits, other))
        right = (fitted.argmax(-1) == training.labels[chosen[seed]]).float().mean()
        gap = right - (logits.argmax(-1) == test.labels).float().mean()
        inside = [1] * len(p) + [0] * len(p_other)
        wanted = {
            "generalization_gap": gap,
            "expected_calibration_error_10_bins": multiclass_calibration_error(p, test.labels, 10, n_bins=10),
            "readout_wilcoxon": math.log10(stats.wilcoxon(p.flatten().numpy() - 0.1).pvalue),
            "auroc": roc_auc_score(inside, torch.cat([p, p_other]).amax(-1).numpy()),
        }
        for metric, value in wanted.items():
            phase = "out_of_distribution" if metric == "auroc" else "supervised"
            found = [r for r in rows if r["metric"] == metric and r["phase"] == phase and r["inputs"] == "digits"]
            (last,) = [r["value"] for r in found if r["seed"] == seed and r["step"] == max(r["step"] for r in found)]
            assert last == pytest.approx(float(value), rel=1e-3 if metric == "readout_wilcoxon" else 1e-5), metric
        for layer, features in ((1, first), (2, second)):
            alive = features[:1000, features.any(0)].double().numpy()
            rank = math.exp(stats.entropy(linalg.svdvals(cosine_similarity(alive.T))))
            where = dict(metric="feature_rank", phase="supervised", step=6, inputs="digits", layer=layer, seed=seed)
            assert [*values(rows, **where).values()] == [pytest.approx(rank, rel=1e-5)]


def test_units_and_the_last_layers_weights_stand_at_every_moment() -> None:
    """Of them the angle and the distance follow that stand beside them."""
    rows = run(settings_of(ON_DATA, measure={"units": True, "last_layer_weights": True})).rows
    moments = {("noise", step) for step in (0, 1, 5, 30)} | {("supervised", step) for step in (0, 1, 2, 6)}
    for (phase, step), seed in itertools.product(moments, range(2)):
        where = dict(phase=phase, step=step, seed=seed, layer=2)
        found = {}
        for metric in ("last_layer_weight", "last_layer_feedback", "alignment_angle_of_unit"):
            these = [row for row in rows if row["metric"] == metric and row.items() >= where.items()]
            assert [row["component"] for row in these] == list(range(1, 20 * (1 if "unit" in metric else 10) + 1))
            found[metric] = np.array([row["value"] for row in these])
        weights, feedback = (found[f"last_layer_{what}"].reshape(10, 20) for what in ("weight", "feedback"))
        cosines = (weights * feedback).sum(0) / np.linalg.norm(weights, axis=0) / np.linalg.norm(feedback, axis=0)
        assert found["alignment_angle_of_unit"] == pytest.approx(np.degrees(np.arccos(cosines)), abs=1e-6)
        (angle,) = values(rows, metric="unit_alignment_angle", **where).values()
        assert angle == pytest.approx(found["alignment_angle_of_unit"].mean())
        (distance,) = values(rows, metric="feedback_distance", **where).values()
        assert distance == pytest.approx(np.linalg.norm(weights - feedback))


def test_new_measurements_leave_the_others_as_they_were() -> None:
    plain, more = (run(settings_of(ON_DATA, measure=measure)).rows for measure in ({}, EVERY))
    assert values(plain).items() <= values(more).items()
