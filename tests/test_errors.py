"""Errors that metafa raises for its user."""

import pickle

import pytest

from metafa import errors

MADE = [
    errors.StudyError(["study:1: a mistake", "study:2: another"]),
    errors.DataError(["one"]),
    errors.DataBroken("a/file", "is short", "load it again"),
    errors.ResultsError("a line"),
    errors.PartError("is damaged"),
    errors.LaunchError("a line"),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_where_another_process_raised_it(error: errors.MetafaError) -> None:
    """As Ray hands it on from a worker."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert getattr(again, "messages", None) == getattr(error, "messages", None)
