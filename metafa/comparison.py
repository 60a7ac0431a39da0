"""Did noise pretraining lower the meta-loss? Conditions compared over their common seeds, and the answer in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from metafa import statistics
from metafa.appearance import in_words
from metafa.conditions import EVALUATED, NOISE, RULE, Tables

ALL = "all"  # tasks together, where a phase evaluates on several distributions


def compare(tables: Tables) -> pd.DataFrame:
    """One row a condition and evaluation: the meta-loss (nats) after the last inner step, its mean and interquartile
    mean over seeds with 95% intervals, and what tells it from the same condition without noise: the mean difference
    paired by seed, its effect size, the probability of improvement, and the p-value, corrected for the number of
    such comparisons. Where a phase evaluates on several task distributions, a row for ``all`` of them, stratified.

    Seeds whose meta-loss is not finite count as ``diverged`` and are left out. Empty where nothing was evaluated."""
    values = tables.final
    if values.empty:
        return values
    conditions, others = tables.conditions, [name for name in tables.conditions if name != NOISE]
    groups = {key: rows for key, rows in _evaluations(values, conditions)}
    noise = len(EVALUATED) + conditions.index(NOISE)
    without = {_but(key, noise): rows for key, rows in groups.items() if key[noise] == 0}
    found = []
    for key, rows in groups.items():
        strata = _strata(rows)
        losses = np.concatenate(strata)
        row = dict(zip([*EVALUATED, *conditions], key, strict=True))
        row |= {
            "seeds": rows["seed"].nunique(),
            "diverged": int((~np.isfinite(rows["meta_loss"])).sum()),
            "meta_loss": losses.mean() if len(losses) else math.nan,
            "interquartile_mean": statistics.interquartile_mean(losses) if len(losses) else math.nan,
            "meta_accuracy": rows.loc[np.isfinite(rows["meta_loss"]), "meta_accuracy"].mean(),
        }
        row["meta_loss_low"], row["meta_loss_high"] = statistics.interval(strata)
        low, high = statistics.interval(strata, statistics.interquartile_mean)
        row |= {"interquartile_mean_low": low, "interquartile_mean_high": high}
        against = without.get(_but(key, noise)) if row[NOISE] else None
        found.append(row | _difference(rows, against))
    table = pd.DataFrame(found)
    table["p_corrected"] = statistics.corrected(table["p_value"])
    return table.sort_values(
        ["phase", "task", RULE, *[name for name in others if name != RULE], NOISE],
        key=lambda column: column.map(tables.phases.index) if column.name == "phase" else column,
        kind="stable",
        ignore_index=True,
    )


def pairs(tables: Tables) -> pd.DataFrame:
    """One row an evaluation and pair of the conditions that figures show: the difference of the first to the second, as
    in `compare`, its p-value corrected for the number of pairs."""
    values = tables.final
    if values.empty:
        return values
    values = values.merge(tables.shown[tables.conditions], on=tables.conditions)
    found = []
    for evaluation, group in itertools.groupby(_evaluations(values, tables.conditions), key=lambda one: one[0][:2]):
        ordered = sorted(group, key=lambda one: tuple(map(str, one[0])))
        for (key, rows), (other, others) in itertools.combinations(ordered, 2):
            words = [in_words(tables.conditions, one[len(EVALUATED) :]) for one in (key, other)]
            row = dict(zip([*EVALUATED, "condition", "against"], [*evaluation, *words], strict=True))
            found.append(row | _difference(rows, others))
    table = pd.DataFrame(found)
    if len(table):
        table["p_corrected"] = statistics.corrected(table["p_value"])
    return table


def _but(key: tuple, place: int) -> tuple:
    return key[:place] + key[place + 1 :]


def _evaluations(values: pd.DataFrame, conditions: list[str]) -> list[tuple[tuple, pd.DataFrame]]:
    """The rows of each condition in each phase, by task and of all tasks together; by phase, then task."""
    found = []
    for (phase, task), rows in _by_task(values):
        for key, group in rows.groupby(conditions, sort=False, dropna=False, observed=True):
            found.append(((phase, task, *key), group))
    return found


def _by_task(values: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    found = []
    for phase, rows in values.groupby("phase", sort=False, observed=True):
        tasks = list(rows.groupby("task", observed=True))
        found += [((phase, task), group) for task, group in tasks]
        if len(tasks) > 1:
            found.append(((phase, ALL), rows))
    return found


def _strata(rows: pd.DataFrame) -> list[np.ndarray]:
    finite = rows[np.isfinite(rows["meta_loss"])]
    return [group.to_numpy() for _, group in finite.groupby("task", observed=True)["meta_loss"]] or [np.array([])]


def _difference(rows: pd.DataFrame, against: pd.DataFrame | None) -> dict[str, Any]:
    """What tells ``rows`` from those they are compared ``against``, over the seeds that both have."""
    names = ["pairs", "of_pairs", "against_pairs", "difference", "difference_low", "difference_high", "effect_size"]
    names += ["probability_of_improvement", "p_value"]
    if against is None:
        return dict.fromkeys(names, math.nan) | {"pairs": 0}
    both = rows.merge(against, on=["task", "seed"], suffixes=("", "_against"))
    both = both[np.isfinite(both["meta_loss"]) & np.isfinite(both["meta_loss_against"])]
    paired = (both["meta_loss"] - both["meta_loss_against"]).groupby(both["seed"]).mean().to_numpy()
    if not len(paired):
        return dict.fromkeys(names, math.nan) | {"pairs": 0}
    strata = [
        [group[name].to_numpy() for _, group in both.groupby("task", observed=True)]
        for name in ("meta_loss", "meta_loss_against")
    ]
    low, high = statistics.interval([paired])
    improved = statistics.probability_of_improvement(*strata)
    means = both["meta_loss"].mean(), both["meta_loss_against"].mean()
    found = [len(paired), *means, paired.mean(), low, high, statistics.effect_size(paired), improved]
    return dict(zip(names, [*found, statistics.paired_p(paired)], strict=True))


def too_few(table: pd.DataFrame) -> str:
    """What is to be said where seeds are too few for the comparisons in ``table``, or nothing."""
    compared = table[table["pairs"] > 0]
    needed = statistics.seeds_needed(len(compared))
    if compared.empty or compared["pairs"].max() >= needed:
        return ""
    return (
        f"too few seeds: with {compared['pairs'].max()} no difference among {len(compared)} comparisons can pass "
        f"5% once corrected for their number; {needed} can"
    )


def verdicts(table: pd.DataFrame, conditions: list[str]) -> list[str]:
    """A sentence a rule and evaluation: what the most noise steps did to the meta-loss."""
    sentences = []
    others = [name for name in conditions if name not in (RULE, NOISE)]
    compared = table[table["difference"].notna()]
    for key, rows in compared.groupby([*EVALUATED, RULE, *others], sort=False, dropna=False, observed=True):
        row = rows.loc[rows[NOISE].idxmax()]
        extra = f", {in_words(others, key[3:])}" if others else ""
        sentences.append(
            f"{row['phase']}: {row[NOISE]} noise steps {did(row)} the meta-loss of {row[RULE]} on {row['task']}{extra}"
            f": {row['difference']:+.3f} ({bounds(row['difference_low'], row['difference_high'], '+')}, {row['pairs']} "
            f"seeds{_p(row['p_corrected'])})"
        )
    return sentences


def did(row: pd.Series) -> str:
    """What noise did to the meta-loss: clear where the interval of the difference and its corrected p-value both say
    so."""
    low, high, p = row["difference_low"], row["difference_high"], row["p_corrected"]
    if not low * high > 0:
        return "did not clearly change"
    word = "lowered" if high < 0 else "raised"
    return word if p <= statistics.LEVEL else f"may have {word}"


def _p(p: float) -> str:
    return f", p {significant(p)}" if np.isfinite(p) else ""


def significant(p: float) -> str:
    """A p-value as it is shown."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def bounds(low: float, high: float, sign: str = "") -> str:
    """An interval as it is shown."""
    return f"{low:{sign}.3f} to {high:{sign}.3f}" if np.isfinite(low) else "-"


