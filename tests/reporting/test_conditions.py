"""What tells the conditions of a study apart, and which seeds count, on results whose answers are known."""

from __future__ import annotations

import itertools
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic_results

from metafa.errors import ResultsError, StudyError
from metafa.reporting import claims, comparison, conditions, objectives, report
from metafa.reporting.appearance import in_words
from metafa.results import addresses, continuing, preparation, upkeep
from metafa.results.columns import TABLES
from metafa.results.tables import load
from metafa.studies import study
from metafa.studies.claims import ClaimSettings
from metafa.studies.settings import NUMERICS
from metafa.studies.trial import Trial

EVALUATE = '[[phases]]\nphase = "evaluate"\ntask_distributions = ["glyphs"]\ninner_steps = 1\n'
NOISE = '[[phases]]\nphase = "noise"\nsteps = { choices = [0, 64] }\n'


def measured(
    value: Callable[[Trial], float], seeds: int = 6, phases: Iterable[str] = ("evaluate",)
) -> Callable[[Trial], list[dict[str, Any]]]:
    """The meta-loss of a trial after its inner step is ``value`` and a tenth of a seed's number, its accuracy that less
    one."""

    def rows(trial: Trial) -> list[dict[str, Any]]:
        return [
            {"seed": seed, "phase": phase, "step": step, "metric": metric, "inputs": "glyphs", "value": found}
            for seed, phase, step in itertools.product(range(seeds), phases, (0, 1))
            for metric, found in (("meta_loss", value(trial) + 0.1 * seed), ("meta_accuracy", value(trial) - 1))
        ]

    return rows


