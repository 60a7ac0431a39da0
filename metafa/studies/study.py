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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from metafa.errors import StudyError
from metafa.studies import search as searches
from metafa.studies import sentences
from metafa.studies.card import card
from metafa.studies.sentences import listed as _listed
from metafa.studies.sentences import shown as _shown
from metafa.studies.settings import (
    ADAPTIVE,
    MAX_STEPS,
    MAX_TRIALS,
    METRICS,
    NUMERICS,
    OF_A_LAYER,
    OF_TASKS,
    OF_THE_BATCH,
    PHASES,
    TRAINS,
    ClaimSettings,
    EarlyStoppingSettings,
    NoisePhase,
    Outlines,
    Range,
    ResourceSettings,
    SearchSettings,
    Settings,
    StudySettings,
    TrialSettings,
    direction_of,
    flatten,
    has_steps,
    images_of,
    inputs_of,
    metrics_of,
    misfit,
    outline,
)

MAX_BYTES = 2**20
MAX_KEY_PARTS = 20  # a dotted key takes tomllib time that grows with the square of its parts
MAX_LISTED = 100  # of a list: phases, layers, claims, strengths
MAX_SPACES = 100
MAX_MESSAGES = 20
PHASES_AT = list(TrialSettings.model_fields).index("phases")
NOT_SEARCHED = StudySettings.model_fields.keys() - TrialSettings.model_fields.keys()  # what is no part of a trial


@dataclass(frozen=True)
class Trial:
    """One point of a study's search space."""

    settings_id: str
    """A hash of the settings, and of the `NUMERICS` that they are computed with."""
    values: tuple[Any, ...]
    """The settings, as those of `TrialSettings` in their order; many trials share a network or a phase."""
    varied: dict[str, Any]
    """The values of what the study varies, by dotted name."""
    data: dict[str, str] = field(default_factory=dict)
    """The digests of the images that it draws on, as far as they are known, by the names of `image_needs`."""

    @cached_property
    def trial_id(self) -> str:
        """A hash of what determines the result."""
        return _hash([self.settings_id, self.data]) if self.data else self.settings_id

    @property
    def settings(self) -> TrialSettings:
        """The settings, made when they are asked for: a study may have a hundred thousand trials."""
        return _settings(self.values)

    def over(self, digests: Mapping[str, str]) -> Trial:
        """The trial over images that have these digests."""
        outlines = tuple(map(outline, self.values[PHASES_AT]))
        data = {name: digests[name] for name in images_of(outlines) if name in digests}
        return Trial(self.settings_id, self.values, self.varied, data)


