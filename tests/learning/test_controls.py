"""What a control leaves in place of what training makes of a network, against numpy in float64."""

import itertools

import numpy as np
import pytest
import torch
from random_networks import initialise, random_network

from metafa.learning import controls, networks, noise
from metafa.learning.noise import Noise
from metafa.learning.optimizers import Optimizer
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams
from metafa.learning.training import Learner, ResumePoint

STREAMS = Streams(3, (0, 1, 2))


def trained(kind: str, steps: int = 60, rule: str = "feedback_alignment"):
    """A control, the network as training leaves it, and the same network as the control does."""
    network = initialise([12, 9, 7, 5], STREAMS, rule)
    control = controls.begin(kind, network, RULES[rule], STREAMS, ResumePoint())
    learner = Learner(network, RULES[rule], STREAMS, Optimizer("adam", (1e-2,)))
    for _ in noise.pretrain(learner, Noise(), steps=steps, batch_size=16):
        pass
    after = networks.copied(network)
    with controls.as_left(control, network):
        left = networks.copied(network)
    for tensor, kept in zip((*network.tensors, *network.feedback), (*after.tensors, *after.feedback), strict=True):
        assert torch.equal(tensor, kept), "training goes on with the network that it had"
    return control, after, left


def double(tensor: torch.Tensor) -> np.ndarray:
    return tensor.numpy().astype(np.float64)


def test_a_random_step_is_as_long_as_the_trainings() -> None:
    """Of each layer's weights and biases, and each replica, by itself; in a direction that has nothing to do with the
    training's, and is the same whatever the length."""
    control, after, left = trained("random_step")
    _, _, sooner = trained("random_step", steps=5)
    for place, tensor in enumerate(control.start.tensors):
        for replica in range(3):
            start, moved, made, before = (
                double(one.tensors[place][replica]).ravel() for one in (control.start, after, left, sooner)
            )
            assert np.linalg.norm(made - start) == pytest.approx(np.linalg.norm(moved - start), rel=1e-5)
            cosine = (made - start) @ (before - start) / np.linalg.norm(made - start) / np.linalg.norm(before - start)
            assert cosine == pytest.approx(1, abs=1e-4)
            if tensor[replica].numel() > 60:
                with_training = (made - start) @ (moved - start) / np.linalg.norm(moved - start) ** 2
                assert abs(with_training) < 5 / np.sqrt(len(start))


@pytest.mark.parametrize("rule", ["feedback_alignment", "kolen_pollack"])
def test_soft_alignment_turns_each_unit_to_the_angle_that_training_reached(rule: str) -> None:
    """In the plane of its weights and its feedback at the start, its norm kept; what has no feedback stays."""
    control, after, left = trained("soft_alignment", rule=rule)
    start = control.start
    assert torch.equal(left.weights[0], start.weights[0])
    for place in (0, 1, 2):
        assert torch.equal(left.biases[place], start.biases[place])
    for place in (1, 2):
        assert torch.equal(left.feedback[place - 1], start.feedback[place - 1]), "as it was before it learned"
        for replica in range(3):
            w, b, made, trained_w, trained_b = (
                double(one[replica])
                for one in (
                    start.weights[place],
                    start.feedback[place - 1],
                    left.weights[place],
                    after.weights[place],
                    after.feedback[place - 1],
                )
            )
            for unit in range(w.shape[1]):
                v = made[:, unit]
                assert np.linalg.norm(v) == pytest.approx(np.linalg.norm(w[:, unit]), rel=1e-6)
                reached = angle(trained_w[:, unit], trained_b[:, unit])
                assert angle(v, b[:, unit]) == pytest.approx(reached, abs=1e-4)
                plane = np.stack([w[:, unit], b[:, unit]], 1)
                (_, along_w), *_ = np.linalg.lstsq(plane[:, ::-1], v, rcond=None)
                np.testing.assert_allclose(plane @ np.linalg.lstsq(plane, v, rcond=None)[0], v, atol=1e-6)
                assert along_w > 0, "turned the shorter way"


def angle(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.degrees(np.arccos(one @ other / np.linalg.norm(one) / np.linalg.norm(other))))


def test_weights_are_aligned_to_an_angle_in_degrees() -> None:
    network = initialise([12, 9, 7, 5], STREAMS)
    before = [weight.clone() for weight in network.weights]
    controls.align(network, RULES["feedback_alignment"], 72.0)
    assert torch.equal(network.weights[0], before[0])
    for weight, start, feedback in zip(network.weights[1:], before[1:], network.feedback, strict=True):
        for replica, unit in itertools.product(range(3), range(weight.shape[2])):
            w, w0, b = (double(one[replica, :, unit]) for one in (weight, start, feedback))
            assert angle(w, b) == pytest.approx(72, abs=1e-4)
            assert np.linalg.norm(w) == pytest.approx(np.linalg.norm(w0), rel=1e-6)


def test_what_gives_no_plane_stays_as_it_is() -> None:
    network = random_network([4, 3, 2])
    weight, feedback = network.weights[1].clone(), network.feedback[0].clone()
    weight[:, :, 0], feedback[:, :, 1], weight[:, :, 2] = 0, 0, 2 * feedback[:, :, 2]
    turned = controls.turned(weight, feedback, torch.full((2, 3), 0.5, dtype=torch.float64))
    assert torch.equal(turned, weight)
