"""Reading and checking a study file: from TOML to trials, and from mistakes to sentences with their place."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from metafa import notebook
from metafa import search as searches
from metafa.settings import (
    ADAPTIVE,
    MAX_TRIALS,
    METRICS,
    NUMERICS,
    PHASES,
    ClaimSettings,
    EarlyStoppingSettings,
    Range,
    ResourceSettings,
    SearchSettings,
    Settings,
    StudySettings,
    TrialSettings,
    flatten,
)

MAX_BYTES = 2**20
MAX_KEY_PARTS = 100  # a dotted key takes tomllib time that grows with the square of its parts
MAX_LOCATED_LINES = 400  # longer files have their mistakes named by key alone
MAX_MESSAGES = 20
NOT_SEARCHED = StudySettings.model_fields.keys() - TrialSettings.model_fields.keys()  # what is no part of a trial


@dataclass(frozen=True)
class Trial:
    """One point of a study's search space."""

    trial_id: str
    settings: TrialSettings
    varied: dict[str, Any]
    """The values of what the study varies, by dotted name."""


@dataclass(frozen=True)
class Study:
    """A checked study."""

    name: str
    question: str
    claims: list[ClaimSettings]
    text: str
    search: SearchSettings
    early_stopping: EarlyStoppingSettings | None
    resources: ResourceSettings
    seed: int
    tree: dict[str, Any]
    """The study file as it is written."""
    spaces: dict[str, dict[str, Any]]
    """The search spaces, by dotted name."""
    examples: tuple[TrialSettings, ...]
    """Trials in which every value of a choice, and every end of a range, stands at least once."""
    trials: tuple[Trial, ...]
    """All trials, where they are known up front; none of an adaptive search."""

    @property
    def adaptive(self) -> bool:
        return self.search.method in ADAPTIVE

    @property
    def by_timing(self) -> bool:
        """Whether which trials are tried, or run to their end, depends on how fast others are."""
        return (self.adaptive and not self.search.synchronous) or self.early_stopping is not None

    @property
    def total(self) -> int:
        """How many trials there are to be."""
        return (self.search.trials or 0) if self.adaptive else len(self.trials)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what the study computes: its trials, or, where those are to be found, how."""
        if not self.adaptive:
            return _hash(sorted(trial.trial_id for trial in self.trials))
        kept = {key: value for key, value in self.tree.items() if key in TrialSettings.model_fields}
        return _hash([NUMERICS, kept, self.search.model_dump(exclude={"trials"})])

    def continues(self, other: Study) -> bool:
        """Whether this study is ``other``, or ``other`` with more trials."""
        if self.adaptive or other.adaptive:
            return self.fingerprint == other.fingerprint and self.total >= other.total
        return {trial.trial_id for trial in other.trials} <= {trial.trial_id for trial in self.trials}

    def of_trials(self, trials: list[Trial]) -> Study:
        """The study of these of its trials alone, all of them run to their end."""
        return replace(self, trials=tuple(trials), search=SearchSettings(), early_stopping=None)

    def __repr__(self) -> str:
        return f"<Study {self.name}: {self.total} trials>"

    def _repr_html_(self) -> str:
        seeds, rules, phases = (
            _either(found)
            for found in zip(*((e.seeds, e.network.rule, _phases(e)) for e in self.examples), strict=True)
        )
        rows = {"question": self.question} if self.question else {}
        rows |= {"trials": f"{self.total}, of {seeds} seeds each", "rule": rules, "phases": phases}
        rows |= {name: _shown_space(space) for name, space in self.spaces.items()}
        return notebook.card(f"Study {self.name}", rows)

    def tree_at(self, point: searches.Point) -> dict[str, Any]:
        """The study file with the values of ``point`` in place of its search spaces."""
        paths = {_place(path, self.tree): path for path, _ in _spaces(self.tree)}
        return _replaced(self.tree, {paths[name]: value for name, value in point.items()})

    def trial(self, point: searches.Point) -> Trial:
        """The trial at a point of the search space. Raises `StudyError` where settings do not fit each other there."""
        paths = {_place(path, self.tree): path for path, _ in _spaces(self.tree)}
        mistakes = _Mistakes(self.name, self.text, self.tree)
        trial = _trial(self.tree, {paths[name]: value for name, value in point.items()}, mistakes)
        mistakes.raise_if_any()
        assert trial is not None
        return trial


def _either(found: Iterable[Any]) -> str:
    return " or ".join(dict.fromkeys(map(str, found)))


def _phases(settings: TrialSettings) -> str:
    return ", ".join(phase.name for phase in settings.phases)


def _shown_space(space: dict[str, Any]) -> str:
    shown = ", ".join(map(str, space["choices"])) if "choices" in space else f"{space['low']} to {space['high']}"
    return shown if len(shown) <= 200 else f"{shown[:197]}..."


class StudyError(Exception):
    """A study file that cannot be used; ``messages``, one line each, say why and where."""

    def __init__(self, messages: list[str]):
        super().__init__("\n".join(messages))
        self.messages = messages


def read(path: Path) -> Study:
    """Reads and checks a study file. Raises `StudyError` with every mistake, each with its place."""
    try:
        raw = path.read_bytes()
    except IsADirectoryError as error:
        raise StudyError([f"{path}: is a folder; give a study file in it, or one of `metafa studies`"]) from error
    except FileNotFoundError as error:
        raise StudyError([f"{path}: no such study file; `metafa studies` lists those to begin from"]) from error
    except OSError as error:
        raise StudyError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    if len(raw) > MAX_BYTES:
        raise StudyError([f"{path}: {len(raw)} bytes; a study file has at most {MAX_BYTES}"])
    try:
        return parse(raw.decode(), default_name=path.stem, file=str(path))
    except UnicodeDecodeError as error:
        raise StudyError([f"{path}: not UTF-8 at byte {error.start}; a study file is TOML, in UTF-8"]) from error


def parse(text: str, default_name: str = "study", file: str = "study") -> Study:
    """The study that ``text``, TOML, describes. Raises `StudyError`."""
    try:
        return _parse(text, default_name, file)
    except RecursionError as error:
        raise StudyError([f"{file}: nested too deeply for a study file"]) from error


def _parse(text: str, default_name: str, file: str) -> Study:
    for number, line in enumerate(text.splitlines(), start=1):
        if any(part.count(".") > MAX_KEY_PARTS for part in re.split(r"[,={}\[\]]", re.sub(r"\s", "", line))):
            raise StudyError([f"{file}:{number}: nested too deeply for a study file"])
    try:
        tree = tomllib.loads(text)
    except ValueError as error:  # a number of thousands of digits among them
        raise StudyError([f"{file}: not TOML: {error}"]) from error
    kept = text
    if "name" not in tree:  # said in what is kept, so that whoever finds it knows what the study was called
        tree["name"] = default_name
        kept = f'name = "{default_name}"\n{text}'
    spaces = dict(_spaces(tree))
    mistakes = _Mistakes(file, text, tree)
    for path, space in spaces.items():
        mistakes.check_space(path, space)
    mistakes.raise_if_any()

    # each option of each space, the others at their first, is checked where it stands
    first = {path: _options(space)[0] for path, space in spaces.items()}
    settings = mistakes.validate(_replaced(tree, first), {})
    examples = [settings]
    for path, space in spaces.items():
        for option in _options(space)[1:]:
            examples.append(mistakes.validate(_replaced(tree, {**first, path: option}), {path: option}))
    mistakes.raise_if_any()
    assert settings is not None

    mistakes.check_whole(settings, spaces)
    mistakes.raise_if_any()
    points = () if settings.search.method in ADAPTIVE else _points(tree, settings, spaces)
    trials = [_trial(tree, point, mistakes) for point in points]
    mistakes.raise_if_any()
    unique = {trial.trial_id: trial for trial in trials if trial is not None}
    return Study(
        settings.name,
        settings.question,
        settings.claims,
        kept,
        settings.search,
        settings.early_stopping,
        settings.resources,
        settings.seed,
        tree,
        {_place(path, tree): space for path, space in spaces.items()},
        tuple(_of_trial(example) for example in examples if example is not None),
        tuple(unique.values()),
    )


def _of_trial(settings: StudySettings) -> TrialSettings:
    return TrialSettings(**{name: getattr(settings, name) for name in TrialSettings.model_fields})


# What follows turns a tree with search spaces in it into trials, and mistakes into sentences.

Path_ = tuple[str | int, ...]


def _spaces(tree: Any, path: Path_ = ()) -> Iterator[tuple[Path_, dict]]:
    if isinstance(tree, dict):
        if tree.keys() & {"choices", "low", "high"}:
            yield path, tree
        else:
            for key, value in tree.items():
                yield from _spaces(value, (*path, key))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from _spaces(value, (*path, i))


def _options(space: dict) -> list:
    return space["choices"] if "choices" in space else [space["low"], space["high"]]


def _replaced(tree: Any, values: dict[Path_, Any], path: Path_ = ()) -> Any:
    if path in values:
        return values[path]
    if isinstance(tree, dict):
        return {key: _replaced(value, values, (*path, key)) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_replaced(value, values, (*path, i)) for i, value in enumerate(tree)]
    return tree


def _points(tree: dict, settings: StudySettings, spaces: dict[Path_, dict]) -> Iterator[dict[Path_, Any]]:
    if settings.search.method == "grid":
        for options in itertools.product(*(space["choices"] for space in spaces.values())):
            yield dict(zip(spaces, options, strict=True))
        return
    named = {_place(path, tree): space for path, space in spaces.items()}
    for point in searches.up_front(settings.search, settings.seed, named):
        yield dict(zip(spaces, point.values(), strict=True))


def _trial(tree: dict, point: dict[Path_, Any], mistakes: _Mistakes) -> Trial | None:
    settings = mistakes.validate(_replaced(tree, point), point)
    if settings is None:
        return None
    trial = _of_trial(settings)
    varied = {_place(path, tree): value for path, value in point.items()}
    # without what is as by default, so that a setting that a later metafa adds leaves the trials of earlier ones theirs
    return Trial(_hash([NUMERICS, trial.model_dump(exclude_defaults=True)]), trial, varied)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _place(path: Path_, tree: dict) -> str:
    """The dotted name of a place in a study file: a setting of a phase goes by the phase's name, not its number."""
    if len(path) > 2 and path[0] == "phases" and isinstance(path[1], int):
        phases = tree.get("phases")
        phase = phases[path[1]] if isinstance(phases, list) and path[1] < len(phases) else None
        name = (phase.get("name") or phase.get("phase")) if isinstance(phase, dict) else None
        path = (name if isinstance(name, str) else f"phases[{path[1]}]", *path[2:])
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).lstrip(".")


