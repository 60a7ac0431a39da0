"""analysis/adaptation.py and analysis/alignment.py on results whose answers are known, in a folder and an object
store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from study_texts import study_with

from metafa.reporting import statistics

STUDY = {
    "seeds": 6,
    "network": {"hidden": [20, 10], "rule": {"choices": ["feedback_alignment", "backprop"]}},
    "phases": [
        {"phase": "noise", "steps": {"choices": [0]}},
        {"phase": "evaluate", "inner_steps": 2, "task_distributions": ["glyphs"]},
    ],
}


RANDOM = np.random.default_rng(3)


OFFSETS = RANDOM.normal(0, 0.1, 6)


def measured(trial):
    """The meta-loss falls with noise; a layer's angle falls from 90 by its number, each seed a little off."""
    noise, turns = trial.varied["noise.steps"], trial.varied["network.rule"] == "feedback_alignment"
    for seed, off in enumerate(OFFSETS):
        row = {"seed": seed, "phase": "noise", "metric": "alignment_angle"}
        for layer in (2, 3):
            for step in sorted({0, 1, noise}):
                yield row | {"layer": layer, "step": step, "value": 90 + off - layer * turns * step / 100}
        row |= {"metric": "participation_ratio", "layer": 1, "step": 0, "value": 18.0}
        yield row
        row |= {"metric": "readout_probability", "layer": None, "inputs": "noise", "value": 0.3}
        yield row
        for step in range(3):
            for metric, value in (("meta_loss", 2 - step / 2 - noise / 1e4 + off), ("meta_accuracy", 0.2 + step / 5)):
                yield {
                    "seed": seed,
                    "phase": "evaluate",
                    "step": step,
                    "metric": metric,
                    "inputs": "glyphs",
                    "value": value,
                }


@pytest.mark.parametrize("choices", [[0, 1000], list(range(0, 2000, 200))], ids=["few", "more than figures show"])
def test_curves_have_the_known_means_and_intervals(address: str, tmp_path: Path, choices: list[int]) -> None:
    synthetic_results.results_of(address, study_with(STUDY, noise={"steps": {"choices": choices}}), measured)
    for script in ("adaptation.py", "alignment.py"):
        done = synthetic_results.run(script, address, "--output", tmp_path / "out")
        assert done.returncode == 0, done.stderr
    adaptation = pd.read_csv(tmp_path / "out" / "adaptation.csv")
    assert len(adaptation) == 2 * len(choices) * 3 * 2
    found = adaptation.set_index(["network.rule", "noise_steps", "metric", "step"])
    low, high = statistics.interval([1.5 - 0.1 + OFFSETS])
    row = found.loc[("backprop", 1000, "meta_loss", 1)]
    assert row["mean"] == pytest.approx(1.4 + OFFSETS.mean())
    assert row["deviation"] == pytest.approx(OFFSETS.std(ddof=1))
    if len(choices) == 2:  # else among those that figures leave out
        assert (row["low"], row["high"]) == pytest.approx((low, high))
    else:
        assert np.isnan(found.loc[("backprop", 400, "meta_loss", 1), "low"])
        assert "the best 12 of 20" in done.stdout
    alignment = pd.read_csv(tmp_path / "out" / "alignment.csv").set_index(
        ["network.rule", "noise_steps", "metric", "layer", "step"]
    )
    for layer in (2, 3):
        row = alignment.loc[("feedback_alignment", 1000, "alignment_angle", layer, 1000)]
        assert row["value"] == pytest.approx(90 + OFFSETS.mean() - 10 * layer)
    assert alignment.loc[("backprop", 0, "participation_ratio", 1, 0), "value"] == 18
    figures = {path.name for path in (tmp_path / "out").glob("*.svg")}
    assert figures == {
        "adaptation.svg",
        "alignment_angle.svg",
        "participation_ratio.svg",
        "readout_probability.svg",
    }


def test_what_was_not_measured_is_said_in_a_line(tmp_path: Path) -> None:
    synthetic_results.results_of(tmp_path / "made", study_with(STUDY), lambda trial: [])
    for script, said in (("adaptation.py", "no phase evaluated a meta-loss"), ("alignment.py", "no phase trained")):
        done = synthetic_results.run(script, tmp_path / "made")
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
        assert said in done.stderr
