"""Which results a study may be continued over."""

from pathlib import Path

import pytest
from synthetic_results import fill

from metafa.errors import ResultsError
from metafa.results import (
    addresses,
    continuing,
)
from metafa.studies.settings import NUMERICS
from metafa.studies.study import Study


def test_results_of_other_numerics_are_not_mixed_with(
    tmp_path: Path, checked: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "old", checked)
    monkeypatch.setattr(continuing, "NUMERICS", NUMERICS + 1)
    with pytest.raises(ResultsError, match="4 trials of this study from a version of metafa with other num"):
        continuing.continued_rows(addresses.at(tmp_path / "old"))
