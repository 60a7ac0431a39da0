"""From a study file's tree and a point of its search space to a trial."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError, create_model

from metafa.studies import search as searches
from metafa.studies.fields import Settings
from metafa.studies.mistakes import Mistakes
from metafa.studies.outlines import Outlines, misfit, unturnable
from metafa.studies.settings import ADAPTIVE, NUMERICS, StudySettings, TrialSettings
from metafa.studies.spaces import ABSENT, TreePath, at, dotted_name, replaced
from metafa.studies.trial import Trial, digest_of

# Of each part a model of its own, so that it is checked, and written down, as it is in a whole study.
_PARTS = {
    name: create_model(name, __base__=Settings, **{name: (field.annotation, field)})  # type: ignore[call-overload]
    for name, field in TrialSettings.model_fields.items()
}


@dataclass(eq=False, slots=True)
class Part:
    """A part of a trial's settings: a table, a phase, or a setting that is in none."""

    place: TreePath
    point: dict[TreePath, Any]
    """The values of the search spaces in it."""
    values: tuple[Any, ...] = ()
    """The setting, or of phases each."""
    text: str = ""
    """What it adds to what is hashed of a trial: all that is not as by default, so that a setting that a later metafa
    adds leaves the trials of earlier ones theirs."""
    outlines: Outlines = ()
    error: ValidationError | None = None


class TrialMaker:
    """Makes the trials of a study. What its search spaces leave as it is, and each combination of the values of those
    within one table or one phase, is checked once, however many trials share it."""

    def __init__(self, tree: dict, spaces: Mapping[TreePath, dict]):
        self.tree = tree
        phases = tree.get("phases")
        each: list[TreePath] = (
            [("phases", i) for i in range(len(phases))] if isinstance(phases, list) else [("phases",)]
        )
        self.inside: dict[TreePath, list[TreePath]] = {
            place: [] for name in _PARTS for place in (each if name == "phases" else [(name,)])
        }
        """The search spaces within each place, places in the order of the fields of `TrialSettings`."""
        self.names: dict[TreePath, str] = {}
        for path in spaces:
            if (home := self.home(path)) in self.inside:
                self.inside[home].append(path)
                self.names[path] = dotted_name(path, tree)
        self.varied = list(dict.fromkeys(map(self.home, self.names)))
        """The places with search spaces in them, in the order of the file."""
        self.countable = {
            place for place, inside in self.inside.items() if all("choices" in spaces[path] for path in inside)
        }
        self.known: dict[tuple[TreePath, str], Part] = {}
        self.parts = [self.part(place, {}) for place in self.inside]
        self.numbers = {place: number for number, place in enumerate(self.inside)}
        self.phases = slice(self.numbers[each[0]], self.numbers[each[-1]] + 1) if each else slice(3, 3)

    def home(self, path: TreePath) -> TreePath:
        """The place that ``path`` is in."""
        return path[:2] if path[:2] in self.inside else path[:1]

    def part(self, place: TreePath, point: Mapping[TreePath, Any]) -> Part:
        """What stands at a place, with the values of ``point``, as far as they are there, in place of search spaces."""
        inside = {path: point[path] for path in self.inside[place] if path in point}
        if place not in self.countable:
            return self._part(place, inside)
        key = (place, repr(inside))
        if key not in self.known:
            self.known[key] = self._part(place, inside)
        return self.known[key]

    def _part(self, place: TreePath, inside: dict[TreePath, Any]) -> Part:
        name, found = str(place[0]), at(self.tree, place)
        said = {} if found is ABSENT else {name: replaced(found, inside, place)}
        try:
            checked = _PARTS[name].model_validate({name: [said[name]]} if len(place) > 1 else said)
        except ValidationError as error:
            return Part(place, inside, error=error)
        dumped, value = checked.model_dump(exclude_defaults=True), getattr(checked, name)
        if name == "phases":
            text = ", ".join(json.dumps(phase, sort_keys=True) for phase in dumped[name])
            return Part(place, inside, tuple(value), text, tuple(phase.outline for phase in value))
        text = f'"{name}": {json.dumps(dumped[name], sort_keys=True)}' if name in dumped else ""
        return Part(place, inside, (value,), text)

    def every(self, place: TreePath, spaces: Mapping[TreePath, dict]) -> list[Part]:
        """All that may stand at a place, where search spaces are choices."""
        paths = self.inside[place]
        options = itertools.product(*(spaces[path]["choices"] for path in paths))
        return [self.part(place, dict(zip(paths, values, strict=True))) for values in options]

    def at(self, point: Mapping[TreePath, Any]) -> list[Part]:
        """What stands at the places with search spaces in them, with the values of ``point``."""
        return [self.part(place, point) for place in self.varied]

    def trial(self, varied: Iterable[Part], mistakes: Mistakes) -> Trial | None:
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
        outlines = tuple(one for part in phases for one in part.outlines)
        (network,) = parts[self.numbers[("network",)]].values
        said = misfit(outlines, network.architecture, network.normalization)
        if said := said or unturnable(outlines, network.rule):
            mistakes.add((), said)
            return None
        parts[self.phases] = [
            Part(
                ("phases",),
                {},
                (tuple(one for part in phases for one in part.values),),
                text=f'"phases": [{", ".join(part.text for part in phases)}]',
            )
        ]
        text = ", ".join(sorted(part.text for part in parts if part.text))
        return Trial(digest_of(f"[{NUMERICS}, {{{text}}}]"), tuple(part.values[0] for part in parts), point)


def trials_of(
    settings: StudySettings, spaces: dict[TreePath, dict], maker: TrialMaker, mistakes: Mistakes
) -> Iterator[Trial]:
    """The trials that are known up front."""
    if settings.search.method in ADAPTIVE:
        return
    if settings.search.method == "grid":  # the options of spaces within one place are put together once
        points: Iterable[Iterable[Part]] = itertools.product(*(maker.every(one, spaces) for one in maker.varied))
    else:
        named = {name: spaces[path] for path, name in maker.names.items()}
        drawn = searches.up_front(settings.search, settings.seed, named)
        points = (maker.at(dict(zip(maker.names, point.values(), strict=True))) for point in drawn)
    for point in points:
        if (trial := maker.trial(point, mistakes)) is not None:
            yield trial
