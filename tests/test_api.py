"""metafa from Python: the same numbers as a study's, and defaults that are its schema's."""

import inspect
import logging
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ray._private import ray_constants

import metafa
from metafa import launch, settings

ROWS = ["seed", "step", "metric", "layer", "task", "value"]
STUDY = dict(
    name="small",
    seeds=3,
    seed=5,
    network={"hidden": [12, 8], "rule": {"choices": ["feedback_alignment", "kolen_pollack"]}},
    phases=[
        {"phase": "noise", "steps": 150, "learning_rate": 1e-3, "batch_size": 16},
        {"phase": "evaluate", "task_distributions": ["glyphs"], "tasks": 20, "inner_steps": 2},
    ],
    measure={"points": 5, "tasks": 10},
)


def ordered(rows: pd.DataFrame) -> pd.DataFrame:
    plain = rows[ROWS].astype({"layer": "float64", "task": "object"})
    plain["task"] = plain["task"].where(plain["task"].notna(), "-")
    return plain.sort_values(ROWS[:-1], ignore_index=True)


def of_ray() -> tuple:
    """What this process tells Ray and Tune."""
    said = {name: value for name, value in os.environ.items() if name.startswith(("RAY_", "TUNE_"))}
    said.pop("RAY_AUTH_MODE", None)  # Ray's own doing, which it goes by afterwards
    return said, ray_constants.ENABLE_RAY_CLUSTER, logging.getLogger("ray").level


def test_step_by_step_gives_what_a_study_gives(tmp_path: Path) -> None:
    """To the bit: the same streams, and the same arithmetic."""
    study, before = metafa.define(STUDY), of_ray()
    with pytest.raises(launch.LaunchError, match="gpus_per_trial is 9"):
        metafa.run(metafa.define(STUDY | {"resources": {"gpus_per_trial": 9}}), tmp_path / "greedy")
    trials, measurements = metafa.run(study, tmp_path / "small")
    assert trials["status"].tolist() == ["done", "done"]
    assert of_ray() == before, "whatever else this process does with Ray and Tune is as if there had been no study"
    script = f"""
import sys
import metafa, torch
torch.set_num_threads(1)  # as a trial of the study, whose sums are rounded as one thread's are
for rule in ("feedback_alignment", "kolen_pollack"):
    replicas = metafa.initialise(rule, seeds=3, seed=5, hidden=[12, 8])
    noise = metafa.pretrain(replicas, 150, learning_rate=1e-3, batch_size=16, points=5)
    noise.to_parquet(r"{tmp_path}/" + rule + ".noise")
    metafa.evaluate(replicas, "glyphs", tasks=20, inner_steps=2).to_parquet(r"{tmp_path}/" + rule + ".evaluate")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    for trial in trials.to_dict("records"):
        rows = measurements[measurements["trial_id"] == trial["trial_id"]]
        for phase in ("noise", "evaluate"):
            found = pd.read_parquet(tmp_path / f"{trial['network.rule']}.{phase}")
            expected = rows[(rows["phase"] == phase) & rows["metric"].isin(found["metric"].unique())]
            # a batch's loss is of no task; a study measures its meta-loss in noise as well
            expected = expected[expected["task"].isna() == (phase == "noise")]
            pd.testing.assert_frame_equal(ordered(found), ordered(expected), check_exact=True)


@pytest.mark.parametrize(
    ("function", "schema"),
    [
        (metafa.pretrain, settings.NoisePhase),
        (metafa.evaluate, settings.EvaluatePhase),
        (metafa.initialise, settings.NetworkSettings),
        (metafa.initialise, settings.TrialSettings),
    ],
)
def test_defaults_are_the_schemas(function: object, schema: type[settings.Settings]) -> None:
    fields = schema.model_fields
    for name, parameter in inspect.signature(function).parameters.items():
        if name in fields and not fields[name].is_required():
            default = parameter.default
            assert (list(default) if isinstance(default, tuple) else default) == fields[name].default, name


def test_a_taskset_of_ones_own_is_evaluated_on() -> None:
    from metafa import tasks

    taskset = tasks.taskset(tasks.TASK_DISTRIBUTIONS["glyphs"].load("test", True), ways=3, images_per_class=6)
    replicas = metafa.initialise(seeds=2, outputs=3)
    curve = metafa.evaluate(replicas, taskset, ways=3, shots=2, queries=4, tasks=10, inner_steps=1)
    assert curve["task"].unique().tolist() == ["taskset"]
    assert sorted(curve["step"].unique()) == [0, 1]
    assert curve.query("metric == 'meta_loss'")["value"].between(0.1, 10).all()


def test_mistakes_are_said() -> None:
    with pytest.raises(ValueError, match="no rule 'backprpo'; there are backprop, feedback_alignment"):
        metafa.initialise("backprpo")
    with pytest.raises(ValueError, match="tasks of 7 ways, but these networks have 5 outputs; say outputs = 7"):
        metafa.evaluate(metafa.initialise(seeds=1), ways=7)
    with pytest.raises(ValueError, match="no task distribution 'glyfs'; there are glyphs"):
        metafa.evaluate(metafa.initialise(seeds=1), "glyfs")
    with pytest.raises(metafa.StudyError) as found:
        metafa.define(phases=[{"phase": "noise", "stepps": 3}])
    assert "noise.stepps: unknown key; did you mean 'steps'?" in str(found.value)
    with pytest.raises(metafa.ResultsError, match=r"it has no study\.toml"):
        metafa.load("nowhere")


def test_the_public_names_are_those_that_are_documented() -> None:
    assert set(metafa.__all__) <= set(dir(metafa))
    for name in metafa.__all__:
        assert inspect.getdoc(getattr(metafa, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        metafa.nothing  # noqa: B018


def test_importing_metafa_imports_nothing_heavy() -> None:
    code = "import metafa, sys; print(*{'torch', 'ray', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == ""
