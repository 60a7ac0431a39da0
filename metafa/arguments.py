"""The arguments of the functions of `api`: checked as a study's settings are, and turned into what the core takes."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from metafa import tasks
from metafa.learning import episodes, tasksets
from metafa.learning.episodes import Episodes, EpisodeSource
from metafa.learning.kinds import ARCHITECTURES, NOISE_INPUTS
from metafa.learning.streams import Streams
from metafa.learning.tasksets import TasksetSource
from metafa.studies import mistakes
from metafa.studies.data import DATASETS, TASK_DISTRIBUTIONS
from metafa.studies.fields import Count, Positive, Settings, Size
from metafa.studies.phases import EvaluatePhase
from metafa.studies.values import shown

Checked = TypeVar("Checked", bound=Settings)


class Sizes(Settings):
    """The inputs and outputs of networks. In a study they are the pixels of its images and the ways of its tasks."""

    inputs: Size
    outputs: Size


class Moment(Settings):
    step: Count


class Workers(Settings):
    workers: Positive


class PerTask(Settings):
    per_task: bool


def checked(schema: type[Checked], **arguments: Any) -> Checked:
    """The ``arguments`` as settings of a study. Raises ValueError where a study could not have them."""
    try:
        settings = plain(arguments)
    except TypeError as error:
        raise ValueError(str(error)) from error
    found = mistakes.misfits(schema, settings)
    # several rates side by side are for studies alone
    found += [
        f"{name}: found a list, expected a number"
        for name in ("learning_rate", "inner_learning_rate")
        if isinstance(settings.get(name), list)
    ]
    if found:
        raise ValueError("; ".join(found))
    return schema(**settings)


def shape_of_pixels(inputs: str, pixels: int) -> tuple[int, ...]:
    """The shape of the images of metafa's that have so many pixels, rows and columns first. Raises ValueError where
    there are none and noise ``inputs`` need them."""
    every = [row.shape for row in TASK_DISTRIBUTIONS.values()] + [row.shape for row in DATASETS.values()]
    shapes = {math.prod(shape): shape for shape in reversed(every)}
    if NOISE_INPUTS[inputs].has_rows and pixels not in shapes:
        known = ", ".join(map(str, sorted(shapes)))
        raise ValueError(
            f"inputs: {inputs!r} has rows and columns, and no images are known that have {pixels} pixels, as these "
            f"networks take; there are images of {known}"
        )
    return shapes.get(pixels, ())


def image_of(inputs: Any, outputs: Any, architecture: str) -> tuple[tuple[int, ...], int]:
    """The shape of the images that networks take, or of no pictures the number of their pixels, and their outputs.
    Raises ValueError where a study could not have them, or an architecture cannot take them."""
    given = plain(inputs) if np.ndim(inputs) else None
    pixels = inputs if given is None else math.prod(given)
    sizes, row = checked(Sizes, inputs=pixels, outputs=outputs), ARCHITECTURES[architecture]
    image = (sizes.inputs,) if given is None else tuple(given)
    if given is None and row.widths:
        image = shape_of_pixels("normal", sizes.inputs)
    if wanted := row.unmet(image):
        raise ValueError(f"inputs: found {shown(inputs)}; {architecture!r} takes {wanted}")
    return image, sizes.outputs


def one_rate(rate: float | list[float]) -> float:
    """The learning rate; `checked` has made sure that it is no list of several."""
    assert not isinstance(rate, list)
    return rate


def device_of(device: Any) -> str:
    """The name of a device of torch. Raises ValueError where torch cannot use it."""
    device = "cpu" if device is None else device
    try:
        torch.Generator(torch.empty(1, device=device).device)
    except (AssertionError, RuntimeError, TypeError) as error:  # as torch says that it has no CUDA
        raise ValueError(f"device: found {device!r}, which cannot be used: {str(error).splitlines()[0]}") from error
    return str(device)


def plain(value: Any, place: str = "") -> Any:
    """``value`` as TOML writes it: numpy's numbers and arrays become Python's, paths become strings, and entries of a
    mapping that are None are left out. Raises TypeError where TOML cannot write it."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place}: found the key {key!r:.60}, expected a string".lstrip(": "))
            plain(key, place)
        inside = f"{place}." if place else ""
        return {key: plain(inner, f"{inside}{key}") for key, inner in value.items() if inner is not None}
    if hasattr(value, "tolist"):  # of numpy, torch or pandas
        return plain(value.tolist(), place)
    if isinstance(value, list | tuple | range):
        return [plain(inner, f"{place}[{i}]") for i, inner in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise TypeError(f"{place}: found {value!r:.60}, which is no text that UTF-8 has".lstrip(": "))
    if isinstance(value, int) and value.bit_length() > 64:
        raise TypeError(f"{place}: found {shown(value)}, more than a whole number of 64 bits")
    if isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{place}: found {value!r:.60}, expected a number, a string, a list or a mapping")


def source_named(name: str, split: str, ways: int, images_per_class: int) -> EpisodeSource:
    """The task distribution of that name. Raises ValueError where there is none, or no such split of it."""
    if name not in tasks.TASK_DISTRIBUTIONS:
        raise ValueError(f"no task distribution {name!r}; there are {', '.join(tasks.TASK_DISTRIBUTIONS)}")
    if split not in tasks.SPLITS:
        raise ValueError(f"split: found {split!r}, expected {', '.join(map(repr, tasks.SPLITS))}")
    images = tasks.TASK_DISTRIBUTIONS[name].load(split, True)
    return episodes.from_images(images.images, images.labels, ways, images_per_class)


def source_of_taskset(taskset: Any) -> EpisodeSource | TasksetSource:
    """The tasks of a learn2learn taskset or of a list. Raises TypeError where ``taskset`` is neither."""
    names = isinstance(taskset, Sequence) and any(isinstance(one, str) for one in taskset)
    of_tasks = isinstance(taskset, Sequence) and not names and not isinstance(taskset, bytes | bytearray)
    if of_tasks or all(hasattr(taskset, part) for part in ("num_tasks", "task_transforms")):
        return tasksets.from_taskset(taskset)
    kind = f"{type(taskset).__name__}{' of names' * names}"
    raise TypeError(f"task_distribution: found {kind}, expected a name, a learn2learn Taskset or a list of tasks")


def drawn_tasks(
    source: EpisodeSource | TasksetSource, phase: EvaluatePhase, streams: Streams, stream: str, inputs: int, every: bool
) -> Episodes:
    """The tasks of each replica, drawn from its generator of the name ``stream``. Where the source has a fixed number
    of tasks, they are all of its tasks if ``every``, else its first ones.

    Raises ValueError where the tasks are not as the phase says, or their images do not have ``inputs`` pixels.
    """
    number = source.number_of_tasks if isinstance(source, TasksetSource) else None
    if isinstance(source, TasksetSource) and number is not None:
        drawn = source.every(number if every else phase.tasks, phase.shots, len(streams.replica_seeds))
    else:
        drawn = source.draw(phase.tasks, phase.shots, streams.generators(stream, device="cpu"))
    episodes.check(drawn, phase.ways, phase.shots, phase.queries, inputs)
    if isinstance(source, TasksetSource) and (repeated := episodes.repeated(drawn)):
        warnings.warn(
            f"{repeated} of {drawn.query.numel()} query images are in the support set of their task as well, so that "
            "what is measured is not of unseen images alone",
            stacklevel=3,
        )
    return drawn
