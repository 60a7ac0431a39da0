"""What is said of the likeliest mistakes in a study file: what was found, and what would be right."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from metafa.studies.settings import PHASES, Settings, StudySettings

TABLES: dict[str, type[Settings]] = {
    name: kind
    for name, field in StudySettings.model_fields.items()
    for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
    if isinstance(kind, type) and issubclass(kind, Settings)
}
"""The tables of a study file, those of lists among them, but for phases."""

LISTS = ("phases", "claims")

KEYS: dict[str, tuple[str, ...]] = {
    "learning_rate": ("inner_learning_rate", "outer_learning_rate"),
    "lr": ("learning_rate", "inner_learning_rate", "outer_learning_rate"),
    "inner_lr": ("inner_learning_rate",),
    "outer_lr": ("outer_learning_rate",),
    "meta_lr": ("outer_learning_rate",),
    "steps": ("iterations", "inner_steps"),
    "iterations": ("steps",),
    "epochs": ("steps", "iterations"),
    "dataset": ("task_distribution", "task_distributions"),
    "datasets": ("task_distributions", "task_distribution"),
    "task_distribution": ("dataset",),
    "task_distributions": ("dataset",),
    "type": ("phase",),
    "kind": ("phase",),
    "layers": ("hidden",),
    "hidden_layers": ("hidden",),
    "hidden_units": ("hidden",),
    "hidden_sizes": ("hidden",),
    "units": ("hidden",),
    "width": ("hidden",),
    "algorithm": ("rule", "outer_algorithm", "method"),
    "learning_rule": ("rule",),
    "nonlinearity": ("activation",),
    "sampler": ("method",),
    "metric": ("objectives",),
    "n_trials": ("trials",),
    "random_seed": ("seed",),
    "std": ("standard_deviation",),
    "sigma": ("standard_deviation",),
    "min": ("low",),
    "max": ("high",),
    "values": ("choices",),
    "description": ("question",),
    "title": ("question",),
}
"""Names that are used elsewhere, and what they may mean here."""

VALUES = {
    "bp": "backprop",
    "fa": "feedback_alignment",
    "dfa": "direct_feedback_alignment",
    "kp": "kolen_pollack",
    "maml": "exact",
    "second_order": "exact",
    "fomaml": "first_order",
    "bayesian": "gp",
    "optuna": "tpe",
    "cma_es": "cmaes",
    "hyperband": "asha",
    "gaussian": "normal",
    "pretraining": "noise",
    "train": "supervised",
    "ood": "out_of_distribution",
    "maximise": "maximize",
    "minimise": "minimize",
    "max": "maximize",
    "min": "minimize",
    "valid": "validation",
    "val": "validation",
    "test": "evaluate",
    "testing": "evaluate",
}
"""The same of values."""

LOW, HIGH = ("min", "minimum", "from", "start", "lower"), ("max", "maximum", "to", "stop", "end", "upper")


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


def close(found: Any, known: Iterable[str]) -> list[str]:
    """Those of ``known`` that ``found`` may have meant, the likeliest first."""
    if not isinstance(found, str) or len(found) > MAX_NAME:
        return []
    plain = {_plain(name): name for name in known}
    if (name := _plain(found)) in plain:
        return [plain[name]]
    if (meant := VALUES.get(name)) in plain.values():
        return [str(meant)]
    return [plain[one] for one in difflib.get_close_matches(name, plain, 1)]


def _plain(name: str) -> str:
    return re.sub(r"[\s.-]", "_", name.strip()).lower()


def meant(names: Sequence[str]) -> str:
    """The end of a sentence that asks whether one of ``names`` was meant; empty where there are none."""
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""


def unknown_key(key: str, fields: Sequence[str], table: str | None, phases: Sequence[str]) -> str:
    """Of a key that is none of a table's ``fields``. ``table`` is its name, empty at the top of a file, ``phases`` of a
    phase, and None of what has no name; ``phases`` are the names of the study's."""
    plain = _plain(key[:MAX_NAME])
    if plain in fields:
        return "unknown key" + meant([plain])
    if table == "" and (plain == "phase" or plain in PHASES or key in phases):
        said = f'with phase = "{plain}"' if plain in PHASES else "of whichever kind its `phase` says"
        return f"unknown key; phases are a list: each stands under a [[phases]], {said}"
    of_phases = [kind for kind, model in PHASES.items() if plain in model.model_fields]
    homes = [name for name, model in TABLES.items() if plain in model.model_fields and name != table]
    if table and plain != table and (plain in TABLES or plain == "phases"):
        return f"unknown key here; {_table(plain)} is a table of its own"
    if table and plain != table and plain in StudySettings.model_fields:
        return f"unknown key here; `{plain}` stands at the top of the file, above the first table in brackets"
    if table is not None and table != "phases" and (homes or of_phases):
        return _elsewhere(homes, of_phases)
    near = [name for name in KEYS.get(plain, ()) if name in fields]
    near = near or [name for name in fields if name.endswith(f"_{plain}") or name.startswith(f"{plain}_")]
    near = near or difflib.get_close_matches(plain, fields, 1)
    if near:
        return "unknown key" + meant(near)
    if table is not None and (homes or of_phases):
        return _elsewhere(homes, of_phases)
    for other in KEYS.get(plain, ()) if table is not None else ():
        homes = [name for name, model in TABLES.items() if other in model.model_fields]
        of_phases = [kind for kind, model in PHASES.items() if other in model.model_fields]
        if homes or of_phases:
            return f"unknown key; did you mean '{other}'? {_elsewhere(homes, of_phases).partition('; ')[2]}"
    return f"unknown key; known are {listed(fields)}"


