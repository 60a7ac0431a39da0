"""Builds the texts of studies that tests parse and run. A test names what it changes of a study; a name that the study
does not have raises KeyError, so that a test whose study has changed fails instead of comparing a thing with itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from metafa.studies.settings import StudySettings

Table = Mapping[str, Any]


def study_with(base: Table, **changes: Any) -> str:
    """The text of a study, some of whose settings are changed.

    A name is either that of a phase of ``base`` (its ``name``, or else its kind) or that of a setting at the top of a
    study file. Tables and phases are merged with their changes, everything else is replaced, ``phases`` as a whole;
    None removes what it is given for. A search space is a dictionary: ``noise={"steps": {"choices": [0, 10]}}``."""
    named = _phases_by_name(base)
    settings = {name: value for name, value in changes.items() if name not in named}
    for name in settings:
        if name not in StudySettings.model_fields:
            raise KeyError(f"{name} is neither a phase of this study nor a setting: its phases are {list(named)}")
    changed = _merged(base, {name: _changed(base.get(name), value) for name, value in settings.items()})
    if named.keys() & changes.keys():
        if "phases" in changes:
            raise KeyError("phases are changed as a whole, or one by one")
        new = {name: _changed(phase, changes[name]) if name in changes else phase for name, phase in named.items()}
        changed["phases"] = [phase for phase in new.values() if phase is not None]
    return tomli_w.dumps(changed)


def written(lines: Mapping[str, str], **instead: str) -> str:
    """The text of a study whose lines have names, some of which are written otherwise. A line may be of several lines,
    or empty. It is for tests of mistakes in a file, which are told with the number of the line they stand in."""
    for name in instead:
        if name not in lines:
            raise KeyError(f"there is no line {name}: there are {list(lines)}")
    return "".join(f"{line}\n" for line in {**lines, **instead}.values())


def _phases_by_name(base: Table) -> dict[str, Table]:
    phases = base["phases"] if isinstance(base.get("phases"), list) else []
    named = {phase.get("name", phase["phase"]): phase for phase in phases}
    if len(named) < len(phases):
        raise KeyError("two phases of this study have the same name")
    return named


def _changed(value: Any, change: Any) -> Any:
    """A change of a table, which is merged into it, or of anything else."""
    if isinstance(value, Mapping) and isinstance(change, Mapping) and not {"choices", "low"} & value.keys():
        return _merged(value, change)
    return change


def _merged(table: Table, changes: Table) -> dict[str, Any]:
    for name, value in changes.items():
        if value is None and name not in table:
            raise KeyError(f"there is no {name} to remove")
    return {name: value for name, value in {**table, **changes}.items() if value is not None}
