"""The line that shows how far a study is."""

import dataclasses
import io
import itertools

from rich.console import Console

from metafa.running.events import FinishedTrial
from metafa.running.progress import LiveProgress
from metafa.studies import search, study

STUDY = """\
seeds = 1
[[phases]]
phase = "supervised"
dataset = "digits"
steps = 3
batch_size = { choices = [8, 9] }
"""


def test_what_a_trial_says_of_itself_is_no_markup() -> None:
    """Brackets in an error or a setting stand on the screen as they are."""
    screen = Console(file=io.StringIO(), width=200)
    checked = study.parse(STUDY)
    trial = dataclasses.replace(checked.trial({**next(search.every(checked.spaces))}), varied={"x": "[/b] [red]"})
    shown = LiveProgress(screen, 2, 0)
    shown.finished(trial, FinishedTrial("failed", {}, error="RuntimeError: [/] no [bold]closing[/bold] tag [/b]"))
    shown.finished(trial, FinishedTrial("done", {}, final=("accuracy", 0.5)))
    with shown.bar:
        shown.progressed(trial, 0.5)
    said = screen.file.getvalue()
    assert "failed x [/b] [red]: RuntimeError: [/] no [bold]closing[/bold] tag [/b]" in said
    assert "best accuracy 0.500 (x [/b] [red])" in said


def test_progress_tells_the_better_by_the_metric() -> None:
    checked = study.parse(STUDY)
    one, other = itertools.islice(map(checked.trial, search.every(checked.spaces)), 2)
    for metric, values, best in (("meta_loss", (2.0, 1.0), other), ("accuracy", (0.9, 0.8), one)):
        shown = LiveProgress(Console(file=io.StringIO()), 2, 0)
        for trial, value in zip((one, other), values, strict=True):
            shown.finished(trial, FinishedTrial("done", {}, final=(metric, value)))
        assert shown.best[1] is best


def test_the_last_word_of_a_driver_that_stops_says_that_no_trial_runs() -> None:
    shown = LiveProgress(Console(file=io.StringIO()), 2, 0)
    checked = study.parse(STUDY)
    shown.progressed(checked.trial(next(search.every(checked.spaces))), 0.5)
    assert shown.state().summary.startswith("0/2 trials · 1 running on ")
    shown.over = True
    assert shown.state().summary == "0/2 trials"
