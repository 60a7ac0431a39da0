"""A study's tables, read for analysis: trials that ended, what tells their conditions apart, measurements by metric."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from metafa import results
from metafa.results import ENDED, MEASUREMENTS, ResultsError
from metafa.store import Store

EVALUATED = ["phase", "task"]  # what tells one evaluation of a network from another
RULE, NOISE, RATE = "network.rule", "noise_steps", "learning_rate"
SHOWN = 12  # conditions that a figure can tell apart
# by the kind of a phase, the setting that only such a phase has
SETTING_OF = {
    "noise": "inputs",
    "supervised": "training_images",
    "meta": "outer_algorithm",
    "evaluate": "task_distributions",
    "out_of_distribution": "translation",
}


@dataclass(frozen=True)
class Tables:
    """A study's results.

    trials: one row a trial, whatever became of it.
    ended: those that came to an end, with a column `noise_steps`, all noise phases together.
    conditions: the columns that tell conditions apart: the rule, the noise steps, and every other setting of which
        the study has several values, `learning_rate` among them where several are trained side by side.
    """

    store: Store
    trials: pd.DataFrame
    ended: pd.DataFrame
    conditions: list[str]

    @property
    def others(self) -> list[str]:
        """The conditions besides the rule and the noise steps."""
        return [name for name in self.conditions if name not in (RULE, NOISE)]

    @property
    def several_rules(self) -> bool:
        return self.ended[RULE].nunique() > 1

    @property
    def phases(self) -> list[str]:
        """The phases in the order they ran."""
        return list(self.ended["phases"].iloc[0])

    def phases_of(self, kind: str) -> list[str]:
        """The phases of a kind, such as ``evaluate``, in their order."""
        return [name for name in self.phases if f"{name}.{SETTING_OF[kind]}" in self.ended]

    def rows(
        self, metrics: Sequence[str], phases: Iterable[str] | None = None, trial_ids: Iterable[str] | None = None
    ) -> pd.DataFrame:
        """The measurements of these metrics in trials that ended, with their conditions; no others are read."""
        chosen = set(self.ended["trial_id"]) if trial_ids is None else set(trial_ids)
        wanted = pc.field("metric").isin(_strings(metrics))
        if phases is not None:
            wanted &= pc.field("phase").isin(_strings(phases))
        if len(chosen) < len(self.trials):
            wanted &= pc.field("trial_id").isin(_strings(chosen))
        rows = results.read_table(self.store, "measurements", MEASUREMENTS.names, wanted).to_pandas()
        named = [name for name in self.conditions if name != RATE]
        return rows.merge(self.ended[["trial_id", *named]], on="trial_id")

    @cached_property
    def adaptation(self) -> pd.DataFrame:
        """The adaptation curves: meta-loss and meta-accuracy of the phases that evaluate, whose steps are inner
        steps."""
        return self.rows(["meta_loss", "meta_accuracy"], self.phases_of("evaluate"))

    @cached_property
    def final(self) -> pd.DataFrame:
        """One row a condition, evaluation and seed: meta_loss and meta_accuracy after the last inner step."""
        rows = self.adaptation
        rows = rows[rows["step"] == rows.groupby(["trial_id", *EVALUATED])["step"].transform("max")]
        keys = [*EVALUATED, *self.conditions, "seed", "metric"]
        # not pivot_table, which with settings that may be null makes every combination of all values of each
        values = rows.groupby(keys, sort=False, dropna=False)["value"].mean().unstack("metric").reset_index()
        values = values.dropna(how="all", subset=["meta_loss", "meta_accuracy"])
        return values.sort_values("phase", key=lambda column: column.map(self.phases.index), kind="stable")

    @cached_property
    def shown(self) -> pd.DataFrame:
        """The conditions that figures show, with their ``trial_id``: all, or where those are more than `SHOWN`, for
        each rule the best without noise, then the best, by the meta-loss measured last."""
        keys = self.ended[["trial_id", *self.conditions]]
        if RATE in keys:
            keys = keys.explode(RATE, ignore_index=True).astype({RATE: float})
        if len(keys) <= SHOWN:
            return keys
        last = self.phases_of("evaluate")[-1:]
        found = self.adaptation[(self.adaptation["metric"] == "meta_loss") & self.adaptation["phase"].isin(last)]
        found = found[found["step"] == found["step"].max()]
        means = found.groupby(self._key)["value"].mean().rename("mean").reset_index()
        ranked = keys.merge(means, how="left", on=self._key).sort_values("mean", kind="stable")
        without = ranked[ranked[NOISE] == 0].groupby(RULE).head(1)
        rest = ranked.drop(without.index)
        return pd.concat([without, rest.head(max(0, SHOWN - len(without)))]).sort_index().drop(columns="mean")

    @property
    def _key(self) -> list[str]:
        return ["trial_id", *([RATE] if RATE in self.conditions else [])]

    def of_shown(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The ``rows`` of conditions that figures show."""
        return rows.merge(self.shown[self._key], on=self._key)

    def rows_of_shown(self, metrics: Sequence[str], phases: Iterable[str] | None = None) -> pd.DataFrame:
        """As `rows`, of the conditions that figures show alone."""
        return self.of_shown(self.rows(metrics, phases, self.shown["trial_id"]))

    @property
    def excerpt(self) -> str:
        """What figures of the conditions shown leave out, in words; empty where nothing."""
        every = len(self.ended[RATE].explode()) if RATE in self.ended else len(self.ended)
        return f"the best {len(self.shown)} of {every} conditions" if len(self.shown) < every else ""


