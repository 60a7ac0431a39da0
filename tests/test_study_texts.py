import tomllib

import pytest
from study_texts import study_with, written

BASE = {
    "seeds": 4,
    "network": {"rule": "backprop", "hidden": [3]},
    "phases": [
        {"phase": "noise", "steps": {"choices": [0, 10]}},
        {"phase": "evaluate", "name": "last", "task_distributions": ["glyphs"]},
    ],
}


def test_a_study_is_written_as_it_is() -> None:
    assert tomllib.loads(study_with(BASE)) == BASE


def test_tables_and_phases_are_merged_and_everything_else_is_replaced() -> None:
    text = study_with(BASE, seeds=5, seed={"low": 0, "high": 9}, network={"rule": "kolen_pollack"}, last={"ways": 2})
    assert tomllib.loads(text) == {
        "seeds": 5,
        "seed": {"low": 0, "high": 9},
        "network": {"rule": "kolen_pollack", "hidden": [3]},
        "phases": [BASE["phases"][0], {**BASE["phases"][1], "ways": 2}],
    }
    assert tomllib.loads(study_with(BASE, noise={"steps": {"low": 1, "high": 2}}))["phases"][0] == {
        "phase": "noise",
        "steps": {"low": 1, "high": 2},
    }
    assert tomllib.loads(study_with(BASE, phases=[{"phase": "noise", "steps": 1}]))["phases"] == [
        {"phase": "noise", "steps": 1}
    ]


def test_none_removes() -> None:
    changed = tomllib.loads(study_with(BASE, seeds=None, network={"rule": None}, noise=None))
    assert changed == {"network": {"hidden": [3]}, "phases": BASE["phases"][1:]}


@pytest.mark.parametrize(
    "changes",
    [
        {"meta": {"outer_steps": 3}},
        {"evaluate": {"ways": 2}},
        {"sedes": 4},
        {"seed": None},
        {"network": {"bias": None}},
        {"noise": {"mean": None}},
        {"phases": [], "noise": {"steps": 1}},
    ],
)
def test_what_a_study_does_not_have_is_not_changed(changes: dict) -> None:
    with pytest.raises(KeyError):
        study_with(BASE, **changes)


def test_a_base_is_left_as_it_is() -> None:
    before = study_with(BASE)
    study_with(BASE, network={"rule": "exact"}, noise={"steps": 7}, last=None)
    assert study_with(BASE) == before


def test_lines_are_written_otherwise_by_their_names() -> None:
    lines = {"seeds": "seeds = 4", "network": "\n[network]"}
    assert written(lines) == "seeds = 4\n\n[network]\n"
    assert written(lines, seeds="sedes = 4") == "sedes = 4\n\n[network]\n"
    with pytest.raises(KeyError):
        written(lines, rule="")
