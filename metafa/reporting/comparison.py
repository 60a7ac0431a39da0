"""Did noise pretraining lower the meta-loss? Conditions compared over their common seeds, and the answer in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from metafa.reporting import statistics
from metafa.reporting.appearance import in_words
from metafa.reporting.conditions import EVALUATED, NOISE, RULE, Tables

ALL = "all"  # tasks together, where a phase evaluates on several distributions


def compare(tables: Tables) -> pd.DataFrame:
    """One row a condition and evaluation: the meta-loss (nats) after the last inner step, its mean and interquartile
    mean over seeds with 95% intervals, and what tells it from the same condition without noise: the mean difference
    paired by seed, its effect size, the probability of improvement, and the p-value, corrected for the number of
    such comparisons. Where a phase evaluates on several task distributions, a row for ``all`` of them, of each seed's
    mean over tasks.

    Seeds that diverged by then count as ``diverged`` and are left out of all of it. Empty where nothing was
    evaluated."""
    values = tables.final
    if values.empty:
        return values
    conditions, others = tables.conditions, [name for name in tables.conditions if name != NOISE]
    found = []
    for evaluation, keys, losses, accuracies in _evaluations(values, conditions):
        by_seed = statistics.over_tasks(losses)
        every = [one[np.isfinite(one)] for one in by_seed]
        iqm = statistics.interquartile_mean
        table = pd.DataFrame(dict(zip(EVALUATED, evaluation, strict=True)), keys.index).join(keys)
        table["seeds"] = (~np.isnan(losses)).any(1).sum(1)
        table["diverged"] = np.isinf(losses).any(1).sum(1)
        table["meta_loss"] = [one.mean() if len(one) else math.nan for one in every]
        table["interquartile_mean"] = [iqm(one) if len(one) else math.nan for one in every]
        accuracy = statistics.over_tasks(accuracies)
        kept = [one[np.isfinite(of)] for one, of in zip(accuracy, by_seed, strict=True)]
        table["meta_accuracy"] = [one.mean() if len(one) else math.nan for one in kept]
        table["meta_loss_low"], table["meta_loss_high"] = statistics.intervals_by_row(by_seed)
        ends = statistics.intervals_by_row(by_seed, iqm)
        table["interquartile_mean_low"], table["interquartile_mean_high"] = ends
        unmeasured = np.full(losses.shape[1:], math.nan)
        against = [unmeasured if row is None else losses[row] for row in tables.without_noise(keys)]
        found.append(table.join(_differences(list(zip(losses, against, strict=True)))))
    table = pd.concat(found, ignore_index=True)
    table["p_corrected"] = statistics.corrected(table["p_value"])
    return table.sort_values(
        ["phase", "inputs", RULE, *[name for name in others if name != RULE], NOISE],
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
    for evaluation, keys, losses, _ in _evaluations(values, tables.conditions):
        rows = list(keys.itertuples(index=False, name=None))
        words = [in_words(tables.conditions, row) for row in rows]
        ordered = sorted(range(len(rows)), key=lambda one: tuple(map(str, rows[one])))
        chosen = list(itertools.combinations(ordered, 2))
        said = [(*evaluation, words[one], words[other]) for one, other in chosen]
        names = pd.DataFrame(said, columns=[*EVALUATED, "condition", "against"])
        found.append(names.join(_differences([(losses[one], losses[other]) for one, other in chosen])))
    table = pd.concat(found, ignore_index=True)
    if len(table):
        table["p_corrected"] = statistics.corrected(table["p_value"])
    return table


def _evaluations(
    values: pd.DataFrame, conditions: list[str]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame, np.ndarray, np.ndarray]]:
    """Of each phase, by task and of all tasks together: phase and task, the conditions, a row each, and their
    meta-losses and meta-accuracies ``[condition, task, seed]``: not a number where nothing was measured, and
    meta-losses infinite where a seed diverged."""
    for phase, rows in values.groupby("phase", sort=False, observed=True):
        keys = rows[conditions].drop_duplicates(ignore_index=True)
        numbers = rows.groupby(conditions, sort=False, dropna=False, observed=True).ngroup().to_numpy()
        (of_task, tasks), (of_seed, seeds) = (pd.factorize(rows[name], sort=True) for name in ("inputs", "seed"))
        losses, accuracies = np.full((2, len(keys), len(tasks), len(seeds)), math.nan)
        losses[numbers, of_task, of_seed] = rows["meta_loss"].where(np.isfinite(rows["meta_loss"]), math.inf)
        accuracies[numbers, of_task, of_seed] = rows["meta_accuracy"]
        for place, task in enumerate(tasks):
            one, here = slice(place, place + 1), ~np.isnan(losses[:, place]).all(1)
            yield (phase, task), keys[here].reset_index(drop=True), losses[here, one], accuracies[here, one]
        if len(tasks) > 1:
            yield (phase, ALL), keys, losses, accuracies


def _differences(chosen: Sequence[tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """What tells the first of two conditions' meta-losses ``[task, seed]`` from the second's, over the seeds that both
    have, on the tasks on which both were measured, a row a pair; not a number where there are none."""
    names = ["pairs", "of_pairs", "against_pairs", "difference", "difference_low", "difference_high", "effect_size"]
    names += ["probability_of_improvement", "p_value"]
    found: list[list[float]] = []
    for of, against in chosen:
        measured = ~(np.isnan(of).all(1) | np.isnan(against).all(1))
        of, against = of[measured], against[measured]
        by_seed = np.stack([statistics.over_tasks(of), statistics.over_tasks(against)])
        common = np.isfinite(by_seed).all(0)
        means = by_seed[0, common] - by_seed[1, common]
        if not len(means):
            found.append([0] + [math.nan] * (len(names) - 1))
            continue
        improved = statistics.probability_of_improvement(of[:, common], against[:, common])
        row = [len(means), *by_seed[:, common].mean(1), means.mean(), *statistics.interval(means)]
        found.append([*row, statistics.effect_size(means), improved, statistics.paired_p(means)])
    return pd.DataFrame(found, columns=names)


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
            f"{row['phase']}: {row[NOISE]} noise steps {did(row)} the meta-loss of {row[RULE]} on {row['inputs']}"
            f"{extra}: {row['difference']:+.3f} ({bounds(row['difference_low'], row['difference_high'], '+')}, "
            f"{row['pairs']} seeds{_p(row['p_corrected'])})"
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
    tasks = list(dict.fromkeys(compared["inputs"]))
    compared = compared[compared["inputs"] == (ALL if ALL in tasks else tasks[0])]
    rules = list(dict.fromkeys(compared[RULE]))
    rule = next((one for one in ("feedback_alignment", *rules) if one in rules and one != "backprop"), rules[0])
    compared = compared[compared[RULE] == rule]
    compared = compared[compared[NOISE] == compared[NOISE].max()]
    others = [name for name in conditions if name not in (RULE, NOISE)]
    if others:  # at the settings that end lowest
        best = compared.sort_values(["diverged", "meta_loss"]).iloc[0]  # where a seed diverged, the rest is no best
        for name in others:
            compared = compared[compared[name].isna() if pd.isna(best[name]) else compared[name] == best[name]]
    sentence = ""
    for _, row in compared.iterrows():
        what = "it" if sentence else f"the meta-loss of {rule} on {row['inputs']}"
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
    low, high = statistics.intervals_by_row(by_seed.to_numpy())
    found = {"value": by_seed.mean(axis=1), "low": low, "high": high, "seeds": by_seed.notna().sum(axis=1)}
    return pd.DataFrame(found, by_seed.index).reset_index()
