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
from metafa.learning.layers.maps import AveragePooling, Flatten, Images, MaxPooling, Sum


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
    for filters in ARCHITECTURES["omniglot-cnn"].filters(sizes.filters):
        block, maps = _block(sizes, maps, filters, stride=2)
        made += block
    readout = Linear(maps[0], sizes.ways, float(maps[0]), units_first=True)
    return *made, AveragePooling(*maps), Flatten(maps[0], 1, 1), readout


def cnn4(sizes: Sizes) -> tuple[Layer, ...]:
    """Four blocks of a convolution, a normalization, an activation function and max-pooling of 2 x 2; a readout of all
    that is left: learn2learn's `CNN4`, after Ravi and Larochelle (2017)."""
    made: list[Layer] = [Images(*sizes.maps)]
    maps = sizes.maps
    for filters in ARCHITECTURES["cnn4"].filters(sizes.filters):
        block, maps = _block(sizes, maps, filters, stride=1)
        made += [*block, MaxPooling(*maps)]
        maps = _halved(maps)
    inputs = prod(maps)
    gain = 2 * inputs / (inputs + sizes.ways)  # Glorot and Bengio 2010, eq. 16
    return *made, Flatten(*maps), Linear(inputs, sizes.ways, gain, units_first=True, distribution="uniform")


def resnet12(sizes: Sizes) -> tuple[Layer, ...]:
    """Four residual blocks, each of three convolutions, a convolution of kernel 1 around them, and max-pooling; the
    mean of each feature map; a readout: learn2learn's `ResNet12` without dropout, after Oreshkin, Rodríguez López and
    Lacoste (2018) and Lee et al. (2019)."""
    made: list[Layer] = [Images(*sizes.maps)]
    maps, every = sizes.maps, ARCHITECTURES["resnet12"].filters(sizes.filters)
    for filters in every[::4]:
        inputs, found = maps, (filters, *maps[1:])
        block: list[Layer] = []
        for number in range(3):
            block.append(Convolution(*maps, filters, has_bias=False, start="fan_out"))
            block += _normalized(sizes, filters, maps[1:])
            block += [Activation(sizes.activation, found)] * (number < 2)
            maps = found
        around = Convolution(*inputs, filters, 1, padding=0, has_bias=False, start="fan_out", skips=len(block))
        shortcut = [around, *_normalized(sizes, filters, maps[1:])]
        made += [*block, *shortcut, Sum(*maps, skips=len(shortcut)), Activation(sizes.activation, maps)]
        made.append(MaxPooling(*maps))
        maps = _halved(maps)
    readout = Linear(maps[0], sizes.ways, 1 / 3, units_first=True, distribution="uniform")  # as torch starts it
    return *made, AveragePooling(*maps), Flatten(maps[0], 1, 1), readout


def _block(
    sizes: Sizes, maps: tuple[int, int, int], filters: int, stride: int
) -> tuple[list[Layer], tuple[int, int, int]]:
    """A convolution, its normalization and its activation function; and the feature maps that come out."""
    convolution = Convolution(*maps, filters, stride=stride)
    found = (filters, *convolution.size)
    normalization = _normalized(sizes, filters, convolution.size, random_scale=True)
    return [convolution, *normalization, Activation(sizes.activation, found)], found


def _halved(maps: tuple[int, int, int]) -> tuple[int, int, int]:
    return maps[0], maps[1] // 2, maps[2] // 2
