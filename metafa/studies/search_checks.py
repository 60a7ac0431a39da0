"""What has to hold of a study's search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metafa.studies.earlier import new_name
from metafa.studies.measured_checks import check_measured, undirected
from metafa.studies.metrics import direction_of
from metafa.studies.mistakes import Mistakes
from metafa.studies.needs import metrics_of
from metafa.studies.settings import ADAPTIVE, SearchSettings, StudySettings, TrialSettings, flatten
from metafa.studies.spaces import TreePath
from metafa.studies.values import listed


def check_search(
    mistakes: Mistakes,
    settings: StudySettings,
    spaces: dict[TreePath, dict],
    examples: Sequence[TrialSettings],
    every: Iterable[TrialSettings],
) -> None:
    """Whether a search can be run as it is asked for, of trials of which ``every`` one tells, or ``examples`` of
    them."""
    search = settings.search
    _check_trials(mistakes, search, spaces)
    if search.method not in ADAPTIVE:
        for key in (key for key in ("objectives", "directions") if getattr(search, key)):
            mistakes.add(("search", key), f'"{search.method}" does not adapt to any; that is for {listed(ADAPTIVE)}')
        return
    _check_method(mistakes, search, spaces)
    _check_objectives(mistakes, search, examples, every)


def _check_trials(mistakes: Mistakes, search: SearchSettings, spaces: dict[TreePath, dict]) -> None:
    if search.method == "grid":
        if search.trials is not None:
            mistakes.add(("search", "trials"), "a grid has as many trials as combinations; leave `trials` out")
    elif search.trials is None:
        mistakes.add(("search",), f'method = "{search.method}" needs `trials`, how many points to try')
    elif not spaces:
        mistakes.add(("search",), f'method = "{search.method}", but no setting is a search space')


def _check_method(mistakes: Mistakes, search: SearchSettings, spaces: dict[TreePath, dict]) -> None:
    """Whether an adaptive method can do what is asked of it."""
    method = search.method
    if not search.objectives:
        mistakes.add(("search",), f'method = "{method}" needs `objectives`, such as ["evaluate.meta_loss"]')
    if len(search.objectives) > 1 and method not in ("tpe", "nsgaii"):
        mistakes.add(("search", "objectives"), f'"{method}" takes one; several are for "tpe" and "nsgaii"')
    if search.directions and len(search.directions) != len(search.objectives):
        mistakes.add(("search", "directions"), "there has to be one for each of `objectives`, or none")
    if not search.synchronous and method not in ("tpe", "gp"):
        mistakes.add(("search", "synchronous"), f'"{method}" goes on from whole batches; only "tpe" and "gp" need not')
    if method == "nsgaii" and search.batch < 2:
        mistakes.add(("search", "batch"), 'for "nsgaii" it is the population, of at least 2')
    if method == "cmaes":
        for path in (path for path, space in spaces.items() if "choices" in space):
            sentence = '"cmaes" knows ranges alone, and draws choices at random, whatever it finds'
            mistakes.add(path, f'{sentence}; give a range, or take "tpe", "gp" or "nsgaii"')


def _check_objectives(
    mistakes: Mistakes, search: SearchSettings, examples: Sequence[TrialSettings], every: Iterable[TrialSettings]
) -> None:
    """Whether each objective is a number of every trial, and one that differs between them."""
    values = [{name: flat.get(name) for name in search.objectives} for flat in map(flatten, every)]
    for i, objective in enumerate(search.objectives):
        path = ("search", "objectives", i)
        if all(type(of_trial.get(objective)) in (int, float) for of_trial in values):
            if len({of_trial[objective] for of_trial in values}) == 1:
                same = values[0][objective]
                mistakes.add(path, f"{objective!r} is {same} in every trial; nothing is to be found there")
            continue
        if (new := new_name(objective)) != objective and any(new in flatten(example) for example in examples):
            mistakes.add(path, f"found {objective!r}, which is called {new!r} now")
            continue
        names = set.intersection(*({phase.name for phase in example.phases} for example in examples))
        phase, _, metric = objective.rpartition(".")
        if phase not in names:
            mistakes.add(path, f"found {objective!r}, expected PHASE.METRIC, where the phases are {listed(names)}")
            continue
        measured = [metrics_of(example)[phase] for example in examples]
        some = " in every trial" if metric in set.union(*measured) else ""
        check_measured(mistakes, path, f"{phase}.", metric, phase, set.intersection(*measured), some)
        if not search.directions and direction_of(objective) is None:
            mistakes.add(("search",), f"`directions` have to be said: {undirected(objective)}")
