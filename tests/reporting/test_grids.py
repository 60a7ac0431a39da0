"""Verdicts over all conditions, on grids of which it is known where a claim holds."""

from __future__ import annotations

import itertools

import pandas as pd
import pytest

from metafa.reporting import grids
from metafa.reporting.grids import Grid

RATES, STEPS = (1e-4, 2e-4), (1250, 2500, 5000, 10000)


def grid_of(verdicts: list[str], settings: list[dict] | None = None) -> Grid:
    """A claim judged in as many conditions: by default of each rate and number of steps, all else alike."""
    every = [
        {"noise.steps": n, "noise.learning_rate": rate, "noise.batch_size": 64, "seeds": 16}
        for rate, n in itertools.product(RATES, STEPS)
    ]
    rows = pd.DataFrame(
        {"figure": "figure_1", "statement": "s", "compared": "", "expected": "lower", "verdict": verdicts}
    )
    return Grid("figure_1", "s", rows.assign(settings=settings or every[: len(verdicts)]))


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["holds"], "holds in the one condition"),
        (["fails"] * 2, "fails in both conditions"),
        (["holds"] * 8, "holds in all 8 conditions"),
        (
            ["holds"] * 7 + ["fails"],
            "holds in 7 of 8 conditions; fails in 1: with noise.steps 10000 and noise.learning_rate 0.0002",
        ),
        (
            (["holds"] * 2 + ["fails"] * 2) * 2,
            "holds in 4 of 8 conditions; fails in 4: with noise.steps 5000 or 10000",
        ),
        (
            ["holds"] * 3 + ["undecided"] + ["fails"] * 4,
            "holds in 3 of 8 conditions: with noise.steps 1250 or 2500 or 5000 and noise.learning_rate 0.0001; "
            "fails in 4; is undecided in 1: with noise.steps 10000 and noise.learning_rate 0.0001",
        ),
        (["fails"] * 7 + ["undecided"], "holds in none of 8 conditions; fails in 7; is undecided in 1: with"),
    ],
)
def test_where_a_claim_holds_is_said_by_the_settings_that_vary(verdicts: list[str], said: str) -> None:
    assert grid_of(verdicts).verdict.startswith(said)


def test_settings_that_tell_the_same_conditions_apart_are_said_once() -> None:
    """Of several studies, which have not all the same settings."""
    settings = [{"supervised.dataset": "mnist", "seeds": 16}, {"supervised.dataset": "usps", "seeds": 8}]
    settings += [{"supervised.dataset": "glyphs", "seeds": 8, "network.normalization": "batch"}]
    assert grids.varied(settings) == ["supervised.dataset", "network.normalization", "seeds"]
    assert grids.varied([{**one, "noise.dataset": one["supervised.dataset"]} for one in settings])[0] == (
        "supervised.dataset"
    )
    found = grid_of(["holds", "holds", "fails"], settings).verdict
    assert found == "holds in 2 of 3 conditions; fails in 1: with supervised.dataset glyphs"


def test_what_no_settings_tell_is_said_so() -> None:
    """The same condition twice, in two studies."""
    twice = [{"noise.steps": 9}, {"noise.steps": 9}, {"noise.steps": 10}]
    found = grid_of(["holds", "fails", "holds"], twice)
    assert found.verdict == "holds in 2 of 3 conditions; fails in 1: no few settings tell where"
    assert found.heat.empty


def test_a_heat_table_has_every_verdict_at_its_place() -> None:
    table = grid_of(["holds"] * 3 + ["undecided"] + ["fails"] * 4).heat
    assert list(table) == ["noise.learning_rate", *(f"noise.steps {one}" for one in STEPS)]
    assert table.to_numpy().tolist() == [
        ["0.0001", "holds", "holds", "holds", "undecided"],
        ["0.0002", "fails", "fails", "fails", "fails"],
    ]


def test_claims_of_one_figure_and_statement_are_one_claim() -> None:
    """And conditions of the same settings are one, whatever the rounding of their networks made of the verdict."""
    rows = pd.concat([grid_of(["holds", "fails"]).rows, grid_of(["undecided"]).rows])
    again = grid_of(["holds"]).rows.assign(compared="another")
    other = grid_of(["fails"]).rows.assign(figure="")
    judged = pd.concat([rows, again, other], ignore_index=True)
    (of_paper, own) = grids.of_claims(judged)
    assert of_paper.rows["verdict"].tolist() == ["holds", "fails", "holds"]
    assert (of_paper.figure, own.figure, len(own.rows)) == ("figure_1", "", 1)
    assert grids.summary(judged) == "Of 1 claim of the figures, 1 holds in some conditions."
    assert grids.summary(other) == "Of 1 claim, 1 fails in every condition."


def test_a_summary_says_what_is_true_of_each_claim() -> None:
    every = ["HH", "HF", "HU", "HFU", "FF", "UU", "U", "FU"]
    letters = {"H": "holds", "F": "fails", "U": "undecided"}
    rows = [grid_of([letters[one] for one in verdicts]).rows.assign(statement=verdicts) for verdicts in every]
    assert grids.summary(pd.concat(rows, ignore_index=True)) == (
        "Of 8 claims of the figures, 1 holds in every condition, 3 hold in some conditions, 1 fails in every "
        "condition, 2 are undecided in every condition, 1 fails in some conditions and is undecided in the others."
    )
