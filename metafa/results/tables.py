"""The tables as they are read: whole, or some columns of some trials."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from metafa.errors import PartError
from metafa.results.addresses import open_store
from metafa.results.columns import CONTINUED, MEASUREMENTS, TABLES, trials_schema
from metafa.results.pairs import of_trials, parts_and_pairs, read_pair, retried
from metafa.results.parts import check_total
from metafa.results.preparation import read_study, study_text
from metafa.results.reading import decode_own_measurements, for_each, metadata_of, naming, read_part
from metafa.results.rows import as_tables, failed_row, own_row
from metafa.results.statuses import FINAL
from metafa.results.store import Store
from metafa.studies.card import card

if TYPE_CHECKING:
    import pandas as pd


class Results(NamedTuple):
    """Both tables of a study."""

    trials: pd.DataFrame
    measurements: pd.DataFrame

    def _repr_html_(self) -> str:
        if self.trials.empty:
            return card("Results", {"trials": "none has ended yet"})
        statuses = ", ".join(f"{n} {status}" for status, n in self.trials["status"].value_counts().items())
        rows = {"trials": statuses or "none"}
        rows["phases"] = ", ".join(map(str, self.measurements["phase"].unique()))
        rows |= {f"shape of {table}": "{} rows, {} columns".format(*getattr(self, table).shape) for table in TABLES}
        return card(f"Results of {', '.join(map(str, self.trials['study'].unique()))}", rows)


def load(address: str | Path) -> Results:
    """The tables at ``address``, a folder or an object store's, as data frames. Raises `ResultsError` where there are
    none, and TypeError where ``address`` is no address."""
    if address is None or isinstance(address, int | float | bytes):
        raise TypeError(f"address: found {type(address).__name__}, expected a folder or the address of a store")
    store = open_store(address)
    study_text(store)
    trials, measurements = (read_table(store, table) for table in TABLES)
    if not trials.num_columns:
        trials = trials_schema(read_study(store)).empty_table()
    # what was published after `trials` was read is left out
    ended = trials.filter(pc.field("status").isin(FINAL))["trial_id"].to_pylist()
    measurements = measurements.filter(of_trials(ended))
    return Results(trials.to_pandas(), measurements.to_pandas())


def read_table(
    store: Store, table: str, columns: Sequence[str] | None = None, filter: pc.Expression | None = None
) -> pa.Table:
    """The rows of a table, of `measurements` those for which ``filter`` holds, in those of ``columns`` that it has;
    without columns where it has no parts. Raises `ResultsError` where a part is damaged."""
    read = partial(_read_trials, columns) if table == "trials" else partial(_read_measurements, columns, filter)
    return retried(read)(store)


def _read_trials(columns: Sequence[str] | None, store: Store) -> pa.Table:
    found, compacted = parts_and_pairs(store)
    known = {trial_id for pair in compacted for trial_id in pair.trial_ids}
    tables = [read_pair(store, found, pair, columns) for pair in compacted]
    own = [one for one in found.own if one not in known]
    rows = for_each(store, partial(own_row, store, found), own)
    known |= {one for one, row in zip(own, rows, strict=True) if row is not None}
    rows += for_each(store, partial(failed_row, store), [one for one in found.failed if one not in known])
    tables += as_tables([row for row in rows if row is not None], columns)
    return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})


def _read_measurements(columns: Sequence[str] | None, filter: pc.Expression | None, store: Store) -> pa.Table:
    found, compacted = parts_and_pairs(store)
    known = {trial_id for pair in compacted for trial_id in pair.trial_ids}
    own = {one for one in found.own if one not in known}
    unsure = sorted(own - found.rows)  # without a row in `trials`, as one that is being published, or never was
    rows = for_each(store, partial(own_row, store, found), unsure)
    own -= {one for one, row in zip(unsure, rows, strict=True) if row is None}
    there = MEASUREMENTS.names if columns is None else [name for name in MEASUREMENTS.names if name in columns]

    values, size, counting = 0, 0, threading.Lock()

    def own_rows(trial_id: str) -> pa.Table:
        nonlocal values, size
        name = f"measurements/{trial_id}.parquet"
        content = store.read(name)
        with naming(name), counting:  # each of many may hold little, and all of them more than there is memory for
            values += metadata_of(content).num_rows * len(MEASUREMENTS)
            size += len(content)
            check_total(values, "measurements", size)
        table = decode_own_measurements(trial_id, content)
        return (table if filter is None else table.filter(filter)).select(there).replace_schema_metadata(None)

    tables = for_each(store, own_rows, sorted(own))
    for pair in compacted:
        name = found.path("measurements", pair.name)
        table = read_part(store, name)
        if set(pc.unique(table["trial_id"]).to_pylist()) - {*pair.trial_ids, *pair.doubled}:
            raise PartError(f"{name} has measurements of trials that its fellow in `trials` does not name")
        chosen = _both(filter, of_trials(pair.trial_ids)) if pair.doubled else filter
        tables.append((table if chosen is None else table.filter(chosen)).select(there).replace_schema_metadata(None))
    return pa.concat_tables(tables) if tables else MEASUREMENTS.empty_table().select(there)


def _both(one: pc.Expression | None, other: pc.Expression) -> pc.Expression:
    return other if one is None else one & other


def rows_of(
    store: Store,
    trial_ids: Collection[str] | None = None,
    but: Collection[str] = (),
    columns: Sequence[str] = CONTINUED,
) -> list[dict[str, Any]]:
    """These columns of `trials` in the rows of these trials, or of all ``but`` some, None in columns that a row lacks.
    Little more than those rows is read. Raises `ResultsError`."""

    def wanted(trial_id: str) -> bool:
        return trial_id not in but if trial_ids is None else trial_id in trial_ids

    def read(store: Store) -> list[dict[str, Any]]:
        found, compacted = parts_and_pairs(store)
        rows: list[dict[str, Any]] = []
        known: set[str] = set()
        for pair in compacted:
            if any(map(wanted, pair.trial_ids)):
                there = read_pair(store, found, pair, sorted({"trial_id", *columns})).to_pylist()
                rows += [dict.fromkeys(columns) | row for row in there if wanted(row["trial_id"])]
            known.update(pair.trial_ids)
        own = [one for one in found.own if wanted(one) and one not in known]
        of_own = [row for row in for_each(store, partial(own_row, store, found), own) if row is not None]
        as_tables(of_own, columns)  # which looks whether they can be
        known.update(row.values["trial_id"] for row in of_own)
        of_failed = for_each(
            store, partial(failed_row, store), [one for one in found.failed if wanted(one) and one not in known]
        )
        return rows + [row.chosen(columns) for row in [*of_own, *of_failed]]

    return retried(read)(store)


def trial_rows(store: Store, columns: Sequence[str] = ("trial_id", "status")) -> list[dict[str, Any]]:
    """The rows of `trials`, None in columns that they lack. Raises `ResultsError`."""
    return rows_of(store, columns=columns)


def statuses(store: Store) -> dict[str, str]:
    """The status of each trial that has a row in `trials`, by its trial_id. Raises `ResultsError`."""
    return {row["trial_id"]: row["status"] for row in trial_rows(store)}


def published(store: Store, trial_ids: Collection[str]) -> set[str]:
    """Those of these trials that are published."""

    def read(store: Store) -> set[str]:
        found, compacted = parts_and_pairs(store)
        known = {one for pair in compacted for one in pair.trial_ids}
        own = [one for one in found.own if one in trial_ids and one not in known]
        return known & set(trial_ids) | {one for one in own if own_row(store, found, one) is not None}

    return retried(read)(store)
