"""One trial: its phases in order, and what is measured on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from metafa.learning import credit, episodes, feedback, measures, meta, networks, noise, shifts, supervised
from metafa.learning.episodes import Episodes, EpisodeSource, TasksetSource
from metafa.learning.feedback import Feedback
from metafa.learning.optimizers import Optimizer
from metafa.learning.streams import Streams
from metafa.learning.supervised import Labelled
from metafa.learning.training import State, Step, Taken
from metafa.studies.data import DATASET_SHAPES, TaskNeed, images_of_tasks
from metafa.studies.needs import dataset_needs, task_needs
from metafa.studies.phases import (
    EvaluatePhase,
    MetaPhase,
    NoisePhase,
    OutOfDistributionPhase,
    SupervisedPhase,
    TaskSettings,
)
from metafa.studies.settings import TrialSettings

if TYPE_CHECKING:
    from metafa.tasks.base import LabelledImages

PROBE_IMAGES = 256  # on which the readout is measured
STEP_DECAY, OUTER_DECAY = 0.001, 0.03  # a training step and an outer step, of feedback that follows the weights
CHECKPOINT_STEPS = noise.LABEL_STEPS  # of which every phase that trains can go on from any multiple
LOSSES = ("loss", "meta_loss")  # which count as diverged above `TrialSettings.divergence_bound`
# By design no number of networks that are sound: of matrices that are all zeros, which have no direction and no
# spectrum, as feedback has on a scale that float32 rounds to 0; and the path of weights that never moved. Where these
# are none because weights or feedback are not finite, that is watched by itself.
UNDEFINED = (
    "alignment_angle",
    "effective_dimensionality",
    "effective_rank",
    "weight_path",
    "weight_path_variance",
)


@dataclass(frozen=True)
class Sources:
    """The images of trials: what tasks are drawn from, by `source_key`; datasets' training and test images, by name."""

    tasks: Mapping[tuple[str, str, int, int], EpisodeSource | TasksetSource]
    datasets: Mapping[str, tuple[Labelled, Labelled]]


@dataclass(frozen=True)
class Divergence:
    """Where a replica was first found to have diverged: its weights, its feedback or something measured of it was not
    finite, or its loss was above the bound. ``learning_rate`` is None but where several are side by side; ``metric`` is
    what was measured, None where it was the network itself, its weights, feedback or readout."""

    seed: int
    learning_rate: float | None
    phase: str
    step: int
    metric: str | None = None


@dataclass
class Outcome:
    """What a trial leaves behind: measurements as columns of the table, which replicas diverged, and what it was judged
    by for early stopping: phase, step and value."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    divergences: dict[int, Divergence] = field(default_factory=dict)  # by replica
    judged: list[tuple[str, int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A trial interrupted: in which of its phases and after how many steps of it, all tensors that it goes on from, at
    which moments the weights' path was kept, and what it leaves behind so far."""

    phase: int
    step: int
    tensors: dict[str, Tensor]
    moments: list[tuple[str, int]]
    outcome: Outcome


@dataclass(frozen=True)
class Watch:
    """Who follows a trial. ``progress`` is told the fraction done. ``judges`` says after which steps of a phase, given
    its name and its length, the trial is judged; ``judged`` is then given the phase, the step, the outcome so far and
    the rows measured at that step, which stand in the outcome only where it is a moment of the trial's own.
    ``checkpoint`` is offered one now and then, to be made if it is wanted."""

    progress: Callable[[float], None] = lambda fraction: None
    judges: Callable[[str, int], frozenset[int]] = lambda phase, total: frozenset()
    judged: Callable[[str, int, Outcome, list[dict[str, Any]]], None] = lambda phase, step, outcome, rows: None
    checkpoint: Callable[[Callable[[], Checkpoint]], None] = lambda make: None


def source_key(need: TaskNeed) -> tuple[str, str, int, int]:
    """What a source of episodes is known by: distribution, split, ways and images of a class."""
    return need[1:]


