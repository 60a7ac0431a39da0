"""The images of trials: loaded once, for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from metafa.learning import episodes
from metafa.learning.episodes import Source
from metafa.learning.supervised import Labelled
from metafa.studies.data import DATASETS, TASK_DISTRIBUTIONS, TaskNeed
from metafa.studies.needs import dataset_needs, image_needs, task_needs
from metafa.studies.settings import TrialSettings
from metafa.tasks.base import PARTS, LabelledImages

NO_IMAGES = Labelled(torch.empty(0, 0), torch.empty(0, dtype=torch.int64))


@dataclass(frozen=True)
class Sources:
    """The images of trials: what tasks are drawn from, by `source_key`; datasets' training and test images, by name,
    none of a part that no trial needs."""

    tasks: Mapping[tuple[str, str, int, int], Source]
    datasets: Mapping[str, tuple[Labelled, Labelled]]


def source_key(need: TaskNeed) -> tuple[str, str, int, int]:
    """What a source of episodes is known by: distribution, split, ways and images of a class."""
    return need[1:]


def load_sources(*trials: TrialSettings, images: Mapping[str, LabelledImages] | None = None) -> Sources:
    """The task distributions that these trials draw from, each once, as an `episodes` source, and the datasets that
    they train on. ``images``: those that are loaded already, by the names of `settings.image_needs`; the others are
    loaded here. Raises `DataAbsent` and `DataBroken`."""
    loaded = images or {}
    sources: dict[tuple[str, str, int, int], Source] = {}
    for need in (need for settings in trials for need in task_needs(settings)):
        if source_key(need) not in sources:
            name = f"tasks/{need.distribution}/{need.split}"
            found = loaded.get(name) or TASK_DISTRIBUTIONS[need.distribution].load(need.split, True)
            sources[source_key(need)] = episodes.from_images(
                found.images, found.labels, need.ways, need.images_per_class
            )
    wanted = {name for settings in trials for name in image_needs(settings)}
    names = sorted({need.dataset for settings in trials for need in dataset_needs(settings)})
    datasets = {}
    for name in names:
        training, test = (
            _labelled(loaded.get(key) or DATASETS[name].load(part, True)) if key in wanted else NO_IMAGES
            for part in PARTS
            for key in (f"datasets/{name}/{part}",)
        )
        datasets[name] = (training, test)
    return Sources(sources, datasets)


def prepared(sources: Sources, device: str = "cpu") -> Sources:
    """The images on ``device``, and what is computed of them once for many trials."""
    tasks = {key: source.to(device).with_gram() for key, source in sources.tasks.items()}
    datasets = {name: (training.to(device), test.to(device)) for name, (training, test) in sources.datasets.items()}
    return Sources(tasks, datasets)


def _labelled(images: LabelledImages) -> Labelled:
    flat = images.images.reshape(len(images.labels), -1).astype(np.float32) / 255
    return Labelled(torch.from_numpy(flat), torch.from_numpy(images.labels))
