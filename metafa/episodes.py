"""Batches of few-shot tasks, drawn as a learn2learn taskset would draw them, at the speed of tensor operations.

A batch holds index tensors over images that stay where they are. learn2learn itself is not imported
here: a taskset's transforms are known by their class names.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor

GRAM_BYTES = 2**28


@dataclass(frozen=True)
class Episodes:
    """Tasks for every replica. Labels are 0 to ways - 1; support and query share no image.

    images: what the indices point into; pixels in 0 to 1.
    gram: the product of every image with every other, plus 1, where it was worth having.
    """

    images: Float[Tensor, "image pixel"]
    support: Int[Tensor, "replica task support"]
    support_labels: Int[Tensor, "replica task support"]
    query: Int[Tensor, "replica task query"]
    query_labels: Int[Tensor, "replica task query"]
    gram: Float[Tensor, "image image"] | None = None

    def block(self, start: int, stop: int) -> Episodes:
        """The tasks from ``start`` to ``stop`` alone."""
        return replace(
            self,
            support=self.support[:, start:stop],
            support_labels=self.support_labels[:, start:stop],
            query=self.query[:, start:stop],
            query_labels=self.query_labels[:, start:stop],
        )


@dataclass(frozen=True)
class EpisodeSource:
    """A task distribution that metafa draws from itself.

    class_images: the indices of each class's images; rows of smaller classes end in -1.
    class_sizes: how many images each class has.
    gram: the product of every image with every other, plus 1; see `with_gram`.
    """

    images: Float[Tensor, "image pixel"]
    class_images: Int[Tensor, "class slot"]
    class_sizes: Int[Tensor, "class"]
    ways: int
    images_per_class: int
    gram: Float[Tensor, "image image"] | None = None


@dataclass(frozen=True)
class TasksetSource:
    """A task distribution whose learn2learn taskset has transforms of its own, and is asked for each task."""

    taskset: Any
    device: str = "cpu"


def to(source: EpisodeSource | TasksetSource, device: str) -> EpisodeSource | TasksetSource:
    """The source with its images, and so the tasks drawn from it, on ``device``."""
    if isinstance(source, TasksetSource):
        return replace(source, device=device)
    return replace(source, images=source.images.to(device))


def with_gram(source: EpisodeSource | TasksetSource) -> EpisodeSource | TasksetSource:
    """The source with the Gram matrix of all its images, if that takes at most ``GRAM_BYTES``: for tasks whose
    images come again and again."""
    if isinstance(source, TasksetSource) or len(source.images) ** 2 * source.images.element_size() > GRAM_BYTES:
        return source
    return replace(source, gram=(source.images @ source.images.mT).add_(1))


def from_images(
    images: UInt8[np.ndarray, "image row column"], labels: Int64[np.ndarray, "image"], ways: int, images_per_class: int
) -> EpisodeSource:
    """The source of tasks of ``ways`` random classes, ``images_per_class`` random images of each.

    images: 0 to 255; their pixels become 0 to 1. labels: the class of each image. Classes are numbered in the order in
    which they first appear, as a learn2learn taskset over these images numbers them, so that both draw the same tasks.
    """
    present, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    appeared = np.argsort(first)
    class_images = torch.full((len(present), int(sizes.max())), -1)
    for row, label in zip(class_images, present[appeared], strict=True):
        members = np.flatnonzero(labels == label)
        row[: len(members)] = torch.from_numpy(members)
    pixels = torch.from_numpy(images.reshape(len(images), -1).astype(np.float32) / 255)
    return EpisodeSource(pixels, class_images, torch.from_numpy(sizes[appeared]), ways, images_per_class)


def from_taskset(taskset: Any) -> EpisodeSource | TasksetSource:
    """The source that draws what ``taskset`` (a `learn2learn.data.Taskset`) would.

    Where its transforms are `NWays` then `KShots`, or `FusedNWaysKShots`, with `LoadData`, `RemapLabels`
    and perhaps `ConsecutiveLabels`, every image is read once, here; any other taskset is asked.
    """
    known = _known_transforms(taskset)
    if known is None:
        return TasksetSource(taskset)
    ways, images_per_class, labels = known
    dataset = taskset.dataset
    members = [dataset.labels_to_indices[label] for label in labels]
    class_images = torch.full((len(members), max(map(len, members))), -1)
    for row, indices in zip(class_images, members, strict=True):
        row[: len(indices)] = torch.tensor(indices)
    images = torch.stack([torch.as_tensor(dataset[i][0]).float().flatten() for i in range(len(dataset))])
    sizes = torch.tensor([len(indices) for indices in members])
    return EpisodeSource(images, class_images, sizes, ways, images_per_class)


def _known_transforms(taskset: Any) -> tuple[int, int, list] | None:
    """Ways, images of a class and the labels to draw from, or None where a transform's effect is not known."""
    if taskset.num_tasks != -1 or callable(taskset.task_transforms):
        return None
    transforms = list(taskset.task_transforms)
    names = [type(t).__name__ if type(t).__module__ == "learn2learn.data.transforms" else "" for t in transforms]
    match names:
        case ["FusedNWaysKShots", *rest]:
            sampler = transforms[0]
            ways, images_per_class, labels = sampler.n, sampler.k, list(sampler.filter_labels)
            shots = sampler
        case ["NWays", "KShots", *rest]:
            ways, shots, labels = transforms[0].n, transforms[1], list(taskset.dataset.labels)
            images_per_class = shots.k
        case _:
            return None
    plain = sorted(rest) in (["LoadData", "RemapLabels"], ["ConsecutiveLabels", "LoadData", "RemapLabels"])
    remaps = all(getattr(t, "shuffle", True) for t in transforms)
    # RemapLabels changes loaded data, so it has to come after LoadData
    ordered = plain and rest.index("LoadData") < rest.index("RemapLabels")
    same_data = all(t.dataset is taskset.dataset for t in transforms)
    if not ordered or not remaps or shots.replacement or not same_data:
        return None
    return int(ways), int(images_per_class), labels


