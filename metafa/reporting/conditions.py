"""A study's tables, read for analysis: trials that ended, what tells their conditions apart, measurements by metric."""

from __future__ import annotations

import graphlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from metafa.errors import ResultsError
from metafa.reporting.trial_table import alike, divergences_of, every_trial, has_holder, is_list, phase_kinds, plain
from metafa.results import addresses, damage, tables
from metafa.results.columns import MEASUREMENTS
from metafa.results.statuses import ANALYSED
from metafa.results.store import Store
from metafa.studies import compared
from metafa.studies.phase_settings import PhaseSettings, learning_rates_of
from metafa.studies.phases import PHASES
from metafa.studies.settings import NUMERICS

EVALUATED = ["phase", "inputs"]  # what tells one evaluation of a network from another
RULE, NOISE, RATE, ORDER = "network.rule", "noise_steps", "learning_rate", "phase_order"
# settings of a trial whose names mean something else in the table `measurements`, and what they are called here
RENAMED = {"seed": "study_seed", "seeds": "number_of_seeds"}
SHOWN = 12  # conditions that a figure can tell apart


@dataclass(frozen=True)
class Tables:
    """A study's results.

    trials: one row a trial, whatever became of it.
    ended: those that came to an end, with a column `noise_steps`, all noise phases together.
    conditions: the columns that tell conditions apart: the rule, the noise steps of all noise phases together, and
        every other setting that differs between trials, `learning_rate` among them where several are trained side by
        side, and `phase_order` where trials differ in nothing but which phases they have, or in which order. No two
        trials share a condition.
    of_noise: those of them that describe noise pretraining alone, and say nothing where there is none.
    """

    store: Store
    trials: pd.DataFrame
    ended: pd.DataFrame
    conditions: list[str]
    of_noise: list[str]

    @property
    def others(self) -> list[str]:
        """The conditions besides the rule and the noise steps."""
        return [name for name in self.conditions if name not in (RULE, NOISE)]

    @property
    def several_rules(self) -> bool:
        return self.ended[RULE].nunique() > 1

    @cached_property
    def phases(self) -> list[str]:
        """The phases of all trials, in the order they ran; of phases that ran in both orders, as they are first met."""
        orders = [list(one) for one in {tuple(phases): None for phases in self.ended["phases"]}]
        before: dict[str, dict[str, None]] = {name: {} for order in orders for name in order}
        for first, second in (pair for order in orders for pair in itertools.pairwise(order)):
            before[second][first] = None
        try:
            return list(graphlib.TopologicalSorter(before).static_order())
        except graphlib.CycleError:
            return list(before)

    @cached_property
    def flats(self) -> dict[str, compared.Flat]:
        """The settings of each trial that ended, by its id, as claims compare them."""
        names = [name for name in self.ended if "." in name or name in ("seed", "seeds", compared.PHASES)]
        found = (
            compared.flat_of(
                {name: list(one) if is_list(one) else None if pd.isna(one) else one for name, one in row.items()}
            )
            for row in self.ended[names].to_dict("records")
        )
        return dict(zip(self.ended["trial_id"], found, strict=True))

    def phases_of(self, kind: str) -> list[str]:
        """The phases of a kind, such as ``evaluate``, in their order."""
        return [name for name in self.phases if kind in self._phase_kinds.get(name, ())]

    def phases_with(self, fact: Callable[[type[PhaseSettings]], bool]) -> list[str]:
        """The phases of kinds for which a ``fact`` holds, in their order."""
        kinds = [kind for kind, settings in PHASES.items() if fact(settings)]
        return [name for name in self.phases if not self._phase_kinds.get(name, set()).isdisjoint(kinds)]

    @cached_property
    def _phase_kinds(self) -> dict[str, set[str]]:
        return phase_kinds(self.ended)

    def without_noise(self, keys: pd.DataFrame, wanted: pd.DataFrame | None = None) -> list[int | None]:
        """For each row of ``wanted`` (by default ``keys``), the number, from 0, of the row of ``keys`` that is the same
        condition without noise; None where there is none, or where the row has no noise itself. What describes noise
        alone may differ; a row in which it does not is taken first."""
        both = pd.concat([keys, keys if wanted is None else wanted], ignore_index=True)
        if ORDER in both:
            noises = set(self.phases_of("noise"))
            others = both[ORDER].map(lambda text: ", ".join(one for one in text.split(", ") if one not in noises))
            both = both.assign(**{ORDER: others})
        apart = [name for name in self.conditions if name != NOISE]
        exact, same = (
            both.groupby(names, dropna=False, sort=False, observed=True).ngroup().tolist()
            for names in (apart, [name for name in apart if name not in self.of_noise])
        )
        noisy = (both[NOISE] > 0).tolist()
        quiet = [row for row in range(len(keys)) if not noisy[row]]
        by_exact, by_same = ({group[row]: row for row in reversed(quiet)} for group in (exact, same))
        found = range(len(keys), len(both))
        return [by_exact.get(exact[row], by_same.get(same[row])) if noisy[row] else None for row in found]

    @cached_property
    def diverged(self) -> pd.DataFrame:
        """The phases of replicas that do not count: one row a trial_id, seed, learning_rate and phase, for the phase in
        which a replica diverged and each after it."""
        found = [
            (row["trial_id"], one["seed"], one["learning_rate"], phase)
            for _, row in self.ended[self.ended["status"] == "diverged"].iterrows()
            for one in divergences_of(row)
            for phase in list(row["phases"])[list(row["phases"]).index(one["phase"]) :]
        ]
        columns = ["trial_id", "seed", "learning_rate", "phase"]
        return pd.DataFrame(found, columns=columns).astype({"learning_rate": float}).drop_duplicates()

    def noise_steps_before(self, rows: pd.DataFrame) -> pd.Series:
        """How many steps of noise each of ``rows``, measured in noise phases, had behind it when its phase began."""
        noises = self.phases_of("noise")
        trials = self.ended.set_index("trial_id")
        before = pd.DataFrame(0, index=trials.index, columns=noises)
        orders = trials["phases"].map(tuple)
        for order in orders.unique():
            if not (ran := [name for name in order if name in noises]):
                continue
            steps = trials.loc[orders == order, [f"{name}.steps" for name in ran]].astype(int)
            before.loc[orders == order, ran] = (steps.cumsum(axis=1) - steps).to_numpy()
        numbers = before.stack().rename("before").rename_axis(["trial_id", "phase"])
        return rows[["trial_id", "phase"]].join(numbers, on=["trial_id", "phase"])["before"]

    @property
    def remarks(self) -> list[str]:
        """What has to be said beside every number: that replicas are left out, or that this version of metafa would
        compute something else."""
        found = []
        if number := len(self.diverged[["trial_id", "seed", "learning_rate"]].drop_duplicates()):
            trials = self.diverged["trial_id"].nunique()
            found.append(
                f"{number} network{'s' * (number > 1)} of {trials} trial{'s' * (trials > 1)} diverged: their seeds "
                "count neither in the phase in which they did nor in any after it"
            )
        made_by = set(self.ended["numerics"].dropna()) if "numerics" in self.ended else set()
        if earlier := sorted(int(one) for one in made_by - {NUMERICS}):
            found.append(
                f"these results were computed by numerics {', '.join(map(str, earlier))} of metafa, where this version "
                f"has {NUMERICS}: they are shown as they are, and cannot be continued"
            )
        return found

    def rows(
        self,
        metrics: Sequence[str],
        phases: Iterable[str] | None = None,
        trial_ids: Iterable[str] | None = None,
        seeds: Iterable[int] | None = None,
    ) -> pd.DataFrame:
        """The measurements of these metrics in trials that ended, with their conditions; no others are read.

        A replica that diverged counts neither in the phase in which it did nor in any after it, whatever was measured
        there: its values are not a number. So every number of a condition is of the same seeds."""
        chosen = set(self.ended["trial_id"]) if trial_ids is None else set(trial_ids)
        wanted = pc.field("metric").isin(_strings(metrics))
        if phases is not None:
            wanted &= pc.field("phase").isin(_strings(phases))
        if seeds is not None:
            wanted &= pc.field("seed").isin(pa.array(seeds, pa.int64()))
        if len(chosen) < len(self.trials):
            wanted &= pc.field("trial_id").isin(_strings(chosen))
        rows = tables.read_table(self.store, "measurements", MEASUREMENTS.names, wanted).to_pandas()
        if len(self.diverged):
            keys = list(self.diverged)
            rows = rows.merge(self.diverged.assign(lost=True), how="left", on=keys)
            rows = rows.assign(value=rows["value"].where(rows["lost"].isna())).drop(columns="lost")
        named = [name for name in self.conditions if name != RATE]
        return rows.merge(self.ended[["trial_id", *named]], on="trial_id")

    @property
    def training_phases(self) -> list[str]:
        """The phases that train, in their order."""
        return self.phases_with(lambda kind: kind.trains)

    @property
    def evaluations(self) -> list[str]:
        """The phases that evaluate a meta-loss, in their order."""
        return self.phases_with(lambda kind: kind.evaluates)

    @cached_property
    def adaptation(self) -> pd.DataFrame:
        """The adaptation curves: meta-loss and meta-accuracy of the phases that evaluate, whose steps are inner
        steps."""
        return self.rows(["meta_loss", "meta_accuracy"], self.evaluations)

    @cached_property
    def final(self) -> pd.DataFrame:
        """One row a condition, evaluation and seed: meta_loss and meta_accuracy after the last inner step."""
        rows = self.adaptation
        rows = rows[rows["step"] == rows.groupby(["trial_id", *EVALUATED])["step"].transform("max")]
        keys = [*EVALUATED, *self.conditions, "seed", "metric"]
        # not pivot_table, which with settings that may be null makes every combination of all values of each
        values = rows.groupby(keys, sort=False, dropna=False)["value"].mean().unstack("metric").reset_index()
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
        last = self.evaluations[-1:]
        found = self.adaptation[(self.adaptation["metric"] == "meta_loss") & self.adaptation["phase"].isin(last)]
        found = found[found["step"] == found.groupby("trial_id")["step"].transform("max")]
        # a condition of which a seed diverged is worse than any of which none did
        found = found.assign(lost=found["value"].isna()).groupby(self._key, dropna=False)
        means = pd.DataFrame({"mean": found["value"].mean(), "lost": found["lost"].any()}).reset_index()
        ranked = keys.merge(means, how="left", on=self._key).sort_values(["lost", "mean"], kind="stable")
        without = ranked[ranked[NOISE] == 0].groupby(RULE).head(1)
        rest = ranked.drop(without.index)
        return pd.concat([without, rest.head(max(0, SHOWN - len(without)))]).sort_index().drop(columns=["mean", "lost"])

    @property
    def _key(self) -> list[str]:
        return ["trial_id", *([RATE] if RATE in self.conditions else [])]

    def of_shown(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The ``rows`` of conditions that figures show."""
        return rows.merge(self.shown[self._key], on=self._key)

    def rows_of_shown(
        self, metrics: Sequence[str], phases: Iterable[str] | None = None, seeds: Iterable[int] | None = None
    ) -> pd.DataFrame:
        """As `rows`, of the conditions that figures show alone."""
        return self.of_shown(self.rows(metrics, phases, self.shown["trial_id"], seeds))

    @property
    def excerpt(self) -> str:
        """What figures of the conditions shown leave out, in words; empty where nothing."""
        every = len(self.ended[RATE].explode()) if RATE in self.ended else len(self.ended)
        return f"the best {len(self.shown)} of {every} conditions" if len(self.shown) < every else ""


def read(address: str | Path) -> Tables:
    """The tables at ``address``, a folder or an object store's. Raises `ResultsError` where there are none, or none of
    the trials has ended yet."""
    store = addresses.open_store(address)
    return of_trials(store, read_trials(store))


def of_trials(store: Store, trials: pd.DataFrame) -> Tables:
    """The tables of ``store``, whose table of trials is read already. Raises `ResultsError` where none has ended."""
    ended = trials[trials["status"].isin(ANALYSED)].reset_index(drop=True)
    if ended.empty:
        counts = ", ".join(f"{number} {status}" for status, number in trials["status"].value_counts().items())
        raise ResultsError(
            f"{store.address}: no trial has come to its end ({counts}); `metafa status {store.address}` says how far "
            "it is"
        )
    return Tables(store, trials, *_with_conditions(store, ended))


def read_trials(store: Store) -> pd.DataFrame:
    """The table of trials. Raises `ResultsError` where there is none, or no trial in it."""
    try:
        if len(trials := every_trial(store)):
            return trials
        reason = "no trial has ended yet"
    except OSError as error:
        reason = damage.reason(error)
    raise ResultsError(
        f"{store.address}: no tables `trials` and `measurements` of metafa here ({reason}); give what `metafa run` "
        "calls results, such as results/quickstart"
    )


def _with_conditions(store: Store, trials: pd.DataFrame) -> tuple[pd.DataFrame, list[str], list[str]]:
    kinds = phase_kinds(trials)
    noises = [name for name in kinds if "noise" in kinds[name]]
    steps = [f"{name}.steps" for name in noises]
    totals = trials[steps].astype(float).fillna(0).sum(axis=1).astype(int) if steps else 0
    trials = trials.assign(**{NOISE: totals, **{new: trials[old] for old, new in RENAMED.items() if old in trials}})
    rates = {
        f"{phase}.{rate}"
        for phase in kinds
        for kind in kinds[phase] & PHASES.keys()
        for rate in learning_rates_of(PHASES[kind])
    }
    lists = [name for name in trials if name in rates and trials[name].map(is_list).any()]
    apart = {*lists, RULE, *(f"{phase}.phase" for phase in kinds)}  # no conditions, or named otherwise
    # a setting goes by its dotted name
    settings = [name for name in trials if (name in RENAMED.values() or "." in name) and name not in apart]
    holders = {holder: has_holder(trials, holder) for holder in {name.rpartition(".")[0] for name in settings}}
    differing = [
        name for name in settings if trials.loc[holders[name.rpartition(".")[0]], name].map(repr).nunique() > 1
    ]
    if len(told := set(steps) & set(differing)) == 1:  # their sum tells them apart
        differing = [name for name in differing if name not in told]
    trials = trials.assign(**{name: trials[name].map(plain) for name in differing})
    if lists:
        trials = trials.assign(**{RATE: trials[lists[0]]})
    conditions = [RULE, NOISE, *differing, *([RATE] if lists else [])]
    if alike(trials, conditions).any():
        trials = trials.assign(**{ORDER: trials["phases"].map(plain)})
        conditions.append(ORDER)
    if (twice := alike(trials, conditions)).any():
        raise ResultsError(
            f"{store.address}: trials {' and '.join(trials['trial_id'][twice].head(2))} stand for the same condition; "
            "one of them is a copy, or not of this study"
        )
    of_noise = [name for name in conditions if name.rpartition(".")[0] in noises]
    return trials, conditions, of_noise + ([RATE] if lists and lists[0].rpartition(".")[0] in noises else [])


def _strings(values: Iterable[str]) -> pa.Array:
    return pa.array(sorted(values), pa.string())
