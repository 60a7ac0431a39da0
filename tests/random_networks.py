"""Random networks, tasks and numbers, small enough to be computed slowly too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from metafa.learning import feedback, networks
from metafa.learning.episodes import Episodes, EpisodeSource
from metafa.learning.feedback import FeedbackConfig
from metafa.learning.networks import Network
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams


def initialise(
    sizes: list[int], streams: Streams, rule: str = "feedback_alignment", activation: str = "relu"
) -> Network:
    """A network with its feedback, as a trial starts with."""
    network = networks.initialise(networks.perceptron(sizes, activation), streams)
    return feedback.initialise(network, RULES[rule], FeedbackConfig(), streams)


def random_network(
    sizes: list[int],
    replicas: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    rule: str = "feedback_alignment",
    activation: str = "relu",
) -> Network:
    """A network whose biases are random too, so that no term is tested at zero."""
    network = initialise(sizes, Streams(seed, tuple(range(replicas))), rule, activation)
    generator = torch.Generator().manual_seed(seed)
    parameters = tuple(
        {
            "weight": own["weight"].to(dtype),
            "bias": 0.1 * torch.randn(own["bias"].shape, generator=generator, dtype=dtype),
        }
        if own
        else {}
        for own in network.parameters
    )
    return replace(network, parameters=parameters, feedback=tuple(b.to(dtype) for b in network.feedback))


def with_tensors(network: Network, tensors: Sequence[torch.Tensor]) -> Network:
    """The network with other parameters, in the order of `Network.tensors`."""
    names = dict.fromkeys(name for own in network.parameters for name in own)
    parameters: list[dict[str, torch.Tensor]] = [{} for _ in network.parameters]
    places = [(place, name) for name in names for place, own in enumerate(network.parameters) if name in own]
    for (place, name), tensor in zip(places, tensors, strict=True):
        parameters[place][name] = tensor
    return replace(network, parameters=tuple(parameters))


def random_episodes(
    pixels: int,
    ways: int = 3,
    shots: int = 2,
    queries: int = 4,
    tasks: int = 3,
    replicas: int = 2,
    dtype: torch.dtype = torch.float64,
    seed: int = 1,
) -> Episodes:
    """Tasks over random images, every image used once."""
    generator = torch.Generator().manual_seed(seed)
    per_task = ways * (shots + queries)
    images = torch.rand(replicas * tasks * per_task, pixels, generator=generator, dtype=dtype)
    indices = torch.arange(len(images)).view(replicas, tasks, per_task)
    labels = torch.arange(ways).repeat(shots + queries).expand_as(indices)
    cut = ways * shots
    return Episodes(images, indices[..., :cut], labels[..., :cut], indices[..., cut:], labels[..., cut:])


def random_source(pixels: int, classes: int, images_per_class: int) -> EpisodeSource:
    """Tasks of 3 ways and 6 images a class, drawn from random images."""
    images = torch.rand(classes * images_per_class, pixels, generator=torch.Generator().manual_seed(0))
    by_class = torch.arange(len(images)).view(classes, images_per_class)
    return EpisodeSource(images, by_class, torch.full((classes,), images_per_class), ways=3, images_per_class=6)


def randn(*shape: int, seed: int) -> torch.Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
