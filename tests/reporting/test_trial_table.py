"""The kinds of phases, as rows of the table of trials tell them."""

from __future__ import annotations

import pandas as pd

from metafa.reporting import trial_table


def of_phases(phases: list[str], **columns: str) -> pd.DataFrame:
    return pd.DataFrame({"phases": [phases], **{name: [value] for name, value in columns.items()}})


def test_the_kind_of_a_phase_is_what_its_trial_says() -> None:
    """Not what its settings' names suggest: a network may have `inputs`, and a kind of phase may have any setting."""
    columns = {"network.inputs": "rows", "first.phase": "noise", "second.phase": "evaluate", "second.inputs": "normal"}
    assert trial_table.phase_kinds(of_phases(["first", "second"], **columns)) == {
        "first": {"noise"},
        "second": {"evaluate"},
    }


def test_results_of_before_tell_the_kind_of_a_phase_by_its_own_setting() -> None:
    columns = {"network.inputs": "rows", "a.inputs": "normal", "b.training_images": "all", "c.outer_algorithm": "exact"}
    columns |= {"d.task_distributions": "glyphs", "e.translation": "2"}
    kinds = trial_table.phase_kinds(of_phases(list("abcde"), **columns))
    assert kinds == dict(zip("abcde", ({kind} for kind in trial_table.OWN_SETTING), strict=True))
