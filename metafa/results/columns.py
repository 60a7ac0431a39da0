"""The tables of a study's results and their columns: what each is called, its type and its meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from metafa.studies.settings import DIVERGED_TIMES_CHANCE, flatten
from metafa.studies.study import Study

TABLES = ("trials", "measurements")
MEASUREMENTS = pa.schema(
    [
        ("trial_id", pa.string()),
        ("seed", pa.int64()),
        ("learning_rate", pa.float64()),  # of the replica, where a trial has several side by side; else null
        ("phase", pa.string()),
        ("step", pa.int64()),
        ("metric", pa.string()),
        ("layer", pa.int64()),  # from 1; null for what is not of one layer
        ("component", pa.int64()),  # from 1: of singular values, the largest first, or principal components; else null
        ("task", pa.string()),  # a task distribution, or "noise"; null for what is not measured on inputs
        ("value", pa.float64()),
    ]
)
PACKAGES = ("torch", "numpy", "learn2learn", "ray", "optuna")  # whose versions stand in `trials`
# What describes the run and not its result: these columns of `trials` differ when a study is run again.
RUN_COLUMNS = {
    "started": pa.timestamp("us", tz="UTC"),
    "seconds": pa.float64(),
    "host": pa.string(),
    "device": pa.string(),
    "cpus": pa.int64(),
    "matrix_products": pa.string(),
    "metafa_commit": pa.string(),
    **{f"{name}_version": pa.string() for name in ("python", "metafa", *PACKAGES)},
}
OUTCOME = {
    "trial_id": pa.string(),
    "study": pa.string(),
    "status": pa.string(),
    "search": pa.string(),  # how the study's trials were chosen, and whether that depends on timing
    "point": pa.string(),  # of the search space, what the study varies, as JSON
    "objectives": pa.list_(pa.float64()),  # what an adaptive search learns of the trial
    "error": pa.string(),
    "divergence_bound": pa.float64(),  # nats
    "divergences": pa.list_(
        pa.struct(
            [
                ("seed", pa.int64()),
                ("learning_rate", pa.float64()),
                ("phase", pa.string()),
                ("step", pa.int64()),
                ("metric", pa.string()),
            ]
        )
    ),
    "diverged_seeds": pa.list_(pa.int64()),
    "diverged_phase": pa.string(),
    "diverged_step": pa.int64(),
    "stopped_phase": pa.string(),
    "stopped_step": pa.int64(),
    "numerics": pa.int64(),  # of metafa: what the same settings compute
    "threads": pa.int64(),  # among which a sum is split
    "data": pa.string(),  # the digests of the images that the trial draws on, as JSON
}
_PLAIN = (pa.bool_(), pa.int64(), pa.float64(), pa.string(), pa.null())
TYPES = {str(kind): kind for kind in (*OUTCOME.values(), *RUN_COLUMNS.values(), *_PLAIN, *map(pa.list_, _PLAIN))}
"""Of columns of `trials`, by how they are called."""
MEANINGS = {
    "measurements": {
        "trial_id": "the trial, as in `trials`",
        "seed": "the replica's, 0, 1, ...; in all trials seed 3 has the same weights, feedback and tasks at the start",
        "learning_rate": "the replica's, where a trial has several side by side; else null",
        "phase": "the phase's name",
        "step": "training steps of a phase that trains; inner steps of one that evaluates; outer steps of `meta`",
        "metric": "what was measured, one of the metrics below",
        "layer": "from 1; null for what is not of one layer",
        "component": "from 1, of singular values and principal components; else null",
        "task": "the inputs measured on: a task distribution, a dataset, one changed such as `mnist10k/rotation=30`, "
        "or `noise`; null for the batch trained on, and for what is not measured on inputs",
        "value": "the number, in the metric's unit",
    },
    "trials": {
        "trial_id": "a hash of what determines the result",
        "study": "the study's name",
        "status": "`done`, `diverged` (at least one seed did, as `divergences` say), `stopped` (early) or `failed` (it "
        "raised an error, or its process died)",
        "search": "how the study's trials were chosen, and whether that depends on timing",
        "point": "what the study varies, as JSON: a value for each search space",
        "objectives": "what an adaptive search learns of the trial; null of other searches",
        "error": "what went wrong, if anything did",
        "divergence_bound": "the loss, in nats, above which a network counts as diverged: "
        f"{DIVERGED_TIMES_CHANCE:,.0f} times that of chance, the logarithm of the number of outputs",
        "divergences": "where each replica that diverged first did, as a list of `seed`, `learning_rate` (as in "
        "`measurements`), `phase`, `step` and `metric`: a number measured there was not finite, or a `loss` or "
        "`meta_loss` above `divergence_bound`; `metric` is null where the weights, the feedback or the readout in "
        "training were not finite. Its numbers of that phase and of all after it are left out of every analysis, and "
        "stay in `measurements` as they were measured. Null of a trial that was stopped or failed",
        "diverged_seeds": "the seeds that diverged",
        "diverged_phase": "where the first of them did",
        "diverged_step": "and at which step",
        "stopped_phase": "where early stopping stopped the trial",
        "stopped_step": "and at which step",
        "numerics": "of metafa, raised when the same settings compute something else",
        "threads": "how many share a sum, and so decide how it rounds: `cpus_per_trial` of the study",
        "data": "the images that the trial draws on, as JSON: for each task distribution and split, and for each "
        "dataset and part, a digest of the images and labels; part of `trial_id`",
        "started": "when the trial started, UTC",
        "seconds": "how long it took",
        "host": "the machine",
        "device": "its CPU or GPU",
        "cpus": "its CPU cores",
        "matrix_products": "the library of large matrix products, `onednn` or `torch`: what they compute differs in "
        "the last bits",
        "metafa_commit": "of the checkout that ran it; empty where that was not one",
    },
}
"""What each column is; the settings of `trials` go by their dotted names besides, and so do versions."""
ENDED = ("done", "diverged")  # a stopped or failed trial is no part of any analysis
FINISHED = (*ENDED, "stopped")  # a failed trial is tried again
# what continuing has to know
CONTINUED = ("trial_id", "status", "point", "objectives", "started", "numerics", "data")


def trials_schema(study: Study) -> pa.Schema:
    """The columns of `trials`: the outcome, every setting by its dotted name, then what describes the run."""
    examples = [flatten(settings) for settings in study.examples]
    names = dict.fromkeys(name for example in examples for name in example)  # not every trial has every phase
    settings = {name: pa.array([example.get(name) for example in examples]).type for name in names}
    fields = [*OUTCOME.items(), *settings.items(), *RUN_COLUMNS.items()]
    return pa.schema(fields, metadata={"metafa.study": study.text, "metafa.fingerprint": study.fingerprint})


def measured(trial_id: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A trial's measurements as rows of the table."""
    return pa.Table.from_pylist([{"trial_id": trial_id, **row} for row in rows], MEASUREMENTS)
