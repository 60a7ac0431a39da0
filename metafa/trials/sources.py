"""The images of trials: loaded once, for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from metafa.learning import episodes, pixels
from metafa.learning.episodes import EpisodeSource
from metafa.learning.pixels import Standardization
from metafa.learning.supervised import Labelled
from metafa.studies.data import DATASETS, TASK_DISTRIBUTIONS, TaskNeed
from metafa.studies.needs import dataset_needs, image_needs, task_needs
from metafa.studies.outlines import standardized_by
from metafa.studies.settings import TrialSettings
from metafa.tasks.base import PARTS, LabelledImages

NO_IMAGES = Labelled(torch.empty(0, 0), torch.empty(0, dtype=torch.int64))


@dataclass(frozen=True)
class Sources:
    """The images of trials: what tasks are drawn from, by `source_key`; datasets' training and test images, by name,
    none of a part that no trial needs; by the names of `settings.image_needs`, what pixels may be standardized by."""

    tasks: Mapping[tuple[str, str, int, int], EpisodeSource]
    datasets: Mapping[str, tuple[Labelled, Labelled]]
    standardizations: Mapping[str, Standardization] = field(default_factory=dict)
    _seen: dict[str, Sources] = field(default_factory=dict)

    def seen(self, settings: TrialSettings) -> Sources:
        """The images as the networks of a trial see them, made once for all trials that see the same. Images of another
        size, which no phase shows its network as they are, stay so."""
        images, how = standardized_by(settings.outlines), self.standardization(settings)
        if how is None or images is None:
            return self
        if images not in self._seen:
            tasks = {
                key: replace(source, images=how(source.images), gram=None).with_gram()
                for key, source in self.tasks.items()
                if how.fits(source.images)
            }
            datasets = {
                name: (_standardized(training, how), _standardized(test, how))
                for name, (training, test) in self.datasets.items()
            }
            self._seen[images] = Sources(tasks, datasets)
        return self._seen[images]

    def standardization(self, settings: TrialSettings) -> Standardization | None:
        """What the pixels of a trial are standardized by; None where they stay as they are."""
        images = standardized_by(settings.outlines)
        if settings.network.pixels == "unit" or images is None:
            return None
        known = self.standardizations.get(images)
        return known or pixels.standardization(_load(images).images)


def _standardized(data: Labelled, how: Standardization) -> Labelled:
    return Labelled(how(data.images), data.labels) if how.fits(data.images) else data


def source_key(need: TaskNeed) -> tuple[str, str, int, int]:
    """What a source of episodes is known by: distribution, split, ways and images of a class."""
    return need[1:]


def load_sources(*trials: TrialSettings, images: Mapping[str, LabelledImages] | None = None) -> Sources:
    """The task distributions that these trials draw from, each once, as an `episodes` source, and the datasets that
    they train on. ``images``: those that are loaded already, by the names of `settings.image_needs`; the others are
    loaded here. Raises `DataAbsent` and `DataBroken`."""
    loaded = dict(images or {})

    def of(name: str) -> LabelledImages:
        if name not in loaded:
            loaded[name] = _load(name)
        return loaded[name]

    sources: dict[tuple[str, str, int, int], EpisodeSource] = {}
    for need in (need for settings in trials for need in task_needs(settings)):
        if source_key(need) not in sources:
            found = of(f"tasks/{need.distribution}/{need.split}")
            sources[source_key(need)] = episodes.from_images(
                found.images, found.labels, need.ways, need.images_per_class
            )
    wanted = {name for settings in trials for name in image_needs(settings)}
    datasets = {}
    for name in sorted({need.dataset for settings in trials for need in dataset_needs(settings)}):
        training, test = (
            _labelled(of(key)) if key in wanted else NO_IMAGES for key in (f"datasets/{name}/{part}" for part in PARTS)
        )
        datasets[name] = (training, test)
    names = {standardized_by(settings.outlines) for settings in trials if settings.network.pixels == "standardized"}
    by = {name: pixels.standardization(of(name).images) for name in sorted(name for name in names if name)}
    return Sources(sources, datasets, by)


def _load(name: str) -> LabelledImages:
    """The images that `settings.image_needs` calls so."""
    kind, source, part = name.split("/")
    return (TASK_DISTRIBUTIONS if kind == "tasks" else DATASETS)[source].load(part, True)


def prepared(sources: Sources, device: str = "cpu") -> Sources:
    """The images on ``device``, and what is computed of them once for many trials."""
    tasks = {key: source.to(device).with_gram() for key, source in sources.tasks.items()}
    datasets = {name: (training.to(device), test.to(device)) for name, (training, test) in sources.datasets.items()}
    return Sources(tasks, datasets, sources.standardizations)


def _labelled(images: LabelledImages) -> Labelled:
    flat = images.images.reshape(len(images.labels), -1).astype(np.float32) / 255
    return Labelled(torch.from_numpy(flat), torch.from_numpy(images.labels))
