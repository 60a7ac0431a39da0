"""Every phase's core on a GPU that is not there: torch's fake tensors have devices and shapes, and refuse to mix
devices, without a device. Generators are the CPU's, which say that they are the GPU's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from metafa.learning import (
    architectures,
    controls,
    credit,
    feedback,
    measures,
    meta,
    networks,
    noise,
    outer,
    supervised,
)
from metafa.learning.architectures import Sizes
from metafa.learning.episodes import Episodes
from metafa.learning.feedback import FeedbackConfig
from metafa.learning.kinds import ARCHITECTURES, NOISE_INPUTS, OUTER_ALGORITHMS
from metafa.learning.networks import Network
from metafa.learning.noise import Noise
from metafa.learning.optimizers import Optimizer
from metafa.learning.outer import OuterProblem
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams
from metafa.learning.supervised import Labelled
from metafa.learning.training import Learner

IMAGE, WAYS, REPLICAS = (16, 16), 3, 2


class GpuGenerator(torch.Generator):
    @property
    def device(self) -> torch.device:
        return torch.device("cuda")


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def generator(key: str, device: str) -> torch.Generator:
        return GpuGenerator() if device == "cuda" else torch.Generator()

    def grad(outputs: Sequence[Tensor], inputs: Sequence[Tensor], by: Sequence[Tensor], **how: bool) -> list[Tensor]:
        """In place of autograd's, whose engine wants a driver: it goes back on the device of each output."""
        for output, error in zip(outputs, by, strict=True):
            output + error
        return [torch.empty_like(leaf) for leaf in inputs]

    monkeypatch.setattr(Streams, "_generator", staticmethod(generator))
    monkeypatch.setattr(torch.autograd, "grad", grad)
    with FakeTensorMode():
        yield


def made(architecture: str, rule: str) -> tuple[Network, Streams]:
    row, streams = ARCHITECTURES[architecture], Streams(0, tuple(range(REPLICAS)), "cuda")
    sizes = Sizes(IMAGE, WAYS, (8,), 4, row.activation, row.normalization)
    network = networks.initialise(architectures.layers(architecture, sizes), streams)
    return feedback.initialise(network, RULES[rule], FeedbackConfig(), streams), streams


def learner_of(architecture: str, rule: str) -> Learner:
    network, streams = made(architecture, rule)
    return Learner(network, RULES[rule], streams, Optimizer("adam", (1e-3,)), FeedbackConfig(weight_decay=1e-3))


def tasks() -> Episodes:
    def drawn(high: int, number: int) -> Tensor:
        return torch.randint(high, (REPLICAS, 2, number), device="cuda")

    images = torch.rand(9, IMAGE[0] * IMAGE[1], device="cuda")
    return Episodes(images, drawn(9, 6), drawn(WAYS, 6), drawn(9, 9), drawn(WAYS, 9))


class Drawn:
    """A source of tasks whose images are on the GPU."""

    def to(self, device: str) -> Drawn:
        return self

    def with_gram(self) -> Drawn:
        return self

    def draw(self, tasks_: int, shots: int, generators: list[torch.Generator]) -> Episodes:
        return tasks()


def pretrain(learner: Learner) -> object:
    return [(step.loss, step.accuracy) for step in noise.pretrain(learner, Noise(), steps=1, batch_size=4)]


def train(learner: Learner) -> object:
    data = Labelled(torch.rand(12, IMAGE[0] * IMAGE[1], device="cuda"), torch.randint(WAYS, (12,), device="cuda"))
    chosen = torch.arange(12, device="cuda").expand(REPLICAS, -1)
    batch = torch.rand(REPLICAS, 4, IMAGE[0] * IMAGE[1], device="cuda"), torch.rand(REPLICAS, 4, WAYS, device="cuda")
    steps = [step.loss for step in supervised.training.train(learner, [batch], {"feedback": generators(learner)})]
    return steps, supervised.evaluate(learner.network, data, chosen)


def generators(learner: Learner) -> list[torch.Generator]:
    return learner.streams.generators("feedback")


def meta_train(learner: Learner) -> object:
    inner = meta.inner_loop(learner.network, learner.rule, 2, 0.1)
    steps = meta.train(
        learner,
        inner,
        Drawn(),
        shots=2,
        tasks_per_batch=2,
        outer_algorithm="exact",
        outer_rule=learner.rule,
        outer_steps=2,
    )
    return [step.loss for step in steps]


def evaluate(learner: Learner) -> object:
    inner = meta.inner_loop(learner.network, learner.rule, 2, 0.1)
    curve = meta.evaluate(learner.network, inner, tasks())
    return curve.query_loss, curve.support_accuracy, meta.evaluate_each(learner.network, inner, tasks()).query_loss


def measure(learner: Learner) -> object:
    network = learner.network
    images = torch.rand(REPLICAS, 4, IMAGE[0] * IMAGE[1], device="cuda")
    logits = supervised.readout_of_own(network, images)
    features = networks.features(network, networks.forward(network, images))
    pairs = credit.alignment_pairs(learner.rule, network)
    return (
        [measures.unit_alignment_angle(w, b) for _, w, b in pairs],
        [measures.squared_singular_values(credit.incoming(w)) for w in network.weights],
        [measures.feature_rank(of_layer) for of_layer in features],
        measures.readout_deviation(logits),
    )


PHASES: dict[str, Callable[[Learner], object]] = {
    "noise": pretrain,
    "supervised": train,
    "meta": meta_train,
    "evaluate": evaluate,
    "measures": measure,
}


def on_gpu(values: object) -> bool:
    tensors = [value for value in tree_leaves(values) if isinstance(value, Tensor)]
    return bool(tensors) and all(tensor.device.type == "cuda" for tensor in tensors)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("rule", RULES)
def test_every_phase_stays_on_its_device(rule: str, architecture: str) -> None:
    learner = learner_of(architecture, rule)
    for phase, run in PHASES.items():
        assert on_gpu(run(learner)), phase
        assert on_gpu(learner.network.state), phase


@pytest.mark.parametrize("algorithm", [name for name, row in OUTER_ALGORITHMS.items() if row.trains])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_outer_algorithm_stays_on_its_device(architecture: str, algorithm: str) -> None:
    network, _ = made(architecture, "feedback_alignment")
    inner = meta.inner_loop(network, RULES["feedback_alignment"], 2, 0.1)
    problem = OuterProblem(network, inner, RULES["feedback_alignment"], tasks())
    gradient = outer.outer_gradient(OUTER_ALGORITHMS[algorithm], problem)
    assert on_gpu((gradient.tensors, gradient.loss))


@pytest.mark.parametrize(
    "inputs", [name for name, row in NOISE_INPUTS.items() if not row.of_dataset and row.prepare is None]
)
def test_noise_is_drawn_on_its_device(inputs: str) -> None:
    _, streams = made("mlp", "backprop")
    drawn = noise.draw_inputs(Noise(inputs, shape=IMAGE), 4, IMAGE[0] * IMAGE[1], streams.generators("inputs"))
    assert on_gpu(drawn)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_are_turned_on_their_device(architecture: str) -> None:
    network, _ = made(architecture, "feedback_alignment")
    controls.align(network, RULES["feedback_alignment"], 45.0)
    assert on_gpu(network.state)


def test_devices_do_not_mix() -> None:
    """The fake tensors would say so."""
    with pytest.raises(RuntimeError, match="same device"):
        torch.rand(3, device="cuda") + torch.rand(3)
