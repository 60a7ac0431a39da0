"""The phases that train on datasets or are tested on them: a class each, as `phases` has them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from metafa.learning.kinds import SHIFTS
from metafa.learning.rules import Rule
from metafa.studies.data import DATASET_BEFORE, DatasetName, DatasetNeed, Inputs
from metafa.studies.fields import Name, Rates, Size, Steps, Strengths, mistake
from metafa.studies.phase_settings import PhaseSettings
from metafa.studies.training_settings import DescentSettings, TrainingSettings


class ImageSettings(DescentSettings):
    """How a phase trains on a dataset's images: on how many, and how long."""

    training_images: Size | None = None
    """How many of a dataset's training images are used, drawn at random for each seed. Default: all of them."""
    steps: Steps | None = None
    """Training steps on a dataset. A phase has either `steps` or `epochs`."""
    epochs: Steps | None = None
    """Passes over the training images, each in a new random order. A last batch that is not full is left out."""
    batch_size: Size = 64
    """Images of one step."""
    learning_rate: Rates = 1e-4
    """The optimizer's learning rate, or a list of several, side by side in one trial."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise mistake(f"a {self.phase} phase is as long as its `steps` or its `epochs` say: one of the two")
        if self.training_images is not None and self.training_images < self.batch_size:
            raise mistake(f"`training_images` is {self.training_images}, less than a batch of {self.batch_size}")
        return self

    def steps_on(self, images: int) -> int:
        """The steps that the phase trains on so many images."""
        return self.steps or (self.epochs or 0) * (images // self.batch_size)


class SupervisedPhase(ImageSettings, TrainingSettings):
    """Training on a dataset's images and labels, and testing on its test images."""

    measures = (
        *("loss", "accuracy", "generalization_error", "generalization_gap"),
        *("expected_calibration_error", "expected_calibration_error_10_bins"),
    )

    phase: Literal["supervised"]
    name: Name = "supervised"
    """What the phase is called in settings and results."""
    dataset: DatasetName
    """The dataset that the network is trained and tested on."""

    @property
    def has_steps(self) -> bool:
        return bool(self.steps or self.epochs)

    def dataset_needs(self) -> list[DatasetNeed]:
        return [
            DatasetNeed(f"{self.name}.dataset", self.dataset),
            DatasetNeed(f"{self.name}.training_images", self.dataset, self.training_images or 0),
            DatasetNeed(f"{self.name}.batch_size", self.dataset, self.batch_size),
        ]


class WholeDatasetsPhase(ImageSettings):
    """Ordinary training on each of several whole datasets, each time of a copy of the network as the phase finds it,
    and the *whole-dataset meta-loss*: the sum over the datasets of the loss on the test images, averaged over that
    training and at its end (after Cheon, Lee and Paik 2024, whose text leaves open which of the two). Noise phases of
    the trial measure it at all of their moments too: a trial that has any has one such phase. The network stays as it
    was."""

    adapts_to_datasets = True
    measures_once = ("whole_dataset_meta_loss", "whole_dataset_meta_loss_at_end")
    measures = ("loss", "accuracy", *measures_once)

    phase: Literal["whole_datasets"]
    name: Name = "whole_datasets"
    """What the phase is called in settings and results."""
    datasets: Annotated[list[DatasetName], Field(min_length=1)]
    """The datasets that copies of the network are trained and tested on, each once."""

    def dataset_needs(self) -> list[DatasetNeed]:
        wanted = {"datasets": 0, "training_images": self.training_images or 0, "batch_size": self.batch_size}
        return [
            DatasetNeed(f"{self.name}.{setting}", name, images)
            for name in self.datasets
            for setting, images in wanted.items()
        ]

    def seen_as_they_are(self) -> list[DatasetName]:
        return self.datasets

    def tested_on(self, dataset: DatasetName | None) -> set[Inputs]:
        return set(map(Inputs, self.datasets))

    def transports(self, rule: Rule) -> dict[str, str]:
        return {self.name: rule.transports}


OF_CONFIDENCE = ("readout_probability", "auroc")
"""What is measured out of distribution whatever the labels."""


class OutOfDistributionPhase(PhaseSettings):
    """Tests on a dataset's test images, changed by several strengths, on other datasets of the same classes, and on
    datasets whose classes the network does not know."""

    skips_own_dataset = True
    measures = measures_once = (
        *("loss", "accuracy", "expected_calibration_error", "expected_calibration_error_10_bins"),
        *OF_CONFIDENCE,
    )

    phase: Literal["out_of_distribution"]
    name: Name = "out_of_distribution"
    """What the phase is called in settings and results."""
    dataset: DatasetName | None = None
    """The dataset whose test images are changed. Default: the dataset of the supervised phase before."""
    translation: Strengths = []
    """Pixels by which images are moved, each way in turn."""
    rotation: Strengths = []
    """Degrees by which images are turned, each way in turn."""
    scaling: Strengths = []
    """Changes of size: with 0.5 images are made 1.5 times as large, and in turn 1.5 times smaller."""
    pixel_noise: Strengths = []
    """Standard deviations of Gaussian noise on every pixel."""
    datasets: list[DatasetName] = []
    """Other datasets to test on. The classes of all of them, and of `dataset`, are the ten digits; their images are
    resized to the size of those of `dataset`. `dataset` itself may stand here, and is tested on once."""
    unknown_datasets: list[DatasetName] = []
    """Datasets of which no class is one of `dataset`: no answer is right, and `readout_probability` and `auroc` alone
    are measured on their test images, resized as those of `datasets`."""

    @property
    def shifts(self) -> list[tuple[str, float]]:
        """The changes and their strengths, each once."""
        return list(dict.fromkeys((shift, strength) for shift in SHIFTS for strength in getattr(self, shift, ())))

    def dataset_needs(self) -> list[DatasetNeed]:
        others = [
            *(DatasetNeed(f"{self.name}.datasets", name, classes="same") for name in self.datasets),
            *(DatasetNeed(f"{self.name}.unknown_datasets", name, classes="other") for name in self.unknown_datasets),
        ]
        own = DatasetNeed(f"{self.name}.dataset", self.dataset or DATASET_BEFORE)
        return [need._replace(parts=("test",)) for need in (own, *others)]

    def tested_on(self, dataset: DatasetName | None) -> set[Inputs]:
        shifted = {Inputs(dataset, shift, strength) for shift, strength in self.shifts}
        return {Inputs(dataset), *map(Inputs, [*self.datasets, *self.unknown_datasets]), *shifted}

    def measured_on(self, metric: str, dataset: DatasetName | None) -> set[Inputs]:
        """The AUROC is of all other inputs against the dataset's unchanged images; of unknown classes no answer is
        right or wrong."""
        inputs = self.tested_on(dataset)
        if metric == "auroc":
            return inputs - {Inputs(dataset)}
        return inputs if metric in OF_CONFIDENCE else inputs - set(map(Inputs, self.unknown_datasets))
