"""The values in a part's rows: whatever no study writes is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from metafa.errors import PartError
from metafa.results.earlier import TASK
from metafa.results.statuses import STATUSES
from metafa.studies.earlier import TASKS_OF

TRIAL_ID = r"[0-9a-f]{16}"
PLACE = re.compile(r"[A-Za-z0-9_.[\]-]{1,200}")  # of a search space, such as `noise.steps` or `phases[0]`
LABEL = r"[A-Za-z0-9_./=+:-]{1,200}"  # a phase, a metric, inputs or a shift
LONGEST_SECONDS = 1e9
FIRST, LAST = 0, 7_000_000_000_000_000  # a trial's start, in microseconds: from 1970 to 2191


def check_rows(rows: pa.Table, table: str) -> None:
    """Raises `PartError` where ``rows``, whose types are right, hold what no study writes."""
    for name, check in _CHECKS[table].items():
        if name in rows.column_names:
            check(name, rows[name])


def _matching(pattern: str, may_be_null: bool = False) -> Callable[[str, pa.ChunkedArray], None]:
    whole = re.compile(pattern)

    def check(name: str, values: pa.ChunkedArray) -> None:
        for value in _unique(values):
            if value is None and may_be_null:
                continue
            if value is None or not whole.fullmatch(value):
                raise PartError(f"has {_quoted(value)} in the column {name!r}, as no study has")

    return check


def _unique(values: pa.ChunkedArray) -> list[Any]:
    return pc.unique(values).to_pylist()


def _quoted(value: Any) -> str:
    return "a null" if value is None else f"{value!r:.60}"


def _without_nulls(name: str, values: pa.ChunkedArray) -> None:
    if values.null_count:
        raise PartError(f"has a null in the column {name!r}, as no study has")


def _check_statuses(name: str, values: pa.ChunkedArray) -> None:
    if odd := [value for value in _unique(values) if value not in STATUSES]:
        raise PartError(f"has the status {_quoted(odd[0])}; it is one of {', '.join(sorted(STATUSES))}")


def _mapping(name: str, values: pa.ChunkedArray) -> Iterable[dict[str, Any]]:
    for value in _unique(values):
        if value:
            try:
                found = json.loads(value, parse_constant=_no_number)
            except (ValueError, RecursionError) as error:
                raise PartError(f"has {_quoted(value)} in the column {name!r}, which is no JSON") from error
            if not isinstance(found, dict):
                raise PartError(f"has {_quoted(value)} in the column {name!r}, which is no mapping")
            yield found


def _no_number(found: str) -> float:
    raise ValueError(f"{found} is no JSON")


def _check_points(name: str, values: pa.ChunkedArray) -> None:
    for found in _mapping(name, values):
        if odd := [key for key in found if not PLACE.fullmatch(key)]:
            raise PartError(f"has a point with {_quoted(odd[0])}, which is no setting's name")


def _check_data(name: str, values: pa.ChunkedArray) -> None:
    for found in _mapping(name, values):
        for key, digest in found.items():
            if not (re.fullmatch(LABEL, key) and key.count("/") == 2 and isinstance(digest, str)):
                raise PartError(f"has {_quoted(key)} in the column {name!r}, which names no images")


def _check_objectives(name: str, values: pa.ChunkedArray) -> None:
    inner = pc.list_flatten(values)
    if inner.null_count or pc.any(pc.invert(pc.is_finite(inner))).as_py():
        raise PartError(f"has a value in the column {name!r} that is no number")


def _within(low: float, high: float) -> Callable[[str, pa.ChunkedArray], None]:
    def check(name: str, values: pa.ChunkedArray) -> None:
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        values = values.drop_null()
        if len(values) and not pc.all(pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))).as_py():
            raise PartError(f"has a value in the column {name!r} that no study has")

    return check


_CHECKS: dict[str, dict[str, Callable[[str, pa.ChunkedArray], None]]] = {
    "trials": {
        "trial_id": _matching(TRIAL_ID),
        "status": _check_statuses,
        "point": _check_points,
        "data": _check_data,
        "objectives": _check_objectives,
        "started": _within(FIRST, LAST),
        "seconds": _within(0.0, LONGEST_SECONDS),
    },
    "measurements": {
        "trial_id": _matching(TRIAL_ID),
        "seed": _without_nulls,
        "phase": _matching(LABEL),
        "step": _without_nulls,
        "metric": _matching(LABEL),
        "inputs": _matching(LABEL, may_be_null=True),
        "shift": _matching(LABEL, may_be_null=True),
        TASK: _matching(rf"(?:{TASKS_OF})?{LABEL}", may_be_null=True),
    },
}
