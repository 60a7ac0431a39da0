"""The tables of a study's results and their columns: what each is called, its type and its meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from metafa.results.earlier import TASK
from metafa.results.statuses import STATUSES
from metafa.studies.settings import DIVERGED_TIMES_CHANCE, flatten
from metafa.studies.study import Study


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    type: pa.DataType
    meaning: str
    needed: bool = False
    """Whether every part has it: others were not there in earlier versions."""


MEASUREMENT_COLUMNS = {
    "trial_id": Column(pa.string(), "the trial, as in `trials`", needed=True),
    "seed": Column(
        pa.int64(),
        "the seed of the replica, 0, 1, ...; in all trials seed 3 starts with the same weights and feedback, and gets "
        "the same tasks",
        needed=True,
    ),
    "learning_rate": Column(
        pa.float64(), "the learning rate of the replica, where a trial has several side by side; else null"
    ),
    "phase": Column(pa.string(), "the name of the phase", needed=True),
    "step": Column(
        pa.int64(),
        "the steps taken before the measurement: training steps; outer steps in a `meta` phase; inner steps in an "
        "`evaluate` phase",
        needed=True,
    ),
    "metric": Column(pa.string(), "what was measured, one of the metrics below", needed=True),
    "layer": Column(pa.int64(), "the number of the layer, from 1; null where the metric does not belong to one layer"),
    "component": Column(
        pa.int64(),
        "which of several values of one kind: the number of a singular value, a principal component, a unit or a "
        "weight, from 1; the percent of a quantile; the step of a course on a whole dataset; null for other metrics",
    ),
    "inputs": Column(
        pa.string(),
        "what the metric was measured on: the name of a task distribution or of a dataset; `noise`; `batch`, the batch "
        "trained on; or `tasks/NAME`, the images of a task distribution's tasks, where the trial trains on a dataset "
        "of that name. Null where it was not measured on inputs, such as an angle between weights",
    ),
    "shift": Column(pa.string(), "how the images were changed, such as `rotation`; null where they were not changed"),
    "strength": Column(pa.float64(), "the strength of the shift, in its unit; null where the images were not changed"),
    "value": Column(pa.float64(), "the number, in the metric's unit", needed=True),
}
"""Of `measurements`."""
_DIVERGENCE = pa.struct(
    [(name, MEASUREMENT_COLUMNS[name].type) for name in ("seed", "learning_rate", "phase", "step", "metric")]
)
OUTCOME_COLUMNS = {
    "trial_id": Column(pa.string(), "a hash of what determines the result", needed=True),
    "study": Column(pa.string(), "the name of the study"),
    "status": Column(
        pa.string(), "; ".join(f"`{name}`: {status.meaning}" for name, status in STATUSES.items()), needed=True
    ),
    "search": Column(pa.string(), "how the study's trials were chosen, and whether that depends on timing"),
    "point": Column(pa.string(), "what the study varies, as JSON: a value for each search space"),
    "objectives": Column(
        pa.list_(pa.float64()), "the values that an adaptive search learns from the trial; null in other searches"
    ),
    "error": Column(pa.string(), "what went wrong, if anything did"),
    "divergence_bound": Column(
        pa.float64(),
        "the loss, in nats, above which a network counts as diverged: "
        f"{DIVERGED_TIMES_CHANCE:,.0f} times that of chance, the logarithm of the number of outputs",
    ),
    "divergences": Column(
        pa.list_(_DIVERGENCE),
        "for each replica that diverged, where it did so first, as a list of `seed`, `learning_rate` (as in "
        "`measurements`), `phase`, `step` and `metric`: a number measured there was not finite, or a `loss` or "
        "`meta_loss` above `divergence_bound`; `metric` is null where the weights, the feedback or the readout in "
        "training were not finite. Every analysis leaves out the replica's numbers of that phase and of later ones; "
        "`measurements` keeps them as they were measured. Null where the trial was stopped or failed",
    ),
    "diverged_seeds": Column(pa.list_(pa.int64()), "the seeds that diverged"),
    "diverged_phase": Column(pa.string(), "the phase in which the first of them diverged"),
    "diverged_step": Column(pa.int64(), "the step at which the first of them diverged"),
    "stopped_phase": Column(pa.string(), "the phase in which early stopping stopped the trial"),
    "stopped_step": Column(pa.int64(), "the step at which early stopping stopped the trial"),
    "numerics": Column(
        pa.int64(), "the version of metafa's arithmetic; it is raised when the same settings give other numbers"
    ),
    "threads": Column(
        pa.int64(),
        "the number of threads that share a sum, `cpus_per_trial` of the study; how a sum rounds depends on it",
    ),
    "data": Column(
        pa.string(),
        "the images that the trial draws on, as JSON: for each task distribution and split, and for each "
        "dataset and part, a digest of the images and labels; part of `trial_id`",
    ),
}
"""Of `trials`, what came of a trial; after them stand its settings, by their dotted names."""
PACKAGES = ("torch", "numpy", "learn2learn", "ray", "optuna")
VERSION_COLUMNS = {
    f"{name}_version": Column(pa.string(), f"the version of {name} that the trial ran with")
    for name in ("python", "metafa", *PACKAGES)
}
RUN_COLUMNS = {
    "started": Column(pa.timestamp("us", tz="UTC"), "when the trial started, UTC"),
    "seconds": Column(pa.float64(), "how many seconds the trial took"),
    "host": Column(pa.string(), "the name of the machine that ran the trial"),
    "device": Column(pa.string(), "the CPU or GPU that the trial ran on"),
    "cpus": Column(pa.int64(), "the number of CPU cores of the machine"),
    "matrix_products": Column(
        pa.string(),
        "the library that computed large matrix products, `onednn` or `torch`; their results differ in the last bits",
    ),
    "metafa_commit": Column(
        pa.string(), "the git commit of the checkout that ran the trial; empty where metafa was installed otherwise"
    ),
    **VERSION_COLUMNS,
}
"""Of `trials`, what describes the run and not its result: these differ when a study is run again."""
COLUMNS = {"trials": OUTCOME_COLUMNS | RUN_COLUMNS, "measurements": MEASUREMENT_COLUMNS}
"""Of each table, by name; `trials` has those of the settings besides."""
TABLES = tuple(COLUMNS)
# what continuing has to know
CONTINUED = ("trial_id", "status", "point", "objectives", "started", "numerics", "data")


def _types(columns: Mapping[str, Column]) -> dict[str, pa.DataType]:
    return {name: column.type for name, column in columns.items()}


COLUMN_TYPES = {table: _types(columns) for table, columns in COLUMNS.items()}
READ_TYPES = COLUMN_TYPES | {"measurements": COLUMN_TYPES["measurements"] | {TASK: pa.string()}}
"""Of the columns that are read, those of earlier versions among them."""
MEASUREMENTS = pa.schema(_types(MEASUREMENT_COLUMNS))


def trials_schema(study: Study) -> pa.Schema:
    """The columns of `trials`: the outcome, every setting by its dotted name, then what describes the run."""
    examples = [flatten(settings) for settings in study.examples]
    names = dict.fromkeys(name for example in examples for name in example)  # not every trial has every phase
    settings = {name: pa.array([example.get(name) for example in examples]).type for name in names}
    fields = [*_types(OUTCOME_COLUMNS).items(), *settings.items(), *_types(RUN_COLUMNS).items()]
    return pa.schema(fields, metadata={"metafa.study": study.text, "metafa.fingerprint": study.fingerprint})


def measured(trial_id: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A trial's measurements as rows of the table."""
    return pa.Table.from_pylist([{"trial_id": trial_id, **row} for row in rows], MEASUREMENTS)
