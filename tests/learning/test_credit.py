import math

import pytest
import torch
from oracles import slow_gradients
from random_networks import randn, random_network, with_tensors

from metafa.learning import credit, losses, networks
from metafa.learning.layers.base import flat
from metafa.learning.rules import RULES


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", [[6, 5, 3], [6, 5, 4, 3], [6, 3, 5, 4, 3]])
@pytest.mark.parametrize("rule", RULES)
def test_gradients_equal_the_slow_reference(rule: str, sizes: list[int], activation: str) -> None:
    network = random_network(sizes, rule=rule, activation=activation)
    inputs, targets = randn(2, 7, sizes[0], seed=3), torch.softmax(randn(2, 7, 3, seed=4), -1)
    gradients = flat(credit.gradients(RULES[rule], network, networks.forward(network, inputs), inputs, targets))
    layers = len(sizes) - 1
    for replica in range(2):
        weights, biases = slow_gradients(network, replica, inputs[replica], targets[replica], rule)
        for layer in range(layers):
            expected = torch.tensor(weights[layer], dtype=torch.float64)
            # both in float64, sums of at most 7 terms of order 1
            torch.testing.assert_close(gradients[layer][replica], expected, rtol=1e-11, atol=1e-13)
            expected = torch.tensor(biases[layer], dtype=torch.float64)
            torch.testing.assert_close(gradients[layers + layer][replica], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_backprop_is_the_gradient(activation: str) -> None:
    network = random_network([6, 5, 4, 3], activation=activation)
    inputs = randn(2, 7, 6, seed=3)
    targets = torch.eye(3, dtype=torch.float64)[torch.arange(7) % 3].expand(2, 7, 3)
    parameters = [p.clone().requires_grad_() for p in network.tensors]
    live = with_tensors(network, parameters)
    loss = losses.cross_entropy(networks.forward(live, inputs).logits, targets)
    expected = torch.autograd.grad(loss.sum(), parameters)
    activity = networks.forward(network, inputs)
    found = credit.gradients(RULES["backprop"], network, activity, inputs, targets)
    torch.testing.assert_close(flat(found), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("spoilt", [torch.nan, torch.inf])
def test_the_accuracy_of_a_readout_that_is_not_finite_is_not_a_number(spoilt: float) -> None:
    logits, targets = randn(3, 7, 4, seed=3), torch.eye(4, dtype=torch.float64)[torch.arange(7) % 4].expand(3, 7, 4)
    logits[1, 2, 3] = spoilt
    sound, broken, other = losses.accuracy(logits, targets).tolist()
    assert math.isnan(broken)
    right = [(logits[replica].argmax(1) == torch.arange(7) % 4).double().mean().item() for replica in (0, 2)]
    assert [sound, other] == pytest.approx(right)


def errors_with(rule: str, weights: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The error signals that ``rule`` makes of one fixed activity and output error, the weights above replaced."""
    network = random_network([6, 5, 4, 3], rule=rule)
    inputs, error = randn(2, 7, 6, seed=3), randn(2, 7, 3, seed=5)
    activity = networks.forward(network, inputs)
    shown = with_tensors(network, (network.weights[0], *weights, *network.biases))
    batch = credit.Pass(
        shown.layers, shown.parameters, shown.feedback, shown.loss, inputs, error, activity, shown.learning[0]
    )
    return [e for e in credit.errors(RULES[rule], batch, error) if e is not None]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_transports_of_the_weights_what_it_says_and_no_more(rule: str) -> None:
    """The audit: other weights above, activities and output error held fixed, must leave the errors as they are."""
    weights = random_network([6, 5, 4, 3]).weights[1:]
    one = errors_with(rule, weights)
    others = {
        "other weights": random_network([6, 5, 4, 3], seed=9).weights[1:],
        "other sizes, the same signs": tuple(w * randn(*w.shape, seed=6).exp() for w in weights),
    }
    unchanged = {
        name: all(torch.equal(a, b) for a, b in zip(one, errors_with(rule, other), strict=True))
        for name, other in others.items()
    }
    transport = RULES[rule].transports
    assert unchanged["other weights"] == (transport == "none")
    assert unchanged["other sizes, the same signs"] == (transport != "weights")
    if transport == "signs":  # and the signs of each layer are read
        for layer in range(len(weights)):
            turned = tuple(-w if i == layer else w for i, w in enumerate(weights))
            assert not all(torch.equal(a, b) for a, b in zip(one, errors_with(rule, turned), strict=True))


def test_what_the_alignment_angle_is_between() -> None:
    network = random_network([6, 5, 4, 3], rule="direct_feedback_alignment")
    second, readout = network.weights[1:]
    (_, path, sent), (_, last, sent_last) = credit.alignment_pairs(RULES["direct_feedback_alignment"], network)
    torch.testing.assert_close(path, torch.einsum("soh,shi->soi", readout, second))
    assert torch.equal(last, readout)
    assert torch.equal(sent, network.feedback[0])
    assert torch.equal(sent_last, network.feedback[1])
    network = random_network([6, 5, 4, 3], rule="sign_symmetry_fixed")
    for _, path, sent in credit.alignment_pairs(RULES["sign_symmetry_fixed"], network):
        assert torch.equal(path.sign(), sent.sign())


def test_cross_entropy_and_accuracy_on_known_readouts() -> None:
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]], dtype=torch.float64))
    targets = torch.tensor([[[1.0, 0, 0], [1, 0, 0]]], dtype=torch.float64)
    expected = torch.tensor([-(torch.tensor(0.5).log() + torch.tensor(0.1).log()).item() / 2], dtype=torch.float64)
    torch.testing.assert_close(losses.cross_entropy(logits, targets), expected, rtol=1e-6, atol=0)
    assert losses.accuracy(logits, targets).tolist() == [0.5]
