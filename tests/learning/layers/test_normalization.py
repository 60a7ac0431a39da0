"""Batch normalization against torch's own, in float64, under every rule."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from metafa.learning import architectures, controls, credit, feedback, networks
from metafa.learning.architectures import Sizes
from metafa.learning.feedback import FeedbackConfig
from metafa.learning.layers.base import Layer, flat
from metafa.learning.networks import Network
from metafa.learning.optimizers import Optimizer
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams
from metafa.learning.training import Learner, ResumePoint, train

SIZES, REPLICAS = [7, 6, 5, 3], 2


def layers_of(normalization: str) -> tuple[Layer, ...]:
    inputs, *hidden, outputs = SIZES
    return architectures.mlp(Sizes((inputs,), outputs, tuple(hidden), normalization=normalization))


def random_network(rule: str) -> Network:
    """In float64, all parameters random."""
    streams = Streams(0, tuple(range(REPLICAS)))
    network = networks.initialise(layers_of("batch"), streams)
    network = feedback.initialise(network, RULES[rule], FeedbackConfig(), streams)
    generator = torch.Generator().manual_seed(1)
    moved = tuple(
        {
            name: t.double() + (0.2 * torch.rand(t.shape, generator=generator, dtype=torch.float64))
            for name, t in own.items()
        }
        for own in network.parameters
    )
    return replace(network, parameters=moved, feedback=tuple(b.double() for b in network.feedback))


class Normalized(nn.Module):
    """One replica as an ordinary module."""

    def __init__(self, network: Network, replica: int):
        super().__init__()
        self.linear, self.norms = nn.ModuleList(), nn.ModuleList()
        for own in network.parameters:
            if "weight" in own:
                outputs, inputs = own["weight"].shape[1:]
                layer = nn.Linear(inputs, outputs, dtype=torch.float64)
                layer.weight.data, layer.bias.data = own["weight"][replica].clone(), own["bias"][replica].clone()
                self.linear.append(layer)
            elif own:
                norm = nn.BatchNorm1d(own["scale"].shape[1], dtype=torch.float64)
                norm.weight.data, norm.bias.data = own["scale"][replica].clone(), own["shift"][replica].clone()
                norm.running_mean = own["running_mean"][replica].clone()
                norm.running_var = own["running_variance"][replica].clone()
                self.norms.append(norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps each linear layer's outputs and each hidden layer's activations, apart from what is below."""
        self.blocks = []
        for linear, norm in zip(self.linear[:-1], self.norms, strict=True):
            own = linear(x)
            own.retain_grad()
            x = torch.relu(norm(own))
            self.blocks.append((own, x))
        return self.linear[-1](x)


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(REPLICAS, 9, SIZES[0], generator=generator, dtype=torch.float64)
    labels = torch.randint(SIZES[-1], (REPLICAS, 9), generator=generator)
    return inputs, labels


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.one_hot(labels, SIZES[-1]).double()


@pytest.mark.parametrize("rule", RULES)
def test_errors_pass_through_it_by_its_own_jacobian_under_every_rule(rule: str) -> None:
    network = random_network(rule)
    modules = [Normalized(network, replica) for replica in range(REPLICAS)]
    inputs, labels = batch(0)
    activity = networks.forward(network, inputs, training=True)
    found = credit.gradients(RULES[rule], network, activity, inputs, one_hot(labels))
    for replica, module in enumerate(modules):
        logits = module(inputs[replica])
        torch.testing.assert_close(activity.logits[replica], logits, rtol=1e-10, atol=1e-12)
        error = (logits.softmax(-1) - one_hot(labels)[replica]) / len(labels[replica])
        wanted = {id(module.linear[-1]): (error.T @ module.blocks[-1][1], error.sum(0))}
        above, received = error, error
        for layer in (1, 0):
            weight, back = module.linear[layer + 1].weight, network.feedback[layer][replica]
            path = credit.carrier(RULES[rule], weight[None].detach(), back[None])[0]
            received = (error if RULES[rule].route == "direct" else above) @ path
            (own, hidden), norm, linear = module.blocks[layer], module.norms[layer], module.linear[layer]
            above, scale, shift = torch.autograd.grad(
                hidden, (own, norm.weight, norm.bias), received, retain_graph=True
            )
            wanted[id(norm)] = (scale, shift)
            below = inputs[replica] if layer == 0 else module.blocks[layer - 1][1]
            wanted[id(linear)] = (above.T @ below, above.sum(0))
        for own, part in zip(
            [own for own in found if own],
            [module.linear[0], module.norms[0], module.linear[1], module.norms[1], module.linear[2]],
            strict=True,
        ):
            for tensor, expected in zip(own.values(), wanted[id(part)], strict=True):
                torch.testing.assert_close(tensor[replica], expected, rtol=1e-9, atol=1e-12)


