"""A trial: one point of a study's search space, and the hash that it is known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from metafa.studies.data import DATASET_BEFORE
from metafa.studies.outlines import images_of
from metafa.studies.settings import TrialSettings

NETWORK_AT, PHASES_AT = (list(TrialSettings.model_fields).index(name) for name in ("network", "phases"))


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
        return hash_of([self.settings_id, self.data]) if self.data else self.settings_id

    @property
    def settings(self) -> TrialSettings:
        """The settings, made when they are asked for: a study may have a hundred thousand trials."""
        return checked_settings(self.values)

    def over(self, digests: Mapping[str, str]) -> Trial:
        """The trial over images that have these digests."""
        outlines = tuple(phase.outline for phase in self.values[PHASES_AT])
        images = images_of(outlines, self.values[NETWORK_AT].pixels)
        data = {name: digests[name] for name in images if name in digests}
        return Trial(self.settings_id, self.values, self.varied, data)


@dataclass(frozen=True)
class Examples(Sequence[TrialSettings]):
    """Settings, each made when it is asked for: there may be a hundred thousand."""

    values: tuple[tuple[Any, ...], ...]
    """As those of `Trial`."""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: Any) -> Any:
        return Examples(self.values[place]) if isinstance(place, slice) else checked_settings(self.values[place])

    def __iter__(self) -> Iterator[TrialSettings]:
        return map(checked_settings, self.values)


def checked_settings(values: tuple[Any, ...]) -> TrialSettings:
    """Settings that have been checked, by their values in the order of their fields."""
    fields = dict(zip(TrialSettings.model_fields, values, strict=True))
    return TrialSettings.model_construct(**fields | {"phases": list(fields["phases"])})


def hash_of(value: Any) -> str:
    return digest_of(json.dumps(value, sort_keys=True))


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def distinct(examples: Examples) -> list[TrialSettings]:
    """Of examples that differ in no more than numbers, of which it only matters whether they are 0, one each."""
    known: dict[int, tuple] = {}  # by identity: examples share phases, and keep them
    found: dict[tuple, TrialSettings] = {}
    for one in examples:
        for phase in one.phases:
            if id(phase) not in known:
                known[id(phase)] = (phase.outline, phase.has_steps, frozenset(phase.tested_on(DATASET_BEFORE)))
        network = one.network
        kinds = tuple(value for _, value in one.measure if isinstance(value, bool))
        key = (network.rule, network.architecture, len(network.hidden_units), kinds)
        found.setdefault((*key, *(known[id(phase)] for phase in one.phases)), one)
    return list(found.values())
