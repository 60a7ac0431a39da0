"""Noise pretraining: training on random inputs with random labels, before any data (Cheon, Lee and Paik 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import training
from metafa.learning.kinds import NOISE_INPUTS, resolved
from metafa.learning.networks import Network
from metafa.learning.streams import Streams
from metafa.learning.training import Generators, Learner, Step

# Steps whose noise is drawn at once. Labels are few. Inputs are best used while they are in a CPU's cache, but a GPU
# wants few and large calls; there the numbers drawn depend on this one, so that it does not follow the replicas.
LABEL_STEPS = 64
INPUT_STEPS = {"cpu": 1, "cuda": 8}


@dataclass(frozen=True)
class Noise:
    """What noise is.

    inputs: a row of `NOISE_INPUTS`.
    mean, standard_deviation: of every pixel, or, of pictures, of all pixels of each; images of a dataset have their
        own.
    labels: ``hard`` (a class drawn uniformly) or ``soft`` (probabilities drawn uniformly from the simplex).
    shape: of a picture: rows, columns, and channels where there are several; empty where inputs are no pictures.
    dataset: whose images inputs are made of, of a row that is `of_dataset`; it tells noises apart.
    source: what inputs are taken from: the images of a dataset ``[image, pixel]``, or what the row has `prepared`.
    """

    inputs: str = "normal"
    mean: float = 0.0
    standard_deviation: float = 1.0
    labels: Literal["hard", "soft"] = "hard"
    shape: tuple[int, ...] = ()
    dataset: str = ""
    source: Tensor | None = field(default=None, compare=False)


def prepared(noise: Noise, streams: Streams) -> Noise:
    """The noise with what its inputs need and is drawn but once, where that is anything."""
    prepare = NOISE_INPUTS[noise.inputs].prepare
    return noise if prepare is None or noise.source is not None else resolved(prepare)(noise, streams)


def pretrain(learner: Learner, noise: Noise, *, steps: int, batch_size: int) -> Iterator[Step]:
    """Trains on a fresh batch of noise each step, and yields after each step. Raises ValueError where it is to start
    after a number of steps that is not a multiple of those whose noise is drawn at once."""
    start = learner.resume.steps
    if start % LABEL_STEPS:
        raise ValueError(f"noise pretraining goes on from multiples of {LABEL_STEPS} steps, not from {start}")
    generators = {name: learner.streams.generators(f"noise/{name}") for name in ("inputs", "labels", "feedback")}
    noise = prepared(noise, learner.streams)
    drawn = batches(learner.network, noise, generators, range(start, steps), batch_size)
    return training.train(learner, drawn, generators)


def batches(
    network: Network, noise: Noise, generators: Generators, steps: range, batch_size: int
) -> Iterator[tuple[Float[Tensor, "replica image pixel"], Float[Tensor, "replica image way"]]]:
    """The inputs and targets of each step."""
    pixels, ways = network.inputs, network.ways
    at_once = INPUT_STEPS[generators["inputs"][0].device.type]
    for step in steps:
        if step % at_once == 0:
            inputs = draw_inputs(noise, at_once * batch_size, pixels, generators["inputs"]).split(batch_size, 1)
        if step % LABEL_STEPS == 0:
            targets = draw_labels(noise, LABEL_STEPS * batch_size, ways, generators["labels"]).split(batch_size, 1)
        yield inputs[step % at_once], targets[step % LABEL_STEPS]


def draw_inputs(
    noise: Noise, batch_size: int, pixels: int, generators: list[torch.Generator]
) -> Float[Tensor, "replica image pixel"]:
    """A batch of random inputs for each replica, from its generator; the noise is `prepared`."""
    return resolved(NOISE_INPUTS[noise.inputs].draw)(noise, batch_size, pixels, generators)


def normal(
    noise: Noise, batch_size: int, pixels: int, generators: list[torch.Generator]
) -> Float[Tensor, "replica image pixel"]:
    """Pixels N(mean, standard_deviation^2)."""
    drawn = torch.empty(len(generators), batch_size, pixels, device=generators[0].device)
    for batch, generator in zip(drawn, generators, strict=True):
        batch.normal_(noise.mean, noise.standard_deviation, generator=generator)
    return drawn


def uniform(
    noise: Noise, batch_size: int, pixels: int, generators: list[torch.Generator]
) -> Float[Tensor, "replica image pixel"]:
    """Pixels uniform on the interval of that mean and standard deviation."""
    drawn = torch.empty(len(generators), batch_size, pixels, device=generators[0].device)
    half_length = 3**0.5 * noise.standard_deviation
    for batch, generator in zip(drawn, generators, strict=True):
        batch.uniform_(noise.mean - half_length, noise.mean + half_length, generator=generator)
    return drawn


def draw_labels(
    noise: Noise, batch_size: int, ways: int, generators: list[torch.Generator]
) -> Float[Tensor, "replica image way"]:
    """A batch of random targets for each replica, independent of its inputs."""
    if noise.labels == "hard":
        classes = torch.stack([torch.randint(ways, (batch_size,), generator=g, device=g.device) for g in generators])
        return torch.nn.functional.one_hot(classes, ways).float()
    # exponential variables divided by their sum are uniform on the simplex
    uniform = torch.stack([torch.rand(batch_size, ways, generator=g, device=g.device) for g in generators])
    exponential = -torch.log1p(-uniform)
    return exponential / exponential.sum(-1, keepdim=True)
