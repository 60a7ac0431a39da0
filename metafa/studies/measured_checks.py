"""What is said where a study asks for a metric that is not measured, or has no direction, or tells nothing."""

from __future__ import annotations

import difflib

from metafa.studies.earlier import METRICS_RENAMED
from metafa.studies.metrics import METRICS
from metafa.studies.mistakes import Mistakes
from metafa.studies.spaces import TreePath
from metafa.studies.values import listed


def undirected(name: str) -> str:
    """Why a direction has to be said of a metric."""
    return f"neither less nor more of {name!r} is better in itself"


def check_measured(
    mistakes: Mistakes, path: TreePath, place: str, metric: str, phase: str, measured: set[str], some: str = ""
) -> None:
    """``metric``, in the file after ``place``, is to be one of those ``measured`` in ``phase``."""
    if metric in measured:
        if not METRICS[metric].comparable:
            mistakes.add(path, f"{metric} has many values for each network, whose mean tells nothing of it")
        return
    if metric in METRICS_RENAMED and metric not in METRICS:
        new = METRICS_RENAMED[metric]
        mistakes.add(path, f"found {place + metric!r}, which is called {place + new!r} now")
        return
    close = difflib.get_close_matches(metric, measured, 1)
    hint = f"did you mean {place + close[0]!r}? " if close else ""
    said = f"found {place + metric!r}, but {phase!r} does not measure {metric!r}{some}"
    mistakes.add(path, f"{said}; {hint}it measures {listed(measured)}")
