"""Batches of few-shot tasks, drawn as a learn2learn taskset would draw them, at the speed of tensor operations.

A batch holds index tensors over images that stay where they are. Tasks of learn2learn's tasksets and lists of tasks are
in `tasksets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor

GRAM_BYTES = 2**28
ROUNDING = 1e-4  # by which a pixel may lie outside of 0 to 1


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


@runtime_checkable
class Source(Protocol):
    """A task distribution, from which batches of tasks are drawn."""

    def to(self, device: str) -> Source:
        """The source with its images, and so the tasks drawn from it, on ``device``."""

    def with_gram(self) -> Source:
        """The source with the Gram matrix of all its images, where it has all of them and the matrix takes at most
        ``GRAM_BYTES``: for tasks whose images come again and again."""

    def draw(self, tasks: int, shots: int, generators: Sequence[torch.Generator]) -> Episodes:
        """``tasks`` tasks for each replica, drawn from that replica's CPU generator. Of the images of each class in a
        task ``shots`` are support, the others query.

        Raises ValueError where a class has no image left for the query set, or a task that a taskset gives is no task,
        or not like the taskset's others.
        """


@dataclass(frozen=True)
class EpisodeSource:
    """A task distribution that metafa draws from itself.

    class_images: the indices of each class's images; rows of smaller classes end in -1.
    class_sizes: how many images each class has.
    gram: the product of every image with every other, plus 1; None until `with_gram` has made it.

    Raises ValueError where there are fewer classes than ways, or a class has fewer images than a task takes of it.
    """

    images: Float[Tensor, "image pixel"]
    class_images: Int[Tensor, "class slot"]
    class_sizes: Int[Tensor, "class"]
    ways: int
    images_per_class: int
    gram: Float[Tensor, "image image"] | None = None

    def __post_init__(self) -> None:
        classes, needed = len(self.class_sizes), self.images_per_class
        if self.ways > classes:
            raise ValueError(f"tasks of {self.ways} ways need as many classes, but there are {classes}")
        too_small = int((self.class_sizes < needed).sum())
        if too_small:
            raise ValueError(
                f"tasks take {needed} images of each class, support and query together, but {too_small} of the "
                f"{classes} classes have fewer; the smallest has {int(self.class_sizes.min())}"
            )

    def to(self, device: str) -> EpisodeSource:
        return replace(self, images=self.images.to(device))

    def with_gram(self) -> EpisodeSource:
        if len(self.images) ** 2 * self.images.element_size() > GRAM_BYTES:
            return self
        return replace(self, gram=(self.images @ self.images.mT).add_(1))

    def draw(self, tasks: int, shots: int, generators: Sequence[torch.Generator]) -> Episodes:
        ways, per_class = self.ways, self.images_per_class
        check_shots(shots, per_class)
        uniforms = torch.stack(
            [torch.rand(tasks, ways * (1 + per_class), generator=g, dtype=torch.float64) for g in generators]
        ).numpy()
        sizes, class_images = self.class_sizes.numpy(), self.class_images.numpy()
        classes = _distinct(np.array(len(sizes)), uniforms[..., :ways])
        slots = _distinct(sizes[classes], uniforms[..., ways:].reshape(*classes.shape, per_class))
        chosen = torch.from_numpy(class_images[classes[..., None], slots]).to(self.images.device)
        labels = torch.arange(ways, device=chosen.device)[:, None].expand_as(chosen)
        return Episodes(
            self.images,
            support=chosen[..., :shots].flatten(-2),
            support_labels=labels[..., :shots].flatten(-2),
            query=chosen[..., shots:].flatten(-2),
            query_labels=labels[..., shots:].flatten(-2),
            gram=self.gram,
        )


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


def check_shots(shots: int, images_per_class: int) -> None:
    """Raises ValueError where classes of so many images cannot have ``shots`` in the support set and others in the
    query set."""
    if shots < 1:
        raise ValueError(f"shots is {shots}; a task has at least 1 support image of each class")
    if not shots < images_per_class:
        raise ValueError(f"{images_per_class} images of a class leave none for the query set beside {shots} shots")


def check(tasks: Episodes, ways: int, shots: int, queries: int, inputs: int) -> None:
    """Raises ValueError where ``tasks``, drawn with so many ``shots``, do not have so many ways, or not so many queries
    of each class, or where their images do not have ``inputs`` pixels, all of them finite and from 0 to 1."""
    found_ways = tasks.support.shape[-1] // shots
    found = tasks.query.shape[-1] // found_ways
    pixels = tasks.images.shape[-1]
    if found_ways != ways:
        raise ValueError(f"the tasks have {found_ways} ways, not {ways}; say ways = {found_ways}")
    if found != queries:
        raise ValueError(
            f"the tasks have {shots + found} images of each class: beside {shots} shots {found} queries, not "
            f"{queries}; say queries = {found}, or draw {shots + queries} images of each class"
        )
    if pixels != inputs:
        raise ValueError(f"images of {pixels} pixels, but these networks have {inputs} inputs; say inputs = {pixels}")
    broken = int((~tasks.images.isfinite()).any(-1).sum())
    if broken:
        raise ValueError(f"{broken} of {len(tasks.images)} images have pixels that are NaN or infinite")
    low, high = (bound.item() for bound in tasks.images.aminmax())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(
            f"the images have pixels from {low:g} to {high:g}; floats from 0 to 1 are expected: divide uint8 images by "
            "255, as torchvision's ToTensor does, and rescale others"
        )


def repeated(tasks: Episodes) -> int:
    """How many query images are, pixel by pixel, images of their own task's support set too."""
    known = torch.tensor([hash(image.tobytes()) for image in tasks.images.detach().cpu().numpy()])
    support, query = known[tasks.support.cpu()], known[tasks.query.cpu()]
    return int((query[..., None] == support[..., None, :]).any(-1).sum())
