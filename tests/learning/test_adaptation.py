from dataclasses import replace

import pytest
import torch
from oracles import Perceptron, replica_of, slowly_adapted
from random_networks import randn, random_episodes, random_network
from torch.nn.functional import cross_entropy

from metafa.learning import adaptation, episodes, networks
from metafa.learning.rules import RULES
from metafa.tasks.base import import_learn2learn


def one_rate(network, steps: int, rate: float) -> torch.Tensor:
    return torch.full((2, steps, len(network.weights)), rate, dtype=network.biases[0].dtype)


def upper_weights(adapted: adaptation.Adapted) -> list[torch.Tensor]:
    return [own["weight"] for own in adapted.parameters[1:] if own]


def adapt(network, rule, tasks, rates, adapted_layers="all"):
    """Query logits after each step, ``[replica, task, image, way]``, and the last adapted network."""
    prepared = adaptation.prepare(network, rule, tasks)
    path = list(adaptation.adapt(rule, prepared, rates, adapted_layers))
    logits = [adaptation.activity(prepared.query, adapted).logits.unflatten(0, (2, 3)) for adapted in path]
    return logits, path[-1]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", [[8, 6, 3], [8, 6, 5, 3]])
@pytest.mark.parametrize("rule", RULES)
def test_the_dual_equals_updating_every_weight(rule: str, sizes: list[int], activation: str) -> None:
    """Against the slow reference, with a learning rate for each replica, step and layer."""
    network, tasks = random_network(sizes, rule=rule, activation=activation), random_episodes(sizes[0])
    rates = randn(2, 3, len(sizes) - 1, seed=7).exp() * 0.3
    logits, adapted = adapt(network, RULES[rule], tasks, rates)
    for replica in range(2):
        for task in range(3):
            images, labels = tasks.images[tasks.support[replica, task]], tasks.support_labels[replica, task]
            for step in (1, 3):
                by_step = rates[replica, :step].tolist()
                expected = slowly_adapted(network, replica, rule, images, labels, by_step)
                shown = tasks.images[tasks.query[replica, task]][None]
                # float64, three steps of sums of some ten terms
                torch.testing.assert_close(
                    logits[step][replica, task], networks.forward(expected, shown).logits[0], rtol=1e-10, atol=1e-12
                )
            where = replica * 3 + task
            first = network.weights[0][replica] + adapted.parameters[0]["coefficients"][where].T @ images
            torch.testing.assert_close(first, expected.weights[0][0], rtol=1e-10, atol=1e-12)
            bias = network.biases[0][replica] + adapted.parameters[0]["coefficients"][where].sum(0)
            torch.testing.assert_close(bias, expected.biases[0][0], rtol=1e-10, atol=1e-12)
            for found, wanted in zip(upper_weights(adapted), expected.weights[1:], strict=True):
                torch.testing.assert_close(found[where], wanted[0], rtol=1e-10, atol=1e-12)
            for found, wanted in zip(adapted.feedback, expected.feedback, strict=True):
                found = found[where if RULES[rule].nested else replica]
                torch.testing.assert_close(found, wanted[0], rtol=1e-10, atol=1e-12)


