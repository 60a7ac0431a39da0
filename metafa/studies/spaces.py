"""Search spaces in a study file's tree: where they stand, their options, and the tree with values in their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metafa.studies.fields import End, Settings
from metafa.studies.settings import StudySettings, TrialSettings
from metafa.studies.values import brief


class Range(Settings):
    low: End
    high: End
    log: bool = False
    step: End | None = None


# What follows turns a tree with search spaces in it into trials, and mistakes into sentences.

TreePath = tuple[str | int, ...]

NOT_SEARCHED = StudySettings.model_fields.keys() - TrialSettings.model_fields.keys()  # what is no part of a trial

ABSENT = object()


def step_into(tree: Any, part: Any) -> Any:
    try:
        return tree[part]
    except (KeyError, IndexError, TypeError):
        return ABSENT


def at(tree: Any, path: TreePath) -> Any:
    for part in path:
        tree = step_into(tree, part)
    return tree


def spaces_in(tree: Any, path: TreePath = ()) -> Iterator[tuple[TreePath, dict]]:
    if isinstance(tree, dict):
        if tree.keys() & {"choices", "low", "high"}:
            yield path, tree
        else:
            for key, value in tree.items():
                yield from spaces_in(value, (*path, key))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from spaces_in(value, (*path, i))


def options(space: dict) -> list:
    return space["choices"] if "choices" in space else [space["low"], space["high"]]


def replaced(tree: Any, values: dict[TreePath, Any], path: TreePath = ()) -> Any:
    if path in values:
        return values[path]
    if isinstance(tree, dict):
        return {key: replaced(value, values, (*path, key)) for key, value in tree.items()}
    if isinstance(tree, list):
        return [replaced(value, values, (*path, i)) for i, value in enumerate(tree)]
    return tree


def dotted_name(path: TreePath, tree: dict) -> str:
    """The dotted name of a place in a study file: a setting of a phase goes by the phase's name, not its number."""
    if len(path) > 2 and path[0] == "phases" and isinstance(path[1], int):
        phases = tree.get("phases")
        phase = phases[path[1]] if isinstance(phases, list) and path[1] < len(phases) else None
        name = (phase.get("name") or phase.get("phase")) if isinstance(phase, dict) else None
        path = (name if isinstance(name, str) else f"phases[{path[1]}]", *path[2:])
    parts = [f"[{part}]" if isinstance(part, int) else f".{brief(part)}" for part in path]
    return "".join(parts).lstrip(".")
