"""Phases as choices, each of which is checked."""

from __future__ import annotations

import pytest
from synthetic_results import EVALUATE, NOISE, SUPERVISED, study_of

from metafa.errors import StudyError
from metafa.studies import study

NOISE_ONCE = NOISE | {"steps": 1}


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        (
            [[NOISE_ONCE | {"name": "a"}, EVALUATE], [SUPERVISED | {"name": "a"}, EVALUATE]],
            "'a' is called a phase of kind 'noise' in one choice and one of kind 'supervised' in another",
        ),
        ([[EVALUATE], [NOISE_ONCE]], "no phase has images"),
        ([[EVALUATE], [EVALUATE, EVALUATE]], "two phases are called 'evaluate'"),
        (
            [[EVALUATE], [NOISE_ONCE | {"learning_rate": [1e-3, 1e-2]}, EVALUATE]],
            "every choice has to list its learning rates in the same setting",
        ),
    ],
)
def test_every_choice_of_phases_is_checked(choices: list[list[dict]], sentence: str) -> None:
    """Not the first alone."""
    with pytest.raises(StudyError, match=sentence):
        study.parse(study_of(*choices))


def test_a_list_of_rates_is_no_choice_wherever_it_stands() -> None:
    with pytest.raises(StudyError, match="cannot be one of `choices`"):
        study.parse(study_of(NOISE | {"learning_rate": {"choices": [1e-3, [1e-3, 1e-2]]}}, EVALUATE))
