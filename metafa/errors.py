"""Every error that metafa raises for its user: each is a sentence, or several, to be shown as it is.

It imports nothing, so that every folder may raise them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_MESSAGE = 1000  # letters


class MetafaError(Exception):
    """What a user did, or gave, cannot be used; the message says where, what was found and what would be right."""

    def __reduce__(self) -> tuple[Callable[..., MetafaError], tuple[Any, ...]]:
        """Another process makes the error again from the sentences that it has, not from what these were made of."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[MetafaError], args: tuple[Any, ...], state: dict[str, Any]) -> MetafaError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class _Messages(MetafaError):
    """Several mistakes at once; ``messages`` has a line for each."""

    def __init__(self, messages: list[str]):
        self.messages = [printable(message) for message in messages]
        super().__init__("\n".join(self.messages))


class StudyError(_Messages):
    """A study file cannot be used; ``messages``, one line each, say why and where."""


class DataError(_Messages):
    """Data is absent, broken or too little; ``messages``, one line each, say for which setting."""


class DataAbsent(MetafaError):
    """The data of a task distribution or a dataset is not here and cannot be downloaded."""


class DataBroken(MetafaError):
    """Data is here, but is not what it should be; the message names the file, what is wrong with it, what to do."""

    def __init__(self, path: Path | str, wrong: str, remedy: str):
        super().__init__(f"{path}: {wrong}; {remedy}".replace("\n", " "))


class ResultsError(MetafaError):
    """Results cannot be used; the message is one line."""


class StoreError(MetafaError):
    """A store of results cannot be used; the message is one line."""


class PartError(MetafaError, ValueError):
    """A file is no part of a study's results; the message is one sentence without a subject."""


class LaunchError(MetafaError):
    """A study cannot be started where it is to run; the message is one line."""


class ResourcesError(MetafaError):
    """A study asks for more than this machine has or gives; the message is one line."""


def printable(message: str) -> str:
    """A message as it may be printed: letters that would steer a terminal, or that no encoding has, as Python writes
    them."""
    said = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in said)
