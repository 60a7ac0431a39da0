"""metafa from Python: what a notebook needs. The names here are public, as ``metafa.NAME``.

Networks come as S *replicas*, each with a seed of its own, trained together. Measurements come as a data frame with a
row for each number and columns of the table `measurements`: seed, phase, step, metric, layer, inputs, value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import tomli_w

from metafa import arguments
from metafa.arguments import checked, one_rate, plain
from metafa.errors import StudyError
from metafa.learning import feedback, meta, networks, noise
from metafa.learning.episodes import Episodes
from metafa.learning.feedback import FeedbackConfig
from metafa.learning.optimizers import Optimizer
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams
from metafa.learning.training import Learner, Step
from metafa.replicas import Replicas, check_replicas, frame
from metafa.results import addresses, preparation, tables
from metafa.results.tables import Results
from metafa.results.tables import load as load
from metafa.running import launch, screens
from metafa.studies import study
from metafa.studies.data import BATCH, Inputs, TaskDistributionName
from metafa.studies.phases import (
    ActivationName,
    ArchitectureName,
    EvaluatePhase,
    NoiseInputsName,
    NoisePhase,
    NormalizationName,
    RuleName,
)
from metafa.studies.settings import MeasureSettings, NetworkSettings, TrialSettings
from metafa.studies.study import Study
from metafa.studies.training_settings import OptimizerName
from metafa.trials import measuring, recording, trial_run


def initialise(
    rule: RuleName = "feedback_alignment",
    *,
    seeds: int = 8,
    seed: int = 0,
    architecture: ArchitectureName = "mlp",
    hidden: int | Sequence[int] | None = None,
    filters: int | None = None,
    inputs: int | Sequence[int] = 784,
    outputs: int = 5,
    activation: ActivationName | None = None,
    normalization: NormalizationName | None = None,
    device: str = "cpu",
) -> Replicas:
    """Returns networks as a trial starts with them. Weights of a perceptron are drawn from N(0, gain / in) (He et al.
    2015, eq. 10), feedback is drawn from the distribution of the weights, and biases are 0. The same ``seed`` and
    number of ``seeds`` give the same networks, here and in a study.

    rule: the credit assignment rule, such as ``"backprop"``; docs/science.md describes all rules.
    seeds: the number of replicas; their seeds are 0, 1, ...
    seed: the seed of the study, which every random draw depends on.
    architecture: the layers, such as ``"omniglot-cnn"``; docs/study_file.md describes all.
    hidden: of ``"mlp"``, the units of each hidden layer, or of the only one; 100 by default.
    filters: of each convolution, where the architecture has some; 64 by default.
    inputs: the pixels of an image, or its rows, columns and, where there are several, channels. Of a number of pixels
        a convolution has to know the rows and columns: those of the images of metafa's that have as many.
    outputs: the number of classes, or the ways of a task.
    activation, normalization: the activation function of the hidden layers, and what stands before it, such as
        ``"batch"``; by default what the architecture has by itself.
    device: a device of torch, such as ``"cuda"``.

    Raises ValueError where there is no such rule or device, or where a study could not have one of the numbers.
    """
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"no rule {rule!r}; there are {', '.join(RULES)}")
    units = hidden if hidden is None or isinstance(hidden, Sequence) or np.ndim(hidden) else [hidden]
    wanted = {"hidden": units, "filters": filters, "activation": activation, "normalization": normalization}
    shape = checked(NetworkSettings, architecture=architecture, **wanted)  # the rule may be the caller's own
    image, ways = arguments.image_of(inputs, outputs, shape.architecture)
    known = checked(TrialSettings, seed=seed, seeds=seeds, phases=[{"phase": "noise", "steps": 0}])
    streams = Streams(known.seed, tuple(range(known.seeds)), arguments.device_of(device))
    network = networks.initialise(trial_run.layers_of(shape, image, ways), streams)
    return Replicas(feedback.initialise(network, RULES[rule], FeedbackConfig(), streams), rule, streams)


def pretrain(
    replicas: Replicas,
    steps: int = 4000,
    *,
    batch_size: int = 64,
    learning_rate: float = 2e-4,
    optimizer: OptimizerName = "adam",
    inputs: NoiseInputsName = "normal",
    mean: float = 0.0,
    standard_deviation: float = 1.0,
    labels: Literal["hard", "soft"] = "hard",
    weight_decay: float | None = None,
    points: int = 10,
) -> pd.DataFrame:
    """Pretrains networks on noise (Cheon, Lee and Paik 2024): each of the ``steps`` learns random labels of random
    inputs, drawn anew. Changes ``replicas`` in place.

    Returns what `measure` returns before the first step and at ``points`` later steps, evenly spaced in the logarithm;
    there also the ``loss`` (in nats) and the ``accuracy`` of the step's batch.

    The settings and their defaults are those of a study's ``noise`` phase; inputs that are made of a dataset's images
    are for studies alone. ``pink`` and ``dead_leaves`` have the shape of the images of metafa's that have as many
    pixels as the networks take. A second call draws the same noise again. Raises ValueError, and leaves ``replicas`` as
    they are, where a study could not have one of the settings, or there are no such images."""
    check_replicas(replicas)
    phase = checked(
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
    moments = recording.measuring_steps(phase.steps, checked(MeasureSettings, points=points).points)
    return _pretrained(replicas, phase, moments)


def _pretrained(replicas: Replicas, phase: NoisePhase, moments: frozenset[int]) -> pd.DataFrame:
    """Pretrains ``replicas`` in place, and returns what `pretrain` returns, measured at those ``moments``."""
    rule = RULES[replicas.rule]
    optimizer = Optimizer(phase.optimizer, (one_rate(phase.learning_rate),))
    config = FeedbackConfig(weight_decay=trial_run.weight_decay(rule, phase.weight_decay, trial_run.STEP_DECAY))
    learner = Learner(replicas.network, rule, replicas.streams, optimizer, config)
    drawn = trial_run.noise_of(phase, arguments.shape_of_pixels(phase.inputs, replicas.network.inputs))
    frames = [measure(replicas, step=0)]
    step: Step
    for step in noise.pretrain(learner, drawn, steps=phase.steps, batch_size=phase.batch_size):
        if step.number in moments:
            batch = [("loss", None, step.loss), ("accuracy", None, step.accuracy)]
            frames += [frame(replicas, "noise", step.number, batch, BATCH), measure(replicas, step=step.number)]
    return pd.concat(frames, ignore_index=True)


def measure(replicas: Replicas, *, step: int = 0) -> pd.DataFrame:
    """Measures the weights of each layer: their ``alignment_angle`` to the feedback (in degrees), the mean of that of
    each unit (``unit_alignment_angle``) and their ``feedback_distance``; the ``effective_rank`` of their singular
    values, and of the squared ones the ``squared_effective_rank`` and the ``participation_ratio``. The rows have
    ``step`` in their column `step`."""
    check_replicas(replicas)
    step = checked(arguments.Moment, step=step).step
    return frame(replicas, "noise", step, measuring.weight_measures(RULES[replicas.rule], replicas.network))


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
    """Measures the meta-loss: adapts each replica to ``tasks`` tasks of unseen classes, and leaves ``replicas`` as they
    are. Returns after 0, 1, ... ``inner_steps`` steps the ``meta_loss`` (in nats) and the ``meta_accuracy`` on the
    query sets, both means over tasks, and the ``generalization_error``: that loss less the loss on the support sets.

    task_distribution: a name that `metafa tasks` lists; or a `learn2learn.data.Taskset`; or a list of tasks, each a
        pair of images ``[image, ...]`` and labels ``[image]``. A task has ``shots + queries`` images of each of its
        ``ways`` classes, which are labelled 0 to ways - 1; the first ``shots`` of a class are in the support set.
        Pixels are floats from 0 to 1, and an image has as many as the networks have inputs.
    tasks: the number of tasks for every seed, 300 by default. A list of tasks, or a taskset with a fixed number of them
        (``num_tasks``), gives every seed the same tasks, each once: all by default, else the first ``tasks``.
    split: the classes that tasks are drawn from, where ``task_distribution`` is a name.
    per_task: whether to return a row for each task, with its number, from 0, in the column ``task_number``, in place
        of means over tasks. The tasks of different seeds are the same only where their number is fixed.
    The settings and their defaults are those of a study's ``evaluate`` phase. The same seeds get the same tasks.

    Raises `DataAbsent` where the images are not here and cannot be downloaded; `DataBroken`, which names the file,
    where they are not what they should be; ValueError where a study could not have one of the settings, where there are
    fewer classes or images than tasks take, or where tasks do not fit the networks or are not as described above;
    TypeError where ``task_distribution`` is none of the three. Warns where a
    task has the same image in both of its sets.
    """
    check_replicas(replicas)
    per_task = checked(arguments.PerTask, per_task=per_task).per_task
    named = isinstance(task_distribution, str)
    name = task_distribution if named else "taskset"
    settings = dict(ways=ways, shots=shots, queries=queries, inner_steps=inner_steps)
    phase = _evaluate_phase(replicas, inner_learning_rate=inner_learning_rate, tasks=tasks, **settings)
    source = (
        arguments.source_named(name, split, phase.ways, phase.shots + phase.queries)
        if named
        else arguments.source_of_taskset(task_distribution)
    )
    source = source.to(replicas.streams.device).with_gram()
    stream = f"evaluate/{name}/{split}"
    drawn = arguments.drawn_tasks(source, phase, replicas.streams, stream, replicas.sizes[0], every=tasks is None)
    return _evaluated(replicas, phase, drawn, Inputs(name), per_task)


def _evaluate_phase(replicas: Replicas, tasks: int | None, **settings: Any) -> EvaluatePhase:
    """The settings of an evaluation. Raises ValueError where a study could not have them, or the networks have too few
    outputs."""
    # the name of the task distribution is checked apart, since it may be the caller's own
    settings |= dict(task_distributions=["glyphs"])
    settings |= dict(tasks=EvaluatePhase.model_fields["tasks"].default if tasks is None else tasks)
    phase = checked(EvaluatePhase, phase="evaluate", **settings)
    *_, outputs = replicas.sizes
    if phase.ways > outputs:
        raise ValueError(
            f"tasks of {phase.ways} ways, but these networks have {outputs} outputs; say outputs = {phase.ways}"
        )
    return phase


def _evaluated(
    replicas: Replicas, phase: EvaluatePhase, tasks: Episodes, inputs: Inputs, per_task: bool
) -> pd.DataFrame:
    network, rule = replicas.network, RULES[replicas.rule]
    inner = meta.inner_loop(network, rule, phase.inner_steps, one_rate(phase.inner_learning_rate))
    if not per_task:
        curve = measuring.adaptation_measures(meta.evaluate(network, inner, tasks))
        frames = [frame(replicas, "evaluate", step, [(metric, None, value)], inputs) for step, metric, value in curve]
        return pd.concat(frames, ignore_index=True)
    curve = measuring.adaptation_measures(meta.evaluate_each(network, inner, tasks))
    frames = [
        frame(replicas, "evaluate", step, [(metric, None, values[:, number])], inputs).assign(task_number=number)
        for step, metric, values in curve
        for number in range(values.shape[1])
    ]
    return pd.concat(frames, ignore_index=True)


def define(settings: Mapping[str, Any] | None = None, /, **more: Any) -> Study:
    """Returns a study, checked. Its settings are those of a study file, as keyword arguments or as one mapping.

        metafa.define(
            name="rates",
            network={"rule": "feedback_alignment"},
            phases=[
                {"phase": "noise", "steps": 4000, "learning_rate": {"choices": [1e-4, 1e-3]}},
                {"phase": "evaluate", "task_distributions": ["glyphs"]},
            ],
        )

    Numbers, arrays and lists may be numpy's. A setting that is None has its default.

    Raises `StudyError`, which names every mistake and its place.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise StudyError([f"study: found {type(settings).__name__}, expected a mapping; `metafa.read` reads a file"])
    try:
        text = tomli_w.dumps(plain({**(settings or {}), **more}))
    except RecursionError as error:
        raise StudyError(["study: nested too deeply for a study"]) from error
    except (TypeError, ValueError) as error:
        raise StudyError([f"study: {error}"]) from error
    if len(text) > study.MAX_BYTES:
        raise StudyError([f"study: {len(text)} letters as a study file, which has at most {study.MAX_BYTES} bytes"])
    return study.parse(text, default_name="study", file="study")


