"""Screens: what is printed stands there as it is, whatever a study's names, values and errors hold.

Results may be anybody's, and a terminal obeys what it is sent: a text that is printed moves no cursor, sets no title,
turns no line around and begins none. What would do so is shown as Python writes it in a string, such as ``\\x1b``.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

PLAIN = {"→": "->", "·": "|", "…": "...", "°": " degrees"}  # for what an encoding lacks; else a question mark
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, among them of direction; halves of letters; separators of lines
JOINERS = "\u200c\u200d"  # with which some languages, and some emoji, are written


def printable(text: str, keep: str = "") -> str:
    """``text`` with whatever steers a terminal, but for letters in ``keep``, as Python writes it in a string."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter
        if letter in keep or letter in JOINERS or unicodedata.category(letter) not in UNSEEN
        else ascii(letter)[1:-1]
        for letter in text
    )


def stop(status: int, sentence: str) -> NoReturn:
    """Ends the process, with a sentence on stderr."""
    with forgiving():
        print(printable(sentence), file=sys.stderr)
    sys.exit(status)


class _Console(Console):
    @property
    def encoding(self) -> str:
        """That of the stream printed to, by which rich draws boxes and bars; its own takes it for UTF-8."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(_line(text) if isinstance(text, Text) else text for text in objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:  # of whatever is printed as a string, and of cells
        return super().render_str(printable(text), **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:  # of whatever else is
        return super()._render_buffer(
            part if part.control or not part.text else Segment(printable(part.text, keep="\n"), part.style)
            for part in buffer
        )


def _line(text: Text) -> Text:
    """A styled text on one line, as a string is."""
    return Text("\\n").join(text.split("\n", allow_blank=True)) if "\n" in text.plain else text


def console(**options: Any) -> Console:
    """A console that takes nothing in a text for rich's markup, such as ``[/b]``, or for one of its emoji, such as
    ``:bug:``; what is to have a style is a `rich.text.Text`."""
    return _Console(highlight=False, markup=False, emoji=False, **options)


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Within it, letters that the terminal's encoding lacks are printed in its own, where Python would raise
    UnicodeEncodeError."""
    codecs.register_error("metafa", _plain)
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="metafa")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)
