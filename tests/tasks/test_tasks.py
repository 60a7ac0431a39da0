"""The table of task distributions."""

from pathlib import Path

import pytest

from metafa.errors import DataAbsent
from metafa.tasks import TASK_DISTRIBUTIONS


@pytest.mark.parametrize("name", ["omniglot", "omniglot-minimal", "mnist", "fashion-mnist", "kmnist"])
def test_absent_data_is_said_and_leaves_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFA_DATA", str(tmp_path / "nowhere"))
    assert not TASK_DISTRIBUTIONS[name].here("test")
    with pytest.raises(DataAbsent, match=name):
        TASK_DISTRIBUTIONS[name].load("test", False)
    assert not (tmp_path / "nowhere").exists()