def test_training_and_testing_equal_torch_with_running_statistics() -> None:
    """Backprop by stochastic gradient descent, and the readout of a test before, between and after."""
    network = random_network("backprop")
    modules = [Normalized(network, replica) for replica in range(REPLICAS)]
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.1) for module in modules]
    seen, _ = batch(99)
    batches = [batch(seed) for seed in range(5)]
    learner = Learner(network, RULES["backprop"], Streams(0, tuple(range(REPLICAS))), Optimizer("sgd", (0.1,)))
    steps = train(learner, ((inputs, one_hot(labels)) for inputs, labels in batches), {"feedback": []})
    for (inputs, labels), _ in zip(batches, steps, strict=True):
        tested = networks.forward(network, seen).logits
        for replica, (module, optimizer) in enumerate(zip(modules, optimizers, strict=True)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs[replica]), labels[replica]).backward()
            optimizer.step()
            module.eval()
            torch.testing.assert_close(tested[replica], module(seen[replica]).detach(), rtol=1e-9, atol=1e-12)
            module.train()
            kept = [norm.running_mean for norm in module.norms] + [norm.running_var for norm in module.norms]
            for found, wanted in zip(network.statistics, kept, strict=True):
                torch.testing.assert_close(found[replica], wanted, rtol=1e-12, atol=0)


def test_weights_and_feedback_start_as_without_it() -> None:
    """So that networks with it and without are paired."""
    streams = Streams(3, (0, 1))
    plain, normalized = (
        feedback.initialise(
            networks.initialise(layers_of(kind), streams),
            RULES["feedback_alignment"],
            FeedbackConfig(),
            streams,
        )
        for kind in ("none", "batch")
    )
    for one, other in zip((*plain.weights, *plain.feedback), (*normalized.weights, *normalized.feedback), strict=True):
        assert torch.equal(one, other)
    assert len(flat(normalized.parameters)) == len(normalized.tensors) + len(normalized.statistics) == 3 * 2 + 2 * 4


def test_a_control_puts_back_the_statistics_with_the_rest() -> None:
    """A random step is of what training moves; a variance has no direction."""
    network, rule = random_network("feedback_alignment"), RULES["feedback_alignment"]
    streams = Streams(0, tuple(range(REPLICAS)))
    start = networks.copied(network)
    control = controls.begin("random_step", network, rule, streams, ResumePoint())
    learner = Learner(network, rule, streams, Optimizer("sgd", (0.1,)))
    for _ in train(learner, ((inputs, one_hot(labels)) for inputs, labels in map(batch, range(3))), {"feedback": []}):
        pass
    assert not torch.equal(network.statistics[0], start.statistics[0])
    controls.leave(control, network)
    for found, wanted in zip(network.statistics, start.statistics, strict=True):
        assert torch.equal(found, wanted)
    for place, name in ((0, "weight"), (1, "scale"), (1, "shift")):
        assert not torch.equal(network.parameters[place][name], start.parameters[place][name])
