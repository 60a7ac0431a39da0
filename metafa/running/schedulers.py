"""Early stopping by Tune's schedulers, which stop trials that do worse than others did."""

from __future__ import annotations

import math
from typing import Any

from ray.tune import schedulers

from metafa.studies.fields import MAX_WHOLE
from metafa.studies.settings import EarlyStoppingSettings

WORST = 1e300  # in place of an infinite value, where values are added and subtracted


def scheduler(stopping: EarlyStoppingSettings | None) -> schedulers.TrialScheduler | None:
    if stopping is None:
        return None
    how: dict[str, Any] = dict(time_attr="step", metric="objective", mode=stopping.sought[:3])
    how |= dict(grace_period=stopping.grace_period)
    if stopping.method == "median":
        # a trial that is paused begins again, so none is made to wait until there are others to be compared with
        return _MedianStoppingRule(**how | dict(min_time_slice=math.inf))
    # a phase's last step is no reason to stop: other phases follow
    how |= dict(max_t=MAX_WHOLE, reduction_factor=stopping.reduction_factor, stop_last_trials=False)
    return _ASHAScheduler(**how)


class _ASHAScheduler(schedulers.ASHAScheduler):
    """Ray's, whose percentiles are none where a value is infinite, as that of a trial that diverges is."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        if math.isinf(value := result.get("objective", 0.0)):
            result = result | {"objective": math.copysign(WORST, value)}
        return super().on_trial_result(tune_controller, trial, result)


class _MedianStoppingRule(schedulers.MedianStoppingRule):
    """Ray's, which takes every report to measure, and each step to be reported once. A trial's last report measures
    nothing, and one that was interrupted reports again what it did before."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        known = self._results.get(trial)
        if "step" in result and known and known[-1]["step"] >= result["step"]:
            return schedulers.TrialScheduler.CONTINUE
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict) -> None:
        pass
