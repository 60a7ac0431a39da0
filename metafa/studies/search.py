"""Which points of a search space are tried: drawn up front, or proposed by Optuna's samplers from what was found."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from metafa.studies.earlier import name_in_order
from metafa.studies.settings import SearchSettings

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

# by name: {"choices": [...]} or {"low": ..., "high": ..., "log": ..., "step": ...}
Spaces = Mapping[str, dict[str, Any]]
Point = dict[str, Any]  # a value for each space
Outcome = tuple[float, ...] | None  # the objectives, or None where there is nothing to learn from
COUNTED = 10_000  # points of a space that are gone through one by one
DRAWN = 1000  # points of a larger one that are drawn where a sampler proposes nothing new
STARTUP = {"tpe": 10, "gp": 10, "cmaes": 1, "nsgaii": 1}  # outcomes before which Optuna's samplers draw at random


class Tried(NamedTuple):
    """A point that was tried, and what came out, or that its trial is still running."""

    point: Point
    outcome: Outcome
    running: bool = False


def at_random(search: SearchSettings, settings: int) -> int:
    """How many points an adaptive search of so many settings draws before it learns from any; more where trials
    fail."""
    batch = search.batch if search.synchronous else 1
    # a first generation of CMA-ES's own comes after those drawn at random
    generations = [STARTUP[search.method]] + [4 + math.floor(3 * math.log(settings))] * (search.method == "cmaes")
    return sum(math.ceil(points / batch) * batch for points in generations)


def every(spaces: Spaces) -> Iterator[Point] | None:
    """Every point of a space that has `COUNTED` at most; None of a larger one."""
    values = {name: _values(space) for name, space in spaces.items()}
    counts = [len(found) if found is not None else COUNTED + 1 for found in values.values()]
    if math.prod(counts) > COUNTED:
        return None
    return (dict(zip(values, point, strict=True)) for point in itertools.product(*values.values()))  # type: ignore[arg-type]


def others(seed: int, spaces: Spaces) -> Iterator[Point]:
    """Points in a random order, which depends on nothing but the study: all that there are, or of a larger space
    `DRAWN`."""
    points = every(spaces)
    if points is None:
        yield from up_front(SearchSettings(method="random", trials=DRAWN), seed, spaces)
        return
    found = list(points)
    random.Random(seed).shuffle(found)
    yield from found


def _values(space: dict[str, Any]) -> Sequence[Any] | None:
    """All that a setting may be; None where those are not to be counted."""
    if "choices" in space:
        return space["choices"]
    low, high, step = space["low"], space["high"], space.get("step")
    whole = isinstance(low, int) and isinstance(high, int)
    step = step or (1 if whole else None)
    if step is None or (high - low) / step > COUNTED:
        return None
    if whole:
        return range(low, high + 1, step)
    return [min(low + i * step, high) for i in range(math.floor((high - low) / step + 1e-8) + 1)]


def up_front(search: SearchSettings, seed: int, spaces: Spaces) -> Iterator[Point]:
    """The points of a `random` or `sobol` search, which depend on nothing but the study."""
    import optuna

    # choices by their place, since Sobol sequences know no categories
    distributions = {name: _distribution(space, by_place=True) for name, space in spaces.items()}
    study = _study(search, seed)
    if search.method == "sobol":  # the sampler learns from a first trial what the space is
        first = {name: distribution.low for name, distribution in distributions.items()}
        study.add_trial(optuna.create_trial(params=first, distributions=distributions, value=0.0))
    for _ in range(search.trials or 0):
        drawn = study.ask(distributions).params
        yield {
            name: space["choices"][drawn[name]] if "choices" in space else _on_grid(drawn[name], space)
            for name, space in spaces.items()
        }


def batches(
    search: SearchSettings,
    seed: int,
    spaces: Spaces,
    outcome: Callable[[Point], Outcome],
    new: Callable[[list[Point]], int] = len,
) -> Iterator[list[Point]]:
    """The points of a synchronous adaptive search, batch by batch, until as many as it is to try were ``new``: of each
    batch the ``outcome`` has to be known when the next is asked for. To go on with a search is to tell it again what
    came out: it then proposes the same."""
    study, distributions, left = _study(search, seed), _distributions(spaces), search.trials or 0
    while left > 0:
        asked = [study.ask(distributions) for _ in range(min(search.batch, left))]
        points = [_point(trial.params, spaces) for trial in asked]
        left -= new(points)
        yield points
        for trial in asked:
            found = outcome(_point(trial.params, spaces))
            study.tell(trial, found, state=None if found is not None else _state("FAIL"))


def propose(search: SearchSettings, seed: int, spaces: Spaces, tried: list[Tried]) -> Point:
    """What an asynchronous adaptive search tries next, given what is ``tried`` by now, in that order."""
    study = history(search, spaces, tried, seed + len(tried))
    return _point(study.ask(_distributions(spaces)).params, spaces)


def history(
    search: SearchSettings,
    spaces: Spaces,
    tried: Iterable[Tried],
    seed: int = 0,
    storage: optuna.storages.BaseStorage | None = None,
    name: str | None = None,
) -> optuna.Study:
    """An Optuna study of what is ``tried``. In a ``storage``, which people look at, settings have their own names; else
    those of `earlier.name_in_order`."""
    import optuna

    study = _study(search, seed, storage, name)
    known_as = {name: name if storage is not None else name_in_order(name) for name in spaces}
    distributions = {known_as[name]: _distribution(space) for name, space in spaces.items()}
    for point, found, running in tried:
        study.add_trial(
            optuna.create_trial(
                params={known_as[name]: _label(point[name]) for name in spaces},
                distributions=distributions,
                values=found,
                # samplers keep away from what is running
                state=_state("RUNNING" if running else "COMPLETE" if found is not None else "FAIL"),
            )
        )
    return study


def _state(name: str) -> optuna.trial.TrialState:
    import optuna

    return optuna.trial.TrialState[name]


def _study(
    search: SearchSettings,
    seed: int,
    storage: optuna.storages.BaseStorage | None = None,
    name: str | None = None,
) -> optuna.Study:
    import optuna

    optuna.logging.disable_default_handler()
    seed = _of_32_bits(seed)
    samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "random": lambda: optuna.samplers.RandomSampler(seed),
        "sobol": lambda: optuna.samplers.QMCSampler(scramble=True, seed=seed),
        # each knows of those proposed before it in its batch, and keeps away from them
        "tpe": lambda: optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP["tpe"]
        ),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP["gp"]),
        "cmaes": lambda: optuna.samplers.CmaEsSampler(
            seed=seed, warn_independent_sampling=False, n_startup_trials=STARTUP["cmaes"]
        ),
        "nsgaii": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=search.batch),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = samplers[search.method]()
    # points drawn up front have no objective, but Optuna's study has
    return optuna.create_study(
        storage=storage, sampler=sampler, study_name=name, directions=search.sought or ["minimize"]
    )


def _of_32_bits(seed: int) -> int:
    """A seed that Optuna's samplers take: the same where it is one, else a hash of it."""
    return seed if seed < 2**32 else int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=4).digest(), "big")


