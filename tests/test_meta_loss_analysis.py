"""analysis/meta_loss.py on results whose answers are known."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from metafa import results, store, study
from metafa.settings import flatten

SCRIPT = Path(__file__).parents[1] / "analysis" / "meta_loss.py"
STUDY = """\
seeds = 12
[network]
rule = { choices = ["feedback_alignment", "backprop"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 1000] }
[[phases]]
phase = "evaluate"
inner_steps = 2
task_distributions = ["glyphs"]
"""


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, dict]:
    """Results in which noise lowers the meta-loss of feedback alignment by 0.2 on average, and leaves backprop's."""
    checked, folder = study.parse(STUDY, default_name="made"), tmp_path / "made"
    results.prepare(store.at(folder), checked)
    random = np.random.default_rng(0)
    seeds = random.normal(1.5, 0.3, 12)  # seeds differ far more than conditions: only pairing tells them apart
    losses = {}
    for trial in checked.trials:
        key = (trial.varied["network.rule"], trial.varied["noise.steps"])
        effect = -0.2 if key == ("feedback_alignment", 1000) else 0.0
        losses[key] = seeds + effect + random.normal(0, 0.01, 12)
        rows = [
            {
                "trial_id": trial.trial_id,
                "seed": seed,
                "phase": "evaluate",
                "step": step,
                "metric": metric,
                "layer": None,
                "task": "glyphs",
                "value": value,
            }
            for seed in range(12)
            for step in range(3)
            for metric, value in {
                "meta_loss": losses[key][seed] + (2 - step),
                "meta_accuracy": 0.5,
                "generalization_error": 0.1,
            }.items()
        ]
        row = flatten(trial.settings) | {"trial_id": trial.trial_id, "study": "made", "status": "done"}
        results.write(store.at(folder), results.trials_schema(checked), row, rows)
    return folder, losses


def run(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, timeout=120)


def test_the_table_has_the_known_answers(made: tuple[Path, dict]) -> None:
    folder, losses = made
    done = run(folder)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(folder / "analysis" / "meta_loss.csv").set_index(["network.rule", "noise_steps"])
    assert len(table) == 4
    for key, values in losses.items():
        assert table.loc[key, "meta_loss"] == pytest.approx(values.mean())
        assert table.loc[key, "seeds"] == 12
        # Student's interval, another estimate of the same: for twelve normal values they are close
        half = stats.t.ppf(0.975, 11) * values.std(ddof=1) / 12**0.5
        assert table.loc[key, "meta_loss_low"] == pytest.approx(values.mean() - half, abs=half / 2)
        assert table.loc[key, "meta_loss_high"] == pytest.approx(values.mean() + half, abs=half / 2)
    paired = losses["feedback_alignment", 1000] - losses["feedback_alignment", 0]
    found = table.loc[("feedback_alignment", 1000)]
    assert found["difference"] == pytest.approx(paired.mean())
    assert -0.22 < found["difference_low"] < found["difference"] < found["difference_high"] < -0.18
    unchanged = table.loc[("backprop", 1000)]
    assert unchanged["difference_low"] < 0.01
    assert unchanged["difference_high"] > -0.01
    assert f"lowered the meta-loss of feedback_alignment on glyphs: {paired.mean():+.3f} (" in done.stdout
    for name in ("meta_loss_by_noise_steps", "meta_loss_by_inner_steps"):
        assert (folder / "analysis" / f"{name}.svg").read_text().startswith("<?xml")
        assert (folder / "analysis" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_diverged_seeds_are_counted_and_left_out_of_the_mean(made: tuple[Path, dict]) -> None:
    folder, losses = made
    checked = results.read_study(store.at(folder))
    trial = next(t for t in checked.trials if t.varied == {"network.rule": "backprop", "noise.steps": 1000})
    path = folder / "measurements" / f"{trial.trial_id}.parquet"
    rows = pd.read_parquet(path)
    rows.loc[(rows["seed"] == 3) & (rows["metric"] == "meta_loss"), "value"] = np.nan
    rows.to_parquet(path)
    assert run(folder).returncode == 0
    table = pd.read_csv(folder / "analysis" / "meta_loss.csv").set_index(["network.rule", "noise_steps"])
    assert table.loc[("backprop", 1000), "diverged"] == 1
    kept = np.delete(losses["backprop", 1000], 3)
    assert table.loc[("backprop", 1000), "meta_loss"] == pytest.approx(kept.mean())


def test_a_folder_without_results_is_said_in_a_line(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert "no tables `trials` and `measurements`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
