"""A kind of layer that the package does not have, through everything that asks a layer for something."""

from dataclasses import dataclass, replace

import pytest
import torch
from random_networks import random_episodes, with_tensors
from torch import Tensor

from metafa.learning import credit, feedback, meta, networks
from metafa.learning.feedback import FeedbackConfig
from metafa.learning.kinds import OUTER_ALGORITHMS, resolved
from metafa.learning.layers.base import Cache, Draw, Layer, Parameters, flat, folded
from metafa.learning.networks import Network
from metafa.learning.outer import OuterProblem
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams


@dataclass(frozen=True)
class Gain(Layer):
    """y = g x + c, each unit by itself."""

    inputs: int
    outputs: int
    learns = True

    def initialise(self, draw: Draw) -> Parameters:
        return {"gain": 1 + 0.3 * draw(self.inputs), "bias": 0.1 * draw(self.inputs)}

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        return self._scaled(own, x) + self._scaled({"gain": own["bias"]}, torch.ones_like(x)), x

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        return self._scaled(own, error)

    def gradients(self, error: Tensor, cache: Cache, networks: int) -> Parameters:
        error = folded(error, networks)
        return {"gain": (error * folded(cache, networks)).sum(-2), "bias": error.sum(-2)}

    @staticmethod
    def _scaled(own: Parameters, x: Tensor) -> Tensor:
        gain = own["gain"]
        return (x.unflatten(0, (len(gain), -1)) * gain[:, None, None]).flatten(0, 1)


def network_with_gains(rule: str, first: bool = False) -> Network:
    """In float64: 8 inputs, 6 hidden units with a gain each, 3 outputs; ``first``: with a gain for each input too."""
    lowest, activation, readout = networks.perceptron([8, 6, 3], "tanh")
    below = (Gain(8, 8),) if first else ()
    streams = Streams(0, (0, 1))
    network = networks.initialise((*below, lowest, Gain(6, 6), activation, readout), streams)
    network = feedback.initialise(network, RULES[rule], FeedbackConfig(), streams)
    sharpened = replace(network, feedback=tuple(b.double() for b in network.feedback))
    return with_tensors(sharpened, [tensor.double() for tensor in network.tensors])


@pytest.mark.parametrize("first", [False, True])
def test_backprop_through_it_is_the_gradient(first: bool) -> None:
    network = network_with_gains("backprop", first)
    inputs = torch.randn(2, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(3, dtype=torch.float64)[torch.arange(7) % 3].expand(2, 7, 3)
    live = [tensor.clone().requires_grad_() for tensor in network.tensors]
    loss = network.loss.value(networks.forward(with_tensors(network, live), inputs).logits, targets)
    expected = torch.autograd.grad(loss.sum(), live)
    found = credit.gradients(RULES["backprop"], network, networks.forward(network, inputs), inputs, targets)
    torch.testing.assert_close(flat(found), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("first", [False, True], ids=["above the dual", "in its place"])
@pytest.mark.parametrize("algorithm", ["exact", "anil"])
@pytest.mark.parametrize("rule", RULES)
def test_exact_equals_finite_differences_through_it(rule: str, algorithm: str, first: bool) -> None:
    """Where it is the lowest layer, nothing has a dual, and all images go through every layer."""
    network, tasks = network_with_gains(rule, first), random_episodes(8)
    inner = meta.inner_loop(network, RULES[rule], 3, 0.3)
    learned = replace(inner, learning_rates=inner.learning_rates.clone().requires_grad_())
    made = resolved(OUTER_ALGORITHMS[algorithm].gradient)(OuterProblem(network, learned, RULES[rule], tasks))
    measured = replace(inner, adapted_layers=OUTER_ALGORITHMS[algorithm].adapts)
    parameters = [*network.tensors, inner.learning_rates]
    step = 1e-6
    for index, (parameter, found) in enumerate(zip(parameters, (*made.tensors, *made.learning_rates), strict=True)):
        where = tuple(size - 1 for size in parameter.shape)
        losses = []
        for sign in (1, -1):
            moved = parameter.clone()
            moved[where] += sign * step
            *tensors, rates = (moved if i == index else p for i, p in enumerate(parameters))
            inner_loop = replace(measured, learning_rates=rates)
            losses.append(meta.meta_loss(with_tensors(network, tensors), inner_loop, tasks)[0][where[0]])
        # central differences in float64: truncation 1e-12, cancellation 1e-16 / 1e-6
        torch.testing.assert_close(found[where], (losses[0] - losses[1]) / (2 * step), rtol=1e-6, atol=2e-9)


def test_first_order_and_reptile_are_those_of_the_network_with_its_first_layers_weights_written_out() -> None:
    """A gain of 1 and a bias of 0 for each input, which never move, change nothing: the dual against its absence."""
    plain = network_with_gains("feedback_alignment")
    still = {"gain": torch.ones(2, 8, dtype=torch.float64), "bias": torch.zeros(2, 8, dtype=torch.float64)}
    network = replace(plain, layers=(Gain(8, 8), *plain.layers), parameters=(still, *plain.parameters))
    network = replace(network, feedback=(network.parameters[1]["weight"].clone(), *plain.feedback))
    rule, tasks = RULES["feedback_alignment"], random_episodes(8)
    rates = torch.full((2, 3, 3), 0.3, dtype=torch.float64)
    resting = torch.cat([torch.zeros(2, 3, 1, dtype=torch.float64), rates], -1)
    for algorithm in ("first_order", "reptile"):
        gradient = resolved(OUTER_ALGORITHMS[algorithm].gradient)
        wanted = gradient(OuterProblem(plain, meta.InnerLoop(rule, rates), rule, tasks))
        found = gradient(OuterProblem(network, meta.InnerLoop(rule, resting), rule, tasks))
        for own, expected in zip(found.gradients[1:], wanted.gradients, strict=True):
            torch.testing.assert_close(dict(own), dict(expected), rtol=1e-10, atol=1e-12)
