"""A claim that a study makes, and how its results are to be judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from metafa.studies.data import BATCH, NO_INPUTS, Inputs
from metafa.studies.earlier import task_of
from metafa.studies.fields import Fraction, Known, Name, NotNegative, Number, Positive, Settings, Text, mistake
from metafa.studies.metrics import is_of
from metafa.studies.paper import FIGURES
from metafa.studies.phases import RuleName, ShiftName

FigureName = Annotated[str, Known(FIGURES)]


class ClaimSettings(Settings):
    """A claim, and the rule by which `analysis/claims.py` judges it, written down before the study runs: the mean over
    seeds of a difference, with its 95% interval, has to be on the side expected, by more than `margin`."""

    figure: FigureName | None = None
    """The figure of Cheon, Lee and Paik (2024) that the claim is of; `calibration` is of their later arXiv 2412.17411.
    Default: none, the claim is metafa's own."""
    claim: Positive | None = None
    """The claim's number: 1 to 8 are those of Cheon, Lee and Paik (2024); 9 is calibration, of their later arXiv
    2412.17411. Default: none."""
    statement: Text
    """The claim, in a sentence."""
    metric: Text
    """The metric that is compared, such as `accuracy`: one whose mean over layers and components tells something of a
    network, which that of its weights does not."""
    phase: Name
    """The phase in which the metric is measured."""
    inputs: Text | None = None
    """Restricts the claim to these inputs, as the column `inputs` calls them. Default, if `shift` is not given either:
    (1) for the meta-loss and the meta-accuracy, every task distribution that they are measured on; (2) for any other
    metric of an `out_of_distribution` phase, all that it is measured on there, except its dataset's unchanged images;
    (3) for any other metric that is measured on the phase's dataset, that dataset's unchanged images; (4) else what the
    phase measures on the batch trained on, or on no inputs."""
    shift: ShiftName | None = None
    """Restricts the claim to images changed in this way, such as `rotation`, at every strength. Default: where `inputs`
    is given, their unchanged images."""
    earlier_task: SkipJsonSchema[Text | None] = None
    """Restricts the claim to inputs whose name of before, such as `usps/rotation=30`, begins like this; of a study that
    an earlier version of metafa ran alone."""
    layer: Positive | None = None
    """Restricts the claim to one layer, for metrics that each layer has. Default: the mean over layers."""
    step: Literal["first", "last", "mean"] = "last"
    """Whether the claim is about networks as the phase finds them, about the phase's last step, or about the mean over
    its steps: the area under the curve through the moments at which the phase is measured, by trapezoids, divided by
    the number of steps; not of a phase with `converged_metric`, which has no common span."""
    at_accuracy: Fraction | None = None
    """In place of `step`: the claim is about where each network's `accuracy` on the same inputs in the same phase, or
    on the phase's dataset for a metric of no inputs, first is at least this; between the two moments around it the
    metric is interpolated linearly in the accuracy. A network that is there at the first moment counts with its value
    then; one that never gets there does not count, nor does the network that it would be compared with."""
    rule: RuleName = "feedback_alignment"
    """The credit assignment rule whose networks are compared."""
    compare: Literal["noise", "start", "reference"] = "noise"
    """The comparison for each number of noise steps: `noise` compares with networks of the same seed without noise,
    `start` with the same networks at the phase's start, `reference` with a number."""
    where: dict[str, Any] = {}
    """Restricts the claim to conditions that have these values of these settings, by dotted name, such as
    `{ "noise.inputs" = "pink" }`. `rule` says which rule they have."""
    against: dict[str, Any] | None = None
    """In place of `compare`: the claim compares each condition that it is about with the one that has these values of
    these settings, such as `{ "noise.control" = "random_step" }`, and all others equal; networks are paired by seed.
    `phases` is the list of the names of phases, in their order, where the study has `choices` of phases; then settings
    of a phase that only one of the two has need not be equal."""
    reference: Number = 0.0
    """The number that `compare = "reference"` compares with; it stands beside that alone."""
    expect: Literal["lower", "higher", "near"]
    """Where the claim expects the difference: below 0, above 0, or closer to 0 than `margin`."""
    margin: NotNegative = 0.0
    """How far beyond 0 the difference has to be; for `near`, how close to 0."""

    @property
    def name(self) -> str:
        """What a sentence calls the claim."""
        if self.claim is not None:
            return f"claim {self.claim}"
        return f"claim of {self.figure}" if self.figure else f"claim {self.statement!r}"

    @field_validator("where", "against", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        """TOML makes tables of dotted names without quotes."""
        return dict(_by_dotted_name(value)) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.expect == "near" and not self.margin:
            raise mistake('expect = "near" needs a `margin` above 0: how near')
        if self.at_accuracy is not None and self.step != "last":
            raise mistake(f'`at_accuracy` stands in place of `step`; leave step = "{self.step}" out')
        if self.step == "first" and self.compare == "start" and self.against is None:
            raise mistake('step = "first" with compare = "start" compares networks with themselves')
        if self.against is not None and (self.compare != "noise" or not self.against):
            raise mistake("`against` stands in place of `compare`, and says at least one setting")
        if "network.rule" in self.where:
            raise mistake("`rule` says which rule the claim is about; leave network.rule out of `where`")
        return self


def _by_dotted_name(table: dict, of: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        yield from _by_dotted_name(value, f"{of}{name}.") if isinstance(value, dict) else [(f"{of}{name}", value)]


FEWEST_SEEDS = 2
"""With fewer networks a difference has no 95% interval."""


def chosen_inputs(
    claim: ClaimSettings, measured: set[tuple[str | None, Inputs]], skips_own_dataset: bool
) -> set[tuple[str | None, Inputs]]:
    """Those of the inputs ``measured`` on that a claim is about, as `ClaimSettings.inputs` says.

    measured: what the claim's metric was measured on in its phase, each with the dataset that the phase trains on or
        changes in the trial.
    skips_own_dataset: whether the phase is about other images than its dataset's unchanged ones.
    """
    if claim.earlier_task is not None:
        return {one for one in measured if task_of(one[1]).startswith(claim.earlier_task)}
    if claim.inputs is not None or claim.shift is not None:
        return {one for one in measured if claim.inputs in (None, one[1].inputs) and claim.shift == one[1].shift}
    if is_of(claim.metric, "tasks"):
        return set(measured)
    own = {(dataset, inputs) for dataset, inputs in measured if inputs == Inputs(dataset)} - {(None, NO_INPUTS)}
    if skips_own_dataset:
        return measured - own
    return own or {one for one in measured if one[1] in (NO_INPUTS, BATCH)}


def accuracy_inputs(dataset: str | None, inputs: Inputs) -> Inputs:
    """The inputs whose accuracy `ClaimSettings.at_accuracy` means for a metric on ``inputs`` in a phase whose own
    dataset is ``dataset``."""
    return Inputs(dataset) if inputs == NO_INPUTS else inputs
