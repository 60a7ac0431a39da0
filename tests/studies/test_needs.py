"""What a trial needs and does, read off its settings."""

import pytest
from study_bases import GRID, mistakes
from study_texts import study_with

from metafa.studies import needs, study


@pytest.mark.parametrize(
    ("rule", "meta", "expected"),
    [
        ("backprop", {}, ["weights"] * 4),
        ("feedback_alignment", {}, ["none", "none", "weights", "none"]),
        ("feedback_alignment", {"outer_algorithm": "first_order"}, ["none"] * 4),
        ("kolen_pollack", {"outer_algorithm": "reptile"}, ["none"] * 4),
        (
            "weight_mirror",
            {"outer_algorithm": "first_order", "outer_rule": "backprop"},
            ["none", "none", "weights", "none"],
        ),
        ("sign_symmetry_fixed", {"outer_algorithm": "first_order"}, ["signs"] * 4),
        ("backprop", {"outer_algorithm": "anil"}, ["weights", "none", "weights", "weights"]),
        ("backprop", {"outer_algorithm": "none"}, ["weights", "none", "none", "weights"]),
    ],
)
def test_weight_transport_is_said_of_every_part(rule: str, meta: dict, expected: list[str]) -> None:
    """An exact meta-gradient and backprop read weights; Reptile sends no error of its own; a readout needs none."""
    settings = study.parse(study_with(GRID, network={"rule": rule}, meta=meta)).trials[0].settings
    parts = ["noise", "meta, inner loop", "meta, outer loop", "evaluate"]
    assert needs.transports(settings) == dict(zip(parts, expected, strict=True))


def test_noise_that_is_learned_by_backprop_transports_weights() -> None:
    changes = {
        "network": {"rule": "feedback_alignment"},
        "noise": {"rule": "backprop"},
        "meta": {"outer_algorithm": "reptile"},
    }
    settings = study.parse(study_with(GRID, **changes)).trials[0].settings
    assert needs.transports(settings) == {
        "noise": "weights", "meta, inner loop": "none", "meta, outer loop": "none", "evaluate": "none"
    }  # fmt: skip


def test_a_study_needs_images() -> None:
    assert mistakes('[[phases]]\nphase = "noise"\nsteps = 3\n') == [
        's.toml:1: phases: no phase has images; add one with phase = "evaluate", "meta" or "supervised"'
    ]
