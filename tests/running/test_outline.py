"""What `metafa check` says of the numbers that a study would go on with."""

from pathlib import Path

import pytest
import synthetic_results
from study_texts import study_with
from trial_runs import run, settings_of

from metafa.learning import products
from metafa.results import addresses, preparation
from metafa.running import outline
from metafa.studies import study

STUDY = """\
network.rule = { choices = ["backprop", "feedback_alignment"] }
seeds = 2
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


@pytest.mark.parametrize(
    ("library", "sentence"),
    [
        (None, False),  # as versions wrote it that did not say
        (products.library("cpu"), False),
        ("another", True),
    ],
)
def test_results_of_another_library_of_products_are_named(library: str | None, sentence: bool, tmp_path: Path) -> None:
    checked, store = study.parse(STUDY, default_name="made"), addresses.at(tmp_path / "results")
    assert outline.products(checked, store) is None, "there are no results yet"
    preparation.prepare(store, checked)
    synthetic_results.put(store.address, checked, checked.trials[0], [], matrix_products=library)
    told = outline.products(checked, store)
    assert (told is not None) == sentence
    assert told is None or ("products of another;" in told and f"are of {products.library('cpu')}," in told)


CHOICES = """
name = "choices"
question = "?"
seeds = 2
network.hidden = { choices = [[8], [8, 4]] }
phases.choices = [
    [{ phase = "noise", steps = 3 }, { phase = "evaluate", task_distributions = ["glyphs"] }],
    [{ phase = "evaluate", task_distributions = ["glyphs"] }],
]
"""


def test_what_is_recorded_of_many_components_is_counted() -> None:
    """As many rows as a trial then has, where all of its moments differ."""
    base = {
        "seeds": 3,
        "network": {"hidden": [20, 10]},
        "phases": [
            {"phase": "noise", "steps": 100},
            {"phase": "supervised", "dataset": "digits", "steps": 100},
            {"phase": "whole_datasets", "datasets": ["digits"], "steps": 100},
        ],
        "measure": {"points": 5, "units": True, "last_layer_weights": True},
    }
    settings = settings_of(base)
    rows = run(settings).rows
    units = sum(row["metric"] == "alignment_angle_of_unit" for row in rows)
    weights = sum(row["metric"] in ("last_layer_weight", "last_layer_feedback") for row in rows)
    assert list(outline.component_rows(study.parse(study_with(base)))) == [
        f"`measure.units` records up to {units:,} measurements in a trial",
        f"`measure.last_layer_weights` records up to {weights:,} measurements in a trial",
    ]
    assert not list(outline.component_rows(study.parse(STUDY)))


def test_each_choice_of_phases_stands_in_a_line_of_its_own() -> None:
    told = list(outline.lines(study.parse(CHOICES), "results", 0))
    assert told[2:] == [
        ("varies", "network.hidden: [8], [8, 4]"),
        ("varies", "phases"),
        ("", "noise (steps 3) → evaluate (task_distributions glyphs)"),
        ("", "evaluate (task_distributions glyphs)"),
    ]
