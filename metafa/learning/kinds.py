"""The tables of activation functions, normalizations, losses, optimizers, schedules, outer algorithms, shifts, noise
inputs and controls, with every fact about each and without torch.

What a row computes stands in it as a function, or as a reference ``"module:name"`` that is imported when it is used,
so that a study can be checked where torch is not installed or takes too long to import.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Reference = str | Callable[..., Any]
"""A function, or where it stands: ``"module:name"``."""


@cache
def resolved(reference: Reference) -> Any:
    """What a reference stands for. Raises ImportError or AttributeError where there is no such thing."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Activation:
    """An activation function.

    function: phi, from pre-activations to activations, in their place.
    derivative: from errors and activations h = phi(a) to errors * phi'(a), in place of the errors where autograd does
        not follow.
    gain: the variance of initial weights, times their number of inputs, that keeps the size of activations.
    source: where the gain comes from.
    """

    function: Reference
    derivative: Reference
    gain: float
    source: str = ""


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(
        "metafa.learning.layers.activation:relu",
        "metafa.learning.layers.activation:relu_derivative",
        gain=2.0,
        source="He et al. 2015, eq. 10",
    ),
    "leaky_relu": Activation(
        "metafa.learning.layers.activation:leaky_relu",
        "metafa.learning.layers.activation:leaky_relu_derivative",
        gain=2 / 1.01,
        source="He et al. 2015, eq. 10, of a slope of 0.1 below 0",
    ),
    "tanh": Activation(
        "metafa.learning.layers.activation:tanh",
        "metafa.learning.layers.activation:tanh_derivative",
        gain=1.0,
        source="LeCun et al. 1998, eq. 16",
    ),
}


NORMALIZATIONS: dict[str, Reference | None] = {
    "none": None,
    "batch": "metafa.learning.layers.normalization:batch",  # Ioffe and Szegedy 2015
    "group": "metafa.learning.layers.normalization:group",  # Wu and He 2018
}
"""What stands between a hidden layer and its activation function: from `architectures.Sizes`, the layer's units or
channels, rows and columns of its feature maps, and whether scales are drawn at random, to a layer; None where nothing
does."""


