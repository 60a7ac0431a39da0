"""Deaths of a trial's process: their causes in words, and how often one is tried again."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import ray

from metafa.results.sealing import DIGEST_BYTES
from metafa.results.store import Store

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
            found = json.loads(file.read(DEATHS_BYTES))["deaths"]
        return [("".join(filter(str.isprintable, str(cause)))[:200], str(place)) for cause, place in found]
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


def last_failure(trial: Any) -> str:
    """What Ray said of the last failure of one of Tune's trials, which notes them one after the other."""
    try:
        return Path(trial.error_file).read_text(errors="replace").rpartition("Failure # ")[2].partition("\n")[2].strip()
    except OSError:
        return ""


def cause_of_death(said: str) -> str:
    """Why a trial's process died, in words, from what Ray said of that."""
    process, node = re.search(r"\bpid: (\d+)", said), ray._private.worker._global_node
    if process and node:  # Ray notes in a process's log which signal it caught; where it runs elsewhere, there is none
        for log in Path(node.get_logs_dir_path()).glob(f"worker-*-{process[1]}.err"):
            with contextlib.suppress(OSError):
                said += log.read_text(errors="replace")[-20_000:]
    for pattern, words in CAUSES:
        if found := re.search(pattern, said):
            return words.format(**found.groupdict())
    return next((line.strip()[:200] for line in said.splitlines() if line.strip()), "it was killed")
