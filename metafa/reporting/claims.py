"""A study's claims, judged by the rules that it wrote down before it ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from metafa.errors import ResultsError
from metafa.reporting import at_accuracy, grids, statistics
from metafa.reporting.appearance import in_words
from metafa.reporting.claim_conditions import settings_of, trials_of
from metafa.reporting.conditions import NOISE, ORDER, RATE, RULE, Tables
from metafa.studies import compared
from metafa.studies.claims import ClaimSettings, chosen_inputs
from metafa.studies.data import Inputs
from metafa.studies.paper import FIGURES
from metafa.studies.settings import as_text

SEED = ["trial_id", "seed", "learning_rate"]


def judge_all(tables: Tables, claims: list[ClaimSettings]) -> pd.DataFrame:
    """One row a claim and condition, as `judge` has them, ordered by `in_order`. Raises `ResultsError` where what is
    claimed about was not measured, or not yet."""
    judged, not_judged = judge_measured(tables, claims)
    if not_judged:
        raise _cannot_be_judged(tables, *not_judged[0])
    return judged


def judge_measured(tables: Tables, claims: list[ClaimSettings]) -> tuple[pd.DataFrame, list[tuple[ClaimSettings, str]]]:
    """The rows of `judge_all` for the claims that can be judged from what was measured until now, and the other claims,
    each with why it cannot. Raises `ResultsError` where none can."""
    found, not_judged = [], []
    for claim in claims:
        rows = of_claim(tables, claim)
        judged = judge(rows, claim, tables) if len(rows) else rows
        if len(judged):
            found.append(judged)
        elif rows.empty:
            not_judged.append((claim, f"no {claim.metric!r} in phase {claim.phase!r}"))
        else:
            not_judged.append((claim, "not all of the trials that it compares are done"))
    if not found:
        raise _cannot_be_judged(tables, *not_judged[0])
    return in_order(pd.concat(found, ignore_index=True)), not_judged


def _cannot_be_judged(tables: Tables, claim: ClaimSettings, why: str) -> ResultsError:
    return ResultsError(f"{tables.store.address}: {claim.name}: {why}")


def in_order(judged: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of the paper's figures, those of none last; of one figure, of the claims' numbers."""
    figures, last = {name: place for place, name in enumerate(FIGURES)}, len(FIGURES)
    places = pd.DataFrame({"figure": judged["figure"].map(lambda name: figures.get(name, last))})
    places["claim"] = pd.to_numeric(judged["claim"])
    order = places.sort_values(["figure", "claim"], kind="stable", na_position="last").index
    return judged.loc[order].reset_index(drop=True)


def in_a_sentence(judged: pd.DataFrame) -> str:
    """In how many comparisons the claims hold, fail, or are undecided, and what the first comes to."""
    rows = pd.concat([grid.rows for grid in grids.of_claims(judged)])
    counts, number = rows["verdict"].value_counts(), len(rows)
    words = {name: (few, many)[int(counts[name] > 1)] for name, (few, many) in grids.VERDICTS.items() if name in counts}
    told = ", ".join(f"{counts[name]} {word}" for name, word in words.items())
    of = f"Of {number} comparison{'s' * (number > 1)} {told}"
    known = rows[rows["difference_low"].notna()]
    if known.empty:
        return f"{of}: too few seeds are left to compare."
    row = known.iloc[0]
    return (
        f"{of}; the first: {row['statement'].rstrip('.')} ({row['compared']}: "
        f"{row['difference']:+.3g}, 95% interval {row['difference_low']:+.3g} to {row['difference_high']:+.3g}, "
        f"{row['seeds']} seeds)."
    )


def of_claim(tables: Tables, claim: ClaimSettings) -> pd.DataFrame:
    """The measurements that a claim is about, of all rules: its metric, layer and inputs, in its phase."""
    rows = tables.rows([claim.metric], [claim.phase])
    rows = rows[rows["layer"] == claim.layer] if claim.layer else rows
    names = ["dataset", *Inputs._fields]
    rows = rows.assign(dataset=rows["trial_id"].map(datasets(tables, claim.phase)))
    kinds = rows[names].drop_duplicates().astype(object)
    on = {(dataset, Inputs(*inputs)) for dataset, *inputs in kinds.where(kinds.notna(), None).itertuples(index=False)}
    skips = claim.phase in tables.phases_with(lambda kind: kind.skips_own_dataset)
    chosen = [(dataset, *inputs) for dataset, inputs in chosen_inputs(claim, on, skips)]
    found = pd.DataFrame(chosen, columns=names).astype(rows[names].dtypes)
    return rows.merge(found, on=names).drop(columns="dataset")