def _table(name: str) -> str:
    return f"[[{name}]]" if name in LISTS else f"[{name}]"


def _elsewhere(homes: Sequence[str], of_phases: Sequence[str]) -> str:
    places = [f"under {_table(name)}" for name in homes]
    if of_phases:
        places.append(f"under a [[phases]] whose `phase` is {' or '.join(map(repr, of_phases))}")
    return f"unknown key here; it stands {', or '.join(places)}"


def wrong_type(found: Any, kind: str, path: Sequence[Any], searchable: bool) -> str:
    """Of a value of the wrong type at ``path``; ``kind`` is pydantic's name of the right one."""
    name = path[-1] if path else ""
    said = f"found {shown(found)}, expected {EXPECTED.get(kind, kind.removesuffix('_type'))}"
    if tuple(path) == ("phases",):
        return _phases(found)
    if tuple(path) == ("claims",) and isinstance(found, dict):
        return "claims are a list: write [[claims]], with double brackets"
    match kind, found:
        case (("model_type" | "dict_type" | "model_attributes_type"), list()):
            return f"{said}: [{name}], with single brackets"
        case (("model_type" | "dict_type" | "model_attributes_type"), _) if name in TABLES:
            return f"{said}: [{name}], with its settings below it"
        case "list_type", str() if NUMBER.fullmatch(found):
            return f"{said}: [{found.strip()}], without quotes"
        case "list_type", str() | int() | float() if name not in LISTS:
            return f"{said}: [{shown(found)}]"
        case "list_type", dict() if choices := _lists_as_choices(found):
            return f"{said}; to vary it, each choice is a list: {{ choices = {shown(choices)} }}"
        case "int_type", list() if name == "seeds":
            return f"{said}: how many seeds, such as 3 for seeds 0, 1 and 2"
        case "int_type", float() if found.is_integer() and abs(found) < 2**53:
            return f"{said}: {int(found)}"
        case "float_type", int() if not isinstance(found, bool):
            return f"found {shown(found)}, more than any number that is computed with"
        case (("int_type" | "float_type"), str()) if NUMBER.fullmatch(found):
            return f"{said}, without quotes"
        case "bool_type", str() if found.lower() in ("true", "false"):
            return f"{said}, without quotes"
        case "string_type", int() | float():
            return f"{said}, in quotes"
    return said + (varied(found) if searchable else "")


