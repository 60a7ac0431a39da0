"""Memory of the process: kept for the next step rather than handed back to the system and asked for again."""

from __future__ import annotations

import contextlib
import ctypes

# from glibc's malloc.h; its manual, mallopt(3), says what they do
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed() -> None:
    """Has glibc keep what is freed, up to 1 GiB, for what is allocated next.

    A training step allocates and frees the same megabytes again and again; handed back each time, they are mapped
    anew page by page, which takes up to a fifth of the step. Does nothing where the C library is another.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # the most it takes
