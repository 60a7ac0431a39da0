"""metafa from Python: what a notebook needs. The names here are public, as ``metafa.NAME``.

Networks come as S *replicas*, one a seed, trained together. What is measured comes as a data frame of one row a number,
with columns of the table `measurements`: seed, phase, step, metric, layer, inputs, value.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import tomli_w
import torch
from torch import Tensor

from metafa import tasks
from metafa.errors import DataAbsent as DataAbsent
from metafa.errors import DataBroken as DataBroken
from metafa.errors import ResultsError as ResultsError
from metafa.errors import StudyError as StudyError
from metafa.learning import episodes, feedback, meta, networks, noise
from metafa.learning.credit import RULES
from metafa.learning.feedback import FeedbackConfig
from metafa.learning.layers.activation import Activation
from metafa.learning.networks import Network
from metafa.learning.optimizers import Optimizer
from metafa.learning.streams import Streams
from metafa.learning.training import Learner, Step
from metafa.results import addresses, preparation, tables
from metafa.results.tables import Results
from metafa.results.tables import load as load
from metafa.running import launch, screens
from metafa.studies import mistakes, study
from metafa.studies.card import card
from metafa.studies.data import BATCH, NO_INPUTS, Inputs, TaskDistributionName
from metafa.studies.fields import Count, Positive, Settings, Size
from metafa.studies.phases import ActivationName, EvaluatePhase, NoisePhase, OptimizerName, RuleName
from metafa.studies.settings import MeasureSettings, NetworkSettings, TrialSettings
from metafa.studies.study import Study
from metafa.studies.values import shown
from metafa.trials import measuring, recording, trial_run


@dataclass(frozen=True)
class Replicas:
    """S networks of one shape, a replica a seed, and the credit assignment rule that they learn by.

    network: their ``weights``, a tensor ``[S, out, in]`` a layer, first layer first; ``biases`` ``[S, out]``; and
        ``feedback``, ``[S, out, in]`` for every layer but the first. `pretrain` changes them in place.
    rule: the credit assignment rule, by name.
    streams: where every random draw comes from.
    """

    network: Network
    rule: RuleName
    streams: Streams

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each replica."""
        return self.streams.replica_seeds

    @property
    def sizes(self) -> tuple[int, ...]:
        """The network's inputs, the units of each hidden layer, and its outputs."""
        return (self.network.inputs, *(self.network.layers[place].outputs for place in self.network.learning))

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return f"<Replicas: {len(self.seeds)} networks {shape} that learn by {self.rule}, on {self.streams.device}>"

    def _repr_html_(self) -> str:
        activations = dict.fromkeys(layer.name for layer in self.network.layers if isinstance(layer, Activation))
        rows = {"rule": self.rule, "units": " - ".join(map(str, self.sizes)), "activation": ", ".join(activations)}
        return card(f"{len(self.seeds)} networks", rows | {"device": self.streams.device})


COLUMNS = ["seed", "phase", "step", "metric", "layer", "inputs", "value"]

Checked = TypeVar("Checked", bound=Settings)


class _Sizes(Settings):
    """What the networks of a study have as many of as its images have pixels and its tasks ways."""

    inputs: Size
    outputs: Size


class _Moment(Settings):
    step: Count


class _Workers(Settings):
    workers: Positive


def _checked(schema: type[Checked], **said: Any) -> Checked:
    """The arguments of a function as the settings of a study. Raises ValueError where a study could not have them."""
    try:
        plain = _plain(said)
    except TypeError as error:
        raise ValueError(str(error)) from error
    found = mistakes.misfits(schema, plain)
    # several rates side by side are for studies alone
    found += [
        f"{name}: found a list, expected a number"
        for name in ("learning_rate", "inner_learning_rate")
        if isinstance(plain.get(name), list)
    ]
    if found:
        raise ValueError("; ".join(found))
    return schema(**plain)


