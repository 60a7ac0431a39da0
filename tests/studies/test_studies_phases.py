"""What a phase may say."""

import pytest
from study_bases import SUPERVISED, mistakes
from study_texts import study_with


@pytest.mark.parametrize(
    ("supervised", "said"),
    [
        ({"steps": 3}, "a supervised phase is as long as its `steps` or its `epochs` say: one of the two"),
        ({"training_images": 20}, "`training_images` is 20, less than a batch of 64"),
    ],
)
def test_what_does_not_fit_in_a_supervised_phase_is_said(supervised: dict, said: str) -> None:
    (message,) = mistakes(study_with(SUPERVISED, supervised=supervised))
    assert message.endswith(f": phases[0]: {said}")
