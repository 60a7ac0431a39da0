"""The verdict on a claim over all conditions that it was judged in: in how many it holds, and in which."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from metafa.reporting.appearance import value

VERDICTS = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), "undecided": ("is undecided", "are undecided")}
"""What is said of one that has a verdict, and of several, in the order in which they are told."""
WORDS = {name: of_one for name, (of_one, _) in VERDICTS.items()}
OUTCOMES = {
    frozenset({"holds"}): ("holds in every condition", "hold in every condition"),
    frozenset(WORDS): ("holds in some conditions", "hold in some conditions"),
    frozenset({"fails"}): ("fails in every condition", "fail in every condition"),
    frozenset({"undecided"}): ("is undecided in every condition", "are undecided in every condition"),
    frozenset({"fails", "undecided"}): (
        "fails in some conditions and is undecided in the others",
        "fail in some conditions and are undecided in the others",
    ),
}
"""What is said of one claim, and of several, whose verdicts are among these, and no fewer."""
TOGETHER = 3  # settings at most that are told in one breath
PARTS, VALUES = 4, 6  # of what is told of one verdict: of its parts, and of each setting's values
ACROSS, DOWN = 12, 40  # values of a heat table at most
MISSING = "none"  # what a setting is called in conditions that do not have it

Settings = Mapping[str, Any]
Part = tuple[tuple[str, ...], tuple[Any, ...]]
"""The names of some settings, and a value of each."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A claim and the rows that judge it.

    figure: the paper's figure that it is of; empty where it is of none.
    rows: its rows of `claims.judge_all`, of one study or of several.
    """

    figure: str
    statement: str
    rows: pd.DataFrame

    @property
    def verdict(self) -> str:
        """In how many conditions the claim holds, and by which settings they differ from the others: a sentence
        without its end, such as ``holds in 5 of 8 conditions; fails in 3: with noise.steps 10000``."""
        verdicts, settings = self.rows["verdict"].tolist(), self.rows["settings"].tolist()
        number, counts = len(verdicts), {name: verdicts.count(name) for name in WORDS}
        most = max(WORDS, key=lambda name: counts[name])
        if number == 1:
            return f"{WORDS[most]} in the one condition"
        if counts[most] == number:
            return f"{WORDS[most]} in {'both' if number == 2 else f'all {number}'} conditions"
        parts = []
        for name, words in WORDS.items():
            if not counts[name]:
                parts += [f"holds in none of {number} conditions"] * (name == "holds")
                continue
            of = f" of {number} conditions" if name == "holds" else ""
            chosen = {row for row, one in enumerate(verdicts) if one == name}
            told = list(where(settings, chosen)) if name != most else []
            parts.append(f"{words} in {counts[name]}{of}" + (f": {', or '.join(told)}" if told else ""))
        return "; ".join(parts)

    @property
    def heat(self) -> pd.DataFrame:
        """The verdict at each point of the grid: the setting of most values across, the others down; empty where fewer
        than two settings vary, or more do, or of more values, than a table shows."""
        settings = self.rows["settings"].tolist()
        names = varied(settings)
        if len(names) < 2:
            return pd.DataFrame()
        across = max(names, key=lambda name: len({one.get(name) for one in settings}))
        down = [name for name in names if name != across]
        columns = dict.fromkeys(one.get(across) for one in sorted(settings, key=lambda one: _order(one.get(across))))
        lines: dict[tuple[str, ...], dict[Any, str]] = defaultdict(dict)
        for one, verdict in zip(settings, self.rows["verdict"], strict=True):
            cells = lines[tuple(text(one.get(name)) for name in down)]
            before = cells.get(one.get(across), verdict)
            cells[one.get(across)] = verdict if before == verdict else f"{before}, {verdict}"
        found = [
            dict(zip(down, line, strict=True)) | {f"{across} {text(at)}": cells.get(at, "") for at in columns}
            for line, cells in lines.items()
        ]
        return pd.DataFrame(found if len(columns) <= ACROSS and len(found) <= DOWN else [])


def of_claims(judged: pd.DataFrame) -> list[Grid]:
    """The claims that ``judged`` has rows of, in their order; those of one figure and one statement are one claim.
    Conditions of the same settings are one, whose networks differ in what comes after the claim's phase, and, side by
    side, in rounding: the first of them is kept."""
    alike = judged.assign(settings=[frozenset(one.items()) for one in judged["settings"]])
    again = alike.duplicated(["figure", "statement", "compared", "expected", "settings"])
    groups = judged[~again].groupby(["figure", "statement"], sort=False)
    return [Grid(figure, statement, rows) for (figure, statement), rows in groups]


def summary(judged: pd.DataFrame) -> str:
    """How many claims of the paper's figures hold in every condition that they were judged in, in some, or in none, in
    a sentence; the same of all claims where none is of a figure."""
    every = of_claims(judged)
    of_figures = [grid for grid in every if grid.figure]
    verdicts = [set(grid.rows["verdict"]) for grid in of_figures or every]
    outcomes = [min((one for one in OUTCOMES if found <= one), key=len) for found in verdicts]
    told = [(outcomes.count(one), words) for one, words in OUTCOMES.items()]
    counts = ", ".join(f"{number} {words[number > 1]}" for number, words in told if number)
    return f"Of {len(verdicts)} claim{'s' * (len(verdicts) > 1)}{' of the figures' * bool(of_figures)}, {counts}."


def varied(settings: Sequence[Settings]) -> list[str]:
    """The settings in which conditions differ; of several that tell the same ones apart, the first."""
    names = sorted(dict.fromkeys(name for one in settings for name in one), key=lambda name: "." not in name)
    found: dict[tuple[int, ...], str] = {}
    for name in names:
        numbers: dict[Any, int] = {}
        parts = tuple(numbers.setdefault(one.get(name), len(numbers)) for one in settings)
        if len(numbers) > 1:
            found.setdefault(parts, name)
    return list(found.values())


def where(settings: Sequence[Settings], chosen: set[int]) -> Iterator[str]:
    """What tells the ``chosen`` of these conditions from the others, in a few words: values of as few settings as do,
    those first that most of them share. Says how many are left where more words would be needed."""
    left, parts = set(chosen), list[Part]()
    for size in range(1, TOGETHER + 1):
        pure = _pure(settings, chosen, size)
        while left and pure:
            best = max(pure, key=lambda part: len(pure[part] & left))
            if not pure[best] & left:
                break
            left -= pure.pop(best)
            parts.append(best)
    phrases = list(_phrases(parts))
    yield from phrases[:PARTS]
    if left or phrases[PARTS:]:
        yield "elsewhere" if phrases else "no few settings tell where"


def _pure(settings: Sequence[Settings], chosen: set[int], size: int) -> dict[Part, set[int]]:
    """The values of so many settings that only ``chosen`` conditions have, each with those."""
    groups: dict[Part, set[int]] = defaultdict(set)
    for names in itertools.combinations(varied(settings), size):
        for row, one in enumerate(settings):
            groups[names, tuple(one.get(name) for name in names)].add(row)
    return {part: rows for part, rows in groups.items() if rows <= chosen}


def _phrases(parts: Sequence[Part]) -> Iterator[str]:
    """Each part in words; those that differ in the value of one setting are one, of that setting by which they become
    the fewest."""
    by_names: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for names, values in parts:
        by_names[names].append(values)
    for names, every in by_names.items():
        together = min((_together(every, place) for place in reversed(range(len(names)))), key=len)
        for lists in together:
            told = [_any_of(of_name) for of_name in lists]
            yield "with " + " and ".join(f"{name} {one}" for name, one in zip(names, told, strict=True))


def _together(every: Sequence[tuple[Any, ...]], place: int) -> list[list[list[Any]]]:
    """The values of settings, those that differ at one ``place`` alone together: a list of values a setting."""
    found: dict[tuple, list[list[Any]]] = {}
    for values in every:
        others = values[:place], values[place + 1 :]
        if others in found:
            found[others][place].append(values[place])
        else:
            found[others] = [[one] for one in values]
    return list(found.values())


def _any_of(settings: Sequence[Any]) -> str:
    """One of these values of a setting, in words."""
    told = [text(one) for one in sorted(settings, key=_order)]
    others = len(told) - VALUES
    return " or ".join(told if others <= 0 else [*told[:VALUES], f"{others} other values"])


def text(setting: Any) -> str:
    """A setting's value in words."""
    return MISSING if setting is None else value(setting)


def _order(setting: Any) -> tuple:
    """What values of a setting are sorted by: numbers by size, before texts."""
    number = isinstance(setting, int | float)
    return (0, setting, "") if number else (1, 0, text(setting))
