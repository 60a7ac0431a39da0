"""Where files stand, a folder or an object store: each appears whole or not at all, and is known to be undamaged."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pyarrow import fs

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

DIGEST_BYTES = 16
HIDDEN = "***"  # in place of a key
SECRET_LETTERS = 4  # at least, of what is hidden wherever it stands
KNOWN_OPTIONS = ("scheme", "region", "endpoint_override", "allow_bucket_creation", "allow_bucket_deletion")
"""What an address may say after its question mark that is nobody's secret."""


class StoreError(Exception):
    """A store that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Store:
    """A folder of files: its address as it is shown, without anybody's keys, its filesystem and its path there, and the
    address by which any process on any machine opens it."""

    address: str
    filesystem: fs.FileSystem
    root: str
    opened: str

    @property
    def local(self) -> bool:
        """Whether a file is put in place by a rename; elsewhere a put is a single one by itself."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def names(self, folder: str) -> list[str]:
        """The names of the files in ``folder``, hidden ones among them."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path(folder), allow_not_found=True))
        return sorted(info.base_name for info in found if info.is_file)

    def exists(self, name: str) -> bool:
        return self.filesystem.get_file_info(self.path(name)).type != fs.FileType.NotFound

    def read(self, name: str) -> bytes:
        """Raises OSError, FileNotFoundError among them."""
        with self.filesystem.open_input_file(self.path(name)) as file:
            return file.read()

    def put(self, name: str, content: bytes) -> None:
        """Puts a file in place, whole, over any that was there. Raises OSError, and then has changed nothing."""
        path = self.path(name)
        folder, _, base = path.rpartition("/")
        if not self.local:
            with self.filesystem.open_output_stream(path) as file:
                file.write(content)
            return
        partial = f"{folder}/.{base}.{uuid.uuid4().hex}"  # hidden: readers of a folder pass it by
        try:
            Path(partial).write_bytes(content)
            os.replace(partial, path)
        except OSError as error:
            error.filename, error.filename2 = path, None  # which a full disk does not say
            raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)

    def make_folders(self, *names: str) -> None:
        """Object stores have none: there, names alone tell."""
        if self.local:
            for name in names:
                os.makedirs(self.path(name), exist_ok=True)

    def age(self, name: str) -> float:
        """How long ago a file was written, in seconds, by the clock here; 0 where it is not there."""
        found = self.filesystem.get_file_info(self.path(name))
        return max(0.0, time.time() - found.mtime_ns / 1e9) if found.mtime_ns else 0.0

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Of those in it, on all machines that share the folder, one at a time; the others wait. Object stores and some
        filesystems know no locks: there, nobody waits."""
        if not self.local or fcntl is None or not os.path.isdir(self.root):
            yield
            return
        folder = os.open(self.root, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def rename(self, old: str, new: str) -> None:
        self.filesystem.move(self.path(old), self.path(new))

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(name))


def at(address: str | Path) -> Store:
    """The store at ``address``: a path, or what pyarrow or fsspec know, such as ``s3://bucket/folder``. Raises
    `StoreError`."""
    address = str(address)
    if "://" not in address:
        root = os.path.abspath(address)
        return Store(address, fs.LocalFileSystem(), root, root)
    try:
        filesystem, root = fs.FileSystem.from_uri(address)
    except (ValueError, OSError):
        try:
            import fsspec

            inner, root = fsspec.core.url_to_fs(address)
            filesystem = fs.PyFileSystem(fs.FSSpecHandler(inner))
        except (ImportError, ValueError, OSError) as error:
            said = hidden(str(error), address).splitlines()[0]
            raise StoreError(f"{shown(address)} cannot be opened: {said}") from error
    return Store(shown(address), filesystem, root.rstrip("/"), address)


def shown(address: str) -> str:
    """``address`` without anybody's keys: neither those before its host, which may hold any letter, nor those in its
    query, of which only what is known to be none is shown."""
    scheme, found, rest = address.partition("://")
    if not found:
        return address
    place, *query = re.split("([?&#;])", rest)
    options = [query[i].partition("=") for i in range(1, len(query), 2)]
    authority = place.partition("/")[0]
    of_key = ":" in authority.partition("@")[0]
    if any("@" in said and not name.isidentifier() for name, *said in options) or (
        of_key and "@" not in place and "@" in rest
    ):
        return f"{scheme}://{HIDDEN}"  # a key with a question mark in it, so that it cannot be told where it ends
    if of_key:  # which may hold slashes, as half of those of S3 do
        place = place.rpartition("@")[2]
    elif "@" in authority:
        place = place[authority.rindex("@") + 1 :]
    for i, (name, said, value) in enumerate(options):
        value = shown(f"://{value}")[3:] if name.lower() in KNOWN_OPTIONS else HIDDEN
        query[2 * i + 1] = name + said + value if said else name if name.isidentifier() else HIDDEN * bool(name)
    return f"{scheme}://{place}{''.join(query)}"


def hidden(text: str, address: str) -> str:
    """``text``, such as what a library says of ``address``, without the keys in that, wherever they are repeated."""
    kept = shown(address)
    text = text.replace(address, kept)
    known = set(re.split(r"[:/@?&#;=]+", kept))
    secrets = {piece for piece in re.split(r"[:/@?&#;=]+", address) if len(piece) >= SECRET_LETTERS} - known
    for piece in sorted(secrets | {unquote(piece) for piece in secrets}, key=len, reverse=True):
        text = text.replace(piece, HIDDEN)
    return text


def seal(parquet: bytes) -> bytes:
    """``parquet`` with a digest of all of it between its pages and its footer, where readers do not look: they find
    the pages by their places in the footer, and the footer by its length at the end."""
    footer = _footer(parquet)
    return parquet[:footer] + digest(parquet[:footer], parquet[footer:]) + parquet[footer:]


def sealed(content: bytes) -> bool:
    """Whether ``content`` is, to the bit, what `seal` gave."""
    footer = _footer(content)
    pages = footer - DIGEST_BYTES
    return pages > 0 and content[pages:footer] == digest(content[:pages], content[footer:])


def _footer(parquet: bytes) -> int:
    return len(parquet) - 8 - int.from_bytes(parquet[-8:-4], "little")


def digest(*parts: bytes) -> bytes:
    """By which a part or a checkpoint is known to be as it was written."""
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        found.update(part)
    return found.digest()
