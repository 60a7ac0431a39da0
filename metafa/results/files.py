"""Files that somebody else may have put there: only what is a file is read, and nothing is written through a link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from pathlib import Path

LIMIT = 2**30  # bytes of any file that is read whole


def read(path: str | Path, limit: int = LIMIT) -> bytes:
    """The content of a file, or of one that is linked to. Raises OSError, at once: what is no file, such as a named
    pipe or a device, is never waited for, and of one larger than ``limit`` bytes nothing is read."""
    path = os.fspath(path)
    _check_kind(path, os.stat(path))  # some devices do something when they are opened
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        _check_kind(path, found)  # it may be another by now
        # no more is asked for than there is: so much memory may not be given
        content = b"" if found.st_size > limit else file.read(min(limit, max(found.st_size, 2**20)) + 1) or b""
    check_size(path, max(found.st_size, len(content)), limit)
    return content


def check_size(path: str, size: int, limit: int) -> None:
    if size > limit:
        raise OSError(errno.EFBIG, f"it is larger than the {limit:,} bytes that such a file has at most", path)


def _check_kind(path: str, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no file but a pipe, a socket or a device", path)


def check_folders(root: str | Path, name: str) -> None:
    """Raises OSError where a folder on the way from ``root`` to the file or folder ``name`` in it, or that itself, is
    a link: what is written there would be written elsewhere. ``root`` may be reached by links, which its owner set."""
    path = Path(root)
    for part in Path(name).parts:
        path = path / part
        if path.is_symlink():
            raise OSError(
                errno.ELOOP, f"it is a link, to {os.readlink(path)}, through which nothing is written", str(path)
            )


def write(path: str | Path, content: bytes) -> None:
    """Puts a file in place, whole, over any that was there; a link there is replaced, and what it points to stays as it
    is. Raises OSError, and then has changed nothing."""
    path = Path(path)
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
        os.replace(partial, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # which a full disk does not say
        raise
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)
