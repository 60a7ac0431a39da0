"""A study: a question, a search space and its trials; and how it is read from its file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from metafa.errors import StudyError
from metafa.studies import checks, compared
from metafa.studies import search as searches
from metafa.studies.card import card
from metafa.studies.claims import ClaimSettings
from metafa.studies.maker import TrialMaker, trials_of
from metafa.studies.mistakes import Mistakes
from metafa.studies.parsing import checked_options, checked_spaces, tree_of
from metafa.studies.settings import (
    ADAPTIVE,
    NUMERICS,
    EarlyStoppingSettings,
    ResourceSettings,
    SearchSettings,
    TrialSettings,
    flatten,
)
from metafa.studies.spaces import ABSENT, dotted_name, replaced, spaces_in
from metafa.studies.trial import Examples, Trial, distinct, hash_of
from metafa.studies.values import listed, shown


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
    renamed: frozenset[str] = frozenset()
    """Settings that its file calls by the names of an earlier version, by those; of a study that has run alone."""

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
            return hash_of(sorted(trial.trial_id for trial in self.trials))
        kept = {key: value for key, value in self.tree.items() if key in TrialSettings.model_fields}
        how = [NUMERICS, kept, self.search.model_dump(exclude={"trials"})]
        return hash_of([*how, self.digests] if self.digests else how)

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
        names = [name for name in {**theirs, **ours} if ours.get(name, ABSENT) != theirs.get(name, ABSENT)]
        if self.rounding[1] == other.rounding[1]:  # another share of a GPU computes the same
            names = [name for name in names if name != "resources.gpus_per_trial"]
        if "phases" in names:  # a phase that one of them lacks has all its settings in that one alone
            names = [name for name in names if name in ours and name in theirs]
        there, here = ([shown(one[name]) if name in one else "absent" for name in names] for one in (theirs, ours))
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
    def _maker(self) -> TrialMaker:
        return TrialMaker(self.tree, dict(spaces_in(self.tree)))

    def tree_at(self, point: searches.Point) -> dict[str, Any]:
        """The study file with the values of ``point`` in place of its search spaces."""
        paths = {dotted_name(path, self.tree): path for path, _ in spaces_in(self.tree)}
        return replaced(self.tree, {paths[name]: value for name, value in point.items()})

    def trial(self, point: searches.Point) -> Trial:
        """The trial at a point of the search space. Raises `StudyError` where settings do not fit each other there."""
        paths = {name: path for path, name in self._maker.names.items()}
        if unknown := point.keys() - paths.keys():
            raise StudyError([f"{self.name}: no search space {listed(unknown)}"])
        if missing := paths.keys() - point.keys():
            raise StudyError([f"{self.name}: no value of the search space {listed(missing)}"])
        mistakes = Mistakes(self.name, self.text, self.tree)
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


MAX_BYTES = 2**20


def read(path: Path) -> Study:
    """Reads and checks a study file. Raises `StudyError` with every mistake, each with its place."""
    try:
        raw = path.read_bytes()
    except IsADirectoryError as error:
        raise StudyError([f"{path}: is a folder; give a study file in it, or one of `metafa studies`"]) from error
    except FileNotFoundError as error:
        raise StudyError([f"{path}: no such study file; `metafa studies` lists those to begin from"]) from error
    except (OSError, ValueError) as error:  # of a path that no file could have
        raise StudyError([f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    if len(raw) > MAX_BYTES:
        raise StudyError([f"{path}: {len(raw)} bytes; a study file has at most {MAX_BYTES}"])
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw[:4]:
        raise StudyError([f"{path}: UTF-16; a study file is TOML, in UTF-8: save it as that"])
    try:
        return parse(raw.decode(), default_name=path.stem, file=str(path))
    except UnicodeDecodeError as error:
        raise StudyError([f"{path}: not UTF-8 at byte {error.start}; a study file is TOML, in UTF-8"]) from error


def parse(
    text: str, default_name: str = "study", file: str = "study", has_results: bool = False, numerics: int = NUMERICS
) -> Study:
    """The study that ``text``, TOML, describes. Raises `StudyError`.

    ``has_results``: of one that has run, what no single setting is to blame for is not checked, and settings may have
    the names of an earlier version: that may have let pass what this one refuses, and its results are to be read all
    the same. ``numerics``: of its results, by which metrics have their names."""
    try:
        return _parse(text, default_name, file, has_results, numerics)
    except RecursionError as error:
        raise StudyError([f"{file}: nested too deeply for a study file"]) from error


def _parse(text: str, default_name: str, file: str, has_results: bool, numerics: int) -> Study:
    text = text.removeprefix("\ufeff")
    tree, renamed, text_kept, mistakes = tree_of(text, default_name, file, has_results, numerics)
    spaces = checked_spaces(tree, mistakes)
    maker = TrialMaker(tree, spaces)
    settings, examples = checked_options(maker, mistakes, spaces)
    telling = distinct(examples)
    checks.check_grid(mistakes, settings, spaces)
    checks.check_columns(mistakes, telling, spaces)
    if not has_results:
        checks.check_phases(mistakes, telling)
        checks.check_whole(mistakes, settings, spaces, telling, examples)
    mistakes.raise_if_any()
    unique = {trial.trial_id: trial for trial in trials_of(settings, spaces, maker, mistakes)}
    mistakes.raise_if_any()
    if not has_results and any(claim.where or claim.against for claim in settings.claims):
        conditions = (trial.settings for trial in unique.values()) if unique else examples
        flats = [compared.flat_of(flatten(one)) for one in conditions]
        compared.check_compared(mistakes, settings.claims, flats, telling[0].side_by_side)
        mistakes.raise_if_any()
    return Study(
        settings.name,
        settings.question,
        settings.claims,
        text_kept,
        settings.search,
        settings.early_stopping,
        settings.resources,
        settings.seed,
        tree,
        {dotted_name(path, tree): space for path, space in spaces.items()},
        examples,
        tuple(unique.values()),
        renamed=renamed,
    )
