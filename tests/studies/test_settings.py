"""The settings of a trial, by name."""

from study_bases import GRID
from study_texts import study_with

from metafa.studies import settings, study


def test_settings_are_flattened_under_dotted_names() -> None:
    flat = settings.flatten(study.parse(study_with(GRID)).trials[1].settings)
    assert flat["noise.steps"] == 100
    assert flat["network.rule"] == "backprop"
    assert flat["phases"] == ["noise", "meta", "evaluate"]
    assert flat["meta.inner_learning_rate"] == 0.3
    assert flat["evaluate.task_distributions"] == ["glyphs"]
