"""Whether what a claim compares can differ, and whether all that it says has an effect."""

from __future__ import annotations

from collections.abc import Sequence

from metafa.studies.claims import ClaimSettings
from metafa.studies.mistakes import Mistakes
from metafa.studies.needs import measured_once
from metafa.studies.settings import TrialSettings
from metafa.studies.spaces import TreePath

COMPARED_WITH = {"noise": "networks without noise", "start": "the start of the phase"}


def check_comparison(
    mistakes: Mistakes, path: TreePath, claim: ClaimSettings, examples: Sequence[TrialSettings]
) -> None:
    """Whether a claim compares what can differ, in trials of which ``examples`` are some."""
    if "reference" in claim.model_fields_set and claim.compare != "reference":
        other = COMPARED_WITH[claim.compare] if claim.against is None else "the conditions that `against` says"
        remedy = 'leave `reference` out, or say compare = "reference"'
        mistakes.add((*path, "reference"), f"the claim compares with {other}, not with a number; {remedy}")
    if claim.at_accuracy is not None and claim.metric == "accuracy":
        sentence = "networks of the same accuracy do not differ in it; name another `metric`"
        mistakes.add((*path, "at_accuracy"), sentence)
    if claim.step == "mean" and any(
        phase.converges for one in examples for phase in one.phases if phase.name == claim.phase
    ):
        sentence = "a phase that ends when its networks have converged has no common span; leave `step` out"
        mistakes.add((*path, "step"), sentence)
    if not any(measured_once(one, claim.phase, claim.metric) for one in examples):
        return
    once = f"{claim.phase} measures {claim.metric} at one moment alone"
    if claim.compare == "start" and claim.against is None:
        sentence = 'compare = "start" would compare networks with themselves'
        mistakes.add((*path, "compare"), f"{once}, and {sentence}")
    elif claim.step != "last":
        mistakes.add((*path, "step"), f'{once}; leave step = "{claim.step}" out')
