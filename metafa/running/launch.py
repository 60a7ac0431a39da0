"""From a checked study to its results, whoever asks: the command or a notebook."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from metafa.errors import LaunchError, ResourcesError
from metafa.results import continuing, damage, heartbeat, leases, listing, mending, preparation, tables, upkeep
from metafa.results.heartbeat import Heartbeat
from metafa.results.statuses import FINAL
from metafa.results.store import Store
from metafa.running import notebook, screens, stopping
from metafa.running.events import FinishedTrial, finished_trials
from metafa.running.sharing import Share
from metafa.studies.study import Study
from metafa.tasks import data

if TYPE_CHECKING:
    from metafa.running.progress import LiveProgress
    from metafa.tasks.base import LabelledImages


@screens.forgiving()
def run(
    study: Study,
    store: Store,
    screen: Console,
    errors: Console,
    workers: int | None = None,
    address: str | None = None,
) -> bool:
    """Runs what is left of ``study``, shows how far it is on ``screen``, and returns whether there was anything left.

    Raises `ResultsError`, `DataError`, `LaunchError`, OSError and KeyboardInterrupt; what is done by then is kept.
    """
    with contextlib.ExitStack() as stack:
        participant = _Participant(study, store, screen, stack)
        for sentence in mending.mend(store):
            errors.print(f"{store.address}/{sentence}", markup=False)
        rows = continuing.continued_rows(store)
        images = data.here([trial.settings for trial in study.trials] or study.examples)
        continuing.check_images(store, rows, images.digests)
        study = study.over(continuing.digests_of(rows) | images.digests)
        known = finished_trials(rows)
        known = {id_: trial for id_, trial in known.items() if study.adaptive or trial.status in FINAL}
        if len(known) >= study.total:
            preparation.keep_text(store, study)
            if not listing.is_tidy(store):
                upkeep.look_after(store, participant.driver())
            return False
        left = [trial.settings for trial in study.trials if trial.trial_id not in known]
        images = data.check(left or study.examples, download=True, already=images.images)
        continuing.check_images(store, rows, images.digests)
        for sentence in data.overlaps(left or study.examples, images):
            screen.print(f"note: {sentence}", soft_wrap=True)
        if store.exists("study.toml"):
            upkeep.look_after(store, participant.driver())
        participant.failed = {row["trial_id"]: row["started"] for row in rows if row["trial_id"] not in known}
        study = study.over(study.digests | images.digests)
        _run_trials(study, store, known, screen, workers, address, images.images, participant)
        number = len(tables.statuses(store))
        if study.adaptive and number < study.total:
            screen.print(
                f"the search finds no more than {number} trials, of {study.total} asked for: settings do not fit"
            )
        upkeep.compact(store, participant.driver())
    return True


def run_all(
    study: Study, store: Store, screen: Console, workers: int | None, images: Mapping[str, LabelledImages]
) -> None:
    """Runs all trials of ``study`` on this machine, over these ``images``, into an empty ``store``, and shows how far
    it is on ``screen``. Raises as `run` does."""
    with contextlib.ExitStack() as stack:
        _run_trials(study, store, {}, screen, workers, None, images, _Participant(study, store, screen, stack))


class _Participant:
    """This process as one of the drivers of a study: one of those that share its trials, from when it is known that it
    can run any."""

    def __init__(self, study: Study, store: Store, screen: Console, stack: contextlib.ExitStack):
        self.study, self.store, self.screen, self.stack = study, store, screen, stack
        self.failed: Mapping[str, Any] = {}
        self.progress: LiveProgress | None = None
        self._driver: leases.Driver | None = None

    def driver(self) -> leases.Driver:
        if self._driver is None:
            try:
                self._driver = self.stack.enter_context(leases.driver(self.store, self._heartbeat, last_word=True))
            except OSError as error:
                raise damage.unwritten(self.store, damage.reason(error)) from error
            if not self.store.tells_apart(f"{leases.FOLDER}/.trying.{self._driver.token}"):
                self._note(
                    f"{self.store.address} knows neither links nor conditional puts, and cannot keep two runs of a "
                    "study apart: have one at a time"
                )
            elif self.study.early_stopping and self._driver.others():
                self._note("early stopping compares the trials of this run with each other, not with those of others")
        return self._driver

    def join(self, ended: dict[str, FinishedTrial]) -> Share:
        """Its share of the study, of which ``ended`` is known; what it has taken and not done it gives back."""
        share = Share(self.driver(), self.study, ended, self.failed)
        if self.progress:
            share.news = self.progress.elsewhere

        def give_back() -> None:
            with stopping.held():
                share.give_back()

        self.stack.callback(give_back)
        return share

    def _heartbeat(self) -> Heartbeat:
        return self.progress.state() if self.progress else heartbeat.now("starting")

    def _note(self, sentence: str) -> None:
        self.screen.print(f"note: {sentence}", soft_wrap=True, markup=False)


def _run_trials(
    study: Study,
    store: Store,
    known: Mapping[str, FinishedTrial],
    screen: Console,
    workers: int | None,
    address: str | None,
    images: Mapping[str, LabelledImages],
    participant: _Participant,
) -> None:
    """Runs the trials that are not ``known`` over these ``images``. Raises as `run` does."""
    from metafa.running.progress import live_progress

    outline = f": {study.total} trials of {seeds(study)} seeds"
    outline += (f" ({study.fewer})" if study.fewer else "") + (f", {len(known)} done before" if known else "")
    screen.print(Text.assemble((study.name, "bold"), f"{outline}; results in {store.address}"), soft_wrap=True)
    with live_progress(screen, total=study.total, already=len(known)) as progress:
        participant.study, participant.progress = study, progress
        with notebook.without_advice():
            from metafa.running import driver

        try:
            driver.run_trials(study, store, known, progress, participant.join, workers, address, images)
        except ConnectionError as error:
            raise LaunchError(
                f"no Ray cluster at {address!r}: {str(error).splitlines()[0]}; a cluster that asks for a token "
                "wants RAY_AUTH_MODE=token; without an address, studies run on this machine"
            ) from error
        except ResourcesError as error:
            raise LaunchError(str(error)) from error
        except KeyboardInterrupt:
            progress.stop()
            raise
        finally:
            progress.over = True


def seeds(study: Study) -> str:
    """How many seeds its trials have, in words."""
    counts = sorted({settings.seeds for settings in study.examples})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
