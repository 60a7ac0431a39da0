"""Search spaces in a study file's tree."""

from metafa.studies import spaces

TREE = {
    "seed": {"choices": [0, 1]},
    "network": {"hidden": [3], "rule": {"choices": ["backprop"]}},
    "phases": [{"phase": "noise", "steps": {"low": 1, "high": 9}}, {"phase": "noise", "name": "more", "mean": 0.5}],
}


def test_search_spaces_are_found_where_they_stand_and_replaced() -> None:
    found = dict(spaces.spaces_in(TREE))
    assert found == {
        ("seed",): {"choices": [0, 1]},
        ("network", "rule"): {"choices": ["backprop"]},
        ("phases", 0, "steps"): {"low": 1, "high": 9},
    }
    assert [spaces.options(space) for space in found.values()] == [[0, 1], ["backprop"], [1, 9]]
    assert all(spaces.at(TREE, path) == space for path, space in found.items())
    assert spaces.at(TREE, ("phases", 2, "steps")) is spaces.ABSENT
    assert spaces.replaced(TREE, dict.fromkeys(found, 7)) == {
        "seed": 7,
        "network": {"hidden": [3], "rule": 7},
        "phases": [{"phase": "noise", "steps": 7}, {"phase": "noise", "name": "more", "mean": 0.5}],
    }


def test_a_place_in_a_phase_goes_by_the_phases_name() -> None:
    for path, name in [
        (("seed",), "seed"),
        (("network", "hidden", 0), "network.hidden[0]"),
        (("phases", 0, "steps"), "noise.steps"),
        (("phases", 1, "mean"), "more.mean"),
        (("phases", 1), "phases[1]"),
        (("phases", 2, "mean"), "phases[2].mean"),
    ]:
        assert spaces.dotted_name(path, TREE) == name
