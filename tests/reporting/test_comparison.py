"""How conditions are compared, on results whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic_results
from known_meta_losses import HARDER, STUDY, put_losses
from study_texts import study_with
from synthetic_results import EVALUATE, NOISE, SUPERVISED, meta_losses, results_of, study_of

from metafa.reporting import claims, comparison, conditions, report, statistics
from metafa.results import addresses, preparation
from metafa.studies import study
from metafa.studies.claims import ClaimSettings


@pytest.fixture
def known(tmp_path: Path) -> tuple[Path, dict]:
    return tmp_path / "made", put_losses(tmp_path / "made")


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
    losses = put_losses(
        folder, lambda of, row: row | {"value": np.inf} if of == key and lost.items() <= row.items() else row
    )
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


def test_diverged_seeds_are_counted_and_left_out_of_the_mean(tmp_path: Path) -> None:
    folder, key = tmp_path / "made", ("backprop", 1000)
    lost = {"seed": 3, "metric": "meta_loss"}
    losses = put_losses(
        folder, lambda of, row: row | {"value": np.nan} if of == key and lost.items() <= row.items() else row
    )
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
    ranges = {
        "steps": {"low": 1, "high": 1000},
        "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
        "mean": {"low": -1.0, "high": 1.0},
        "standard_deviation": {"low": 0.5, "high": 2.0},
        "weight_decay": {"low": 0.0, "high": 0.1},
    }
    network = {"rule": None, "activation": {"choices": ["relu", "tanh"]}}
    text = study_with(STUDY, network=network, noise=ranges, search={"method": "random", "trials": 150})
    row = {"phase": "evaluate", "step": 2, "inputs": "glyphs"}

    def measured(trial):
        for seed in range(3):
            yield row | {"seed": seed, "metric": "meta_loss", "value": trial.varied["noise.mean"]}
            yield row | {"seed": seed, "metric": "meta_accuracy", "value": 0.5}

    checked = synthetic_results.results_of(tmp_path / "made", text, measured)
    table = comparison.compare(conditions.read(tmp_path / "made"))
    found = sorted(table["meta_loss"])
    assert found == pytest.approx(sorted(trial.varied["noise.mean"] for trial in checked.trials))


@pytest.mark.parametrize("earlier", [False, True], ids=["with divergences", "results of before"])
def test_of_several_learning_rates_the_one_that_diverged_is_left_out(earlier: bool, tmp_path: Path) -> None:
    """Results of before do not say which; there the seed is left out at all of them."""
    text = study_of(NOISE | {"learning_rate": [1e-3, 1e-1]}, EVALUATE, seeds=3)
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        rows = [
            row | {"learning_rate": rate} for rate in (1e-3, 1e-1) for row in meta_losses(lambda _: 1.0, seeds=3)(trial)
        ]
        lost = {"diverged_seeds": [0], "diverged_phase": "evaluate", "diverged_step": 1}
        if not earlier:
            lost["divergences"] = [{"seed": 0, "learning_rate": 1e-1, "phase": "evaluate", "step": 1}]
        synthetic_results.put(tmp_path, checked, trial, rows, status="diverged", **lost)
    table = comparison.compare(conditions.read(tmp_path))
    assert table.groupby("learning_rate")["diverged"].sum().tolist() == [2 if earlier else 0, 2]


def test_of_several_tasks_a_seed_that_diverged_is_counted_once(tmp_path: Path) -> None:
    text = study_of(NOISE, EVALUATE | {"task_distributions": ["glyphs", "omniglot-minimal"]}, seeds=3)
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        rows = [
            row | {"inputs": task}
            for task in ("glyphs", "omniglot-minimal")
            for row in meta_losses(lambda _: 1.0, 3)(trial)
        ]
        lost = [{"seed": 1, "learning_rate": None, "phase": "evaluate", "step": 1, "metric": "meta_loss"}]
        synthetic_results.put(tmp_path, checked, trial, rows, status="diverged", divergences=lost)
    table = comparison.compare(conditions.read(tmp_path))
    assert set(table["diverged"]) == {1}
    assert set(table["seeds"]) == {3}


def test_the_answer_is_found_where_the_best_condition_lacks_a_phase(tmp_path: Path) -> None:
    orders = [
        [NOISE | {"steps": steps}, *learned, EVALUATE]
        for learned in ([], [SUPERVISED], [SUPERVISED | {"steps": 500}])
        for steps in (0, 64)
    ]
    text = study_of(*orders, seeds=6)
    results_of(
        tmp_path, text, meta_losses(lambda trial: len(trial.settings.phases) - trial.settings.phases[0].steps / 64)
    )
    tables = conditions.read(tmp_path)
    said = comparison.answer(comparison.compare(tables), tables.conditions)
    assert said.startswith("64 noise steps")
    assert "from 2.250 to 1.250" in said
    assert said in report.render(addresses.at(tmp_path))


def test_what_describes_noise_is_compared_with_no_noise_whatever_it_says(tmp_path: Path) -> None:
    """Noise at another rate differs from no noise; so does noise in a phase that other trials do not have."""
    with_noise = {"phase": "noise", "steps": 64, "learning_rate": 1e-3, "batch_size": 32}
    text = study_of([with_noise, EVALUATE], [EVALUATE], seeds=6)
    results_of(tmp_path, text, meta_losses(lambda trial: 1.0 + len(trial.settings.phases)))
    tables = conditions.read(tmp_path)
    assert tables.conditions == ["network.rule", "noise_steps"]
    table = comparison.compare(tables).set_index("noise_steps")
    assert table["difference"].tolist() == pytest.approx([np.nan, 1.0], nan_ok=True)


def test_the_order_of_phases_tells_conditions_apart(tmp_path: Path) -> None:
    """Noise before data is one condition, noise after it another; both are compared with no noise."""
    noise = NOISE | {"steps": 64}
    orders = [noise, SUPERVISED, EVALUATE], [SUPERVISED, noise, EVALUATE], [SUPERVISED, EVALUATE]
    losses = {("noise", "supervised"): 1.0, ("supervised", "noise"): 3.0, ("supervised", "evaluate"): 2.0}
    results_of(
        tmp_path,
        study_of(*orders, seeds=6),
        meta_losses(lambda trial: losses[trial.settings.phases[0].name, trial.settings.phases[1].name]),
    )
    table = comparison.compare(conditions.read(tmp_path)).set_index("phase_order")
    assert table["difference"].to_dict() == pytest.approx(
        {"noise, supervised, evaluate": -1.0, "supervised, noise, evaluate": 1.0, "supervised, evaluate": np.nan},
        nan_ok=True,
    )
    claim = ClaimSettings(claim=8, statement="s", metric="meta_loss", phase="evaluate", inputs="glyphs", expect="lower")
    judged = claims.judge_all(conditions.read(tmp_path), [claim])
    assert judged["difference"].tolist() == pytest.approx([-1.0, 1.0])