def _distributions(spaces: Spaces) -> dict[str, BaseDistribution]:
    return {name_in_order(name): _distribution(space) for name, space in spaces.items()}


def _distribution(space: dict[str, Any], by_place: bool = False) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a range whose last step falls short of its end
        return _of_space(space, by_place)


def _of_space(space: dict[str, Any], by_place: bool) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "choices" in space:
        if by_place:
            return IntDistribution(0, len(space["choices"]) - 1)
        return CategoricalDistribution([_label(value) for value in space["choices"]])
    low, high, log = space["low"], space["high"], space.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=space.get("step", 1))
    return FloatDistribution(low, high, log=log, step=space.get("step"))


def _label(value: Any) -> Any:
    """A choice as Optuna takes it."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _point(params: dict[str, Any], spaces: Spaces) -> Point:
    return {
        name: {_label(value): value for value in space["choices"]}[params[name_in_order(name)]]
        if "choices" in space
        else _on_grid(params[name_in_order(name)], space)
        for name, space in spaces.items()
    }


def _on_grid(value: Any, space: dict[str, Any]) -> Any:
    """A number of a range; of one in steps as `_values` has it, where samplers add up to others by rounding."""
    if not isinstance(value, float) or not space.get("step"):
        return value
    return min(space["low"] + round((value - space["low"]) / space["step"]) * space["step"], space["high"])
