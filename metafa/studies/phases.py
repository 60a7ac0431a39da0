"""The phases of a trial, a class each: its settings, and every fact about it.

`phase_settings.PhaseSettings` has the facts that others ask of a phase, with the answers of one that neither trains nor
draws images. A new phase is a class, here or beside those that are like it, with its row in `PHASES`, and its function
in `metafa/trials/phases.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from metafa.learning.kinds import (
    ACTIVATIONS,
    ARCHITECTURES,
    CONTROLS,
    NOISE_INPUTS,
    NORMALIZATIONS,
    SHIFTS,
)
from metafa.learning.rules import RULES, Rule
from metafa.studies.data import DatasetName, DatasetNeed, Inputs
from metafa.studies.dataset_phases import OutOfDistributionPhase, SupervisedPhase, WholeDatasetsPhase
from metafa.studies.fields import (
    Known,
    Name,
    Number,
    Rate,
    Rates,
    Size,
    Steps,
    in_32_bits,
    mistake,
)
from metafa.studies.phase_settings import OneOf, PhaseSettings
from metafa.studies.task_phases import EvaluatePhase, MetaPhase
from metafa.studies.training_settings import TrainingSettings

RuleName = Annotated[str, Known(RULES)]
ActivationName = Annotated[str, Known(ACTIVATIONS)]
ArchitectureName = Annotated[str, Known(ARCHITECTURES)]
NormalizationName = Annotated[str, Known(NORMALIZATIONS)]
ShiftName = Annotated[str, Known(SHIFTS)]
NoiseInputsName = Annotated[str, Known(NOISE_INPUTS)]
ControlName = Annotated[str, Known(CONTROLS)]


class NoisePhase(TrainingSettings):
    """Noise pretraining: random inputs, random labels, fresh each step. After a phase that trained on a dataset it is
    tested on that dataset's test images."""

    watches_datasets = True
    retests = True
    measures = ("loss", "accuracy")

    phase: Literal["noise"]
    name: Name = "noise"
    """What the phase is called in settings and results."""
    steps: Steps
    """Training steps; 0 is no noise pretraining."""
    batch_size: Size = 64
    """Random inputs of one step."""
    learning_rate: Rates = 2e-4
    """The optimizer's learning rate, or a list of several, side by side in one trial."""
    rule: Literal["network", "backprop"] = "network"
    """How errors are sent back during the phase: by the network's own rule, or by backprop. Under backprop the
    network's feedback stays as it is; angles are measured against it all the same, and later phases use it."""
    inputs: NoiseInputsName = "normal"
    """The distribution of inputs, as the table below has them. Labels are random whatever the inputs. Pictures have the
    shape of the study's images, and channels that are independent."""
    dataset: DatasetName | None = None
    """The dataset that `images` and `shuffled_images` are of; its labels are not read. Other `inputs` need none."""
    mean: Number = 0.0
    """The mean of every pixel; of `pink` and `dead_leaves` that of each image over its pixels. Images of a dataset have
    their own."""
    standard_deviation: Rate = 1.0
    """The standard deviation of every pixel; of `pink` and `dead_leaves` that of each image over its pixels. Images of
    a dataset have their own."""
    labels: Literal["hard", "soft"] = "hard"
    """`hard`: one class, drawn uniformly. `soft`: probabilities drawn uniformly from the simplex."""
    control: ControlName = "none"
    """What the phase leaves in place of the trained network, as the table below has it. Every control but `none` trains
    on the same noise, and then puts the network back as it was at the phase's start, its feedback included, but for one
    thing. What is measured at a moment is measured of the network that the phase would leave if it ended there; but
    `loss` and `accuracy` of the batch are those of the training."""

    @model_validator(mode="after")
    def _has_images(self) -> Self:
        if NOISE_INPUTS[self.inputs].of_dataset and self.dataset is None:
            raise mistake(f'inputs = "{self.inputs}" needs a `dataset`: whose images')
        return self

    @property
    def has_steps(self) -> bool:
        return self.steps > 0

    @property
    def pictures(self) -> str:
        return f'{self.name}.inputs = "{self.inputs}"' if NOISE_INPUTS[self.inputs].has_rows else ""

    @property
    def turns(self) -> str:
        return f'{self.name}.control = "{self.control}"' if CONTROLS[self.control].turns else ""

    def dataset_needs(self) -> list[DatasetNeed]:
        if self.dataset is None or not NOISE_INPUTS[self.inputs].of_dataset:
            return []
        return [DatasetNeed(f"{self.name}.dataset", self.dataset, labelled=False)]

    def tested_on(self, dataset: DatasetName | None) -> set[Inputs]:
        return {Inputs(dataset)} if dataset else set()

    def transports(self, rule: Rule) -> dict[str, str]:
        return {self.name: (RULES["backprop"] if self.rule == "backprop" else rule).transports}


class SoftAlignmentPhase(PhaseSettings):
    """The outgoing weights of each hidden unit are turned towards its feedback, once, to a given angle: one-time soft
    alignment (after Cheon, Bae and Paik, arXiv 2505.20892). Step 0 is before it, step 1 after it. It needs a rule whose
    feedback has the weights' shape and does not depend on them."""

    trains = True

    phase: Literal["soft_alignment"]
    name: Name = "soft_alignment"
    """What the phase is called in settings and results."""
    angle: Annotated[float, Field(ge=0, le=180), AfterValidator(in_32_bits)]
    """The angle, in degrees, of every hidden unit's outgoing weights to its feedback. They are turned within the plane
    of both, and keep their norm; the first layer and the biases stay as they are."""

    @property
    def turns(self) -> str:
        return f'{self.name}.phase = "soft_alignment"'

    def transports(self, rule: Rule) -> dict[str, str]:
        return {self.name: "none"}


PHASES: dict[str, type[PhaseSettings]] = {
    "noise": NoisePhase,
    "soft_alignment": SoftAlignmentPhase,
    "supervised": SupervisedPhase,
    "whole_datasets": WholeDatasetsPhase,
    "out_of_distribution": OutOfDistributionPhase,
    "meta": MetaPhase,
    "evaluate": EvaluatePhase,
}


Phase = Annotated[PhaseSettings, OneOf(PHASES)]
