"""Whether the phases of a trial fit each other, and which images they draw on."""

import pytest
from study_bases import EVALUATE, SUPERVISED, mistakes
from study_texts import study_with

from metafa.studies import study

SHIFTED = {"phase": "out_of_distribution", "rotation": [10]}


def test_a_shift_is_of_the_dataset_trained_on_where_none_is_said() -> None:
    phases = [{**SUPERVISED["phases"][0], "dataset": {"choices": ["digits", "glyphs"]}}, SHIFTED]
    found = [trial.settings for trial in study.parse(study_with(SUPERVISED, phases=phases)).trials]
    assert [settings.datasets()["out_of_distribution"] for settings in found] == ["digits", "glyphs"]
    assert [set(settings.pixels.values()) for settings in found] == [{64}, {784}]


def test_a_network_takes_images_of_one_size() -> None:
    (message,) = mistakes(study_with(SUPERVISED, phases=[*SUPERVISED["phases"], EVALUATE]))
    assert "images of one size, found pixels: 64 in supervised, 784 in evaluate" in message


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ([SHIFTED], "s.toml: out_of_distribution needs a `dataset`, or a supervised phase before it"),
        (
            [*SUPERVISED["phases"], {"phase": "out_of_distribution", "datasets": ["kmnist"]}],
            "s.toml: out_of_distribution.datasets: their classes are the ten digits; those of kmnist are not",
        ),
    ],
)
def test_what_tests_out_of_distribution_fits_what_was_trained_on(phases: list, said: str) -> None:
    assert said in mistakes(study_with(SUPERVISED, phases=phases))