def answer(table: pd.DataFrame, conditions: list[str]) -> str:
    """The whole of it in a sentence: what the most noise steps did to the rule that is asked about, in each evaluation
    of one and the same setting. Empty where nothing is compared."""
    compared = table[table["difference"].notna()]
    if compared.empty:
        return ""
    tasks = list(dict.fromkeys(compared["task"]))
    compared = compared[compared["task"] == (ALL if ALL in tasks else tasks[0])]
    rules = list(dict.fromkeys(compared[RULE]))
    rule = next((one for one in ("feedback_alignment", *rules) if one in rules and one != "backprop"), rules[0])
    compared = compared[compared[RULE] == rule]
    compared = compared[compared[NOISE] == compared[NOISE].max()]
    others = [name for name in conditions if name not in (RULE, NOISE)]
    if others:  # at the settings that end lowest
        best = compared.loc[compared["meta_loss"].idxmin()]
        compared = compared[(compared[others] == best[others]).all(axis=1)]
    sentence = ""
    for _, row in compared.iterrows():
        what = "it" if sentence else f"the meta-loss of {rule} on {row['task']}"
        sentence += "; " if sentence else f"{row[NOISE]} noise steps "
        sentence += (
            f"{did(row)} {what} from {row['against_pairs']:.3f} to {row['of_pairs']:.3f} nats in {row['phase']} "
            f"({row['difference']:+.3f}, 95% interval {bounds(row['difference_low'], row['difference_high'], '+')}, "
            f"{row['pairs']} seeds{_p(row['p_corrected'])})"
        )
    return sentence + (f", at {in_words(others, compared.iloc[0][others])}." if others else ".")


def curves(rows: pd.DataFrame, tables: Tables, keys: Sequence[str]) -> pd.DataFrame:
    """One row a condition and ``keys``, in their order: the ``value`` of ``rows`` as a mean over seeds (and over
    whatever else ``keys`` leave out), its 95% interval ``low`` to ``high``, and how many ``seeds``; values that are not
    finite are left out."""
    groups = [*tables.conditions, *keys]
    finite = rows[np.isfinite(rows["value"])]
    by_seed = finite.groupby([*groups, "seed"], dropna=False, observed=True)["value"].mean().unstack("seed")
    low, high = statistics.intervals(by_seed.to_numpy())
    found = {"value": by_seed.mean(axis=1), "low": low, "high": high, "seeds": by_seed.notna().sum(axis=1)}
    return pd.DataFrame(found, by_seed.index).reset_index()
