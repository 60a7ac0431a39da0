"""The digest of a part, between its pages and its footer, by which a damaged one is found."""

from __future__ import annotations

import hashlib

DIGEST_BYTES = 16


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
