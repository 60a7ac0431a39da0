"""How much of what came out each setting of a search accounts for, by Optuna's evaluators."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from typing import Any

import optuna
import pandas as pd
from optuna import importance

from metafa.reporting.objectives import Objective
from metafa.studies import search
from metafa.studies.earlier import name_in_order
from metafa.studies.settings import SearchSettings
from metafa.studies.study import Study

EVALUATORS: dict[str, Callable[[], Any]] = {
    "fANOVA": lambda: importance.FanovaImportanceEvaluator(seed=0),
    "impurity": lambda: importance.MeanDecreaseImpurityImportanceEvaluator(seed=0),
    "PED-ANOVA": lambda: importance.PedAnovaImportanceEvaluator(),
}


def importances(study: Study, objectives: list[Objective], found: pd.DataFrame) -> pd.DataFrame:
    """One row an objective and setting, the most important first: the share that each evaluator gives it by the trials
    ``found``, as `objectives.points` has them, or not a number where these are all alike. Without objectives that are
    settings, which explain themselves. fANOVA is of Hutter et al. (2014), mean decrease in impurity of Louppe et al.
    (2013), PED-ANOVA of Watanabe et al. (2023)."""
    searched, rows = _as_optuna(study, objectives, found), []
    for number, objective in enumerate(objectives):
        if objective.name in study.spaces:
            continue

        def outcome(trial: optuna.trial.FrozenTrial, number: int = number) -> float:
            return trial.values[number]

        shares: dict[str, dict[str, float]] = {}
        for name, make in EVALUATORS.items():
            # warnings are of settings that have but one value, and of experimental evaluators; the error is of trees
            # that find nothing to explain
            with warnings.catch_warnings(), contextlib.suppress(RuntimeError):
                warnings.simplefilter("ignore")
                shares[name] = importance.get_param_importances(searched, evaluator=make(), target=outcome)
        for setting in sorted(study.spaces, key=lambda name: -shares.get("fANOVA", {}).get(name_in_order(name), 0)):
            known_as = name_in_order(setting)
            row = {name: shares.get(name, {}).get(known_as, math.nan) for name in EVALUATORS}
            rows.append({"objective": objective.name, "setting": setting, **row})
    return pd.DataFrame(rows, columns=["objective", "setting", *EVALUATORS])


def ranked(shares: pd.DataFrame) -> list[str]:
    """The settings, the most important to any objective first."""
    return list(shares.groupby("setting", sort=False)["fANOVA"].max().sort_values(ascending=False).index)


def _as_optuna(study: Study, objectives: list[Objective], found: pd.DataFrame) -> optuna.Study:
    """The trials as Optuna has them; choices of numbers by their place, as what is in order."""
    directions: list[Any] = ["maximize" if one.maximize else "minimize" for one in objectives]
    settings = SearchSettings(method="random", objectives=[one.name for one in objectives], directions=directions)
    numbers = {
        name: sorted(space["choices"])
        for name, space in study.spaces.items()
        if all(type(choice) in (int, float) for choice in space.get("choices", "-"))
    }
    spaces = study.spaces | {name: {"low": 0, "high": len(of) - 1} for name, of in numbers.items()}
    tried = [
        search.Tried(
            {name: numbers[name].index(row[name]) if name in numbers else row[name] for name in spaces},
            tuple(float(row[one.name]) for one in objectives),
        )
        for row in found.to_dict("records")
    ]
    return search.history(settings, spaces, tried)