def read(address: str | Path) -> Tables:
    """The tables at ``address``, a folder or an object store's. Raises `ResultsError` where there are none, or none of
    the trials has ended yet."""
    store = results.open_store(address)
    return of_trials(store, read_trials(store))


def of_trials(store: Store, trials: pd.DataFrame) -> Tables:
    """The tables of ``store``, whose table of trials is read already. Raises `ResultsError` where none has ended."""
    ended = trials[trials["status"].isin(ENDED)].reset_index(drop=True)
    if ended.empty:
        raise ResultsError(f"{store.address}: no trial is done yet; `metafa status {store.address}` says how far it is")
    return Tables(store, trials, *_with_conditions(ended))


def read_trials(store: Store) -> pd.DataFrame:
    """The table of trials. Raises `ResultsError`."""
    try:
        if results.parts(store, "trials"):
            return results.read_table(store, "trials").to_pandas()
        said = "no trial has ended yet"
    except OSError as error:
        said = results.reason(error)
    raise ResultsError(
        f"{store.address}: no tables `trials` and `measurements` of metafa here ({said}); give what `metafa run` calls "
        "results, such as results/quickstart"
    )


def _with_conditions(trials: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    noises = [name for name in trials if name.endswith(f".{SETTING_OF['noise']}")]
    steps = [name.replace(f".{SETTING_OF['noise']}", ".steps") for name in noises]
    trials = trials.assign(**{NOISE: trials[steps].fillna(0).sum(axis=1).astype(int) if steps else 0})
    lists = [name for name in trials if name.endswith("rate") and trials[name].map(_is_list).any()]
    others = [
        name
        for name in trials
        if (name in ("seed", "seeds") or "." in name)  # a setting goes by its dotted name
        and name not in {*steps, *lists, RULE}
        and trials[name].map(repr).nunique() > 1
    ]
    trials = trials.assign(**{name: trials[name].map(_plain) for name in others})
    if lists:
        trials = trials.assign(**{RATE: trials[lists[0]]})
    return trials, [RULE, NOISE, *others, *([RATE] if lists else [])]


def _strings(values: Iterable[str]) -> pa.Array:
    return pa.array(sorted(values), pa.string())


def _is_list(value: Any) -> bool:
    return isinstance(value, list | np.ndarray)


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if _is_list(value) else value
