"""Results of a version of metafa that called the setting `outer_steps` `iterations`."""

import json
from pathlib import Path

import made
import pandas as pd
import pytest

from metafa.errors import PartError, ResultsError, StudyError
from metafa.reporting import report
from metafa.results import addresses, earlier, parts, preparation, upkeep
from metafa.results.tables import load, read_table
from metafa.running import overview
from metafa.studies import study

STUDY = """\
seeds = 2
[network]
hidden = [20]
[[phases]]
phase = "noise"
steps = 3
[[phases]]
phase = "meta"
name = "training"
task_distribution = "glyphs"
outer_steps = { choices = [0, 10, 20] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""
EARLIER = STUDY.replace("outer_steps", "iterations")


def measured(trial):
    for seed in range(2):
        shared = {"seed": seed, "phase": "evaluate", "step": 5, "task": "glyphs"}
        yield shared | {"metric": "meta_loss", "value": 2 - trial.varied["training.outer_steps"] / 20 + seed / 100}
        yield shared | {"metric": "meta_accuracy", "value": 0.5}


@pytest.fixture(params=["a part a trial", "compacted"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Results of before."""
    made.results_of(tmp_path / "made", STUDY, measured)
    if request.param == "compacted":
        assert upkeep.compact(addresses.at(tmp_path / "made")) == 3
    made.make_earlier(tmp_path / "made")
    assert "iterations" in (tmp_path / "made" / "study.toml").read_text()
    part = next((tmp_path / "made" / "trials").glob("*.parquet"))
    assert "training.iterations" in pd.read_parquet(part), "as it was written"
    return tmp_path / "made"


def test_they_are_read_in_the_names_of_now(before: Path) -> None:
    trials = load(before).trials
    assert "training.iterations" not in trials
    assert sorted(trials["training.outer_steps"]) == [0, 10, 20]
    points = [json.loads(point) for point in trials["point"]]
    assert points == [{"training.outer_steps": steps} for steps in trials["training.outer_steps"]]
    known = preparation.read_study(addresses.at(before))
    assert list(known.spaces) == ["training.outer_steps"]
    assert known.text.endswith(EARLIER), "what is shown is the file as it was"


def test_they_stay_so_when_they_are_compacted(before: Path) -> None:
    store = addresses.at(before)
    first = read_table(store, "trials").sort_by("trial_id")
    upkeep.compact(store)
    assert read_table(store, "trials").sort_by("trial_id").equals(first)


def test_scripts_reports_and_status_show_them(before: Path) -> None:
    done = made.run("meta_loss.py", before)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(before / "analysis" / "meta_loss.csv")
    assert dict(zip(table["training.outer_steps"], table["meta_loss"], strict=True)) == pytest.approx(
        {0: 2.005, 10: 1.505, 20: 1.005}
    )
    done = made.run("search.py", before, "--objective", "minimize training.iterations")
    assert "the setting 'training.iterations' is called 'training.outer_steps' now" in done.stderr
    html = report.render(addresses.at(before))
    assert "training.outer steps" in html
    assert "training.iterations" not in html
    assert html.count("iterations = {") == 1, "in the study file"
    known = overview.read(addresses.at(before))
    assert (known.left, known.earlier) == (0, "in which `outer_steps` is called `iterations`")
    assert sorted(point["training.outer_steps"] for point in known.points.values()) == [0, 10, 20]


def test_they_are_not_continued(before: Path) -> None:
    store, checked = addresses.at(before), study.parse(STUDY, default_name="made")
    known = preparation.read_study(store)
    assert {trial.trial_id for trial in known.trials}.isdisjoint(load(before).trials["trial_id"])
    with pytest.raises(
        ResultsError, match="a version of metafa in which `outer_steps` is called `iterations`"
    ) as error:
        preparation.prepare(store, checked)
    assert "choose another folder" in str(error.value)
    assert (before / "study.toml").read_text().endswith(EARLIER), "nothing was written"


def test_a_study_of_before_that_is_to_run_is_refused() -> None:
    with pytest.raises(StudyError, match="iterations"):
        study.parse(EARLIER)


def test_objectives_and_phases_that_are_varied_are_read_too() -> None:
    after = '{ phase = "evaluate", task_distributions = ["glyphs"] }'
    first, second = (
        f'[{{ phase = "meta", task_distribution = "glyphs", iterations = {steps} }}, {after}]' for steps in (2, 3)
    )
    text = f"""\
search = {{ method = "tpe", trials = 2, objectives = ["evaluate.meta_loss", "meta.iterations"] }}
phases = {{ choices = [{first}, {second}] }}
"""
    known = study.parse(text, has_results=True)
    assert known.renamed == {"iterations"}
    assert known.search.objectives == ["evaluate.meta_loss", "meta.outer_steps"]
    assert {one.phases[0].outer_steps for one in known.examples} == {2, 3}
    with pytest.raises(StudyError) as error:
        study.parse(text)
    assert error.value.messages == ["study:2: phases: `iterations` is called `outer_steps` now"]
    with pytest.raises(StudyError) as error:
        study.parse(text.replace("iterations =", "outer_steps ="))
    assert error.value.messages[0].endswith("found 'meta.iterations', which is called 'meta.outer_steps' now")
    point = json.dumps({"phases": known.tree["phases"]["choices"][0], "meta.outer_steps": 3, "network.rule": "x"})
    assert earlier.point_with_new_names(point.replace("outer_steps", "iterations")) == point


def test_a_part_with_both_names_is_refused(before: Path) -> None:
    part = next((before / "trials").glob("*.parquet"))
    rows = parts.decode(part.read_bytes(), "trials")
    rows = rows.append_column("training.iterations", rows["training.outer_steps"])
    with pytest.raises(PartError, match="two columns of one setting"):
        parts.decode(parts.encode(rows), "trials")
