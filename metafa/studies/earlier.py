"""Settings and metrics that an earlier version of metafa called otherwise: what they are called now, in study files and
results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metafa.studies.data import BATCH, Inputs

RENAMED = {"iterations": "outer_steps"}
_BEFORE = {new: old for old, new in RENAMED.items()}
METRICS_RENAMED = {"effective_dimensionality": "participation_ratio", "effective_rank": "squared_effective_rank"}
"""Metrics of results whose numerics are below `METRICS_SINCE`; by now, `effective_rank` is the name of another."""
METRICS_SINCE = 6
TASKS_OF = "tasks of "
"""What stood before a task distribution's name where a dataset has that name too."""


def new_name(name: str) -> str:
    """The name that a setting has now; ``name``, with its phase before it or without, is of any version."""
    place, dot, setting = name.rpartition(".")
    return f"{place}{dot}{RENAMED.get(setting, setting)}"


def name_in_order(name: str) -> str:
    """The name by which Optuna knows a setting, whose samplers and forests go through settings in the order of their
    names: one that has another name now keeps the place that it had."""
    place, dot, setting = name.rpartition(".")
    return f"{place}{dot}{_BEFORE.get(setting, setting)}"


def new_metric(name: str) -> str:
    """The name that a metric of before has now; ``name``, with its phase before it or without."""
    place, dot, metric = name.rpartition(".")
    return f"{place}{dot}{METRICS_RENAMED.get(metric, metric)}"


def in_words(renamed: Iterable[str]) -> str:
    """What settings of these names are called now."""
    return " and ".join(f"`{RENAMED[name]}` is called `{name}`" for name in sorted(renamed))


def with_new_names(tree: dict[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """A study file's tree in which settings have the names of now, and those of its names that were others."""
    found = set[str]()
    tree = _with_new_keys(tree, found)
    claims = tree.get("claims")
    for claim in claims if isinstance(claims, list) else []:
        if isinstance(claim, dict) and isinstance(claim.get("task"), str):
            claim["earlier_task"] = claim.pop("task") or None
    search = tree.get("search")
    if isinstance(search, dict) and isinstance(objectives := search.get("objectives"), list):
        search["objectives"] = [new_name(one) if isinstance(one, str) else one for one in objectives]
    return tree, frozenset(found)


def with_new_metrics(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree of a study of before, in which what is said of metrics has their names of now."""
    tree = dict(tree)
    if isinstance(claims := tree.get("claims"), list):
        tree["claims"] = [_with_new_metric(claim) for claim in claims]
    tree["early_stopping"] = _with_new_metric(tree.get("early_stopping"))
    search = tree.get("search")
    if isinstance(search, dict) and isinstance(objectives := search.get("objectives"), list):
        named = [new_metric(one) if isinstance(one, str) else one for one in objectives]
        tree["search"] = search | {"objectives": named}
    return {key: value for key, value in tree.items() if value is not None}


def _with_new_metric(table: Any) -> Any:
    if not isinstance(table, dict) or not isinstance(metric := table.get("metric"), str):
        return table
    return table | {"metric": new_metric(metric)}


def shift_of(task: str) -> tuple[str, str | None, str]:
    """The dataset, the shift and its strength of inputs that an earlier version called as in ``usps/rotation=30``."""
    name, _, changed = task.partition("/")
    shift, _, strength = changed.partition("=")
    return name, shift or None, strength


def task_of(measured: Inputs) -> str:
    """What an earlier version called these inputs; empty where a metric has none, or is of the batch trained on."""
    name, shift, strength = measured
    if name is None or measured == BATCH:
        return ""
    return name.replace("tasks/", TASKS_OF) if shift is None else f"{name}/{shift}={strength:g}"


def _with_new_keys(tree: Any, found: set[str]) -> Any:
    if isinstance(tree, list):
        return [_with_new_keys(value, found) for value in tree]
    if not isinstance(tree, dict):
        return tree
    found.update(RENAMED.keys() & tree.keys())
    return {RENAMED.get(key, key): _with_new_keys(value, found) for key, value in tree.items()}
