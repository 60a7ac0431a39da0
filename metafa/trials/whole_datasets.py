"""The whole-dataset meta-loss: how well copies of a trial's network learn whole datasets."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import torch

from metafa.learning import networks, noise, supervised
from metafa.learning.networks import Network
from metafa.learning.training import Learner, ResumePoint
from metafa.studies.data import Inputs
from metafa.trials.recording import measuring_steps
from metafa.trials.trial_run import NO_WATCH, STEP_DECAY, TrialRun, optimizer_of

if TYPE_CHECKING:
    from metafa.studies.phases import NoisePhase, WholeDatasetsPhase
    from metafa.studies.settings import TrialSettings
    from metafa.trials.sources import Sources


Watch = Callable[[str, int, Network], None]
"""Is given a dataset, the steps taken on it, and the copy of the network that learns it."""


def _unwatched(dataset: str, step: int, network: Network) -> None:
    pass


def course_of(trial: TrialRun, phase: WholeDatasetsPhase, dataset: str, watch: Watch) -> supervised.Course:
    """Trains a copy of the trial's network on ``dataset``, by the random streams of a supervised phase, and leaves the
    trial as it was."""
    training, test = trial.datasets[dataset]
    chosen = supervised.choose(training, phase.training_images, trial.streams)
    total = phase.steps_on(chosen.shape[1])
    return supervised.course(
        _learner(trial, phase, total),
        training,
        chosen,
        test,
        steps=total,
        batch_size=phase.batch_size,
        moments=measuring_steps(total, trial.settings.measure.points),
        watch=partial(watch, dataset),
    )


def _learner(trial: TrialRun, phase: NoisePhase | WholeDatasetsPhase, steps: int) -> Learner:
    """What a phase of so many steps would train from the beginning: a copy of the trial's network."""
    learner = trial.learner(optimizer_of(phase, steps), phase.weight_decay, STEP_DECAY)
    return dataclasses.replace(learner, network=networks.copied(trial.network), resume=ResumePoint())


def courses_of(trial: TrialRun, phase: WholeDatasetsPhase, watch: Watch = _unwatched) -> dict[str, supervised.Course]:
    """The course on each of a phase's datasets, by name."""
    return {name: course_of(trial, phase, name, watch) for name in dict.fromkeys(phase.datasets)}


def record_meta_losses(trial: TrialRun, phase: str, step: int, courses: dict[str, supervised.Course]) -> None:
    """Records the sums over datasets (Cheon, Lee and Paik 2024): of the loss averaged over training, and at its end."""
    mean = torch.stack([course.mean_loss for course in courses.values()]).sum(0)
    end = torch.stack([course.losses[-1] for course in courses.values()]).double().sum(0)
    trial.recorder.record(phase, step, "whole_dataset_meta_loss", mean)
    trial.recorder.record(phase, step, "whole_dataset_meta_loss_at_end", end)


def measure_whole_datasets(trial: TrialRun, phase: str, step: int) -> None:
    """Records, at a moment of a phase that trains, the whole-dataset meta-loss and the course on each dataset, where
    the trial has a phase that says which datasets, and how they are learned."""
    adaptation = next((one for one in trial.settings.phases if one.adapts_to_datasets), None)
    if adaptation is None:
        return
    courses = courses_of(trial, cast("WholeDatasetsPhase", adaptation))
    for dataset, course in courses.items():
        for at, losses in zip(course.steps, course.losses, strict=True):
            trial.recorder.record(phase, step, "whole_dataset_loss", losses, inputs=Inputs(dataset), component=at)
    record_meta_losses(trial, phase, step, courses)


def seconds(settings: TrialSettings, sources: Sources) -> dict[str, tuple[float, float]]:
    """How long measuring the whole-dataset meta-loss would take on this machine's CPU in each phase of a trial that
    measures it, and how long the training that it watches, in seconds, by the phase's name: reckoned from a few steps
    of each."""
    watching = [cast("NoisePhase", phase) for phase in settings.phases if phase.watches_datasets and phase.has_steps]
    adaptation = next((one for one in settings.phases if one.adapts_to_datasets), None)
    if adaptation is None or not watching:
        return {}
    adaptation = cast("WholeDatasetsPhase", adaptation)
    trial, points = TrialRun(settings, sources, "cpu", NO_WATCH), settings.measure.points
    once = 0.0
    for dataset in dict.fromkeys(adaptation.datasets):
        training, test = trial.datasets[dataset]
        total = adaptation.steps_on(adaptation.training_images or len(training.labels))
        stepwise = supervised.train(
            _learner(trial, adaptation, total),
            training,
            supervised.choose(training, adaptation.training_images, trial.streams),
            steps=total,
            batch_size=adaptation.batch_size,
        )
        tested = _seconds_of(partial(supervised.evaluate, trial.network, test), 2)
        once += total * _seconds_of(partial(next, stepwise, None)) + len(measuring_steps(total, points)) * tested
    found = {}
    for phase in watching:
        learner = _learner(trial, phase, phase.steps)
        steps = noise.pretrain(learner, trial.noise(phase), steps=phase.steps, batch_size=phase.batch_size)
        moments = len(measuring_steps(phase.steps, points))
        found[phase.name] = moments * once, phase.steps * _seconds_of(partial(next, steps, None))
    return found


def _seconds_of(call: Callable[[], object], times: int = 8) -> float:
    """How long a call takes, by the fastest of several after a first."""
    call()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)
