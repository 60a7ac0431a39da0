"""What is said of results that are damaged, or cannot be read or written."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from metafa.errors import PartError, ResultsError
from metafa.results.listing import every_part
from metafa.results.reading import read_contents
from metafa.results.sealing import sealed
from metafa.results.store import Store

OURS = re.compile(r"[/\\](metafa|analysis)[/\\](\w+[/\\])?\w+\.py$")  # files of metafa


def damage_sentence(store: Store, error: Exception) -> str:
    """Which parts cannot be read, and what to do about it."""
    bad = [name for name, content in read_contents(store, every_part(store)) if not sealed(content)]
    if not bad:
        return f"{store.address}{'/' if isinstance(error, PartError) else ': '}{reason(error)}"
    more = f" and {len(bad) - 3} more parts" if len(bad) > 3 else ""
    return (
        f"{store.address}: damaged: {', '.join(bad[:3])}{more}; `metafa run STUDY` with the same study takes what is "
        "damaged out, and runs its trials again"
    )


@contextlib.contextmanager
def as_results_errors(store: Store) -> Iterator[None]:
    """Has what cannot be read of results end as `ResultsError`."""
    try:
        yield
    except (PartError, pa.ArrowException) as error:
        raise ResultsError(damage_sentence(store, error)) from error


@contextlib.contextmanager
def of_a_study(which: str) -> Iterator[None]:
    """Within it, whatever fails over results raises `ResultsError`, which names the place in metafa: their types and
    names are checked where they are read, and not that rows, settings and study fit each other."""
    try:
        yield
    except (ResultsError, OSError):
        raise
    except Exception as error:
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if OURS.search(frame.filename)]
        place = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
        said = (str(error).splitlines() or [""])[0][:200]
        raise ResultsError(
            f"{which}: the tables hold what no study of metafa writes ({type(error).__name__}{place}: {said})"
        ) from error


def unwritten(store: Store, why: str) -> ResultsError:
    """What is said where results cannot be written any more."""
    return ResultsError(
        f"{store.address} cannot be written: {why}; nothing that was done is lost, and when it can be written again "
        "the same command continues"
    )


def reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
