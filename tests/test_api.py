"""metafa from Python: the same numbers as a study's, and defaults that are its schema's."""

import inspect
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from oracles import Perceptron
from ray._private import ray_constants
from torch.nn.functional import cross_entropy

import metafa
from metafa import tasks
from metafa.errors import LaunchError
from metafa.learning.layers.activation import Activation
from metafa.learning.layers.normalization import BatchNormalization
from metafa.studies import fields, phases, settings

ROWS = ["seed", "step", "metric", "layer", "inputs", "value"]
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
    plain = rows[ROWS].astype({"layer": "float64", "inputs": "object"})
    plain["inputs"] = plain["inputs"].where(plain["inputs"].notna(), "-")
    return plain.sort_values(ROWS[:-1], ignore_index=True)


def of_ray() -> tuple:
    """What this process tells Ray and Tune."""
    said = {name: value for name, value in os.environ.items() if name.startswith(("RAY_", "TUNE_"))}
    said.pop("RAY_AUTH_MODE", None)  # Ray's own doing, which it goes by afterwards
    return said, ray_constants.ENABLE_RAY_CLUSTER, logging.getLogger("ray").level


def test_step_by_step_gives_what_a_study_gives(tmp_path: Path) -> None:
    """To the bit: the same streams, and the same arithmetic."""
    study, before = metafa.define(STUDY), of_ray()
    with pytest.raises(LaunchError, match="gpus_per_trial is 9"):
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
            # a study measures the readout and its meta-loss in noise as well
            expected = expected[expected["inputs"].fillna("batch").isin(found["inputs"].fillna("batch").unique())]
            pd.testing.assert_frame_equal(ordered(found), ordered(expected), check_exact=True)


@pytest.mark.parametrize(
    ("function", "schema"),
    [
        (metafa.pretrain, phases.NoisePhase),
        (metafa.evaluate, phases.EvaluatePhase),
        (metafa.initialise, settings.NetworkSettings),
        (metafa.initialise, settings.TrialSettings),
    ],
)
def test_defaults_are_the_schemas(function: object, schema: type[fields.Settings]) -> None:
    fields = schema.model_fields
    for name, parameter in inspect.signature(function).parameters.items():
        if name in fields and not fields[name].is_required():
            default = parameter.default
            if default is None:  # where it is not said, the schema's
                continue
            assert (list(default) if isinstance(default, tuple) else default) == fields[name].default, name


def test_pictures_of_noise_are_for_networks_that_take_images() -> None:
    pink = metafa.pretrain(metafa.initialise(seeds=2, inputs=3072), 2, inputs="pink")
    assert pink.query("metric == 'loss'")["value"].between(0.1, 10).all()
    with pytest.raises(
        ValueError, match="inputs: 'pink' has rows and columns, and no images are known that have 50 pix"
    ):
        metafa.pretrain(metafa.initialise(seeds=2, inputs=50), 2, inputs="pink")


def test_a_taskset_of_ones_own_is_evaluated_on() -> None:
    taskset = tasks.taskset(tasks.TASK_DISTRIBUTIONS["glyphs"].load("test", True), ways=3, images_per_class=6)
    replicas = metafa.initialise(seeds=2, outputs=3)
    curve = metafa.evaluate(replicas, taskset, ways=3, shots=2, queries=4, tasks=10, inner_steps=1)
    assert curve["inputs"].unique().tolist() == ["taskset"]
    assert sorted(curve["step"].unique()) == [0, 1]
    assert curve.query("metric == 'meta_loss'")["value"].between(0.1, 10).all()


CLASSES, SHOTS, QUERIES = 6, 2, 3


def own_taskset(images: torch.Tensor, ways: int = 3, per_class: int = SHOTS + QUERIES, fast: bool = True, **options):
    """A learn2learn taskset over 8 images of each of six classes; if not ``fast``, one that metafa has to ask."""
    from metafa.tasks.base import import_learn2learn

    l2l = import_learn2learn()
    labels = torch.arange(CLASSES).repeat_interleave(8)
    dataset = l2l.data.MetaDataset(torch.utils.data.TensorDataset(images, labels))
    t = l2l.data.transforms
    transforms = [t.NWays(dataset, ways), t.KShots(dataset, per_class), t.LoadData(dataset), t.RemapLabels(dataset)]
    return l2l.data.Taskset(dataset, transforms + ([] if fast else [lambda task: task]), **options)


