"""Signals that stop the command: Ctrl-C, SIGTERM as SLURM, Kubernetes and `kill` send it, SIGHUP of a terminal that
closes. Each raises KeyboardInterrupt, and the command ends in a sentence and with 128 + its number, as shells expect.

Nothing here imports more than Python's own, so that it stands from the command's first moment.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

SENTENCE = "metafa: stopped; what is done is kept, and the same command continues"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_received: int | None = None  # the first of them
_held = False


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _received
    _received = _received or number
    if not _held:
        raise KeyboardInterrupt


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it no signal interrupts, so that what has to be tidied up is. Raises KeyboardInterrupt at its end where
    the first one came meanwhile."""
    global _held
    before, _held = _received, True
    try:
        yield
    finally:
        _held = False
    if _received != before:
        raise KeyboardInterrupt


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Ends the process as a command that was stopped, where a signal comes within it, whatever then goes wrong. It may
    stand within another."""
    global _held
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, _interrupt)
    try:
        yield
    except BaseException:
        if _received is None or _held:
            raise
        _held = True  # from here to the end
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # Python puts others back to what kills, on its way out
        with contextlib.suppress(OSError):  # of a terminal that is gone
            print(SENTENCE, file=sys.stderr, flush=True)
        sys.exit(128 + _received)
