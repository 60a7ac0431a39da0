"""What earlier versions of metafa called otherwise is read under the names of this one."""

import pyarrow as pa
import pytest

from metafa.errors import PartError
from metafa.results import parts
from metafa.results.columns import MEASUREMENTS

TRIAL = "0123456789abcdef"
ROWS = [  # metric, task; inputs, shift, strength
    ("meta_loss", "omniglot", "omniglot", None, None),
    ("accuracy", "mnist10k", "mnist10k", None, None),
    ("accuracy", "mnist10k/rotation=30", "mnist10k", "rotation", 30.0),
    ("loss", "mnist10k/pixel_noise=0.05", "mnist10k", "pixel_noise", 0.05),
    ("loss", "usps/scaling=1e-05", "usps", "scaling", 1e-5),
    ("readout_probability", "noise", "noise", None, None),
    ("readout_probability", "tasks of glyphs", "tasks/glyphs", None, None),
    ("loss", None, "batch", None, None),
    ("accuracy", None, "batch", None, None),
    ("alignment_angle", None, None, None, None),
    ("inner_learning_rate", None, None, None, None),
]


def part(tasks: list[str | None], metrics: list[str]) -> bytes:
    """A part of `measurements` as version 1.0 wrote it."""
    number = len(tasks)
    return parts.encode(
        pa.table(
            {
                "trial_id": [TRIAL] * number,
                "seed": pa.array(range(number), pa.int64()),
                "learning_rate": pa.nulls(number, pa.float64()),
                "phase": ["phase"] * number,
                "step": pa.array([0] * number, pa.int64()),
                "metric": metrics,
                "layer": pa.nulls(number, pa.int64()),
                "component": pa.nulls(number, pa.int64()),
                "task": pa.array(tasks, pa.string()),
                "value": [i / 8 for i in range(number)],
            }
        )
    )


def test_a_task_is_read_as_inputs_shift_and_strength() -> None:
    metrics, tasks, *_ = zip(*ROWS, strict=True)
    read = parts.decode(part(list(tasks) * 3, list(metrics) * 3), "measurements")
    assert read.schema.equals(MEASUREMENTS)
    names = ("metric", "inputs", "shift", "strength")
    found = [tuple(row[name] for name in names) for row in read.select(names).to_pylist()]
    assert found == [(metric, *where) for metric, _, *where in ROWS] * 3
    assert read["value"].to_pylist() == [i / 8 for i in range(3 * len(ROWS))]
    assert parts.decode(parts.encode(read), "measurements").equals(read)


@pytest.mark.parametrize("task", ["mnist10k/rotation", "mnist10k/rotation=far", "a task", "$\\frac$", "tasks of a b"])
def test_a_task_that_no_version_wrote_is_refused(task: str) -> None:
    with pytest.raises(PartError):
        parts.decode(part([task], ["accuracy"]), "measurements")
