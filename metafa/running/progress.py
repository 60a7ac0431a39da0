"""What a running study shows: one live line on a terminal, one live bar in a notebook, a line a trial elsewhere."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from metafa.results import heartbeat
from metafa.results.heartbeat import Heartbeat
from metafa.running import notebook
from metafa.running.events import FinishedTrial
from metafa.studies.metrics import METRICS
from metafa.studies.settings import as_text
from metafa.studies.trial import Trial


class LiveProgress:
    """Shows how far the trials of a study are: a `metafa.running.events.StudyObserver`."""

    def __init__(self, screen: Console, total: int, already: int):
        self.screen, self.total, self.ended = screen, total, already
        self.running: dict[str, float] = {}
        self.best: tuple[tuple[str, float], Trial] | None = None
        self.since: float | None = None
        self.already = already
        self.counts: dict[str, int] = {}
        self.cpus, self.gpus = 0.0, 0.0
        self.over = False
        self.waiting = self.waited = False  # for other runs: now, and at any time
        self.others = 0  # trials that other drivers have brought to an end meanwhile
        self.a_line_each = not screen.is_terminal
        self.bar: Any = Progress(
            SpinnerColumn("dots" if screen.encoding.startswith("utf") else "line"),
            BarColumn(bar_width=20, table_column=Column(min_width=20)),
            TaskProgressColumn(),
            # on a narrow terminal it takes more lines, and the bar stays
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=False)),
            TimeElapsedColumn(table_column=Column(min_width=7, no_wrap=True)),
            console=screen,
            expand=True,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=total, completed=already)

    def resources(self, cpus: float, gpus: float) -> None:
        self.cpus, self.gpus = cpus, gpus

    def progressed(self, trial: Trial, fraction: float) -> None:
        self.running[trial.trial_id], self.waiting = fraction, False
        self._show()

    def finished(self, trial: Trial, ended: FinishedTrial) -> None:
        self.running.pop(trial.trial_id, None)
        self.ended += 1
        self.counts[ended.status] = self.counts.get(ended.status, 0) + 1
        final = ended.final
        whole = ended.status != "stopped"
        better = final is not None and (self.best is None or _worth(final) > _worth(self.best[0]))
        if final is not None and better and whole and math.isfinite(final[1]):
            self.best = (final, trial)
        if ended.status not in ("done", "stopped"):
            wrong = Text.assemble((ended.status, "yellow"), f" {describe(trial)}: {ended.error}")
            self.screen.print(wrong, soft_wrap=True)
        self._show()
        if self.a_line_each:
            outcome = ended.error if ended.status == "stopped" else _shown(final)
            self.screen.print(f"{self.summary()}  | {describe(trial)}: {outcome}", soft_wrap=True, markup=False)

    def waits(self) -> None:
        """Other runs have taken all that is left, which may last."""
        self.waiting = True
        if not self.waited:
            self.waited = True
            self.screen.print("other runs have taken all that is left; waiting for them", soft_wrap=True)

    def elsewhere(self, known: Mapping[str, FinishedTrial]) -> None:
        """Trials have ended that other drivers ran."""
        self.ended += len(known)
        for trial in known.values():
            self.counts[trial.status] = self.counts.get(trial.status, 0) + 1
        self.others += len(known)
        if known:
            self._show()

    def state(self) -> Heartbeat:
        """How far the study is, for the other drivers, and as `metafa status` shows it elsewhere."""
        return heartbeat.now(self.summary(), {} if self.over else dict(self.running))

    def stop(self) -> None:
        self.bar.stop()

    def _show(self) -> None:
        if self.since is None:  # a rate makes sense only from the first news on
            self.since = time.monotonic()
        self.bar.update(self.task, completed=self.ended + sum(self.running.values()), description=self.summary())

    def summary(self) -> str:
        """All of it in a line."""
        parts = [f"{self.ended}/{self.total} trials"]
        parts += [f"{self.counts[name]} {name}" for name in ("diverged", "stopped", "failed") if name in self.counts]
        if self.running and not self.over:
            parts.append(f"{len(self.running)} running on {_number(self.cpus, 'CPU')}")
            parts[-1] += f", {_number(self.gpus, 'GPU')}" * (self.gpus > 0)
        elif not self.over and (self.waiting or self.since is None):
            parts.append("waiting for other runs" if self.waiting else "starting")
        if self.others:
            parts.append(f"{self.others} by other runs")
        if (rate := self._rate()) is not None and not self.over:
            parts.append(f"{60 * rate:.3g} a minute")
        if (left := self._seconds_left()) is not None and not self.over:
            parts.append(f"{duration(left)} left")
        if self.best is not None:
            parts.append(f"best {_shown(self.best[0])} ({describe(self.best[1])})")
        return " · ".join(parts)

    def _rate(self) -> float | None:
        """Trials a second."""
        done = self.ended + sum(self.running.values())
        elapsed = time.monotonic() - (self.since or time.monotonic())
        return None if done <= self.already or elapsed < 2 else (done - self.already) / elapsed

    def _seconds_left(self) -> float | None:
        rate = self._rate()
        return None if rate is None else max(0.0, self.total - self.ended - sum(self.running.values())) / rate


@contextlib.contextmanager
def live_progress(screen: Console, total: int, already: int) -> Iterator[LiveProgress]:
    """Shows progress while the block runs: trials done, time left, the best of them."""
    progress = LiveProgress(screen, total, already)
    if Console().is_jupyter:
        progress.bar, progress.a_line_each = notebook.Bar(total, already, "starting"), False
    elif not screen.is_terminal:
        yield progress
        return
    with progress.bar:
        yield progress


def describe(trial: Trial) -> str:
    """A trial by what the study varies."""
    return (
        ", ".join(
            f"{name.split('.')[-1] if name.startswith('network.') else name} {as_text(value)}"
            for name, value in trial.varied.items()
        )
        or "the only trial"
    )


def _number(number: float, unit: str) -> str:
    return f"{number:g} {unit}" + "s" * (number != 1)


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _worth(final: tuple[str, float]) -> float:
    metric, value = final
    return value if METRICS[metric].better == "higher" else -value


def _shown(final: tuple[str, float] | None) -> str:
    return f"{final[0].replace('_', '-')} {final[1]:.3f}" if final else "nothing measured"