def read(path: str | Path) -> Study:
    """Returns the study in a study file. Raises `StudyError`, which names every mistake and its line, and TypeError
    where ``path`` is none."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: found {type(path).__name__}, expected the path of a study file")
    return study.read(Path(path))


def run(
    study: Study,
    results: str | Path | None = None,
    *,
    workers: int | None = None,
    address: str | None = None,
) -> Results:
    """Runs ``study``, or continues it, as ``metafa run`` does, and returns its tables.

    results: where the results go: a folder or the address of an object store; ``results/NAME`` by default.
    workers: how many trials run at a time; by default as many as the CPUs and GPUs allow.
    address: the address of a Ray cluster, such as ``"auto"``. By default the study runs on the Ray that this process
        has initialised, which then goes on, or else on a Ray of its own on this machine.

    The column `status` of `trials` says which trials failed or diverged. Raises `ResultsError` where the results cannot
    be used, `DataError` or `LaunchError` where the study cannot start; trials that are done by then are kept. Raises
    TypeError where ``study`` is no study, and ValueError where ``workers`` is less than 1.
    """
    if not isinstance(study, Study):
        raise TypeError(f"study: found {type(study).__name__}, expected what `metafa.define` or `metafa.read` returns")
    if workers is not None:
        workers = checked(arguments.Workers, workers=workers).workers
    place = f"results/{study.name}" if results is None else str(results)
    store = addresses.open_store(place)
    preparation.check(store, study)
    # plain text in a notebook too, where rich would make an output of every line
    screen = screens.console(force_jupyter=False)
    launch.run(study, store, screen, screen, workers, address)
    return tables.load(place)
