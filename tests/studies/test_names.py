"""Whoever mistypes a name, or writes it under another table, is told which was meant."""

from collections.abc import Callable

import pytest
from study_bases import EVALUATED, mistakes
from study_texts import study_with

from metafa.learning import kinds, rules
from metafa.studies import claims, phases, sentences, settings
from metafa.studies.fields import Settings, keys_of


def typos(name: str) -> list[str]:
    """A letter left out, doubled, and two letters changed over, in the middle of a name; and other ways to write it."""
    middle = len(name) // 2
    left, right = name[:middle], name[middle:]
    changed = left[:-1] + right[0] + left[-1] + right[1:]
    return [left + right[1:], left + right[0] + right, changed, name.upper(), "-".join(name.split("_"))]


PHASES = study_with(EVALUATED)


def under(heading: str) -> Callable[[str], str]:
    """A study that sets a key, to 1, below a heading."""
    return lambda key: f"{PHASES}{heading}\n{key} = 1\n"


TABLES: dict[str, tuple[type[Settings], Callable[[str], str]]] = {
    "": (settings.StudySettings, lambda key: f"{key} = 1\n{PHASES}"),
    **{name: (table, under(f"[{name}]")) for name, table in sentences.TABLES.items() if name != "claims"},
    "claims": (claims.ClaimSettings, under("[[claims]]")),
    **{kind: (table, under(f'[[phases]]\nphase = "{kind}"')) for kind, table in phases.PHASES.items()},
}


@pytest.mark.parametrize("table", TABLES)
def test_a_typo_in_any_name_of_the_schema_is_known(table: str) -> None:
    model, text_with = TABLES[table]
    for name in set(keys_of(model)) - {"phase", "phases"}:
        for typo in set(typos(name)) - set(keys_of(model)):
            found = [message for message in mistakes(text_with(typo)) if "unknown key" in message]
            assert any(f"did you mean '{name}'?" in message for message in found), (typo, found)


def test_a_typo_in_any_value_of_the_schema_is_known() -> None:
    for key, names in [("rule", set(rules.RULES)), ("activation", set(kinds.ACTIVATIONS))]:
        for name in names:
            for typo in set(typos(name)) - names:
                (message,) = mistakes(study_with(EVALUATED, network={key: typo}))
                assert message.endswith(f"; did you mean '{name}'?"), (typo, message)


def test_a_key_of_another_table_is_known() -> None:
    """Every key of every table, under every other."""
    for place, (model, _) in TABLES.items():
        for other, (other_model, text_with) in TABLES.items():
            for name in set(keys_of(model)) - set(keys_of(other_model)) - {"phases", other}:
                found = [message for message in mistakes(text_with(name)) if f"{name}: unknown key" in message]
                assert len(found) == 1, (place, other, name, found)
                assert "did you mean" in found[0] or "stand" in found[0] or "table of its own" in found[0], found
