"""What `metafa check` says of the numbers that a study would go on with."""

from pathlib import Path

import pytest
import synthetic_results

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