@dataclass(frozen=True)
class Architecture:
    """An architecture.

    layers: from `architectures.Sizes` to layers.
    description: what it is, for the documentation.
    widths: the filters of each of its convolutions, in the order of layers and in units of `filters`; it takes images
        as pictures then. Where there are none it takes pixels as they come, and has `hidden` layers of units.
    normalization, activation: what it has where a study says nothing, rows of `NORMALIZATIONS` and of `ACTIVATIONS`.
    shrinks: how many rows and columns of an image come to one of the feature maps that are left at the end, so that an
        image has as many at least.
    averages: whether the readout sees the mean of each map; else it sees all of it.
    source: where it comes from.
    """

    layers: Reference
    description: str
    widths: tuple[float, ...] = ()
    normalization: str = "none"
    activation: str = "relu"
    shrinks: int = 1
    averages: bool = True
    source: str = ""

    def filters(self, filters: int) -> tuple[int, ...]:
        """The filters of each convolution."""
        return tuple(int(filters * width) for width in self.widths)

    def unmet(self, shape: tuple[int, ...]) -> str | None:
        """What images it takes, where it does not take those of that shape."""
        if self.widths and len(shape) not in (2, 3):
            return "pictures, of rows, columns and, where there are several, channels"
        if self.widths and min(shape[:2]) < self.shrinks:
            return f"images of at least {self.shrinks} x {self.shrinks} pixels"
        return None

    def readout_inputs(self, filters: int, shape: tuple[int, ...]) -> int:
        """What the readout sees, of an architecture with convolutions, and of images of that shape."""
        places = 1 if self.averages else (shape[0] // self.shrinks) * (shape[1] // self.shrinks)
        return self.filters(filters)[-1] * places


ARCHITECTURES: dict[str, Architecture] = {
    "mlp": Architecture("metafa.learning.architectures:mlp", "a multilayer perceptron with the layers `hidden`"),
    "omniglot-cnn": Architecture(
        "metafa.learning.architectures:omniglot_cnn",
        "four blocks of a 3 x 3 convolution of stride 2, a normalization and the activation function, then the mean of "
        "each feature map and a linear readout",
        widths=(1.0,) * 4,
        normalization="batch",
        source="learn2learn's OmniglotCNN; Finn, Abbeel and Levine 2017",
    ),
    "cnn4": Architecture(
        "metafa.learning.architectures:cnn4",
        "four blocks of a 3 x 3 convolution, a normalization, the activation function and 2 x 2 max-pooling, then a "
        "linear readout",
        widths=(1.0,) * 4,
        normalization="batch",
        shrinks=16,
        averages=False,
        source="learn2learn's CNN4; Ravi and Larochelle 2017",
    ),
    "resnet12": Architecture(
        "metafa.learning.architectures:resnet12",
        "four residual blocks, each of three 3 x 3 convolutions with normalizations, a 1 x 1 convolution around them, "
        "and 2 x 2 max-pooling, of 1, 2.5, 5 and 10 times `filters`; then the mean of each feature map and a linear "
        "readout. Without dropout",
        widths=tuple(width for width in (1.0, 2.5, 5.0, 10.0) for _ in range(4)),
        normalization="batch",
        activation="leaky_relu",
        shrinks=16,
        source="learn2learn's ResNet12; Oreshkin, Rodríguez López and Lacoste 2018; Lee et al. 2019",
    ),
}


LOSSES: dict[str, Reference] = {
    "cross_entropy": "metafa.learning.losses:CROSS_ENTROPY",
    "squared_error": "metafa.learning.losses:SQUARED_ERROR",
}
"""The losses, each a `losses.Loss`."""


@dataclass(frozen=True)
class OptimizerKind:
    """An optimizer.

    make: from torch's groups of parameters, and the momentum, to an optimizer of torch.
    momentum: whether it takes a momentum.
    """

    make: Reference
    momentum: bool = False


OPTIMIZERS: dict[str, OptimizerKind] = {
    "adam": OptimizerKind("metafa.learning.optimizers:adam"),
    "sgd": OptimizerKind("metafa.learning.optimizers:sgd", momentum=True),
}


SCHEDULES: dict[str, Reference | None] = {
    "constant": None,
    "cosine": "metafa.learning.optimizers:cosine",  # Loshchilov and Hutter 2017, eq. 5, without restarts
}
"""How learning rates change: from an optimizer of torch and the number of steps to a scheduler of torch; None where
they do not."""


@dataclass(frozen=True)
class OuterAlgorithm:
    """An outer algorithm of meta-training.

    gradient: from an `outer.OuterProblem` to an `outer.OuterGradient`; None where nothing is meta-trained.
    transports: what its outer loop reads of the forward weights to send errors back; ``outer_rule`` where that is up
        to the rule by which it sends the query errors.
    adapts: the layers that adapt in its inner loop.
    learns_rates: whether it differentiates by the inner loop's learning rates, so that they can be learned.
    draws: whether it draws at random, from generators of its own.
    source: the paper that it comes from.
    """

    gradient: Reference | None
    transports: Literal["weights", "signs", "none", "outer_rule"]
    adapts: Literal["all", "readout"] = "all"
    learns_rates: bool = False
    draws: bool = False
    source: str = ""

    @property
    def by_outer_rule(self) -> bool:
        """Whether a rule of the outer loop's own plays a part."""
        return self.transports == "outer_rule"

    @property
    def trains(self) -> bool:
        """Whether it changes the network at all."""
        return self.gradient is not None


OUTER_ALGORITHMS: dict[str, OuterAlgorithm] = {
    # to differentiate through the inner loop is to go back through the weights, whatever the rule
    "exact": OuterAlgorithm(
        "metafa.learning.outer:exact", "weights", learns_rates=True, source="Finn, Abbeel and Levine 2017, eq. 1"
    ),
    "first_order": OuterAlgorithm(
        "metafa.learning.outer:first_order", "outer_rule", source="Finn, Abbeel and Levine 2017, section 5.2"
    ),
    "reptile": OuterAlgorithm(
        "metafa.learning.outer:reptile", "none", source="Nichol, Achiam and Schulman 2018, algorithm 2"
    ),
    "anil": OuterAlgorithm(
        "metafa.learning.outer:anil", "weights", adapts="readout", learns_rates=True, source="Raghu et al. 2020"
    ),
    "none": OuterAlgorithm(None, "none"),
}


@dataclass(frozen=True)
class Shift:
    """A change of images, so that they come from another distribution than those trained on.

    function: from images ``[image, channel, row, column]``, a strength and a generator to the images changed.
    unit: of the strength.
    """

    function: Reference
    unit: str = ""


SHIFTS: dict[str, Shift] = {
    "translation": Shift("metafa.learning.shifts:translated", "pixels"),
    "rotation": Shift("metafa.learning.shifts:rotated", "degrees"),
    "scaling": Shift("metafa.learning.shifts:scaled"),
    "pixel_noise": Shift("metafa.learning.shifts:with_pixel_noise", "standard deviation"),
}


@dataclass(frozen=True)
class NoiseInputs:
    """A distribution of the inputs of noise pretraining.

    draw: from a `noise.Noise`, a number of inputs, their pixels and a generator for each replica to inputs
        ``[replica, image, pixel]``.
    description: what an input is, for the documentation.
    has_rows: whether its inputs are pictures, so that it has to be known how many rows and columns they have.
    of_dataset: whether they are made of the images of a dataset.
    prepare: from a `noise.Noise` and the trial's `streams.Streams` to the `noise.Noise` with what a phase draws but
        once; None where that is nothing.
    """

    draw: Reference
    description: str
    has_rows: bool = False
    of_dataset: bool = False
    prepare: Reference | None = None


NOISE_INPUTS: dict[str, NoiseInputs] = {
    "normal": NoiseInputs("metafa.learning.noise:normal", "every pixel is normal, by itself"),
    "uniform": NoiseInputs("metafa.learning.noise:uniform", "every pixel is uniform, by itself"),
    "pink": NoiseInputs(
        "metafa.learning.textures:pink",
        "a picture with random phases, and amplitudes that fall with frequency as 1/f, as in photographs",
        has_rows=True,
    ),
    "dead_leaves": NoiseInputs(
        "metafa.learning.textures:dead_leaves",
        "a picture of discs of random greys that hide each other, their radii r by the density r^-3, from 1 pixel to "
        "half an image (Lee, Mumford and Huang 2001); cut from 512 x 512 pixels that each network has of its own, "
        "drawn once a trial, which takes half a second",
        has_rows=True,
        prepare="metafa.learning.textures:with_leaves",
    ),
    "images": NoiseInputs(
        "metafa.learning.textures:images",
        "a training image of `dataset` as it is, drawn at random",
        of_dataset=True,
    ),
    "shuffled_images": NoiseInputs(
        "metafa.learning.textures:shuffled_images",
        "a training image of `dataset`, its pixels in a random order that is new each time; the channels of a pixel "
        "stay together",
        of_dataset=True,
    ),
}


@dataclass(frozen=True)
class Control:
    """What becomes of a network in place of what a phase's training makes of it.

    function: from a `controls.Control` and the trained network to the parameters that the phase leaves; None where the
        training is kept.
    description: what is left, for the documentation.
    turns: whether weights are turned towards the feedback, so that each layer needs feedback in its weights' shape,
        which the weights do not decide.
    """

    function: Reference | None
    description: str
    turns: bool = False


CONTROLS: dict[str, Control] = {
    "none": Control(None, "the trained network"),
    "random_step": Control(
        "metafa.learning.controls:random_step",
        "the network as at the phase's start, each layer's weights and biases moved as far as training moved them, in "
        "a random direction",
    ),
    "soft_alignment": Control(
        "metafa.learning.controls:soft_alignment",
        "the network as at the phase's start, the outgoing weights of each hidden unit turned towards its feedback, in "
        "the plane of both, to the angle that training has reached there, and their norm kept; the first layer and the "
        "biases stay (after the one-time soft alignment of Cheon, Bae and Paik, arXiv 2505.20892). It needs a rule "
        "whose feedback has the weights' shape and does not depend on them",
        turns=True,
    ),
}
