"""The addresses of stores: which one opens what, and how each is shown without anybody's keys."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pyarrow import fs

from metafa.errors import ResultsError, StoreError
from metafa.results import files
from metafa.results.store import Store

OF_PYARROW = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs")  # what it opens by itself
OF_THIS_PROCESS = ("memory", "mem", "mock")  # addresses of what no other process ever sees
HIDDEN = "***"  # in place of a key
SECRET_LETTERS = 4  # at least, of what is hidden wherever it stands
KNOWN_OPTIONS = (
    *("scheme", "region", "endpoint_override", "allow_bucket_creation", "allow_bucket_deletion"),
    "retry_limit_seconds",
)
"""What an address may say after its question mark that is nobody's secret."""

RETRY_SECONDS = 60  # a store of Google's that does not answer; pyarrow itself would try for 15 minutes, deaf to signals


def at(address: str | Path) -> Store:
    """The store at ``address``: a path, or what pyarrow or fsspec know, such as ``s3://bucket/folder``. Raises
    `StoreError`."""
    address = str(address)
    if "\0" in address:
        raise StoreError(f"{shown(address)!r} names no folder: a name has no character of code 0")
    scheme, found, _ = address.partition("://")
    if not found:
        root = os.path.abspath(address)
        return Store(address, fs.LocalFileSystem(), root, root)
    if not set(re.split("::|://", address)[:-1]).isdisjoint(OF_THIS_PROCESS):
        raise StoreError(
            f"{shown(address)} is of one process alone, and nothing is kept there: give a folder or a store"
        )
    try:
        filesystem, root = fs.FileSystem.from_uri(_with_retry_limit(address))
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
    return Store(shown(address), filesystem, root, address, *_requests(address, filesystem, root.partition("/")[0]))


def _with_retry_limit(address: str) -> str:
    """``address`` with a limit to retries where its kind of store has one and the address names none."""
    if not address.startswith(("gs://", "gcs://")) or "retry_limit_seconds=" in address:
        return address
    return f"{address}{'&' if '?' in address else '?'}retry_limit_seconds={RETRY_SECONDS}"


def open_store(address: str | Path) -> Store:
    """The store at ``address``. Raises `ResultsError`."""
    try:
        return at(address)
    except StoreError as error:
        raise ResultsError(str(error)) from error


def _requests(
    address: str, filesystem: fs.FileSystem, bucket: str
) -> tuple[Callable[[str, bytes], bool] | None, Callable[[str, int], bytes] | None]:
    """How a file is put where there is none, in a store that knows conditional puts, and how it is read by a single
    request: pyarrow knows no such puts, and asks S3 for a file's size first, and then for its content, which may be
    another's by then."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("s3", "gs", "gcs", "abfs", "abfss", "az"):
        return None, None
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
    from obstore.store import S3Store, from_url

    try:
        if isinstance(filesystem, fs.S3FileSystem):
            store: Any = S3Store(bucket, **_as_of(filesystem))
        else:
            store = from_url(f"{scheme}://{rest.partition('/')[0]}")
    except (BaseError, ValueError, TypeError):
        return None, None

    def create(path: str, content: bytes) -> bool:
        name = path.removeprefix(f"{bucket}/")
        try:
            obstore.put(store, name, content, mode="create")
        except AlreadyExistsError:  # which may be our own doing, of which the answer was lost
            return bool(content) and bytes(obstore.get(store, name).bytes()) == content
        except BaseError as error:
            raise OSError(str(error).splitlines()[0]) from error
        return True

    def read(path: str, limit: int) -> bytes:
        try:
            found = obstore.get(store, path.removeprefix(f"{bucket}/"))
            files.check_size(path, found.meta["size"], limit)
            return bytes(found.bytes())
        except (FileNotFoundError, NotFoundError) as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
        except BaseError as error:
            raise OSError(str(error).splitlines()[0]) from error

    return create, read if isinstance(filesystem, fs.S3FileSystem) else None


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