@dataclass(frozen=True)
class Examples(Sequence[TrialSettings]):
    """Settings, each made when it is asked for: there may be a hundred thousand."""

    values: tuple[tuple[Any, ...], ...]
    """As those of `Trial`."""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: Any) -> Any:
        return Examples(self.values[place]) if isinstance(place, slice) else _settings(self.values[place])

    def __iter__(self) -> Iterator[TrialSettings]:
        return map(_settings, self.values)


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
    examples: Examples
    """Trials in which every value of a choice, and every end of a range, stands at least once."""
    trials: tuple[Trial, ...]
    """All trials, where they are known up front; none of an adaptive search."""
    digests: dict[str, str] = field(default_factory=dict)
    """The digests of the images that its trials draw on, as far as they are known; `over` says them."""

    @property
    def adaptive(self) -> bool:
        return self.search.method in ADAPTIVE

    @property
    def by_timing(self) -> bool:
        """Whether which trials are tried, or run to their end, depends on how fast others are."""
        return (self.adaptive and not self.search.synchronous) or self.early_stopping is not None

    @property
    def fewer(self) -> str:
        """Why there are fewer trials than the study asks for, in words; empty where there are not."""
        asked = self.search.trials or 0
        if self.total >= asked:
            return ""
        if self.adaptive:
            return f"the search space has no more than {self.total}, of {asked} asked for"
        return f"of {asked} points drawn {self.total} differ"

    @cached_property
    def total(self) -> int:
        """How many trials there are to be: as many as are asked for, or all that an adaptive search's space has."""
        if not self.adaptive:
            return len(self.trials)
        wanted, points = self.search.trials or 0, searches.every(self.spaces)
        if points is None:
            return wanted
        found: set[str] = set()
        for point in points:
            with contextlib.suppress(StudyError):
                found.add(self.trial(point).trial_id)
            if len(found) >= wanted:
                break
        return len(found)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what the study computes: its trials, or, where they are to be found, how, and over which images."""
        if not self.adaptive:
            return _hash(sorted(trial.trial_id for trial in self.trials))
        kept = {key: value for key, value in self.tree.items() if key in TrialSettings.model_fields}
        how = [NUMERICS, kept, self.search.model_dump(exclude={"trials"})]
        return _hash([*how, self.digests] if self.digests else how)

    def over(self, digests: Mapping[str, str]) -> Study:
        """The study over images that have these digests, by the names of `image_needs`."""
        return replace(self, digests=dict(digests), trials=tuple(trial.over(digests) for trial in self.trials))

    @property
    def rounding(self) -> tuple[int, bool]:
        """What decides how sums round and is no part of a trial_id: the number of threads, and whether on a GPU."""
        return self.resources.cpus_per_trial, self.resources.gpus_per_trial > 0

    def continues(self, other: Study) -> bool:
        """Whether this study is ``other``, or it with more trials, whatever the images, with sums rounded alike."""
        if self.rounding != other.rounding:
            return False
        if self.adaptive or other.adaptive:
            return self.over({}).fingerprint == other.over({}).fingerprint and self.total >= other.total
        return {trial.settings_id for trial in other.trials} <= {trial.settings_id for trial in self.trials}

    def differences(self, other: Study) -> list[str]:
        """Why this study does not continue ``other``: the settings of which they have other values, with both."""
        ours, theirs = self._said(), other._said()
        names = [name for name in {**theirs, **ours} if ours.get(name, _ABSENT) != theirs.get(name, _ABSENT)]
        if self.rounding[1] == other.rounding[1]:  # another share of a GPU computes the same
            names = [name for name in names if name != "resources.gpus_per_trial"]
        if "phases" in names:  # a phase that one of them lacks has all its settings in that one alone
            names = [name for name in names if name in ours and name in theirs]
        there, here = ([_shown(one[name]) if name in one else "absent" for name in names] for one in (theirs, ours))
        return [f"{name} is {one} there and {two} here" for name, one, two in zip(names, there, here, strict=True)]

    def _said(self) -> dict[str, Any]:
        """What the study computes: a value or a search space for every setting of a trial, how it searches, on what."""
        search = {f"search.{name}": value for name, value in self.search}
        resources = {f"resources.{name}": value for name, value in self.resources if name != "checkpoint_seconds"}
        return flatten(self.examples[0]) | self.spaces | search | resources

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
        return card(f"Study {self.name}", rows)

    @cached_property
    def _maker(self) -> _Maker:
        return _Maker(self.tree, dict(_spaces(self.tree)))

    def tree_at(self, point: searches.Point) -> dict[str, Any]:
        """The study file with the values of ``point`` in place of its search spaces."""
        paths = {_place(path, self.tree): path for path, _ in _spaces(self.tree)}
        return _replaced(self.tree, {paths[name]: value for name, value in point.items()})

    def trial(self, point: searches.Point) -> Trial:
        """The trial at a point of the search space. Raises `StudyError` where settings do not fit each other there."""
        paths = {name: path for path, name in self._maker.names.items()}
        if unknown := point.keys() - paths.keys():
            raise StudyError([f"{self.name}: no search space {_listed(unknown)}"])
        if missing := paths.keys() - point.keys():
            raise StudyError([f"{self.name}: no value of the search space {_listed(missing)}"])
        mistakes = _Mistakes(self.name, self.text, self.tree)
        trial = self._maker.trial(self._maker.at({paths[name]: value for name, value in point.items()}), mistakes)
        mistakes.raise_if_any()
        assert trial is not None
        return trial.over(self.digests)


def _either(found: Iterable[Any]) -> str:
    return " or ".join(dict.fromkeys(map(str, found)))


def _phases(settings: TrialSettings) -> str:
    return ", ".join(phase.name for phase in settings.phases)


def _shown_space(space: dict[str, Any]) -> str:
    shown = ", ".join(map(str, space["choices"])) if "choices" in space else f"{space['low']} to {space['high']}"
    return shown if len(shown) <= 200 else f"{shown[:197]}..."


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
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw[:4]:
        raise StudyError([f"{path}: UTF-16; a study file is TOML, in UTF-8: save it as that"])
    try:
        return parse(raw.decode(), default_name=path.stem, file=str(path))
    except UnicodeDecodeError as error:
        raise StudyError([f"{path}: not UTF-8 at byte {error.start}; a study file is TOML, in UTF-8"]) from error


def parse(text: str, default_name: str = "study", file: str = "study", has_results: bool = False) -> Study:
    """The study that ``text``, TOML, describes. Raises `StudyError`.

    ``has_results``: of one that has run, what no single setting is to blame for is not checked: an earlier version may
    have let pass what this one refuses, and its results are to be read all the same."""
    try:
        return _parse(text, default_name, file, has_results)
    except RecursionError as error:
        raise StudyError([f"{file}: nested too deeply for a study file"]) from error


def _parse(text: str, default_name: str, file: str, has_results: bool) -> Study:
    text = text.removeprefix("\ufeff")  # some editors begin a file with it
    if _long_key(text) and (number := _long_key(sentences.bare(text))):
        raise StudyError([f"{file}:{number}: nested too deeply for a study file"])
    try:
        tree = tomllib.loads(text)
    except ValueError as error:  # a number of thousands of digits among them
        at, said = sentences.not_toml(text, error)
        raise StudyError([f"{file}{f':{at}' if at else ''}: not TOML: {said}".replace("\n", " ")]) from error
    kept, named = text, "name" in tree
    if not named:  # said in what is kept, so that whoever finds it knows what the study was called
        tree["name"] = default_name
        kept = f'name = "{default_name}"\n{text}'
    spaces = dict(_spaces(tree))
    mistakes = _Mistakes(file, text, tree, named)
    mistakes.check_lists(tree)
    if len(spaces) > MAX_SPACES:
        mistakes.add((), f"{len(spaces)} search spaces; at most {MAX_SPACES}")
    mistakes.raise_if_any()
    for path, space in spaces.items():
        mistakes.check_space(path, space)
    mistakes.raise_if_any()
    mistakes.check_size(spaces)
    mistakes.raise_if_any()

    # each option of each space, the others at their first, is checked where it stands
    maker = _Maker(tree, spaces)
    first = {path: _options(space)[0] for path, space in spaces.items()}
    settings = mistakes.validate(_replaced(tree, first))
    firsts = maker.at(first)
    for part in (*firsts, *maker.parts):
        mistakes.explained.add(part)  # as what is wrong with the whole
    examples = [maker.trial(firsts, mistakes)]
    for path in maker.names:
        others = [part for part in firsts if part.place != maker.home(path)]
        for option in _options(spaces[path])[1:]:
            part = maker.part(maker.home(path), first | {path: option})
            mistakes.explain(part, {path: option})
            if part.error is None:
                examples.append(maker.trial([*others, part], mistakes))
    mistakes.raise_if_any()
    assert settings is not None

    checked = Examples(tuple(example.values for example in examples if example is not None))
    telling = _telling(checked)
    mistakes.check_grid(settings, spaces)
    mistakes.check_columns(telling, spaces)
    if not has_results:
        mistakes.check_phases(telling)
        mistakes.check_whole(settings, spaces, telling, checked)
    mistakes.raise_if_any()
    unique = {trial.trial_id: trial for trial in _trials(settings, spaces, maker, mistakes)}
    mistakes.raise_if_any()
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
        checked,
        tuple(unique.values()),
    )


def _telling(examples: Examples) -> list[TrialSettings]:
    """Of examples that differ in no more than numbers, of which it only matters whether they are 0, one each."""
    known: dict[int, tuple] = {}  # by identity: examples share phases, and keep them
    found: dict[tuple, TrialSettings] = {}
    for one in examples:
        for phase in one.phases:
            if id(phase) not in known:
                known[id(phase)] = (outline(phase), has_steps(phase), tuple(getattr(phase, "shifts", ())))
        network, measure = one.network, one.measure
        key = (network.rule, len(network.hidden), measure.singular_values, measure.weight_path)
        found.setdefault((*key, *(known[id(phase)] for phase in one.phases)), one)
    return list(found.values())


def _long_key(text: str) -> int | None:
    """The first line with a key of too many parts."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > MAX_KEY_PARTS:
            parts = re.split(r"[,={}\[\]]", re.sub(r"\s", "", line))
            if any(part.count(".") > MAX_KEY_PARTS for part in parts):
                return number
    return None


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


