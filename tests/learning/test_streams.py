import torch
from random_networks import initialise

from metafa.learning.streams import Streams


def draw(streams: Streams, name: str) -> list[float]:
    return [torch.rand((), generator=g).item() for g in streams.generators(name)]


def test_a_draw_depends_on_both_seeds_and_its_name_alone() -> None:
    streams = Streams(0, (0, 1))
    assert draw(streams, "a") == draw(Streams(0, (0, 1)), "a")
    assert draw(streams, "a")[1] == draw(Streams(0, (1,)), "a")[0]
    values = {*draw(streams, "a"), *draw(streams, "b"), *draw(Streams(1, (0, 1)), "a")}
    assert len(values) == 6


def test_global_seeds_change_nothing() -> None:
    torch.manual_seed(1)
    one = initialise([5, 4, 3], Streams(0, (0,)))
    torch.manual_seed(2)
    two = initialise([5, 4, 3], Streams(0, (0,)))
    assert all(torch.equal(a, b) for a, b in zip(one.tensors, two.tensors, strict=True))


def test_weights_and_feedback_have_one_distribution_and_are_independent() -> None:
    network = initialise([300, 200, 100], Streams(0, (0, 1)))
    for matrix in (*network.weights, *network.feedback):
        into = matrix.shape[-1]
        assert abs(matrix.std().item() / (2 / into) ** 0.5 - 1) < 0.02
        assert abs(matrix.mean().item()) < 0.002
    pairs = torch.stack([network.weights[1][0], network.feedback[0][0], network.weights[1][1]]).flatten(1)
    correlations = torch.corrcoef(pairs).fill_diagonal_(0)
    assert correlations.abs().max() < 0.03
