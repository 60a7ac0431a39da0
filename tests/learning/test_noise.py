import pytest
import torch
from oracles import Perceptron
from random_networks import initialise
from scipy import stats
from torch.nn.functional import cross_entropy

from metafa.learning import measures, noise
from metafa.learning.noise import Noise
from metafa.learning.optimizers import Optimizer
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams
from metafa.learning.training import Learner


def test_inputs_have_the_distribution_asked_for() -> None:
    streams = Streams(0, (0, 1))
    normal = noise.draw_inputs(Noise(mean=0.5, standard_deviation=2.0), 50, 200, streams.generators("x"))
    assert stats.kstest(normal[0].flatten().numpy(), stats.norm(0.5, 2).cdf).pvalue > 1e-4
    uniform = noise.draw_inputs(Noise("uniform", 0.5, 2.0), 50, 200, streams.generators("x"))
    # of standard deviation 2: from 0.5 - 2 sqrt(3), of length 4 sqrt(3)
    expected = stats.uniform(0.5 - 2 * 3**0.5, 4 * 3**0.5)
    assert stats.kstest(uniform[1].flatten().numpy(), expected.cdf).pvalue > 1e-4
    assert abs(stats.pearsonr(normal[0].flatten().numpy(), normal[1].flatten().numpy()).statistic) < 0.05


def test_hard_labels_are_uniform_and_soft_ones_uniform_on_the_simplex() -> None:
    generators = Streams(0, (0,)).generators("labels")
    hard = noise.draw_labels(Noise(), 5000, 4, generators)[0]
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert (hard.sum(-1) == 1).all()
    assert stats.chisquare(hard.sum(0).numpy()).pvalue > 1e-4
    soft = noise.draw_labels(Noise(labels="soft"), 5000, 4, generators)[0]
    torch.testing.assert_close(soft.sum(-1), torch.ones(5000))
    # each of the four probabilities of a flat Dirichlet is Beta(1, 3)
    for column in soft.T:
        assert stats.kstest(column.numpy(), stats.beta(1, 3).cdf).pvalue > 1e-4


@pytest.mark.parametrize("rule", ["backprop", "feedback_alignment"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_pretraining_equals_a_plain_torch_loop(rule: str, optimizer: str) -> None:
    """A module whose backward pass is feedback alignment, torch's own optimizer, the same batches."""
    streams = Streams(3, (4, 5))
    network = initialise([20, 12, 5], streams)
    modules = [Perceptron(network, replica, align=rule != "backprop") for replica in range(2)]
    learner = Learner(network, RULES[rule], streams, Optimizer(optimizer, (1e-2,)))
    steps = list(noise.pretrain(learner, Noise(), steps=30, batch_size=16))
    make = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    for replica, module in enumerate(modules):
        optimizer_ = make(module.parameters(), lr=1e-2)
        inputs, labels = streams.generators("noise/inputs")[replica], streams.generators("noise/labels")[replica]
        for step in steps:
            x = torch.randn(16, 20, generator=inputs)
            y = torch.randint(5, (16,), generator=labels)
            optimizer_.zero_grad()
            loss = cross_entropy(module(x), y)
            loss.backward()
            optimizer_.step()
            assert step.loss[replica].item() == pytest.approx(loss.item(), rel=1e-4)
        for found, wanted in zip(network.weights, module.weights, strict=True):
            # thirty steps of float32, Adam magnifying the rounding of small gradients
            torch.testing.assert_close(found[replica], wanted.data, rtol=1e-3, atol=1e-5)


def test_noise_turns_the_weights_towards_the_feedback() -> None:
    streams = Streams(0, (0, 1, 2, 3))
    network = initialise([50, 40, 5], streams)
    before = measures.alignment_angle(network.weights[1], network.feedback[0])
    learner = Learner(network, RULES["feedback_alignment"], streams, Optimizer("adam", (1e-3,)))
    for _ in noise.pretrain(learner, Noise(), steps=1500, batch_size=64):
        pass
    turned = before - measures.alignment_angle(network.weights[1], network.feedback[0])
    # matrices of 200 entries that do not turn differ by 90 / sqrt(200) degrees, that is 4, if redrawn
    assert turned.mean() > 8
    assert (turned > 0).all()
