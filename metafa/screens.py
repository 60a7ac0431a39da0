"""Screens: what is printed stands there as it is, whatever a study's names, values and errors hold."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console

PLAIN = {"→": "->", "·": "|", "…": "...", "°": " degrees"}  # for what an encoding lacks; else a question mark


class _Console(Console):
    @property
    def encoding(self) -> str:
        """That of the stream printed to, by which rich draws boxes and bars; its own takes it for UTF-8."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()


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
