"""Claims, as a study's results decide them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_results
from claim_rows import rows_of
from synthetic_results import EVALUATE, NOISE, SUPERVISED, meta_losses, results_of, study_of

from metafa.reporting import claims, conditions, grids, report, statistics
from metafa.reporting.claims import judge
from metafa.reporting.conditions import RULE, Tables
from metafa.results import addresses, preparation
from metafa.studies import study
from metafa.studies.claims import FEWEST_SEEDS, ClaimSettings
from metafa.studies.trial import Trial

Measure = Callable[[Trial], list[dict[str, Any]]]


def test_a_claim_has_a_row_for_each_number_of_noise_steps() -> None:
    """And where it names no layer, it is about their mean."""
    found = [
        (f"with {noise}", seed, noise, layer, 10.0 * layer - noise / 100 + 0.1 * seed + (seed % 2) * (noise > 0) * 0.01)
        for noise in (0, 500, 1000)
        for seed in range(8)
        for layer in (2, 3)
    ]
    rows = rows_of("trial_id seed noise_steps layer value", found, step=0, phase="noise")
    claim = ClaimSettings(claim=3, statement="s", metric="alignment_angle", phase="noise", expect="lower")
    judged = judge(rows, claim, Tables(addresses.at("nowhere"), rows, rows, [RULE, conditions.NOISE], []))
    assert judged["compared"].tolist() == [
        f"alignment_angle: {noise} noise steps against no noise" for noise in (500, 1000)
    ]
    assert judged["difference"].tolist() == pytest.approx([-4.995, -9.995])
    assert judged["against"].tolist() == pytest.approx([25.35, 25.35])
    assert judged["verdict"].tolist() == ["holds", "holds"]


def test_a_claim_about_a_layer_on_given_inputs_is_about_both(tmp_path: Path) -> None:
    """It is about its dataset's images where it names none, and about all layers where it names none."""

    def ranks(trial: Trial) -> Any:
        noisy = trial.varied["noise.steps"] > 0
        for seed in range(6):
            for layer, inputs in ((1, "noise"), (2, "noise"), (1, "glyphs"), (2, "glyphs")):
                value = 50.0 - noisy * layer * (100 if inputs == "noise" else 1) + 0.1 * seed + 0.001 * seed * noisy
                row = {"phase": "supervised", "metric": "feature_rank", "step": 5, "seed": seed}
                yield row | {"layer": layer, "inputs": inputs, "value": value}

    asked = [({"layer": 1}, -1.0), ({"layer": 2}, -2.0), ({}, -1.5), ({"layer": 2, "inputs": "noise"}, -200.0)]
    shared = {"claim": 6, "statement": "s", "metric": "feature_rank", "phase": "supervised", "expect": "lower"}
    text = study_of(NOISE, SUPERVISED, network={"hidden": [9, 9]}, claims=[shared | about for about, _ in asked])
    checked = results_of(tmp_path / "made", text, ranks)
    judged = claims.judge_all(conditions.read(tmp_path / "made"), checked.claims)
    assert judged["difference"].tolist() == pytest.approx([wanted + 0.0025 for _, wanted in asked])


def test_a_claim_about_the_meta_loss_is_about_all_its_tasks(tmp_path: Path) -> None:
    """Whatever dataset of the same name a phase before trains on."""
    evaluate = EVALUATE | {"task_distributions": ["glyphs", "mnist"]}
    text = study_of(NOISE, SUPERVISED | {"dataset": "mnist"}, evaluate, seeds=6)

    def rows(trial: Trial) -> list[dict[str, Any]]:
        noisy = trial.varied["noise.steps"] > 0
        values = {"glyphs": 2.0 + 50 * noisy, "mnist": 2.0 - 0.5 * noisy}
        return [
            row | {"inputs": task}
            for task, value in values.items()
            for row in meta_losses(lambda _, value=value: value)(trial)
        ]

    results_of(tmp_path, text, rows)
    claim = ClaimSettings(claim=8, statement="s", metric="meta_loss", phase="evaluate", expect="lower")
    (judged,) = claims.judge_all(conditions.read(tmp_path), [claim]).to_dict("records")
    assert judged["difference"] == pytest.approx((50 - 0.5) / 2)


