"""What is timed: each workload done by metafa and by the peer its users would otherwise use, on the same tasks.

Networks are 784-100-ways, or convolutional, and see glyphs, 28 x 28, in float32. A peer's tasks are already drawn,
where its workload says so, and it does one network after another. Each side returns the numbers it computed, so that
the run can check that they agree. On a GPU metafa packs many replicas, and the peer runs on the same GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from oracles import Perceptron, convolutional_model
from random_networks import initialise
from torch import Tensor
from torch.nn.functional import cross_entropy

from metafa import tasks
from metafa.learning import architectures, meta, networks, noise, outer, tasksets
from metafa.learning.architectures import Sizes
from metafa.learning.episodes import Episodes, EpisodeSource
from metafa.learning.kinds import OUTER_ALGORITHMS
from metafa.learning.layers.convolution import Convolution
from metafa.learning.networks import Network
from metafa.learning.optimizers import Optimizer
from metafa.learning.outer import OuterProblem
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams
from metafa.learning.training import Learner
from metafa.tasks.base import import_learn2learn

QUERIES, INNER_STEPS, RATE = 10, 5, 0.1
HIDDEN, PIXELS = 100, 784
BATCH = 64
BACKPROP = RULES["backprop"]
PRODUCT = 2 * PIXELS * HIDDEN  # floating-point operations of one image in the first layer, forwards or backwards


@dataclass(frozen=True)
class Workload:
    """Something to time: what it is, metafa's way and the peer's, and the ratio to reach.

    units: how much of the work ``metafa`` does for each that ``peer`` does; the ratio of times is multiplied by it.
    operations: floating-point operations that ``metafa`` cannot do without.
    normals, state: random normals it cannot do without, and numbers of the optimizer's state, passed over each step.
    agree: raises where the two did not compute the same.
    """

    name: str
    peer_name: str
    goal: float | None
    metafa: Callable[[], object]
    peer: Callable[[], object]
    agree: Callable[[], None]
    units: float = 1.0
    operations: float = 0.0
    normals: float = 0.0
    state: float = 0.0
    threads: int = 2


def _source(split: str, ways: int, per_class: int, device: str) -> tuple[object, EpisodeSource]:
    taskset = tasks.taskset(tasks.TASK_DISTRIBUTIONS["glyphs"].load(split), ways, per_class)
    return taskset, tasksets.from_taskset(taskset).to(device)


def _generators(replicas: int, name: str = "benchmark") -> list[torch.Generator]:
    return Streams(0, tuple(range(replicas))).generators(name)


def _network(ways: int, replicas: int, device: str) -> Network:
    return initialise([PIXELS, HIDDEN, ways], Streams(0, tuple(range(replicas)), device))


def _samples(drawn: Episodes, replica: int) -> list[tuple[Tensor, ...]]:
    """The tasks of a replica as a peer takes them: support images and labels, query images and labels."""
    return [
        (drawn.images[support], support_labels, drawn.images[query], query_labels)
        for support, support_labels, query, query_labels in zip(
            drawn.support[replica],
            drawn.support_labels[replica],
            drawn.query[replica],
            drawn.query_labels[replica],
            strict=True,
        )
    ]


def _inner_operations(support: int, query: int, ways: int, differentiated: bool) -> float:
    """Of one task's inner loop above the base pre-activations: the dual of the first layer, and the readout."""
    readout, dual = 2 * support * HIDDEN * ways, 2 * support * support * HIDDEN
    queries = 2 * query * HIDDEN * (support + ways)
    forwards = INNER_STEPS * 3 * readout + (INNER_STEPS - 1) * dual + queries
    # backwards every product has two, but for those with the Gram matrix, which is constant
    backwards = INNER_STEPS * 6 * readout + (INNER_STEPS - 1) * dual + queries + 2 * query * HIDDEN * ways
    return forwards + (backwards if differentiated else 0)


