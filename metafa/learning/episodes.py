"""Batches of few-shot tasks, drawn as a learn2learn taskset would draw them, at the speed of tensor operations.

A batch holds index tensors over images that stay where they are. learn2learn itself is not imported
here: a taskset's transforms are known by their class names.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor
from torch.utils.data import default_collate

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


@dataclass(frozen=True)
class EpisodeSource:
    """A task distribution that metafa draws from itself.

    class_images: the indices of each class's images; rows of smaller classes end in -1.
    class_sizes: how many images each class has.
    gram: the product of every image with every other, plus 1; see `with_gram`.

    Raises ValueError where there are fewer classes than ways, or a class has fewer images than a task takes of it.
    """

    images: Float[Tensor, "image pixel"]
    class_images: Int[Tensor, "class slot"]
    class_sizes: Int[Tensor, "class"]
    ways: int
    images_per_class: int
    gram: Float[Tensor, "image image"] | None = None

    def __post_init__(self) -> None:
        classes, taken = len(self.class_sizes), self.images_per_class
        if self.ways > classes:
            raise ValueError(f"tasks of {self.ways} ways need as many classes, but there are {classes}")
        too_small = int((self.class_sizes < taken).sum())
        if too_small:
            raise ValueError(
                f"tasks take {taken} images of each class, support and query together, but {too_small} of the "
                f"{classes} classes have fewer; the smallest has {int(self.class_sizes.min())}"
            )


@dataclass(frozen=True)
class TasksetSource:
    """A task distribution that is asked for each task: a learn2learn taskset with transforms of its own or a fixed
    number of tasks, or a list of tasks, each a pair of images and labels."""

    taskset: Any
    device: str = "cpu"

    @property
    def number_of_tasks(self) -> int | None:
        """How many tasks there are, where that number is fixed."""
        if isinstance(self.taskset, Sequence):
            return len(self.taskset)
        return None if self.taskset.num_tasks == -1 else self.taskset.num_tasks


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
    """The source that draws what ``taskset`` (a `learn2learn.data.Taskset`, or a list of tasks) would.

    Where its transforms are `NWays` then `KShots`, or `FusedNWaysKShots`, with `LoadData`, `RemapLabels`
    and perhaps `ConsecutiveLabels`, every image is read once, here; any other taskset is asked. Raises ValueError where
    there are too few classes or images for its tasks, or the images are not tensors of one size.
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
    try:
        images = torch.stack([torch.as_tensor(dataset[i][0]).float().flatten() for i in range(len(dataset))])
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"the taskset's images have to be tensors of one size: {_first_line(error)}") from error
    sizes = torch.tensor([len(indices) for indices in members])
    return EpisodeSource(images, class_images, sizes, ways, images_per_class)


def _known_transforms(taskset: Any) -> tuple[int, int, list] | None:
    """Ways, images of a class and the labels to draw from, or None where a transform's effect is not known."""
    if isinstance(taskset, Sequence) or taskset.num_tasks != -1 or callable(taskset.task_transforms):
        return None
    if type(taskset).__module__ != "learn2learn.data.task_dataset" or taskset.task_collate is not default_collate:
        return None  # it may make something else of what it draws
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
    if sorted(rest) not in (["LoadData", "RemapLabels"], ["ConsecutiveLabels", "LoadData", "RemapLabels"]):
        return None
    remaps = all(getattr(t, "shuffle", True) for t in transforms)
    # RemapLabels changes loaded data, so it has to come after LoadData
    ordered = rest.index("LoadData") < rest.index("RemapLabels")
    same_data = all(t.dataset is taskset.dataset for t in transforms)
    if not ordered or not remaps or shots.replacement or not same_data or len(set(labels)) < len(labels):
        return None
    return int(ways), int(images_per_class), labels


def draw(
    source: EpisodeSource | TasksetSource, tasks: int, shots: int, generators: Sequence[torch.Generator]
) -> Episodes:
    """``tasks`` tasks for each replica, from that replica's CPU generator.

    Of each class's images ``shots`` are support, the others query. Where the number of tasks is fixed, they are drawn
    with replacement, as learn2learn's own `Taskset.sample` does; `each` gives every one of them once. Raises ValueError
    where a class has no image left for the query set, or what a taskset gives is no task, or not like its others.
    """
    if isinstance(source, TasksetSource):
        return _ask(source, tasks, shots, generators)
    ways, per_class = source.ways, source.images_per_class
    _check_shots(shots, per_class)
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


def each(source: TasksetSource, tasks: int, shots: int, replicas: int) -> Episodes:
    """The first ``tasks`` of a fixed number of tasks, each once, in their order, and the same for every replica.

    A learn2learn taskset draws its tasks when it is first asked for them; those that it has not drawn yet come from
    seeds of their own, 0, 1, ... Raises ValueError as `draw` does, and where there are fewer tasks.
    """
    number = source.number_of_tasks
    if not number:
        raise ValueError("there are no tasks" if number == 0 else "the taskset has no fixed number of tasks")
    if tasks > number:
        raise ValueError(f"tasks is {tasks}, but the taskset has {number}")
    found = _episodes((_sample(source.taskset, i, i) for i in range(tasks)), (1, tasks), shots, source.device)
    return replace(
        found,
        support=found.support.expand(replicas, -1, -1),
        support_labels=found.support_labels.expand(replicas, -1, -1),
        query=found.query.expand(replicas, -1, -1),
        query_labels=found.query_labels.expand(replicas, -1, -1),
    )