class _Mistakes:
    """The mistakes found so far, as sentences with their place."""

    def __init__(self, file: str, text: str, tree: dict):
        self.file, self.text, self.tree = file, text, tree
        self.messages: list[str] = []
        self.more = 0

    @cached_property
    def beginnings(self) -> list[tuple[int, dict]]:
        """Every beginning of the file that is TOML by itself, as its number of lines and what it says."""
        lines = self.text.splitlines(keepends=True)
        found = []
        for number in range(1, len(lines) + 1) if len(lines) <= MAX_LOCATED_LINES else ():
            with contextlib.suppress(ValueError, RecursionError):
                found.append((number, tomllib.loads("".join(lines[:number]))))
        return found

    def line(self, path: Path_) -> int | None:
        """The line that sets ``path``, or what holds it."""
        for end in range(len(path), 0, -1):
            for number, tree in self.beginnings:
                if _at(tree, path[:end]) is not _ABSENT:
                    return number
        return None

    def add(self, path: Path_, sentence: str) -> None:
        line = self.line(path)
        where = f"{self.file}:{line}" if line else self.file
        place = _place(path, self.tree)
        message = f"{where}: {place}: {sentence}" if place else f"{where}: {sentence}"
        message = message.replace("\n", " ")
        if message not in self.messages:
            self.messages.append(message)

    def raise_if_any(self) -> None:
        more = len(self.messages[MAX_MESSAGES:]) + self.more
        if more:
            self.messages[MAX_MESSAGES:] = [f"{self.file}: and {more} more mistakes"]
        if self.messages:
            raise StudyError(self.messages)

    def check_space(self, path: Path_, space: dict) -> None:
        if not path or path[0] in NOT_SEARCHED or path[-1] in ("phase", "name"):
            self.add(path, "cannot be a search space")
        elif "choices" in space:
            if set(space) != {"choices"}:
                self.add(path, f"`choices` stands alone, found beside it: {_listed(set(space) - {'choices'})}")
            elif not isinstance(space["choices"], list) or not space["choices"]:
                self.add((*path, "choices"), f"found {_shown(space['choices'])}, expected a list of at least one value")
        else:
            try:
                checked = Range.model_validate(space)
            except ValidationError as error:
                self._explain(error, {}, path, Range)
                return
            if not math.isfinite(checked.low) or not math.isfinite(checked.high):
                self.add(path, "`low` and `high` have to be finite")
            elif checked.low >= checked.high:
                self.add(path, f"a range the wrong way round: low = {checked.low} is not below high = {checked.high}")
            elif checked.log and checked.low <= 0:
                self.add(path, f"a logarithmic range starts above 0, found low = {checked.low}")
            elif checked.log and checked.step is not None:
                self.add(path, "a range has `log` or `step`, not both")
            elif checked.step is not None and checked.step <= 0:
                self.add(path, f"`step` has to be above 0, found {checked.step}")
            elif isinstance(checked.low, int) and isinstance(checked.high, int) and isinstance(checked.step, float):
                self.add(path, f"a range of whole numbers has a whole `step`, found {checked.step}")

    def validate(self, tree: dict, point: dict[Path_, Any]) -> StudySettings | None:
        try:
            return StudySettings.model_validate(tree)
        except ValidationError as error:
            self._explain(error, point, (), StudySettings)
        return None

    def check_whole(self, settings: StudySettings, spaces: dict[Path_, dict]) -> None:
        """What no single setting is to blame for."""
        names = [phase.name for phase in settings.phases]
        reserved = set(StudySettings.model_fields)
        for i, name in enumerate(names):
            if name in names[:i]:
                self.add(("phases", i), f"two phases are called {name!r}; give one of them another `name`")
            if name in reserved:
                self.add(("phases", i, "name"), f"{name!r} is the name of another setting; choose another")
        for i, claim in enumerate(settings.claims):
            if claim.phase not in names:
                self.add(("claims", i, "phase"), f"found {claim.phase!r}, but the phases are {_listed(names)}")
        if not settings.pixels:
            self.add(("phases",), 'no phase has images; add one with phase = "evaluate", "meta" or "supervised"')
        for name in settings.side_by_side:
            for path in spaces:
                if _place(path, self.tree) == name:
                    self.add(path, "a list of learning rates, side by side in one trial, cannot be one of `choices`")
        self.check_search(settings, spaces)
        if (stopping := settings.early_stopping) is not None:
            trained = [phase.name for phase in settings.phases if phase.phase in ("noise", "supervised", "meta")]
            self.check_measured(("early_stopping", "metric"), stopping.metric, trained, "the phases that train")

    def check_search(self, settings: StudySettings, spaces: dict[Path_, dict]) -> None:
        search, ranges = settings.search, [path for path, space in spaces.items() if "choices" not in space]
        method, adaptive = search.method, search.method in ADAPTIVE
        if method == "grid":
            for path in ranges:
                self.add(path, 'a range needs another [search] method, such as "random"; a grid takes `choices`')
            if search.trials is not None:
                self.add(("search", "trials"), "a grid has as many trials as combinations; leave `trials` out")
            size = math.prod(len(space.get("choices", ())) for space in spaces.values())
            if size > MAX_TRIALS:
                self.add((), f"a grid of {size} trials; at most {MAX_TRIALS}")
        elif search.trials is None:
            self.add(("search",), f'method = "{method}" needs `trials`, how many points to try')
        elif not spaces:
            self.add(("search",), f'method = "{method}", but no setting is a search space')
        if not adaptive:
            for key in ("objectives", "directions"):
                if getattr(search, key):
                    self.add(("search", key), f'"{method}" does not adapt to any; that is for {_listed(ADAPTIVE)}')
            return
        if not search.objectives:
            self.add(("search",), f'method = "{method}" needs `objectives`, such as ["evaluate.meta_loss"]')
        if len(search.objectives) > 1 and method not in ("tpe", "nsgaii"):
            self.add(("search", "objectives"), f'"{method}" takes one; several are for "tpe" and "nsgaii"')
        if search.directions and len(search.directions) != len(search.objectives):
            self.add(("search", "directions"), "there has to be one for each of `objectives`, or none")
        if not search.synchronous and method not in ("tpe", "gp"):
            self.add(("search", "synchronous"), f'"{method}" goes on from whole batches; only "tpe" and "gp" need not')
        if method == "nsgaii" and search.batch < 2:
            self.add(("search", "batch"), 'for "nsgaii" it is the population, of at least 2')
        numbers = [name for name, value in flatten(_of_trial(settings)).items() if type(value) in (int, float)]
        names = [phase.name for phase in settings.phases]
        for i, objective in enumerate(search.objectives):
            if objective not in numbers:
                self.check_measured(("search", "objectives", i), objective, names, "the phases")

    def check_measured(self, path: Path_, found: str, phases: list[str], which: str) -> None:
        phase, _, metric = found.rpartition(".")
        if phase not in phases:
            self.add(path, f"found {found!r}, expected PHASE.METRIC, where {which} are {_listed(phases)}")
        elif metric not in METRICS:
            close = difflib.get_close_matches(metric, METRICS, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {_listed(METRICS)}"
            self.add(path, f"found {found!r}, but {metric!r} is not measured{hint}")

    def _explain(self, error: ValidationError, point: dict[Path_, Any], root: Path_, model: type[Settings]) -> None:
        found = error.errors(include_url=False)
        misspelt = {m["loc"][:-1] for m in found if m["type"] == "extra_forbidden"}
        for mistake in found:
            if len(self.messages) > MAX_MESSAGES:
                self.more += 1
                continue
            if mistake["type"] == "missing" and mistake["loc"][:-1] in misspelt:
                continue  # said once, at the key that was written
            # pydantic puts a union's tag, and the member of a plain union, into the path: neither is in the file
            path, here = list(root), _at(self.tree, root)
            for part in mistake["loc"]:
                step = _step(here, part)
                if step is _ABSENT and (part in PHASES or part in ("int", "float", "one rate", "rates")):
                    continue
                path.append(part)
                here = step
            where = tuple(path)
            option = next((where[: len(p)] for p in point if where[: len(p)] == p), None)
            if option is not None:
                where = option
            self.add(where, _sentence(mistake, self._fields(tuple(path), model)))

    def _fields(self, path: Path_, model: type[Settings]) -> list[str]:
        """The keys allowed where ``path`` ends."""
        if model is Range:
            return list(Range.model_fields)
        if path[:1] == ("phases",) and len(path) > 2:
            kind = _step(_at(self.tree, path[:2]), "phase")
            return list(PHASES[kind].model_fields) if isinstance(kind, str) and kind in PHASES else []
        if path[:1] == ("claims",) and len(path) > 2:
            return list(ClaimSettings.model_fields)
        if len(path) > 1:
            field = StudySettings.model_fields.get(str(path[0]))
            return list(getattr(field.annotation, "model_fields", {})) if field else []
        return list(StudySettings.model_fields)


_ABSENT = object()


def _step(tree: Any, part: Any) -> Any:
    try:
        return tree[part]
    except (KeyError, IndexError, TypeError):
        return _ABSENT


def _at(tree: Any, path: Path_) -> Any:
    for part in path:
        tree = _step(tree, part)
    return tree


def _sentence(mistake: Any, fields: list[str]) -> str:
    found, context = mistake["input"], mistake.get("ctx", {})
    match mistake["type"]:
        case "extra_forbidden":
            key = str(mistake["loc"][-1])
            close = difflib.get_close_matches(key, fields, 1)
            return f"unknown key; did you mean {close[0]!r}?" if close else f"unknown key; known are {_listed(fields)}"
        case "misfit":
            return context["sentence"]
        case "missing":
            return "missing, and it has no default"
        case "literal_error":
            close = difflib.get_close_matches(str(found), _literals(context["expected"]), 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            return f"found {_shown(found)}, expected {context['expected']}{hint}"
        case "union_tag_invalid":
            return f"`phase` is {context['tag']!r}, expected {_listed(PHASES)}"
        case "union_tag_not_found":
            return f"a phase is a table that says which in `phase`: {_listed(PHASES)}"
        case "string_pattern_mismatch":
            return f"found {_shown(found)}, expected letters, digits, '_' and '-', a letter first, at most 64"
        case kind if kind.endswith("_type"):
            return f"found {_shown(found)}, expected {_TYPES.get(kind, kind.removesuffix('_type'))}"
        case _:
            message = mistake["msg"]
            return f"found {_shown(found)}: {message[0].lower()}{message[1:]}"


_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a string",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a table",
    "dict_type": "a table",
    "model_attributes_type": "a table",
}


def misfits(schema: type[Settings], settings: dict[str, Any]) -> list[str]:
    """What is wrong with settings that were said one by one rather than in a study file, a sentence each."""
    try:
        schema.model_validate(settings)
    except ValidationError as error:
        found = error.errors(include_url=False)
        return [f"{mistake['loc'][0]}: {_sentence(mistake, list(settings))}" for mistake in found]
    return []


def _literals(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _shown(value: Any) -> str:
    shown = repr(value) if not isinstance(value, bool) else str(value).lower()
    return shown if len(shown) <= 60 else shown[:57] + "..."
