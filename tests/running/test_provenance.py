from importlib.metadata import version
from pathlib import Path

import pandas as pd
import synthetic_results

from metafa.results import addresses, preparation, tables
from metafa.results.columns import VERSION_COLUMNS
from metafa.running import provenance
from metafa.studies import study

STUDY = """\
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


def test_what_is_not_installed_has_no_version() -> None:
    assert provenance.version_of("torch") == version("torch")
    assert provenance.version_of("no-such-package") is None
    assert set(provenance.of_software()) == {"metafa_commit", *VERSION_COLUMNS}


def test_results_made_without_learn2learn_say_so(tmp_path: Path) -> None:
    checked = study.parse(STUDY, default_name="made")
    place = addresses.open_store(str(tmp_path / "results"))
    preparation.prepare(place, checked)
    synthetic_results.put(
        place.address, checked, checked.trials[0], [], **provenance.of_software() | {"learn2learn_version": None}
    )
    (row,) = tables.load(place.address).trials.to_dict("records")
    assert row["torch_version"] == version("torch")
    assert pd.isna(row["learn2learn_version"])