def _rate(one: float | list[float]) -> float:
    """The rate, which `_checked` has found not to be several."""
    assert not isinstance(one, list)
    return one


def _check_replicas(replicas: Any) -> None:
    if not isinstance(replicas, Replicas):
        raise TypeError(f"replicas: found {type(replicas).__name__}, expected what `metafa.initialise` returns")


def _checked_device(device: Any) -> str:
    device = "cpu" if device is None else device
    try:
        torch.Generator(torch.empty(1, device=device).device)
    except (AssertionError, RuntimeError, TypeError) as error:  # as torch says that it has no CUDA
        raise ValueError(f"device: found {device!r}, which cannot be used: {str(error).splitlines()[0]}") from error
    return str(device)


def initialise(
    rule: RuleName = "feedback_alignment",
    *,
    seeds: int = 8,
    seed: int = 0,
    hidden: int | Sequence[int] = (100,),
    inputs: int = 784,
    outputs: int = 5,
    activation: ActivationName = "relu",
    device: str = "cpu",
) -> Replicas:
    """Networks as a trial starts with them: weights drawn from N(0, gain / in) (He et al. 2015, eq. 10), feedback from
    the same distribution, biases 0. The same ``seed`` and number of ``seeds`` give the same networks, as in a study.

    rule: how errors travel back, such as ``"backprop"``; all are in docs/science.md.
    seeds: how many replicas, of seeds 0, 1, ...
    seed: the study's seed, part of every random stream.
    hidden: units of each hidden layer, or of the only one. inputs: pixels. outputs: classes, or the ways of a task.
    device: of torch, such as ``"cuda"``.

    Raises ValueError where there is no such rule or device, or a number is none that a study could have.
    """
    if rule not in tuple(RULES):
        raise ValueError(f"no rule {rule!r}; there are {', '.join(RULES)}")
    layers = hidden if np.ndim(hidden) else [hidden]
    shape = _checked(NetworkSettings, hidden=layers, activation=activation)  # a rule of one's own is no setting
    sizes = _checked(_Sizes, inputs=inputs, outputs=outputs)
    known = _checked(TrialSettings, seed=seed, seeds=seeds, phases=[{"phase": "noise", "steps": 0}])
    streams = Streams(known.seed, tuple(range(known.seeds)), _checked_device(device))
    perceptron = networks.perceptron([sizes.inputs, *shape.hidden, sizes.outputs], shape.activation)
    network = networks.initialise(perceptron, streams)
    return Replicas(feedback.initialise(network, RULES[rule], FeedbackConfig(), streams), rule, streams)


def pretrain(
    replicas: Replicas,
    steps: int = 4000,
    *,
    batch_size: int = 64,
    learning_rate: float = 2e-4,
    optimizer: OptimizerName = "adam",
    inputs: Literal["normal", "uniform"] = "normal",
    mean: float = 0.0,
    standard_deviation: float = 1.0,
    labels: Literal["hard", "soft"] = "hard",
    weight_decay: float | None = None,
    points: int = 10,
) -> pd.DataFrame:
    """Noise pretraining (Cheon, Lee and Paik 2024): ``steps`` of learning random labels of random inputs, fresh each
    step. Changes ``replicas`` in place, and returns what `measure` gives before the first step and at ``points``
    moments evenly spaced in the logarithm, with the ``loss`` (nats) and ``accuracy`` of the batch.

    The settings and their defaults are those of a study's ``noise`` phase; a second call sees the same noise again.

    Raises ValueError where a setting is none that a study could have; ``replicas`` are then as they were.
    """
    _check_replicas(replicas)
    phase = _checked(
        NoisePhase,
        phase="noise",
        steps=steps,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        inputs=inputs,
        mean=mean,
        standard_deviation=standard_deviation,
        labels=labels,
    )
    moments = recording.measuring_steps(phase.steps, _checked(MeasureSettings, points=points).points)
    rule = RULES[replicas.rule]
    kind = noise.Noise(phase.inputs, phase.mean, phase.standard_deviation, phase.labels)
    found = [measure(replicas, step=0)]
    config = FeedbackConfig(weight_decay=trial_run.weight_decay(rule, phase.weight_decay, trial_run.STEP_DECAY))
    descent = Optimizer(phase.optimizer, (_rate(phase.learning_rate),))
    learner = Learner(replicas.network, rule, replicas.streams, descent, config)
    step: Step
    for step in noise.pretrain(learner, kind, steps=phase.steps, batch_size=phase.batch_size):
        if step.number in moments:
            batch = [("loss", None, step.loss), ("accuracy", None, step.accuracy)]
            found += [_frame(replicas, "noise", step.number, batch, BATCH), measure(replicas, step=step.number)]
    return pd.concat(found, ignore_index=True)


