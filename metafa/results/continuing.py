"""What a study that is continued has to know of its results, and whether it would compute the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metafa.errors import ResultsError
from metafa.results.columns import CONTINUED
from metafa.results.store import Store
from metafa.results.tables import trial_rows
from metafa.studies.settings import NUMERICS


def continued_rows(store: Store) -> list[dict[str, Any]]:
    """What a study that is continued has to know of its trials. Raises `ResultsError` where this version of metafa
    would not compute the same."""
    rows = trial_rows(store, CONTINUED)
    if others := sum(row["numerics"] != NUMERICS for row in rows):
        raise ResultsError(
            f"{store.address} holds {others} trials of this study from a version of metafa with other numerics; "
            "choose another folder with --results, or move that one away"
        )
    return rows


def digests_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The digests of the images that rows of `trials` are of, by the names of `settings.image_needs`."""
    found: dict[str, str] = {}
    for said in {row["data"] for row in rows} - {None}:
        found |= json.loads(said)
    return found


def check_images(store: Store, rows: Sequence[Mapping[str, Any]], digests: Mapping[str, str]) -> None:
    """Raises `ResultsError` where rows of ``store`` are of other images than those that have these digests."""
    for said, number in Counter(row["data"] for row in rows if row["data"]).items():
        for name, digest in json.loads(said).items():
            if digests.get(name, digest) != digest:
                _, of, part = name.split("/")
                made = (
                    "; the installed matplotlib drew those, and glyphs now come with metafa" if of == "glyphs" else ""
                )
                raise ResultsError(
                    f"{store.address} holds {number} trials over other {part} images of {of}: those had the digest "
                    f"{digest}, those here have {digests[name]}{made}; choose another folder with --results, or put "
                    "the images of before back"
                )
