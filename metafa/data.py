"""Whether the data that a study needs is here, and enough of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metafa.settings import DatasetNeed, TaskNeed, TrialSettings, dataset_needs, task_needs


class DataError(Exception):
    """Data that is absent or too little; ``messages``, one line each, say for which setting."""

    def __init__(self, messages: list[str]):
        super().__init__("\n".join(messages))
        self.messages = messages


def check(needed: Sequence[TrialSettings], download: bool) -> list[str]:
    """Loads the data that trials need, or, where nothing is to be downloaded, what is here of it; returns the names of
    what would have to be downloaded first. Raises `DataError` where it is not to be had, or too little."""
    from metafa.tasks import TASK_DISTRIBUTIONS, DataAbsent
    from metafa.tasks.classification import DATASETS

    absent: set[tuple[str, str]] = set()
    problems: list[str] = []
    sizes: dict[tuple, tuple[int, int, int]] = {}

    def size(known: Mapping[str, Any], kind: str, name: str, part: str, place: str) -> tuple[int, int, int] | None:
        """Images, classes and images a class of what is loaded, once each; None where there is none."""
        source, key = known[name], (kind, name, part)
        if key not in sizes and (kind, name) not in absent:
            try:
                if source.downloads and not download and not source.here():
                    absent.add((kind, name))
                    return None
                loaded = source.load(part, download)
                sizes[key] = (len(loaded.labels), len(loaded.class_names), loaded.images_per_class)
            except DataAbsent as error:
                absent.add((kind, name))
                problems.append(f"{place}: {error}")
        return sizes.get(key)

    for need in sorted({need for settings in needed for need in task_needs(settings)}):
        if found := size(TASK_DISTRIBUTIONS, "tasks", need.distribution, need.split, need.place):
            problems += _misfits_of_tasks(need, *found)
    for one in dict.fromkeys(need for settings in needed for need in dataset_needs(settings)):
        if found := size(DATASETS, "datasets", one.dataset, "training", one.place):
            problems += _misfits_of_dataset(one, *found)
    if problems:
        raise DataError(list(dict.fromkeys(problems)))
    return sorted({name for _, name in absent})


def _misfits_of_tasks(need: TaskNeed, images: int, classes: int, per_class: int) -> Iterator[str]:
    where = f"the {need.split} classes of {need.distribution}"
    phase = need.place.split(".")[0]
    if need.ways > classes:
        yield f"{phase}.ways: found {need.ways}, but {where} are {classes}"
    if need.images_per_class > per_class:
        yield (
            f"{phase}.shots and {phase}.queries: {need.images_per_class} images of a class together, "
            f"but {where} have {per_class}"
        )


def _misfits_of_dataset(need: DatasetNeed, images: int, classes: int, per_class: int) -> Iterator[str]:
    if need.training_images > images:
        yield f"{need.place}: found {need.training_images}, but {need.dataset} has {images} training images"
