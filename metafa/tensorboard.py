"""Results as TensorBoard's event files, a run a trial, the mean over seeds of every measurement by step."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc

from metafa import results
from metafa.store import Store

WHERE = ["phase", "metric", "layer", "component", "task", "learning_rate"]


def write(store: Store, folder: Path) -> int:
    """Writes the event files of all trials that have ended into ``folder``, those that are there already aside; returns
    how many."""
    from tensorboardX import SummaryWriter

    written = 0
    for trials, measurements in results.in_parts(store):
        for trial in trials.to_pylist():
            run = folder / trial["trial_id"]
            if run.exists():
                continue
            of_trial = measurements.filter(pc.equal(measurements["trial_id"], trial["trial_id"]))
            means = of_trial.group_by([*WHERE, "step"]).aggregate([("value", "mean")]).sort_by("step")
            with SummaryWriter(str(run), flush_secs=3600) as writer:
                writer.add_text("settings", json.dumps(json.loads(trial["point"] or "{}"), indent=2))
                for row in means.to_pylist():
                    named = [row["phase"], row["metric"], *(f"{k}_{row[k]}" for k in WHERE[2:] if row[k] is not None)]
                    writer.add_scalar("/".join(named), row["value_mean"], row["step"])
            written += 1
    return written
