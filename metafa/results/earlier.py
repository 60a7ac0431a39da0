"""What earlier versions of metafa called otherwise in the parts that they wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from metafa.errors import PartError
from metafa.studies.data import BATCH, Inputs
from metafa.studies.earlier import METRICS_RENAMED, METRICS_SINCE, RENAMED, TASKS_OF, new_name, shift_of
from metafa.studies.metrics import is_of

# settings in the JSON of a point: after a phase's name, or alone where whole phases are varied
_IN_POINTS = {rf'([."]){old}":': rf'\1{new}":' for old, new in RENAMED.items()}

TASK = "task"
"""The column of `measurements` before there were `inputs`, `shift` and `strength`."""


METRICS_OF = b"metafa.metrics"
"""In the metadata of a part of `measurements`: the numerics by which its metrics have their names, whatever those of
its trials. Parts of earlier versions lack it."""


def with_new_metrics(rows: pa.Table, metadata: Mapping[bytes, bytes]) -> pa.Table:
    """The ``rows`` of a part of `measurements`, with that metadata, in which metrics have the names of now."""
    if int(metadata.get(METRICS_OF, 0)) >= METRICS_SINCE:
        return rows
    metrics = rows["metric"]
    for old, new in METRICS_RENAMED.items():
        metrics = pc.if_else(pc.equal(metrics, old), new, metrics)
    return rows.set_column(rows.column_names.index("metric"), "metric", metrics)


def inputs_of(task: str | None, metric: str) -> Inputs:
    """The inputs that a row of ``metric`` with this ``task`` was measured on.

    task: a task distribution, a dataset, `noise`, a dataset with a shift such as ``mnist10k/rotation=30``, or, where a
        dataset has the distribution's name, ``tasks of glyphs``; None for the batch trained on, and for what is not
        measured on inputs.

    Raises ValueError where no version of metafa wrote such a task.
    """
    if task is None:
        return BATCH if is_of(metric, "batch") else Inputs()
    if task.startswith(TASKS_OF):
        return Inputs(f"tasks/{task.removeprefix(TASKS_OF)}")
    name, shift, strength = shift_of(task)
    return Inputs(name) if shift is None else Inputs(name, shift, float(strength))


def with_inputs(rows: pa.Table) -> pa.Table:
    """The ``rows`` of `measurements` with `inputs`, `shift` and `strength` in place of `task`, or, where there is not
    even that column, added. Raises ValueError where no version of metafa wrote such a task."""
    tasks = rows[TASK] if TASK in rows.column_names else pa.nulls(len(rows), pa.string())
    both = pa.table({TASK: tasks, "metric": rows["metric"]})
    kinds = both.group_by(both.column_names).aggregate([])
    found = [inputs_of(**kind) for kind in kinds.to_pylist()]
    of_kind = pa.table(
        {
            "kind": _keys(kinds),
            "inputs": pa.array([one.inputs for one in found], pa.string()),
            "shift": pa.array([one.shift for one in found], pa.string()),
            "strength": pa.array([one.strength for one in found], pa.float64()),
        }
    )
    places = pc.index_in(_keys(both), of_kind["kind"])
    for name in of_kind.column_names[1:]:
        rows = rows.append_column(name, of_kind[name].take(places))
    return rows.drop_columns([TASK]) if TASK in rows.column_names else rows


def _keys(rows: pa.Table) -> pa.ChunkedArray:
    """Each row's metric and task as a text."""
    return pc.binary_join_element_wise(rows["metric"], pc.fill_null(rows[TASK], ""), "\n")


def with_new_names(trials: pa.Table) -> pa.Table:
    """Rows of `trials` in which settings have the names of now. Raises `PartError` where one has both names."""
    names = [new_name(name) for name in trials.column_names]
    if len(set(names)) < len(names):
        raise PartError("has two columns of one setting, which an earlier version called otherwise")
    trials = trials.rename_columns(names)
    if "point" not in names:
        return trials
    points = trials["point"]
    for old, new in _IN_POINTS.items():
        points = pc.replace_substring_regex(points, pattern=old, replacement=new)
    return trials.set_column(names.index("point"), "point", points)


def point_with_new_names(point: str) -> str:
    """A value of the column `point` in which settings have the names of now."""
    for old, new in _IN_POINTS.items():
        point = re.sub(old, new, point)
    return point
