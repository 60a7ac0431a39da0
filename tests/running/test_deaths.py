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


def test_of_an_exception_that_a_process_raised_its_own_line_is_told() -> None:
    """Ray colours the line above it, which says no more than where."""
    failure = (
        '\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=7, ip=127.0.0.1)\n  File "worker.py", line 3, in run\n'
        "    raise StudyError(found)\nmetafa.errors.StudyError: study:4: network.rule: found 'mine'\n"
    )
    assert deaths.cause_of_death(failure) == "metafa.errors.StudyError: study:4: network.rule: found 'mine'"
    assert deaths.cause_of_death("\x1b[31mit was lost\x1b[39m\nsomewhere") == "it was lost"
