"""What earlier versions of metafa called otherwise in the parts that they wrote."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from metafa.errors import PartError
from metafa.studies.earlier import RENAMED, new_name

# settings in the JSON of a point: after a phase's name, or alone where whole phases are varied
_IN_POINTS = {rf'([."]){old}":': rf'\1{new}":' for old, new in RENAMED.items()}


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
