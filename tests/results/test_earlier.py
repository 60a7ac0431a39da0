"""Results of versions of metafa that said `iterations` for `outer_steps`, `task` for `inputs` and `shift`, and
`effective_rank` of squared singular values."""

import io
import itertools
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_results

from metafa.errors import PartError, ResultsError, StudyError
from metafa.reporting import claims, conditions, report
from metafa.results import addresses, continuing, earlier, parts, preparation, sealing, upkeep
from metafa.results.columns import MEASUREMENTS
from metafa.results.tables import load, read_table
from metafa.running import overview
from metafa.studies import study
from metafa.studies.claims import chosen_inputs
from metafa.studies.data import Inputs


def study_text(name: str) -> str:
    """A study in which the steps of the outer loop have this name."""
    return f"""\
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
{name} = {{ choices = [0, 10, 20] }}
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


STUDY, EARLIER = study_text("outer_steps"), study_text("iterations")


def measured(trial):
    for seed in range(2):
        shared = {"seed": seed, "phase": "evaluate", "step": 5, "inputs": "glyphs"}
        yield shared | {"metric": "meta_loss", "value": 2 - trial.varied["training.outer_steps"] / 20 + seed / 100}
        yield shared | {"metric": "meta_accuracy", "value": 0.5}


@pytest.fixture(params=["a part a trial", "compacted"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Results of before."""
    synthetic_results.results_of(tmp_path / "made", STUDY, measured)
    if request.param == "compacted":
        assert upkeep.compact(addresses.at(tmp_path / "made")) == 3
    synthetic_results.make_earlier(tmp_path / "made")
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
    done = synthetic_results.run("meta_loss.py", before)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(before / "analysis" / "meta_loss.csv")
    assert dict(zip(table["training.outer_steps"], table["meta_loss"], strict=True)) == pytest.approx(
        {0: 2.005, 10: 1.505, 20: 1.005}
    )
    done = synthetic_results.run("search.py", before, "--objective", "minimize training.iterations")
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
    def text_with(name: str) -> str:
        after = '{ phase = "evaluate", task_distributions = ["glyphs"] }'
        first, second = (
            f'[{{ phase = "meta", task_distribution = "glyphs", {name} = {steps} }}, {after}]' for steps in (2, 3)
        )
        return f"""\
search = {{ method = "tpe", trials = 2, objectives = ["evaluate.meta_loss", "meta.iterations"] }}
phases = {{ choices = [{first}, {second}] }}
"""

    text = text_with("iterations")
    known = study.parse(text, has_results=True)
    assert known.renamed == {"iterations"}
    assert known.search.objectives == ["evaluate.meta_loss", "meta.outer_steps"]
    assert {one.phases[0].outer_steps for one in known.examples} == {2, 3}
    with pytest.raises(StudyError) as error:
        study.parse(text)
    assert "study:2: phases: `iterations` is called `outer_steps` now" in error.value.messages
    with pytest.raises(StudyError) as error:
        study.parse(text_with("outer_steps"))
    assert error.value.messages[0].endswith("found 'meta.iterations', which is called 'meta.outer_steps' now")
    point = json.dumps({"phases": known.tree["phases"]["choices"][0], "meta.outer_steps": 3, "network.rule": "x"})
    assert earlier.point_with_new_names(point.replace("outer_steps", "iterations")) == point


def test_a_part_with_both_names_is_refused(before: Path) -> None:
    part = next((before / "trials").glob("*.parquet"))
    rows = parts.decode(part.read_bytes(), "trials")
    rows = rows.append_column("training.iterations", rows["training.outer_steps"])
    with pytest.raises(PartError, match="two columns of one setting"):
        parts.decode(parts.encode(rows), "trials")


TRIAL = "0123456789abcdef"
ROWS = [  # metric, task; inputs, shift, strength
    ("meta_loss", "omniglot", "omniglot", None, None),
    ("accuracy", "mnist10k", "mnist10k", None, None),
    ("accuracy", "mnist10k/rotation=30", "mnist10k", "rotation", 30.0),
    ("loss", "mnist10k/pixel_noise=0.05", "mnist10k", "pixel_noise", 0.05),
    ("loss", "usps/scaling=1e-05", "usps", "scaling", 1e-5),
    ("readout_probability", "noise", "noise", None, None),
    ("readout_probability", "tasks of glyphs", "tasks/glyphs", None, None),
    ("loss", None, "batch", None, None),
    ("accuracy", None, "batch", None, None),
    ("alignment_angle", None, None, None, None),
    ("inner_learning_rate", None, None, None, None),
]


