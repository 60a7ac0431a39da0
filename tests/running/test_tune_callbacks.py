"""What Tune is given to ask and to tell."""

import pickle

import pytest
from ray import tune
from ray.tune.search import Searcher

from metafa.running.tune_callbacks import NotSaved, StopOnWriteError, StudyCallback, TrialSearcher


@pytest.mark.parametrize(
    ("kind", "saved_as"),
    [(TrialSearcher, Searcher), (StopOnWriteError, tune.stopper.NoopStopper), (StudyCallback, tune.Callback)],
)
def test_what_cannot_be_saved_is_saved_as_what_does_nothing(kind: type[NotSaved], saved_as: type) -> None:
    """Tune pickles all of them, whatever they hold."""
    held = kind.__new__(kind)
    held.anything = lambda: None
    assert type(pickle.loads(pickle.dumps(held))) is saved_as
