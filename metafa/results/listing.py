"""The parts that a store has, found by their names: of single trials, of failures, and compacted pairs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from metafa.errors import ResultsError
from metafa.results.columns import TABLES
from metafa.results.store import Store

PARTIAL = "partial"  # the folder of what trials under way keep
LISTINGS = 50  # of both folders, until two agree
OWN = re.compile(r"([0-9a-f]{16})\.parquet")  # a trial's part, by its trial_id
FAILED = re.compile(r"failed-([0-9a-f]{16})\.parquet")  # in `trials`, of a trial that is to be tried again
COMPACTED = re.compile(r"(\.?)(compact-[0-9a-f]{16}\.parquet)")  # hidden until what it takes the place of is gone


class Parts(NamedTuple):
    """Where the rows of both tables are at one moment."""

    own: list[str]
    """By their trial_id, the trials that have a part of `measurements` of their own, whether or not it is published:
    one of an earlier version is where `trials` has its row."""
    rows: set[str]
    """The trials that have a part of `trials` of their own."""
    failed: list[str]
    """The trials that have failed and are to be tried again, unless they are published as well."""
    compacted: dict[str, tuple[str, str]]
    """The pairs of compacted parts: by name, their files in `trials` and in `measurements`."""
    gone: set[str]
    """The trials that had a part of their own just before: one of the pairs has them, unless a listing missed it."""

    def path(self, table: str, name: str) -> str:
        return f"{table}/{self.compacted[name][TABLES.index(table)]}"


def find_parts(store: Store) -> Parts:
    """The parts of both tables. Raises `ResultsError` where a compacted part has lost its fellow."""
    own: set[str] = set()
    seen: Any = None
    for _ in range(LISTINGS):
        # measurements first: what is published is there until a pair that has it stands in both
        measurements, trials = store.names("measurements"), store.names("trials")
        before, seen = seen, (_compacted(store, "trials", trials), _compacted(store, "measurements", measurements))
        were, own = own, {match[1] for match in map(OWN.fullmatch, measurements) if match}
        if before == seen:  # a listing may miss a file that gets another name while it is made
            alone = {name: file for name, file in seen[0].items() if name not in seen[1]}
            if all(
                not stands(store, "measurements", name) and store.exists(f"trials/{file}")
                for name, file in alone.items()
            ):
                break
    else:
        raise ResultsError(f"{store.address}: others put its parts together all the time; try again")
    if lost := [name for name, file in alone.items() if name == file]:
        raise ResultsError(
            f"{store.address}: the measurements of trials/{lost[0]} are lost; `metafa run STUDY` with the same study "
            "runs its trials again"
        )
    owned, rows, failed = (
        [match[1] for match in map(pattern.fullmatch, names) if match]
        for pattern, names in ((OWN, measurements), (OWN, trials), (FAILED, trials))
    )
    files, others = seen
    pairs = {name: (files[name], others[name]) for name in files.keys() & others.keys()}
    return Parts(owned, set(rows), failed, pairs, were - own)


def stands(store: Store, table: str, name: str) -> bool:
    """Whether a compacted part is in a table: hidden at first, and renamed then, so that this is the order to look."""
    return any(store.exists(f"{table}/{dot}{name}") for dot in (".", ""))


def _compacted(store: Store, table: str, names: Iterable[str]) -> dict[str, str]:
    """Of the compacted parts among the files of a table, by their final name, the file: the one that is not hidden,
    where both are there. A hidden part without content counts for nothing: by it somebody has ended an interrupted
    compaction."""
    found = [match for match in map(COMPACTED.fullmatch, sorted(names)) if match]  # a dot comes before letters
    return {match[2]: match[0] for match in found if not match[1] or store.size(f"{table}/{match[0]}")}


def every_part(store: Store) -> list[str]:
    return [
        f"{table}/{name}"
        for table in TABLES
        for name in store.names(table)
        if any(pattern.fullmatch(name) for pattern in (OWN, FAILED, COMPACTED))
    ]


def visible_parts(store: Store, table: str) -> list[str]:
    """The names of the parts of a table, as whoever reads the folder finds them; other files in it are none of ours."""
    visible = (name for name in store.names(table) if not name.startswith("."))
    return [name for name in visible if any(pattern.fullmatch(name) for pattern in (OWN, FAILED, COMPACTED))]


def is_tidy(store: Store) -> bool:
    """Whether whoever reads the folders finds all that is published, once: nothing is left to be finished there."""
    parts_of = [
        {name for name in store.names(table) if OWN.fullmatch(name) or COMPACTED.fullmatch(name)} for table in TABLES
    ]
    return parts_of[0] == parts_of[1] and not any(name.startswith(".") for name in parts_of[0])
