"""What tells the conditions of a study apart, and which seeds count, on results whose answers are known."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from synthetic_results import EVALUATE, NOISE, SUPERVISED, meta_losses, results_of, study_of

from metafa.errors import ResultsError, StudyError
from metafa.reporting import claims, comparison, conditions, report
from metafa.reporting.appearance import in_words
from metafa.results import addresses, continuing, preparation, upkeep
from metafa.results.columns import TABLES
from metafa.results.tables import load
from metafa.studies import study
from metafa.studies.claims import ClaimSettings
from metafa.studies.settings import NUMERICS
from metafa.studies.trial import Trial


def test_noise_phases_of_the_same_length_are_conditions_of_their_own(tmp_path: Path) -> None:
    """64 steps of one kind of noise are not 64 of another: each is compared with none of either."""
    phases = [NOISE | {"name": name, "inputs": name} for name in ("normal", "uniform")]
    losses = {(0, 0): 1.475, (64, 0): 1.410, (0, 64): 1.610, (64, 64): 1.611}

    def loss(trial: Trial) -> float:
        return losses[trial.varied["normal.steps"], trial.varied["uniform.steps"]]

    results_of(tmp_path, study_of(*phases, EVALUATE, seeds=6), meta_losses(loss))
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


def test_phases_as_choices_keep_every_setting(tmp_path: Path) -> None:
    first = [NOISE | {"steps": 64}, SUPERVISED, SUPERVISED | {"steps": 500, "learning_rate": 1e-3}]
    text = study_of(*([one, EVALUATE] for one in first), seeds=6)
    steps = ("noise", 64), ("supervised", 5), ("supervised", 500)

    def loss(trial: Trial) -> float:
        phase: Any = trial.settings.phases[0]
        return 1.0 + steps.index((phase.phase, phase.steps))

    results_of(tmp_path, text, meta_losses(loss))
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


@pytest.mark.parametrize(
    ("setting", "column", "seeds"), [("seed", "study_seed", [4, 4]), ("seeds", "number_of_seeds", [2, 3])]
)
def test_seeds_may_be_varied(
    setting: str, column: str, seeds: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a measurement has a seed too, and a table says how many seeds a number is of."""
    choices = [0, 1] if setting == "seed" else seeds
    text = study_of(NOISE, EVALUATE, **{"seeds": 4, setting: {"choices": choices}})

    def rows(trial: Trial) -> list[dict[str, Any]]:
        value = getattr(trial.settings, setting) + trial.varied["noise.steps"] / 64
        return meta_losses(lambda _: value, trial.settings.seeds)(trial)

    results_of(tmp_path, text, rows)
    table = comparison.compare(conditions.read(tmp_path)).sort_values([column, "noise_steps"])
    assert table[column].tolist() == [choices[0]] * 2 + [choices[1]] * 2
    assert table["seeds"].tolist() == [seeds[0]] * 2 + [seeds[1]] * 2
    means = [choice + noise + 0.05 * (n - 1) for choice, n in zip(choices, seeds, strict=True) for noise in (0, 1)]
    assert table["meta_loss"].tolist() == pytest.approx(means)
    assert table["difference"].tolist() == pytest.approx([np.nan, 1, np.nan, 1], nan_ok=True)
    report.render(addresses.at(tmp_path))
    for script in ("meta_loss.py", "adaptation.py", "search.py"):
        synthetic_results.run_here(script, tmp_path, monkeypatch)


def put_with_status(folder: Path, checked: study.Study, trial: Trial, status: str, rows: list[dict[str, Any]]) -> None:
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
    text = study_of(NOISE, EVALUATE, EVALUATE | {"name": "after"}, seeds=6)
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        noisy = trial.varied["noise.steps"] > 0
        rows = meta_losses(lambda trial: 2.0, phases=("evaluate", "after"))(trial)
        for row in rows:
            if noisy and row["phase"] == "after" and row["seed"] in (1, 2):
                row["value"] = {"meta_loss": 1e9, "meta_accuracy": 0.2}[row["metric"]]
        put_with_status(tmp_path, checked, trial, "diverged" if noisy else "done", rows)
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
    text = study_of(NOISE, EVALUATE, seeds=6)
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        synthetic_results.put(tmp_path, checked, trial, meta_losses(lambda _: 1.0)(trial), numerics=NUMERICS - 1)
    said = f"these results were computed by numerics {NUMERICS - 1} of metafa, where this version has {NUMERICS}"
    assert said in report.render(addresses.at(tmp_path))
    synthetic_results.run_here("meta_loss.py", tmp_path, monkeypatch)
    assert said in capsys.readouterr().err
    with pytest.raises(ResultsError, match="other numerics"):
        continuing.continued_rows(addresses.at(tmp_path))


STATUSES = ("done", "diverged", "stopped", "failed")


MIXTURES = [mixture for size in range(1, 5) for mixture in itertools.combinations(STATUSES, size)]