def meta_training_step(
    number: int, algorithm: str, ways: int, shots: int, batch: int, goal: float | None, replicas: int, device: str
) -> Workload:
    """One outer gradient of a batch of tasks; the peer is learn2learn's MAML, its tasks already drawn."""
    network = _network(ways, replicas, device)

    def peer(replica: int) -> tuple[torch.nn.Module, list[Tensor]]:
        module = Perceptron(network, replica, align=False)
        return module, [*module.weights, *module.biases]

    support, query = ways * shots, ways * QUERIES
    # forward of every image, the gradient of those that reach the first layer, and the Gram matrices
    reached = query if algorithm == "first_order" else support + query
    a_task = (support + query + reached) * PRODUCT + 2 * PIXELS * support * (support + query)
    a_task += _inner_operations(support, query, ways, differentiated=algorithm != "first_order")
    drawn = _source("training", ways, shots + QUERIES, device)[1].draw(batch, shots, _generators(replicas))
    what = f"{number}. meta-training step, {ways}-way {shots}-shot, {batch} tasks"
    return _outer_step(what, algorithm, network, drawn, peer, goal, batch * a_task)


def convolutional_step(
    number: int, algorithm: str, filters: int, batch: int, goal: float | None, replicas: int, device: str
) -> Workload:
    """One outer gradient of learn2learn's OmniglotCNN, 5-way 1-shot with 5 queries; the peer is its MAML."""
    ways, queries, image = 5, 5, (28, 28)
    sizes = Sizes(image, ways, filters=filters, normalization="batch")
    layers = architectures.layers("omniglot-cnn", sizes)
    network = networks.initialise(layers, Streams(0, tuple(range(replicas)), device))
    drawn = _source("training", ways, 1 + queries, device)[1].draw(batch, 1, _generators(replicas))

    def peer(replica: int) -> tuple[torch.nn.Module, list[Tensor]]:
        return convolutional_model("omniglot-cnn", network, replica, image)

    # forwards, and the two derivatives of each convolution but the first, which has one; exact: as often again, twice
    forwards = [2 * layer.outputs * prod(layer.weight_shape[1:]) for layer in layers if isinstance(layer, Convolution)]
    an_image = 3 * sum(forwards) - forwards[0]
    steps = INNER_STEPS * (1 if algorithm == "first_order" else 3)
    a_task = an_image * ways * (steps + queries)
    what = f"{number}. the same of a convolutional network of {filters} filters, {batch} tasks"
    return _outer_step(what, algorithm, network, drawn, peer, goal, batch * a_task)


def _outer_step(
    what: str,
    algorithm: str,
    network: Network,
    drawn: Episodes,
    peer: Callable[[int], tuple[torch.nn.Module, list[Tensor]]],
    goal: float | None,
    operations: float,
) -> Workload:
    """One outer gradient of a batch of tasks; ``peer`` makes a replica's module for learn2learn's MAML, and its
    parameters in the order of the network's; ``operations`` are one replica's."""
    inner, replicas, batch = (
        meta.inner_loop(network, BACKPROP, INNER_STEPS, RATE),
        network.replicas,
        drawn.support.shape[1],
    )
    maml_of = import_learn2learn().algorithms.MAML

    def made(replica: int) -> tuple[object, list[Tensor], list]:
        module, parameters = peer(replica)
        return maml_of(module, lr=RATE, first_order=algorithm == "first_order"), parameters, _samples(drawn, replica)

    first = made(0)

    def ours() -> tuple[Tensor, ...]:
        return outer.outer_gradient(OUTER_ALGORITHMS[algorithm], OuterProblem(network, inner, BACKPROP, drawn)).tensors

    def theirs(maml=first[0], parameters=first[1], samples=first[2]) -> list[Tensor]:
        maml.zero_grad()
        for support, support_labels, query, query_labels in samples:
            learner = maml.clone()
            for _ in range(INNER_STEPS):
                learner.adapt(cross_entropy(learner(support), support_labels))
            (cross_entropy(learner(query), query_labels) / batch).backward()
        return [p.grad for p in parameters]

    def agree() -> None:
        found = ours()
        for replica in {0, replicas - 1}:
            expected = theirs(*made(replica))
            least = 1e-3 * max(wanted.abs().max().item() for wanted in expected)  # a bias below a normalization has 0
            for ours_, wanted in zip(found, expected, strict=True):
                scale = max(wanted.abs().max().item(), least)
                torch.testing.assert_close(ours_[replica], wanted, rtol=0, atol=1e-4 * scale)

    packed = f", {replicas} replicas" if replicas > 1 else ""
    return Workload(
        f"{what}, {algorithm}{packed}",
        "learn2learn MAML",
        goal,
        ours,
        theirs,
        agree,
        units=replicas,
        operations=replicas * operations,
    )


