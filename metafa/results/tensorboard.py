"""Results as TensorBoard's event files, a run a trial, the mean over seeds of every measurement by step."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pyarrow.compute as pc

from metafa.errors import PartError, ResultsError
from metafa.results import exports, values
from metafa.results.store import Store

WHERE = ["phase", "metric", "layer", "component", "inputs", "shift", "strength", "learning_rate"]


def write(store: Store, folder: Path) -> int:
    """Writes the event files of all trials that have ended into ``folder``, those that are there already aside; returns
    how many. Raises `ResultsError`, and OSError where ``folder`` cannot be written."""
    from tensorboardX import SummaryWriter

    written = 0
    for trials, measurements in exports.in_parts(store):
        try:
            values.check_rows(trials, "trials")  # by its trial_id a folder is called
        except PartError as error:
            raise ResultsError(f"{store.address}/trials {error}") from error
        folder.mkdir(parents=True, exist_ok=True)
        for trial in trials.to_pylist():
            run = folder / trial["trial_id"]
            if run.exists() or run.is_symlink():
                continue
            of_trial = measurements.filter(pc.equal(measurements["trial_id"], trial["trial_id"]))
            means = of_trial.group_by([*WHERE, "step"]).aggregate([("value", "mean")]).sort_by("step")
            # put in place whole: what an interruption left would be taken for a trial that is there already
            with tempfile.TemporaryDirectory(prefix=".", dir=folder) as partial:
                with SummaryWriter(f"{partial}/run", flush_secs=3600) as writer:
                    writer.add_text("settings", json.dumps(json.loads(trial.get("point") or "{}"), indent=2))
                    for row in means.to_pylist():
                        where = [f"{name}_{row[name]}" for name in WHERE[2:] if row[name] is not None]
                        tag = "/".join([row["phase"], row["metric"], *where])
                        writer.add_scalar(tag, row["value_mean"], row["step"])
                os.rename(f"{partial}/run", run)
            written += 1
    return written
