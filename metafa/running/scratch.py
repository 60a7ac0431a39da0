"""The folder of Ray's temporary files: one for each run that starts its own Ray, which is gone when the run is.

A run holds a lock on its folder for as long as its process lives, and the lock goes with the process, however that
ends. So a folder of this name that nobody holds is one that a killed run has left, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
from dataclasses import dataclass

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = re.compile("metafa_[0-9a-f]{8}")
NAME_BYTES = 15
# of the path of a socket, of which Ray adds 64: a session's name, and a socket's in it
SOCKET_BYTES = {"darwin": 103}.get(sys.platform, 107) - 64
PATIENCE = 5.0  # seconds for Ray's last processes to leave a folder


@dataclass(frozen=True)
class Folder:
    """A folder that this process holds, by a descriptor."""

    path: str
    held: int


def root() -> str:
    """Where Ray's temporary files go on this machine."""
    folder = os.environ.get("RAY_TMPDIR") or (sys.platform.startswith("linux") and os.environ.get("TMPDIR"))
    return os.path.abspath(folder or "/tmp")


def make() -> Folder | None:
    """A new folder in `root`, from which those that killed runs have left are removed. None where paths would be too
    long for sockets or where the system knows no locks: there Ray uses a folder of its own. Raises OSError where
    `root` cannot be written."""
    if fcntl is None or len(os.fsencode(root())) + 1 + NAME_BYTES > SOCKET_BYTES:
        return None
    os.makedirs(root(), exist_ok=True)
    _remove_left(root())
    for _ in range(8):
        path = os.path.join(root(), f"{_prefix()}{secrets.token_hex(2)}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
            if (held := _hold(path)) is not None:
                return Folder(path, held)
            with contextlib.suppress(OSError):  # whoever removes what runs have left was quicker
                os.rmdir(path)
    return None


def remove(folder: Folder) -> None:
    """Removes a folder once Ray's processes have left it, or after some seconds what they leave in peace."""
    until = time.monotonic() + PATIENCE
    while True:
        shutil.rmtree(folder.path, ignore_errors=True)
        if not os.path.lexists(folder.path) or time.monotonic() > until:
            break
        time.sleep(0.05)
    os.close(folder.held)


def _prefix() -> str:
    """Of the folders of this machine: another one's processes cannot be seen from here."""
    return f"metafa_{hashlib.blake2b(socket.gethostname().encode(), digest_size=2).hexdigest()}"


def _remove_left(folder: str) -> None:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if NAME.fullmatch(entry.name) and entry.name.startswith(_prefix())]
        for path in (os.path.join(folder, name) for name in names):
            if (held := _hold(path)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(held)


def _hold(path: str) -> int | None:
    """A descriptor by which this process alone holds a folder of its user; None where it cannot."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and os.path.samestat(status, os.lstat(path)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
