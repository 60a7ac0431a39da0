"""What phases have to know of each other: whether they fit, and which images they draw on."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

from metafa.learning.kinds import ARCHITECTURES
from metafa.learning.rules import RULES
from metafa.studies.data import (
    DATASET_BEFORE,
    DATASETS,
    TASK_DISTRIBUTIONS,
    DatasetName,
    TaskDistributionName,
    have_common_classes,
)
from metafa.studies.values import listed


class Outline(NamedTuple):
    """What of a phase other phases have to fit, and what decides which images it draws on."""

    kind: str
    name: str
    trains: bool
    lists: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """The learning rates that are lists, by name."""
    tasks: tuple[tuple[str, TaskDistributionName, str], ...] = ()
    """The setting that asks for tasks, their distribution and their split."""
    datasets: tuple[tuple[str, DatasetName, str, tuple[str, ...]], ...] = ()
    """The datasets, the phase's own first: the setting that asks for it, its name or `DATASET_BEFORE`, its
    classes as `DatasetNeed.classes`, and which of its parts are needed."""
    seen: tuple[DatasetName, ...] = ()
    """Those besides its own whose images the network takes in the size that they have."""
    single_images: bool = False
    """Whether its batches are of one image."""
    learns_rates: bool = False
    takes_learned_rates: bool = False
    unlabelled: tuple[tuple[str, DatasetName], ...] = ()
    """The datasets that lend their training images without labels: the setting that asks for it, its name."""
    retests: bool = False
    pictures: str = ""
    turns: str = ""
    """As those of `PhaseSettings`."""


Outlines = tuple[Outline, ...]  # of the phases of a trial, many of which have the same


@functools.lru_cache(maxsize=1024)
def datasets_of(outlines: Outlines) -> dict[str, DatasetName]:
    """The dataset that each phase trains on, changes or is tested on, by the phase's name."""
    datasets: dict[str, DatasetName] = {}
    trained: DatasetName | None = None
    for phase in outlines:
        if phase.seen:  # several, of which none is its own
            continue
        own = phase.datasets[0][1] if phase.datasets else DATASET_BEFORE
        if (phase.datasets or phase.retests) and (dataset := own or trained):
            datasets[phase.name] = dataset
            trained = dataset if phase.trains else trained
    return datasets


def pixels_of(outlines: Outlines) -> dict[str, int]:
    """The pixels of the images that each phase sees, by its name; a network takes but one number."""
    return {name: pixels for name, _, pixels in _sizes(outlines)}


@functools.lru_cache(maxsize=1024)
def _sizes(outlines: Outlines) -> tuple[tuple[str, str, int], ...]:
    """The phase, the dataset or task distribution, and the pixels of its images, of all that a phase sees."""
    return tuple(dict.fromkeys((name, images, math.prod(shape)) for name, images, shape in _shapes(outlines)))


def _shapes(outlines: Outlines) -> list[tuple[str, str, tuple[int, ...]]]:
    """The phase, the dataset or task distribution, and the shape of its images, of all that a phase sees, in the order
    of phases."""
    shapes = [(phase.name, name, TASK_DISTRIBUTIONS[name].shape) for phase in outlines for _, name, _ in phase.tasks]
    seen = [*datasets_of(outlines).items(), *((phase.name, name) for phase in outlines for name in phase.seen)]
    seen += [(phase.name, name) for phase in outlines for _, name in phase.unlabelled]
    shapes += [(phase, name, DATASETS[name].shape) for phase, name in seen]
    order = {phase.name: place for place, phase in enumerate(outlines)}
    return sorted(shapes, key=lambda shape: order[shape[0]])


@functools.lru_cache(maxsize=1024)
def shape_of(outlines: Outlines) -> tuple[int, ...]:
    """The shape of the images that a network takes: rows, columns, and channels where there are several."""
    return _shapes(outlines)[0][2]


def lists_of(outlines: Outlines) -> dict[str, tuple[float, ...]]:
    """The learning rates that are lists, by dotted name."""
    return {f"{phase.name}.{name}": rates for phase in outlines for name, rates in phase.lists}


@functools.lru_cache(maxsize=1024)
def misfit(outlines: Outlines, architecture: str = "mlp", normalization: str = "none") -> str | None:
    """Why phases do not fit each other, or a network of that architecture and normalization, in a sentence, if they do
    not."""
    if normalization == "batch" and (sentence := _of_one_value(outlines)):
        return sentence
    if sentence := _unseen(outlines, architecture):
        return sentence
    lists = lists_of(outlines)
    if len(lists) > 1:
        return f"one learning rate at most is a list, found {' and '.join(lists)}"
    for name, rates in lists.items():
        if len(set(rates)) < len(rates):
            return f"{name} has a rate twice"
    sizes = _sizes(outlines)
    if len({pixels for _, _, pixels in sizes}) > 1:
        found = ", ".join(f"{pixels} of {images} in {name}" for name, images, pixels in sizes)
        return f"a network takes images of one size, found pixels: {found}"
    rates_learned, datasets, trained = False, datasets_of(outlines), None
    for phase in outlines:
        if phase.datasets and not phase.seen and phase.name not in datasets:
            return f"{phase.name} needs a `dataset`, or a supervised phase before it"
        if sentence := _unlike(phase, datasets.get(phase.name), trained):
            return sentence
        trained = datasets.get(phase.name, trained) if phase.trains else trained
        rates_learned |= phase.learns_rates
        if phase.takes_learned_rates and not rates_learned:
            return f"{phase.name}.learned_rates needs a meta phase before it with learn_inner_rates = true"
        if phase.pictures and sizes and len(shape := shape_of(outlines)) < 2:
            return f"{phase.pictures} needs images with rows and columns, found images of shape {shape}"
    return None