def images_of(*shape: int) -> torch.Tensor:
    return torch.rand(8 * CLASSES, *shape, generator=torch.Generator().manual_seed(3))


def on_own(taskset: object, outputs: int = 3, inputs: int = 16, **settings: object) -> pd.DataFrame:
    replicas = metafa.initialise("backprop", seeds=2, hidden=10, inputs=inputs, outputs=outputs)
    how = dict(ways=3, shots=SHOTS, queries=QUERIES, inner_steps=2, inner_learning_rate=0.2) | settings
    return metafa.evaluate(replicas, taskset, **how)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("images", "taskset", "settings", "said"),
    [
        (images_of(4, 4), {"ways": 5}, {}, "the tasks have 5 ways, not 3; say ways = 5"),
        (images_of(4, 4), {}, {"ways": 2}, "the tasks have 3 ways, not 2; say ways = 3"),
        (images_of(4, 4), {}, {"ways": 4}, "tasks of 4 ways, but these networks have 3 outputs; say outputs = 4"),
        (images_of(4, 4), {"per_class": 4}, {}, "4 images of each class: beside 2 shots 2 queries, not 3; say queries"),
        (images_of(4, 4), {"per_class": 8}, {}, "8 images of each class: beside 2 shots 6 queries, not 3; say queries"),
        (images_of(4, 4), {}, {"shots": 5}, "5 images of a class leave none for the query set beside 5 shots"),
        (images_of(5, 5), {}, {}, "images of 25 pixels, but these networks have 16 inputs; say inputs = 25"),
        (images_of(3, 4, 4), {}, {}, "images of 48 pixels, but these networks have 16 inputs"),
        ((images_of(4, 4) * 255).byte(), {}, {}, "pixels from [0-9]+ to 25[0-9]; floats from 0 to 1 are expected"),
        (images_of(4, 4) * 2 - 1, {}, {}, "pixels from -0.99.* to 0.99.*; floats from 0 to 1 are expected"),
        (
            images_of(4, 4).where(images_of(4, 4) < 0.99, torch.nan),
            {},
            {},
            "images have pixels that are NaN or infinite",
        ),
        (images_of(4, 4) / 0, {}, {}, "images have pixels that are NaN or infinite"),
    ],
)
def test_a_taskset_that_does_not_fit_is_refused(images, taskset: dict, settings: dict, said: str, fast: bool) -> None:
    with pytest.raises(ValueError, match=said):
        on_own(own_taskset(images, fast=fast, **taskset), tasks=20, **settings)


@pytest.mark.parametrize("fast", [True, False])
def test_too_few_images_of_a_class_are_said(fast: bool) -> None:
    said = "8 images of each class|tasks take 9 images of each class|Sample larger than population"
    with pytest.raises(ValueError, match=said):
        on_own(own_taskset(images_of(4, 4), per_class=9, fast=fast), shots=4, queries=5)


def test_too_few_images_of_a_named_distribution_are_said() -> None:
    replicas = metafa.initialise(seeds=1)
    with pytest.raises(ValueError, match=r"tasks take 25 images of each class, .* the smallest has 20"):
        metafa.evaluate(replicas, "glyphs", shots=15, queries=10, tasks=1)
    with pytest.raises(ValueError, match="images of 784 pixels, but these networks have 64 inputs"):
        metafa.evaluate(metafa.initialise(seeds=1, inputs=64), "glyphs", tasks=1)
    classes = len(tasks.TASK_DISTRIBUTIONS["glyphs"].load("test", True).class_names)
    with pytest.raises(ValueError, match=f"tasks of {classes + 1} ways need as many classes, but there are {classes}"):
        metafa.evaluate(metafa.initialise(seeds=1, outputs=classes + 1), "glyphs", ways=classes + 1, tasks=1)


def learn2learns_loop(replicas: metafa.Replicas, replica: int, taskset: object, steps: int) -> tuple[list, list]:
    """The query loss and accuracy of each task after ``steps``, by learn2learn's MAML in its usual loop."""
    from metafa.tasks.base import import_learn2learn

    losses, accuracies = [], []
    maml = import_learn2learn().algorithms.MAML(Perceptron(replicas.network, replica, align=False), lr=0.2)
    for images, labels in taskset:
        learner, flat = maml.clone(), images.flatten(1)
        support = torch.zeros(len(labels), dtype=torch.bool)
        for label in labels.unique():
            support[(labels == label).nonzero().flatten()[:SHOTS]] = True
        for _ in range(steps):
            learner.adapt(cross_entropy(learner(flat[support]), labels[support]))
        found = learner(flat[~support])
        losses.append(cross_entropy(found, labels[~support]).item())
        accuracies.append((found.argmax(1) == labels[~support]).float().mean().item())
    return losses, accuracies


