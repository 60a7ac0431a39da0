"""analysis/weight_path.py on paths that are known."""

import importlib
from pathlib import Path

import pandas as pd
import pytest

from metafa.reporting.conditions import Tables
from metafa.results import addresses


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
    measured = measured.assign(**{"network.rule": "backprop", "noise_steps": 10})
    measured = measured.sort_values(["metric", "phase"], kind="stable")  # as compaction leaves them
    trials = pd.DataFrame({"noise.inputs": ["normal"], "phases": [["noise", "data"]]})
    tables = Tables(addresses.at("nowhere"), trials, trials, ["network.rule", "noise_steps"], [])
    (axis,) = weight_path.plot(measured, tables).axes
    lines = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axis.lines if len(line.get_xdata()) > 1]
    of_first_seed = [([0, 1], [0, 1]), ([2, 3], [4, 9])]
    assert lines == [*of_first_seed, *(([x + 10 for x in xs], [y + 10 for y in ys]) for xs, ys in of_first_seed)]
    assert axis.get_xlabel() == "first component (25% of variance)"
    assert axis.get_ylabel() == "second component (12%)"
