"""The JSON schema of study files, for editors: the settings, each of which may be a search space instead."""

from __future__ import annotations

from typing import Any

from metafa.studies.fields import Settings
from metafa.studies.phases import PHASES
from metafa.studies.settings import MeasureSettings, NetworkSettings, StudySettings

FIXED = ("phase", "name")  # of a phase: no search spaces
SPACES = {
    "Choices": {
        "title": "a choice",
        "description": "A search space: one of these values.",
        "type": "object",
        "properties": {"choices": {"type": "array", "minItems": 1}},
        "required": ["choices"],
        "additionalProperties": False,
    },
    "Range": {
        "title": "a range",
        "description": "A search space: any number from low to high; not for a grid.",
        "type": "object",
        "properties": {
            "low": {"type": "number"},
            "high": {"type": "number"},
            "log": {"type": "boolean", "description": "Even in the logarithm."},
            "step": {"type": "number", "description": "In steps of so much."},
        },
        "required": ["low", "high"],
        "additionalProperties": False,
    },
}


def json_schema() -> dict[str, Any]:
    """The schema of a study file, as JSON Schema 2020-12."""
    schema = StudySettings.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    searched: list[type[Settings]] = [*PHASES.values(), NetworkSettings, MeasureSettings]
    for one in searched:
        _allow_spaces(definitions[one.__name__]["properties"])
    _allow_spaces({name: schema["properties"][name] for name in ("seed", "seeds")})
    schema["required"].remove("name")  # by default the file's
    # by its kind, so that a mistake in a phase is told as that, and not as a phase that fits no kind
    phase = {
        "type": "object",
        "required": ["phase"],
        "properties": {"phase": {"enum": list(PHASES)}},
        "allOf": [
            {
                "if": {"properties": {"phase": {"const": kind}}},
                "then": {"$ref": f"#/$defs/{settings.__name__}"},
            }
            for kind, settings in PHASES.items()
        ],
    }
    definitions["Phase"] = _or_choices(phase)
    schema["properties"]["phases"]["items"] = {"$ref": "#/$defs/Phase"}
    for name in ("phases", "network", "measure"):  # as a whole
        whole = schema["properties"][name]
        kept = {key: whole.pop(key) for key in ("title", "description", "default") if key in whole}
        definitions[f"any_{name}"] = whole
        schema["properties"][name] = kept | _or_choices({"$ref": f"#/$defs/any_{name}"})
    schema["$defs"] = definitions | SPACES
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "a study of metafa",
    }


def _or_choices(value: dict[str, Any]) -> dict[str, Any]:
    """A value, or choices of it; by which of the two is there, so that a mistake is told as what it is."""
    choices = {"type": "array", "minItems": 1, "items": value}
    return {
        "if": {"type": "object", "required": ["choices"]},
        "then": {"properties": {"choices": choices}, "additionalProperties": False},
        "else": value,
    }


def _allow_spaces(properties: dict[str, dict[str, Any]]) -> None:
    for name, one in properties.items():
        if name in FIXED:
            continue
        kept: dict[str, Any] = {key: one.pop(key) for key in ("title", "description", "default") if key in one}
        value = dict(one)
        one.clear()
        spaces = [{"$ref": f"#/$defs/{space}"} for space in SPACES]
        one.update({**kept, "anyOf": [value, *spaces]})
