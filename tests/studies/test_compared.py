"""Which conditions a claim compares, and what is said of a claim about conditions that a study does not have."""

from __future__ import annotations

from typing import Any

import pytest
from study_bases import mistakes
from study_texts import study_with

from metafa.studies import compared, study
from metafa.studies.claims import ClaimSettings
from metafa.studies.settings import flatten

NOISE = {"phase": "noise", "steps": 9}
DATA = {"phase": "supervised", "dataset": "digits", "steps": 9}
CONTROLLED = {
    "network": {"rule": {"choices": ["feedback_alignment", "kolen_pollack"]}},
    "phases": [
        NOISE
        | {
            "control": {"choices": ["none", "random_step", "soft_alignment"]},
            "inputs": {"choices": ["normal", "pink"]},
        },
        DATA,
    ],
}
ORDERS = {"phases": {"choices": [[NOISE, DATA], [DATA, NOISE], [DATA], [NOISE | {"steps": 5}, DATA]]}}
CLAIM: dict[str, Any] = {"claim": 2, "statement": "s", "metric": "accuracy", "phase": "supervised", "expect": "higher"}


def paired(base: dict, **claim: Any) -> list[tuple[dict, list[dict]]]:
    """The conditions that a claim is about and those that it compares them with, as what tells them apart."""
    trials = study.parse(study_with(base)).trials
    flats = [compared.flat_of(flatten(trial.settings)) for trial in trials]
    apart = [
        {name: flat[name] for name in ("noise.control", "noise.inputs", "noise.steps", "phases") if name in flat}
        for flat in flats
    ]
    found = compared.partners(ClaimSettings(**CLAIM | claim), flats)
    return [(apart[number], [apart[other] for other in others]) for number, others in found.items()]


def test_each_condition_is_compared_with_the_one_that_differs_in_what_is_said_alone() -> None:
    pairs = paired(CONTROLLED, against={"noise.control": "random_step"}, where={"noise.inputs": "pink"})
    assert [(one["noise.control"], one["noise.inputs"]) for one, _ in pairs] == [
        ("none", "pink"),
        ("soft_alignment", "pink"),
    ]
    for one, others in pairs:
        assert others == [one | {"noise.control": "random_step"}]


def test_orders_are_compared_by_the_settings_of_phases_that_both_have() -> None:
    data_first = ("supervised", "noise")
    pairs = paired(ORDERS, against={"phases": list(data_first)})
    steps = [(one["phases"], one.get("noise.steps"), [other["phases"] for other in others]) for one, others in pairs]
    assert steps == [
        (("noise", "supervised"), 9, [data_first]),
        (("supervised",), None, [data_first]),
        (("noise", "supervised"), 5, []),
    ]
    assert [len(others) for _, others in paired(ORDERS, against={"phases": ["supervised"]})] == [1, 1, 1]


@pytest.mark.parametrize(
    ("base", "claim", "said"),
    [
        (
            CONTROLLED,
            {"against": {"noise.controls": "none"}},
            "claims[0].against: found 'noise.controls', which no trial of this study has; did you mean "
            "'noise.control'?",
        ),
        (
            CONTROLLED,
            {"against": {"noise.control": "soft_alignment"}, "where": {"noise.inputs": "uniform"}},
            "claims[0].where: found noise.inputs = 'uniform', but in this study it is 'normal', 'pink'",
        ),
        (
            ORDERS,
            {"against": {"phases": ["noise", "supervised"]}},
            "claims[0].against: several conditions with phases = noise, supervised match; say which noise.steps here "
            "too",
        ),
        (
            ORDERS,
            {"against": {"noise.steps": 5}, "where": {"phases": ["supervised"]}},
            "claims[0].against: no condition with noise.steps = 5 is like one with network.rule = feedback_alignment, "
            "phases = supervised in all other settings; compare conditions that differ in what stands here alone",
        ),
        (
            ORDERS,
            {"against": {"noise.steps": 5}, "where": {"noise.steps": 5}},
            "claims[0].against: found noise.steps = 5, but every condition that the claim is about has it itself; "
            "nothing would differ",
        ),
        (
            CONTROLLED,
            {"against": {"noise.steps": 9}},
            "claims[0].against: found noise.steps = 9, but every condition that the claim is about has it itself",
        ),
        (
            ORDERS,
            {"where": {"noise.steps": 5, "phases": ["supervised"]}},
            "claims[0].where: no condition of this study that measures it has network.rule = feedback_alignment, "
            "noise.steps = 5, phases = supervised",
        ),
        (
            {"phases": [NOISE, DATA | {"learning_rate": [1e-4, 1e-3]}]},
            {"against": {"supervised.learning_rate": 1e-4}},
            "claims[0].against: the rates of supervised.learning_rate stand side by side in one trial, where they "
            "cannot be compared; give them as `choices`",
        ),
        (
            CONTROLLED,
            {"against": {"noise.control": "none"}, "compare": "start"},
            "claims[0]: `against` stands in place of `compare`, and says at least one setting",
        ),
        (
            CONTROLLED,
            {"where": {"network.rule": "backprop"}},
            "claims[0]: `rule` says which rule the claim is about; leave network.rule out of `where`",
        ),
    ],
)
def test_a_claim_about_conditions_that_a_study_does_not_have_is_refused(base: dict, claim: dict, said: str) -> None:
    (message,) = mistakes(study_with(base, claims=[CLAIM | claim]))
    assert said in message


def test_dotted_names_may_stand_without_quotes() -> None:
    """TOML makes tables of them."""
    text = study_with(CONTROLLED, claims=[CLAIM | {"against": {"noise": {"control": "random_step"}}}])
    assert study.parse(text).claims[0].against == {"noise.control": "random_step"}


def test_a_claim_needs_two_networks() -> None:
    text = study_with(CONTROLLED, seeds={"choices": [4, 1]}, claims=[CLAIM | {"against": {"noise.control": "none"}}])
    (message,) = mistakes(text)
    assert message.endswith("seeds: found 1, but a claim needs at least 2 networks for its 95% interval")
