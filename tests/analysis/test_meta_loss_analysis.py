"""analysis/meta_loss.py on results whose answers are known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from scipy import stats

from metafa.reporting import comparison, conditions, statistics

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
task_distributions = ["glyphs", "omniglot"]
"""
HARDER = 0.5  # omniglot than glyphs


def put(folder: Path, told: Callable[[tuple[str, int], dict], dict | None] = lambda key, row: row) -> dict:
    """Puts results in which noise lowers the meta-loss of feedback alignment by 0.2 on average, and leaves backprop's.
    ``told`` has each row, and the rule and the noise steps that it is of, before it is written; None leaves it out."""
    random, losses = np.random.default_rng(0), {}
    seeds = random.normal(1.5, 0.3, 12)  # seeds differ far more than conditions: only pairing tells them apart

    def measured(trial):
        key = (trial.varied["network.rule"], trial.varied["noise.steps"])
        effect = -0.2 if key == ("feedback_alignment", 1000) else 0.0
        losses[key] = seeds + effect + random.normal(0, 0.01, 12)
        rows = (
            {"seed": seed, "phase": "evaluate", "step": step, "metric": metric, "inputs": task, "value": value}
            for seed in range(12)
            for step in range(3)
            for task in ("glyphs", "omniglot")
            for metric, value in {
                "meta_loss": losses[key][seed] + (2 - step) + HARDER * (task == "omniglot"),
                "meta_accuracy": 0.5,
            }.items()
        )
        return [row for made in rows if (row := told(key, made)) is not None]

    synthetic_results.results_of(folder, STUDY, measured)
    return losses


@pytest.fixture
def known(tmp_path: Path) -> tuple[Path, dict]:
    return tmp_path / "made", put(tmp_path / "made")


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


def test_of_tasks_together_each_seed_has_its_mean(known: tuple[Path, dict]) -> None:
    """One is harder than the other for all: that is no uncertainty of their mean."""
    folder, losses = known
    table = comparison.compare(conditions.read(folder))
    table = table[table["inputs"] == comparison.ALL].set_index(["network.rule", "noise_steps"])
    values = losses["backprop", 0]
    found = table.loc[("backprop", 0)]
    assert found["meta_loss"] == pytest.approx(values.mean() + HARDER / 2)
    low, high = statistics.interval([values, values + HARDER])
    assert (found["meta_loss_low"], found["meta_loss_high"]) == pytest.approx((low, high))
    # a pair a seed, the mean over its tasks: not twice as many
    assert table.loc[("backprop", 1000), "pairs"] == 12


def test_a_seed_that_lacks_a_task_is_left_out_of_all_tasks_together(tmp_path: Path) -> None:
    """It diverged on the harder one: kept, it would make the condition look better than it is."""
    folder, key = tmp_path / "made", ("feedback_alignment", 1000)
    lost = {"seed": 3, "metric": "meta_loss", "inputs": "omniglot"}
    losses = put(folder, lambda of, row: row | {"value": np.inf} if of == key and lost.items() <= row.items() else row)
    table = comparison.compare(conditions.read(folder))
    found = table[table["inputs"] == comparison.ALL].set_index(["network.rule", "noise_steps"]).loc[key]
    values, without = (np.delete(losses["feedback_alignment", noise], 3) for noise in (1000, 0))
    assert found["meta_loss"] == pytest.approx(values.mean() + HARDER / 2)
    assert (found["meta_loss_low"], found["meta_loss_high"]) == pytest.approx(statistics.interval(values + HARDER / 2))
    assert found["pairs"] == 11
    assert found["of_pairs"] == pytest.approx(values.mean() + HARDER / 2)
    assert found["difference"] == pytest.approx((values - without).mean())


