"""Phases that end when their networks have converged."""

import math

import pytest
import torch
from trial_runs import settings_of

from metafa.learning.training import Step
from metafa.studies.phases import NoisePhase
from metafa.trials import checkpoints, trial
from metafa.trials.convergence import Convergence

NOISE = {"phase": "noise", "steps": 400, "converged_metric": "accuracy", "converged_interval": 20}
DATA = {
    "phase": "supervised",
    "dataset": "digits",
    "training_images": 100,
    "steps": 800,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "gradient_clipping": 1.0,
    "l2_penalty": 1e-3,
    "schedule": "cosine",
    "converged_metric": "loss",
    "converged_interval": 20,
    "converged_patience": 2,
    "converged_change": 0.02,
}
STUDY = {"seeds": 3, "network": {"hidden": [20]}, "phases": [NOISE, DATA], "measure": {"points": 9}}
EVERY_STEP = 20000  # points that are so many are all steps


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
@pytest.mark.parametrize("patience", [1, 3])
def test_networks_have_converged_where_torch_would_lower_the_learning_rate(metric: str, patience: int) -> None:
    """Each by itself; its ReduceLROnPlateau waits for one bad value more than its patience. A value that is none is
    never better."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.linspace(0, 3, 40)[:, None]
    series = torch.exp(-steps * torch.tensor([0.3, 2.0, 1.0])) + 0.02 * torch.rand(40, 3, generator=generator)
    series[5:, 2] = torch.nan
    series = series if metric == "loss" else -series
    phase = NoisePhase(
        **dict(phase="noise", steps=40, converged_metric=metric, converged_change=0.02),
        converged_interval=1,
        converged_patience=patience,
    )
    both = {"loss": lambda i: (series[i], None), "accuracy": lambda i: (None, series[i])}[metric]
    found = Convergence(phase, 3, lambda step: both(step.number))
    for number in range(40):
        found.judge(Step(number, torch.zeros(3, 1, 2), torch.zeros(3, 1, 2)))
    for replica in range(3):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            "min" if metric == "loss" else "max",
            patience=patience - 1,
            threshold=0.02,
            threshold_mode="abs",
        )
        lowered = []
        for value in series[:, replica].tolist():
            plateau.step(value)
            lowered.append(optimizer.param_groups[0]["lr"] < 1)
        assert found.steps[replica] == (lowered.index(True) if any(lowered) else -1)
    assert len(set(found.steps.tolist())) == 3
    assert found.ended(torch.tensor([-1, -1, -1])) == (found.steps >= 0).all()
    assert found.ended(torch.tensor([3, 3, -1]))


def criterion(series: dict[int, float], patience: int, change: float) -> int | None:
    """The first step at which a loss had converged, by its values after every 20 steps."""
    best, waited = math.inf, 0
    for step in range(20, max(series) + 1, 20):
        best, waited = (series[step], 0) if series[step] < best - change else (best, waited + 1)
        if waited == patience:
            return step
    return None


def by_step(rows: list[dict], **where: object) -> dict[int, float]:
    return {row["step"]: row["value"] for row in rows if all(row[key] == value for key, value in where.items())}


def test_a_phase_ends_when_all_its_networks_have_converged() -> None:
    """What is measured is what a trial measures there that goes to its end, the criterion holds of it, and a trial that
    goes on from a checkpoint ends at the same step."""
    settings, kept = settings_of(STUDY), list[bytes]()
    sources = trial.prepared(trial.load_sources(settings))
    watch = trial.Watch(checkpoint=lambda make: kept.append(checkpoints.encode(make())))
    rows = trial.run(settings, sources, watch=watch).rows
    whole = trial.run(
        settings_of(STUDY, measure={"points": EVERY_STEP}, supervised={"converged_metric": None}), sources
    ).rows
    noise_end, data_end = (max(r["step"] for r in rows if r["phase"] == name) for name in ("noise", "supervised"))
    assert noise_end < 400
    assert data_end < 800
    for seed in range(3):
        noise = by_step(whole, phase="noise", metric="accuracy", inputs="batch", seed=seed)
        of_data = dict(phase="supervised", inputs="digits", seed=seed)
        test, gap = (by_step(whole, metric=name, **of_data) for name in ("loss", "generalization_error"))
        training = {step: test[step] - gap[step] for step in test}
        converged = [by_step(rows, phase=name, metric="converged_step", seed=seed) for name in ("noise", "supervised")]
        assert converged == [
            {noise_end: criterion({step: -accuracy for step, accuracy in noise.items()}, patience=3, change=0.001)},
            {data_end: criterion(training, patience=2, change=0.02)},
        ]
        measured = by_step(rows, metric="loss", **of_data)
        assert data_end in measured
        assert measured.items() <= test.items()
    found = [checkpoints.decode(content) for content in kept]
    assert {checkpoint.phase for checkpoint in found} == {0, 1}
    for checkpoint in found[:: max(1, len(found) // 6)]:
        assert trial.run(settings, sources, checkpoint=checkpoint).rows == rows
