"""Where files stand, a folder or an object store: each appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from metafa.results import files

BEING_WRITTEN = re.compile(r"\..*\.[0-9a-f]{32}")  # a file that is being written, in a folder; hidden from its readers
ATTEMPTS = 3  # at placing a file whose partial one somebody cleared away meanwhile


@dataclass(frozen=True)
class Store:
    """A folder of files: its address as it is shown, without anybody's keys, its filesystem and its path there, and the
    address by which any process on any machine opens it."""

    address: str
    filesystem: fs.FileSystem
    root: str
    opened: str
    exclusive: Callable[[str, bytes], bool] | None = None
    """In an object store, puts a file at a path where there is none, as one act, and says whether it did; None where
    that is not known to be possible."""
    at_once: Callable[[str, int], bytes] | None = None
    """In an object store, reads a file of at most so many bytes by a single request; None where the filesystem reads no
    file that is half another's."""

    @property
    def local(self) -> bool:
        """Whether a file is put in place by a rename or a link; elsewhere a put is a single one by itself."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def names(self, folder: str) -> list[str]:
        """The names of the files in ``folder``, hidden ones among them."""
        if not self.local:
            return sorted(self.sizes(folder))
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path(folder)) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())
        return []

    def sizes(self, folder: str) -> dict[str, int]:
        """The sizes of the files in ``folder``, in bytes, by name."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        return {info.base_name: info.size for info in self.filesystem.get_file_info(selector) if info.is_file}

    def size(self, name: str) -> int:
        """The size of a file, in bytes; 0 where it is not there."""
        return self.filesystem.get_file_info(self.path(name)).size or 0

    def exists(self, name: str) -> bool:
        if self.local:
            return os.path.lexists(self.path(name))
        return self.filesystem.get_file_info(self.path(name)).type != fs.FileType.NotFound

    def read(self, name: str, limit: int = files.LIMIT) -> bytes:
        """The content of a file of at most so many bytes. Raises OSError, FileNotFoundError among them. Of a file that
        may change while it is read, a limit below `files.LIMIT` is asked for."""
        if self.local:
            return files.read(self.path(name), limit)
        if self.at_once is not None and limit < files.LIMIT:
            return self.at_once(self.path(name), limit)
        with self.filesystem.open_input_file(self.path(name)) as file:
            files.check_size(name, file.size(), limit)
            return file.read()

    def put(self, name: str, content: bytes, durable: bool = False) -> None:
        """Puts a file in place, whole, over any that was there. ``durable``: it then survives a power cut, where the
        store does not promise that by itself. Raises OSError, and then has changed nothing."""
        if self.local:
            self._place(name, content, durable, os.replace)
            return
        handler = getattr(self.filesystem, "handler", None)
        if isinstance(handler, fs.FSSpecHandler):  # a stream of which may show a file before it is whole
            handler.fs.pipe_file(self.path(name), content)
            return
        with self.filesystem.open_output_stream(self.path(name)) as file:
            file.write(content)

    def create(self, name: str, content: bytes, durable: bool = False) -> bool:
        """As `put`, where there is no such file, and says whether that was so: of several who create the same file at
        once, on any machines, one does. Where the store cannot tell them apart, as `tells_apart` says, more may."""
        if self.local:
            return self._place(name, content, durable, link)
        if self.exclusive is not None:
            return self.exclusive(self.path(name), content)
        if self.exists(name):
            return False
        self.put(name, content)
        return True

    def tells_apart(self, name: str) -> bool:
        """Whether `create` is exclusive here, which is tried with a file of this name, that nobody else has."""
        try:
            if self.local:
                return self._place(name, b"", False, os.link) and not self._place(name, b"", False, link)
            return self.exclusive is not None and self.create(name, b"") and not self.create(name, b"")
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                self.remove(name)

    def _check(self, name: str) -> None:
        """Raises OSError where a change would be made elsewhere, since a folder in the store is a link."""
        if self.local and "/" in name:
            files.check_folders(self.root, name.rpartition("/")[0])

    def _place(self, name: str, content: bytes, durable: bool, place: Callable[[str, str], bool | None]) -> bool:
        """Writes a file beside its place, and has ``place`` bring it there. Returns whether it did."""
        self._check(name)
        path = self.path(name)
        folder, _, base = path.rpartition("/")
        for attempt in range(ATTEMPTS):
            partial = f"{folder}/.{base}.{uuid.uuid4().hex}"
            try:
                with open(partial, "xb") as file:
                    file.write(content)
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                placed = place(partial, path) is not False
                if placed and durable:
                    sync_folder(folder)
                return placed
            except FileNotFoundError:  # whoever cleared it away took this process for gone
                if attempt + 1 == ATTEMPTS or not os.path.isdir(folder):
                    raise
            except OSError as error:
                error.filename, error.filename2 = path, None  # which a full disk does not say
                raise
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(partial)
        raise AssertionError

    def make_folders(self, *names: str) -> None:
        """Object stores have none: there, names alone tell."""
        if self.local:
            for name in names:
                os.makedirs(self.path(name), exist_ok=True)
            sync_folder(self.root)

    def age(self, name: str) -> float:
        """How long ago a file was written, in seconds, by the clock here; 0 where it is not there."""
        found = self.filesystem.get_file_info(self.path(name))
        return max(0.0, time.time() - found.mtime_ns / 1e9) if found.mtime_ns else 0.0

    def rename(self, old: str, new: str) -> None:
        """Raises FileNotFoundError where there is no ``old`` any more."""
        self._check(old)
        try:
            self.filesystem.move(self.path(old), self.path(new))
        except OSError as error:  # which S3 says in words of its own
            if isinstance(error, FileNotFoundError) or self.exists(old):
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path(old)) from error

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        self._check(name)
        with contextlib.suppress(FileNotFoundError):
            if self.local:
                os.unlink(self.path(name))
            else:
                self.filesystem.delete_file(self.path(name))

    def remove_same(self, name: str, content: bytes) -> bool:
        """Removes a file, if it still has this content, and says whether it had: one that has taken its place meanwhile
        stays."""
        try:
            if self.read(name) != content:
                return False
            if not self.local:
                self.remove(name)
                return True
            folder, _, base = self.path(name).rpartition("/")
            aside = f"{folder}/.{base}.{uuid.uuid4().hex}"
            os.rename(self.path(name), aside)
            same = Path(aside).read_bytes() == content
            if not same:
                link(aside, self.path(name))
            os.unlink(aside)
            return same
        except FileNotFoundError:
            return False


def link(partial: str, path: str) -> bool:
    """Gives a file a second name, where nobody has that, and says whether nobody had."""
    try:
        os.link(partial, path)
    except FileExistsError:
        # a server that did not hear its own answer refuses what it has done
        return os.path.exists(path) and os.path.samefile(partial, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.exists(path):  # a filesystem without links
            return False
        os.rename(partial, path)
    return True


def sync_folder(folder: str) -> None:
    """Has a folder's entries written to the disk; systems without folders to open do so by themselves."""
    with contextlib.suppress(OSError):
        found = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(found)
        finally:
            os.close(found)