def _trials(settings: StudySettings, spaces: dict[Path_, dict], maker: _Maker, mistakes: _Mistakes) -> Iterator[Trial]:
    """The trials that are known up front."""
    if settings.search.method in ADAPTIVE:
        return
    if settings.search.method == "grid":  # the options of spaces within one place are put together once
        points: Iterable[Iterable[_Part]] = itertools.product(*(maker.every(one, spaces) for one in maker.varied))
    else:
        named = {name: spaces[path] for path, name in maker.names.items()}
        drawn = searches.up_front(settings.search, settings.seed, named)
        points = (maker.at(dict(zip(maker.names, point.values(), strict=True))) for point in drawn)
    for point in points:
        if (trial := maker.trial(point, mistakes)) is not None:
            yield trial


@dataclass(eq=False, slots=True)
class _Part:
    """A part of a trial's settings: a table, a phase, or a setting that is in none."""

    place: Path_
    point: dict[Path_, Any]
    """The values of the search spaces in it."""
    values: tuple[Any, ...] = ()
    """The setting, or of phases each."""
    text: str = ""
    """What it adds to what is hashed of a trial: all that is not as by default, so that a setting that a later metafa
    adds leaves the trials of earlier ones theirs."""
    outlines: Outlines = ()
    error: ValidationError | None = None