def analysed(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a script of analysis/ in this process, where a warning is an error."""
    monkeypatch.setattr(sys, "argv", [script, str(folder)])
    monkeypatch.syspath_prepend(str(synthetic_results.ANALYSIS))
    runpy.run_path(str(synthetic_results.ANALYSIS / script), run_name="__main__")


def test_noise_phases_of_the_same_length_are_conditions_of_their_own(tmp_path: Path) -> None:
    """64 steps of one kind of noise are not 64 of another: each is compared with none of either."""
    text = "".join(
        f'[[phases]]\nphase = "noise"\nname = "{name}"\ninputs = "{name}"\nsteps = {{ choices = [0, 64] }}\n'
        for name in ("normal", "uniform")
    )
    losses = {(0, 0): 1.475, (64, 0): 1.410, (0, 64): 1.610, (64, 64): 1.611}

    def loss(trial: Trial) -> float:
        return losses[trial.varied["normal.steps"], trial.varied["uniform.steps"]]

    synthetic_results.results_of(tmp_path, "seeds = 6\n" + text + EVALUATE, measured(loss))
    tables = conditions.read(tmp_path)
    assert tables.conditions == ["network.rule", "noise_steps", "normal.steps", "uniform.steps"]
    table = comparison.compare(tables).set_index(["normal.steps", "uniform.steps"])
    for steps, found in losses.items():
        assert table.loc[steps, "meta_loss"] == pytest.approx(found + 0.25)
        expected = np.nan if steps == (0, 0) else found - losses[0, 0]
        assert table.loc[steps, "difference"] == pytest.approx(expected, nan_ok=True)
        assert table.loc[steps, "noise_steps"] == sum(steps)
    html = report.render(addresses.at(tmp_path))
    assert "64 noise steps, normal.steps 64, uniform.steps 0" in html
    assert "64 noise steps, normal.steps 0, uniform.steps 64" in html


def test_what_describes_noise_is_compared_with_no_noise_whatever_it_says(tmp_path: Path) -> None:
    """Noise at another rate differs from no noise; so does noise in a phase that other trials do not have."""
    with_noise = '{ phase = "noise", steps = 64, learning_rate = 1e-3, batch_size = 32 }'
    evaluate = '{ phase = "evaluate", task_distributions = ["glyphs"], inner_steps = 1 }'
    text = f"seeds = 6\nphases = {{ choices = [[{with_noise}, {evaluate}], [{evaluate}]] }}\n"
    synthetic_results.results_of(tmp_path, text, measured(lambda trial: 1.0 + len(trial.settings.phases)))
    tables = conditions.read(tmp_path)
    assert tables.conditions == ["network.rule", "noise_steps"]
    table = comparison.compare(tables).set_index("noise_steps")
    assert table["difference"].tolist() == pytest.approx([np.nan, 1.0], nan_ok=True)


def test_phases_as_choices_keep_every_setting(tmp_path: Path) -> None:
    evaluate = '{ phase = "evaluate", task_distributions = ["glyphs"], inner_steps = 1 }'
    first = [
        '{ phase = "noise", steps = 64 }',
        '{ phase = "supervised", dataset = "glyphs", steps = 5 }',
        '{ phase = "supervised", dataset = "glyphs", steps = 500, learning_rate = 1e-3 }',
    ]
    text = f"seeds = 6\nphases = {{ choices = [{', '.join(f'[{one}, {evaluate}]' for one in first)}] }}\n"
    steps = ("noise", 64), ("supervised", 5), ("supervised", 500)

    def loss(trial: Trial) -> float:
        phase: Any = trial.settings.phases[0]
        return 1.0 + steps.index((phase.phase, phase.steps))

    synthetic_results.results_of(tmp_path, text, measured(loss))
    trials = load(tmp_path).trials.sort_values("supervised.steps")
    assert trials["supervised.steps"].tolist() == pytest.approx([5, 500, np.nan], nan_ok=True)
    assert trials["supervised.learning_rate"].tolist() == pytest.approx([1e-4, 1e-3, np.nan], nan_ok=True)
    assert trials["noise.steps"].tolist() == pytest.approx([np.nan, np.nan, 64], nan_ok=True)
    tables = conditions.read(tmp_path)
    table = comparison.compare(tables)
    named = [in_words(tables.conditions[1:], row) for row in table[tables.conditions[1:]].itertuples(index=False)]
    assert dict(zip(named, table["meta_loss"].round(6), strict=True)) == {
        "64 noise steps": 1.25,
        "no noise, supervised.steps 5, supervised.learning rate 0.0001": 2.25,
        "no noise, supervised.steps 500, supervised.learning rate 0.001": 3.25,
    }
    assert "supervised (dataset glyphs, steps 5)" in report.render(addresses.at(tmp_path))


def test_the_order_of_phases_tells_conditions_apart(tmp_path: Path) -> None:
    """Noise before data is one condition, noise after it another; both are compared with no noise."""
    noise, data = '{ phase = "noise", steps = 64 }', '{ phase = "supervised", dataset = "glyphs", steps = 5 }'
    evaluate = '{ phase = "evaluate", task_distributions = ["glyphs"], inner_steps = 1 }'
    orders = f"[{noise}, {data}, {evaluate}], [{data}, {noise}, {evaluate}], [{data}, {evaluate}]"
    losses = {("noise", "supervised"): 1.0, ("supervised", "noise"): 3.0, ("supervised", "evaluate"): 2.0}
    synthetic_results.results_of(
        tmp_path,
        f"seeds = 6\nphases = {{ choices = [{orders}] }}\n",
        measured(lambda trial: losses[trial.settings.phases[0].name, trial.settings.phases[1].name]),
    )
    table = comparison.compare(conditions.read(tmp_path)).set_index("phase_order")
    assert table["difference"].to_dict() == pytest.approx(
        {"noise, supervised, evaluate": -1.0, "supervised, noise, evaluate": 1.0, "supervised, evaluate": np.nan},
        nan_ok=True,
    )
    claim = ClaimSettings(claim=8, statement="s", metric="meta_loss", phase="evaluate", inputs="glyphs", expect="lower")
    judged = claims.judge_all(conditions.read(tmp_path), [claim])
    assert judged["difference"].tolist() == pytest.approx([-1.0, 1.0])


@pytest.mark.parametrize(
    ("setting", "column", "seeds"), [("seed", "study_seed", [4, 4]), ("seeds", "number_of_seeds", [2, 3])]
)
def test_seeds_may_be_varied(
    setting: str, column: str, seeds: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a measurement has a seed too, and a table says how many seeds a number is of."""
    choices = [0, 1] if setting == "seed" else seeds
    fixed = "" if setting == "seeds" else "seeds = 4\n"
    text = f"{fixed}{setting} = {{ choices = {choices} }}\n" + NOISE + EVALUATE

    def rows(trial: Trial) -> list[dict[str, Any]]:
        value = getattr(trial.settings, setting) + trial.varied["noise.steps"] / 64
        return measured(lambda _: value, trial.settings.seeds)(trial)

    synthetic_results.results_of(tmp_path, text, rows)
    table = comparison.compare(conditions.read(tmp_path)).sort_values([column, "noise_steps"])
    assert table[column].tolist() == [choices[0]] * 2 + [choices[1]] * 2
    assert table["seeds"].tolist() == [seeds[0]] * 2 + [seeds[1]] * 2
    means = [choice + noise + 0.05 * (n - 1) for choice, n in zip(choices, seeds, strict=True) for noise in (0, 1)]
    assert table["meta_loss"].tolist() == pytest.approx(means)
    assert table["difference"].tolist() == pytest.approx([np.nan, 1, np.nan, 1], nan_ok=True)
    report.render(addresses.at(tmp_path))
    for script in ("meta_loss.py", "adaptation.py", "search.py"):
        analysed(script, tmp_path, monkeypatch)


def put(folder: Path, checked: study.Study, trial: Trial, status: str, rows: list[dict[str, Any]]) -> None:
    """A trial of that status, with all that it then has: of one that diverged, seeds 1 and 2 did, in `after`."""
    lost = [{"seed": seed, "learning_rate": None, "phase": "after", "step": 1} for seed in (1, 2)]
    outcome: dict[str, dict[str, Any]] = {
        "done": {},
        "diverged": {"divergences": lost, "diverged_seeds": [1, 2], "diverged_phase": "after", "diverged_step": 1},
        "stopped": {"stopped_phase": "noise", "stopped_step": 16},
        "failed": {"error": "Traceback\n  of two lines\nRuntimeError: [oops]"},
    }
    kept = rows if status in ("done", "diverged") else rows[:2] if status == "stopped" else []
    synthetic_results.put(folder, checked, trial, kept, status=status, **outcome[status])


def test_a_seed_that_diverged_counts_in_no_number_from_then_on(tmp_path: Path) -> None:
    """Neither in the loss nor in the accuracy, though its accuracy was measured; what it was before still counts."""
    text = "seeds = 6\n" + NOISE + EVALUATE + EVALUATE.replace("inner_steps", 'name = "after"\ninner_steps')
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        noisy = trial.varied["noise.steps"] > 0
        rows = measured(lambda trial: 2.0, phases=("evaluate", "after"))(trial)
        for row in rows:
            if noisy and row["phase"] == "after" and row["seed"] in (1, 2):
                row["value"] = {"meta_loss": 1e9, "meta_accuracy": 0.2}[row["metric"]]
        put(tmp_path, checked, trial, "diverged" if noisy else "done", rows)
    tables = conditions.read(tmp_path)
    table = comparison.compare(tables).set_index(["phase", "noise_steps"])
    assert table["meta_loss"].to_dict() == pytest.approx(
        {
            ("evaluate", 0): 2.25,
            ("evaluate", 64): 2.25,
            ("after", 0): 2.25,
            ("after", 64): 2 + 0.1 * (0 + 3 + 4 + 5) / 4,
        }
    )
    assert table["meta_accuracy"].tolist() == pytest.approx([1.0] * 4)
    assert table.loc[("after", 64), ["seeds", "diverged", "pairs"]].tolist() == [6, 2, 4]
    assert table.loc[("after", 64), "difference"] == pytest.approx(0.0)
    curves = comparison.curves(tables.adaptation, tables, ["phase", "metric", "step"])
    assert set(curves.loc[(curves["phase"] == "after") & (curves["noise_steps"] == 64), "seeds"]) == {4}
    claim = ClaimSettings(
        claim=8, statement="s", metric="meta_loss", phase="after", inputs="glyphs", expect="near", margin=1
    )
    (judged,) = claims.judge_all(tables, [claim]).to_dict("records")
    assert (judged["seeds"], judged["with_noise"], judged["against"]) == pytest.approx((4, 2.3, 2.3))
    html = report.render(addresses.at(tmp_path))
    assert "2 networks of 1 trial diverged: their seeds count neither in the phase" in html
    assert "numerics" not in html.partition("<section")[0]


def test_results_of_before_are_read_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    text = "seeds = 6\n" + NOISE + EVALUATE
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        synthetic_results.put(tmp_path, checked, trial, measured(lambda _: 1.0)(trial), numerics=NUMERICS - 1)
    said = f"these results were computed by numerics {NUMERICS - 1} of metafa, where this version has {NUMERICS}"
    assert said in report.render(addresses.at(tmp_path))
    analysed("meta_loss.py", tmp_path, monkeypatch)
    assert said in capsys.readouterr().err
    with pytest.raises(ResultsError, match="other numerics"):
        continuing.continued_rows(addresses.at(tmp_path))


@pytest.mark.parametrize("earlier", [False, True], ids=["with divergences", "results of before"])
def test_of_several_learning_rates_the_one_that_diverged_is_left_out(earlier: bool, tmp_path: Path) -> None:
    """Results of before do not say which; there the seed is left out at all of them."""
    text = "seeds = 3\n" + NOISE.replace("steps = ", "learning_rate = [1e-3, 1e-1]\nsteps = ") + EVALUATE
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        rows = [
            row | {"learning_rate": rate} for rate in (1e-3, 1e-1) for row in measured(lambda _: 1.0, seeds=3)(trial)
        ]
        lost = {"diverged_seeds": [0], "diverged_phase": "evaluate", "diverged_step": 1}
        if not earlier:
            lost["divergences"] = [{"seed": 0, "learning_rate": 1e-1, "phase": "evaluate", "step": 1}]
        synthetic_results.put(tmp_path, checked, trial, rows, status="diverged", **lost)
    table = comparison.compare(conditions.read(tmp_path))
    assert table.groupby("learning_rate")["diverged"].sum().tolist() == [2 if earlier else 0, 2]


STATUSES = ("done", "diverged", "stopped", "failed")
MIXTURES = [mixture for size in range(1, 5) for mixture in itertools.combinations(STATUSES, size)]


@pytest.mark.parametrize("mixture", MIXTURES, ids="+".join)
def test_a_report_is_made_of_every_mixture_of_statuses(mixture: tuple[str, ...], tmp_path: Path) -> None:
    text = (
        "seeds = 3\n[network]\nhidden = { choices = [[5], [6]] }\n"
        + NOISE
        + EVALUATE
        + EVALUATE.replace("inner_steps", 'name = "after"\ninner_steps')
        + '[early_stopping]\nmethod = "asha"\nmetric = "noise.meta_loss"\n'
    )
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for number, trial in enumerate(checked.trials):
        status = mixture[number % len(mixture)]
        put(tmp_path, checked, trial, status, measured(lambda _: 1.0, 3, ("evaluate", "after"))(trial))
    html = report.render(addresses.at(tmp_path))
    for status in set(mixture) - {"done"}:
        count = sum(mixture[number % len(mixture)] == status for number in range(4))
        assert f"{count} {status}" in html
    assert ("step 16 of noise" in html) == ("stopped" in mixture)
    assert ("RuntimeError: [oops]" in html) == ("failed" in mixture)
    assert not re.search(r"\bnan\b", html.partition("<script")[0], re.IGNORECASE)


def test_a_study_whose_every_seed_diverged_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    text = "seeds = 3\n" + NOISE + EVALUATE
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        lost = [{"seed": seed, "learning_rate": None, "phase": "evaluate", "step": 1} for seed in range(3)]
        outcome = {"divergences": lost, "diverged_seeds": [0, 1, 2], "diverged_phase": "evaluate", "diverged_step": 1}
        synthetic_results.put(
            tmp_path, checked, trial, measured(lambda _: np.nan, 3)(trial), status="diverged", **outcome
        )
    assert "every seed of every condition diverged" in report.render(addresses.at(tmp_path))
    analysed("meta_loss.py", tmp_path, monkeypatch)
    said = " ".join(capsys.readouterr().out.split())
    assert "every seed of every condition diverged: there is no meta-loss to compare" in said
    table = pd.read_csv(tmp_path / "analysis" / "meta_loss.csv")
    assert (table["diverged"] == 3).all()
    for script in ("adaptation.py", "alignment.py", "search.py"):
        with pytest.raises(SystemExit) as stopped:
            analysed(script, tmp_path, monkeypatch)
        assert stopped.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"{tmp_path}: ")


