"""How values are written in sentences."""

from __future__ import annotations

from typing import Any


def listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def shown(value: Any) -> str:
    """A value as TOML, if it is short."""
    said = _toml(value)
    return said if len(said) <= 60 else said[:57] + "..."


def _toml(value: Any) -> str:
    match value:
        case None:
            return "unset"
        case bool():
            return str(value).lower()
        case dict():
            inner = ", ".join(f"{key} = {_toml(one)}" for key, one in list(value.items())[:60])
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(_toml(one) for one in value[:60])}]"
        case int() if value.bit_length() > 10_000:  # more than Python would print
            return f"an integer of {value.bit_length()} bits"
        case str() | int() | float():
            return repr(value)
        case _:
            return str(value)


def brief(text: str) -> str:
    """A text as it is, if it is short."""
    return text if len(text) <= 60 else text[:57] + "..."
