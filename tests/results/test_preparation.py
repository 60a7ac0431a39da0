"""A study and the results that it may have: what is made, taken, and refused with a sentence."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from study_texts import study_with
from synthetic_results import SMALL, assert_unchanged, fill, in_order, put, small_study

from metafa.errors import ResultsError
from metafa.results import (
    addresses,
    preparation,
)
from metafa.results.tables import statuses
from metafa.studies import study
from metafa.studies.study import Study


@pytest.mark.parametrize("changes", range(4))
def test_a_folder_whose_making_was_interrupted_is_made(
    changes: int, tmp_path: Path, checked: Study, killed_after: Callable[[int], AbstractContextManager]
) -> None:
    with killed_after(changes):
        preparation.prepare(addresses.at(tmp_path / "new"), checked)
    fill(tmp_path / "new", checked)
    assert set(statuses(addresses.at(tmp_path / "new")).values()) == {"done"}


def test_folders_that_cannot_take_the_results(tmp_path: Path, checked: Study) -> None:
    fill(tmp_path / "done", checked)
    preparation.check(addresses.at(tmp_path / "done"), checked)
    preparation.check(
        addresses.at(tmp_path / "done"), study.parse("# a comment\n" + study_with(SMALL), default_name="small")
    )
    other = small_study(noise={"steps": {"choices": [0, 200]}})
    (tmp_path / "file").write_text("x")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "thesis.tex").write_text("x")
    for folder, asked, said in [
        (
            tmp_path / "done",
            other,
            r"holds the results of another study \('small'\), kept there as study.toml: noise.steps is "
            r"\{ choices = \[0, 100\] \} there and \{ choices = \[0, 200\] \} here\. A study that has results may be "
            "given more `choices`; for any other change, choose another folder with --results",
        ),
        (tmp_path / "file", checked, "is not a folder"),
        (tmp_path / "file" / "below", checked, "is not a folder"),
        (tmp_path / "strange", checked, "is not a results folder of metafa"),
        (Path("/proc/metafa"), checked, "is not writable"),
    ]:
        with pytest.raises(ResultsError, match=said) as caught:
            preparation.prepare(addresses.at(folder), asked)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "file", "strange"]


SEARCHED = {
    "search": {"method": "tpe", "trials": 8, "objectives": ["evaluate.meta_loss"]},
    "seeds": 2,
    "phases": [
        {"phase": "noise", "steps": {"low": 0, "high": 100}},
        {"phase": "evaluate", "task_distributions": ["glyphs"]},
    ],
}
TWO_CPUS = {"resources": {"cpus_per_trial": 2}}


def parsed(base: dict, **changes: object) -> Study:
    return study.parse(study_with(base, **changes), default_name="small")


@pytest.mark.parametrize(
    ("base", "there", "here", "said"),
    [
        (
            SMALL,
            {},
            {"evaluate": {"shots": 3}},
            "evaluate.shots is 5 there and 3 here. A study that has results may be given more `c",
        ),
        (SMALL, {}, {"seeds": 3, "seed": 7}, "seed is 0 there and 7 here; seeds is 8 there and 3 here. A study"),
        (SMALL, {}, {"network": {"hidden": [20]}}, "network.hidden is [100] there and [20] here. A study"),
        (SMALL, {}, {"noise": None}, "phases is ['noise', 'evaluate'] there and ['evaluate'] here. A study"),
        (
            SEARCHED,
            {},
            {"search": {"trials": 4}},
            "search.trials is 8 there and 4 here. A study that has results may be given more `trials`; for",
        ),
        (SEARCHED, {}, {"search": {"method": "gp"}}, "search.method is 'tpe' there and 'gp' here. A study"),
        (
            SEARCHED,
            {},
            {"noise": {"steps": {"low": 0, "high": 50}}},
            "noise.steps is { low = 0, high = 100 } there and { low = 0, high = 50 } here. A study",
        ),
        (SMALL, {}, TWO_CPUS, "resources.cpus_per_trial is 1 there and 2 here. A study"),
        (SEARCHED, {}, TWO_CPUS, "resources.cpus_per_trial is 1 there and 2 here. A study"),
        (
            SMALL,
            {},
            {"resources": {"gpus_per_trial": 0.5}},
            "resources.gpus_per_trial is 0.0 there and 0.5 here. A study",
        ),
        (
            SMALL,
            {"resources": {"cpus_per_trial": 3, "gpus_per_trial": 1}},
            TWO_CPUS,
            "resources.cpus_per_trial is 3 there and 2 here; resources.gpus_per_trial is 1.0 there and 0.0 here. A st",
        ),
        (
            SMALL,
            {"resources": {"cpus_per_trial": 3, "gpus_per_trial": 1}},
            {"resources": {"cpus_per_trial": 2, "gpus_per_trial": 2}},
            "resources.cpus_per_trial is 3 there and 2 here. A study",
        ),
    ],
)
def test_of_an_edited_study_is_said_which_settings_differ(
    base: dict, there: dict, here: dict, said: str, tmp_path: Path
) -> None:
    preparation.prepare(addresses.at(tmp_path), parsed(base, **there))
    with pytest.raises(ResultsError) as caught:
        preparation.check(addresses.at(tmp_path), parsed(base, **here))
    found = str(caught.value).partition("kept there as study.toml: ")[2]
    assert found.startswith(said)
    assert found.endswith("for any other change, choose another folder with --results")


@pytest.mark.parametrize(
    ("base", "there", "here"),
    [
        (SMALL, {}, {"noise": {"steps": {"choices": [200, 100, 0]}}}),
        (SMALL, {}, {"name": "other", "question": "Why?", "evaluate": {"shots": 5}}),
        (SMALL, {}, {"resources": {"checkpoint_seconds": 1}}),
        (SMALL, {"resources": {"gpus_per_trial": 0.25}}, {"resources": {"gpus_per_trial": 0.5}}),
        (SEARCHED, {}, {"search": {"trials": 9}}),
    ],
    ids=["choices", "words", "resources", "GPUs", "trials"],
)
def test_edits_that_results_may_be_given(base: dict, there: dict, here: dict, tmp_path: Path) -> None:
    before, now = parsed(base, **there), parsed(base, **here)
    assert before.text != now.text
    preparation.prepare(addresses.at(tmp_path), before)
    preparation.check(addresses.at(tmp_path), now)


def test_a_study_that_this_version_does_not_read_is_said(tmp_path: Path, checked: Study) -> None:
    preparation.prepare(addresses.at(tmp_path), checked)
    (tmp_path / "study.toml").write_text(checked.text + "later = 1\n")
    with pytest.raises(
        ResultsError, match=r"that this metafa cannot read \(.*/study.toml:\d+: evaluate.later: unknown key"
    ):
        preparation.check(addresses.at(tmp_path), checked)


def test_results_without_their_study_are_read_and_continued(address: str, checked: Study) -> None:
    """Every part says of which study it is; of one that has grown, the largest counts."""
    place = addresses.at(address)
    fill(address, checked)
    more = small_study(noise={"steps": {"choices": [0, 100, 200]}})
    preparation.prepare(place, more)
    trial = next(trial for trial in more.trials if trial.varied["noise.steps"] == 200)
    put(address, more, trial, [])
    before = in_order(address)
    place.remove("study.toml")
    assert preparation.read_study(place).text == more.text
    assert_unchanged(before, address)
    with pytest.raises(ResultsError, match="holds the results of another study"):
        preparation.check(place, small_study(noise={"steps": {"choices": [0, 50]}}))
    preparation.check(place, more)
    preparation.prepare(place, more)
    assert place.read("study.toml").decode() == more.text


def test_a_store_that_does_not_answer_is_not_taken_for_an_empty_one(unavailable: str) -> None:
    with pytest.raises(ResultsError, match=r"cannot be read: .*(503|SLOW_DOWN|Slow Down)") as caught:
        preparation.read_study(addresses.at(unavailable))
    assert "secret" not in str(caught.value)
