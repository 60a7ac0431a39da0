"""Slow and plain versions of what metafa computes, for one replica: what its numbers are held against."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from metafa.learning.layers.activation import Activation
from metafa.learning.networks import Network
from metafa.tasks.base import import_learn2learn


class FeedbackAlignmentLinear(torch.autograd.Function):
    """A linear layer whose backward pass sends errors through fixed feedback (Lillicrap et al. 2016)."""

    @staticmethod
    def forward(ctx, inputs, weight, bias, feedback):
        ctx.save_for_backward(inputs, feedback)
        return inputs @ weight.T + bias

    @staticmethod
    def backward(ctx, error):
        inputs, feedback = ctx.saved_tensors
        return error @ feedback, error.T @ inputs, error.sum(0), None


class Perceptron(nn.Module):
    """One replica of a network as an ordinary module; with ``align`` its backward pass is feedback alignment."""

    def __init__(self, network: Network, replica: int, align: bool):
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(w[replica].clone()) for w in network.weights])
        self.biases = nn.ParameterList([nn.Parameter(b[replica].clone()) for b in network.biases])
        for layer, matrix in enumerate(network.feedback, start=1):
            self.register_buffer(f"feedback_{layer}", matrix[replica].clone())
        self.align = align

    def forward(self, hidden: Tensor) -> Tensor:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.relu(hidden) if layer else hidden
            if self.align and layer:
                hidden = FeedbackAlignmentLinear.apply(hidden, weight, bias, getattr(self, f"feedback_{layer}"))
            else:
                hidden = hidden @ weight.T + bias
        return hidden


def slow_errors(
    network: Network, replica: int, rule: str, pre: list[list[float]], error: list[float]
) -> list[list[float]]:
    """The error signal of every layer for one image, one unit at a time, from the formulas of the rules' papers."""
    weights = [w[replica].tolist() for w in network.weights]
    feedback = [b[replica].tolist() for b in network.feedback]

    def sent(layer: int, i: int, j: int) -> float:
        """What unit i above sends to unit j of the layer below it."""
        w, b = weights[layer + 1][i][j], feedback[layer][i][j]
        if rule == "backprop":
            return w
        return abs(b) * math.copysign(1, w) if rule.startswith("sign_symmetry") else b

    slope = {"relu": lambda a: float(a > 0), "tanh": lambda a: 1 / math.cosh(a) ** 2}[activation_of(network)]
    errors = [error]
    for layer in reversed(range(len(weights) - 1)):
        above = error if rule == "direct_feedback_alignment" else errors[0]
        errors.insert(
            0,
            [
                sum(e * sent(layer, i, j) for i, e in enumerate(above)) * slope(pre[layer][j])
                for j in range(len(pre[layer]))
            ],
        )
    return errors


def slow_gradients(
    network: Network, replica: int, inputs: Tensor, targets: Tensor, rule: str
) -> tuple[list[list[list[float]]], list[list[float]]]:
    """Weight and bias gradients of the mean cross-entropy, one image and one unit at a time, in Python's float64."""
    weights = [w[replica].tolist() for w in network.weights]
    biases = [b[replica].tolist() for b in network.biases]
    function = {"relu": lambda a: max(a, 0.0), "tanh": math.tanh}[activation_of(network)]
    depth, images = len(weights), len(inputs)
    weight_gradients = [[[0.0] * len(row) for row in w] for w in weights]
    bias_gradients = [[0.0] * len(b) for b in biases]
    for image, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        hidden, pre = [image], []
        for layer in range(depth):
            pre.append(
                [
                    sum(w * h for w, h in zip(row, hidden[-1], strict=True)) + bias
                    for row, bias in zip(weights[layer], biases[layer], strict=True)
                ]
            )
            hidden.append([function(a) for a in pre[-1]])
        total = sum(math.exp(a) for a in pre[-1])
        output_error = [(math.exp(a) / total - t) / images for a, t in zip(pre[-1], target, strict=True)]
        for layer, error in enumerate(slow_errors(network, replica, rule, pre, output_error)):
            for i, e in enumerate(error):
                bias_gradients[layer][i] += e
                for j, h in enumerate(hidden[layer]):
                    weight_gradients[layer][i][j] += e * h
    return weight_gradients, bias_gradients


