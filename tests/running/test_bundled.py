"""The studies that come with metafa."""

import pytest

from metafa.running import bundled


@pytest.mark.parametrize("name", ["quickstart", "quickstart.toml", "studies/quickstart", "paper/figure_2"])
def test_a_study_is_known_by_its_name_however_it_is_written(name: str) -> None:
    assert bundled.study_file(name) in bundled.study_files().values()


@pytest.mark.parametrize("name", ["no_such_study", "", ".", "claims"])
def test_what_is_no_study_is_none(name: str) -> None:
    assert bundled.study_file(name) is None