def measure(replicas: Replicas, *, step: int = 0) -> pd.DataFrame:
    """The weights of each layer: ``alignment_angle`` to their feedback (degrees), ``effective_dimensionality`` (the
    participation ratio of their squared singular values) and ``effective_rank``. ``step`` is what the rows say."""
    _check_replicas(replicas)
    step = _checked(_Moment, step=step).step
    return _frame(replicas, "noise", step, measuring.weight_measures(RULES[replicas.rule], replicas.network))


def evaluate(
    replicas: Replicas,
    task_distribution: TaskDistributionName | Any = "glyphs",
    *,
    ways: int = 5,
    shots: int = 5,
    queries: int = 10,
    inner_steps: int = 5,
    inner_learning_rate: float = 0.3,
    tasks: int | None = None,
    split: Literal["training", "validation", "test"] = "test",
    per_task: bool = False,
) -> pd.DataFrame:
    """The meta-loss: adapts each replica to ``tasks`` tasks of unseen classes, and returns after 0, 1, ...
    ``inner_steps`` steps the ``meta_loss`` (nats) and ``meta_accuracy`` on the query sets, means over tasks, and the
    ``generalization_error``, that loss less the one on the support sets. Leaves ``replicas`` as they are.

    task_distribution: its name, as `metafa tasks` lists them; or a `learn2learn.data.Taskset`; or a list of tasks, each
        a pair of images ``[image, ...]`` and labels ``[image]``. Of each of the ``ways`` classes, labelled 0 to ways
        - 1, a task has ``shots + queries`` images, the first ``shots`` of them the support set; their pixels are floats
        from 0 to 1, as many as the networks have inputs.
    tasks: for every seed, 300 where it is not said. A list of tasks, and a taskset of a fixed number of them
        (``num_tasks``), gives each once, the same to every seed: all of them, or the first ``tasks``.
    per_task: whether to return the values of each task, not their means: a row each, with the task's number, from 0, in
        the column ``task_number``. Only the tasks of a fixed number are the same for every seed.
    The settings and their defaults are those of a study's ``evaluate`` phase; the same seeds get the same tasks.

    Raises `DataAbsent` where the images are neither here nor to be downloaded, and `DataBroken`, which names the file,
    where they are not what they should be; ValueError where a setting is none that a study could have, there are fewer
    classes or images than tasks take, tasks do not fit the networks, or what a taskset gives is not as said above;
    TypeError where it is no taskset. Warns where a query image of a taskset is in the support set as well.
    """
    _check_replicas(replicas)
    named = isinstance(task_distribution, str)
    name = task_distribution if named else "taskset"
    phase = _checked(
        EvaluatePhase,
        phase="evaluate",
        task_distributions=["glyphs"],  # the name is checked below
        ways=ways,
        shots=shots,
        queries=queries,
        inner_steps=inner_steps,
        inner_learning_rate=inner_learning_rate,
        tasks=EvaluatePhase.model_fields["tasks"].default if tasks is None else tasks,
    )
    *_, outputs = replicas.sizes
    if phase.ways > outputs:
        raise ValueError(f"tasks of {ways} ways, but these networks have {outputs} outputs; say outputs = {ways}")
    source = (
        _named_source(name, split, phase.ways, phase.shots + phase.queries) if named else _source(task_distribution)
    )
    source = episodes.with_gram(episodes.to(source, replicas.streams.device))
    drawn = _drawn(replicas, source, phase, f"evaluate/{name}/{split}", every=tasks is None)
    inputs = Inputs(name)
    inner = meta.inner_loop(replicas.network, RULES[replicas.rule], phase.inner_steps, _rate(phase.inner_learning_rate))
    if per_task:
        curve = measuring.adaptation_measures(meta.evaluate_each(replicas.network, inner, drawn))
        found = [
            _frame(replicas, "evaluate", step, [(metric, None, values[:, number])], inputs).assign(task_number=number)
            for step, metric, values in curve
            for number in range(values.shape[1])
        ]
    else:
        curve = measuring.adaptation_measures(meta.evaluate(replicas.network, inner, drawn))
        found = [_frame(replicas, "evaluate", step, [(metric, None, values)], inputs) for step, metric, values in curve]
    return pd.concat(found, ignore_index=True)