def load_sources(*trials: TrialSettings, images: Mapping[str, LabelledImages] | None = None) -> Sources:
    """The task distributions that these trials draw from, each once, as an `episodes` source, and the datasets that
    they train on. ``images``: those that are loaded already, by the names of `settings.image_needs`; the others are
    loaded here. Raises `DataAbsent` and `DataBroken`."""
    from metafa import tasks
    from metafa.tasks.classification import DATASETS, PARTS

    loaded = images or {}
    sources: dict[tuple[str, str, int, int], EpisodeSource | TasksetSource] = {}
    for need in (need for settings in trials for need in task_needs(settings)):
        if source_key(need) not in sources:
            name = f"tasks/{need.distribution}/{need.split}"
            found = loaded.get(name) or tasks.TASK_DISTRIBUTIONS[need.distribution].load(need.split, True)
            sources[source_key(need)] = episodes.from_images(
                found.images, found.labels, need.ways, need.images_per_class
            )
    names = sorted({need.dataset for settings in trials for need in dataset_needs(settings)})
    datasets = {}
    for name in names:
        training, test = (
            _labelled(loaded.get(f"datasets/{name}/{part}") or DATASETS[name].load(part, True)) for part in PARTS
        )
        datasets[name] = (training, test)
    return Sources(sources, datasets)


def prepared(sources: Sources, device: str = "cpu") -> Sources:
    """The images on ``device``, and what is computed of them once for many trials."""
    tasks = {key: episodes.with_gram(episodes.to(source, device)) for key, source in sources.tasks.items()}
    datasets = {name: (training.to(device), test.to(device)) for name, (training, test) in sources.datasets.items()}
    return Sources(tasks, datasets)


def _labelled(images: LabelledImages) -> Labelled:
    flat = images.images.reshape(len(images.labels), -1).astype(np.float32) / 255
    return Labelled(torch.from_numpy(flat), torch.from_numpy(images.labels))


def run(
    settings: TrialSettings,
    sources: Sources,
    device: str = "cpu",
    watch: Watch = Watch(),
    checkpoint: Checkpoint | None = None,
) -> Outcome:
    """Runs a trial on `prepared` sources: all its replicas at once, its phases in order, or what ``checkpoint`` leaves
    of them, to the same outcome to the bit."""
    bench = _Bench(settings, sources, device, watch)
    if checkpoint is not None:
        bench.restore(checkpoint)
    for number, phase in enumerate(settings.phases):
        if bench.begins(number):
            RUN_PHASE[phase.phase](bench, phase)
    bench.record_weight_path()
    return bench.outcome


def _noise_of(phase: NoisePhase) -> noise.Noise:
    return noise.Noise(phase.inputs, phase.mean, phase.standard_deviation, phase.labels)


def _noise(bench: _Bench, phase: NoisePhase) -> None:
    steps = noise.pretrain(
        bench.network,
        bench.rule,
        _noise_of(phase),
        bench.streams,
        steps=phase.steps,
        batch_size=phase.batch_size,
        optimizer=Optimizer(phase.optimizer, _rates(phase.learning_rate)),
        how=bench.feedback(phase.weight_decay, STEP_DECAY),
        taken=bench.taken,
    )
    bench.train(phase.name, phase.steps, steps)


