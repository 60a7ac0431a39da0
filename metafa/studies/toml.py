"""TOML as text: the line of each key, and what is wrong where a file is not TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from metafa.studies.values import brief

# What tomllib says; what stands in the line, `@` being where it says so; and what is then said, `{}` what was found.
SYNTAX = [
    (
        r"Cannot (declare|overwrite|mutate).*",
        r"\[+ *phases *\]+.*",
        "phases are a list: write [[phases]] above each of them",
    ),
    (r"Cannot (declare|overwrite|mutate).*", r"\[+ *([^\]]*?) *\]+.*", "[{}] stands twice, or is set above already"),
    (r"Cannot (declare|overwrite|mutate|redefine).*", r"([^=]*?) *=.*", "`{}` is set twice"),
    (r"Invalid value", r".*@$", "the value is missing"),
    (r"Invalid value", r".*@(#.*)$", "the value is missing"),
    (r"Invalid value", r".*@(True|TRUE)\b.*", "write true, in lower case"),
    (r"Invalid value", r".*@(False|FALSE)\b.*", "write false, in lower case"),
    (r"Invalid value", r".*@(None|none|null|nil)\b.*", "TOML has no {}: leave the line out, and the default is taken"),
    (r"Invalid value", r".*@(\.\d[\d_eE+-]*).*", "a number begins with a digit: 0{}"),
    (r"Invalid value", r".*@([A-Za-z_][\w.-]*).*", 'a string stands in quotes: "{}"'),
    (r"Expected newline.*", r".*\d@,.*", "a number has no commas in it, and a list has brackets: [1, 2]"),
    (r"Expected newline.*", r".*= *[+-]?0@(\d+).*", "a number begins with no 0: {}"),
    (r"Expected newline.*", r".*\d@(\.) *(#.*)?$", "a number ends with a digit, as 1.0 does"),
    (r"Expected newline.*", r".*=.*@(.*)$", "a line sets one value, found after it: {}"),
    (r"Expected '=' after a key.*", r".*@ *:.*", "TOML has = where YAML and JSON have :"),
    (r"Expected '=' after a key.*", r" *([\w-]+) *@.*", "write [{}] for a table, or {} = and a value"),
    (
        r"Expected '\]+' at the end of.*",
        r".*",
        "a table's name stands between brackets, as [network] and [[phases]] do",
    ),
    (r"Unclosed array", r".*", "a list is not closed: a ] or a , is missing"),
    (r"Unclosed inline table", r".*", "a } or a , is missing; all that stands in { } is on one line"),
    (
        r"Invalid initial character for a key part",
        r".*\{.*@.*",
        "all that stands in { } is on one line, without a last ,",
    ),
    (r"(Unterminated string|.* character '\\\\n'|Expected [\"']+).*", r".*", "a closing quotation mark is missing"),
    (r"Unescaped '\\\\'.*", r".*", r"write a backslash twice, or the string in single quotes"),
    (r"Invalid statement", r" *@[{-].*", "this is JSON or YAML"),
]

MAX_KEY_PARTS = 20  # a dotted key takes tomllib time that grows with the square of its parts
MAX_LINE = 1000  # letters of a line that somebody has written

# a line that a string begins in and does not end
OPEN = re.compile(r"""(?:[^"'#]++|"[^"]*+"|'[^']*+')*+(["'])([^"']*)\r?""")

STRINGS = (
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3,5}',
    r"'''(?:[^']|'{1,2}(?!'))*+'{3,5}",
    r'"(?:[^"\\\n]|\\.)*+"',
    r"'[^'\n]*+'",
)

HIDDEN = re.compile("|".join([*STRINGS, r"#[^\n]*+"]), re.DOTALL)  # what stands in strings and comments

TOKEN = re.compile("|".join([*STRINGS, r"#[^\n]*+", r"""[^"'#\n\[\]{}=.]++""", "."]), re.DOTALL)


def bare(text: str) -> str:
    """TOML without what stands in its strings and comments, line by line."""
    return HIDDEN.sub(lambda found: "\n" * found[0].count("\n"), text)


def lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The line at whose end each table, and each key that stands before an =, is first set in ``text``, which is TOML;
    in lists of tables, such as `phases`, by their number."""
    found: dict[tuple[str | int, ...], int] = {}
    counts: dict[tuple[str | int, ...], int] = {}  # of the tables in a list of them
    table: tuple[str | int, ...] = ()
    for line, opening, key in _statements(text):
        path = table if not opening else ()
        for number, part in enumerate(key, start=1):
            path = (*path, part)
            if opening == 2 and number == len(key):
                counts[path] = counts.get(path, -1) + 1
                found.setdefault(path, line)
            if opening and path in counts:
                path = (*path, counts[path])
            found.setdefault(path, line)
        table = path if opening else table
    return found


def _statements(text: str) -> Iterator[tuple[int, int, list[str]]]:
    """The last line of each statement of TOML, how many brackets it opens with, and the parts of its key."""
    line, depth, opening, valued, key = 1, 0, 0, False, list[str]()
    for token in (*TOKEN.findall(text), "\n"):
        if token == "\n":
            if key and not (depth and valued):
                yield line, opening, key
                depth, opening, valued, key = 0, 0, False, []
            line += 1
            continue
        if token in "[{":
            depth += 1
            opening += not valued
        elif token in "]}":
            depth -= 1
        elif token == "=" and not valued:
            valued = True
        elif not valued and token != "." and token[0] != "#" and token.strip():
            key.append(tomllib.loads(f"key = {token}")["key"] if token[0] in "\"'" else token.strip())
        line += token.count("\n")


def not_toml(text: str, error: ValueError) -> tuple[int | None, str]:
    """The line of a text at which it is not TOML, and what is wrong there."""
    message, line, column = str(error), None, 0
    lines = text.split("\n")
    if place := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL):
        message, line, column = place[1], int(place[2]), int(place[3])
    elif message.endswith(" (at end of document)"):
        message, line = message.removesuffix(" (at end of document)"), len(text.rstrip().split("\n"))
        if message.startswith(("Expected '", 'Expected "')):  # the end of a string, which began somewhere above
            line = next((i for i, one in enumerate(lines, start=1) if OPEN.fullmatch(one[:MAX_LINE])), line)
        column = len(lines[line - 1]) + 1
    said = f"{message[0].lower()}{message[1:]}" if message else "it cannot be read"
    if line is None or line > len(lines):
        return None, said
    if len(lines[line - 1]) > MAX_LINE:
        return line, said
    whole = lines[line - 1].rstrip("\r")
    marked = f"{whole[: column - 1]}\0{whole[column - 1 :]}"
    for found, there, meaning in SYNTAX:
        here = re.fullmatch(there.replace("@", "\0"), marked) if "@" in there else re.fullmatch(there, whole.strip())
        if here and re.fullmatch(found, message, re.DOTALL):
            return line, meaning.replace("{}", brief(here[1])) if "{}" in meaning else meaning
    return line, said


def long_key(text: str) -> int | None:
    """The first line with a key of too many parts."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > MAX_KEY_PARTS:
            parts = re.split(r"[,={}\[\]]", re.sub(r"\s", "", line))
            if any(part.count(".") > MAX_KEY_PARTS for part in parts):
                return number
    return None