def datasets(tables: Tables, phase: str) -> pd.Series:
    """The dataset that ``phase`` trains on or changes, by trial: its own, or that of the last phase that
    trains on one."""
    trials = tables.ended.set_index("trial_id")
    found = pd.Series(None, trials.index, dtype=object)
    lent = tables.phases_with(lambda kind: kind.retests)  # whose `dataset` lends images alone
    named = [name for name in tables.phases if f"{name}.dataset" in trials and name not in lent]
    trained = [name for name in tables.training_phases if name in named]
    for name in (*trained[-1:], phase):
        if name in named:
            found = trials[f"{name}.dataset"].fillna(found)
    return found


def by_seed(rows: pd.DataFrame, others: list[str], step: str) -> pd.Series:
    """One value a rule, number of noise steps, other condition and seed: at the ``last`` or ``first`` step or the
    ``mean`` over steps, each step weighing as long as it lasted; then the mean over inputs, layers
    or components."""
    keys = [RULE, NOISE, *others]
    # a rate of several side by side tells both runs and conditions apart
    runs = rows.sort_values("step").groupby(
        list(dict.fromkeys([*SEED, "inputs", "shift", "strength", "layer", "component", *keys])), dropna=False
    )
    if step == "mean":
        values = runs[["step", "value"]].apply(
            lambda run: (
                np.trapezoid(run["value"], run["step"]) / np.ptp(run["step"]) if len(run) > 1 else run["value"].iloc[0]
            )
        )
    else:
        values = runs["value"].last() if step == "last" else runs["value"].first()
    return values.groupby([*keys, "seed"], dropna=False).mean()


def judge(rows: pd.DataFrame, claim: ClaimSettings, tables: Tables) -> pd.DataFrame:
    """One row a condition that the claim is about, those of fewer noise steps first: what is compared, their
    difference's mean over seeds with its 95% interval, paired by seed, and whether by the claim's rule it ``holds``,
    ``fails`` or is ``undecided``. ``with_noise`` is the mean of the condition that the claim is about, ``settings`` are
    those of its settings that may matter, by dotted name. The p-values of the t-test and of Wilcoxon's signed-rank test
    are of the same differences, and not corrected for their number."""
    others = tables.others
    compared_rows = rows if claim.at_accuracy is None else _at_accuracy(rows, claim, tables, claim.at_accuracy)
    values = by_seed(compared_rows, others, claim.step).unstack("seed")
    starts = by_seed(rows, others, "first").unstack("seed")
    starts = starts.reindex(values.index)
    keys = values.index.to_frame(index=False)
    by_backprop = tables.without_noise(keys, keys.assign(**{RULE: "backprop"}))
    trials = trials_of(rows, keys)
    settings = settings_of(rows, claim, tables, keys, trials)
    found = []
    for pair in _pairs(trials, claim, tables, keys):
        row, with_noise = pair.row, values.iloc[pair.row]
        if pair.against is not None:
            against = values.iloc[pair.against]
        elif claim.compare == "start":
            against = starts.iloc[row]
        else:
            against = pd.Series(claim.reference, with_noise.index)
        both = np.isfinite(with_noise - against)
        with_noise, against = with_noise[both], against[both]
        differences = (with_noise - against).to_numpy()
        low, high = statistics.interval(differences)
        found.append(
            {
                "figure": claim.figure or "",
                "claim": "" if claim.claim is None else str(claim.claim),
                "statement": claim.statement,
                "compared": f"{measured(claim)}: {pair.compared}",
                "conditions": in_words(pair.told_by, keys.loc[row, pair.told_by]),
                "seeds": len(differences),
                "with_noise": with_noise.mean(),
                "against": against.mean(),
                "backprop": np.nan if by_backprop[row] is None else values.iloc[by_backprop[row]][both].mean(),
                "difference": differences.mean() if len(differences) else np.nan,
                "difference_low": low,
                "difference_high": high,
                "p_t_test": statistics.paired_t(differences),
                "p_wilcoxon": statistics.paired_p(differences),
                "expected": expected(claim),
                "verdict": verdict(low, high, claim.expect, claim.margin),
                "settings": settings[row],
            }
        )
    return pd.DataFrame(found)


def _at_accuracy(rows: pd.DataFrame, claim: ClaimSettings, tables: Tables, level: float) -> pd.DataFrame:
    rows = rows.assign(accuracy_on=rows["trial_id"].map(datasets(tables, claim.phase)))
    return at_accuracy.values_at(rows, tables.rows(["accuracy"], [claim.phase]), level, SEED)


class _Pair(NamedTuple):
    """What is compared: the number of a condition's row, that of the row of the condition that it is compared with
    (None where that is its start or a number), what both are in words, and what else tells the condition from
    others."""

    row: int
    against: int | None
    compared: str
    told_by: list[str]


