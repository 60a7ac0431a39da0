"""Deaths of a trial's process: their causes in words, and how often one is tried again."""

from __future__ import annotations

import json
import re

from metafa.results.sealing import DIGEST_BYTES
from metafa.results.store import Store
from metafa.running import ray_internals

ATTEMPTS = 3  # at a trial whose process dies, without getting further than a checkpoint
DEATHS = 20  # of a trial's process, however far it got
DEATHS_BYTES = 100_000  # of what is kept of them, far more than they take
OUT_OF_MEMORY = "out of memory, and Ray's monitor killed it"
NODE_LOST = "its node was lost"
TOLD_TO_STOP = "SIGTERM, SIGHUP or SIGINT ended it"
# what Ray says of a process that died, and what that comes to
CAUSES = (
    (r"OutOfMemoryError|due to the node running low on memory", OUT_OF_MEMORY),
    (r"node has died|NodeDiedError|actor \w+ is unavailable", NODE_LOST),
    (r"receives? a SIG(TERM|HUP|INT)", TOLD_TO_STOP),
    (r"exit code (?P<code>\d+)", "it exited with status {code}"),
    (r"\*\*\* (?P<signal>SIG[A-Z]+) received", "{signal} killed it"),
    (r"connection error code", "it was killed, as by SIGKILL or by a system that is short of memory"),
)
NO_DEATHS = (NODE_LOST, TOLD_TO_STOP)  # of a trial's own process: whatever ran there would have died


def noted_deaths(store: Store, partial: str) -> list[tuple[str, str]]:
    """The deaths of a trial's process that count: each one's cause in words, and the digest of the checkpoint that it
    left. None where nobody has noted any, or what is noted cannot be read."""
    path = store.path(f"{partial}.json")
    try:
        there = store.filesystem.get_file_info(path)
        if not there.is_file or there.size > DEATHS_BYTES:
            return []
        with store.filesystem.open_input_file(path) as file:
            noted = json.loads(file.read(DEATHS_BYTES))["deaths"]
        return [("".join(filter(str.isprintable, str(cause)))[:200], str(place)) for cause, place in noted]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def checkpoint_digest(store: Store, partial: str) -> str:
    """The digest of a trial's checkpoint, which is at its end; empty where there is none."""
    try:
        with store.filesystem.open_input_file(store.path(f"{partial}.safetensors")) as file:
            return file.read_at(DIGEST_BYTES, max(0, file.size() - DIGEST_BYTES)).hex()
    except OSError:
        return ""


def why_given_up(deaths: list[tuple[str, str]], place: str) -> str | None:
    """What to say of a trial whose process has died too often in the place where it is."""
    causes = [cause for cause, where in deaths if where == place]
    if len(causes) < ATTEMPTS:
        return None
    return f"its process died in each of {ATTEMPTS} attempts: {'; '.join(dict.fromkeys(causes[-ATTEMPTS:]))}"


def cause_of_death(failure: str) -> str:
    """Why a trial's process died, in words, from what Ray said of that."""
    if process := re.search(r"\bpid: (\d+)", failure):
        failure += ray_internals.log_of_process(process[1])
    for pattern, words in CAUSES:
        if matched := re.search(pattern, failure):
            return words.format(**matched.groupdict())
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", failure).splitlines() if line.strip()]
    # a traceback ends with the exception, and Ray's own words begin with what matters
    place = -1 if any(line.startswith(("Traceback", 'File "')) for line in lines) else 0
    return lines[place][:200] if lines else "it was killed"
