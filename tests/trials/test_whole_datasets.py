"""The whole-dataset meta-loss, against what supervised phases measure by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trial_runs import run, settings_of

from metafa.studies.data import NO_INPUTS
from metafa.studies.needs import inputs_of, metrics_of
from metafa.trials import trial, whole_datasets

DATASETS = ["mnist10k", "fashion-mnist"]
TRAINING: dict[str, Any] = {"training_images": 200, "steps": 30, "batch_size": 32, "learning_rate": 1e-3}
ADAPTATION = {"phase": "whole_datasets", "datasets": DATASETS, **TRAINING}
NOISE = {"phase": "noise", "steps": 70, "learning_rate": 1e-3}
BASE: dict[str, Any] = {
    "seeds": 2,
    "network": {"hidden": [20], "rule": "kolen_pollack"},
    "phases": [NOISE, ADAPTATION],
    "measure": {"points": 5},
}


def trained_on(dataset: str, noise_steps: int) -> dict[int, list[float]]:
    """The loss on a dataset's test images, by steps of a supervised phase after so many of noise, of each seed."""
    supervised = {"phase": "supervised", "dataset": dataset, **TRAINING}
    rows = run(settings_of(BASE, phases=[{**NOISE, "steps": noise_steps}, supervised])).rows
    found: dict[int, list[float]] = {}
    for row in rows:
        if (row["phase"], row["metric"], row["inputs"]) == ("supervised", "loss", dataset):
            found.setdefault(row["step"], []).append(row["value"])
    return found


def test_it_is_what_supervised_phases_measure_by_hand(data: Path) -> None:
    """At moments of noise pretraining and after it, to the bit; the mean is the area under the course in float64."""
    rows = run(settings_of(BASE)).rows
    sums: dict[tuple[str, str, int], list[float]] = {}
    courses: dict[tuple[str, str, int, int | None], list[float]] = {}
    for row in rows:
        if row["metric"].startswith("whole_dataset_meta_loss"):
            sums.setdefault((row["metric"], row["phase"], row["step"]), []).append(row["value"])
        elif row["metric"] == "whole_dataset_loss":
            courses.setdefault(("noise", row["inputs"], row["step"], row["component"]), []).append(row["value"])
        elif (row["phase"], row["metric"]) == ("whole_datasets", "loss"):
            courses.setdefault(("whole_datasets", row["inputs"], 70, row["step"]), []).append(row["value"])
    steps = sorted({step for _, phase, step in sums if phase == "noise"})
    assert steps == [0, 1, 4, 17, 70]
    for moment in (0, 17, 70):
        by_hand = {dataset: trained_on(dataset, moment) for dataset in DATASETS}
        for dataset, course in by_hand.items():
            phases = ("noise", "whole_datasets") if moment == 70 else ("noise",)
            for phase in phases:
                found = {
                    at: loss
                    for (of, on, step, at), loss in courses.items()
                    if (of, on, step) == (phase, dataset, moment)
                }
                assert found == course
        at = sorted(by_hand["mnist10k"])
        mean = sum(np.trapezoid([by_hand[name][step] for step in at], at, axis=0) / at[-1] for name in DATASETS)
        end = sum(np.array(by_hand[name][at[-1]]) for name in DATASETS)
        assert sums["whole_dataset_meta_loss", "noise", moment] == pytest.approx(mean, rel=1e-12)
        assert sums["whole_dataset_meta_loss_at_end", "noise", moment] == pytest.approx(end, rel=1e-12)
    for metric in ("whole_dataset_meta_loss", "whole_dataset_meta_loss_at_end"):
        assert sums[metric, "whole_datasets", 30] == sums[metric, "noise", 70]


def test_measuring_it_leaves_the_trial_as_it_is(data: Path) -> None:
    """The noise phase, a supervised phase that follows, and what that measures, to the bit."""
    supervised = {"phase": "supervised", "dataset": "mnist10k", **TRAINING}
    without, with_it = (
        run(settings_of(BASE, phases=phases)).rows for phases in ([NOISE, supervised], [NOISE, ADAPTATION, supervised])
    )
    kept = [row for row in with_it if row["phase"] != "whole_datasets" and not row["metric"].startswith("whole_")]
    assert len(kept) < len(with_it)
    assert kept == without


def test_the_last_layer_of_each_copy_is_what_a_supervised_phase_leaves(data: Path) -> None:
    """Weights and feedback, which learns too, at each of its moments, to the bit; and not at moments of noise."""
    changes: dict[str, Any] = {"seeds": 1, "measure": {"last_layer_weights": True, "points": 4}}
    supervised = {"phase": "supervised", "dataset": "mnist10k", **TRAINING}
    adaptation, noise = {**ADAPTATION, "datasets": ["mnist10k"]}, {**NOISE, "steps": 20}
    adapted, trained = (run(settings_of(BASE, phases=[noise, one], **changes)).rows for one in (adaptation, supervised))
    copies, alone = (
        {
            (row["metric"], row["step"], row["component"]): row["value"]
            for row in rows
            if row["phase"] == phase and row["metric"].startswith("last_layer") and row["inputs"] == inputs
        }
        for rows, phase, inputs in ((adapted, "whole_datasets", "mnist10k"), (trained, "supervised", None))
    )
    assert len(copies) == 2 * 200 * 4
    assert copies == alone
    of_noise = {row["inputs"] for row in adapted if row["phase"] == "noise" and row["metric"] == "last_layer_weight"}
    assert of_noise == {None}


def test_what_is_measured_is_known_before_it_runs(data: Path) -> None:
    settings = settings_of(BASE, seeds=1, measure={"last_layer_weights": True})
    rows = run(settings).rows
    for phase, metrics in metrics_of(settings).items():
        assert metrics == {row["metric"] for row in rows if row["phase"] == phase}
        for metric in metrics:
            found = {row["inputs"] for row in rows if (row["phase"], row["metric"]) == (phase, metric)}
            assert found == {inputs.inputs for inputs in inputs_of(settings, phase, metric)}
    assert inputs_of(settings, "noise", "whole_dataset_meta_loss") == {NO_INPUTS}


def test_its_cost_is_reckoned_beside_that_of_the_training_it_watches(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were every step and every test a second: of 5 moments each with 2 trainings of 30 steps and 5 tests."""
    settings = settings_of(BASE)
    images = trial.load_sources(settings)
    assert all(0 < seconds < 1000 for seconds in whole_datasets.seconds(settings, images)["noise"])
    monkeypatch.setattr(whole_datasets, "_seconds_of", lambda call, times=8: 1.0)
    assert whole_datasets.seconds(settings, images) == {"noise": (5 * 2 * (30 + 5), 70)}
    assert whole_datasets.seconds(settings_of(BASE, phases=[{**NOISE, "steps": 0}, ADAPTATION]), images) == {}
