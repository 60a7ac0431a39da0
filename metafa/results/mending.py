"""Mending: what is damaged or has lost its fellow is taken out, or made again."""

from __future__ import annotations

import contextlib

from metafa.results.columns import TABLES
from metafa.results.damage import as_results_errors
from metafa.results.listing import COMPACTED, FAILED, OWN, every_part, stands
from metafa.results.parts import encode
from metafa.results.reading import metadata_of, read_contents, read_part
from metafa.results.rows import Row, as_tables, carried
from metafa.results.sealing import sealed
from metafa.results.store import Store
from metafa.results.tables import published


def mend(store: Store) -> list[str]:
    """Takes out what is damaged or has lost its fellow, and says what, a sentence each. Raises `ResultsError`."""
    with as_results_errors(store):
        return _mended(store)


def _mended(store: Store) -> list[str]:
    sentences = []
    for name, content in read_contents(store, every_part(store)):
        table, _, file = name.partition("/")
        if not sealed(content) and (content or not file.startswith(".")):
            if table == "trials" and OWN.fullmatch(file) and (row := _own_row_again(store, file)) is not None:
                store.put(name, encode(*as_tables([row])))
                sentences.append(f"{name}: damaged; it is made again of measurements/{file}")
                continue
            fellows = [f"{one}/{file}" for one in TABLES if one != table and not FAILED.fullmatch(file)]
            for fellow, there in dict(read_contents(store, fellows)).items():
                store.remove_same(fellow, there)
            store.remove_same(name, content)
            sentences.append(f"{name}: damaged; its trials run again")
    measurements, trials = store.sizes("measurements"), store.sizes("trials")
    hidden = {match[2] for match in map(COMPACTED.fullmatch, measurements) if match}
    for file in sorted(trials.keys() - measurements.keys() - hidden):
        # what stands in `trials` after its measurements are gone has lost them: otherwise it is taken away first
        kept = (OWN.fullmatch(file) or COMPACTED.fullmatch(file)) and not file.startswith(".")
        if kept and not stands(store, "measurements", file) and store.exists(f"trials/{file}"):
            own = OWN.fullmatch(file)
            rows = [own[1]] if own else read_part(store, f"trials/{file}", ["trial_id"])["trial_id"].to_pylist()
            store.remove(f"trials/{file}")
            if not published(store, rows) >= set(rows):
                sentences.append(f"trials/{file}: its measurements are lost; its trials run again")
    return sentences


def _own_row_again(store: Store, file: str) -> Row | None:
    """The row of `trials` that a trial's part of `measurements` carries, if that is whole."""
    with contextlib.suppress(FileNotFoundError):
        content = store.read(f"measurements/{file}")
        return carried(metadata_of(content)) if sealed(content) else None
    return None
