"""Architectures by name: from the sizes of images and the settings of a network to its layers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from metafa.learning import networks
from metafa.learning.kinds import ARCHITECTURES, NORMALIZATIONS, resolved
from metafa.learning.layers.activation import Activation
from metafa.learning.layers.base import Layer
from metafa.learning.layers.convolution import Convolution
from metafa.learning.layers.linear import Linear
from metafa.learning.layers.maps import AveragePooling, Flatten, Images, MaxPooling


@dataclass(frozen=True)
class Sizes:
    """What an architecture is made of.

    image: rows, columns, and channels where there are several; of images that are no pictures the number of their
        pixels alone.
    ways: outputs.
    hidden: the units of each hidden layer of a perceptron.
    filters: those of each convolution.
    activation, normalization: rows of `ACTIVATIONS` and of `NORMALIZATIONS`.
    groups: of group normalization.
    batch_statistics: of batch normalization on a task's query set, ``transductive`` or of the ``support`` set.
    """

    image: tuple[int, ...]
    ways: int
    hidden: tuple[int, ...] = ()
    filters: int = 64
    activation: str = "relu"
    normalization: str = "none"
    groups: int = 1
    batch_statistics: Literal["transductive", "support"] = "transductive"

    @property
    def maps(self) -> tuple[int, int, int]:
        """An image's channels, rows and columns."""
        rows, columns, *channels = self.image
        return (*channels, 1)[0], rows, columns


def layers(architecture: str, sizes: Sizes) -> tuple[Layer, ...]:
    """The layers of a row of `ARCHITECTURES`."""
    return resolved(ARCHITECTURES[architecture].layers)(sizes)


def mlp(sizes: Sizes) -> tuple[Layer, ...]:
    """A perceptron; it takes an image's pixels as they come."""
    units = [prod(sizes.image), *sizes.hidden, sizes.ways]
    plain, made = networks.perceptron(units, sizes.activation), list[Layer]()
    for layer in plain:
        if isinstance(layer, Activation):
            made += _normalized(sizes, layer.inputs)
        made.append(layer)
    return tuple(made)


def _normalized(sizes: Sizes, units: int, size: tuple[int, ...] = (), random_scale: bool = False) -> list[Layer]:
    made = NORMALIZATIONS[sizes.normalization]
    return [] if made is None else [resolved(made)(sizes, units, size, random_scale)]


def omniglot_cnn(sizes: Sizes) -> tuple[Layer, ...]:
    """Four blocks of a convolution of stride 2, a normalization and an activation function; the mean of each feature
    map; a readout whose weights are N(0, 1) at the start: learn2learn's `OmniglotCNN`, after Finn, Abbeel and Levine
    (2017, section 5.2)."""
    made: list[Layer] = [Images(*sizes.maps)]
    maps = sizes.maps
    for _ in range(ARCHITECTURES["omniglot-cnn"].convolutions):
        block, maps = _block(sizes, maps, stride=2)
        made += block
    return (
        *made,
        AveragePooling(*maps),
        Flatten(maps[0], 1, 1),
        Linear(maps[0], sizes.ways, float(maps[0]), units_first=True),
    )


def cnn4(sizes: Sizes) -> tuple[Layer, ...]:
    """Four blocks of a convolution, a normalization, an activation function and max-pooling of 2 x 2; a readout of all
    that is left: learn2learn's `CNN4`, after Ravi and Larochelle (2017)."""
    made: list[Layer] = [Images(*sizes.maps)]
    maps = sizes.maps
    for _ in range(ARCHITECTURES["cnn4"].convolutions):
        block, maps = _block(sizes, maps, stride=1)
        made += [*block, MaxPooling(*maps)]
        maps = maps[0], maps[1] // 2, maps[2] // 2
    inputs = maps[0] * maps[1] * maps[2]
    gain = 2 * inputs / (inputs + sizes.ways)  # Glorot and Bengio 2010, eq. 16
    return *made, Flatten(*maps), Linear(inputs, sizes.ways, gain, units_first=True, distribution="uniform")


def _block(sizes: Sizes, maps: tuple[int, int, int], stride: int) -> tuple[list[Layer], tuple[int, int, int]]:
    """A convolution, its normalization and its activation function; and the feature maps that come out."""
    convolution = Convolution(*maps, sizes.filters, stride=stride)
    found = (sizes.filters, *convolution.size)
    normalization = _normalized(sizes, sizes.filters, convolution.size, random_scale=True)
    return [convolution, *normalization, Activation(sizes.activation, found)], found
