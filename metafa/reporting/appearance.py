"""How results look, in every table and figure alike: colours of conditions, and names with their units."""

from __future__ import annotations

import math
import textwrap
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from metafa.reporting.conditions import NOISE, ORDER, RENAMED, RULE, Tables
from metafa.studies.metrics import METRICS
from metafa.studies.settings import as_text

# Okabe and Ito's colours, told apart by people of every colour vision, and grey
COLOURS = {
    "feedback_alignment": "#D55E00",
    "backprop": "#0072B2",
    "nested_kolen_pollack": "#009E73",
    "kolen_pollack": "#CC79A7",
    "weight_mirror": "#E69F00",
    "sign_symmetry_fixed": "#56B4E9",
    "direct_feedback_alignment": "#000000",
    "sign_symmetry_uniform": "#999999",
    "sign_symmetry_random": "#8B5A2B",
}
EVALUATORS = {"fANOVA": "#0072B2", "impurity": "#D55E00", "PED-ANOVA": "#009E73"}  # of importance
LOSSES = (1, 1.2, 1.5, 2, 3, 5, 7)  # said in each decade of an axis of losses
LABEL = 20  # letters of a choice on an axis
BETWEEN = ("dot", "dashdot")  # with some noise, but not the most
SHORT = {RULE: "rule", NOISE: "noise steps", "inputs": "tasks", ORDER: "phases"}
SHORT |= {"p_t_test": "t-test p", "p_wilcoxon": "Wilcoxon p"}
SHORT |= {name: name.replace("_", " ") for name in RENAMED.values()}


def named(metric: str) -> str:
    """A metric with its unit, such as ``meta-loss (nats)``."""
    words = metric.replace("meta_", "meta-").replace("_", " ")
    unit = METRICS[metric].unit if metric in METRICS else ""
    return f"{words} ({unit})" if unit else words


def short(setting: str) -> str:
    """What a setting is called in a heading."""
    return SHORT.get(setting, setting.removeprefix("network.").replace("meta_", "meta-").replace("_", " "))


def value(shown: Any) -> str:
    """A setting's value, or a number, as it is shown; nothing where it is missing."""
    if isinstance(shown, np.ndarray):
        return as_text(shown.tolist())
    return as_text(shown)


def choice_labels(choices: Sequence[Any]) -> list[str]:
    """What the choices of a setting are called where there is little room: a long one by its number and beginning."""
    texts = [str(one) if isinstance(one, float) else value(one) for one in choices]
    return [text if len(text) <= LABEL else f"{n}: {text[: LABEL - 6]}…" for n, text in enumerate(texts, start=1)]


def in_words(names: Sequence[str], values: Iterable[Any]) -> str:
    """A condition in words, such as ``feedback_alignment, 4000 noise steps, meta.outer_steps 200``, without settings of
    phases that it does not have."""
    found = []
    for name, one in zip(names, values, strict=True):
        if name == RULE:
            found.append(str(one))
        elif name == NOISE:
            found.append(f"{one} noise steps" if one else "no noise")
        elif text := value(one):
            found.append(f"{short(name)} {text}")
    return ", ".join(found)


def key(values: Iterable[Any]) -> tuple:
    """A condition as a key of a dictionary: what is missing is equal to itself."""
    return tuple(None if pd.isna(one) else one for one in values)


class Line(NamedTuple):
    """A condition as it is drawn: its values, what it is called, its colour and its dashes."""

    condition: tuple
    words: str
    colour: str
    dash: str

    def rows(self, measured: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
        """Its rows of ``measured``."""
        keys = zip(conditions, self.condition, strict=True)
        same = [measured[name].isna() if pd.isna(one) else measured[name] == one for name, one in keys]
        return measured[np.logical_and.reduce(same)]


def lines(tables: Tables) -> list[Line]:
    """The conditions that figures show, as they are drawn in every figure of a study: a rule's by its colour, or, where
    conditions of one rule differ in other settings, each combination of those by one; dashed without noise, solid with
    the most, dotted in between."""
    keys = tables.shown[tables.conditions].drop_duplicates()
    keys = keys.sort_values([RULE, *tables.others, NOISE], kind="stable")
    alike = [name for name in tables.conditions if name != NOISE]
    combinations = [key(row) for row in keys[alike].drop_duplicates().itertuples(index=False)]
    shades = dict(zip(combinations, _shades([one[0] for one in combinations]), strict=True))
    noises = sorted({*keys[NOISE]} - {0})
    between = noises[:-1]
    skipped = 0 if tables.several_rules else 1
    found = []
    for row in keys.itertuples(index=False):
        condition = tuple(row)
        noise = condition[tables.conditions.index(NOISE)]
        dash = "dash" if noise == 0 else BETWEEN[between.index(noise) % 2] if noise in between else "solid"
        colour = shades[key(v for n, v in zip(tables.conditions, condition, strict=True) if n != NOISE)]
        words = in_words(tables.conditions[skipped:], condition[skipped:])
        found.append(Line(condition, words, colour, dash))
    return found


def rule_colour(rule: str) -> str:
    """A rule's colour: that in `COLOURS` or, of a rule that is not there, a shade between blue and yellow that follows
    from its name alone, so that it is the same in every figure."""
    return COLOURS.get(rule) or _viridis(zlib.crc32(rule.encode()) / 2**32)


def _shades(rules: list[str]) -> list[str]:
    """A colour for each combination of settings, given the rule of each: the rule's, where every rule has only one."""
    if len(set(rules)) == len(rules):
        return [rule_colour(rule) for rule in rules]
    if len(rules) <= len(COLOURS):
        return list(COLOURS.values())[: len(rules)]
    return [_viridis(i / len(rules)) for i in range(len(rules))]


def _viridis(place: float) -> str:
    """The colour at a ``place`` from 0 to 1 between viridis's blue and yellow, which are seen on white."""
    from matplotlib import colormaps, colors

    return colors.to_hex(colormaps["viridis"](0.2 + 0.75 * place))


def ticks(low: float, high: float) -> list[float]:
    """Of a logarithmic axis: by decades, and where those are few by 1, 2 and 5."""
    parts = (1, 2, 5) if high / low < 200 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [part * 10.0**n for n in decades for part in parts if low <= part * 10.0**n <= high]


def reach(values: pd.Series, maximize: bool = False) -> tuple[float, float]:
    """What an axis of an objective shows: all values but those so much worse that the others could not be told apart,
    beyond Tukey's outer fence."""
    low, first, third, high = values.astype(float).quantile([0, 0.25, 0.75, 1])
    if third == first:
        return low, high
    fence = 3 * (third - first)
    return (max(low, first - fence), high) if maximize else (low, min(high, third + fence))


def with_room(low: float, high: float) -> tuple[float, float, bool]:
    """The ends of an axis that shows values from ``low`` to ``high``, and whether it is logarithmic."""
    if low > 0 and high / low > 20:
        room = (high / low) ** 0.05
        return low / room, high * room, True
    room = 0.05 * (high - low) or 0.05
    return low - room, high + room, False


def beyond(values: pd.Series, maximize: bool = False) -> int:
    """How many values such an axis does not show."""
    return int((~values.astype(float).between(*reach(values, maximize))).sum())


def wrapped(text: str, width: int = 40) -> str:
    """``text`` with each of its lines broken to ``width`` letters."""
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())
