"""What tests of trials share: the images of their tasks, loaded once."""

import pytest
from trial_runs import ON_TASKS, settings_of

from metafa.trials import trial


@pytest.fixture(scope="session")
def sources() -> trial.Sources:
    """What `trial_runs.ON_TASKS` draws its tasks from."""
    return trial.prepared(trial.load_sources(settings_of(ON_TASKS)))
