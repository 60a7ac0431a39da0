"""What phases have to know of each other: whether they fit, and which images they draw on."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

from metafa.studies.data import DATASET_SHAPES, DIGITS, TASK_SHAPE, DatasetName, TaskDistributionName
from metafa.studies.phases import PHASES, EvaluatePhase, MetaPhase, OutOfDistributionPhase, Phase, SupervisedPhase


class Outline(NamedTuple):
    """What of a phase other phases have to fit, and what decides which images it draws on."""

    kind: str
    name: str
    lists: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """The learning rates that are lists, by name."""
    dataset: DatasetName | None = None
    datasets: tuple[DatasetName, ...] = ()
    task_distributions: tuple[TaskDistributionName, ...] = ()
    split: str | None = None
    learns_rates: bool = False
    takes_learned_rates: bool = False


RATES = {kind: [name for name in model.model_fields if name.endswith("rate")] for kind, model in PHASES.items()}


def outline(phase: Phase) -> Outline:
    """The outline of a phase."""
    rates = [(name, getattr(phase, name)) for name in RATES[phase.phase]]
    plain = Outline(phase.phase, phase.name, tuple((name, tuple(one)) for name, one in rates if isinstance(one, list)))
    if isinstance(phase, SupervisedPhase):
        return plain._replace(dataset=phase.dataset)
    if isinstance(phase, OutOfDistributionPhase):
        return plain._replace(dataset=phase.dataset, datasets=tuple(phase.datasets))
    if isinstance(phase, MetaPhase):
        distributions = (phase.task_distribution,)
        return plain._replace(task_distributions=distributions, split="training", learns_rates=phase.learn_inner_rates)
    if isinstance(phase, EvaluatePhase):
        return plain._replace(
            task_distributions=tuple(phase.task_distributions),
            split=phase.split,
            takes_learned_rates=phase.learned_rates,
        )
    return plain


Outlines = tuple[Outline, ...]  # of the phases of a trial, many of which have the same


@functools.lru_cache(maxsize=1024)
def datasets_of(outlines: Outlines) -> dict[str, DatasetName]:
    """The dataset that each phase trains on or changes, by the phase's name."""
    found: dict[str, DatasetName] = {}
    before: DatasetName | None = None
    for one in outlines:
        if one.kind in ("supervised", "out_of_distribution") and (name := one.dataset or before):
            found[one.name] = name
            before = name if one.kind == "supervised" else before
    return found


@functools.lru_cache(maxsize=1024)
def pixels_of(outlines: Outlines) -> dict[str, int]:
    """The pixels of the images that each phase sees, by its name; a network takes but one number."""
    tasks = {one.name: TASK_SHAPE for one in outlines if one.task_distributions}
    shapes = tasks | {name: DATASET_SHAPES[dataset] for name, dataset in datasets_of(outlines).items()}
    return {one.name: math.prod(shapes[one.name]) for one in outlines if one.name in shapes}


def lists_of(outlines: Outlines) -> dict[str, tuple[float, ...]]:
    """The learning rates that are lists, by dotted name."""
    return {f"{one.name}.{name}": rates for one in outlines for name, rates in one.lists}


@functools.lru_cache(maxsize=1024)
def misfit(outlines: Outlines) -> str | None:
    """Why phases do not fit each other, in a sentence, if they do not."""
    lists = lists_of(outlines)
    if len(lists) > 1:
        return f"one learning rate at most is a list, found {' and '.join(lists)}"
    for name, rates in lists.items():
        if len(set(rates)) < len(rates):
            return f"{name} has a rate twice"
    pixels = pixels_of(outlines)
    if len(set(pixels.values())) > 1:
        found = ", ".join(f"{number} in {name}" for name, number in pixels.items())
        return f"a network takes images of one size, found pixels: {found}"
    learned, datasets = False, datasets_of(outlines)
    for one in outlines:
        if one.kind == "out_of_distribution":
            if one.name not in datasets:
                return f"{one.name} needs a `dataset`, or a supervised phase before it"
            unlike = [name for name in (datasets[one.name], *one.datasets) if name not in DIGITS]
            if one.datasets and unlike:
                return f"{one.name}.datasets: their classes are the ten digits; those of {unlike[0]} are not"
        learned |= one.learns_rates
        if one.takes_learned_rates and not learned:
            return f"{one.name}.learned_rates needs a meta phase before it with learn_inner_rates = true"
    return None


@functools.lru_cache(maxsize=1024)
def images_of(outlines: Outlines) -> Mapping[str, str]:
    """As `image_needs`."""
    needs: dict[str, str] = {}
    for one in outlines:
        setting = "task_distribution" if one.kind == "meta" else "task_distributions"
        for distribution in one.task_distributions:
            needs.setdefault(f"tasks/{distribution}/{one.split}", f"{one.name}.{setting}")
    datasets = datasets_of(outlines)
    for one in outlines:
        used = [("dataset", datasets[one.name])] if one.name in datasets else []
        for setting, name in (*used, *(("datasets", name) for name in one.datasets)):
            for part in ("training", "test"):
                needs.setdefault(f"datasets/{name}/{part}", f"{one.name}.{setting}")
    return needs