def draw(
    source: EpisodeSource | TasksetSource, tasks: int, shots: int, generators: Sequence[torch.Generator]
) -> Episodes:
    """``tasks`` tasks for each replica, from that replica's CPU generator.

    Of each class's images ``shots`` are support, the others query. Raises ValueError where a class has
    no image left for the query set.
    """
    if isinstance(source, TasksetSource):
        return _ask(source, tasks, shots, generators)
    ways, per_class = source.ways, source.images_per_class
    if not shots < per_class:
        raise ValueError(f"{per_class} images of a class leave none for the query set beside {shots} shots")
    uniforms = torch.stack(
        [torch.rand(tasks, ways * (1 + per_class), generator=g, dtype=torch.float64) for g in generators]
    ).numpy()
    sizes, class_images = source.class_sizes.numpy(), source.class_images.numpy()
    classes = _distinct(np.array(len(sizes)), uniforms[..., :ways])
    slots = _distinct(sizes[classes], uniforms[..., ways:].reshape(*classes.shape, per_class))
    chosen = torch.from_numpy(class_images[classes[..., None], slots]).to(source.images.device)
    labels = torch.arange(ways, device=chosen.device)[:, None].expand_as(chosen)
    return Episodes(
        source.images,
        support=chosen[..., :shots].flatten(-2),
        support_labels=labels[..., :shots].flatten(-2),
        query=chosen[..., shots:].flatten(-2),
        query_labels=labels[..., shots:].flatten(-2),
        gram=source.gram,
    )


def _distinct(sizes: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Distinct numbers from 0 to size - 1, every ordered choice equally likely, from uniforms in [0, 1): ``[..., k]``
    of them for sizes ``[...]``.

    The i-th is drawn from the size - i numbers left, then moved up past each smaller one already taken. In numpy,
    whose small steps cost less than torch's.
    """
    numbers: list[np.ndarray] = []
    ascending: list[np.ndarray] = []
    for i in range(uniforms.shape[-1]):
        left = (sizes - i).astype(np.int32)
        number = np.minimum((uniforms[..., i] * left).astype(np.int32), left - 1)
        for smaller in ascending:
            number = number + (number >= smaller)
        numbers.append(number)
        for k, smaller in enumerate(ascending):
            ascending[k], number = np.minimum(smaller, number), np.maximum(smaller, number)
        ascending.append(number)
    return np.stack(numbers, -1)


def _ask(source: TasksetSource, tasks: int, shots: int, generators: Sequence[torch.Generator]) -> Episodes:
    images: list[Tensor] = []
    columns: tuple[list[Tensor], ...] = ([], [], [], [])
    for generator in generators:
        for _ in range(tasks):
            data, labels = _sample(source.taskset, int(torch.randint(2**31, (), generator=generator)))
            place_in_class = (labels[:, None] == labels).tril(-1).sum(-1)
            support = place_in_class < shots
            indices = torch.arange(len(labels)) + sum(map(len, images))
            images.append(data.float().flatten(1))
            task = (indices[support], labels[support], indices[~support], labels[~support])
            for column, part in zip(columns, task, strict=True):
                column.append(part)
    shape = (len(generators), tasks)
    support, support_labels, query, query_labels = (
        torch.stack(column).unflatten(0, shape).to(source.device) for column in columns
    )
    return Episodes(torch.cat(images).to(source.device), support, support_labels, query, query_labels)


def _sample(taskset: Any, seed: int) -> tuple[Tensor, Tensor]:
    """A task of ``taskset``, which draws from the global generators: they are seeded for it, then restored."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            data, labels = taskset.sample()
            return data, labels
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