@pytest.mark.parametrize("fast", [True, False])
def test_each_of_a_fixed_number_of_tasks_has_learn2learns_values(fast: bool) -> None:
    taskset = own_taskset(images_of(1, 4, 4), fast=fast, num_tasks=20)
    found = on_own(taskset, per_task=True)
    assert found.groupby(["seed", "step", "metric"])["task_number"].apply(list).map(list(range(20)).__eq__).all()
    replicas = metafa.initialise("backprop", seeds=2, hidden=10, inputs=16, outputs=3)
    for replica in range(2):
        for steps in range(3):
            rows = found.query("seed == @replica and step == @steps")
            losses, accuracies = learn2learns_loop(replicas, replica, taskset, steps)
            # float32, a few dozen sums of 16 pixels
            assert rows.query("metric == 'meta_loss'")["value"].tolist() == pytest.approx(losses, rel=1e-5)
            assert rows.query("metric == 'meta_accuracy'")["value"].tolist() == pytest.approx(accuracies)
    means = found.groupby(["metric", "step", "seed"])["value"].mean()
    expected = on_own(taskset).set_index(["metric", "step", "seed"])["value"].sort_index()
    pd.testing.assert_series_equal(means, expected)
    first = on_own(taskset, tasks=5, per_task=True)
    pd.testing.assert_frame_equal(first, found.query("task_number < 5").reset_index(drop=True))
    pd.testing.assert_frame_equal(on_own(list(taskset), per_task=True), found)
    with pytest.raises(ValueError, match="tasks is 21, but the taskset has 20"):
        on_own(taskset, tasks=21)


def test_values_of_each_task_have_the_means_of_all() -> None:
    replicas = metafa.initialise(seeds=3)
    each = metafa.evaluate(replicas, "glyphs", tasks=40, inner_steps=2, per_task=True)
    means = each.groupby(["metric", "step", "seed"])["value"].mean()
    expected = metafa.evaluate(replicas, "glyphs", tasks=40, inner_steps=2)
    pd.testing.assert_series_equal(means, expected.set_index(["metric", "step", "seed"])["value"].sort_index())


def test_a_query_image_of_the_support_set_is_warned_of() -> None:
    taskset = own_taskset(images_of(4, 4), fast=False)
    taskset.task_transforms[1].replacement = True
    with pytest.warns(UserWarning, match="[0-9]+ of 360 query images are in the support set of their task as well"):
        on_own(taskset, tasks=20)