def _supervised(bench: _Bench, phase: SupervisedPhase) -> None:
    training, test = bench.datasets[phase.dataset]
    chosen = supervised.choose(training, phase.training_images, bench.streams)
    total = phase.steps or (phase.epochs or 0) * (chosen.shape[1] // phase.batch_size)
    steps = supervised.train(
        bench.network,
        bench.rule,
        training,
        chosen,
        bench.streams,
        steps=total,
        batch_size=phase.batch_size,
        optimizer=Optimizer(phase.optimizer, _rates(phase.learning_rate)),
        how=bench.feedback(phase.weight_decay, STEP_DECAY),
        taken=bench.taken,
    )

    def measure(step: int) -> None:
        logits = supervised.readout(bench.network, test.images)
        loss, accuracy = supervised.loss_and_accuracy(logits, test.labels)
        error = measures.expected_calibration_error(logits, test.labels)
        of_training, _ = supervised.evaluate(bench.network, training, chosen)
        bench.record(phase.name, step, "loss", loss, task=phase.dataset)
        bench.record(phase.name, step, "accuracy", accuracy, task=phase.dataset)
        bench.record(phase.name, step, "generalization_error", loss - of_training, task=phase.dataset)
        bench.record(phase.name, step, "expected_calibration_error", error, task=phase.dataset)

    bench.train(phase.name, total, steps, measure)


def _out_of_distribution(bench: _Bench, phase: OutOfDistributionPhase) -> None:
    """The loss, accuracy and calibration on each set of images; the same noise on them in every trial."""
    dataset = bench.settings.datasets()[phase.name]
    (_, test), shape = bench.datasets[dataset], DATASET_SHAPES[dataset]
    images = _pictures(test.images, shape)
    bench.test(phase.name, dataset, test.images, test.labels)
    for shift, strength in phase.shifts:
        generator = Streams(bench.settings.seed, (0,), "cpu").generators(f"out_of_distribution/{shift}")[0]
        changed = shifts.shifted(shift, images, strength, generator)
        bench.test(phase.name, f"{dataset}/{shift}={strength:g}", _flat(changed), test.labels)
    for name in phase.datasets:
        if name == dataset:
            continue
        _, other = bench.datasets[name]
        resized = shifts.resized(_pictures(other.images, DATASET_SHAPES[name]), (shape[0], shape[1]))
        bench.test(phase.name, name, _flat(resized), other.labels)
    bench.advance(1.0)


def _pictures(flat: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``[image, channel, row, column]`` of ``[image, pixel]``, as a dataset of that shape has them."""
    return flat.unflatten(1, shape).unsqueeze(1) if len(shape) == 2 else flat.unflatten(1, shape).movedim(-1, 1)


def _flat(pictures: Tensor) -> Tensor:
    return pictures.movedim(1, -1).flatten(1)


def _rates(value: float | list[float]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _meta(bench: _Bench, phase: MetaPhase) -> None:
    iterations = 0 if phase.outer_algorithm == "none" else phase.iterations
    inner = bench.inner_loop(phase)
    if phase.learn_inner_rates:
        if bench.taken.steps and bench.learned_rates is not None:
            inner.learning_rates.copy_(bench.learned_rates)
        bench.learned_rates = inner.learning_rates.requires_grad_()
    steps = meta.train(
        bench.network,
        inner,
        bench.source(phase, phase.task_distribution, "training"),
        bench.streams,
        shots=phase.shots,
        tasks_per_batch=phase.tasks_per_batch,
        outer_algorithm=phase.outer_algorithm,
        outer_rule=bench.rule if phase.outer_rule == "inner" else credit.RULES["backprop"],
        optimizer=Optimizer(
            phase.outer_optimizer,
            _rates(phase.outer_learning_rate),
            phase.outer_momentum,
            phase.outer_schedule,
            iterations,
        ),
        iterations=iterations,
        how=bench.feedback(phase.outer_weight_decay, OUTER_DECAY),
        taken=bench.taken,
    )
    bench.train(phase.name, iterations, steps)


def _evaluate(bench: _Bench, phase: EvaluatePhase) -> None:
    for distribution in phase.task_distributions:
        curve = meta.evaluate(bench.network, bench.inner_loop(phase), bench.tasks(phase, distribution, phase.tasks))
        for step, metric, values in of_adaptation(curve):
            bench.record(phase.name, step, metric, values, task=distribution)
    bench.advance(1.0)


RUN_PHASE: dict[str, Callable[[Any, Any], None]] = {
    "noise": _noise,
    "supervised": _supervised,
    "out_of_distribution": _out_of_distribution,
    "meta": _meta,
    "evaluate": _evaluate,
}


class _Bench:
    """The network under study, and the instruments around it."""

    def __init__(self, settings: TrialSettings, sources: Sources, device: str, watch: Watch):
        self.settings = settings
        self.sources, self.datasets = sources.tasks, sources.datasets
        trained = [phase.dataset for phase in settings.phases if isinstance(phase, SupervisedPhase)]
        self.trained_on = list(dict.fromkeys(trained))
        # replicas that differ in a learning rate alone: all seeds with the first, then all with the next
        self.learning_rates = next(iter(settings.side_by_side.values()), [None])
        self.seeds = tuple(range(settings.seeds)) * len(self.learning_rates)
        self.streams = Streams(settings.seed, self.seeds, device)
        self.rule = credit.RULES[settings.network.rule]
        pixels = next(iter(settings.pixels.values()))
        sizes = [pixels, *settings.network.hidden, settings.outputs]
        layers = networks.perceptron(sizes, settings.network.activation)
        network = networks.initialise(layers, self.streams)
        self.network = feedback.initialise(network, self.rule, self.feedback(), self.streams)
        self.learned_rates: Tensor | None = None
        self.outcome = Outcome()
        self._bound = settings.divergence_bound
        self._watch, self._phases_done = watch, 0.0
        self.taken = Taken()  # of the present phase, where the trial goes on from a checkpoint
        self._phase, self._broken = 0, self._none_broken()
        evaluations = [phase for phase in settings.phases if isinstance(phase, EvaluatePhase)]
        self._probed = evaluations[0] if evaluations else None
        noises = [phase for phase in settings.phases if isinstance(phase, NoisePhase)]
        kind = _noise_of(noises[0]) if noises else noise.Noise()
        self._noise = noise.draw_inputs(kind, PROBE_IMAGES, pixels, self.streams.generators("measure/noise"))
        self._drawn: dict[tuple, Episodes] = {}
        self._path: dict[tuple[str, int], Tensor] = {}  # the weights, by phase and step

    def _none_broken(self) -> Tensor:
        """The step at which each replica was first not finite in the present phase, -1 where it is finite."""
        return torch.full((len(self.seeds),), -1, device=self.streams.device)

    def begins(self, phase: int) -> bool:
        """Makes ready for a phase, by its number; says whether anything of it is left to do."""
        if phase < self._phase:
            self.advance(1.0)
            return False
        if phase > self._phase:
            self._phase, self.taken, self._broken = phase, Taken(), self._none_broken()
        return True

    def _tensors(self) -> dict[str, Tensor]:
        """What a trial goes on from, and a training loop does not carry."""
        found = dict(enumerate((*self.network.tensors, *self.network.feedback)))
        tensors = {f"network/{i}": tensor for i, tensor in found.items()} | {"broken": self._broken}
        tensors |= {f"path/{i}": weights for i, weights in enumerate(self._path.values())}
        return tensors if self.learned_rates is None else tensors | {"inner_rates": self.learned_rates.detach()}

    def checkpoint(self, step: Step) -> Checkpoint:
        tensors = self._tensors() | {f"loop/{name}": tensor for name, tensor in step.state().items()}
        return Checkpoint(self._phase, step.number, tensors, list(self._path), self.outcome)

    def restore(self, checkpoint: Checkpoint) -> None:
        device = self.streams.device
        if "inner_rates" in checkpoint.tensors:
            self.learned_rates = checkpoint.tensors["inner_rates"].to(device, copy=True)
        moments = [(phase, step) for phase, step in checkpoint.moments]
        self._path = {moment: checkpoint.tensors[f"path/{i}"] for i, moment in enumerate(moments)}
        self._broken = checkpoint.tensors["broken"].to(device, copy=True)
        for i, tensor in enumerate((*self.network.tensors, *self.network.feedback)):
            tensor.copy_(checkpoint.tensors[f"network/{i}"])
        loop: State = {
            name.removeprefix("loop/"): tensor
            for name, tensor in checkpoint.tensors.items()
            if name.startswith("loop/")
        }
        self._phase, self.taken = checkpoint.phase, Taken(checkpoint.step, loop)
        self.outcome.rows += checkpoint.outcome.rows
        self.outcome.divergences |= checkpoint.outcome.divergences
        self.outcome.judged += checkpoint.outcome.judged

    def feedback(self, said: float | None = None, unsaid: float = 0.0) -> Feedback:
        """How feedback is drawn and learns; ``unsaid`` is the decay of feedback that follows where none is set."""
        how = self.settings.network
        return Feedback(
            how.feedback_scale,
            how.feedback_distribution,
            weight_decay(self.rule, said, unsaid),
            how.mirror_learning_rate,
            how.mirror_batch_size,
        )

    def inner_loop(self, phase: TaskSettings) -> meta.InnerLoop:
        adapted_layers = phase.adapted_layers if isinstance(phase, EvaluatePhase) else "all"
        if isinstance(phase, EvaluatePhase) and phase.learned_rates and self.learned_rates is not None:
            learned = self.learned_rates.detach()
            steps = torch.arange(phase.inner_steps).clamp(max=learned.shape[1] - 1)
            return meta.InnerLoop(self.rule, learned[:, steps], adapted_layers)
        rates = torch.tensor(_rates(phase.inner_learning_rate))
        rates = rates.repeat_interleave(len(self.seeds) // len(rates))
        return meta.inner_loop(self.network, self.rule, phase.inner_steps, rates, adapted_layers)

    def source(self, phase: TaskSettings, distribution: str, split: str) -> EpisodeSource | TasksetSource:
        return self.sources[(distribution, split, phase.ways, phase.shots + phase.queries)]

    def tasks(self, phase: EvaluatePhase, distribution: str, number: int) -> Episodes:
        """Tasks to evaluate on: the same whenever they are asked for, in every trial of the same seeds."""
        key = (phase.name, distribution, number)
        if key not in self._drawn:
            generators = self.streams.generators(f"evaluate/{distribution}/{phase.split}", device="cpu")
            self._drawn[key] = episodes.draw(
                self.source(phase, distribution, phase.split), number, phase.shots, generators
            )
        return self._drawn[key]

    def train(
        self, phase: str, total: int, steps: Iterator[Step], measure: Callable[[int], None] = lambda step: None
    ) -> None:
        """Follows the training steps of a phase, measuring at moments evenly spaced in the logarithm: what every phase
        does, and what ``measure`` does of its own."""
        moments = measuring_steps(total, self.settings.measure.points)
        judged = self._watch.judges(phase, total)

        def take(step: Step) -> None:
            self.record(phase, step.number, "loss", step.loss)
            self.record(phase, step.number, "accuracy", step.accuracy)
            self.measure(phase, step.number)
            measure(step.number)

        if not self.taken.steps:
            self.measure(phase, 0)
            self.measure_singular_values(phase, 0)
            measure(0)
        for step in steps:
            self._note_broken(step.number, _finite(step.logits))
            if step.number in moments:
                self._note_divergences(phase)
                take(step)
                if (self._broken >= 0).all():
                    break
            if step.number in judged:
                rows = self.outcome.rows if step.number in moments else self._apart(partial(take, step))
                self._watch.judged(phase, step.number, self.outcome, rows)
            if step.number == total:
                self.measure_singular_values(phase, total)
            elif step.number % CHECKPOINT_STEPS == 0:
                self._watch.checkpoint(partial(self.checkpoint, step))
            if total >= 20 and step.number % (total // 20) == 0:
                self.advance(step.number / total, keep=False)
        self.advance(1.0)

    def measure(self, phase: str, step: int) -> None:
        """Records the state of the network: its weights, its readout, and its meta-loss."""
        paths = [matrix for pair in credit.compared(self.rule, self.network) for matrix in pair]  # feedback among them
        finite = torch.stack([_finite(tensor) for tensor in (*self.network.tensors, *paths)]).all(0)
        self._note_broken(step, finite)
        self._note_divergences(phase)
        if self.settings.measure.weight_path:
            self._path[phase, step] = torch.cat([weights.flatten(1).cpu() for weights in self.network.weights], 1)
        for metric, layer, values in of_weights(self.rule, self.network):
            self.record(phase, step, metric, values, layer)
        if self.learned_rates is not None:
            for layer, rates in enumerate(self.learned_rates.detach().mean(1).unbind(1), start=1):
                self.record(phase, step, "inner_learning_rate", rates, layer)
        self._measure_readout(phase, step, self._noise, "noise")
        for name in self.trained_on:
            _, test = self.datasets[name]
            images = test.images[:PROBE_IMAGES].expand(len(self.seeds), -1, -1)
            self._measure_readout(phase, step, images, name)
        if self._probed is None:
            return
        for distribution in self._probed.task_distributions:
            tasks = self.tasks(self._probed, distribution, self.settings.measure.tasks)
            images = tasks.images[tasks.query.flatten(1)[:, :PROBE_IMAGES]]
            self._measure_readout(phase, step, images, images_of_tasks(distribution, self.trained_on))
            loss, accuracy = meta.meta_loss(self.network, self.inner_loop(self._probed), tasks)
            self.record(phase, step, "meta_loss", loss, task=distribution)
            self.record(phase, step, "meta_accuracy", accuracy, task=distribution)

    def _apart(self, take: Callable[[], None]) -> list[dict[str, Any]]:
        """What ``take`` measures, which then is no part of what the trial leaves behind: that depends on nothing but
        the trial's settings."""
        kept = self.outcome, dict(self._path), self._broken
        self.outcome = Outcome()
        take()
        apart = self.outcome.rows
        self.outcome, self._path, self._broken = kept
        return apart

    def measure_singular_values(self, phase: str, step: int) -> None:
        if not self.settings.measure.singular_values:
            return
        for layer, weights in enumerate(self.network.weights, start=1):
            for component, values in enumerate(measures.singular_values(weights).unbind(1), start=1):
                self.record(phase, step, "singular_value", values, layer, component=component)

    def record_weight_path(self) -> None:
        """Records where in its plane the weights were at each moment, and how much of their path the plane holds."""
        if not self._path:
            return
        path, fractions = measures.principal_path(torch.stack(list(self._path.values())))
        for component in (1, 2):
            for (phase, step), places in zip(self._path, path, strict=True):
                self.record(phase, step, "weight_path", places[:, component - 1], component=component)
            phase, step = list(self._path)[-1]
            self.record(phase, step, "weight_path_variance", fractions[:, component - 1], component=component)

    def test(self, phase: str, task: str, images: Tensor, labels: Tensor) -> None:
        """Records how the network does on ``images`` that have those labels."""
        logits = supervised.readout(self.network, images)
        loss, accuracy = supervised.loss_and_accuracy(logits, labels)
        self.record(phase, 0, "loss", loss, task=task)
        self.record(phase, 0, "accuracy", accuracy, task=task)
        error = measures.expected_calibration_error(logits, labels)
        self.record(phase, 0, "expected_calibration_error", error, task=task)
        self.record(phase, 0, "readout_probability", measures.readout_probability(logits), task=task)

    def _measure_readout(self, phase: str, step: int, images: Tensor, task: str) -> None:
        logits = networks.forward(self.network, images).logits
        self.record(phase, step, "readout_probability", measures.readout_probability(logits), task=task)
        self.record(phase, step, "readout_deviation", measures.readout_deviation(logits), task=task)

    def record(
        self,
        phase: str,
        step: int,
        metric: str,
        values: Tensor,
        layer: int | None = None,
        task: str | None = None,
        component: int | None = None,
    ) -> None:
        highest = self._bound if metric in LOSSES else math.inf
        for replica, value in enumerate(values.tolist()):
            if metric not in UNDEFINED and not (math.isfinite(value) and value <= highest):
                self._note_divergence(replica, phase, step, metric)
            self.outcome.rows.append(
                dict(
                    seed=self.seeds[replica],
                    learning_rate=self._learning_rate(replica),
                    phase=phase,
                    step=step,
                    metric=metric,
                    layer=layer,
                    component=component,
                    task=task,
                    value=value,
                )
            )

    def _learning_rate(self, replica: int) -> float | None:
        return self.learning_rates[replica // self.settings.seeds]

    def _note_broken(self, step: int, finite: Tensor) -> None:
        """Keeps, on the device, which replicas are not finite; no step of training waits for it."""
        self._broken = torch.where((self._broken < 0) & ~finite, step, self._broken)

    def _note_divergences(self, phase: str) -> None:
        for replica, step in enumerate(self._broken.tolist()):
            if step >= 0:
                self._note_divergence(replica, phase, step)

    def _note_divergence(self, replica: int, phase: str, step: int, metric: str | None = None) -> None:
        found = Divergence(self.seeds[replica], self._learning_rate(replica), phase, step, metric)
        self.outcome.divergences.setdefault(replica, found)

    def advance(self, fraction: float, keep: bool = True) -> None:
        self._watch.progress((self._phases_done + fraction) / len(self.settings.phases))
        if keep:
            self._phases_done += fraction


def _finite(tensor: Tensor) -> Tensor:
    """Whether all of it is, of each replica."""
    return tensor.isfinite().flatten(1).all(1)


def of_weights(rule: credit.Rule, network: networks.Network) -> Iterator[tuple[str, int, Tensor]]:
    """What is measured of the weights: metric, layer, and the value of each replica."""
    for layer, weights in enumerate(network.weights, start=1):
        yield "effective_dimensionality", layer, measures.effective_dimensionality(weights)
        yield "effective_rank", layer, measures.effective_rank(weights)
    for layer, (path, sent_by) in enumerate(credit.compared(rule, network), start=2):
        yield "alignment_angle", layer, measures.alignment_angle(path, sent_by)


def of_adaptation(curve: meta.AdaptationCurve) -> Iterator[tuple[int, str, Tensor]]:
    """What is measured of adaptation: inner step, metric, and the value of each replica."""
    for step, (query, accuracy, support) in enumerate(
        zip(curve.query_loss, curve.query_accuracy, curve.support_loss, strict=True)
    ):
        yield step, "meta_loss", query
        yield step, "meta_accuracy", accuracy
        yield step, "generalization_error", query - support


def weight_decay(rule: credit.Rule, said: float | None, unsaid: float) -> float:
    """The decay that is ``said``; where none is, ``unsaid`` for feedback that follows the weights, else none."""
    if said is not None:
        return said
    return unsaid if rule.learning.follows else 0.0


def measuring_steps(total: int, points: int) -> frozenset[int]:
    """The steps of a phase at which it is measured: 0, then up to ``points`` - 1 from 1 to ``total``, evenly
    spaced in the logarithm."""
    if total == 0:
        return frozenset({0})
    return frozenset({0, *np.rint(np.geomspace(1, total, points - 1)).astype(int).tolist(), total})
