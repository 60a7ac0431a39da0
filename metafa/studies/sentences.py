"""What is said of the likeliest mistakes in a study file: what was found, and what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from metafa.studies.earlier import RENAMED
from metafa.studies.fields import Settings, keys_of
from metafa.studies.names import HIGH, KEYS, LOW, MAX_NAME, close, meant, plain_name
from metafa.studies.phases import PHASES
from metafa.studies.settings import StudySettings
from metafa.studies.toml import MAX_LINE
from metafa.studies.values import listed, shown

TABLES: dict[str, type[Settings]] = {
    name: kind
    for name, field in StudySettings.model_fields.items()
    for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
    if isinstance(kind, type) and issubclass(kind, Settings)
}
"""The tables of a study file, those of lists among them, but for phases."""

LISTS = ("phases", "claims")


def unknown_key(key: str, fields: Sequence[str], table: str | None, phases: Sequence[str]) -> str:
    """Of a key that is none of a table's ``fields``. ``table`` is its name, empty at the top of a file, ``phases`` of a
    phase, and None of what has no name; ``phases`` are the names of the study's."""
    plain = plain_name(key[:MAX_NAME])
    if plain in fields:
        return "unknown key" + meant([plain])
    if (new := RENAMED.get(plain)) in fields:
        return f"`{plain}` is called `{new}` now"
    if table == "" and (plain == "phase" or plain in PHASES or key in phases):
        said = f'with phase = "{plain}"' if plain in PHASES else "of whichever kind its `phase` says"
        return f"unknown key; phases are a list: each stands under a [[phases]], {said}"
    of_phases = [kind for kind, model in PHASES.items() if plain in keys_of(model)]
    homes = [name for name, model in TABLES.items() if plain in keys_of(model) and name != table]
    if table and plain != table and (plain in TABLES or plain == "phases"):
        return f"unknown key here; {_table(plain)} is a table of its own"
    if table and plain != table and plain in StudySettings.model_fields:
        return f"unknown key here; `{plain}` stands at the top of the file, above the first table in brackets"
    if table is not None and table != "phases" and (homes or of_phases):
        return _elsewhere(homes, of_phases)
    near = [name for name in KEYS.get(plain, ()) if name in fields]
    near = near or [name for name in fields if name.endswith(f"_{plain}") or name.startswith(f"{plain}_")]
    near = near or difflib.get_close_matches(plain, fields, 1)
    if near:
        return "unknown key" + meant(near)
    if table is not None and (homes or of_phases):
        return _elsewhere(homes, of_phases)
    for other in KEYS.get(plain, ()) if table is not None else ():
        homes = [name for name, model in TABLES.items() if other in keys_of(model)]
        of_phases = [kind for kind, model in PHASES.items() if other in keys_of(model)]
        if homes or of_phases:
            return f"unknown key; did you mean '{other}'? {_elsewhere(homes, of_phases).partition('; ')[2]}"
    return f"unknown key; known are {listed(fields)}"


def _table(name: str) -> str:
    return f"[[{name}]]" if name in LISTS else f"[{name}]"


def _elsewhere(homes: Sequence[str], of_phases: Sequence[str]) -> str:
    places = [f"under {_table(name)}" for name in homes]
    if of_phases:
        *others, last = map(repr, of_phases)
        kinds = f"{', '.join(others)} or {last}" if others else last
        places.append(f"under a [[phases]] whose `phase` is {kinds}")
    return f"unknown key here; it stands {', or '.join(places)}"


def wrong_type(found: Any, kind: str, path: Sequence[Any], searchable: bool) -> str:
    """Of a value of the wrong type at ``path``; ``kind`` is pydantic's name of the right one."""
    name = path[-1] if path else ""
    said = f"found {shown(found)}, expected {EXPECTED.get(kind, kind.removesuffix('_type'))}"
    if tuple(path) == ("phases",):
        return _phases(found)
    if tuple(path) == ("claims",) and isinstance(found, dict):
        return "claims are a list: write [[claims]], with double brackets"
    match kind, found:
        case (("model_type" | "dict_type" | "model_attributes_type"), list()):
            return f"{said}: [{name}], with single brackets"
        case (("model_type" | "dict_type" | "model_attributes_type"), _) if name in TABLES:
            return f"{said}: [{name}], with its settings below it"
        case "list_type", str() if NUMBER.fullmatch(found):
            return f"{said}: [{found.strip()}], without quotes"
        case "list_type", str() | int() | float() if name not in LISTS:
            return f"{said}: [{shown(found)}]"
        case "list_type", dict() if choices := _lists_as_choices(found):
            return f"{said}; to vary it, each choice is a list: {{ choices = {shown(choices)} }}"
        case "int_type", list() if name == "seeds":
            return f"{said}: how many seeds, such as 3 for seeds 0, 1 and 2"
        case "int_type", float() if found.is_integer() and abs(found) < 2**53:
            return f"{said}: {int(found)}"
        case "float_type", int() if not isinstance(found, bool):
            return f"found {shown(found)}, more than any number that is computed with"
        case (("int_type" | "float_type"), str()) if NUMBER.fullmatch(found):
            return f"{said}, without quotes"
        case "bool_type", str() if found.lower() in ("true", "false"):
            return f"{said}, without quotes"
        case "string_type", int() | float():
            return f"{said}, in quotes"
    return said + (varied(found) if searchable else "")