@pytest.mark.parametrize(
    ("function", "said", "message"),
    [
        (metafa.initialise, dict(seeds=0), "seeds: found 0"),
        (metafa.initialise, dict(seed=-1), "seed: found -1"),
        (metafa.initialise, dict(hidden=()), r"hidden: found \[\]"),
        (metafa.initialise, dict(hidden=[8, 0]), "hidden: found 0"),
        (metafa.initialise, dict(hidden=[[1], [2, 3]]), r"hidden: found \[1\]"),
        (metafa.initialise, dict(hidden=2.5), "hidden: found 2.5, expected a whole number"),
        (metafa.initialise, dict(inputs=0), "inputs: found 0"),
        (
            metafa.initialise,
            dict(activation="sigmoid"),
            "activation: found 'sigmoid', expected 'relu', 'leaky_relu' or",
        ),
        (metafa.initialise, dict(architecture="vgg"), "architecture: found 'vgg', expected 'mlp', 'omniglot-cnn',"),
        (metafa.initialise, dict(architecture="cnn4", hidden=5), 'architecture = "cnn4" has no `hidden`'),
        (metafa.initialise, dict(architecture="cnn4", inputs=(28, 12)), "inputs: found .* at least 16 x 16 pixels"),
        (metafa.initialise, dict(architecture="cnn4", inputs=771), "inputs: found 771; 'cnn4' takes pictures"),
        (metafa.initialise, dict(device="nowhere"), "device: found 'nowhere', which cannot be used"),
        (metafa.initialise, dict(seed=2**63), f"seed: found {2**63}: input should be less"),
        (metafa.initialise, dict(seed=10**5000), "seed: found an integer of 16610 bits, more than a whole number of"),
        (metafa.initialise, dict(seeds=10**7), "seeds: found 10000000: input should be less"),
        (metafa.initialise, dict(hidden=2**62), f"hidden: found {2**62}: input should be less"),
        (metafa.initialise, dict(outputs=2**62), f"outputs: found {2**62}: input should be less"),
        (metafa.pretrain, dict(steps=-3), "steps: found -3"),
        (metafa.pretrain, dict(steps=5, points=10**12), "points: found 1000000000000: input should be less"),
        (metafa.pretrain, dict(learning_rate=1e308), r"learning_rate: found 1e\+308: numbers of 32 bits are 0, or"),
        (metafa.pretrain, dict(learning_rate=5e-324), "learning_rate: found 5e-324: numbers of 32 bits are 0, or"),
        (metafa.evaluate, dict(tasks=2**63 - 1), f"tasks: found {2**63 - 1}: input should be less"),
        (metafa.pretrain, dict(optimizer="adamw"), "optimizer: found 'adamw', .* did you mean 'adam'"),
        (metafa.pretrain, dict(learning_rate=math.nan), "learning_rate: found nan"),
        (metafa.pretrain, dict(learning_rate=[1e-3, 1e-2]), "learning_rate: found a list, expected a number"),
        (metafa.pretrain, dict(steps=5, points=2), "points: found 2"),
        (metafa.pretrain, dict(steps=5, inputs="images"), "needs a `dataset`: whose images"),
        (metafa.pretrain, dict(batch_size=0, inputs="cauchy"), "batch_size: found 0.*; inputs: found 'cauchy'"),
        (metafa.measure, dict(step=-1), "step: found -1"),
        (metafa.evaluate, dict(shots=0), "shots: found 0"),
        (metafa.evaluate, dict(queries=0), "queries: found 0"),
        (metafa.evaluate, dict(tasks=0), "tasks: found 0"),
        (metafa.evaluate, dict(ways=1), "ways: found 1"),
        (metafa.evaluate, dict(inner_steps=-1), "inner_steps: found -1"),
        (metafa.evaluate, dict(inner_learning_rate=math.inf), "inner_learning_rate: found inf"),
        (metafa.evaluate, dict(inner_learning_rate=[0.1, 0.2]), "inner_learning_rate: found a list"),
        (metafa.evaluate, dict(split="train"), "split: found 'train', expected 'training', 'validation', 'test'"),
    ],
)
def test_arguments_that_no_study_could_have_are_refused(function: Callable, said: dict, message: str) -> None:
    replicas = [] if function is metafa.initialise else [metafa.initialise(seeds=2, hidden=8)]
    before = [p.clone() for one in replicas for p in one.network.tensors]
    with pytest.raises(ValueError, match=message):
        function(*replicas, **said)
    assert all(p.equal(q) for one in replicas for p, q in zip(one.network.tensors, before, strict=True))


def test_numbers_may_be_numpys() -> None:
    plain = metafa.initialise(seeds=3, seed=2, hidden=[100], inputs=20)
    same = metafa.initialise(seeds=np.int64(3), seed=np.int32(2), hidden=np.int16(100), inputs=np.uint8(20))
    assert plain.sizes == same.sizes == (20, 100, 5)
    for one in (dict(steps=4, learning_rate=0.5), dict(steps=np.int64(4), learning_rate=np.float32(0.5))):
        metafa.pretrain(plain if isinstance(one["steps"], np.int64) else same, **one, weight_decay=None)
    assert all(p.equal(q) for p, q in zip(plain.network.tensors, same.network.tensors, strict=True))


def test_a_study_of_numpys_numbers_is_the_one_of_pythons() -> None:
    noise = {"phase": "noise", "steps": 3, "learning_rate": {"choices": [1e-3, 1e-2]}}
    evaluate = {"phase": "evaluate", "task_distributions": ["glyphs"]}
    plain = metafa.define(name="x", seeds=3, network={"hidden": [4, 3]}, phases=[noise, evaluate])
    noise |= {"steps": np.int64(3), "learning_rate": {"choices": np.array([1e-3, 1e-2])}, "weight_decay": None}
    evaluate |= {"task_distributions": ("glyphs",)}
    network = {"hidden": np.array([4, 3])}
    same = metafa.define(
        name=Path("x"), seeds=np.array(3), network=network, phases=(noise, evaluate), early_stopping=None
    )
    assert same.tree == plain.tree
    assert same.trials == plain.trials


