"""analysis/weight_path.py on paths that are known."""

import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_results import SUPERVISED, results_of, run_here, study_of

from metafa.reporting import conditions, paths
from metafa.reporting.conditions import Tables
from metafa.results import addresses
from metafa.studies.trial import Trial


def test_each_seeds_path_is_drawn_phase_by_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "analysis"))
    weight_path = importlib.import_module("weight_path")
    moments = [("noise", 0), ("noise", 10), ("data", 0), ("data", 5)]
    # component 1 is the moment's number, component 2 its square, ten more for the second seed
    found = [
        ("weight_path", seed, *moment, component, 10 * seed + number**component)
        for seed in (0, 1)
        for number, moment in enumerate(moments)
        for component in (1, 2)
    ]
    found += [("weight_path_variance", seed, "data", 5, c, 1 / (4 * c)) for seed in (0, 1) for c in (1, 2)]
    measured = pd.DataFrame(found, columns=["metric", "seed", "phase", "step", "component", "value"])
    measured = measured.assign(**{"network.rule": "backprop", "noise_steps": 10, "trial_id": "t"})
    measured = measured.sort_values(["metric", "phase"], kind="stable")  # as compaction leaves them
    trials = pd.DataFrame({"trial_id": ["t"], "noise.inputs": ["normal"], "phases": [["noise", "data"]]})
    tables = Tables(addresses.at("nowhere"), trials, trials, ["network.rule", "noise_steps"], [])
    (axis,) = weight_path.plot(measured, tables).axes
    lines = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axis.lines if len(line.get_xdata()) > 1]
    of_first_seed = [([0, 1], [0, 1]), ([2, 3], [4, 9])]
    assert lines == [*of_first_seed, *(([x + 10 for x in xs], [y + 10 for y in ys]) for xs, ys in of_first_seed)]
    assert axis.get_xlabel() == "first component (25% of variance)"
    assert axis.get_ylabel() == "second component (12%)"


def moved(trial: Trial) -> Iterator[dict]:
    """Three weights of two seeds: noise moves the first by 4, data the second by 3, what a copy learns the first by 1;
    the feedback is 6 away from the start."""
    place = [0.0, 0.0, 0.0]
    for phase in trial.settings.phases:
        on = {"inputs": "glyphs"} if phase.name == "whole_datasets" else {}
        for step in (0, 5):
            if step:
                place[phase.name == "supervised"] += {"noise": 4, "supervised": 3, "whole_datasets": 1}[phase.name]
            for metric, values in (("last_layer_weight", place), ("last_layer_feedback", [0.0, 6.0, 0.0])):
                for seed, (component, value) in itertools.product(range(2), enumerate(values, start=1)):
                    at = {"phase": phase.name, "step": step, "metric": metric, "layer": 2, "component": component}
                    yield at | on | {"seed": seed, "value": value}


def test_conditions_and_their_feedback_are_drawn_in_one_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each path in the order of its own phases, and at its own lengths."""
    noise = {"phase": "noise", "steps": 5}
    adaptation = {"phase": "whole_datasets", "datasets": ["glyphs"], "steps": 5}
    text = study_of([noise, SUPERVISED, adaptation], [SUPERVISED, noise, adaptation], seeds=2)
    results_of(tmp_path, text, moved)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "analysis"))
    weight_path = importlib.import_module("weight_path")
    tables = conditions.read(tmp_path)
    axis, other = weight_path.plot_last_layer(list(paths.planes(tables, [1, 0])), tables).axes
    assert (axis.get_title(), other.get_title()) == ("seed 0", "seed 1")
    drawn = [np.array(line.get_data()).T for line in axis.lines if line.get_linestyle() in ("-", "--", ":", "-.")]
    lengths = [np.linalg.norm(np.diff(line, axis=0), axis=1) for line in drawn if len(line) > 1]
    kept = {tuple(one[one > 1e-9].round(6).tolist()) for one in lengths}
    assert kept == {(4.0, 3.0), (3.0, 4.0), (1.0,), ()}, "the two orders, the copies, and feedback that stays"
    single = [line for line in axis.lines if len(line.get_xdata()) == 1]
    ring = [line.get_xydata()[0] for line in single if line.get_markerfacecolor() == "white"]
    star = [line.get_xydata()[0] for line in single if line.get_marker() == "*"]
    assert [len(ring), len(star)] == [1, 1]
    assert np.linalg.norm(ring[0] - star[0]) == pytest.approx(6.0)
    run_here("weight_path.py", tmp_path, monkeypatch)
    table = pd.read_csv(tmp_path / "analysis" / "last_layer_path.csv")
    assert set(table["seed"]) == {0}
    assert len(table) == 2 * 3 * 2 * 2
    assert not (tmp_path / "analysis" / "weight_path.csv").exists()
