import pytest

from metafa.learning.kinds import ACTIVATIONS, LOSSES, OPTIMIZERS, OUTER_ALGORITHMS, resolved
from metafa.learning.rules import RULES

REFERENCES = {
    **{f"activation {name}": row.function for name, row in ACTIVATIONS.items()},
    **{f"derivative of {name}": row.derivative for name, row in ACTIVATIONS.items()},
    **{f"loss {name}": row for name, row in LOSSES.items()},
    **{f"optimizer {name}": row.make for name, row in OPTIMIZERS.items()},
    **{f"outer algorithm {name}": row.gradient for name, row in OUTER_ALGORITHMS.items() if row.gradient},
    **{f"feedback of {name}": row.learning.change for name, row in RULES.items() if row.learning.change},
}


@pytest.mark.parametrize("row", REFERENCES)
def test_what_a_row_refers_to_is_there(row: str) -> None:
    found = resolved(REFERENCES[row])
    assert callable(found) or callable(found.value)
