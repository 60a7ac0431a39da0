"""Which conditions a claim compares: each that it is about with the one that differs from it in given settings alone.

The same functions read a study's settings, before it runs, and the table of its trials, afterwards. A condition is
``flat``: its settings by dotted name, as `settings.flatten` has them, and without those that are null, which a table
does not tell from settings of a phase that the trial does not have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metafa.studies.claims import ClaimSettings
from metafa.studies.mistakes import Mistakes
from metafa.studies.names import close, meant
from metafa.studies.settings import as_text
from metafa.studies.spaces import TreePath
from metafa.studies.values import shown

Flat = Mapping[str, Any]
PHASES = "phases"
RULE = "network.rule"


def frozen(value: Any) -> Any:
    """A setting's value as one that can be compared and counted: lists are tuples."""
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def flat_of(settings: Mapping[str, Any]) -> Flat:
    """A condition of the settings that `settings.flatten` gives, or that a row of the table of trials has."""
    return {name: frozen(value) for name, value in settings.items() if value is not None}


def has(flat: Flat, wanted: Mapping[str, Any]) -> bool:
    """Whether a condition has these values of these settings."""
    return all(name in flat and flat[name] == frozen(value) for name, value in wanted.items())


def subjects(claim: ClaimSettings, flats: Sequence[Flat]) -> list[int]:
    """The numbers of the conditions that a claim is about, whatever it compares them with."""
    against = claim.against
    return [
        number
        for number, flat in enumerate(flats)
        if has(flat, claim.where | {RULE: claim.rule}) and not (against and has(flat, against))
    ]


def partners(claim: ClaimSettings, flats: Sequence[Flat]) -> dict[int, list[int]]:
    """For the number of each condition that a claim is about, those of the conditions that have what it says `against`
    and all other settings equal. Where that names `phases`, settings of phases that one of the two lacks do not count.
    """
    against = claim.against or {}
    chosen = [number for number, flat in enumerate(flats) if has(flat, against)]
    known: dict[frozenset[str], dict[frozenset, list[int]]] = {}

    def by_rest(common: frozenset[str]) -> dict[frozenset, list[int]]:
        if common not in known:
            known[common] = defaultdict(list)
            for number in chosen:
                known[common][_rest(flats[number], against, common)].append(number)
        return known[common]

    found = {}
    for number in subjects(claim, flats):
        flat = flats[number]
        common = frozenset(flat[PHASES]) & frozenset(against[PHASES] if PHASES in against else flat[PHASES])
        found[number] = by_rest(common).get(_rest(flat, against, common), [])
    return found


def _rest(flat: Flat, against: Mapping[str, Any], common: frozenset[str]) -> frozenset:
    """What two conditions have to have in common."""
    alone = set(flat[PHASES]) - common if PHASES in against else set[str]()
    return frozenset(
        (name, value) for name, value in flat.items() if name not in against and name.rpartition(".")[0] not in alone
    )


def check_compared(
    mistakes: Mistakes, claims: Sequence[ClaimSettings], flats: Sequence[Flat], side_by_side: Collection[str] = ()
) -> None:
    """Whether the study, of the conditions ``flats``, has those that its claims compare; settings ``side_by_side`` have
    several values within each."""
    for number, claim in enumerate(claims):
        path = ("claims", number)
        measured = [flat for flat in flats if claim.phase in flat[PHASES]]
        wanted = {"where": claim.where, "against": claim.against or {}}
        wrong = [
            _check_wanted(mistakes, (*path, key), settings, flats, side_by_side) for key, settings in wanted.items()
        ]
        if not any(wrong) and measured:
            _check_pairs(mistakes, path, claim, measured)


def _check_wanted(
    mistakes: Mistakes,
    path: TreePath,
    wanted: Mapping[str, Any],
    flats: Sequence[Flat],
    side_by_side: Collection[str],
) -> bool:
    """Whether something is wrong with settings that a claim wants of conditions."""
    for name, value in wanted.items():
        values = dict.fromkeys(flat[name] for flat in flats if name in flat)
        if not values:
            known = {known for flat in flats for known in flat}
            mistakes.add(path, f"found {name!r}, which no trial of this study has{meant(close(name, known))}")
            return True
        if frozen(value) not in values:
            if name in side_by_side:
                sentence = "stand side by side in one trial, where they cannot be compared; give them as `choices`"
                mistakes.add(path, f"the rates of {name} {sentence}")
                return True
            listed = ", ".join(shown(list(one) if isinstance(one, tuple) else one) for one in list(values)[:20])
            mistakes.add(path, f"found {name} = {shown(value)}, but in this study it is {listed}")
            return True
    return False


def _check_pairs(mistakes: Mistakes, path: TreePath, claim: ClaimSettings, flats: Sequence[Flat]) -> None:
    said = ", ".join(f"{name} = {as_text(value)}" for name, value in {RULE: claim.rule, **claim.where}.items())
    wanted = ", ".join(f"{name} = {as_text(value)}" for name, value in (claim.against or {}).items())
    if not subjects(claim, flats):
        if subjects(claim.model_copy(update={"against": None}), flats):
            sentence = "every condition that the claim is about has it itself; nothing would differ"
            mistakes.add((*path, "against"), f"found {wanted}, but {sentence}")
            return
        mistakes.add((*path, "where"), f"no condition of this study that measures it has {said}")
        return
    if claim.against is None:
        return
    pairs = partners(claim, flats)
    if not any(pairs.values()):
        sentence = f"no condition with {wanted} is like one with {said} in all other settings"
        mistakes.add((*path, "against"), f"{sentence}; compare conditions that differ in what stands here alone")
    elif several := next((found for found in pairs.values() if len(found) > 1), None):
        one, other = (flats[number] for number in several[:2])
        names = sorted(name for name in {**one, **other} if one.get(name) != other.get(name))
        mistakes.add(
            (*path, "against"), f"several conditions with {wanted} match; say which {' and '.join(names)} here too"
        )