def _drawn(
    replicas: Replicas,
    source: episodes.EpisodeSource | episodes.TasksetSource,
    phase: EvaluatePhase,
    stream: str,
    every: bool,
) -> episodes.Episodes:
    """Tasks for the replicas: of a fixed number of tasks ``every`` one, or as many as the phase says."""
    number = source.number_of_tasks if isinstance(source, episodes.TasksetSource) else None
    if isinstance(source, episodes.TasksetSource) and number is not None:
        drawn = episodes.each(source, number if every else phase.tasks, phase.shots, len(replicas.seeds))
    else:
        generators = replicas.streams.generators(stream, device="cpu")
        drawn = episodes.draw(source, phase.tasks, phase.shots, generators)
    episodes.check(drawn, phase.ways, phase.shots, phase.queries, replicas.sizes[0])
    if isinstance(source, episodes.TasksetSource) and (repeated := episodes.repeated(drawn)):
        warnings.warn(
            f"{repeated} of {drawn.query.numel()} query images are in the support set of their task as well, so that "
            "what is measured is not of unseen images alone",
            stacklevel=3,
        )
    return drawn


def _named_source(name: str, split: str, ways: int, images_per_class: int) -> episodes.EpisodeSource:
    if name not in tasks.TASK_DISTRIBUTIONS:
        raise ValueError(f"no task distribution {name!r}; there are {', '.join(tasks.TASK_DISTRIBUTIONS)}")
    if split not in tasks.SPLITS:
        raise ValueError(f"split: found {split!r}, expected {', '.join(map(repr, tasks.SPLITS))}")
    images = tasks.TASK_DISTRIBUTIONS[name].load(split, True)
    return episodes.from_images(images.images, images.labels, ways, images_per_class)


def _source(taskset: Any) -> episodes.EpisodeSource | episodes.TasksetSource:
    if isinstance(taskset, Sequence) or all(hasattr(taskset, part) for part in ("num_tasks", "task_transforms")):
        return episodes.from_taskset(taskset)
    raise TypeError(
        f"task_distribution: found {type(taskset).__name__}, expected a name, a learn2learn Taskset or a list of tasks"
    )


def _frame(
    replicas: Replicas,
    phase: str,
    step: int,
    found: Iterable[tuple[str, int | None, Tensor]],
    inputs: Inputs = NO_INPUTS,
) -> pd.DataFrame:
    rates = [None] * len(replicas.seeds)
    rows = [
        row
        for metric, layer, values in found
        for row in recording.measured_rows(
            replicas.seeds, rates, phase, step, metric, values, layer=layer, inputs=inputs
        )
    ]
    return pd.DataFrame(rows)[COLUMNS].astype({"layer": "Int64"})


