"""Parts as they are read from a store: each checked and named in what is wrong with it, several at a time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metafa.errors import PartError
from metafa.results.columns import TABLES
from metafa.results.parts import decode, read_metadata
from metafa.results.sealing import sealed
from metafa.results.store import Store

HELD_BYTES = 2**27  # of parts that are read whole, at a time
READERS, LOCAL_READERS = 16, 2  # parts read at a time: more would take each other's interpreter
ITEMS = 16  # of them by each reader, one after the other
Item = TypeVar("Item")
Made = TypeVar("Made")


def read_part(store: Store, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part. Raises `PartError`."""
    return decode_part(name, store.read(name), columns)


def decode_part(name: str, content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part that has this content, and may be anybody's. Raises `PartError`."""
    with naming(name):
        return decode(undamaged(content), name.partition("/")[0], columns)


def decode_own_measurements(trial_id: str, content: bytes) -> pa.Table:
    """The rows of a trial's part of `measurements`. Raises `PartError`."""
    name = f"measurements/{trial_id}.parquet"
    table = decode_part(name, content)
    if set(pc.unique(table["trial_id"]).to_pylist()) - {trial_id}:
        raise PartError(f"{name} is of another trial")
    return table


def undamaged(content: bytes) -> bytes:
    """The content of a part, if it is as it was written: a flipped bit might read as another number. Raises
    `PartError`."""
    if not sealed(content):
        raise PartError("is damaged")
    return content


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Has what is wrong with a part begin with its name."""
    try:
        yield
    except PartError as error:
        raise PartError(f"{name} {error}") from error


def for_each(store: Store, do: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """What ``do`` makes of each item, several at a time: of an object store most of it is waiting."""
    some = [items[i : i + ITEMS] for i in range(0, len(items), ITEMS)]
    with ThreadPoolExecutor(LOCAL_READERS if store.local else READERS) as pool:
        return [one for made in pool.map(lambda group: [do(item) for item in group], some) for one in made]


def read_contents(store: Store, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The content of each of these files that is there."""

    def read(name: str) -> tuple[str, bytes | None]:
        with contextlib.suppress(FileNotFoundError):
            return name, store.read(name)
        return name, None

    sizes = {f"{table}/{name}": size for table in TABLES for name, size in store.sizes(table).items()}
    some, held = list[str](), 0  # no more of them than that are held at once
    for name in itertools.chain(names, [None]):
        if name is not None:
            some.append(name)
            held += sizes.get(name, 0)
        if name is None or held >= HELD_BYTES or len(some) >= READERS * ITEMS:
            yield from ((one, content) for one, content in for_each(store, read, some) if content is not None)
            some, held = [], 0


def metadata_of(content: bytes) -> pq.FileMetaData:
    return read_metadata(pa.BufferReader(content))