# Of each part a model of its own, so that it is checked, and written down, as it is in a whole study.
_PARTS = {
    name: create_model(name, __base__=Settings, **{name: (field.annotation, field)})  # type: ignore[call-overload]
    for name, field in TrialSettings.model_fields.items()
}


class _Maker:
    """Makes the trials of a study. What its search spaces leave as it is, and each combination of the values of those
    within one table or one phase, is checked once, however many trials share it."""

    def __init__(self, tree: dict, spaces: Mapping[Path_, dict]):
        self.tree = tree
        phases = tree.get("phases")
        each: list[Path_] = [("phases", i) for i in range(len(phases))] if isinstance(phases, list) else [("phases",)]
        self.inside: dict[Path_, list[Path_]] = {
            place: [] for name in _PARTS for place in (each if name == "phases" else [(name,)])
        }
        """The search spaces within each place, places in the order of the fields of `TrialSettings`."""
        self.names: dict[Path_, str] = {}
        for path in spaces:
            if (home := self.home(path)) in self.inside:
                self.inside[home].append(path)
                self.names[path] = _place(path, tree)
        self.varied = list(dict.fromkeys(map(self.home, self.names)))
        """The places with search spaces in them, in the order of the file."""
        self.countable = {
            place for place, inside in self.inside.items() if all("choices" in spaces[path] for path in inside)
        }
        self.known: dict[tuple[Path_, str], _Part] = {}
        self.parts = [self.part(place, {}) for place in self.inside]
        self.numbers = {place: number for number, place in enumerate(self.inside)}
        self.phases = slice(self.numbers[each[0]], self.numbers[each[-1]] + 1) if each else slice(3, 3)

    def home(self, path: Path_) -> Path_:
        """The place that ``path`` is in."""
        return path[:2] if path[:2] in self.inside else path[:1]

    def part(self, place: Path_, point: Mapping[Path_, Any]) -> _Part:
        """What stands at a place, with the values of ``point``, as far as they are there, in place of search spaces."""
        inside = {path: point[path] for path in self.inside[place] if path in point}
        if place not in self.countable:
            return self._part(place, inside)
        key = (place, repr(inside))
        if key not in self.known:
            self.known[key] = self._part(place, inside)
        return self.known[key]

    def _part(self, place: Path_, inside: dict[Path_, Any]) -> _Part:
        name, found = str(place[0]), _at(self.tree, place)
        said = {} if found is _ABSENT else {name: _replaced(found, inside, place)}
        try:
            checked = _PARTS[name].model_validate({name: [said[name]]} if len(place) > 1 else said)
        except ValidationError as error:
            return _Part(place, inside, error=error)
        dumped, value = checked.model_dump(exclude_defaults=True), getattr(checked, name)
        if name == "phases":
            text = ", ".join(json.dumps(phase, sort_keys=True) for phase in dumped[name])
            return _Part(place, inside, tuple(value), text, tuple(map(outline, value)))
        text = f'"{name}": {json.dumps(dumped[name], sort_keys=True)}' if name in dumped else ""
        return _Part(place, inside, (value,), text)

    def every(self, place: Path_, spaces: Mapping[Path_, dict]) -> list[_Part]:
        """All that may stand at a place, where search spaces are choices."""
        paths = self.inside[place]
        options = itertools.product(*(spaces[path]["choices"] for path in paths))
        return [self.part(place, dict(zip(paths, values, strict=True))) for values in options]

    def at(self, point: Mapping[Path_, Any]) -> list[_Part]:
        """What stands at the places with search spaces in them, with the values of ``point``."""
        return [self.part(place, point) for place in self.varied]

    def trial(self, varied: Iterable[_Part], mistakes: _Mistakes) -> Trial | None:
        """The trial with these parts; None where there are mistakes."""
        parts, point = self.parts.copy(), dict[str, Any]()
        for part in varied:
            parts[self.numbers[part.place]] = part
            point.update((self.names[path], value) for path, value in part.point.items())
        if wrong := [part for part in parts if part.error is not None]:
            for part in wrong:
                mistakes.explain(part)
            return None
        phases = parts[self.phases]
        if said := misfit(tuple(one for part in phases for one in part.outlines)):
            mistakes.add((), said)
            return None
        parts[self.phases] = [
            _Part(
                ("phases",),
                {},
                (tuple(one for part in phases for one in part.values),),
                text=f'"phases": [{", ".join(part.text for part in phases)}]',
            )
        ]
        text = ", ".join(sorted(part.text for part in parts if part.text))
        return Trial(_digest(f"[{NUMERICS}, {{{text}}}]"), tuple(part.values[0] for part in parts), point)


