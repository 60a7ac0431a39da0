"""What is printed steers no terminal."""

from __future__ import annotations

import ast
import io

from hypothesis import given
from hypothesis import strategies as st
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from metafa.running import screens

STEERS = "".join(map(chr, [*range(32), *range(127, 160), 0x61C, *range(0x200E, 0x2010), *range(0x2028, 0x202F)]))
STEERS += "".join(map(chr, [*range(0x2060, 0x2065), *range(0x2066, 0x2070), 0xFEFF, 0xAD, 0xD800, 0xE0001]))


@given(text=st.text(st.sampled_from(STEERS + "ab[/]°é·")))
def test_a_text_steers_no_terminal(text: str) -> None:
    """Neither as a line, nor styled, nor in a table, nor in a live line; and reads as Python would write it."""
    for shown in (text, Text(text, "red"), table_of(text), Padding(Text(text.replace("\n", "")), 1)):
        screen = screens.console(file=io.StringIO(), force_terminal=True, width=10_000, color_system=None)
        screen.print(shown)
        lines = screen.file.getvalue().split("\n")
        assert all(letter not in STEERS for line in lines for letter in line)
        assert len(lines) == (6 if isinstance(shown, Table) else 4 if isinstance(shown, Padding) else 2)
    escaped = screens.printable(text)
    assert escaped.isprintable()
    assert ast.literal_eval(f'"{escaped}"') == text


def table_of(text: str) -> Table:
    table = Table(text)
    table.add_row(text)
    return table


def test_what_languages_are_written_with_is_printed_as_it_is() -> None:
    for text in ("é → 漢字 עברית", "می\u200cخواهم", "👩\u200d🔬"):
        assert screens.printable(text) == text
