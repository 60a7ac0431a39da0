"""A trial while it runs: its network and everything that its phases share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from metafa.learning import architectures, controls, feedback, meta, networks, noise
from metafa.learning.architectures import Sizes
from metafa.learning.controls import Control
from metafa.learning.episodes import Episodes, Source
from metafa.learning.feedback import FeedbackConfig
from metafa.learning.layers.base import Layer
from metafa.learning.optimizers import Optimizer
from metafa.learning.rules import RULES, Rule
from metafa.learning.streams import Streams
from metafa.learning.training import Learner, ResumePoint, State, Step
from metafa.studies.data import BATCH
from metafa.studies.needs import trained_datasets
from metafa.studies.phases import EvaluatePhase, NoisePhase, SupervisedPhase, WholeDatasetsPhase
from metafa.studies.settings import NetworkSettings, TrialSettings
from metafa.studies.task_phases import TaskSettings
from metafa.trials.checkpoints import Checkpoint
from metafa.trials.convergence import Convergence
from metafa.trials.measuring import (
    FEATURE_IMAGES,
    PROBE_IMAGES,
    finite_replicas,
    measure_distributions,
    measure_network,
)
from metafa.trials.recording import Outcome, Recorder, measuring_steps
from metafa.trials.sources import Sources

STEP_DECAY, OUTER_DECAY = 0.001, 0.03  # a training step and an outer step, of feedback that follows the weights
CHECKPOINT_STEPS = noise.LABEL_STEPS  # of which every phase that trains can go on from any multiple


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


NO_WATCH = Watch()


class TrialRun:
    """The state of a trial while it runs: its network, rule and random streams, its images, and what it records."""

    def __init__(self, settings: TrialSettings, sources: Sources, device: str, watch: Watch):
        self.settings = settings
        seen = sources.seen(settings)
        self.sources, self.datasets = seen.tasks, seen.datasets
        self.unit_datasets = sources.datasets  # pixels in 0 to 1, as shifts change them
        self._standardization = sources.standardization(settings)
        self.trained_on = trained_datasets(settings)
        # replicas that differ in a learning rate alone: all seeds with the first, then all with the next
        rates: list[float | None] = [*next(iter(settings.side_by_side.values()), [None])]
        seeds = tuple(range(settings.seeds)) * len(rates)
        rate_of_each = [rate for rate in rates for _ in range(settings.seeds)]
        self.streams = Streams(settings.seed, seeds, device)
        self.recorder = Recorder(seeds, rate_of_each, settings.divergence_bound, device)
        self.rule = RULES[settings.network.rule]
        pixels = next(iter(settings.pixels.values()))
        network = networks.initialise(layers_of(settings.network, settings.image_shape, settings.outputs), self.streams)
        self.network = feedback.initialise(network, self.rule, self.feedback(), self.streams)
        self.learned_rates: Tensor | None = None
        self._watch, self._phases_done = watch, 0.0
        self.resume = ResumePoint()  # of the present phase, where the trial goes on from a checkpoint
        self._phase = 0
        self._convergence: Convergence | None = None  # of the present phase
        evaluation = next((phase for phase in settings.phases if phase.evaluates), None)
        self.first_evaluation = cast(EvaluatePhase | None, evaluation)
        noises = [phase for phase in settings.phases if isinstance(phase, NoisePhase)]
        self._noises: dict[noise.Noise, noise.Noise] = {}
        distribution = self.noise(noises[0]) if noises else noise.Noise()
        self.noise_images, self.feature_noise = (
            noise.draw_inputs(distribution, number, pixels, self.streams.generators(name))
            for name, number in (("measure/noise", PROBE_IMAGES), ("measure/features", FEATURE_IMAGES))
        )
        self._drawn: dict[tuple, Episodes] = {}

    def as_seen(self, images: Tensor) -> Tensor:
        """Images ``[..., pixel]`` of pixels in 0 to 1 as the network sees them."""
        return images if self._standardization is None else self._standardization(images)

    def begins(self, phase: int) -> bool:
        """Makes ready for a phase, by its number; says whether anything of it is left to do."""
        if phase < self._phase:
            self.advance(1.0)
            return False
        if phase > self._phase:
            self._phase, self.resume = phase, ResumePoint()
            self.recorder.begin_phase()
        return True

    def _tensors(self) -> dict[str, Tensor]:
        """What a trial goes on from, and a training loop does not carry."""
        found = dict(enumerate(self.network.state))
        tensors = {f"network/{i}": tensor for i, tensor in found.items()} | {"broken": self.recorder.broken}
        tensors |= {f"path/{i}": weights for i, weights in enumerate(self.recorder.path.values())}
        return tensors if self.learned_rates is None else tensors | {"inner_rates": self.learned_rates.detach()}

    def checkpoint(self, step: Step) -> Checkpoint:
        loop = step.state() | ({} if self._convergence is None else self._convergence.state())
        tensors = self._tensors() | {f"loop/{name}": tensor for name, tensor in loop.items()}
        return Checkpoint(self._phase, step.number, tensors, list(self.recorder.path), self.recorder.outcome)

    def restore(self, checkpoint: Checkpoint) -> None:
        device = self.streams.device
        if "inner_rates" in checkpoint.tensors:
            self.learned_rates = checkpoint.tensors["inner_rates"].to(device, copy=True)
        moments = [(phase, step) for phase, step in checkpoint.moments]
        path = {moment: checkpoint.tensors[f"path/{i}"] for i, moment in enumerate(moments)}
        self.recorder.restore(checkpoint.outcome, path, checkpoint.tensors["broken"])
        for i, tensor in enumerate(self.network.state):
            tensor.copy_(checkpoint.tensors[f"network/{i}"])
        loop: State = {
            name.removeprefix("loop/"): tensor
            for name, tensor in checkpoint.tensors.items()
            if name.startswith("loop/")
        }
        self._phase, self.resume = checkpoint.phase, ResumePoint(checkpoint.step, loop)

    def feedback(self, decay: float | None = None, usual_decay: float = 0.0) -> FeedbackConfig:
        """How feedback is drawn and learns; ``usual_decay`` is that of feedback that follows the weights where
        ``decay`` is None."""
        network = self.settings.network
        return FeedbackConfig(
            network.feedback_scale,
            network.feedback_distribution,
            weight_decay(self.rule, decay, usual_decay),
            network.mirror_learning_rate,
            network.mirror_batch_size,
        )

    def learner(
        self, optimizer: Optimizer, decay: float | None, usual_decay: float, rule: Rule | None = None
    ) -> Learner:
        """What the present phase trains, by the network's own rule or another; ``decay`` and ``usual_decay`` are as
        `feedback` has them."""
        rule = rule or self.rule
        config = self.feedback(weight_decay(rule, decay, usual_decay))
        return Learner(self.network, rule, self.streams, optimizer, config, self.resume)

    def noise(self, phase: NoisePhase) -> noise.Noise:
        """What a noise phase draws from; what is drawn but once is so in the whole trial."""
        found = noise_of(phase, self.settings.image_shape)
        if found not in self._noises:
            lent = [self.datasets[need.dataset][0].images for need in phase.dataset_needs()]
            self._noises[found] = noise.prepared(replace(found, source=lent[0] if lent else None), self.streams)
        return self._noises[found]

    def inner_loop(self, phase: TaskSettings) -> meta.InnerLoop:
        if phase.takes_learned_rates and self.learned_rates is not None:
            learned = self.learned_rates.detach()
            steps = torch.arange(phase.inner_steps).clamp(max=learned.shape[1] - 1)
            return meta.InnerLoop(self.rule, learned[:, steps], phase.adapts)
        rates = torch.tensor(rates_of(phase.inner_learning_rate))
        rates = rates.repeat_interleave(len(self.recorder.seeds) // len(rates))
        return meta.inner_loop(self.network, self.rule, phase.inner_steps, rates, phase.adapts)

    def source(self, phase: TaskSettings, distribution: str, split: str) -> Source:
        return self.sources[(distribution, split, phase.ways, phase.shots + phase.queries)]

    def tasks(self, phase: EvaluatePhase, distribution: str, number: int) -> Episodes:
        """Tasks to evaluate on: the same whenever they are asked for, in every trial of the same seeds."""
        key = (phase.name, distribution, number)
        if key not in self._drawn:
            generators = self.streams.generators(f"evaluate/{distribution}/{phase.split}", device="cpu")
            source = self.source(phase, distribution, phase.split)
            self._drawn[key] = source.draw(number, phase.shots, generators)
        return self._drawn[key]

    def train(
        self,
        phase: str,
        total: int,
        steps: Iterator[Step],
        measure: Callable[[int], None] = lambda step: None,
        control: Control | None = None,
        convergence: Convergence | None = None,
    ) -> None:
        """Follows the training steps of a phase, measuring at moments evenly spaced in the logarithm: what every phase
        does, and what ``measure`` does of its own, of the network that the phase would leave there; and leaves what a
        ``control`` makes of the trained network. With ``convergence`` it ends when all networks have converged."""
        moments = measuring_steps(total, self.settings.measure.points)
        judged = self._watch.judges(phase, total)
        self._convergence, last = convergence, 0
        if convergence is not None and self.resume.state is not None:
            convergence.restore(self.resume.state)

        def take(step: Step) -> None:
            self.recorder.record(phase, step.number, "loss", step.loss, inputs=BATCH)
            self.recorder.record(phase, step.number, "accuracy", step.accuracy, inputs=BATCH)
            with controls.as_left(control, self.network):
                measure_network(self, phase, step.number)
                measure(step.number)

        if not self.resume.steps:
            measure_network(self, phase, 0)
            measure_distributions(self, phase, 0)
            measure(0)
        for step in controls.carried(control, steps):
            last = step.number
            self.recorder.note_broken(last, finite_replicas(step.logits))
            if last in moments:
                self.recorder.note_divergences(phase)
                take(step)
                if (self.recorder.broken >= 0).all():
                    break
            ended = convergence is not None and convergence.judge(step) and convergence.ended(self.recorder.broken)
            if ended and last not in moments:
                self.recorder.note_divergences(phase)
                take(step)
            if last in judged:
                rows = (
                    self.recorder.outcome.rows if last in moments or ended else self.recorder.apart(partial(take, step))
                )
                self._watch.judged(phase, last, self.recorder.outcome, rows)
            if last == total or ended:
                controls.leave(control, self.network)
                measure_distributions(self, phase, last)
                break
            if last % CHECKPOINT_STEPS == 0:
                self._watch.checkpoint(partial(self.checkpoint, step))
            if total >= 20 and last % (total // 20) == 0:
                self.advance(last / total, keep=False)
        if convergence is not None and total:
            self.recorder.record(phase, last, "converged_step", convergence.measured)
        self.advance(1.0)

    def advance(self, fraction: float, keep: bool = True) -> None:
        self._watch.progress((self._phases_done + fraction) / len(self.settings.phases))
        if keep:
            self._phases_done += fraction


def noise_of(phase: NoisePhase, shape: tuple[int, ...]) -> noise.Noise:
    """The distribution that a noise phase draws its inputs and labels from; of pictures, those of that ``shape``."""
    return noise.Noise(phase.inputs, phase.mean, phase.standard_deviation, phase.labels, shape, phase.dataset or "")


def layers_of(network: NetworkSettings, image: tuple[int, ...], outputs: int) -> tuple[Layer, ...]:
    """The layers of a network for images of that shape, or of so many pixels."""
    names = ("hidden", "filters", "activation", "normalization", "groups", "batch_statistics")
    settings = {name: getattr(network, name) for name in names}
    sizes = Sizes(image, outputs, **settings | {"hidden": tuple(network.hidden)})
    return architectures.layers(network.architecture, sizes)


def rates_of(value: float | list[float]) -> tuple[float, ...]:
    """The learning rates of a setting: one for all replicas, or those side by side."""
    return tuple(value) if isinstance(value, list) else (value,)


def optimizer_of(phase: NoisePhase | SupervisedPhase | WholeDatasetsPhase, steps: int) -> Optimizer:
    """What moves the network in a phase of so many steps."""
    rates = rates_of(phase.learning_rate)
    return Optimizer(
        phase.optimizer, rates, phase.momentum, phase.schedule, steps, phase.l2_penalty, phase.gradient_clipping
    )


def weight_decay(rule: Rule, decay: float | None, usual_decay: float) -> float:
    """The weight decay ``decay``; where that is None, ``usual_decay`` for feedback that follows the weights, else 0."""
    if decay is not None:
        return decay
    return usual_decay if rule.learning.follows else 0.0
