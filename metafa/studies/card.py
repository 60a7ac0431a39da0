"""What a Jupyter notebook shows of an object: a short description."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any


def card(title: str, rows: Mapping[str, Any]) -> str:
    """A title and a small table of names and values, as HTML; nothing in them is markup."""
    cells = "".join(
        f"<tr><th style='text-align: left'>{html.escape(name)}</th>"
        f"<td style='text-align: left'>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<div><strong>{html.escape(title)}</strong><table>{cells}</table></div>"
