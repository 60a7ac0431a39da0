"""Running trials of a study again, to compare every measurement with what stands in its results."""

from __future__ import annotations

import random
import tempfile

from rich.console import Console

from metafa.errors import ResultsError
from metafa.results import addresses, continuing, damage, preparation, verification
from metafa.results.statuses import ANALYSED
from metafa.results.store import Store
from metafa.running import launch
from metafa.running.events import finished_trials
from metafa.tasks import data


def verify(store: Store, number: int, screen: Console, workers: int | None = None) -> dict[str, str | None]:
    """Runs so many trials of the study in ``store`` again, on this machine, drawn at random from those that came to
    their end, and shows on ``screen`` how far it is. ``workers``: trials at a time.

    Returns for each, by trial_id, what differs in a sentence; None where every measurement is equal to the bit.
    Raises `ResultsError`, also where no trial is done, `DataError`, `LaunchError`, OSError and KeyboardInterrupt.
    """
    study = preparation.read_study(store)
    preparation.check(store, study)
    rows = continuing.continued_rows(store)
    finished = finished_trials(rows)
    whole = sorted(trial_id for trial_id, trial in finished.items() if trial.status in ANALYSED)
    if not whole:
        raise ResultsError(f"{store.address}: no trial is done yet")
    chosen = sorted(random.Random(study.fingerprint).sample(whole, min(number, len(whole))))
    listed = {trial.trial_id: trial for trial in study.trials}  # in a grid that has grown a point says less than now
    with damage.of_a_study(store.address):
        again = study.of_trials([listed.get(id_) or study.trial(finished[id_].point) for id_ in chosen])
    images = data.check([trial.settings for trial in again.trials], download=True)
    continuing.check_images(store, rows, images.digests)
    again = again.over(images.digests)
    with tempfile.TemporaryDirectory(prefix="metafa-") as folder:
        other = addresses.open_store(f"{folder}/again")
        launch.run_all(again, other, screen, workers, images.images)
        # an earlier version, which called settings otherwise, knew the same trials by other ids
        now = [trial.trial_id for trial in again.trials] if study.renamed else chosen
        ids = dict(zip(chosen, now, strict=True))
        differences = verification.differences(store, other, ids)
    return {trial_id: differences.get(trial_id) for trial_id in chosen}