def slowly_adapted(
    network: Network, replica: int, rule: str, images: Tensor, labels: Tensor, rates: list[list[float]]
) -> Network:
    """One replica after gradient descent on one task, every weight updated as it stands, and under nested
    Kolen-Pollack the feedback with it. ``rates`` by step and layer."""
    one = replica_of(network, replica)
    targets = nn.functional.one_hot(labels, network.ways).to(images.dtype)
    for by_layer in rates:
        weight_gradients, bias_gradients = slow_gradients(one, 0, images, targets, rule)
        for layer, rate in enumerate(by_layer):
            step = rate * torch.tensor(weight_gradients[layer], dtype=images.dtype)
            one.weights[layer][0] -= step
            one.biases[layer][0] -= rate * torch.tensor(bias_gradients[layer], dtype=images.dtype)
            if rule == "nested_kolen_pollack" and layer:
                one.feedback[layer - 1][0] -= step
    return one


def replica_of(network: Network, replica: int) -> Network:
    """A copy of one replica."""
    return replace(
        network,
        parameters=tuple(
            {name: tensor[replica : replica + 1].clone() for name, tensor in own.items()} for own in network.parameters
        ),
        feedback=tuple(tensor[replica : replica + 1].clone() for tensor in network.feedback),
    )


def activation_of(network: Network) -> str:
    """The hidden units' activation function."""
    (name,) = {layer.name for layer in network.layers if isinstance(layer, Activation)}
    return name


def images_of(pixels: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Images ``[image, channel, row, column]``, as torch has them, of their pixels."""
    rows, columns, *channels = shape
    return pixels.view(-1, rows, columns, *(channels or [1])).permute(0, 3, 1, 2)


OF_MODULES = {"weight": "weight", "bias": "bias", "scale": "weight", "shift": "bias"}
"""What torch's modules call the parameters of layers."""


def convolutional_model(
    architecture: str, network: Network, replica: int, image: tuple[int, ...]
) -> tuple[torch.nn.Module, list[torch.nn.Parameter]]:
    """learn2learn's model of that name with one replica's parameters, and these in the order of `Network.tensors`."""
    models, classifier, channels = import_learn2learn().vision.models, network.layers[-1], (*image, 1)[2]
    ways, inputs = classifier.outputs, classifier.inputs
    kernels = [own["weight"] for own in network.parameters if "weight" in own][:-1]
    if architecture == "omniglot-cnn":
        model = models.OmniglotCNN(ways, hidden_size=kernels[0].shape[1])
        pairs = [(block.conv, block.normalize) for block in model.base]
    elif architecture == "cnn4":
        model = models.CNN4(
            classifier.outputs, kernels[0].shape[1], channels=channels, embedding_size=classifier.inputs
        )
        pairs = [(block.conv, block.normalize) for block in model.features]
    else:
        model = models.ResNet12(ways, hidden_size=inputs, channels=channels)
        backbone, module = model.features, importlib.import_module(type(model).__module__)
        backbone.inplanes, backbone.avgpool = channels, nn.AdaptiveAvgPool2d(1)  # of images of any size
        blocks = []
        for number, kernel in enumerate(kernels[::4], start=1):
            block = backbone._make_layer(module.BasicBlock, kernel.shape[1], stride=2)
            setattr(backbone, f"layer{number}", block)
            blocks += block
        pairs = [(getattr(b, f"conv{i}"), getattr(b, f"bn{i}")) for b in blocks for i in (1, 2, 3)]
        for number, block in enumerate(blocks):
            pairs.insert(4 * number + 3, tuple(block.downsample))
    model = model.to(network.tensors[0])
    modules = [module for pair in pairs for module in pair] + [model.classifier]
    for module, own in zip(modules, (own for own in network.parameters if own), strict=True):
        for name in own:
            if name in OF_MODULES:
                getattr(module, OF_MODULES[name]).data = own[name][replica].clone()
    # by name, as `base.flat` orders them
    by_name: dict[str, list[torch.nn.Parameter]] = {}
    for module, own in zip(modules, (own for own in network.parameters if own), strict=True):
        for name in own:
            if name in OF_MODULES:
                by_name.setdefault(name, []).append(getattr(module, OF_MODULES[name]))
    return model, [parameter for named in by_name.values() for parameter in named]
