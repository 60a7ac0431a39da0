"""Where files stand, a folder or an object store: each appears whole or not at all, and is known to be undamaged."""

from __future__ import annotations

from metafa.errors import StoreError
import contextlib
import errno
import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pyarrow import fs

from metafa.results import files

DIGEST_BYTES = 16
PARTIAL = re.compile(r"\..*\.[0-9a-f]{32}")  # a file that is being written, in a folder; hidden from its readers
ATTEMPTS = 3  # at placing a file whose partial one somebody cleared away meanwhile
OF_PYARROW = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs")  # what it opens by itself
OF_THIS_PROCESS = ("memory", "mem", "mock")  # addresses of what no other process ever sees
HIDDEN = "***"  # in place of a key
SECRET_LETTERS = 4  # at least, of what is hidden wherever it stands
KNOWN_OPTIONS = ("scheme", "region", "endpoint_override", "allow_bucket_creation", "allow_bucket_deletion")
"""What an address may say after its question mark that is nobody's secret."""


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
        """The content of a file of at most so many bytes. Raises OSError, FileNotFoundError among them."""
        if self.local:
            return files.read(self.path(name), limit)
        with self.filesystem.open_input_file(self.path(name)) as file:
            if file.size() > limit:
                raise OSError(errno.EFBIG, f"it is larger than the {limit:,} bytes that such a file has at most", name)
            return file.read()

    def put(self, name: str, content: bytes, durable: bool = False) -> None:
        """Puts a file in place, whole, over any that was there. ``durable``: it then survives a power cut, where the
        store does not promise that by itself. Raises OSError, and then has changed nothing."""
        if self.local:
            self._place(name, content, durable, os.replace)
            return
        with self.filesystem.open_output_stream(self.path(name)) as file:
            file.write(content)

    def create(self, name: str, content: bytes, durable: bool = False) -> bool:
        """As `put`, where there is no such file, and says whether that was so: of several who create the same file at
        once, on any machines, one does. Where the store cannot tell them apart, as `tells_apart` says, more may."""
        if self.local:
            return self._place(name, content, durable, _link)
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
                return self._place(name, b"", False, os.link) and not self._place(name, b"", False, _link)
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
                    _sync_folder(folder)
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
            _sync_folder(self.root)

    def age(self, name: str) -> float:
        """How long ago a file was written, in seconds, by the clock here; 0 where it is not there."""
        found = self.filesystem.get_file_info(self.path(name))
        return max(0.0, time.time() - found.mtime_ns / 1e9) if found.mtime_ns else 0.0

    def rename(self, old: str, new: str) -> None:
        """Raises FileNotFoundError where there is no ``old`` any more."""
        self._check(old)
        self.filesystem.move(self.path(old), self.path(new))

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
                _link(aside, self.path(name))
            os.unlink(aside)
            return same
        except FileNotFoundError:
            return False


def _link(partial: str, path: str) -> bool:
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


def _sync_folder(folder: str) -> None:
    """Has a folder's entries written to the disk; systems without folders to open do so by themselves."""
    with contextlib.suppress(OSError):
        found = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(found)
        finally:
            os.close(found)


def at(address: str | Path) -> Store:
    """The store at ``address``: a path, or what pyarrow or fsspec know, such as ``s3://bucket/folder``. Raises
    `StoreError`."""
    address = str(address)
    scheme, found, _ = address.partition("://")
    if not found:
        root = os.path.abspath(address)
        return Store(address, fs.LocalFileSystem(), root, root)
    if not set(re.split("::|://", address)[:-1]).isdisjoint(OF_THIS_PROCESS):
        raise StoreError(
            f"{shown(address)} is of one process alone, and nothing is kept there: give a folder or a store"
        )
    try:
        filesystem, root = fs.FileSystem.from_uri(address)
    except Exception as error:  # each kind of address has its own
        if scheme in OF_PYARROW:
            said = hidden(str(error), address).splitlines()[0]
            raise StoreError(f"{shown(address)} cannot be opened: {said}") from error
        try:
            import fsspec

            inner, root = fsspec.core.url_to_fs(address)
            filesystem = fs.PyFileSystem(fs.FSSpecHandler(inner))
        except Exception as error:
            said = (hidden(str(error), address).splitlines() or [type(error).__name__])[0]
            raise StoreError(f"{shown(address)} cannot be opened: {said}") from error
    root = root.rstrip("/")
    if not root:
        raise StoreError(f"{shown(address)} names no folder in it: give one, such as s3://BUCKET/FOLDER")
    if isinstance(filesystem, fs.LocalFileSystem):  # file://
        return Store(root, filesystem, root, root)
    return Store(shown(address), filesystem, root, address, _exclusive(address, filesystem, root.partition("/")[0]))


def _exclusive(address: str, filesystem: fs.FileSystem, bucket: str) -> Callable[[str, bytes], bool] | None:
    """How a file is put where there is none, in a store that knows conditional puts: pyarrow knows none."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("s3", "gs", "gcs", "abfs", "abfss", "az"):
        return None
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError
    from obstore.store import S3Store, from_url

    try:
        if isinstance(filesystem, fs.S3FileSystem):
            store: Any = S3Store(bucket, **_as_of(filesystem))
        else:
            store = from_url(f"{scheme}://{rest.partition('/')[0]}")
    except (BaseError, ValueError, TypeError):
        return None

    def create(path: str, content: bytes) -> bool:
        name = path.removeprefix(f"{bucket}/")
        try:
            obstore.put(store, name, content, mode="create")
        except AlreadyExistsError:  # which may be our own doing, of which the answer was lost
            return bool(content) and bytes(obstore.get(store, name).bytes()) == content
        except BaseError as error:
            raise OSError(str(error).splitlines()[0]) from error
        return True

    return create


def _as_of(filesystem: fs.S3FileSystem) -> dict[str, Any]:
    """The settings of a bucket as pyarrow has found them in its address and in the environment."""
    said = filesystem.__reduce__()[1][0]
    settings: dict[str, Any] = {"region": said["region"]}
    if said["access_key"]:
        keys = dict(access_key_id=said["access_key"], secret_access_key=said["secret_key"])
        settings |= keys | ({"session_token": said["session_token"]} if said["session_token"] else {})
    elif said["anonymous"]:
        settings |= {"skip_signature": True}
    else:
        with contextlib.suppress(ImportError):  # which knows profiles as pyarrow does; without it, the environment
            from obstore.auth.boto3 import Boto3CredentialProvider

            settings |= {"credential_provider": Boto3CredentialProvider()}
    if said["endpoint_override"]:
        endpoint = said["endpoint_override"]
        settings |= {"endpoint": endpoint if "://" in endpoint else f"{said['scheme']}://{endpoint}"}
    return settings | {"client_options": {"allow_http": said["scheme"] == "http"}}


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
