import math

import pytest
import torch

from metafa.learning import optimizers
from metafa.learning.optimizers import Optimizer


@pytest.mark.parametrize("transposed", [False, True])
def test_steps_equal_the_formulas_however_the_gradient_lies_in_memory(transposed: bool) -> None:
    gradient = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    if transposed:
        gradient = gradient.mT.contiguous().mT
        assert not gradient.is_contiguous()
    weights = torch.zeros(2, 3, 4)
    optimizers.make(Optimizer("sgd", (0.5,)), [weights])([gradient])
    torch.testing.assert_close(weights, -0.5 * gradient)

    # Adam (Kingma and Ba 2015, algorithm 1), three steps in float64
    weights, expected = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4, dtype=torch.float64)
    first, second = torch.zeros_like(expected), torch.zeros_like(expected)
    step = optimizers.make(Optimizer("adam", (0.1,)), [weights])
    for t in range(1, 4):
        g = gradient * t
        step([g])
        first = 0.9 * first + 0.1 * g.double()
        second = 0.999 * second + 0.001 * g.double() ** 2
        expected -= 0.1 * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
    torch.testing.assert_close(weights.double(), expected, rtol=1e-5, atol=1e-6)


def test_momentum_and_the_cosine_schedule_equal_the_formulas() -> None:
    """Velocity v = m v + g (Sutskever et al. 2013, as torch writes it); rate r (1 + cos(pi t / T)) / 2."""
    weights, expected, velocity = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.float64), 0.0
    step = optimizers.make(Optimizer("sgd", (0.5,), momentum=0.9, schedule="cosine", steps=8), [weights])
    for t in range(8):
        g = torch.full((2, 3), float(t + 1))
        step([g])
        velocity = 0.9 * velocity + g.double()
        expected -= 0.5 * (1 + math.cos(math.pi * t / 8)) / 2 * velocity
        torch.testing.assert_close(weights.double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_groups_of_replicas_each_have_their_learning_rate(name: str) -> None:
    start, gradients = torch.randn(6, 3, 4), [torch.randn(6, 3, 4) for _ in range(4)]
    packed = start.clone()
    step = optimizers.make(Optimizer(name, (0.1, 0.01, 1.0)), [packed])
    for gradient in gradients:
        step([gradient])
    for k, rate in enumerate((0.1, 0.01, 1.0)):
        alone = start[2 * k : 2 * k + 2].clone()
        step = optimizers.make(Optimizer(name, (rate,)), [alone])
        for gradient in gradients:
            step([gradient[2 * k : 2 * k + 2]])
        assert torch.equal(packed[2 * k : 2 * k + 2], alone)