def test_a_claim_of_which_no_seed_is_left_is_said_so(tmp_path: Path) -> None:
    claim = {"claim": 8, "statement": "s", "metric": "meta_loss", "phase": "evaluate", "expect": "lower"}
    checked = study.parse(study_of(NOISE, EVALUATE, seeds=3, claims=[claim]), default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        lost = [dict(seed=seed, learning_rate=None, phase="noise", step=1, metric=None) for seed in range(3)]
        outcome = dict(status="diverged", divergences=lost) if trial.varied["noise.steps"] else {}
        synthetic_results.put(tmp_path, checked, trial, meta_losses(lambda _: 1.0, 3)(trial), **outcome)
    html = report.render(addresses.at(tmp_path)).partition("<script")[0]
    assert "Of 1 comparison 1 is undecided: too few seeds are left to compare." in html
    assert not re.search(r"\+?nan\b", html, re.IGNORECASE)


def accuracies(value: Callable[[Trial], float], phase: str = "supervised", rates: list | None = None) -> Measure:
    """The accuracy of six seeds on test images is ``value``, a hundredth of the seed's number, and a tenth of that in
    trials that are better, so that differences vary."""

    def rows(trial: Trial) -> list[dict[str, Any]]:
        row = {"phase": phase, "metric": "accuracy", "inputs": "glyphs"}
        return [
            row
            | {
                "seed": seed,
                "step": step,
                "learning_rate": rate,
                "value": value(trial) * (1 + seed / 1000) + seed / 100,
            }
            for seed, step, rate in itertools.product(range(6), (0, 5), rates or [None])
        ]

    return rows


CLAIM = {"claim": 2, "statement": "s", "metric": "accuracy", "phase": "supervised", "expect": "higher"}


def test_a_claim_compares_conditions_that_differ_in_what_it_says(tmp_path: Path) -> None:
    """Each with the one that has all else in common, network by network; the claim of one kind of inputs alone."""
    controls, inputs = {"choices": ["none", "random_step", "soft_alignment"]}, {"choices": ["normal", "pink"]}
    noise = {"phase": "noise", "steps": 9, "control": controls, "inputs": inputs}
    worth = {"none": 0.5, "random_step": 0.2, "soft_alignment": 0.4, "normal": 0.0, "pink": 0.1}
    claim = CLAIM | {"against": {"noise.control": "random_step"}}
    text = study_of(noise, SUPERVISED, seeds=6, claims=[claim, claim | {"where": {"noise.inputs": "pink"}}])

    def value(trial: Trial) -> float:
        return worth[trial.varied["noise.control"]] + worth[trial.varied["noise.inputs"]]

    checked = results_of(tmp_path, text, accuracies(value))
    judged = claims.judge_all(conditions.read(tmp_path), checked.claims)
    assert judged["compared"].tolist() == [
        f"accuracy: noise.control {control} against random_step" for control in ("none", "soft_alignment") * 3
    ]
    assert judged["conditions"].tolist() == [f"noise.inputs {one}" for one in ("normal", "normal", *["pink"] * 4)]
    told = [0.3, 0.2] * 3
    assert judged["difference"].tolist() == pytest.approx([one * 1.0025 for one in told])
    assert judged["against"].tolist() == pytest.approx([0.2 * 1.0025 + 0.025] * 2 + [0.3 * 1.0025 + 0.025] * 4)
    assert set(judged["verdict"]) == {"holds"}
    assert "accuracy: noise.control none against random_step" in claims.in_a_sentence(judged)
    assert "against random_step" in report.render(addresses.at(tmp_path))


def test_a_claim_compares_orders(tmp_path: Path) -> None:
    """By seed and learning rate, where several are side by side."""
    noise, data = {"phase": "noise", "steps": 9}, SUPERVISED | {"learning_rate": [1e-3, 1e-2]}
    worth = {("noise", "supervised"): 0.5, ("supervised", "noise"): 0.2, ("supervised",): 0.1}
    claim = CLAIM | {"against": {"phases": ["supervised", "noise"]}}
    text = study_of([noise, data], [data, noise], [data], seeds=6, claims=[claim])

    def value(trial: Trial) -> float:
        return worth[tuple(phase.name for phase in trial.settings.phases)]

    checked = results_of(tmp_path, text, accuracies(value, rates=[1e-3, 1e-2]))
    judged = claims.judge_all(conditions.read(tmp_path), checked.claims)
    first, alone = "noise, supervised", "supervised"
    assert sorted(zip(judged["compared"], judged["difference"].round(3), judged["verdict"], strict=True)) == [
        *[(f"accuracy: phases {first} against supervised, noise", 0.301, "holds")] * 2,
        *[(f"accuracy: phases {alone} against supervised, noise", -0.1, "fails")] * 2,
    ]
    assert set(judged["conditions"]) == {"learning rate 0.001", "learning rate 0.01"}


def test_what_lends_noise_its_images_is_not_what_a_claim_is_about(tmp_path: Path) -> None:
    """But the dataset that was trained on before."""
    noise = {"phase": "noise", "steps": 9, "inputs": "shuffled_images", "dataset": "fashion-mnist"}
    claim = CLAIM | {"phase": "noise", "compare": "start"}
    text = study_of(SUPERVISED, noise, seeds=6, claims=[claim])
    checked = results_of(tmp_path, text, accuracies(lambda trial: 0.5, "noise"))
    (judged,) = claims.judge_all(conditions.read(tmp_path), checked.claims).to_dict("records")
    assert judged["seeds"] == 6
    assert judged["difference"] == 0


def test_a_condition_is_told_apart_by_what_can_matter_to_the_claim(tmp_path: Path) -> None:
    """In noise, by no phase after it but for what that says of the images that are measured, or that the network has to
    fit; whatever replicas, whose data has rates of its own, differ by."""
    adaptation = {"phase": "whole_datasets", "datasets": ["glyphs"], "steps": {"choices": [5, 6]}}
    datasets = {"choices": ["mnist", "fashion-mnist", "emnist-letters"]}
    data = SUPERVISED | {"learning_rate": [1e-3, 1e-2], "batch_size": {"choices": [8, 9]}, "dataset": datasets}
    metrics = ["whole_dataset_meta_loss", "alignment_angle", "readout_wilcoxon"]
    about = {"phase": "noise", "compare": "start", "expect": "lower"}
    written = [about | {"claim": number, "statement": name, "metric": name} for number, name in enumerate(metrics, 1)]
    written[2]["inputs"] = "mnist"
    measure = {"readout_distribution": True}
    text = study_of(NOISE, adaptation, data, seeds=2, measure=measure, claims=written)

    def rows(trial: Trial) -> Any:
        steps, trained_on = trial.varied["noise.steps"], trial.varied["supervised.dataset"]
        of_metrics = {"alignment_angle": {"layer": 2}, "readout_wilcoxon": {"inputs": trained_on}}
        for seed, rate, step, metric in itertools.product(range(2), (1e-3, 1e-2), sorted({0, steps}), metrics):
            value = 5.0 - step / 64 * (1 + 0.1 * seed + 1e-9 * rate * trial.varied["supervised.batch_size"])
            row = {"phase": "noise", "metric": metric, "step": step, "seed": seed, "learning_rate": rate}
            yield row | {"value": value} | of_metrics.get(metric, {})

    checked = results_of(tmp_path, text, rows)
    judged = claims.judge_all(conditions.read(tmp_path), checked.claims)
    assert judged["difference"].nunique() > 2
    assert judged["claim"].value_counts().to_dict() == {"1": 24, "2": 24, "3": 8}
    losses, angles, readouts = grids.of_claims(judged)
    assert losses.verdict == "holds in all 4 conditions"
    assert grids.varied(losses.rows["settings"].tolist()) == ["whole_datasets.steps", "images"]
    assert angles.verdict == "holds in both conditions", "of 10 classes and of 26"
    assert readouts.verdict == "holds in the one condition"


def test_the_least_number_of_networks_is_that_of_an_interval() -> None:
    values = np.array([0.1, 0.2, 0.3])
    assert np.isfinite(statistics.interval(values[:FEWEST_SEEDS])).all()
    assert np.isnan(statistics.interval(values[: FEWEST_SEEDS - 1])).all()