def meta_loss(
    number: int, goal: float | None, replicas: int, device: str, ours_tasks: int = 1000, peer_tasks: int = 50
) -> Workload:
    """The meta-loss over tasks of 5-way 5-shot, drawing included; the peer does fewer, and its time is scaled."""
    taskset, source = _source("test", 5, 5 + QUERIES, device)
    source = source.with_gram()
    network = _network(5, replicas, device)
    inner = meta.inner_loop(network, BACKPROP, INNER_STEPS, RATE)
    generators = _generators(replicas)
    maml = import_learn2learn().algorithms.MAML(Perceptron(network, 0, align=False), lr=RATE, first_order=True)

    def ours() -> list[float]:
        return meta.meta_loss(network, inner, source.draw(ours_tasks, 5, generators))[0].tolist()

    def loop(samples: list) -> float:
        total = 0.0
        for support, support_labels, query, query_labels in samples:
            learner = maml.clone()
            for _ in range(INNER_STEPS):
                learner.adapt(cross_entropy(learner(support), support_labels))
            with torch.no_grad():
                total += cross_entropy(learner(query), query_labels).item()
        return total / len(samples)

    def split(sample: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        images, labels = (part.to(device) for part in sample)
        is_support = (torch.arange(len(labels), device=device) % (5 + QUERIES)) < 5  # the first five of each class
        flat = images.flatten(1)
        return flat[is_support], labels[is_support], flat[~is_support], labels[~is_support]

    def theirs() -> float:
        return loop([split(taskset.sample()) for _ in range(peer_tasks)])

    def agree() -> None:
        drawn = source.draw(peer_tasks, 5, _generators(replicas, "agree"))
        wanted = loop(_samples(drawn, 0))
        found = meta.meta_loss(network, inner, drawn)[0][0].item()
        assert abs(found - wanted) < 1e-4 * wanted, (found, wanted)

    # each image of the distribution once, where that is less than each image of each task
    base = PRODUCT * min(len(source.images), ours_tasks * 75)
    packed = f", {replicas} replicas" if replicas > 1 else ""
    return Workload(
        f"{number}. meta-loss over {ours_tasks} tasks, drawing included{packed}",
        "learn2learn taskset and MAML",
        goal,
        ours,
        theirs,
        agree,
        units=replicas * ours_tasks / peer_tasks,
        operations=replicas * (base + ours_tasks * _inner_operations(25, 50, 5, differentiated=False)),
    )


def noise_pretraining(number: int, replicas: int, goal: float | None, device: str, steps: int = 40) -> Workload:
    """Network updates of noise pretraining, batch 64, Adam; the peer trains one network in a plain torch loop."""
    streams = Streams(0, tuple(range(replicas)), device)
    network = _network(5, replicas, device)
    module = Perceptron(network, 0, align=True)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-4)

    def ours() -> Network:
        for _ in _pretrain(network, streams, steps):
            pass
        return network

    def theirs() -> None:
        _plain_loop(module, optimizer, _noise_of(streams), steps)

    def agree() -> None:
        fresh = _network(5, replicas, device)
        plain = Perceptron(fresh, 0, align=True)
        for _ in _pretrain(fresh, streams, 10):
            pass
        adam = torch.optim.Adam(plain.parameters(), lr=2e-4)
        _plain_loop(plain, adam, _noise_of(streams), 10)
        for found, wanted in zip(fresh.weights, plain.weights, strict=True):
            torch.testing.assert_close(found[0], wanted.data, rtol=1e-3, atol=2e-5)

    updates, parameters = replicas * steps, sum(p[0].numel() for p in network.tensors)
    return Workload(
        f"{number}. noise pretraining, {replicas} replicas" + (", one thread" if device == "cpu" else ""),
        "plain torch loop",
        goal,
        ours,
        theirs,
        agree,
        units=replicas,
        # forward of the first layer and of the readout, their gradients, and the error sent from one to the other
        operations=updates * BATCH * (2 * PRODUCT + 3 * 2 * HIDDEN * 5),
        normals=updates * BATCH * PIXELS,
        state=updates * 3 * parameters,  # weights and two moments
        threads=1,
    )


