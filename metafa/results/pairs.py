"""Compacted pairs: which trials are to be read from which, and reading that begins again while they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from metafa.errors import PartError, ResultsError
from metafa.results.damage import damage_sentence, reason
from metafa.results.listing import LISTINGS, Parts, find_parts
from metafa.results.reading import read_part
from metafa.results.store import Store

PAIRS = 64  # of which is remembered which trials they have
TRIES = 20  # at reading parts that others put together meanwhile
Read = TypeVar("Read")


class Pair(NamedTuple):
    """A pair of compacted parts: which of its trials are to be read from it, and which another pair has as well, as it
    comes to be where a process was taken for gone and went on."""

    name: str
    trial_ids: list[str]
    doubled: list[str]


_known_pairs: dict[tuple[str, str, str], list[str]] = {}
"""The trials of compacted parts that this process has read, by the store and the name: what has one never changes."""


def _trial_ids(store: Store, name: str, file: str) -> list[str]:
    key = (store.address, store.root, name)
    if key not in _known_pairs:
        trial_ids = read_part(store, file, ["trial_id"])["trial_id"].to_pylist()
        if len(set(trial_ids)) < len(trial_ids):
            raise PartError(f"{file} has two rows of one trial")
        if len(_known_pairs) >= PAIRS:
            _known_pairs.clear()
        _known_pairs[key] = trial_ids
    return _known_pairs[key]


def _pairs_of(store: Store, found: Parts) -> list[Pair]:
    pairs, known = [], set[str]()
    for name in sorted(found.compacted):
        trial_ids = _trial_ids(store, name, found.path("trials", name))
        pairs.append(
            Pair(name, [one for one in trial_ids if one not in known], [one for one in trial_ids if one in known])
        )
        known.update(trial_ids)
    return pairs


def parts_and_pairs(store: Store) -> tuple[Parts, list[Pair]]:
    """What there is to be read: parts, and the trials of those that are pairs."""
    for _ in range(LISTINGS):
        found = find_parts(store)
        compacted = _pairs_of(store, found)
        if found.gone <= {trial_id for pair in compacted for trial_id in pair.trial_ids}:
            return found, compacted
    raise ResultsError(f"{store.address}: its parts are removed all the time; try again")


def retried(read: Callable[[Store], Read]) -> Callable[[Store], Read]:
    """``read``, begun again where a part that was listed has been put together with others meanwhile."""

    def until_read(store: Store) -> Read:
        for attempt in range(TRIES):
            try:
                return read(store)
            except FileNotFoundError as error:
                if attempt + 1 == TRIES:
                    raise ResultsError(f"{store.address}: {reason(error)}; try again") from error
                time.sleep(0.01 * attempt)
            except (OSError, pa.ArrowException, PartError) as error:
                raise ResultsError(damage_sentence(store, error)) from error
        raise AssertionError

    return until_read


def find_entangled(compacted: Sequence[Pair]) -> list[Pair]:
    """The pairs that have trials in common with others."""
    doubled = {trial_id for pair in compacted for trial_id in pair.doubled}
    return [pair for pair in compacted if pair.doubled or not doubled.isdisjoint(pair.trial_ids)]


def read_pair(store: Store, found: Parts, pair: Pair, columns: Sequence[str] | None) -> pa.Table:
    file = found.path("trials", pair.name)
    if not pair.doubled:
        return read_part(store, file, columns)
    rows = read_part(store, file, None if columns is None else ["trial_id", *columns])
    return select_columns(rows.filter(of_trials(pair.trial_ids)), columns)


def select_columns(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    return table if columns is None else table.select([name for name in columns if name in table.column_names])


def of_trials(trial_ids: list[str]) -> pc.Expression:
    return pc.field("trial_id").isin(pa.array(trial_ids, pa.string()))