@pytest.mark.parametrize("mixture", MIXTURES, ids="+".join)
def test_a_report_is_made_of_every_mixture_of_statuses(mixture: tuple[str, ...], tmp_path: Path) -> None:
    text = study_of(
        *(NOISE, EVALUATE, EVALUATE | {"name": "after"}),
        seeds=3,
        network={"hidden": {"choices": [[5], [6]]}},
        early_stopping={"method": "asha", "metric": "noise.meta_loss"},
    )
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for number, trial in enumerate(checked.trials):
        status = mixture[number % len(mixture)]
        put_with_status(tmp_path, checked, trial, status, meta_losses(lambda _: 1.0, 3, ("evaluate", "after"))(trial))
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
    text = study_of(NOISE, EVALUATE, seeds=3)
    checked = study.parse(text, default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        lost = [{"seed": seed, "learning_rate": None, "phase": "evaluate", "step": 1} for seed in range(3)]
        outcome = {"divergences": lost, "diverged_seeds": [0, 1, 2], "diverged_phase": "evaluate", "diverged_step": 1}
        synthetic_results.put(
            tmp_path, checked, trial, meta_losses(lambda _: np.nan, 3)(trial), status="diverged", **outcome
        )
    assert "every seed of every condition diverged" in report.render(addresses.at(tmp_path))
    synthetic_results.run_here("meta_loss.py", tmp_path, monkeypatch)
    said = " ".join(capsys.readouterr().out.split())
    assert "every seed of every condition diverged: there is no meta-loss to compare" in said
    table = pd.read_csv(tmp_path / "analysis" / "meta_loss.csv")
    assert (table["diverged"] == 3).all()
    for script in ("adaptation.py", "alignment.py", "search.py"):
        with pytest.raises(SystemExit) as stopped:
            synthetic_results.run_here(script, tmp_path, monkeypatch)
        assert stopped.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"{tmp_path}: ")


def test_a_study_that_grew_keeps_what_it_varied_before_and_since(tmp_path: Path) -> None:
    """Its parts have other columns then, and other types: none is lost, compacted or not."""
    first, second = [EVALUATE], [SUPERVISED | {"training_images": 100}, EVALUATE]
    for choices in ([first], [first, second]):
        text = study_of(*choices, seeds=6)
        results_of(tmp_path, text, meta_losses(lambda trial: float(len(trial.settings.phases))))
        for compacted in (False, True):
            trials = load(tmp_path).trials
            found = trials["supervised.training_images"] if len(trials) > 1 else pd.Series([np.nan])
            assert sorted(found.fillna(-1)) == ([-1, 100] if len(trials) > 1 else [-1]), compacted
            upkeep.compact(addresses.at(tmp_path))
    assert sorted(comparison.compare(conditions.read(tmp_path))["meta_loss"]) == pytest.approx([1.25, 2.25])


def test_a_copy_of_a_part_is_not_one_more_trial(tmp_path: Path) -> None:
    results_of(tmp_path, study_of(NOISE, EVALUATE, seeds=6), meta_losses(lambda trial: 1.0))
    part = next((tmp_path / "trials").glob("*.parquet"))
    shutil.copy(part, part.with_name(f"{part.stem} (conflicted copy).parquet"))
    assert len(conditions.read(tmp_path).trials) == 2
    for table in TABLES:
        part = tmp_path / table / part.name
        shutil.copy(part, part.with_name("compact-0123456789abcdef.parquet"))
    assert len(conditions.read(tmp_path).trials) == 2


def test_what_is_shown_is_the_best_of_each_at_its_own_last_step_and_whole(tmp_path: Path) -> None:
    """Trials of one inner step are ranked with those of two; a seed that is left of others that diverged is no best."""
    noise = NOISE | {"steps": {"choices": [0, 64, 128, 256, 512, 1024, 2048]}}
    text = study_of(noise, EVALUATE | {"inner_steps": {"choices": [1, 2]}}, seeds=4)
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


def test_phases_are_in_one_order_in_every_process(tmp_path: Path) -> None:
    """Not in that of hashes."""
    names = ("delta", "alpha", "charlie", "bravo")
    choices = ([NOISE | {"name": name, "steps": 64}, EVALUATE | {"name": "z"}] for name in names)
    results_of(tmp_path, study_of(*choices, seeds=2), meta_losses(lambda _: 1.0, 2, ("z",)))
    script = f"from metafa.reporting import conditions; print(conditions.read({str(tmp_path)!r}).phases)"
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
    assert "'z']" in said.pop()


def test_a_study_that_ran_is_read_though_it_would_be_refused_now(tmp_path: Path) -> None:
    """CMA-ES over choices was let pass, and was random; a claim that cannot be judged was written down."""
    search = {"method": "cmaes", "trials": 2, "objectives": ["evaluate.meta_loss"]}
    text = study_of(NOISE, EVALUATE, seeds=2, search=search)
    with pytest.raises(StudyError, match="cmaes"):
        study.parse(text)
    before = study.parse(text, "made", has_results=True)
    preparation.prepare(addresses.at(tmp_path), before)
    for steps in (0, 64):
        trial = before.trial({"noise.steps": steps})
        synthetic_results.put(tmp_path, before, trial, meta_losses(lambda _: 1.0, 2)(trial), numerics=NUMERICS - 1)
    html = report.render(addresses.at(tmp_path))
    assert "done, 2 trials" in html
    assert f"these results were computed by numerics {NUMERICS - 1} of metafa" in html