def circle() -> dict:
    circular: dict = {}
    circular["network"] = circular
    return circular


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"phases": [None]}, r"study: phases\[0\]: found None, expected a number, a string, a list or a mapping"),
        ({"network": {"hidden": {3, 4}}}, r"study: network.hidden: found \{3, 4\}, expected"),
        ({"phases": [{3: 4}]}, r"study: phases\[0\]: found the key 3, expected a string"),
        ({3: 4}, "study: found the key 3, expected a string"),
        ({"seeds": np.float64("nan")}, "seeds: found nan"),
        ({"seed": 2**63}, f"study:1: seed: found {2**63}: input should be less"),
        ({"seed": np.uint64(2**63)}, f"study:1: seed: found {2**63}: input should be less"),
        ({"seed": 10**5000}, "study: seed: found an integer of 16610 bits, more than a whole number of 64 bits"),
        ({"question": "a\ud800"}, r"study: question: found 'a\\ud800', which is no text that UTF-8 has"),
        ({"a\ud800": 1}, r"study: found 'a\\ud800', which is no text that UTF-8 has"),
        ({"question": "a\0b"}, r"study:1: question: found '\\x00' in it, expected a text without control char"),
        ({"question": "q" * 2**20}, "study: 1048590 letters as a study file, which has at most 1048576 bytes"),
        (circle(), "study: nested too deeply for a study"),
        ("x.toml", "study: found str, expected a mapping; `metafa.read` reads a file"),
    ],
)
def test_what_is_no_setting_is_said_with_its_place(settings: object, message: str) -> None:
    with pytest.raises(metafa.StudyError, match=message) as found:
        metafa.define(settings)
    assert all("\n" not in sentence for sentence in found.value.messages)


def test_mistakes_are_said(tmp_path: Path) -> None:
    replicas = metafa.initialise(seeds=1)
    for function in (metafa.pretrain, metafa.measure, metafa.evaluate):
        with pytest.raises(TypeError, match=r"replicas: found Network, expected what `metafa.initialise` returns"):
            function(replicas.network)
    with pytest.raises(
        TypeError, match=r"task_distribution: found int, expected a name, a learn2learn Taskset or a list"
    ):
        metafa.evaluate(replicas, 5)
    with pytest.raises(ValueError, match=r"per_task: found 'no', expected true or false"):
        metafa.evaluate(replicas, "glyphs", per_task="no")
    with pytest.raises(TypeError, match="path: found int, expected the path of a study file"):
        metafa.read(3)
    with pytest.raises(TypeError, match="address: found int, expected a folder or the address of a store"):
        metafa.load(3)
    with pytest.raises(metafa.StudyError, match="cannot be read: embedded null"):
        metafa.read("a\0b")
    with pytest.raises(metafa.ResultsError, match="names no folder: a name has no character of code 0"):
        metafa.load("a\0b")
    for no_tasks, kind in ((b"glyphs", "bytes"), (["glyphs"], "list of names")):
        with pytest.raises(TypeError, match=f"task_distribution: found {kind}, expected a name, a learn2learn Taskset"):
            metafa.evaluate(replicas, no_tasks)
    with pytest.raises(ValueError, match=r"no rule array\(\['backprop', 'x'\]"):
        metafa.initialise(np.array(["backprop", "x"]))
    with pytest.raises(TypeError, match=r"study: found str, expected what `metafa.define` or `metafa.read` returns"):
        metafa.run("study.toml")
    with pytest.raises(ValueError, match="workers: found 0"):
        metafa.run(metafa.define(STUDY), tmp_path / "none", workers=0)
    with pytest.raises(LaunchError, match=r"no Ray cluster at 'no.such.host.invalid:1'"):
        metafa.run(metafa.define(STUDY), tmp_path / "none", address="no.such.host.invalid:1")
    with pytest.raises(metafa.StudyError, match=r"nowhere\.toml: no such study file"):
        metafa.read("nowhere.toml")
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


def test_an_architecture_has_its_own_activation_and_normalization_from_python_too() -> None:
    """As in a study; that of `resnet12` was a ReLU."""
    layers = metafa.initialise(architecture="resnet12", filters=2, inputs=(16, 16), seeds=1).network.layers
    assert {layer.name for layer in layers if isinstance(layer, Activation)} == {"leaky_relu"}
    assert sum(isinstance(layer, BatchNormalization) for layer in layers) == 16
