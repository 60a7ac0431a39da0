"""Which points of a search space are tried: drawn up front, or proposed by Optuna's samplers from what was found."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

    from metafa.settings import SearchSettings

# by name: {"choices": [...]} or {"low": ..., "high": ..., "log": ..., "step": ...}
Spaces = Mapping[str, dict[str, Any]]
Point = dict[str, Any]  # a value for each space
Outcome = tuple[float, ...] | None  # the objectives, or None where there is nothing to learn from


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
            name: space["choices"][drawn[name]] if "choices" in space else drawn[name] for name, space in spaces.items()
        }


def batches(
    search: SearchSettings, seed: int, spaces: Spaces, outcome: Callable[[Point], Outcome]
) -> Iterator[list[Point]]:
    """The points of a synchronous adaptive search, batch by batch: of each batch the ``outcome`` has to be known when
    the next is asked for. To go on with a search is to tell it again what came out: it then proposes the same."""
    study, distributions, total = _study(search, seed), _distributions(spaces), search.trials or 0
    for start in range(0, total, search.batch):
        asked = [study.ask(distributions) for _ in range(min(search.batch, total - start))]
        yield [_point(trial.params, spaces) for trial in asked]
        for trial in asked:
            found = outcome(_point(trial.params, spaces))
            study.tell(trial, found, state=None if found is not None else _state("FAIL"))


def propose(search: SearchSettings, seed: int, spaces: Spaces, known: list[tuple[Point, Outcome]]) -> Point:
    """What an asynchronous adaptive search tries next, given what is ``known`` by now, in the order it was tried in;
    what is under way has no outcome."""
    study = history(search, spaces, known, seed + len(known))
    return _point(study.ask(_distributions(spaces)).params, spaces)


def history(
    search: SearchSettings,
    spaces: Spaces,
    known: Iterable[tuple[Point, Outcome]],
    seed: int = 0,
    storage: optuna.storages.BaseStorage | None = None,
    name: str | None = None,
) -> optuna.Study:
    """An Optuna study of what is ``known``."""
    import optuna

    study, distributions = _study(search, seed, storage, name), _distributions(spaces)
    for point, found in known:
        study.add_trial(
            optuna.create_trial(
                params={name: _label(point[name]) for name in distributions},
                distributions=distributions,
                values=found,
                state=_state("COMPLETE" if found is not None else "FAIL"),
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
    samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "random": lambda: optuna.samplers.RandomSampler(seed),
        "sobol": lambda: optuna.samplers.QMCSampler(scramble=True, seed=seed),
        # each knows of those proposed before it in its batch, and keeps away from them
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
        "cmaes": lambda: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
        "nsgaii": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=search.batch),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = samplers[search.method]()
    # points drawn up front have no objective, but Optuna's study has
    return optuna.create_study(
        storage=storage, sampler=sampler, study_name=name, directions=search.sought or ["minimize"]
    )


def _distributions(spaces: Spaces) -> dict[str, BaseDistribution]:
    return {name: _distribution(space) for name, space in spaces.items()}


def _distribution(space: dict[str, Any], by_place: bool = False) -> Any:
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
        name: {_label(value): value for value in space["choices"]}[params[name]] if "choices" in space else params[name]
        for name, space in spaces.items()
    }
