"""Upkeep, under a lease: compaction, and finishing and clearing away what was interrupted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from metafa.results import heartbeat, leases
from metafa.results.columns import TABLES
from metafa.results.compaction import put_together, take_the_place
from metafa.results.damage import as_results_errors, reason, unwritten
from metafa.results.listing import COMPACTED, OWN, PARTIAL, stands
from metafa.results.mending import mend
from metafa.results.pairs import find_entangled, parts_and_pairs, retried
from metafa.results.publishing import put_row
from metafa.results.reading import metadata_of, naming, undamaged
from metafa.results.rows import as_tables, carried
from metafa.results.sealing import sealed
from metafa.results.store import BEING_WRITTEN, Store
from metafa.results.tables import published

PLAN = ".compacting.json"  # of a compaction, as earlier versions left it when they were interrupted
ABANDONED = 60.0  # seconds, after which a file that is being written is taken for left behind


def compact(store: Store, driver: leases.Driver | None = None) -> int:
    """Puts small parts of finished trials together, and returns how many there were.

    It may be interrupted, and others may read, write and compact beside it: of those who compact at once, the others
    wait. Raises `ResultsError` where a part is damaged.
    """
    with _upkeep(store, driver, "puts parts together"):
        tidy(store)
        return put_together(store)


def remove_damaged(store: Store, driver: leases.Driver | None = None) -> list[str]:
    """Takes damaged parts, and parts without their fellow in the other table, out of both tables, so that their trials
    are to be done; says which, a sentence each. Finishes what others have left unfinished."""
    sentences = mend(store)  # which reads everything, and others need not wait for
    look_after(store, driver)
    return sentences


def look_after(store: Store, driver: leases.Driver | None = None) -> None:
    """Finishes what others have left unfinished."""
    with _upkeep(store, driver, "clears up"):
        tidy(store)


@contextlib.contextmanager
def _upkeep(store: Store, driver: leases.Driver | None, doing: str) -> Iterator[None]:
    """Within it this process looks after the files of the results, and no other does."""
    with contextlib.ExitStack() as stack:
        try:
            if driver is None:
                driver = stack.enter_context(leases.driver(store, lambda: heartbeat.now(doing)))
            stack.enter_context(driver.holding(leases.UPKEEP))
        except OSError as error:
            raise unwritten(store, reason(error)) from error
        leases.clear(driver)
        with as_results_errors(store):
            yield


def tidy(store: Store) -> None:
    """Finishes compactions that were interrupted, puts missing rows into `trials`, and clears away what is left of
    writing that was interrupted. Who holds the lease does so; should two, no row is lost."""
    for folder in ("", *TABLES, PARTIAL, leases.FOLDER, heartbeat.FOLDER):
        for name in store.names(folder):
            file = f"{folder}/{name}" if folder else name
            if BEING_WRITTEN.fullmatch(name) and store.age(file) > ABANDONED:
                # a whole part may have been on its way back to its place
                if folder in TABLES and OWN.fullmatch(final := name[1:].rpartition(".")[0]):
                    content = store.read(file)
                    if sealed(content):
                        store.create(f"{folder}/{final}", content, durable=True)
                store.remove(file)
    end_begun(store)
    found, compacted = retried(parts_and_pairs)(store)
    own, entangled = set(found.own) | found.rows, find_entangled(compacted)
    for pair in compacted:
        covered = [trial_id for trial_id in pair.trial_ids if trial_id in own]
        if pair.name in found.compacted and (covered or found.compacted[pair.name] != (pair.name, pair.name)):
            with contextlib.suppress(FileNotFoundError):  # somebody else finishes it
                for table in TABLES:
                    with naming(found.path(table, pair.name)):
                        undamaged(store.read(found.path(table, pair.name)))
                # of pairs with trials in common one stays hidden until they are one: who reads the folder would find
                # those trials in both
                take_the_place(
                    store, pair.name, [f"{trial_id}.parquet" for trial_id in covered], show=pair not in entangled
                )
    if entangled:
        put_together(store, entangled_alone=True)
    known = {trial_id for pair in compacted for trial_id in pair.trial_ids}
    for trial_id in found.own:
        if trial_id not in found.rows and trial_id not in known:
            with contextlib.suppress(FileNotFoundError):
                name = f"measurements/{trial_id}.parquet"
                content = store.read(name)
                with naming(name):
                    row = carried(metadata_of(undamaged(content)))
                if row is not None:
                    put_row(store, trial_id, *as_tables([row]))
                elif store.age(name) > ABANDONED:  # of an earlier version, which was interrupted
                    store.remove_same(name, content)
    for trial_id in published(store, found.failed) if found.failed else ():
        store.remove(f"trials/failed-{trial_id}.parquet")
    _clear_after(store, known | (set(found.own) & found.rows))


def _clear_after(store: Store, done: set[str]) -> None:
    """Removes what trials that are ``done`` left on their way, and what earlier versions kept beside the tables."""
    for folder in (PARTIAL, leases.FOLDER):
        for name in store.names(folder):
            if (match := re.search("[0-9a-f]{16}", name)) and match[0] in done:
                store.remove(f"{folder}/{name}")
    for name in (PLAN, "progress.json"):
        store.remove(name)


def end_begun(store: Store) -> None:
    """Ends compactions that never came to count, and removes what is left where one was renamed by a copy."""
    sizes = store.sizes("measurements"), store.sizes("trials")
    for table, names in zip(reversed(TABLES), sizes, strict=True):
        for match in map(COMPACTED.fullmatch, names):
            if match and match[1] and match[2] in names:
                store.remove(f"{table}/{match[0]}")
    files = [{match[2]: match[0] for match in map(COMPACTED.fullmatch, some) if match} for some in sizes]
    for name in files[0].keys() - files[1].keys():
        if files[0][name] == name:  # it came to count, and its rows are in another pair since
            if not stands(store, "trials", name):
                store.remove(f"measurements/{name}")
        # who began it may go on: first of all that has to be kept from counting
        elif not stands(store, "trials", name) and store.create(f"trials/.{name}", b""):
            _end(store, name)
    for name, file in files[1].items():
        if file != name and not sizes[1][file]:
            _end(store, name)
        elif file != name and not stands(store, "measurements", name):
            store.remove(f"trials/{file}")


def _end(store: Store, name: str) -> None:
    store.remove(f"measurements/.{name}")
    store.remove(f"trials/.{name}")
