"""What the tests of real clusters share: a study that nothing disturbed."""

from pathlib import Path

import pytest
from disturbances import STUDY, metafa


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study run with one worker: its folder, the results in results/small."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "small.toml").write_text(STUDY)
    done = metafa(folder, "run", "small.toml", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a user's screen is for the study alone"
    assert "4 of 4 trials done" in done.stdout
    return folder
