"""Where the last layer's weights went, of several conditions and together with their feedback, in one plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from metafa.reporting.conditions import Tables

WEIGHTS, FEEDBACK = "last_layer_weight", "last_layer_feedback"
PLACES = ["first_component", "second_component"]


class Plane(NamedTuple):
    """The plane of a seed's paths.

    seed: the networks' seed.
    weights: how many each network's last layer has.
    places: a row a point, in the order of time: its condition, metric (`WEIGHTS` or `FEEDBACK`), phase, the dataset
        that a copy of the network learns there (``inputs``, null where it is the network itself), step, and `PLACES`.
    fractions: of the variance of all points, along each component.
    """

    seed: int
    weights: int
    places: pd.DataFrame
    fractions: tuple[float, float]


def principal_plane(points: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Where ``points``, ``[point, weight]``, are in the plane of their first two principal components, ``[point, 2]``,
    about their mean; and the fraction of their variance along each. Each component points to the last of the points.
    Fractions are no numbers where all points are the same."""
    centred = points - points.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(points), 2))
    number = min(2, len(sizes))
    places[:, :number] = (left * sizes)[:, :number]
    places *= np.where(places[-1] < 0, -1.0, 1.0)
    variance = (sizes**2).sum()
    first, second = np.append(sizes**2, 0.0)[:2] / variance if variance else (np.nan, np.nan)
    return places, (float(first), float(second))


def in_time(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The ``rows`` of each trial in the order in which they were measured, which that of a table does not tell; ``ran``
    is the number of their phase in its trial."""
    trials = zip(tables.ended["trial_id"], tables.ended["phases"], strict=True)
    ran = {(trial, phase): number for trial, phases in trials for number, phase in enumerate(phases)}
    numbers = [ran.get(key) for key in zip(rows["trial_id"], rows["phase"], strict=True)]
    return rows.assign(ran=numbers).sort_values(["ran", "step"], kind="stable")


def planes(tables: Tables, seeds: Sequence[int]) -> Iterator[Plane]:
    """The plane of each of these seeds, or several where last layers are of several sizes: of all moments of the
    conditions that figures show, and of their feedback, each place of it once. Moments at which a network had diverged
    are left out."""
    rows = tables.rows_of_shown([WEIGHTS, FEEDBACK], seeds=seeds).sort_values("component", kind="stable")
    rows = in_time(rows, tables)
    keys = [*tables.conditions, "seed", "metric", "phase", "inputs", "step"]
    number = rows.groupby(keys, dropna=False, sort=False).ngroup()
    points = rows[keys].groupby(number.to_numpy()).head(1).reset_index(drop=True)
    values = rows["value"].groupby(number.to_numpy()).agg(list)
    finite = np.array([np.isfinite(one).all() for one in values], dtype=bool)  # a list of none would choose columns
    points = points.assign(weights=values.map(len).to_numpy(), values=values.to_numpy())[finite]
    for (seed, weights), of_plane in points.groupby(["seed", "weights"]):
        yield _plane(int(seed), int(weights), of_plane.drop(columns=["values", "weights"]), of_plane["values"])


def _plane(seed: int, weights: int, points: pd.DataFrame, values: pd.Series) -> Plane:
    every, of_feedback = np.array(values.tolist()), (points["metric"] == FEEDBACK).to_numpy()
    distinct, which = np.unique(every[of_feedback], axis=0, return_inverse=True)
    stacked = np.concatenate([every[~of_feedback], distinct])
    found, fractions = principal_plane(stacked)
    number = (~of_feedback).sum()
    places = np.empty((len(every), 2))
    places[~of_feedback] = found[:number]
    places[of_feedback] = found[number:][which.ravel()]
    return Plane(seed, weights, points.assign(**dict(zip(PLACES, places.T, strict=True))), fractions)
