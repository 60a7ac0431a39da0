"""Both tables, some trials at a time, for whoever writes them elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pyarrow as pa

from metafa.results.compaction import join_small, small_pair, small_parts
from metafa.results.damage import as_results_errors
from metafa.results.pairs import Pair, parts_and_pairs, retried
from metafa.results.store import Store
from metafa.results.tables import published


def in_parts(store: Store) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The rows of both tables, some trials at a time, every published trial once. Raises `ResultsError`."""
    given: set[str] = set()
    left: set[str] | None = None
    while left is None or left & published(store, left):  # else again for what has been put together meanwhile
        found, compacted = retried(parts_and_pairs)(store)
        known = {trial_id for pair in compacted for trial_id in pair.trial_ids}
        own = [one for one in found.own if one not in known | given]
        pairs = [
            Pair(pair.name, [one for one in pair.trial_ids if one not in given], [*pair.doubled, *given])
            for pair in compacted
            if not given.issuperset(pair.trial_ids)
        ]
        some = itertools.chain((small_pair(store, found, pair) for pair in pairs), small_parts(store, found, own))
        with as_results_errors(store):
            for part in some:
                if part is not None:
                    trials, measurements = join_small([part])
                    given.update(trials["trial_id"].to_pylist())
                    yield trials, measurements
        left = (known | set(own)) - given
