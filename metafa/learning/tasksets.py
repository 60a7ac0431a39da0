"""Tasks of a learn2learn taskset, or of a list of tasks, as batches of `episodes`.

A taskset whose transforms are known is read once, and then drawn from as any other source of images; every other one is
asked for each task. learn2learn itself is not imported: its transforms are known by their class names.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from metafa.learning.episodes import Episodes, EpisodeSource, check_shots


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

    def to(self, device: str) -> TasksetSource:
        return replace(self, device=device)

    def with_gram(self) -> TasksetSource:
        return self

    def draw(self, tasks: int, shots: int, generators: Sequence[torch.Generator]) -> Episodes:
        """Where the number of tasks is fixed, they are drawn with replacement, as learn2learn's own `Taskset.sample`
        does; `every` gives each of them once."""
        number = self.number_of_tasks

        def asked() -> Iterable[Any]:
            for generator in generators:
                for _ in range(tasks):
                    seed = int(torch.randint(2**31, (), generator=generator))
                    yield _sample(self.taskset, seed, None if number is None else random.Random(seed).randrange(number))

        return _episodes(asked(), (len(generators), tasks), shots, self.device)

    def every(self, tasks: int, shots: int, replicas: int) -> Episodes:
        """The first ``tasks`` of a fixed number of tasks, each once, in their order, and the same for every
        replica.

        A learn2learn taskset draws its tasks when it is first asked for them; those that it has not drawn yet come from
        seeds of their own, 0, 1, ... Raises ValueError as `draw` does, and where there are fewer tasks.
        """
        number = self.number_of_tasks
        if not number:
            raise ValueError("there are no tasks" if number == 0 else "the taskset has no fixed number of tasks")
        if tasks > number:
            raise ValueError(f"tasks is {tasks}, but the taskset has {number}")
        found = _episodes((_sample(self.taskset, i, i) for i in range(tasks)), (1, tasks), shots, self.device)
        return replace(
            found,
            support=found.support.expand(replicas, -1, -1),
            support_labels=found.support_labels.expand(replicas, -1, -1),
            query=found.query.expand(replicas, -1, -1),
            query_labels=found.query_labels.expand(replicas, -1, -1),
        )


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


def _members(taskset: Any) -> dict[Any, list[int]]:
    """The images of each class of a learn2learn taskset, where it tells them."""
    return getattr(getattr(taskset, "dataset", None), "labels_to_indices", {})


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
        check_shots(shots, len(labels) // (int(labels.max()) + 1))
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


def _described(images: Tensor, labels: Tensor) -> str:
    return f"{len(images)} images of {images.shape[1]} pixels in {int(labels.max()) + 1} classes"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