def _settings(values: tuple[Any, ...]) -> TrialSettings:
    """Settings that have been checked, by their values in the order of their fields."""
    fields = dict(zip(TrialSettings.model_fields, values, strict=True))
    return TrialSettings.model_construct(**fields | {"phases": list(fields["phases"])})


def _hash(value: Any) -> str:
    return _digest(json.dumps(value, sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _place(path: Path_, tree: dict) -> str:
    """The dotted name of a place in a study file: a setting of a phase goes by the phase's name, not its number."""
    if len(path) > 2 and path[0] == "phases" and isinstance(path[1], int):
        phases = tree.get("phases")
        phase = phases[path[1]] if isinstance(phases, list) and path[1] < len(phases) else None
        name = (phase.get("name") or phase.get("phase")) if isinstance(phase, dict) else None
        path = (name if isinstance(name, str) else f"phases[{path[1]}]", *path[2:])
    parts = [f"[{part}]" if isinstance(part, int) else f".{sentences.brief(part)}" for part in path]
    return "".join(parts).lstrip(".")


class _Mistakes:
    """The mistakes found so far, as sentences with their place."""

    def __init__(self, file: str, text: str, tree: dict, named: bool = True):
        self.file, self.text, self.tree, self.named = file, text, tree, named
        self.messages: list[str] = []
        self.more = 0
        self.explained: set[_Part] = set()
        """The parts of which is said what is wrong: many trials may share one."""

    @cached_property
    def lines(self) -> dict[Path_, int]:
        """The line at whose end each table, and each key that stands before an =, is first set."""
        return sentences.lines(self.text)

    def line(self, path: Path_) -> int | None:
        """The line that sets ``path``, or what holds it."""
        return next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), None)

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

    def check_lists(self, tree: Any, path: Path_ = ()) -> None:
        """Whether lists are of a length that a trial could have; what is in `choices` is for many trials."""
        if len(self.messages) > MAX_MESSAGES or not isinstance(tree, dict | list):
            return
        if isinstance(tree, list) and len(tree) > MAX_LISTED and path[-1:] != ("choices",):
            self.add(path, f"found a list of {len(tree)}, expected at most {MAX_LISTED}")
            return
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if isinstance(value, dict | list):
                self.check_lists(value, (*path, key))

    def check_size(self, spaces: dict[Path_, dict]) -> None:
        """Whether a grid, and what is to be said of each of its values, can be written down."""
        search = self.tree.get("search")
        grid = not isinstance(search, dict) or search.get("method", "grid") == "grid"
        counts = [len(space["choices"]) for space in spaces.values() if "choices" in space]
        if grid and (size := math.prod(counts)) > MAX_TRIALS:
            self.add((), f"a grid of {size if size < 10**30 else 'more than 10^30'} trials; at most {MAX_TRIALS}")
        elif sum(counts) > MAX_TRIALS:
            self.add((), f"{sum(counts)} choices together; at most {MAX_TRIALS}")

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
                self._explain(error.errors(include_url=False), {}, path, Range)
                return
            if checked.low >= checked.high:
                self.add(path, f"a range the wrong way round: low = {checked.low} is not below high = {checked.high}")
            elif checked.log and checked.low <= 0:
                self.add(path, f"a logarithmic range starts above 0, found low = {checked.low}")
            elif checked.log and checked.step is not None:
                self.add(path, "a range has `log` or `step`, not both")
            elif checked.step is not None and checked.step <= 0:
                self.add(path, f"`step` has to be above 0, found {checked.step}")
            elif isinstance(checked.low, int) and isinstance(checked.high, int) and isinstance(checked.step, float):
                self.add(path, f"a range of whole numbers has a whole `step`, found {checked.step}")
            elif checked.step is not None and (checked.high - checked.low) / checked.step > MAX_STEPS:
                self.add(path, f"a range has at most {MAX_STEPS:.0e} steps, found more, of {checked.step} each")

    def validate(self, tree: dict) -> StudySettings | None:
        try:
            return StudySettings.model_validate(tree)
        except ValidationError as error:
            self._explain(error.errors(include_url=False), {}, (), StudySettings)
        return None

    def explain(self, part: _Part, point: dict[Path_, Any] | None = None) -> None:
        """Says what is wrong with a part, of the search spaces of ``point`` where it is in one, or else of its own."""
        if part.error is None:
            return
        if len(self.messages) > MAX_MESSAGES:
            self.more += part.error.error_count()
        elif part not in self.explained:
            self.explained.add(part)
            found = part.error.errors(include_url=False)
            for mistake in found if len(part.place) > 1 else ():
                mistake["loc"] = (*part.place, *mistake["loc"][2:])
            self._explain(found, part.point if point is None else point, (), StudySettings)

    def check_phases(self, examples: Sequence[TrialSettings]) -> None:
        """What has to hold of the phases of every trial, and of all trials together."""
        kinds: dict[str, str] = {}
        for settings in examples:
            seen: set[str] = set()
            for i, phase in enumerate(settings.phases):
                if phase.name in StudySettings.model_fields:
                    self.add(("phases", i, "name"), f"{phase.name!r} is the name of another setting; choose another")
                if phase.name not in seen and kinds.setdefault(phase.name, phase.phase) != phase.phase:
                    self.add(
                        ("phases",),
                        f"{phase.name!r} is called a phase of kind {kinds[phase.name]!r} in one choice and one of kind "
                        f"{phase.phase!r} in another; give one of them another `name`",
                    )
                seen.add(phase.name)
            if not settings.pixels:
                self.add(("phases",), 'no phase has images; add one with phase = "evaluate", "meta" or "supervised"')

    def check_columns(self, examples: Sequence[TrialSettings], spaces: dict[Path_, dict]) -> None:
        """Whether the table of trials has a column for each setting that holds it of every trial, whoever made it."""
        side_by_side = examples[0].side_by_side.keys()
        for settings in examples:
            for i, phase in enumerate(settings.phases):
                if phase.name in {other.name for other in settings.phases[:i]}:
                    self.add(("phases", i), f"two phases are called {phase.name!r}; give one of them another `name`")
            of_lists = [
                path for path in spaces if _place(path, self.tree) in settings.side_by_side.keys() | side_by_side
            ]
            for path in of_lists:
                self.add(path, "a list of learning rates, side by side in one trial, cannot be one of `choices`")
            if not of_lists and settings.side_by_side.keys() != side_by_side:
                self.add(("phases",), "every choice has to list its learning rates in the same setting, or none any")

    def check_whole(
        self,
        settings: StudySettings,
        spaces: dict[Path_, dict],
        examples: Sequence[TrialSettings],
        every: Iterable[TrialSettings],
    ) -> None:
        """What no single setting is to blame for, of trials of which ``every`` one tells, or ``examples`` of them."""
        for i, claim in enumerate(settings.claims):
            if claim.phase not in (names := {phase.name for one in examples for phase in one.phases}):
                self.add(("claims", i, "phase"), f"found {claim.phase!r}, but the phases are {_listed(names)}")
            else:
                measured = [_ever_measured(one, claim.phase) for one in examples]
                self.check_measured(("claims", i, "metric"), "", claim.metric, claim.phase, set.union(*measured))
                whose = [one for one, metrics in zip(examples, measured, strict=True) if claim.metric in metrics]
                self.check_claim(("claims", i), claim, whose)
        self.check_search(settings, spaces, examples, every)
        if (stopping := settings.early_stopping) is not None:
            self.check_early_stopping(stopping, examples)

    def check_claim(self, path: Path_, claim: ClaimSettings, examples: Sequence[TrialSettings]) -> None:
        """Whether the trials that measure what a claim is about, of which ``examples`` are some, can tell of it."""
        if not examples:
            return
        inputs: set[str | None] = set()
        chosen: set[str | None] = set()
        for one in examples:
            found, dataset = inputs_of(one, claim.phase, claim.metric), one.datasets().get(claim.phase)
            inputs |= found
            if claim.task is not None:
                chosen |= {name for name in found if name and name.startswith(claim.task)}
            elif next(phase for phase in one.phases if phase.name == claim.phase).phase == "out_of_distribution":
                chosen |= found - {dataset}
            elif dataset in found:
                chosen.add(dataset)
            else:
                chosen |= found if claim.metric in OF_TASKS else found & {None}
        known = {name for name in inputs if name}
        if not chosen and claim.task is None:
            self.add(path, f"`task` has to say on which inputs {claim.metric} is meant, of {_listed(known)}")
        elif not chosen:
            hint = sentences.meant(sentences.close(claim.task, known))
            what = f"{claim.metric} is measured on {_listed(known)}" if known else f"{claim.metric} is of no inputs"
            self.add((*path, "task"), f"found {claim.task!r}, but in {claim.phase} {what}{hint}")
        layers = max(len(one.network.hidden) for one in examples) + 1
        if claim.layer is not None and claim.metric not in OF_A_LAYER:
            self.add((*path, "layer"), f"{claim.metric} is not of a layer; leave `layer` out")
        elif claim.layer is not None and claim.layer > layers:
            self.add((*path, "layer"), f"found {claim.layer}, but the networks have {layers} layers")
        elif claim.layer == 1 and claim.metric == "alignment_angle":
            self.add((*path, "layer"), "the first layer has no feedback, and so no angle to it; layers count from 2")
        rules = {one.network.rule for one in examples}
        if claim.rule not in rules:
            self.add(
                (*path, "rule"), f"{claim.rule!r} is about no network of this study: their rules are {_listed(rules)}"
            )
        steps = [{phase.name: phase.steps for phase in one.phases if isinstance(phase, NoisePhase)} for one in examples]
        if not any(map(any, (of_trial.values() for of_trial in steps))):
            self.add(path, "claims are about networks with noise, but no trial has any; give the study a noise phase")
        elif claim.compare == "noise":
            fewest = {name: min(one.get(name, 0) for one in steps) for of_trial in steps for name in of_trial}
            if sum(fewest.values()):
                sentence = "networks with noise are compared with those without, but every trial has some"
                self.add(path, f"{sentence}; let noise `steps` be 0 too, or compare with the start or a reference")

    def check_early_stopping(self, stopping: EarlyStoppingSettings, examples: Sequence[TrialSettings]) -> None:
        path = ("early_stopping", "metric")
        trained = {phase.name for one in examples for phase in one.phases if phase.phase in TRAINS}
        if stopping.phase not in trained:
            which = f"the phases that train are {_listed(trained)}"
            self.add(path, f"found {stopping.metric!r}, expected PHASE.METRIC, where {which}")
            return
        # a trial without the phase is not judged
        measured = [found for one in examples if (found := _ever_measured(one, stopping.phase))]
        every = {name for name in set.intersection(*measured) if METRICS[name].throughout}
        metric = stopping.metric.rpartition(".")[2]
        some = " throughout each trial" if metric in set.union(*measured) else ""
        self.check_measured(path, f"{stopping.phase}.", metric, stopping.phase, every, some)
        if stopping.direction is None and direction_of(stopping.metric) is None:
            self.add(("early_stopping",), f"`direction` has to be said: {_undirected(stopping.metric)}")

    def check_grid(self, settings: StudySettings, spaces: dict[Path_, dict]) -> None:
        """Whether a grid has choices alone, whoever made it."""
        if settings.search.method != "grid":
            return
        for path in (path for path, space in spaces.items() if "choices" not in space):
            self.add(path, 'a range needs another [search] method, such as "random"; a grid takes `choices`')

    def check_search(
        self,
        settings: StudySettings,
        spaces: dict[Path_, dict],
        examples: Sequence[TrialSettings],
        every: Iterable[TrialSettings],
    ) -> None:
        search, ranges = settings.search, [path for path, space in spaces.items() if "choices" not in space]
        method, adaptive = search.method, search.method in ADAPTIVE
        if method == "grid":
            if search.trials is not None:
                self.add(("search", "trials"), "a grid has as many trials as combinations; leave `trials` out")
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
        if method == "cmaes":
            for path in (path for path in spaces if path not in ranges):
                said = '"cmaes" knows ranges alone, and draws choices at random, whatever it finds'
                self.add(path, f'{said}; give a range, or take "tpe", "gp" or "nsgaii"')
        flat = [{name: one.get(name) for name in search.objectives} for one in map(flatten, every)]
        for i, objective in enumerate(search.objectives):
            path = ("search", "objectives", i)
            if all(type(one.get(objective)) in (int, float) for one in flat):
                if len({one[objective] for one in flat}) == 1:
                    self.add(
                        path, f"{objective!r} is {flat[0][objective]} in every trial; nothing is to be found there"
                    )
                continue
            names = set.intersection(*({phase.name for phase in one.phases} for one in examples))
            phase, _, metric = objective.rpartition(".")
            if phase not in names:
                self.add(path, f"found {objective!r}, expected PHASE.METRIC, where the phases are {_listed(names)}")
                continue
            measured = [metrics_of(one)[phase] for one in examples]
            some = " in every trial" if metric in set.union(*measured) else ""
            self.check_measured(path, f"{phase}.", metric, phase, set.intersection(*measured), some)
            if not search.directions and direction_of(objective) is None:
                self.add(("search",), f"`directions` have to be said: {_undirected(objective)}")

    def check_measured(
        self, path: Path_, place: str, metric: str, phase: str, measured: set[str], some: str = ""
    ) -> None:
        """``metric``, in the file after ``place``, is to be one of those ``measured`` in ``phase``."""
        if metric in measured:
            return
        close = difflib.get_close_matches(metric, measured, 1)
        hint = f"did you mean {place + close[0]!r}? " if close else ""
        said = f"found {place + metric!r}, but {phase!r} does not measure {metric!r}{some}"
        self.add(path, f"{said}; {hint}it measures {_listed(measured)}")

    def _explain(self, found: Any, point: dict[Path_, Any], root: Path_, model: type[Settings]) -> None:
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
            elif where[2:] and isinstance(where[-1], int) and isinstance(mistake["input"], list):
                self.add(where[:-1], sentences.lists(_at(self.tree, where[:-1])))
                continue
            self.add(where, self._sentence(mistake, tuple(path), where, model, option is None))

    def _sentence(self, mistake: Any, path: Path_, where: Path_, model: type[Settings], single: bool) -> str:
        found, kind = mistake["input"], mistake["type"]
        searchable = single and model is StudySettings and bool(where) and where[0] not in NOT_SEARCHED
        match kind:
            case "extra_forbidden":
                table = None if model is Range else "" if len(path) == 1 else str(path[0])
                names = [name for phase in self.phases if isinstance(name := phase.get("name"), str)]
                return sentences.unknown_key(str(path[-1]), self._fields(path, model), table, names)
            case "missing" if path == ("phases",):
                return "missing: what trials do, each phase under a [[phases]]; `metafa studies` lists studies to copy"
            case "missing" if model is Range:
                return "missing: a range has `low` and `high`"
            case "string_pattern_mismatch" if path == ("name",):
                return sentences.no_name(found, "study", of_file=not self.named)
            case "literal_error" if searchable and not isinstance(found, str):
                return _sentence(mistake, []) + sentences.varied(found)
            case _ if kind.endswith("_type"):
                written = _at(self.tree, where)  # with search spaces as they stand in the file
                # of a list, each choice is wrong in the same way, and all of them are said at once
                found = written if (single or kind == "list_type") and written is not _ABSENT else found
                return sentences.wrong_type(found, kind, where, searchable)
        return _sentence(mistake, [])

    @property
    def phases(self) -> list[dict]:
        found = self.tree.get("phases")
        return [phase for phase in found if isinstance(phase, dict)] if isinstance(found, list) else []

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
            return list(sentences.TABLES[path[0]].model_fields) if path[0] in sentences.TABLES else []
        return list(StudySettings.model_fields)


