"""A claim that a study makes, and how its results are to be judged."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from metafa.studies.fields import Name, NotNegative, Number, Positive, Settings, Text, mistake
from metafa.studies.phases import RuleName, ShiftName


class ClaimSettings(Settings):
    """A claim, and the rule by which `analysis/claims.py` judges it, written down before the study runs: the mean over
    seeds of a difference, with its 95% interval, has to be on the side expected, by more than `margin`."""

    claim: Positive
    """Its number, of the eight of Cheon, Lee and Paik (2024); 9 is calibration, of their later arXiv 2412.17411."""
    statement: Text
    """What is claimed, in a sentence."""
    metric: Text
    """What is compared, such as `accuracy`."""
    phase: Name
    """The phase that it is measured in."""
    inputs: Text | None = None
    """What the metric is measured on, as the column `inputs` has it. Where it is not said: the phase's dataset; out of
    distribution, all but that dataset as it is; of the meta-loss, all task distributions that it is measured on."""
    shift: ShiftName | None = None
    """The change of images, such as `rotation`, at all of its strengths. Where it is not said, but `inputs` is: those
    images as they are."""
    layer: Positive | None = None
    """The layer, for what is measured of one; where it is not said, the mean over layers."""
    step: Literal["last", "mean"] = "last"
    """At the phase's last step, or the mean over its steps."""
    rule: RuleName = "feedback_alignment"
    """Whose networks are compared."""
    compare: Literal["noise", "start", "reference"] = "noise"
    """What networks with noise, as many steps of it as there are values, are compared with. `noise`: those without, of
    the same seed. `start`: themselves at the phase's start. `reference`: a number."""
    reference: Number = 0.0
    """That number."""
    expect: Literal["lower", "higher", "near"]
    """Where the difference should be: below 0, above it, or closer to it than `margin`."""
    margin: NotNegative = 0.0
    """By how much."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.expect == "near" and not self.margin:
            raise mistake('expect = "near" needs a `margin` above 0: how near')
        return self