def _noise_of(streams: Streams) -> Callable[[], tuple[Tensor, Tensor]]:
    """The batches of noise that replica 0 is trained on, as long as they are asked for."""
    inputs_from = streams.generators("noise/inputs")[:1]
    labels_from = streams.generators("noise/labels")[0]
    at_once = noise.INPUT_STEPS[torch.device(streams.device).type]
    ready: list[Tensor] = []

    def draw() -> tuple[Tensor, Tensor]:
        if not ready:
            ready.extend(noise.draw_inputs(noise.Noise(), at_once * BATCH, PIXELS, inputs_from)[0].split(BATCH))
        return ready.pop(0), torch.randint(5, (BATCH,), generator=labels_from, device=labels_from.device)

    return draw


def _pretrain(network: Network, streams: Streams, steps: int):
    learner = Learner(network, RULES["feedback_alignment"], streams, Optimizer("adam", (2e-4,)))
    return noise.pretrain(learner, noise.Noise(), steps=steps, batch_size=BATCH)


def _plain_loop(module, optimizer, draw: Callable[[], tuple[Tensor, Tensor]], steps: int) -> None:
    for _ in range(steps):
        inputs, labels = draw()
        optimizer.zero_grad()
        cross_entropy(module(inputs), labels).backward()
        optimizer.step()


def drawing(number: int, goal: float, ours_tasks: int = 1000, peer_tasks: int = 50) -> Workload:
    """Drawing 5-way tasks of 15 images a class; the peer draws fewer, and its time is scaled."""
    taskset, source = _source("training", 5, 15, "cpu")
    generators = _generators(1)

    def ours() -> Episodes:
        return source.draw(ours_tasks, 5, generators)

    def theirs() -> list:
        return [taskset.sample() for _ in range(peer_tasks)]

    def agree() -> None:
        """That the two draw alike is a test of its own, in test_episodes.py; here, that they draw as much."""
        images, labels = theirs()[0]
        drawn = ours()
        assert images.shape[0] == drawn.support.shape[-1] + drawn.query.shape[-1]
        assert labels.unique().tolist() == drawn.query_labels.unique().tolist()

    return Workload(
        f"{number}. drawing {ours_tasks} tasks",
        "learn2learn Taskset",
        goal,
        ours,
        theirs,
        agree,
        units=ours_tasks / peer_tasks,
    )


# on each device, by name: goals are ratios on two cores, and with the replicas said here on one GPU
WORKLOADS: dict[str, dict[str, Callable[[], Workload]]] = {
    "cpu": {
        "first_order": lambda: meta_training_step(1, "first_order", 5, 5, 16, 15, 1, "cpu"),
        "exact": lambda: meta_training_step(2, "exact", 5, 5, 16, 15, 1, "cpu"),
        "exact_20_way": lambda: meta_training_step(3, "exact", 20, 1, 32, 8, 1, "cpu"),
        "meta_loss": lambda: meta_loss(4, 100, 1, "cpu"),
        "noise_1": lambda: noise_pretraining(5, 1, None, "cpu"),
        "noise_8": lambda: noise_pretraining(5, 8, 3, "cpu"),
        "noise_32": lambda: noise_pretraining(5, 32, None, "cpu"),
        "drawing": lambda: drawing(6, 50),
        "convolutional_16": lambda: convolutional_step(7, "exact", 16, 8, 4, 1, "cpu"),
        "convolutional_16_first_order": lambda: convolutional_step(7, "first_order", 16, 8, None, 1, "cpu"),
        "convolutional_64": lambda: convolutional_step(8, "exact", 64, 4, 2, 1, "cpu"),
    },
    "cuda": {
        "first_order": lambda: meta_training_step(1, "first_order", 5, 5, 16, 100, 16, "cuda"),
        "exact": lambda: meta_training_step(2, "exact", 5, 5, 16, 100, 16, "cuda"),
        "exact_20_way": lambda: meta_training_step(3, "exact", 20, 1, 32, None, 16, "cuda"),
        "meta_loss": lambda: meta_loss(4, None, 16, "cuda"),
        "convolutional_64": lambda: convolutional_step(8, "exact", 64, 4, 30, 16, "cuda"),
        "noise_256": lambda: noise_pretraining(5, 256, 300, "cuda"),
    },
}
