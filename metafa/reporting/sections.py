"""The report's sections: what each holds, and its tables as they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from metafa.reporting import appearance, comparison

if TYPE_CHECKING:
    import plotly.graph_objects as go

TABLE_ROWS = 2000  # the CSV of analysis/ and the Parquet have the rest


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what it says, what it is sorted by, and how it looks."""

    text: str
    sort: str | None = None
    kind: str = ""


@dataclass
class Section:
    """A part of the report, with what it holds in the order it is shown; one that only warns is not shown.

    answer: what it says to the study's question in a sentence, empty where it does not; the first answer of all
        sections stands at the report's top.
    warnings: what has to be known before any number is read, at the report's top as well.
    """

    id: str
    title: str
    sentences: list[str] = field(default_factory=list)
    answer: str = ""
    warnings: list[str] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)

    @property
    def shown(self) -> bool:
        return bool(self.sentences or self.charts or self.tables or self.texts)

    def chart(self, figure: go.Figure, title: str, caption: str) -> None:
        self.charts.append(
            {"id": f"{self.id}-{len(self.charts)}", "title": title, "caption": caption, "figure": figure}
        )

    def table(self, frame: pd.DataFrame, title: str = "") -> None:
        self.tables.append(_table(frame, f"{self.id}-table-{len(self.tables)}", title))


def _table(frame: pd.DataFrame, id_: str, title: str) -> dict[str, Any]:
    numbers = {name: pd.api.types.is_numeric_dtype(frame[name]) for name in frame}
    # an interval stands beside what it is of
    names = [name for name in frame if not (str(name).endswith(("_low", "_high")) and numbers[name])]
    columns = [{"name": appearance.short(str(name)), "number": numbers[name]} for name in names]
    shown = frame.head(TABLE_ROWS).to_dict("records")
    rows = [[_cell(row, str(name), numbers[name]) for name in names] for row in shown]
    return {"id": id_, "title": title, "columns": columns, "rows": rows}


def _cell(row: Mapping[str, Any], name: str, number: bool) -> Cell:
    content, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if number and (content is None or content != content):
        return Cell("", "", "number")
    if number and name.startswith("p_") and content is not None:
        return Cell(comparison.significant(content), str(content), "number")
    if number:
        interval = f" ({low:.4g} to {high:.4g})" if low is not None and low == low else ""
        return Cell(appearance.value(content) + interval, str(content), "number")
    text = "" if content is None or content != content else str(content)
    kind = {"holds": "good", "fails": "bad", "failed": "bad", "done": "good"}.get(text, "")
    return Cell(text, None, kind or ("wrap" if len(text) > 60 else ""))
