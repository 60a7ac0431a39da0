"""The table of task distributions."""

from pathlib import Path

import pytest

from metafa.errors import DataAbsent
from metafa.studies import data
from metafa.tasks import TASK_DISTRIBUTIONS


def test_the_table_and_the_study_files_know_the_same_names() -> None:
    assert set(TASK_DISTRIBUTIONS) == set(data.TASK_DISTRIBUTION_NAMES)


@pytest.mark.parametrize("name", ["omniglot", "omniglot-minimal", "mnist", "fashion-mnist", "kmnist"])
def test_absent_data_is_said_and_leaves_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFA_DATA", str(tmp_path / "nowhere"))
    assert not TASK_DISTRIBUTIONS[name].here()
    with pytest.raises(DataAbsent, match=name):
        TASK_DISTRIBUTIONS[name].load("test", False)
    assert not (tmp_path / "nowhere").exists()