def test_a_study_that_grew_keeps_what_it_varied_before_and_since(tmp_path: Path) -> None:
    """Its parts have other columns then, and other types: none is lost, compacted or not."""
    evaluate = '{ phase = "evaluate", task_distributions = ["glyphs"], inner_steps = 1 }'
    data = '{ phase = "supervised", dataset = "glyphs", steps = 5, training_images = 100 }'
    first, second = f"[{evaluate}]", f"[{data}, {evaluate}]"
    for choices in (first, f"{first}, {second}"):
        text = f"seeds = 6\nphases = {{ choices = [{choices}] }}\n"
        synthetic_results.results_of(tmp_path, text, measured(lambda trial: float(len(trial.settings.phases))))
        for compacted in (False, True):
            trials = load(tmp_path).trials
            found = trials["supervised.training_images"] if len(trials) > 1 else pd.Series([np.nan])
            assert sorted(found.fillna(-1)) == ([-1, 100] if len(trials) > 1 else [-1]), compacted
            upkeep.compact(addresses.at(tmp_path))
    assert sorted(comparison.compare(conditions.read(tmp_path))["meta_loss"]) == pytest.approx([1.25, 2.25])


def test_a_copy_of_a_part_is_not_one_more_trial(tmp_path: Path) -> None:
    synthetic_results.results_of(tmp_path, "seeds = 6\n" + NOISE + EVALUATE, measured(lambda trial: 1.0))
    part = next((tmp_path / "trials").glob("*.parquet"))
    shutil.copy(part, part.with_name(f"{part.stem} (conflicted copy).parquet"))
    assert len(conditions.read(tmp_path).trials) == 2
    for table in TABLES:
        part = tmp_path / table / part.name
        shutil.copy(part, part.with_name("compact-0123456789abcdef.parquet"))
    assert len(conditions.read(tmp_path).trials) == 2


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        (
            '[[{ phase = "noise", name = "a", steps = 1 }, EVALUATE], '
            '[{ phase = "supervised", name = "a", dataset = "glyphs", steps = 1 }, EVALUATE]]',
            "'a' is called a phase of kind 'noise' in one choice and one of kind 'supervised' in another",
        ),
        ('[[EVALUATE], [{ phase = "noise", steps = 1 }]]', "no phase has images"),
        ("[[EVALUATE], [EVALUATE, EVALUATE]]", "two phases are called 'evaluate'"),
        (
            '[[EVALUATE], [{ phase = "noise", steps = 1, learning_rate = [1e-3, 1e-2] }, EVALUATE]]',
            "every choice has to list its learning rates in the same setting",
        ),
    ],
)
def test_every_choice_of_phases_is_checked(choices: str, sentence: str) -> None:
    """Not the first alone."""
    evaluate = '{ phase = "evaluate", task_distributions = ["glyphs"] }'
    with pytest.raises(StudyError, match=sentence):
        study.parse(f"phases = {{ choices = {choices.replace('EVALUATE', evaluate)} }}")


