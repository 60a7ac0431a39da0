"""What a trial is known by."""

from study_bases import GRID, GRID_LINES, SUPERVISED
from study_texts import study_with, written

from metafa.studies import study


def ids_of(text: str) -> set[str]:
    return {trial.trial_id for trial in study.parse(text).trials}


def test_trial_ids_tell_what_determines_the_result_and_nothing_else() -> None:
    ids = ids_of(study_with(GRID))
    assert len(ids) == 4
    for same in (
        study_with(GRID, question="another question"),
        study_with(GRID, resources={"cpus_per_trial": 2}),
        study_with(GRID, noise={"steps": {"choices": [100, 0]}}),
        study_with(GRID, seed=0),
        study_with(GRID, name="other"),
        "# a comment\n" + study_with(GRID),
        written(GRID_LINES),
    ):
        assert same != study_with(GRID)
        assert ids_of(same) == ids
    for other in (study_with(GRID, seeds=5), study_with(GRID, seed=1), study_with(GRID, meta={"outer_steps": 11})):
        assert not ids_of(other) & ids


def test_claims_are_no_part_of_what_determines_a_trial() -> None:
    phases = [{"phase": "noise", "steps": {"choices": [0, 10]}}, *SUPERVISED["phases"]]
    claim = {"claim": 2, "statement": "s", "metric": "loss", "phase": "supervised", "expect": "lower"}
    assert ids_of(study_with(SUPERVISED, phases=phases, claims=[claim])) == ids_of(study_with({"phases": phases}))