def _pairs(trials: Sequence[str], claim: ClaimSettings, tables: Tables, keys: pd.DataFrame) -> Iterator[_Pair]:
    """What a claim compares of the conditions of ``keys``, each that of one of ``trials``, as far as it is measured
    yet."""
    others = tables.others
    ordered = keys.sort_values([*others, NOISE], kind="stable").index
    if claim.against is not None:
        yield from _pairs_by_settings(trials, claim, tables, keys, ordered)
        return
    chosen = _chosen(trials, claim, tables) if claim.where else set(ordered)
    quiet = tables.without_noise(keys)
    asks_for_none = bool(claim.where) and any(
        claim.where.get(f"{phase}.steps") == 0 for phase in tables.phases_of("noise")
    )
    words = {"noise": "no noise", "start": "its start", "reference": f"{claim.reference:g}"}
    for row in ordered:
        noise = int(keys[NOISE][row])
        if keys[RULE][row] != claim.rule or not (noise or asks_for_none) or row not in chosen:
            continue
        against = quiet[row] if claim.compare == "noise" else None
        if claim.compare != "noise" or against is not None:
            told = f"{noise} noise steps" if noise else "no noise"
            yield _Pair(row, against, f"{told} against {words[claim.compare]}", others)


def _chosen(trials: Sequence[str], claim: ClaimSettings, tables: Tables) -> set[int]:
    """The numbers of those of ``trials`` that have what a claim says in `where`."""
    trial_ids = list(tables.flats)
    wanted = {trial_ids[number] for number in compared.subjects(claim, list(tables.flats.values()))}
    return {row for row, trial_id in enumerate(trials) if trial_id in wanted}


def _pairs_by_settings(
    trials: Sequence[str], claim: ClaimSettings, tables: Tables, keys: pd.DataFrame, ordered: pd.Index
) -> Iterator[_Pair]:
    """As `_pairs`, of a claim that says `against` what it compares. Raises `ResultsError` where several conditions
    match."""
    assert claim.against is not None
    trial_ids, flats = list(tables.flats), list(tables.flats.values())
    numbers = {trial_id: number for number, trial_id in enumerate(trial_ids)}
    partners = compared.partners(claim, flats)
    rates = keys[RATE].tolist() if RATE in keys else [None] * len(keys)
    places = {place: row for row, place in enumerate(zip(trials, rates, strict=True))}
    names = list(claim.against)
    orders = {ORDER, NOISE} if compared.PHASES in names else set()
    steps = {NOISE} if any(f"{phase}.steps" in names for phase in tables.phases_of("noise")) else set()
    told_by = [name for name in tables.conditions if name not in {RULE, *names, *orders, *steps}]
    told_by = [name for name in told_by if name != NOISE or keys[NOISE].nunique() > 1]
    for row in ordered:
        of_row = partners.get(numbers[trials[row]], [])
        if len(of_row) > 1:
            raise ResultsError(f"{tables.store.address}: {claim.name}: several conditions match what it says `against`")
        against = next((places.get((trial_ids[number], rates[row])) for number in of_row), None)
        if against is None:
            continue  # or not yet
        mine, theirs = (flats[numbers[trials[one]]] for one in (row, against))
        texts = [", ".join(f"{name} {as_text(flat.get(name)) or 'none'}" for name in names) for flat in (mine, theirs)]
        if len(names) == 1:
            texts[1] = as_text(theirs[names[0]])
        yield _Pair(row, against, " against ".join(texts), told_by)


def measured(claim: ClaimSettings) -> str:
    """What of networks a claim compares, in words."""
    where = f" of layer {claim.layer}" if claim.layer else ""
    where += f" on {claim.inputs}" if claim.inputs else ""
    where += f" with {claim.shift}" if claim.shift else ""
    at = "" if claim.at_accuracy is None else f" at accuracy {claim.at_accuracy:g}"
    return (
        f"{claim.metric}{where}" + {"first": " at the start", "last": "", "mean": ", mean over steps"}[claim.step] + at
    )


def expected(claim: ClaimSettings) -> str:
    """Where a claim's difference should be, in words."""
    margin = claim.margin
    if claim.expect == "near":
        return f"within {margin:g}"
    return claim.expect + (f" by {margin:g}" if margin else "")


def verdict(low: float, high: float, expect: str, margin: float) -> str:
    """Whether an interval lies on the side expected of 0 by more than a margin (or within the margin, where a
    difference is to be ``near`` 0): it ``holds`` where all of it does, ``fails`` where none of it does."""
    if not np.isfinite(low):
        return "undecided"
    if expect == "near":
        inside, outside = -margin < low and high < margin, low > margin or high < -margin
    else:
        sign = 1 if expect == "higher" else -1
        ends = sorted((sign * low, sign * high))
        inside, outside = ends[0] > margin, ends[1] < margin
    return "holds" if inside else "fails" if outside else "undecided"
