from dataclasses import replace

import pytest
import torch
from oracles import replica_of, slow_gradients
from random_networks import initialise, random_network, with_tensors
from scipy import stats

from metafa.learning import feedback, measures, networks, noise, rules
from metafa.learning.feedback import FeedbackConfig
from metafa.learning.noise import Noise
from metafa.learning.optimizers import Optimizer
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams
from metafa.learning.training import Learner


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_feedback_is_drawn_from_the_distribution_asked_for(activation: str) -> None:
    streams, gain = Streams(0, (0, 1)), {"relu": 2, "tanh": 1}[activation]
    network = networks.initialise(networks.perceptron([8, 100, 50], activation), streams)
    rule, deviation = RULES["feedback_alignment"], 3 * (gain / 100) ** 0.5
    normal = feedback.initialise(network, rule, FeedbackConfig(scale=3.0), streams).feedback[0]
    assert stats.kstest(normal[0].flatten().numpy(), stats.norm(0, deviation).cdf).pvalue > 1e-4
    assert abs(stats.pearsonr(normal[0].flatten().numpy(), normal[1].flatten().numpy()).statistic) < 0.06
    uniform = feedback.initialise(network, rule, FeedbackConfig(3.0, "uniform"), streams).feedback[0]
    # of that standard deviation: from -sqrt(3) to sqrt(3) of them
    expected = stats.uniform(-deviation * 3**0.5, 2 * deviation * 3**0.5)
    assert stats.kstest(uniform[1].flatten().numpy(), expected.cdf).pvalue > 1e-4
    equal = RULES["sign_symmetry_uniform"]
    constant = feedback.initialise(network, equal, FeedbackConfig(3.0), streams).feedback[0]
    torch.testing.assert_close(constant, torch.full((2, 50, 100), deviation))


def test_direct_feedback_leads_from_the_outputs_to_every_hidden_layer() -> None:
    shapes = [b.shape[1:] for b in random_network([8, 6, 5, 3], rule="direct_feedback_alignment").feedback]
    assert shapes == [(3, 6), (3, 5)]


def trained(rule: str, steps: int, sizes: list[int], **how: float) -> tuple[networks.Network, networks.Network]:
    """A network before and after noise pretraining by SGD at 0.1, in batches of 16."""
    streams = Streams(3, (4, 5))
    network, before = initialise(sizes, streams, rule), initialise(sizes, streams, rule)
    learner = Learner(network, RULES[rule], streams, Optimizer("sgd", (0.1,)), FeedbackConfig(**how))
    for _ in noise.pretrain(learner, Noise(), steps=steps, batch_size=16):
        pass
    return before, network


@pytest.mark.parametrize("rule", RULES)
def test_feedback_learns_as_its_rule_says_and_no_other_does(rule: str) -> None:
    before, after = trained(rule, 5, [20, 12, 8, 5])
    learns = RULES[rule].learning != rules.FIXED
    assert learns == (rule in {"sign_symmetry_random", "kolen_pollack", "nested_kolen_pollack", "weight_mirror"})
    for old, new in zip(before.feedback, after.feedback, strict=True):
        assert torch.equal(old, new) != learns


@pytest.mark.parametrize("rule", ["kolen_pollack", "nested_kolen_pollack", "feedback_alignment"])
def test_decay_and_kolen_pollack_equal_the_slow_reference(rule: str) -> None:
    """W <- (1 - d)(W - r G) and B <- (1 - d)(B - r G), with the same G (Akrout et al. 2019); fixed feedback stays."""
    decay, rate, steps = 0.05, 0.1, 4
    before, after = trained(rule, steps, [20, 12, 8, 5], weight_decay=decay)
    streams = Streams(3, (4, 5))
    inputs, labels = streams.generators("noise/inputs"), streams.generators("noise/labels")
    for replica in range(2):
        slow = replica_of(before, replica)
        for _ in range(steps):
            x = torch.randn(16, 20, generator=inputs[replica])
            y = torch.nn.functional.one_hot(torch.randint(5, (16,), generator=labels[replica]), 5)
            weights, biases = slow_gradients(slow, 0, x, y, rule)
            for layer in range(3):
                step = rate * torch.tensor(weights[layer])
                keep = 1 - decay if layer else 1.0
                slow.weights[layer][0].sub_(step).mul_(keep)
                slow.biases[layer][0].sub_(rate * torch.tensor(biases[layer]))
                if layer and rule != "feedback_alignment":
                    slow.feedback[layer - 1][0].sub_(step).mul_(keep)
        for found, wanted in zip((*after.weights, *after.feedback), (*slow.weights, *slow.feedback), strict=True):
            # float32, four steps
            torch.testing.assert_close(found[replica], wanted[0], rtol=1e-4, atol=1e-6)
    # so that the difference dies out, whatever is learned
    for layer in (1, 2) if rule != "feedback_alignment" else ():
        gap = before.weights[layer] - before.feedback[layer - 1]
        torch.testing.assert_close(
            after.weights[layer] - after.feedback[layer - 1], gap * (1 - decay) ** steps, rtol=1e-4, atol=1e-6
        )


