"""The report's sections: what each holds, and its tables as they are shown."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Chart:
    """A figure of a section, with what stands above and below it."""

    figure: go.Figure
    title: str
    caption: str


@dataclass(frozen=True)
class Image:
    """A figure that stands still, as SVG."""

    title: str
    svg: bytes

    @property
    def address(self) -> str:
        """The image itself, as an address."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


@dataclass(frozen=True)
class Column:
    """A column of a table, and whether it is of numbers."""

    name: str
    number: bool


@dataclass(frozen=True)
class Table:
    """A table of a section as it is shown."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of the report, with what it holds in the order it is shown; one that only warns is not shown.

    answer: its answer to the study's question, a sentence; empty where it has none. The first answer of all sections
        stands at the report's top.
    warnings: what has to be known before any number is read, at the report's top as well.
    texts: each with a title, behind which it is folded away where there is one.
    """

    id: str
    title: str
    sentences: tuple[str, ...] = ()
    answer: str = ""
    warnings: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    images: tuple[Image, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> bool:
        return bool(self.sentences or self.charts or self.tables or self.images or self.texts)


def table_of(frame: pd.DataFrame, title: str = "") -> Table:
    """The first `TABLE_ROWS` rows of ``frame`` as they are shown, each interval beside its estimate."""
    numbers = {name: pd.api.types.is_numeric_dtype(frame[name]) for name in frame}
    names = [name for name in frame if not (str(name).endswith(("_low", "_high")) and numbers[name])]
    columns = tuple(Column(appearance.short(str(name)), numbers[name]) for name in names)
    shown = frame.head(TABLE_ROWS).to_dict("records")
    return Table(title, columns, tuple(tuple(_cell(row, str(name), numbers[name]) for name in names) for row in shown))


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
