"""Deaths of a trial's process, as they are noted beside its checkpoint."""

import json
from pathlib import Path

import pytest

from metafa.results import addresses
from metafa.results.listing import PARTIAL
from metafa.running import deaths, worker


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"deaths": 3}',
        b'{"deaths": [3]}',
        b'{"deaths": ["abc"]}',
        b'{"deaths": {"a": 1}}',
        b'{"attempts": 2, "place": [0, 0]}',
        b"[" * 90_000,
        b'{"deaths": [' + b"9" * 90_000 + b"]}",
        b'{"deaths": [' + b'["killed", ""],' * 1_000_000 + b'["killed", ""]]}',
    ],
)
def test_what_is_no_list_of_deaths_counts_as_none(tmp_path: Path, content: bytes) -> None:
    place = addresses.at(tmp_path)
    place.make_folders(PARTIAL)
    place.put(f"{PARTIAL}/x.json", content)
    assert deaths.noted_deaths(place, f"{PARTIAL}/x") == []
    assert worker.checkpoint_to_resume(place, f"{PARTIAL}/x") is None


def test_what_is_said_of_deaths_holds_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    place = addresses.at(tmp_path)
    place.make_folders(PARTIAL)
    place.put(f"{PARTIAL}/x.json", json.dumps({"deaths": [["a\x1b[2Jb\n", ""]] * 3}).encode())
    with pytest.raises(RuntimeError, match=r"^its process died in each of 3 attempts: a\[2Jb$"):
        worker.checkpoint_to_resume(place, f"{PARTIAL}/x")
