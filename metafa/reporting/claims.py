"""A study's claims, judged by the rules that it wrote down before it ran."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metafa.errors import ResultsError
from metafa.reporting import statistics
from metafa.reporting.appearance import in_words
from metafa.reporting.conditions import NOISE, RULE, Tables
from metafa.studies.claims import ClaimSettings, chosen_inputs
from metafa.studies.data import Inputs

VERDICTS = {"holds": "hold", "fails": "fail", "undecided": "are undecided"}
SEED = ["trial_id", "seed", "learning_rate"]


def judge_all(tables: Tables, claims: list[ClaimSettings]) -> pd.DataFrame:
    """One row a claim and condition, as `judge` has them, in the order of the claims' numbers. Raises `ResultsError`
    where what a claim is about was not measured, or not yet."""
    found = []
    for claim in claims:
        where = f"{tables.store.address}: claim {claim.claim}"
        rows = of_claim(tables, claim)
        if rows.empty:
            raise ResultsError(f"{where}: no {claim.metric!r} in phase {claim.phase!r}")
        judged = judge(rows, claim, tables)
        if judged.empty:
            raise ResultsError(f"{where}: not all of the trials that it compares are done")
        found.append(judged)
    return pd.concat(found, ignore_index=True).sort_values("claim", kind="stable", ignore_index=True)


def in_a_sentence(judged: pd.DataFrame) -> str:
    """How many comparisons of the claims hold, fail, or are undecided, and what the first comes to."""
    counts = judged["verdict"].value_counts()
    said = ", ".join(f"{counts[name]} {word}" for name, word in VERDICTS.items() if counts.get(name))
    told = judged[judged["difference_low"].notna()]
    if told.empty:
        return f"Of {len(judged)} comparisons {said}: too few seeds are left to compare."
    row = told.iloc[0]
    return (
        f"Of {len(judged)} comparisons {said}; the first: {row['statement'].rstrip('.')} ({row['compared']}: "
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
    trained = [name for name in tables.training_phases if f"{name}.dataset" in trials]
    for name in (*trained[-1:], phase):
        if f"{name}.dataset" in trials:
            found = trials[f"{name}.dataset"].fillna(found)
    return found


def by_seed(rows: pd.DataFrame, others: list[str], step: str) -> pd.Series:
    """One value a rule, number of noise steps, other condition and seed: at the ``last`` or ``first`` step or the
    ``mean`` over steps, each step weighing as long as it lasted; then the mean over inputs or layers."""
    keys = [RULE, NOISE, *others]
    # a rate of several side by side tells both runs and conditions apart
    runs = rows.sort_values("step").groupby(
        list(dict.fromkeys([*SEED, "inputs", "shift", "strength", "layer", *keys])), dropna=False
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
    """One row a number of noise steps and other condition: what is compared, their difference's mean over seeds with
    its 95% interval, paired by seed, and whether by the claim's rule it ``holds``, ``fails`` or is ``undecided``."""
    others = tables.others
    values, starts = (by_seed(rows, others, step).unstack("seed") for step in (claim.step, "first"))
    starts = starts.reindex(values.index)
    keys = values.index.to_frame(index=False)
    quiet, by_backprop = (tables.without_noise(keys, wanted) for wanted in (keys, keys.assign(**{RULE: "backprop"})))
    found = []
    for row in keys.sort_values([*others, NOISE], kind="stable").index:
        noise = int(keys[NOISE][row])
        if keys[RULE][row] != claim.rule or not noise or (claim.compare == "noise" and quiet[row] is None):
            continue  # or not yet
        key = [keys[name][row] for name in others]
        with_noise = values.iloc[row]
        if claim.compare == "noise":
            against = values.iloc[quiet[row]]
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
                "claim": claim.claim,
                "statement": claim.statement,
                "compared": compared(claim, noise),
                "conditions": in_words(others, key),
                "seeds": len(differences),
                "with_noise": with_noise.mean(),
                "against": against.mean(),
                "backprop": np.nan if by_backprop[row] is None else values.iloc[by_backprop[row]][both].mean(),
                "difference": differences.mean() if len(differences) else np.nan,
                "difference_low": low,
                "difference_high": high,
                "expected": expected(claim),
                "verdict": verdict(low, high, claim.expect, claim.margin),
            }
        )
    return pd.DataFrame(found)


def compared(claim: ClaimSettings, noise_steps: int) -> str:
    """What a claim compares, in words."""
    against = {"noise": "no noise", "start": "its start", "reference": f"{claim.reference:g}"}
    where = f" of layer {claim.layer}" if claim.layer else ""
    step = ", mean over steps" if claim.step == "mean" else ""
    return f"{claim.metric}{where}{step}: {noise_steps} noise steps against {against[claim.compare]}"


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