def test_every_pair_of_conditions_is_compared(known: tuple[Path, dict]) -> None:
    folder, losses = known
    pairs = comparison.pairs(conditions.read(folder))
    assert len(pairs) == 3 * 6
    found = {(row["condition"], row["against"]): row for _, row in pairs[pairs["inputs"] == "glyphs"].iterrows()}
    row = found["backprop, no noise", "feedback_alignment, 1000 noise steps"]
    assert row["difference"] == pytest.approx((losses["backprop", 0] - losses["feedback_alignment", 1000]).mean())
    np.testing.assert_array_equal(pairs["p_corrected"], statistics.corrected(pairs["p_value"]))


def test_too_few_seeds_are_said_beside_the_claim(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    put(folder, lambda of, row: row if row["seed"] < 6 else None)
    done = synthetic_results.run("meta_loss.py", folder)
    assert "may have lowered the meta-loss of feedback_alignment on glyphs" in done.stdout, "its interval is clear"
    # 6 x 2 / 2^6 is above 5%, and 6 x 2 / 2^8 below
    assert "too few seeds: with 6 no difference among 6 comparisons can pass 5%" in done.stdout
    assert "for their number; 8 can" in done.stdout


def test_diverged_seeds_are_counted_and_left_out_of_the_mean(tmp_path: Path) -> None:
    folder, key = tmp_path / "made", ("backprop", 1000)
    lost = {"seed": 3, "metric": "meta_loss"}
    losses = put(folder, lambda of, row: row | {"value": np.nan} if of == key and lost.items() <= row.items() else row)
    table = comparison.compare(conditions.read(folder)).set_index(["inputs", "network.rule", "noise_steps"])
    found = table.loc[("glyphs", "backprop", 1000)]
    assert (found["seeds"], found["diverged"], found["pairs"]) == (12, 1, 11)
    assert found["meta_loss"] == pytest.approx(np.delete(losses["backprop", 1000], 3).mean())


def test_the_answer_is_a_sentence_about_the_rule_in_question(known: tuple[Path, dict]) -> None:
    folder, losses = known
    tables = conditions.read(folder)
    before, after = (losses["feedback_alignment", noise].mean() + HARDER / 2 for noise in (0, 1000))
    assert comparison.answer(comparison.compare(tables), tables.conditions).startswith(
        f"1000 noise steps lowered the meta-loss of feedback_alignment on all from {before:.3f} to {after:.3f} nats in "
        f"evaluate ({after - before:+.3f}, 95% interval -"
    )


def test_many_settings_drawn_at_random_are_compared_without_all_their_combinations(tmp_path: Path) -> None:
    """Of 150 trials at random points of five settings the combinations of values would be 10^10."""
    ranges = "learning_rate = { low = 1e-5, high = 1e-1, log = true }\nmean = { low = -1.0, high = 1.0 }\n"
    ranges += "standard_deviation = { low = 0.5, high = 2.0 }\nweight_decay = { low = 0.0, high = 0.1 }\n"
    text = STUDY.replace("{ choices = [0, 1000] }", "{ low = 1, high = 1000 }").replace("rule = ", "activation = ")
    text = text.replace('["feedback_alignment", "backprop"]', '["relu", "tanh"]')
    text = text.replace('[[phases]]\nphase = "evaluate"', ranges + '[[phases]]\nphase = "evaluate"')
    text += '[search]\nmethod = "random"\ntrials = 150\n'
    row = {"phase": "evaluate", "step": 2, "inputs": "glyphs"}

    def measured(trial):
        for seed in range(3):
            yield row | {"seed": seed, "metric": "meta_loss", "value": trial.varied["noise.mean"]}
            yield row | {"seed": seed, "metric": "meta_accuracy", "value": 0.5}

    checked = synthetic_results.results_of(tmp_path / "made", text, measured)
    table = comparison.compare(conditions.read(tmp_path / "made"))
    found = sorted(table["meta_loss"])
    assert found == pytest.approx(sorted(trial.varied["noise.mean"] for trial in checked.trials))


def test_a_folder_without_results_is_said_in_a_line(tmp_path: Path) -> None:
    done = synthetic_results.run("meta_loss.py", tmp_path)
    assert done.returncode == 2
    assert "no tables `trials` and `measurements`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