NUMBER = re.compile(r"\s*[+-]?[\d_.]+([eE][+-]?\d+)?\s*")
EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a string",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a table",
    "dict_type": "a table",
    "model_attributes_type": "a table",
}


def varied(found: Any) -> str:
    """The end of a sentence that says how a setting is varied, if ``found`` looks as if it were to be."""
    if isinstance(found, list) and len(found) == 1 and not isinstance(found[0], list | dict):
        return f"; write {shown(found[0])}"
    if isinstance(found, list):
        return f"; to vary it, write {{ choices = {shown(_flat(found))} }}" if _flat(found) else ""
    if not isinstance(found, dict):
        return ""
    low, high = ([value for key, value in found.items() if _plain(str(key)) in names] for names in (LOW, HIGH))
    if low and high:
        return f"; to vary it, write {{ low = {shown(low[0])}, high = {shown(high[0])} }}"
    lists = [value for value in found.values() if isinstance(value, list)]
    return f"; to vary it, write {{ choices = {shown(_flat(lists[0])) if lists else '[...]'} }}"


def _flat(values: list) -> list:
    """The values, out of the lists that they may stand in."""
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def _lists_as_choices(found: dict) -> list:
    """What was to be varied of a setting that is a list, each choice as a list; empty where that is not to be told."""
    values = next((value for value in found.values() if isinstance(value, list)), list(found.values()))
    return [value if isinstance(value, list) else [value] for value in values if not isinstance(value, dict | bool)]


def lists(found: list) -> str:
    """Of a list of lists where a list of values is expected."""
    said = f"found {shown(found)}, expected a list of values"
    return f"{said}; to vary it, write {{ choices = {shown(found)} }}" if len(found) > 1 else said + varied(found)


def _phases(found: Any) -> str:
    if not isinstance(found, dict):
        return f"found {shown(found)}, expected a [[phases]] for each phase, with its settings below it"
    if "phase" not in found and any(isinstance(value, list) for name, value in found.items() if name not in PHASES):
        return "to vary the phases, write { choices = [[...], [...]] }, in which each choice is a list of phases"
    kinds = [(name, "[[" if isinstance(value, list) else "[") for name, value in found.items() if name in PHASES]
    if "phase" in found or not kinds:
        return "phases are a list: write [[phases]], with double brackets, in place of [phases]"
    name, opening = kinds[0]
    written = f"{opening}phases.{name}{']' * len(opening)}"
    return f'phases are a list: write [[phases]] and below it phase = "{name}", in place of {written}'


def no_phase(found: Any) -> str:
    """Of a phase that does not say of which kind it is."""
    said = f"a phase says of which kind it is in `phase`, one of {listed(PHASES)}"
    if isinstance(found, str) and (name := close(found, PHASES)):
        return f'{said}; write [[phases]] and below it phase = "{name[0]}"'
    if isinstance(found, dict):
        for key, value in found.items():
            if name := close(value, PHASES):
                return f'{said}; found {key} = "{value}", write phase = "{name[0]}"'
    return said


def no_name(found: Any, of: str, of_file: bool = False) -> str:
    """Of a name that is none, ``of`` a study or a phase; ``of_file`` where it is the study file's."""
    said = f"found {shown(found)}, expected letters, digits, '_' and '-', a letter first, at most 64"
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", str(found)[:MAX_LINE]).strip("_") or of
    name = (plain if plain[0].isalpha() else f"{of}_{plain.lstrip('_-')}")[:64]
    if of_file:
        return f'{said}; a study is called as its file is: rename it, or write name = "{name}" at its top'
    return f'{said}, such as "{name}"'


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


MAX_NAME = 100  # letters of what may be meant as another name


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


def brief(text: str) -> str:
    """A text as it is, if it is short."""
    return text if len(text) <= 60 else text[:57] + "..."