def define(settings: Mapping[str, Any] | None = None, /, **more: Any) -> Study:
    """A study, checked: what a study file says, as keyword arguments or one mapping.

        metafa.define(
            name="rates",
            network={"rule": "feedback_alignment"},
            phases=[
                {"phase": "noise", "steps": 4000, "learning_rate": {"choices": [1e-4, 1e-3]}},
                {"phase": "evaluate", "task_distributions": ["glyphs"]},
            ],
        )

    Numbers, arrays and lists may be numpy's; a setting that is None is not said.

    Raises `StudyError` with every mistake, each with its place.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise StudyError([f"study: found {type(settings).__name__}, expected a mapping; `metafa.read` reads a file"])
    try:
        text = tomli_w.dumps(_plain({**(settings or {}), **more}))
    except RecursionError as error:
        raise StudyError(["study: nested too deeply for a study"]) from error
    except (TypeError, ValueError) as error:
        raise StudyError([f"study: {error}"]) from error
    if len(text) > study.MAX_BYTES:
        raise StudyError([f"study: {len(text)} letters as a study file, which has at most {study.MAX_BYTES} bytes"])
    return study.parse(text, default_name="study", file="study")


def _plain(value: Any, place: str = "") -> Any:
    """``value`` as TOML has it: numpy's numbers and arrays as Python's, paths as strings, and of a mapping what is not
    None. Raises TypeError where it has no such form."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place}: found the key {key!r:.60}, expected a string".lstrip(": "))
            _plain(key, place)
        inside = f"{place}." if place else ""
        return {key: _plain(inner, f"{inside}{key}") for key, inner in value.items() if inner is not None}
    if hasattr(value, "tolist"):  # of numpy, torch or pandas
        return _plain(value.tolist(), place)
    if isinstance(value, list | tuple | range):
        return [_plain(inner, f"{place}[{i}]") for i, inner in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise TypeError(f"{place}: found {value!r:.60}, which is no text that UTF-8 has".lstrip(": "))
    if isinstance(value, int) and value.bit_length() > 64:
        raise TypeError(f"{place}: found {shown(value)}, more than a whole number of 64 bits")
    if isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{place}: found {value!r:.60}, expected a number, a string, a list or a mapping")


def read(path: str | Path) -> Study:
    """The study in a study file. Raises `StudyError` with every mistake, each with its line."""
    return study.read(Path(path))


def run(
    study: Study,
    results: str | Path | None = None,
    *,
    workers: int | None = None,
    address: str | None = None,
) -> Results:
    """Runs ``study``, or continues it, as ``metafa run`` does, and returns its tables.

    results: a folder or an object store's address; ``results/NAME`` by default.
    workers: trials at a time, by default as many as the CPUs and GPUs allow.
    address: a Ray cluster's, such as ``"auto"``; by default the one that this process has initialised, which goes on
        afterwards, or else one of its own on this machine.

    Trials that failed or diverged are in the column `status` of `trials`. Raises `ResultsError` where the results
    cannot be used, `DataError` and `LaunchError` where it cannot start; what is done by then is kept.
    Raises TypeError where ``study`` is no study, and ValueError where ``workers`` is less than 1.
    """
    if not isinstance(study, Study):
        raise TypeError(f"study: found {type(study).__name__}, expected what `metafa.define` or `metafa.read` returns")
    if workers is not None:
        workers = _checked(_Workers, workers=workers).workers
    return _run(study, f"results/{study.name}" if results is None else str(results), workers, address)


def _run(checked: Study, place: str, workers: int | None, address: str | None) -> Results:
    store = addresses.open_store(place)
    preparation.check(store, checked)
    # plain text in a notebook too, where rich would make an output of every line
    screen = screens.console(force_jupyter=False)
    launch.run(checked, store, screen, screen, workers, address)
    return tables.load(place)