NUMBER = re.compile(r"\s*[+-]?[\d_.]+([eE][+-]?\d+)?\s*")

EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a string",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a table",
    "dict_type": "a table",
    "model_attributes_type": "a table",
}


def varied(found: Any) -> str:
    """The end of a sentence that says how a setting is varied, if ``found`` looks as if it were to be."""
    if isinstance(found, list) and len(found) == 1 and not isinstance(found[0], list | dict):
        return f"; write {shown(found[0])}"
    if isinstance(found, list):
        return f"; to vary it, write {{ choices = {shown(_flat(found))} }}" if _flat(found) else ""
    if not isinstance(found, dict):
        return ""
    low, high = ([value for key, value in found.items() if plain_name(str(key)) in names] for names in (LOW, HIGH))
    if low and high:
        return f"; to vary it, write {{ low = {shown(low[0])}, high = {shown(high[0])} }}"
    lists = [value for value in found.values() if isinstance(value, list)]
    return f"; to vary it, write {{ choices = {shown(_flat(lists[0])) if lists else '[...]'} }}"


def _flat(values: list) -> list:
    """The values, out of the lists that they may stand in."""
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def _lists_as_choices(found: dict) -> list:
    """What was to be varied of a setting that is a list, each choice as a list; empty where that is not to be told."""
    values = next((value for value in found.values() if isinstance(value, list)), list(found.values()))
    return [value if isinstance(value, list) else [value] for value in values if not isinstance(value, dict | bool)]


def lists(found: list) -> str:
    """Of a list of lists where a list of values is expected."""
    said = f"found {shown(found)}, expected a list of values"
    return f"{said}; to vary it, write {{ choices = {shown(found)} }}" if len(found) > 1 else said + varied(found)


def _phases(found: Any) -> str:
    if not isinstance(found, dict):
        return f"found {shown(found)}, expected a [[phases]] for each phase, with its settings below it"
    if "phase" not in found and any(isinstance(value, list) for name, value in found.items() if name not in PHASES):
        return "to vary the phases, write { choices = [[...], [...]] }, in which each choice is a list of phases"
    kinds = [(name, "[[" if isinstance(value, list) else "[") for name, value in found.items() if name in PHASES]
    if "phase" in found or not kinds:
        return "phases are a list: write [[phases]], with double brackets, in place of [phases]"
    name, opening = kinds[0]
    written = f"{opening}phases.{name}{']' * len(opening)}"
    return f'phases are a list: write [[phases]] and below it phase = "{name}", in place of {written}'


def no_phase(found: Any) -> str:
    """Of a phase that does not say of which kind it is."""
    said = f"a phase says of which kind it is in `phase`, one of {listed(PHASES)}"
    if isinstance(found, str) and (name := close(found, PHASES)):
        return f'{said}; write [[phases]] and below it phase = "{name[0]}"'
    if isinstance(found, dict):
        for key, value in found.items():
            if name := close(value, PHASES):
                return f'{said}; found {key} = "{value}", write phase = "{name[0]}"'
    return said


def no_name(found: Any, of: str, of_file: bool = False) -> str:
    """Of a name that is none, ``of`` a study or a phase; ``of_file`` where it is the study file's."""
    said = f"found {shown(found)}, expected letters, digits, '_' and '-', a letter first, at most 64"
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", str(found)[:MAX_LINE]).strip("_") or of
    name = (plain if plain[0].isalpha() else f"{of}_{plain.lstrip('_-')}")[:64]
    if of_file:
        return f'{said}; a study is called as its file is: rename it, or write name = "{name}" at its top'
    return f'{said}, such as "{name}"'
