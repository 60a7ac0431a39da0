"""What a Jupyter notebook shows: a bar that is updated where it stands."""

from __future__ import annotations

import contextlib
import html
import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

UPDATE_EVERY = 0.2  # seconds


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """While Ray is imported within it, Ray and tqdm do not advise in a notebook to install ipywidgets, which metafa has
    no use for."""
    logger = logging.getLogger("ray.widgets.util")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")
            yield
    finally:
        logger.disabled = before


@dataclass(frozen=True)
class _Shown:
    """A bar, and a line that says how far it is; the line alone where there is no HTML."""

    completed: float
    total: int
    line: str

    def __repr__(self) -> str:
        return self.line

    def _repr_html_(self) -> str:
        return (
            f"<progress value='{self.completed:g}' max='{self.total}' style='width: 12em'></progress> "
            f"{html.escape(self.line)}"
        )


class Bar:
    """A live bar in the output of the cell that runs: one output, updated in its place, so that whatever else the cell
    has shown stays. It takes the place of rich's `Progress`, which clears the cell."""

    def __init__(self, total: int, completed: float, line: str):
        self.shown = _Shown(completed, total, line)
        self.updated = 0.0

    def __enter__(self) -> Bar:
        from IPython.display import display

        self.handle = display(self.shown, display_id=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()

    def update(self, task: Any, completed: float, description: str) -> None:
        self.shown = _Shown(completed, self.shown.total, description)
        if time.monotonic() - self.updated >= UPDATE_EVERY:
            self.stop()

    def stop(self) -> None:
        """Shows how far it is now."""
        self.updated = time.monotonic()
        self.handle.update(self.shown)
