"""Whether the data that a study needs is here, enough of it and sound, and the digests by which it is known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from metafa.errors import DataAbsent, DataBroken, DataError
from metafa.studies.data import DATASETS, TASK_DISTRIBUTIONS, DatasetNeed, TaskNeed
from metafa.studies.needs import dataset_needs, image_needs, images_by_phase, task_needs
from metafa.studies.settings import TrialSettings
from metafa.tasks.base import PARTS, SPLITS

if TYPE_CHECKING:
    from metafa.tasks.base import LabelledImages


@dataclass(frozen=True)
class Found:
    """Images that trials draw on, by the names of `image_needs`, and what is to be downloaded first, each after
    the setting that asks for it."""

    images: Mapping[str, LabelledImages]
    absent: Sequence[str] = ()

    @cached_property
    def digests(self) -> dict[str, str]:
        return {name: images.digest for name, images in self.images.items()}


def here(needed: Sequence[TrialSettings]) -> Found:
    """What of the images that trials draw on is on this machine. Raises `DataError` where some of it is broken."""
    return _find(_telling(needed), download=False, already={}, whole=False)


def check(
    needed: Sequence[TrialSettings], download: bool, already: Mapping[str, LabelledImages] | None = None
) -> Found:
    """Loads the images that trials draw on and that are not in ``already``, or, where nothing is to be downloaded, what
    is here of them. Raises `DataError` where some are not to be had, broken, or too few."""
    needed = _telling(needed)
    found = _find(needed, download, already or {}, whole=True)
    problems: list[str] = []
    for need in sorted({need for settings in needed for need in task_needs(settings)}):
        if images := found.images.get(f"tasks/{need.distribution}/{need.split}"):
            problems += _misfits_of_tasks(need, images)
    for one in dict.fromkeys(need for settings in needed for need in dataset_needs(settings)):
        if images := found.images.get(f"datasets/{one.dataset}/training"):
            problems += _misfits_of_dataset(one, images)
    if problems:
        raise DataError(list(dict.fromkeys(problems)))
    return found


def _telling(needed: Sequence[TrialSettings]) -> list[TrialSettings]:
    """Of settings that draw on the same images, and as many of them, one each."""
    known: dict[int, tuple] = {}  # by identity: trials share phases, and keep them
    found: dict[tuple, TrialSettings] = {}
    for settings in needed:
        for phase in settings.phases:
            if id(phase) not in known:
                needs = (*phase.task_needs(), *phase.dataset_needs())
                known[id(phase)] = (phase.outline, phase.has_steps, *needs) if needs else ()
        found.setdefault((settings.network.pixels, *(known[id(phase)] for phase in settings.phases)), settings)
    return list(found.values())


def _find(needed: Sequence[TrialSettings], download: bool, already: Mapping[str, LabelledImages], whole: bool) -> Found:
    """Loads images, each once. What is neither here nor to be downloaded is a problem where all are wanted, the
    ``whole`` of them."""
    known: dict[str, Mapping[str, Any]] = {"tasks": TASK_DISTRIBUTIONS, "datasets": DATASETS}
    places: dict[str, str] = {}
    for settings in needed:
        places |= {key: place for key, place in image_needs(settings).items() if key not in places}
    images, absent, problems = dict(already), set(), dict[str, str]()  # a problem's place by what it is: said once
    for key in [key for key in places if key not in already]:
        kind, name, part = key.split("/")
        source = known[kind][name]
        try:
            if not download and (source.downloads or not whole) and not source.here(part):
                some_here = any(map(source.here, SPLITS if kind == "tasks" else PARTS))
                absent.add(f"{places[key]}: {f'the {part} part of ' if some_here else ''}{name}")
            else:
                images[key] = source.load(part, download)
        except (DataAbsent, DataBroken) as error:
            problems.setdefault(str(error), places[key])
    for name in dict.fromkeys(key.rpartition("/")[0] for key in places):
        parts = {part: images[f"{name}/{part}"] for part in SPLITS if f"{name}/{part}" in places.keys() & images.keys()}
        kind, source = name.split("/")
        if said := shared(source, parts, known[kind][source].may_share):
            problems.setdefault(said, next(place for key, place in places.items() if key.startswith(f"{name}/")))
    if problems:
        raise DataError([f"{place}: {said}" for said, place in problems.items()])
    return Found(images, sorted(absent))


def overlaps(needed: Sequence[TrialSettings], found: Found) -> list[str]:
    """What is to be said, a sentence each, where images that a phase tests on go by another name among those that a
    phase before it trains on."""
    said: dict[str, None] = {}
    images = {key: loaded.distinct for key, loaded in found.images.items()}
    for settings in _telling(needed):
        trained: list[str] = []
        for phase in settings.phases:
            learned, tested = images_by_phase(settings, phase)
            trained += learned
            for one, other in itertools.product(trained, tested):
                if one.rpartition("/")[0] == other.rpartition("/")[0]:
                    continue  # parts of the same data share none
                if common := len(images.get(one, frozenset()) & images.get(other, frozenset())):
                    names = [" of ".join(reversed(key.split("/")[1:])) for key in (one, other)]
                    of = f"of the {len(images[other])} images that {phase.name} tests on ({names[1]}), {common}"
                    said[f"{of} are trained on before it ({names[0]})"] = None
    return list(said)


def shared(name: str, parts: Mapping[str, LabelledImages], may_share: float = 0.0) -> str | None:
    """What is wrong, in a sentence, where two parts of the data called ``name``, such as its training and its test
    part, share more than the fraction ``may_share`` of the smaller one's distinct images; None where they do not."""
    distinct = {part: images.distinct for part, images in parts.items()}
    for one, other in itertools.combinations(distinct, 2):
        common = len(distinct[one] & distinct[other])
        fewest = min(len(distinct[one]), len(distinct[other]))
        if common > may_share * fewest:
            return (
                f"{name}: {common} of the {len(distinct[other])} {other} images stand among the "
                f"{one} images too; replace them with the published files, which share none"
            )
    return None


def _misfits_of_tasks(need: TaskNeed, images: LabelledImages) -> Iterator[str]:
    where = f"the {need.split} classes of {need.distribution}"
    phase = need.place.split(".")[0]
    if need.ways > len(images.class_names):
        yield f"{phase}.ways: found {need.ways}, but {where} are {len(images.class_names)}"
    if need.images_per_class > images.images_per_class:
        yield (
            f"{phase}.shots and {phase}.queries: {need.images_per_class} images of a class together, "
            f"but {where} have {images.images_per_class}"
        )


def _misfits_of_dataset(need: DatasetNeed, images: LabelledImages) -> Iterator[str]:
    if need.training_images > len(images.labels):
        yield (
            f"{need.place}: found {need.training_images}, but {need.dataset} has {len(images.labels)} training images"
        )