def check(tasks: Episodes, ways: int, shots: int, queries: int, inputs: int) -> None:
    """Raises ValueError where tasks drawn with ``shots`` are not of so many ways and queries of each class, or their
    images not of ``inputs`` pixels, all finite and from 0 to 1."""
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


def _check_shots(shots: int, images_per_class: int) -> None:
    if shots < 1:
        raise ValueError(f"shots is {shots}; a task has at least 1 support image of each class")
    if not shots < images_per_class:
        raise ValueError(f"{images_per_class} images of a class leave none for the query set beside {shots} shots")


def _ask(source: TasksetSource, tasks: int, shots: int, generators: Sequence[torch.Generator]) -> Episodes:
    number = source.number_of_tasks

    def asked() -> Iterable[Any]:
        for generator in generators:
            for _ in range(tasks):
                seed = int(torch.randint(2**31, (), generator=generator))
                yield _sample(source.taskset, seed, None if number is None else random.Random(seed).randrange(number))

    return _episodes(asked(), (len(generators), tasks), shots, source.device)


def _episodes(asked: Iterable[Any], shape: tuple[int, int], shots: int, device: str) -> Episodes:
    """The tasks ``asked`` for, in the order of replicas and then of tasks. Raises ValueError, as `draw` says."""
    images: list[Tensor] = []
    columns: tuple[list[Tensor], ...] = ([], [], [], [])
    for task in asked:
        data, labels = _task(task)
        if images and (data.shape != images[0].shape or labels.max() != columns[1][0].max()):
            raise ValueError(
                f"the taskset's tasks differ: one has {_described(images[0], columns[1][0])}, "
                f"another {_described(data, labels)}; expected tasks of one kind"
            )
        _check_shots(shots, len(labels) // (int(labels.max()) + 1))
        place_in_class = (labels[:, None] == labels).tril(-1).sum(-1)
        support = place_in_class < shots
        indices = torch.arange(len(labels)) + sum(map(len, images))
        images.append(data)
        parts = (indices[support], labels[support], indices[~support], labels[~support])
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    support, support_labels, query, query_labels = (
        torch.stack(column).unflatten(0, shape).to(device) for column in columns
    )
    return Episodes(torch.cat(images).to(device), support, support_labels, query, query_labels)


def _described(images: Tensor, labels: Tensor) -> str:
    return f"{len(images)} images of {images.shape[1]} pixels in {int(labels.max()) + 1} classes"


def _task(task: Any) -> tuple[Tensor, Tensor]:
    """A task's images ``[image, pixel]`` and labels. Raises ValueError where the labels are not 0 to ways - 1, as many
    images of each."""
    try:
        data, labels = task
        data, labels = torch.as_tensor(data), torch.as_tensor(labels)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"a task is a pair of tensors, its images and their labels: {_first_line(error)}") from error
    if labels.dim() != 1 or labels.is_floating_point() or data.dim() < 2 or len(data) != len(labels) or not len(data):
        raise ValueError(
            f"a task is images and a whole number for each, found images of shape {[*data.shape]} and labels of shape "
            f"{[*labels.shape]} and type {labels.dtype}"
        )
    classes, counts = labels.unique(return_counts=True)
    if classes.tolist() != list(range(len(classes))):
        raise ValueError(
            f"a task of {len(classes)} classes has labels from {int(classes.min())} to {int(classes.max())}; expected "
            f"0 to {len(classes) - 1}, which learn2learn's RemapLabels makes of them"
        )
    if counts.min() != counts.max():
        raise ValueError(
            f"a task has {int(counts.min())} images of one class and {int(counts.max())} of another; expected as many "
            "of each"
        )
    return data.float().flatten(1), labels.long()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _members(taskset: Any) -> dict[Any, list[int]]:
    """The images of each class of a learn2learn taskset, where it tells them."""
    return getattr(getattr(taskset, "dataset", None), "labels_to_indices", {})


def _sample(taskset: Any, seed: int, index: int | None) -> Any:
    """The task ``index`` of ``taskset``, or a random one where its number of tasks is not fixed. It draws from the
    global generators: they are seeded for it, then restored."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            return taskset.sample() if index is None else taskset[index]
        except ValueError as error:  # such as learn2learn's of a sample larger than what it is drawn from
            sizes = [len(found) for found in _members(taskset).values()]
            there = f"; there are {len(sizes)} classes, the smallest of {min(sizes)} images" if sizes else ""
            raise ValueError(f"the taskset cannot draw a task: {_first_line(error)}{there}") from error
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
