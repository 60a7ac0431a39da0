"""The plane of several paths and their feedback, against scikit-learn's principal components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from synthetic_results import NOISE, SUPERVISED, results_of, study_of

from metafa.reporting import conditions, paths
from metafa.studies.trial import Trial


def test_a_plane_is_that_of_the_principal_components() -> None:
    points = np.random.default_rng(0).normal(size=(9, 40)) * np.linspace(3, 0.1, 40)
    places, fractions = paths.principal_plane(points)
    pca = PCA(2, svd_solver="full")
    wanted = pca.fit_transform(points)
    assert np.abs(places) == pytest.approx(np.abs(wanted))
    assert np.abs((places * wanted).sum(0)) == pytest.approx((wanted**2).sum(0)), "all of one sign in each component"
    assert fractions == pytest.approx(pca.explained_variance_ratio_)
    assert (places[-1] > 0).all()


def test_points_that_lie_in_a_plane_keep_their_distances() -> None:
    axes, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 2)))
    flat = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0], [5.0, 3.0]])
    places, fractions = paths.principal_plane(flat @ axes.T + 3.0)
    assert pdist(places) == pytest.approx(pdist(flat))
    assert sum(fractions) == pytest.approx(1.0)
    places, fractions = paths.principal_plane(np.ones((1, 7)))
    assert places.tolist() == [[0.0, 0.0]]
    assert np.isnan(fractions).all()


STEPS = {"noise": (0, 64), "supervised": (0, 5)}


def weights_of(trial: Trial, seed: int, phase: str, step: int) -> list[float]:
    """Six weights: they start at the seed, without noise they stay there, and data moves them elsewhere."""
    noisy, learned = trial.varied["noise.steps"] > 0, phase == "supervised"
    moved = noisy * ((step == 64) + learned)
    return [seed + 1.0, 2.0 * moved, step * learned + 0.1 * moved, 0.0, 1.0, 0.0]


def measured(trial: Trial) -> Any:
    lost = trial.varied["noise.steps"] > 0
    for seed in range(3):
        for phase in ("supervised", "noise"):  # as compaction may leave them
            for step in STEPS[phase] if phase == "supervised" or lost else (0,):
                at = {"seed": seed, "phase": phase, "step": step, "layer": 2}
                weights, feedback = weights_of(trial, seed, phase, step), [0.0, 3.0, 0.0, float(seed), 0.0, 0.0]
                if seed == 2 and phase == "supervised" and step and lost:
                    weights[4] = np.nan
                for component in range(6, 0, -1):
                    yield at | {"metric": paths.WEIGHTS, "component": component, "value": weights[component - 1]}
                    yield at | {"metric": paths.FEEDBACK, "component": component, "value": feedback[component - 1]}


def test_all_conditions_of_a_seed_and_their_feedback_are_in_one_plane(tmp_path: Path) -> None:
    checked = results_of(tmp_path, study_of(NOISE, SUPERVISED, seeds=3), measured)
    tables = conditions.read(tmp_path)
    assert not list(paths.planes(tables, [3])), "nothing was recorded of it"
    first, last = paths.planes(tables, [1, 2])
    assert [first.seed, first.weights, last.seed] == [1, 6, 2]
    by_noise = {trial.varied["noise.steps"]: trial for trial in checked.trials}
    moments = [(0, "noise", 0), (0, "supervised", 0), (0, "supervised", 5)]
    moments += [(64, phase, step) for phase in STEPS for step in STEPS[phase]]
    points = [weights_of(by_noise[noise], 1, phase, step) for noise, phase, step in moments]
    feedback = [0.0, 3.0, 0.0, 1.0, 0.0, 0.0]
    pca = PCA(2, svd_solver="full").fit(np.array([*points, feedback]))
    assert first.fractions == pytest.approx(pca.explained_variance_ratio_)
    places = first.places.set_index(["metric", "noise_steps", "phase", "step"])[paths.PLACES]
    for moment, point in zip(moments, points, strict=True):
        found = places.loc[(paths.WEIGHTS, *moment)].to_numpy()
        assert np.abs(found) == pytest.approx(np.abs(pca.transform([point])[0]))
        star = places.loc[(paths.FEEDBACK, *moment)].to_numpy()
        assert star == pytest.approx(np.abs(pca.transform([feedback])[0])), "the last point, on the positive side"
    of_noise = first.places[(first.places["metric"] == paths.WEIGHTS) & (first.places["noise_steps"] == 64)]
    assert of_noise[["phase", "step"]].to_numpy().tolist() == [
        [phase, step] for phase in STEPS for step in STEPS[phase]
    ]
    assert len(first.places) - len(last.places) == 1, "the moment that was lost"
