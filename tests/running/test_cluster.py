"""What is set for Ray while a study runs, and put back afterwards."""

import contextlib
import logging
import os

import pytest

from metafa.errors import ResourcesError
from metafa.running import cluster
from metafa.studies.settings import ResourceSettings


@pytest.mark.parametrize(
    ("cpus", "said", "policy"),
    [(1, None, None), (10**6, None, "passive"), (10**6, "active", "active"), (0, None, None)],
)
def test_threads_of_trials_spin_but_where_there_are_more_of_them_than_cores(
    cpus: int, said: str | None, policy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if said:
        monkeypatch.setenv("OMP_WAIT_POLICY", said)
    with cluster.switched(alone=True, cpus=cpus):
        assert os.environ.get("OMP_WAIT_POLICY") == policy
    assert os.environ.get("OMP_WAIT_POLICY") == said


def test_what_is_set_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a variable was set before or not."""
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")
    monkeypatch.delenv("TUNE_GLOBAL_CHECKPOINT_S", raising=False)
    level = logging.getLogger("ray").level
    with cluster.switched(alone=False):
        assert os.environ["RAY_AIR_NEW_OUTPUT"] == "1", "what is there already stays"
        assert set(cluster.SWITCHES) <= set(os.environ)
    assert os.environ["RAY_AIR_NEW_OUTPUT"] == "1"
    assert "TUNE_GLOBAL_CHECKPOINT_S" not in os.environ
    assert logging.getLogger("ray").level == level


@pytest.mark.parametrize(
    ("available", "sentence"),
    [
        ({"CPU": 2.0, "GPU": 1.0}, None),
        ({"CPU": 2.0}, "resources.gpus_per_trial is 0.5, but this machine has 0 GPUs"),
        ({"CPU": 1.0, "GPU": 1.0}, "resources.cpus_per_trial is 2, but this machine has 1 CPUs"),
    ],
)
def test_resources_that_a_machine_lacks_are_named(available: dict[str, float], sentence: str | None) -> None:
    resources = ResourceSettings(cpus_per_trial=2, gpus_per_trial=0.5)
    with pytest.raises(ResourcesError, match=f"^{sentence}$") if sentence else contextlib.nullcontext():
        cluster.check_resources(resources, available)