def test_a_list_of_rates_is_no_choice_wherever_it_stands() -> None:
    with pytest.raises(StudyError, match="cannot be one of `choices`"):
        study.parse(NOISE + "learning_rate = { choices = [1e-3, [1e-3, 1e-2]] }\n" + EVALUATE)


def test_of_several_tasks_a_seed_that_diverged_is_counted_once(tmp_path: Path) -> None:
    text = "seeds = 3\n" + NOISE + EVALUATE.replace('["glyphs"]', '["glyphs", "omniglot-minimal"]')
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        rows = [
            row | {"inputs": task}
            for task in ("glyphs", "omniglot-minimal")
            for row in measured(lambda _: 1.0, 3)(trial)
        ]
        lost = [{"seed": 1, "learning_rate": None, "phase": "evaluate", "step": 1, "metric": "meta_loss"}]
        synthetic_results.put(tmp_path, checked, trial, rows, status="diverged", divergences=lost)
    table = comparison.compare(conditions.read(tmp_path))
    assert set(table["diverged"]) == {1}
    assert set(table["seeds"]) == {3}


def test_a_claim_about_the_meta_loss_is_about_all_its_tasks(tmp_path: Path) -> None:
    """Whatever dataset of the same name a phase before trains on."""
    data = '[[phases]]\nphase = "supervised"\ndataset = "mnist"\nsteps = 5\n'
    text = "seeds = 6\n" + NOISE + data + EVALUATE.replace('["glyphs"]', '["glyphs", "mnist"]')

    def rows(trial: Trial) -> list[dict[str, Any]]:
        noisy = trial.varied["noise.steps"] > 0
        values = {"glyphs": 2.0 + 50 * noisy, "mnist": 2.0 - 0.5 * noisy}
        return [
            row | {"inputs": task}
            for task, value in values.items()
            for row in measured(lambda _, value=value: value)(trial)
        ]

    synthetic_results.results_of(tmp_path, text, rows)
    claim = ClaimSettings(claim=8, statement="s", metric="meta_loss", phase="evaluate", expect="lower")
    (judged,) = claims.judge_all(conditions.read(tmp_path), [claim]).to_dict("records")
    assert judged["difference"] == pytest.approx((50 - 0.5) / 2)


