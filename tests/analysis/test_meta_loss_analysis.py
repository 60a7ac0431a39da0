"""analysis/meta_loss.py on results whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from known_meta_losses import put_losses
from scipy import stats


@pytest.fixture
def known(tmp_path: Path) -> tuple[Path, dict]:
    return tmp_path / "made", put_losses(tmp_path / "made")


def test_the_table_has_the_known_answers(known: tuple[Path, dict]) -> None:
    folder, losses = known
    done = synthetic_results.run("meta_loss.py", folder)
    assert done.returncode == 0, done.stderr
    every = pd.read_csv(folder / "analysis" / "meta_loss.csv")
    assert len(every) == 4 * 3, "each task distribution, and all"
    table = every[every["inputs"] == "glyphs"].set_index(["network.rule", "noise_steps"])
    for key, values in losses.items():
        assert table.loc[key, "meta_loss"] == pytest.approx(values.mean())
        assert table.loc[key, "interquartile_mean"] == pytest.approx(np.sort(values)[3:9].mean())
        assert table.loc[key, "seeds"] == 12
        # Student's interval, but that the end towards the longer tail is further out
        half = stats.t.ppf(0.975, 11) * values.std(ddof=1) / 12**0.5
        reaches = values.mean() - table.loc[key, "meta_loss_low"], table.loc[key, "meta_loss_high"] - values.mean()
        assert min(reaches) == pytest.approx(half)
        assert half < max(reaches) < 1.5 * half
    paired = losses["feedback_alignment", 1000] - losses["feedback_alignment", 0]
    found = table.loc[("feedback_alignment", 1000)]
    assert found["difference"] == pytest.approx(paired.mean())
    assert -0.22 < found["difference_low"] < found["difference"] < found["difference_high"] < -0.18
    assert found["effect_size"] == pytest.approx(paired.mean() / paired.std(ddof=1))
    # all twelve seeds go one way: of all ways to turn them, it and its opposite are as extreme
    assert found["p_value"] == pytest.approx(2 / 2**12)
    assert found["p_corrected"] == pytest.approx(6 * 2 / 2**12), "of six comparisons three are as clear"
    below = np.mean(losses["feedback_alignment", 1000][:, None] < losses["feedback_alignment", 0])
    assert found["probability_of_improvement"] == pytest.approx(below)
    unchanged = table.loc[("backprop", 1000)]
    assert unchanged["difference_low"] < 0.01
    assert unchanged["difference_high"] > -0.01
    assert f"lowered the meta-loss of feedback_alignment on glyphs: {paired.mean():+.3f} (" in done.stdout
    assert "did not clearly change the meta-loss of backprop on glyphs" in done.stdout
    assert "too few seeds" not in done.stdout


def test_too_few_seeds_are_said_beside_the_claim(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    put_losses(folder, lambda of, row: row if row["seed"] < 6 else None)
    done = synthetic_results.run("meta_loss.py", folder)
    assert "may have lowered the meta-loss of feedback_alignment on glyphs" in done.stdout, "its interval is clear"
    # 6 x 2 / 2^6 is above 5%, and 6 x 2 / 2^8 below
    assert "too few seeds: with 6 no difference among 6 comparisons can pass 5%" in done.stdout
    assert "for their number; 8 can" in done.stdout


def test_a_folder_without_results_is_said_in_a_line(tmp_path: Path) -> None:
    done = synthetic_results.run("meta_loss.py", tmp_path)
    assert done.returncode == 2
    assert "no tables `trials` and `measurements`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
