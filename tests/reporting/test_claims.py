"""Claims, as a study's results decide them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import synthetic_results
from claim_rows import rows_of
from synthetic_results import EVALUATE, NOISE, SUPERVISED, meta_losses, results_of, study_of

from metafa.reporting import claims, conditions, report
from metafa.reporting.claims import judge
from metafa.reporting.conditions import RULE, Tables
from metafa.results import addresses, preparation
from metafa.studies import study
from metafa.studies.claims import ClaimSettings
from metafa.studies.trial import Trial


def test_a_claim_has_a_row_for_each_number_of_noise_steps() -> None:
    """And where it names no layer, it is about their mean."""
    found = [
        (f"with {noise}", seed, noise, layer, 10.0 * layer - noise / 100 + 0.1 * seed + (seed % 2) * (noise > 0) * 0.01)
        for noise in (0, 500, 1000)
        for seed in range(8)
        for layer in (2, 3)
    ]
    rows = rows_of("trial_id seed noise_steps layer value", found, step=0, phase="noise")
    claim = ClaimSettings(claim=3, statement="s", metric="alignment_angle", phase="noise", expect="lower")
    judged = judge(rows, claim, Tables(addresses.at("nowhere"), rows, rows, [RULE, conditions.NOISE], []))
    assert judged["compared"].tolist() == [
        f"alignment_angle: {noise} noise steps against no noise" for noise in (500, 1000)
    ]
    assert judged["difference"].tolist() == pytest.approx([-4.995, -9.995])
    assert judged["against"].tolist() == pytest.approx([25.35, 25.35])
    assert judged["verdict"].tolist() == ["holds", "holds"]


def test_a_claim_about_the_meta_loss_is_about_all_its_tasks(tmp_path: Path) -> None:
    """Whatever dataset of the same name a phase before trains on."""
    evaluate = EVALUATE | {"task_distributions": ["glyphs", "mnist"]}
    text = study_of(NOISE, SUPERVISED | {"dataset": "mnist"}, evaluate, seeds=6)

    def rows(trial: Trial) -> list[dict[str, Any]]:
        noisy = trial.varied["noise.steps"] > 0
        values = {"glyphs": 2.0 + 50 * noisy, "mnist": 2.0 - 0.5 * noisy}
        return [
            row | {"inputs": task}
            for task, value in values.items()
            for row in meta_losses(lambda _, value=value: value)(trial)
        ]

    results_of(tmp_path, text, rows)
    claim = ClaimSettings(claim=8, statement="s", metric="meta_loss", phase="evaluate", expect="lower")
    (judged,) = claims.judge_all(conditions.read(tmp_path), [claim]).to_dict("records")
    assert judged["difference"] == pytest.approx((50 - 0.5) / 2)


def test_a_claim_of_which_no_seed_is_left_is_said_so(tmp_path: Path) -> None:
    claim = {"claim": 8, "statement": "s", "metric": "meta_loss", "phase": "evaluate", "expect": "lower"}
    checked = study.parse(study_of(NOISE, EVALUATE, seeds=3, claims=[claim]), default_name="made")
    preparation.prepare(addresses.at(tmp_path), checked)
    for trial in checked.trials:
        lost = [dict(seed=seed, learning_rate=None, phase="noise", step=1, metric=None) for seed in range(3)]
        outcome = dict(status="diverged", divergences=lost) if trial.varied["noise.steps"] else {}
        synthetic_results.put(tmp_path, checked, trial, meta_losses(lambda _: 1.0, 3)(trial), **outcome)
    html = report.render(addresses.at(tmp_path)).partition("<script")[0]
    assert "Of 1 comparisons 1 are undecided: too few seeds are left to compare." in html
    assert not re.search(r"\+?nan\b", html, re.IGNORECASE)
