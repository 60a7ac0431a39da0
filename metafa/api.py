"""metafa from Python: what a notebook needs. The names here are public, as ``metafa.NAME``.

Networks come as S *replicas*, one a seed, trained together. What is measured comes as a data frame of one row a number,
with the columns of the table `measurements`: seed, phase, step, metric, layer, task, value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import tomli_w
from torch import Tensor

from metafa import episodes, feedback, launch, meta, networks, noise, results, screens, study, tasks, trial
from metafa.credit import RULES
from metafa.feedback import Feedback
from metafa.networks import Network
from metafa.optimizers import Optimizer
from metafa.results import Results
from metafa.results import ResultsError as ResultsError
from metafa.results import load as load
from metafa.settings import ActivationName, OptimizerName, RuleName, TaskDistributionName
from metafa.streams import Streams
from metafa.study import Study
from metafa.study import StudyError as StudyError
from metafa.tasks import DataAbsent as DataAbsent
from metafa.tasks import DataBroken as DataBroken
from metafa.training import Step


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


def initialise(
    rule: RuleName = "feedback_alignment",
    *,
    seeds: int = 8,
    seed: int = 0,
    hidden: Sequence[int] = (100,),
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
    hidden: units of each hidden layer. inputs: pixels. outputs: classes, or the ways of a task.
    device: of torch, such as ``"cuda"``.

    Raises ValueError where there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"no rule {rule!r}; there are {', '.join(RULES)}")
    streams = Streams(seed, tuple(range(seeds)), device)
    network = networks.initialise([inputs, *hidden, outputs], streams, activation)
    return Replicas(feedback.initialise(network, RULES[rule], Feedback(), streams), rule, streams)


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
    """
    rule = RULES[replicas.rule]
    kind = noise.Noise(inputs, mean, standard_deviation, labels)
    moments = trial.measuring_steps(steps, points)
    found = [measure(replicas, step=0)]
    how = Feedback(weight_decay=trial.weight_decay(rule, weight_decay, trial.STEP_DECAY))
    step: Step
    for step in noise.pretrain(
        replicas.network,
        rule,
        kind,
        replicas.streams,
        steps=steps,
        batch_size=batch_size,
        optimizer=Optimizer(optimizer, (learning_rate,)),
        how=how,
    ):
        if step.number in moments:
            batch = [("loss", None, step.loss), ("accuracy", None, step.accuracy)]
            found += [_frame(replicas, "noise", step.number, batch), measure(replicas, step=step.number)]
    return pd.concat(found, ignore_index=True)


def measure(replicas: Replicas, *, step: int = 0) -> pd.DataFrame:
    """The weights of each layer: ``alignment_angle`` to their feedback (degrees), ``effective_dimensionality`` (the
    participation ratio of their squared singular values) and ``effective_rank``. ``step`` is what the rows say."""
    return _frame(replicas, "noise", step, trial.of_weights(RULES[replicas.rule], replicas.network))


def evaluate(
    replicas: Replicas,
    task_distribution: TaskDistributionName | Any = "glyphs",
    *,
    ways: int = 5,
    shots: int = 5,
    queries: int = 10,
    inner_steps: int = 5,
    inner_learning_rate: float = 0.3,
    tasks: int = 300,
    split: Literal["training", "validation", "test"] = "test",
) -> pd.DataFrame:
    """The meta-loss: adapts each replica to ``tasks`` tasks of unseen classes, and returns after 0, 1, ...
    ``inner_steps`` steps the ``meta_loss`` (nats) and ``meta_accuracy`` on the query sets, means over tasks, and the
    ``generalization_error``, that loss less the one on the support sets. Leaves ``replicas`` as they are.

    task_distribution: its name, as `metafa tasks` lists them, or a `learn2learn.data.Taskset` of tasks of ``ways``
        classes with ``shots + queries`` images each.
    The settings and their defaults are those of a study's ``evaluate`` phase; the same seeds get the same tasks.

    Raises `DataAbsent` where the images are neither here nor to be downloaded, `DataBroken`, which names the file,
    where they are not what they should be, and ValueError where a task has more ways than the network outputs.
    """
    if ways > replicas.network.biases[-1].shape[-1]:
        outputs = replicas.network.biases[-1].shape[-1]
        raise ValueError(f"tasks of {ways} ways, but these networks have {outputs} outputs; say outputs = {ways}")
    name = task_distribution if isinstance(task_distribution, str) else "taskset"
    device = replicas.streams.device
    source = (
        _named_source(name, split, ways, shots + queries)
        if name != "taskset"
        else episodes.from_taskset(task_distribution)
    )
    source = episodes.with_gram(episodes.to(source, device))
    generators = replicas.streams.generators(f"evaluate/{name}/{split}", device="cpu")
    drawn = episodes.draw(source, tasks, shots, generators)
    inner = meta.inner_loop(replicas.network, RULES[replicas.rule], inner_steps, inner_learning_rate)
    curve = meta.evaluate(replicas.network, inner, drawn)
    found = [
        _frame(replicas, "evaluate", step, [(metric, None, values)], name)
        for step, metric, values in trial.of_adaptation(curve)
    ]
    return pd.concat(found, ignore_index=True)


def _named_source(name: str, split: str, ways: int, images_per_class: int) -> episodes.EpisodeSource:
    if name not in tasks.TASK_DISTRIBUTIONS:
        raise ValueError(f"no task distribution {name!r}; there are {', '.join(tasks.TASK_DISTRIBUTIONS)}")
    images = tasks.TASK_DISTRIBUTIONS[name].load(split, True)
    return episodes.from_images(images.images, images.labels, ways, images_per_class)


def _frame(
    replicas: Replicas,
    phase: str,
    step: int,
    found: Iterable[tuple[str, int | None, Tensor]],
    task: str | None = None,
) -> pd.DataFrame:
    rows = [
        {"seed": seed, "phase": phase, "step": step, "metric": metric, "layer": layer, "task": task, "value": value}
        for metric, layer, values in found
        for seed, value in zip(replicas.seeds, values.tolist(), strict=True)
    ]
    return pd.DataFrame(rows).astype({"layer": "Int64"})


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

    Raises `StudyError` with every mistake, each with its place.
    """
    return study.parse(tomli_w.dumps({**(settings or {}), **more}), default_name="study", file="study")


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
    address: a Ray cluster's, such as ``"auto"``; by default one of its own on this machine.

    Trials that failed or diverged are in the column `status` of `trials`. Raises `ResultsError` where the results
    cannot be used, `data.DataError` and `launch.LaunchError` where it cannot start; what is done by then is kept.
    """
    return _run(study, f"results/{study.name}" if results is None else str(results), workers, address)


def _run(checked: Study, place: str, workers: int | None, address: str | None) -> Results:
    store = results.open_store(place)
    results.check(store, checked)
    screen = screens.console()
    launch.run(checked, store, screen, screen, workers, address)
    return results.load(place)
