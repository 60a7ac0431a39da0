"""How values are written in sentences."""

import tomllib

import pytest

from metafa.studies import values


@pytest.mark.parametrize("value", [True, -3, 0.25, "a", [1, [2.5, "b"]], {"low": 1, "of": {"x": [True]}}, {}, []])
def test_a_short_value_is_shown_as_toml(value: object) -> None:
    assert tomllib.loads(f"value = {values.shown(value)}") == {"value": value}


def test_what_is_long_is_cut() -> None:
    for value, shown in [
        (1 << 40_000, "an integer of 40001 bits"),
        ([0] * 1000, "[" + "0, " * 18 + "0,..."),
        ("x" * 1000, "'" + "x" * 56 + "..."),
    ]:
        assert values.shown(value) == shown
        assert len(shown) <= 60


def test_names_are_listed_in_order_and_long_texts_cut() -> None:
    assert values.listed({"b", "a"}) == "'a', 'b'"
    assert values.brief("x" * 60) == "x" * 60
    assert values.brief("x" * 61) == "x" * 57 + "..."