def _ever_measured(settings: TrialSettings, phase: str) -> set[str]:
    """What a phase measures that may have no steps in this trial, and has some in others."""
    kinds = {one.name: one.phase for one in settings.phases}
    if phase not in kinds:
        return set()
    return metrics_of(settings)[phase] | set(OF_THE_BATCH if kinds[phase] in TRAINS else ())


def _undirected(name: str) -> str:
    return f"neither less nor more of {name!r} is better in itself"


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
            return sentences.unknown_key(str(mistake["loc"][-1]), fields, None, [])
        case "misfit":
            return context["sentence"]
        case "missing":
            return "missing, and it has no default"
        case "literal_error":
            hint = sentences.meant(sentences.close(found, _literals(context["expected"])))
            return f"found {_shown(found)}, expected {context['expected']}{hint}"
        case "union_tag_invalid":
            hint = sentences.meant(sentences.close(context["tag"], PHASES))
            return f"`phase` is {context['tag']!r}, expected {_listed(PHASES)}{hint}"
        case "union_tag_not_found":
            return sentences.no_phase(found)
        case "string_pattern_mismatch":
            return sentences.no_name(found, "phase")
        case kind if kind.endswith("_type"):
            return sentences.wrong_type(found, kind, (), False)
        case _:
            message = mistake["msg"]
            return f"found {_shown(found)}: {message[0].lower()}{message[1:]}"


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