def test_nested_kolen_pollack_keeps_the_difference_of_weights_and_feedback_within_a_task() -> None:
    """W and B take the same steps, so that B - W stays what it was; with B = W at the start it is backprop."""
    network, tasks = random_network([8, 6, 5, 3]), random_episodes(8)
    rates = one_rate(network, 4, 0.5)
    _, adapted = adapt(network, RULES["nested_kolen_pollack"], tasks, rates)
    for w, b, v, c in zip(upper_weights(adapted), adapted.feedback, network.weights[1:], network.feedback, strict=True):
        torch.testing.assert_close((b - w).view(2, 3, *v.shape[1:]), (c - v).unsqueeze(1).expand(-1, 3, -1, -1))
        assert not torch.allclose(b, c.repeat_interleave(3, 0)), "the feedback moved"
    aligned = replace(network, feedback=network.weights[1:])
    one, _ = adapt(aligned, RULES["nested_kolen_pollack"], tasks, rates)
    two, _ = adapt(aligned, RULES["backprop"], tasks, rates)
    torch.testing.assert_close(one[-1], two[-1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sizes", [[8, 6, 3], [8, 6, 5, 3]])
def test_where_the_readout_alone_adapts_it_does_so_by_gradient_descent_on_fixed_features(sizes: list[int]) -> None:
    network, tasks = random_network(sizes), random_episodes(8)
    logits, _ = adapt(network, RULES["feedback_alignment"], tasks, one_rate(network, 4, 0.5), "readout")
    for replica in range(2):
        for task in range(3):
            features = [
                networks.forward(replica_of(network, replica), tasks.images[indices[replica, task]][None]).caches[-1][0]
                for indices in (tasks.support, tasks.query)
            ]
            weight = network.weights[-1][replica].clone().requires_grad_()
            bias = network.biases[-1][replica].clone().requires_grad_()
            optimizer = torch.optim.SGD([weight, bias], lr=0.5)
            for _ in range(4):
                optimizer.zero_grad()
                cross_entropy(features[0] @ weight.T + bias, tasks.support_labels[replica, task]).backward()
                optimizer.step()
            torch.testing.assert_close(logits[-1][replica, task], (features[1] @ weight.T + bias).detach())


def test_gathering_from_all_images_equals_computing_for_each_task() -> None:
    """Images that several tasks share are sent through the first layer once, and their products are looked up."""
    network, drawn = random_network([8, 6, 3]), random_episodes(8)
    shared = drawn.images[:20]
    tasks = episodes.Episodes(shared, drawn.support % 20, drawn.support_labels, drawn.query % 20, drawn.query_labels)
    looked_up = episodes.Episodes(
        shared, tasks.support, tasks.support_labels, tasks.query, tasks.query_labels, shared @ shared.T + 1
    )
    base = adaptation.base_of_all(network, shared)
    rule = RULES["feedback_alignment"]
    expected = adaptation.prepare(network, rule, tasks)
    images = expected.support.layers[0].images
    assert torch.equal(images[:, :, :6], shared[tasks.support])
    assert torch.equal(images[:, :, 6:], shared[tasks.query])
    for found in (
        adaptation.prepare(network, rule, tasks, base),
        adaptation.prepare(network, rule, looked_up),
        adaptation.prepare(network, rule, looked_up, base),
    ):
        for part, wanted in ((found.support, expected.support), (found.query, expected.query)):
            torch.testing.assert_close(part.layers[0].base, wanted.layers[0].base)
            torch.testing.assert_close(part.layers[0].gram, wanted.layers[0].gram)
            assert torch.equal(part.targets, wanted.targets)


@pytest.mark.parametrize("rule", ["backprop", "feedback_alignment"])
def test_the_inner_loop_equals_learn2learns(rule: str) -> None:
    """In float32 at full size; with feedback alignment, a module whose backward pass is feedback alignment."""
    l2l = import_learn2learn()
    network = random_network([784, 100, 5], dtype=torch.float32)
    tasks = random_episodes(784, ways=5, shots=5, queries=10, dtype=torch.float32)
    logits, _ = adapt(network, RULES[rule], tasks, one_rate(network, 5, 0.1))
    for replica in range(2):
        for task in range(3):
            maml = l2l.algorithms.MAML(Perceptron(network, replica, align=rule != "backprop"), lr=0.1, first_order=True)
            learner = maml.clone()
            for _ in range(5):
                images = tasks.images[tasks.support[replica, task]]
                learner.adapt(cross_entropy(learner(images), tasks.support_labels[replica, task]))
            expected = learner(tasks.images[tasks.query[replica, task]])
            # logits of order 1 to 10 after 5 steps, each a float32 sum over 784 pixels
            torch.testing.assert_close(logits[-1][replica, task], expected, rtol=2e-4, atol=2e-4)
