"""What a running study shows: one live line on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from metafa.study import Trial


class Watcher:
    """Shows how far the trials of a study are; the `Watcher` that `metafa.sweep` asks for."""

    def __init__(self, screen: Console, total: int, already: int):
        self.screen, self.total, self.ended = screen, total, already
        self.running: dict[str, float] = {}
        self.best: tuple[tuple[str, float], Trial] | None = None
        self.since: float | None = None
        self.already = already
        self.bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=screen,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=total, completed=already)

    def progressed(self, trial: Trial, fraction: float) -> None:
        self.running[trial.trial_id] = fraction
        self._show()

    def finished(self, trial: Trial, status: str, error: str | None, final: tuple[str, float] | None) -> None:
        self.running.pop(trial.trial_id, None)
        self.ended += 1
        if final and math.isfinite(final[1]) and (self.best is None or _worth(final) > _worth(self.best[0])):
            self.best = (final, trial)
        if status != "done":
            self.screen.print(f"[yellow]{status}[/] {describe(trial)}: {error}", soft_wrap=True)
        self._show()
        if not self.screen.is_terminal:
            self.screen.print(f"{self._summary()}  | {describe(trial)}: {_shown(final)}", soft_wrap=True)

    def stop(self) -> None:
        self.bar.stop()

    def _show(self) -> None:
        if self.since is None:  # a rate makes sense only from the first news on
            self.since = time.monotonic()
        self.bar.update(self.task, completed=self.ended + sum(self.running.values()), description=self._summary())

    def _summary(self) -> str:
        parts = [f"{self.ended}/{self.total} trials"]
        if self.running:
            parts.append(f"{len(self.running)} running")
        if (left := self._seconds_left()) is not None:
            parts.append(f"{_duration(left)} left")
        if self.best is not None:
            parts.append(f"best {_shown(self.best[0])} ({describe(self.best[1])})")
        return " · ".join(parts)

    def _seconds_left(self) -> float | None:
        done = self.ended + sum(self.running.values())
        elapsed = time.monotonic() - (self.since or time.monotonic())
        if done <= self.already or elapsed < 2:
            return None
        return elapsed / (done - self.already) * (self.total - done)


@contextlib.contextmanager
def watch(screen: Console, total: int, already: int) -> Iterator[Any]:
    """Shows progress while the block runs: trials done, time left, the best of them."""
    watcher = Watcher(screen, total, already)
    if not screen.is_terminal:
        yield watcher
        return
    with watcher.bar:
        yield watcher


def describe(trial: Trial) -> str:
    """A trial by what the study varies."""
    return (
        ", ".join(
            f"{name.split('.')[-1] if name.startswith('network.') else name} {value}"
            for name, value in trial.varied.items()
        )
        or "the only trial"
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _worth(final: tuple[str, float]) -> float:
    metric, value = final
    return -value if metric == "meta_loss" else value


def _shown(final: tuple[str, float] | None) -> str:
    return f"{final[0].replace('_', '-')} {final[1]:.3f}" if final else "nothing measured"