def part(tasks: list[str | None], metrics: list[str]) -> bytes:
    """A part of `measurements` as version 1.0 wrote it."""
    number = len(tasks)
    return parts.encode(
        pa.table(
            {
                "trial_id": [TRIAL] * number,
                "seed": pa.array(range(number), pa.int64()),
                "learning_rate": pa.nulls(number, pa.float64()),
                "phase": ["phase"] * number,
                "step": pa.array([0] * number, pa.int64()),
                "metric": metrics,
                "layer": pa.nulls(number, pa.int64()),
                "component": pa.nulls(number, pa.int64()),
                "task": pa.array(tasks, pa.string()),
                "value": [i / 8 for i in range(number)],
            }
        )
    )


def test_a_task_is_read_as_inputs_shift_and_strength() -> None:
    metrics, tasks, *_ = zip(*ROWS, strict=True)
    read = parts.decode(part(list(tasks) * 3, list(metrics) * 3), "measurements")
    assert read.schema.equals(MEASUREMENTS)
    names = ("metric", "inputs", "shift", "strength")
    found = [tuple(row[name] for name in names) for row in read.select(names).to_pylist()]
    assert found == [(metric, *where) for metric, _, *where in ROWS] * 3
    assert read["value"].to_pylist() == [i / 8 for i in range(3 * len(ROWS))]
    assert parts.decode(parts.encode(read), "measurements").equals(read)


@pytest.mark.parametrize("task", ["mnist10k/rotation", "mnist10k/rotation=far", "a task", "$\\frac$", "tasks of a b"])
def test_a_task_that_no_version_wrote_is_refused(task: str) -> None:
    with pytest.raises(PartError):
        parts.decode(part([task], ["accuracy"]), "measurements")


NAMES_OF_BEFORE = {
    "usps": Inputs("usps"),
    "usps/rotation=5": Inputs("usps", "rotation", 5.0),
    "usps/rotation=10": Inputs("usps", "rotation", 10.0),
    "usps/scale=0.5": Inputs("usps", "scale", 0.5),
    "mnist": Inputs("mnist"),
    "mnist10k": Inputs("mnist10k"),
    "glyphs": Inputs("glyphs"),
    "tasks of glyphs": Inputs("tasks/glyphs"),
    "noise": Inputs("noise"),
}


@pytest.mark.parametrize(
    ("task", "chosen"),
    [
        ("usps/rotation", ["usps/rotation=5", "usps/rotation=10"]),
        ("usps/rotation=5", ["usps/rotation=5"]),
        ("usps/rotation=1", ["usps/rotation=10"]),
        ("usps/r", ["usps/rotation=5", "usps/rotation=10"]),
        ("usps/", ["usps/rotation=5", "usps/rotation=10", "usps/scale=0.5"]),
        ("mnist", ["mnist", "mnist10k"]),
        ("tasks of", ["tasks of glyphs"]),
        ("glyphs", ["glyphs"]),
        ("", [name for name in NAMES_OF_BEFORE if name != "usps"]),
    ],
)
def test_claims_of_before_are_about_inputs_whose_name_of_before_begins_as_they_say(
    task: str, chosen: list[str]
) -> None:
    text = f"""\
[[phases]]
phase = "noise"
steps = {{ choices = [0, 10] }}
[[phases]]
phase = "supervised"
dataset = "usps"
steps = 10
[[phases]]
phase = "out_of_distribution"
rotation = [10]
[[claims]]
claim = 7
statement = "s"
metric = "accuracy"
phase = "out_of_distribution"
task = "{task}"
expect = "higher"
"""
    found = study.parse(text, has_results=True)
    assert not found.renamed, "trials are known by the same ids"
    measured = {("usps", inputs) for inputs in NAMES_OF_BEFORE.values()}
    picked = chosen_inputs(found.claims[0], measured, skips_own_dataset=True)
    assert picked == {("usps", NAMES_OF_BEFORE[name]) for name in chosen}
    with pytest.raises(StudyError, match=r"task: unknown key.*did you mean 'inputs' or 'shift'"):
        study.parse(text)


def study_of_ranks(dimensionality: str, rank: str) -> str:
    """A study about two measures of which these are the names."""
    return f"""\
seeds = 2
[[phases]]
phase = "noise"
steps = {{ choices = [0, 10] }}
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
[early_stopping]
method = "median"
metric = "noise.{dimensionality}"
direction = "minimize"
[[claims]]
claim = 5
statement = "It falls"
metric = "{dimensionality}"
phase = "noise"
compare = "start"
expect = "lower"
[[claims]]
claim = 6
statement = "So does this"
metric = "{rank}"
phase = "noise"
compare = "start"
expect = "lower"
"""


NOW, BEFORE = (
    study_of_ranks("participation_ratio", "squared_effective_rank"),
    study_of_ranks("effective_dimensionality", "effective_rank"),
)
OLD_NAMES = {"participation_ratio": "effective_dimensionality", "squared_effective_rank": "effective_rank"}


