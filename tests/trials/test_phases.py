"""What each kind of phase does."""

from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchvision.transforms.v2 import functional
from trial_runs import ON_DATA, ON_TASKS, run, settings_of, values

from metafa.studies.needs import inputs_of
from metafa.studies.phases import PHASES
from metafa.trials import trial
from metafa.trials.phases import RUN_PHASE
from metafa.trials.trial_run import NO_WATCH, TrialRun


def test_every_kind_of_phase_has_its_function() -> None:
    assert set(PHASES) == set(RUN_PHASE)


def test_tasks_of_fewer_ways_than_the_network_has_outputs(sources) -> None:
    """Meta-trained on 3 ways and evaluated on 5: one readout of 5 serves both."""
    settings = settings_of(ON_TASKS, meta={"ways": 3})
    assert settings.outputs == 5
    rows = run(settings).rows
    for phase in ("noise", "before_meta"):
        assert values(rows, phase=phase) == values(trial.run(settings_of(ON_TASKS), sources).rows, phase=phase)
    accuracies = values(rows, phase="meta", metric="accuracy")
    assert all(round(value * 60) / 60 == pytest.approx(value) for value in accuracies.values()), "2 tasks of 30 queries"


def test_inner_rates_are_learned_and_adapted_with(sources) -> None:
    learning = {"learn_inner_rates": True, "outer_learning_rate": 0.05}
    rows, with_learned = (
        trial.run(settings_of(ON_TASKS, meta=learning, evaluate={"learned_rates": learned}), sources).rows
        for learned in (False, True)
    )
    rates = values(rows, phase="meta", metric="inner_learning_rate")
    assert {(key[0], key[5]) for key in rates} == {(seed, layer) for seed in (0, 1) for layer in (1, 2)}
    first, last = (values(rows, phase="meta", metric="inner_learning_rate", step=step) for step in (0, 4))
    assert list(first.values()) == pytest.approx([0.3] * 4)
    # Adam moves each of them by its learning rate a step, at first: in four steps by 0.2 at most
    assert all(0.001 < abs(rate - 0.3) < 0.2001 for rate in last.values())
    fixed, learned = (values(one, phase="evaluate", metric="meta_loss", step=5) for one in (rows, with_learned))
    assert fixed.keys() == learned.keys()
    assert fixed != learned


def test_no_outer_algorithm_leaves_the_meta_loss_as_it_was(sources) -> None:
    rows = trial.run(settings_of(ON_TASKS, meta={"outer_algorithm": "none"}), sources).rows
    before, after = (values(rows, phase=phase, metric="meta_loss") for phase in ("before_meta", "evaluate"))
    assert list(before.values()) == list(after.values())


def test_images_out_of_distribution_are_tested_by_shift_strength_and_dataset() -> None:
    shifted = {
        "phase": "out_of_distribution",
        "dataset": "digits",
        "translation": [0, 1],
        "pixel_noise": [0.5],
        "datasets": ["glyphs"],
    }
    rows = run(settings_of(ON_DATA, phases=[*ON_DATA["phases"], shifted])).rows
    tested = {
        (row["metric"], row["inputs"], row["shift"], row["strength"]): row["value"]
        for row in rows
        if row["phase"] == "out_of_distribution"
    }
    digits = ("digits", None, None)
    shifts = [("translation", 0.0), ("translation", 1.0), ("pixel_noise", 0.5)]
    inputs = {digits, *(("digits", *shift) for shift in shifts), ("glyphs", None, None)}
    metrics = {"loss", "accuracy", "expected_calibration_error", "expected_calibration_error_10_bins"}
    metrics |= {"readout_probability"}
    of_others = {("auroc", *one) for one in inputs - {digits}}
    assert tested.keys() == {(metric, *one) for metric in metrics for one in inputs} | of_others
    assert tested["auroc", "digits", "translation", 0.0] == 0.5, "images that are the same"
    for metric in metrics:
        assert tested[metric, "digits", "translation", 0.0] == tested[metric, *digits]
    # what the training phase measured last, of the same images and weights
    last = values(rows, phase="supervised", metric="accuracy", inputs="digits", step=6, seed=1)
    assert list(last.values()) == [tested["accuracy", *digits]]
    assert tested["accuracy", "digits", "pixel_noise", 0.5] != tested["accuracy", *digits]


def test_of_unknown_classes_confidence_alone_is_measured(data: Path) -> None:
    """How well it tells them, by scikit-learn's AUROC of the probabilities that an ordinary module has."""
    tested = {"phase": "out_of_distribution", "unknown_datasets": ["kmnist10k", "kmnist10k"]}
    settings = settings_of(ON_DATA, phases=[*ON_DATA["phases"], tested])
    run_of = TrialRun(settings, trial.prepared(trial.load_sources(settings)), "cpu", NO_WATCH)
    for number, phase in enumerate(settings.phases):
        assert run_of.begins(number)
        RUN_PHASE[phase.phase](run_of, phase)
    rows = [row for row in run_of.recorder.outcome.rows if row["phase"] == "out_of_distribution"]
    measured = {row["metric"] for row in rows if row["inputs"] == "kmnist10k"}
    assert measured == {"auroc", "readout_probability"}
    for metric in {row["metric"] for row in rows}:
        names = {inputs.inputs for inputs in inputs_of(settings, "out_of_distribution", metric)}
        assert names == {row["inputs"] for row in rows if row["metric"] == metric}
    digits, other = (run_of.datasets[name][1].images for name in ("digits", "kmnist10k"))
    resized = functional.resize(other.reshape(-1, 1, 28, 28), [8, 8], antialias=True).flatten(1)
    images, network = torch.cat([digits, resized]), run_of.network
    for seed in range(2):
        module = torch.nn.Sequential(torch.nn.Linear(64, 20), torch.nn.ReLU(), torch.nn.Linear(20, 10))
        for place, weights, biases in zip((0, 2), network.weights, network.biases, strict=True):
            module[place].load_state_dict({"weight": weights[seed], "bias": biases[seed].flatten()})
        with torch.no_grad():
            confidence = torch.softmax(module(images), -1).amax(-1).numpy()
        inside = [1] * len(digits) + [0] * len(resized)
        where = dict(inputs="kmnist10k", seed=seed)
        assert [*values(rows, metric="auroc", **where).values()] == [
            pytest.approx(roc_auc_score(inside, confidence), rel=1e-5)
        ]
        (probability,) = values(rows, metric="readout_probability", **where).values()
        assert probability == pytest.approx(confidence[len(digits) :].mean(), rel=1e-5)