def unturnable(outlines: Outlines, rule: str) -> str | None:
    """Why the weights of networks of that ``rule`` cannot be turned as a phase asks for, in a sentence, if they
    cannot."""
    for phase in outlines:
        if phase.turns and not RULES[rule].turnable:
            able = listed(name for name, row in RULES.items() if row.turnable)
            return (
                f"{phase.turns} turns weights towards feedback in their shape that they do not decide, which "
                f"network.rule = {rule!r} does not have; rules that do are {able}"
            )
    return None


def _of_one_value(outlines: Outlines) -> str | None:
    """Which phase has batches of one image, whose mean is that image, so that batch normalization makes 0 of it, in a
    sentence, if there is one."""
    for phase in outlines:
        if phase.single_images:
            return f"{phase.name}.batch_size: found 1; batch normalization takes batches of at least 2"
    return None


def _unseen(outlines: Outlines, architecture: str) -> str | None:
    """Which images an architecture with convolutions cannot take, in a sentence, if there are some."""
    row = ARCHITECTURES[architecture]
    shapes = _shapes(outlines) if row.widths else []
    for phase, images, shape in shapes:
        if wanted := row.unmet(shape):
            size = " x ".join(map(str, shape))
            return f'network.architecture = "{architecture}" takes {wanted}; those of {images} in {phase} are {size}'
    if len({shape for _, _, shape in shapes}) > 1:
        found = ", ".join(f"{' x '.join(map(str, shape))} of {images} in {phase}" for phase, images, shape in shapes)
        return f"a network takes images of one shape, found {found}"
    return None


def _unlike(phase: Outline, own: DatasetName | None, trained: DatasetName | None) -> str | None:
    """Which of a phase's datasets has other classes or colours than it has to, in a sentence, if one has; ``own`` is
    the phase's own, ``trained`` the last that was trained on before."""
    learns = not phase.datasets or "training" in phase.datasets[0][3]
    if own and trained and not learns and DATASETS[own].classes != DATASETS[trained].classes:
        classes = f"{own} has {DATASETS[own].classes} classes, and {trained}, trained on before it"
        return f"{phase.datasets[0][0]}: {classes}, {DATASETS[trained].classes}"
    for place, dataset, classes, _ in phase.datasets:
        names = [name for name in (own, dataset) if name and not DATASETS[name].digits]
        if classes == "same" and names:
            return f"{place}: their classes are the ten digits; those of {names[0]} are not"
        if classes == "other" and own and have_common_classes(own, dataset):
            return f"{place}: {dataset} has classes in common with {own}; expected classes that it does not have"
        if own and (ours := _colours(own)) != (theirs := _colours(dataset or own)):
            return f"{place}: images of {dataset} are {theirs}, and those of {own} {ours}"
    return None


def _colours(dataset: DatasetName) -> str:
    return "in colour" if len(DATASETS[dataset].shape) == 3 else "grey"


@functools.lru_cache(maxsize=1024)
def standardized_by(outlines: Outlines) -> str | None:
    """The images by whose mean and standard deviation pixels are standardized, as `image_needs` calls them: those of
    the first dataset that a phase trains on, or else of the first dataset or task distribution; None where there is
    none."""
    datasets = datasets_of(outlines)
    trained = [f"datasets/{datasets[phase.name]}" for phase in outlines if phase.trains and phase.name in datasets]
    named = [
        image
        for phase in outlines
        for image in (
            *(f"tasks/{distribution}" for _, distribution, _ in phase.tasks),
            *(f"datasets/{dataset or datasets[phase.name]}" for _, dataset, _, _ in phase.datasets[:1]),
            *(f"datasets/{lent}" for _, lent in phase.unlabelled),
        )
    ]
    first = next(iter(trained + named), None)
    return first and f"{first}/training"


@functools.lru_cache(maxsize=1024)
def images_of(outlines: Outlines, pixels: str = "unit") -> Mapping[str, str]:
    """As `image_needs`, of a network that sees such ``pixels``."""
    needs: dict[str, str] = {}
    for place, distribution, split in (task for phase in outlines for task in phase.tasks):
        needs.setdefault(f"tasks/{distribution}/{split}", place)
    for place, lent in (dataset for phase in outlines for dataset in phase.unlabelled):
        needs.setdefault(f"datasets/{lent}/training", place)
    datasets = datasets_of(outlines)
    for phase in outlines:
        for place, dataset, _, parts in phase.datasets:
            for part in parts:
                needs.setdefault(f"datasets/{dataset or datasets[phase.name]}/{part}", place)
    if pixels == "standardized" and (image := standardized_by(outlines)):
        needs.setdefault(image, "network.pixels")
    return needs