def ranks(trial):
    for seed, step, layer in itertools.product(range(2), (0, trial.varied["noise.steps"]), (1, 2)):
        shared = {"seed": seed, "phase": "noise", "step": step, "layer": layer}
        yield shared | {"metric": "participation_ratio", "value": 60.0 - step - seed}
        yield shared | {"metric": "squared_effective_rank", "value": 80.0 - step - seed / 2}


@pytest.fixture(params=["a part a trial", "compacted", "compacted by this version"])
def of_numerics_5(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Results as numerics 5 called their metrics."""
    folder = tmp_path / "made"
    checked = study.parse(NOW, default_name="made")
    preparation.prepare(addresses.at(folder), checked)
    for one in checked.trials:
        synthetic_results.put(folder, checked, one, ranks(one), numerics=5)
    if request.param == "compacted":
        assert upkeep.compact(addresses.at(folder)) == 2
    for path in folder.glob("measurements/*.parquet"):
        rows = pq.read_table(path)
        metadata = {key: value for key, value in rows.schema.metadata.items() if key != earlier.METRICS_OF}
        metrics = pa.array([OLD_NAMES[name] for name in rows["metric"].to_pylist()])
        rows = rows.set_column(rows.column_names.index("metric"), "metric", metrics).replace_schema_metadata(metadata)
        content = io.BytesIO()
        pq.write_table(rows, content)
        path.write_bytes(sealing.seal(content.getvalue()))
    (folder / "study.toml").write_text(BEFORE)
    if request.param == "compacted by this version":
        assert upkeep.compact(addresses.at(folder)) == 2
    return folder


def test_ranks_of_before_are_read_as_what_they_are(of_numerics_5: Path) -> None:
    store = addresses.at(of_numerics_5)
    trials, measurements = load(of_numerics_5)
    steps = dict(zip(trials["trial_id"], trials["noise.steps"], strict=True))
    assert sorted(steps.values()) == [0, 10]
    last = measurements[measurements["step"] == measurements["trial_id"].map(steps)]
    found = last.groupby(["metric", last["trial_id"].map(steps)])["value"].mean()
    assert found.to_dict() == {
        **{("participation_ratio", step): 59.5 - step for step in (0, 10)},
        **{("squared_effective_rank", step): 79.75 - step for step in (0, 10)},
    }
    known = preparation.read_study(store)
    assert [claim.metric for claim in known.claims] == ["participation_ratio", "squared_effective_rank"]
    assert known.early_stopping is not None
    assert known.early_stopping.metric == "noise.participation_ratio"
    assert "effective_dimensionality" in known.text, "what is shown is the file as it was"
    judged = claims.judge_all(conditions.read(of_numerics_5), known.claims)
    assert judged["difference"].tolist() == pytest.approx([-10, -10])


def test_ranks_of_before_are_not_continued(of_numerics_5: Path) -> None:
    store = addresses.at(of_numerics_5)
    preparation.check(store, study.parse(NOW, default_name="made"))
    with pytest.raises(ResultsError, match="2 trials of this study from a version of metafa with other numerics"):
        continuing.continued_rows(store)


def test_ranks_of_now_are_not_taken_for_those_of_before(tmp_path: Path) -> None:
    text = study_of_ranks("participation_ratio", "effective_rank")

    def of_now(trial):
        return [row | {"metric": row["metric"].replace("squared_", "")} for row in ranks(trial)]

    synthetic_results.results_of(tmp_path / "made", text, of_now)
    store = addresses.at(tmp_path / "made")
    for _ in range(2):
        assert set(load(tmp_path / "made").measurements["metric"]) == {"participation_ratio", "effective_rank"}
        assert preparation.read_study(store).claims[1].metric == "effective_rank"
        upkeep.compact(store)


def test_a_study_that_says_a_name_of_before_is_told_the_new_one() -> None:
    with pytest.raises(StudyError) as error:
        study.parse(BEFORE)
    of_claim, of_stopping = (message.partition(": ")[2] for message in error.value.messages)
    assert of_claim == "claims[0].metric: found 'effective_dimensionality', which is called 'participation_ratio' now"
    assert of_stopping.endswith("which is called 'noise.participation_ratio' now")
    searched = """\
search = { method = "tpe", trials = 2, objectives = ["noise.effective_dimensionality"], directions = ["minimize"] }
phases = [{ phase = "noise", steps = { low = 1, high = 9 } }, { phase = "evaluate", task_distributions = ["glyphs"] }]
"""
    with pytest.raises(StudyError, match=r"which is called 'noise\.participation_ratio' now"):
        study.parse(searched)
    of_results = study.parse(searched, has_results=True, numerics=5)
    assert of_results.search.objectives == ["noise.participation_ratio"]