def test_the_weight_mirror_comes_to_mirror_the_weights() -> None:
    """Its fixed point is W for the readout, and for a hidden ReLU layer W / 2, by Stein's lemma."""
    network = initialise([20, 30, 16, 5], Streams(0, (0, 1)), "weight_mirror")
    generators = Streams(0, (0, 1)).generators("mirror")
    how = FeedbackConfig(mirror_learning_rate=0.01, mirror_batch_size=256)
    mean = [torch.zeros_like(b) for b in network.feedback]
    for step in range(1500):
        feedback.learn(network, RULES["weight_mirror"], how, generators)
        if step >= 500:  # after five time constants, averaged over ten
            mean = [m + b / 1000 for m, b in zip(mean, network.feedback, strict=True)]
    for weights, matrix, factor in zip(network.weights[1:], mean, (0.5, 1.0), strict=True):
        # estimates from some 256,000 noise vectors, each entry with deviation |w| / sqrt(256,000) or 0.003
        torch.testing.assert_close(matrix, factor * weights, rtol=0, atol=0.02)
        assert measures.alignment_angle(weights, matrix).max() < 5


def test_the_weight_mirror_moves_by_its_learning_rate() -> None:
    network = initialise([20, 30, 5], Streams(0, (0, 1)), "weight_mirror")
    old = network.feedback[0].clone()
    how = FeedbackConfig(mirror_learning_rate=0.3, mirror_batch_size=64)
    feedback.learn(network, RULES["weight_mirror"], how, Streams(1, (0, 1)).generators("m"))
    for replica, generator in enumerate(Streams(1, (0, 1)).generators("m")):
        x = torch.randn(64, 30, generator=generator).double()
        w = network.weights[1][replica].double()
        expected = 0.7 * old[replica].double() + 0.3 * (w @ x.T @ x) / 64
        torch.testing.assert_close(network.feedback[0][replica].double(), expected, rtol=1e-5, atol=1e-6)


def test_random_magnitudes_are_drawn_anew_for_every_batch() -> None:
    network = initialise([20, 30, 5], Streams(0, (0, 1)), "sign_symmetry_random")
    generators, how = Streams(0, (0, 1)).generators("f"), FeedbackConfig(scale=2.0)
    seen = [network.feedback[0].clone()]
    for _ in range(20):
        feedback.learn(network, RULES["sign_symmetry_random"], how, generators)
        seen.append(network.feedback[0].clone())
    drawn = torch.stack(seen[1:])[:, 0].flatten().numpy()
    assert stats.kstest(drawn, stats.norm(0, 2 * (2 / 30) ** 0.5).cdf).pvalue > 1e-4
    assert abs(stats.pearsonr(seen[1].flatten().numpy(), seen[2].flatten().numpy()).statistic) < 0.25


def test_feedback_that_follows_takes_no_forward_weight_into_account() -> None:
    """The audit of what feedback learns: other forward weights, the same gradients, the same feedback to the bit."""
    rule, how = RULES["kolen_pollack"], FeedbackConfig(weight_decay=0.1)
    one = random_network([6, 5, 4, 3])
    other = with_tensors(one, (*random_network([6, 5, 4, 3], seed=9).weights, *one.biases))
    moves = tuple({name: torch.full_like(p, 0.5) for name, p in own.items()} for own in one.parameters)
    found = []
    for network in (one, other):
        kept = replace(network, feedback=tuple(b.clone() for b in network.feedback))
        for matrix, move in zip(feedback.learned(rule, kept), feedback.gradients(rule, kept, moves), strict=True):
            matrix.sub_(move)
        feedback.learn(kept, rule, how, [])
        found.append(kept.feedback)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