def test_the_answer_is_found_where_the_best_condition_lacks_a_phase(tmp_path: Path) -> None:
    evaluate = '{ phase = "evaluate", task_distributions = ["glyphs"], inner_steps = 1 }'
    data = '{ phase = "supervised", dataset = "glyphs", steps = STEPS }'
    noise = '{ phase = "noise", steps = NOISE }'
    orders = [
        f"[{', '.join(part for part in (noise, learned, evaluate) if part)}]".replace("NOISE", steps)
        for learned in ("", data.replace("STEPS", "5"), data.replace("STEPS", "500"))
        for steps in ("0", "64")
    ]
    text = f"seeds = 6\nphases = {{ choices = [{', '.join(orders)}] }}\n"
    synthetic_results.results_of(
        tmp_path, text, measured(lambda trial: len(trial.settings.phases) - trial.settings.phases[0].steps / 64)
    )
    tables = conditions.read(tmp_path)
    said = comparison.answer(comparison.compare(tables), tables.conditions)
    assert said.startswith("64 noise steps")
    assert "from 2.250 to 1.250" in said
    assert said in report.render(addresses.at(tmp_path))


def test_what_grew_is_told_of_the_trials_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that was not varied then is what it was."""
    text = "seeds = 3\nnetwork.hidden = { choices = [[5], [6]] }\n" + NOISE.replace("{ choices = [0, 64] }", "STEPS")
    for steps in ("0", "{ choices = [0, 64] }"):
        checked = study.parse(text.replace("STEPS", steps) + EVALUATE, default_name="made")
        preparation.prepare(addresses.at(tmp_path), checked)
        for trial in checked.trials:
            if not (tmp_path / "trials" / f"{trial.trial_id}.parquet").exists():
                synthetic_results.put(
                    tmp_path, checked, trial, measured(lambda one: 1.0 + one.settings.phases[0].steps, 3)(trial)
                )
    tables = conditions.read(tmp_path)
    found = objectives.points(tables, checked, objectives.chosen(tables, checked))
    assert found["noise.steps"].tolist() == (found["evaluate.meta_loss"] - 1.1).round().astype(int).tolist()
    assert sorted(found["noise.steps"]) == [0, 0, 64, 64]
    assert sorted(found["network.hidden"]) == [[5], [5], [6], [6]]
    report.render(addresses.at(tmp_path))
    analysed("search.py", tmp_path, monkeypatch)


def test_what_is_shown_is_the_best_of_each_at_its_own_last_step_and_whole(tmp_path: Path) -> None:
    """Trials of one inner step are ranked with those of two; a seed that is left of others that diverged is no best."""
    steps = "{ choices = [0, 64, 128, 256, 512, 1024, 2048] }"
    text = "seeds = 4\n" + NOISE.replace("{ choices = [0, 64] }", steps)
    text += EVALUATE.replace("inner_steps = 1", "inner_steps = { choices = [1, 2] }")
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        inner, noise = trial.varied["evaluate.inner_steps"], trial.varied["noise.steps"]
        rows = [
            dict(
                seed=seed, phase="evaluate", step=step, metric=metric, inputs="glyphs", value=float(inner) + 0.1 * seed
            )
            for seed, step in itertools.product(range(4), range(inner + 1))
            for metric in ("meta_loss", "meta_accuracy")
        ]
        lost = [dict(seed=seed, learning_rate=None, phase="evaluate", step=1, metric=None) for seed in (1, 2, 3)]
        broken = (inner, noise) == (1, 2048)
        outcome = dict(status="diverged", divergences=lost) if broken else {}
        synthetic_results.put(
            tmp_path, checked, trial, [row | {"value": 0.1} for row in rows] if broken else rows, **outcome
        )
    tables = conditions.read(tmp_path)
    shown = list(tables.shown[["evaluate.inner_steps", "noise_steps"]].itertuples(index=False, name=None))
    assert len(shown) == conditions.SHOWN
    assert {one for one in shown if one[0] == 1} == {(1, noise) for noise in (0, 64, 128, 256, 512, 1024)}
    assert not comparison.answer(comparison.compare(tables), tables.conditions).startswith("2048 noise steps lowered")


def test_a_claim_of_which_no_seed_is_left_is_said_so(tmp_path: Path) -> None:
    claimed = '[[claims]]\nclaim = 8\nstatement = "s"\nmetric = "meta_loss"\nphase = "evaluate"\nexpect = "lower"\n'
    checked = study.parse("seeds = 3\n" + NOISE + EVALUATE + claimed, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        lost = [dict(seed=seed, learning_rate=None, phase="noise", step=1, metric=None) for seed in range(3)]
        outcome = dict(status="diverged", divergences=lost) if trial.varied["noise.steps"] else {}
        synthetic_results.put(tmp_path, checked, trial, measured(lambda _: 1.0, 3)(trial), **outcome)
    html = report.render(addresses.at(tmp_path)).partition("<script")[0]
    assert "Of 1 comparisons 1 are undecided: too few seeds are left to compare." in html
    assert not re.search(r"\+?nan\b", html, re.IGNORECASE)


def test_phases_are_in_one_order_in_every_process(tmp_path: Path) -> None:
    """Not in that of hashes."""
    evaluate = '{ phase = "evaluate", name = "z", task_distributions = ["glyphs"], inner_steps = 1 }'
    names = ("delta", "alpha", "charlie", "bravo")
    choices = ", ".join(f'[{{ phase = "noise", name = "{name}", steps = 64 }}, {evaluate}]' for name in names)
    synthetic_results.results_of(
        tmp_path, f"seeds = 2\nphases = {{ choices = [{choices}] }}\n", measured(lambda _: 1.0, 2, ("z",))
    )
    script = f"from metafa.reporting import conditions; print(conditions.read({str(tmp_path)!r}).phases)"
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
    assert "'z']" in said.pop()


def test_results_without_a_trial_are_shown(tmp_path: Path) -> None:
    preparation.prepare(addresses.at(tmp_path), study.parse(NOISE + EVALUATE))
    assert "none has ended yet" in load(tmp_path)._repr_html_()


def test_a_study_that_ran_is_read_though_it_would_be_refused_now(tmp_path: Path) -> None:
    """CMA-ES over choices was let pass, and was random; a claim that cannot be judged was written down."""
    text = "seeds = 2\n" + NOISE + EVALUATE
    text += '[search]\nmethod = "cmaes"\ntrials = 2\nobjectives = ["evaluate.meta_loss"]\n'
    with pytest.raises(StudyError, match="cmaes"):
        study.parse(text)
    before = study.parse(text, "made", has_results=True)
    preparation.prepare(addresses.at(tmp_path), before)
    for steps in (0, 64):
        trial = before.trial({"noise.steps": steps})
        synthetic_results.put(tmp_path, before, trial, measured(lambda _: 1.0, 2)(trial), numerics=NUMERICS - 1)
    html = report.render(addresses.at(tmp_path))
    assert "done, 2 trials" in html
    assert f"these results were computed by numerics {NUMERICS - 1} of metafa" in html
