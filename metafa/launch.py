"""From a checked study to its results, whoever asks: the command or a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from metafa import data, notebook, proposals, results, screens
from metafa.proposals import Known
from metafa.store import Store
from metafa.study import Study

if TYPE_CHECKING:
    from metafa.tasks.base import LabelledImages


class LaunchError(Exception):
    """A study that cannot be started where it is to run; the message is one line."""


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
    for sentence in results.remove_damaged(store):
        errors.print(f"{store.address}/{sentence}; its trials run again", markup=False)
    rows = results.continued_rows(store)
    found = data.here([trial.settings for trial in study.trials] or study.examples)
    results.check_images(store, rows, found.digests)
    study = study.over(results.digests_of(rows) | found.digests)
    known = proposals.known_trials(rows)
    known = {id_: one for id_, one in known.items() if study.adaptive or one.status in results.FINISHED}
    if len(known) >= study.total:
        return False
    left = [trial.settings for trial in study.trials if trial.trial_id not in known]
    found = data.check(left or study.examples, download=True, already=found.images)
    results.check_images(store, rows, found.digests)
    for sentence in data.overlaps(left or study.examples, found):
        screen.print(f"note: {sentence}", soft_wrap=True)
    sweep(study.over(study.digests | found.digests), store, known, screen, workers, address, found.images)
    number = len(results.statuses(store))
    if study.adaptive and number < study.total:
        screen.print(f"the search finds no more than {number} trials, of {study.total} asked for: settings do not fit")
    results.compact(store)
    return True


def sweep(
    study: Study,
    store: Store,
    known: Mapping[str, Known],
    screen: Console,
    workers: int | None,
    address: str | None,
    images: Mapping[str, LabelledImages],
) -> None:
    """Runs the trials that are not ``known`` over these ``images``. Raises as `run` does."""
    from metafa import progress

    said = f": {study.total} trials of {seeds(study)} seeds"
    said += (f" ({study.fewer})" if study.fewer else "") + (f", {len(known)} done before" if known else "")
    screen.print(Text.assemble((study.name, "bold"), f"{said}; results in {store.address}"), soft_wrap=True)
    with progress.watch(screen, total=study.total, already=len(known)) as watcher:
        with notebook.without_advice():
            from metafa import sweep as sweeps

        try:
            sweeps.run(study, store, known, watcher, workers, address, images)
        except ConnectionError as error:
            raise LaunchError(
                f"no Ray cluster at {address!r}: {str(error).splitlines()[0]}; a cluster that asks for a token "
                "wants RAY_AUTH_MODE=token; without an address, studies run on this machine"
            ) from error
        except sweeps.ResourcesError as error:
            raise LaunchError(str(error)) from error
        except KeyboardInterrupt:
            watcher.stop()
            raise


def seeds(study: Study) -> str:
    """How many seeds its trials have, in words."""
    counts = sorted({settings.seeds for settings in study.examples})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
