from dataclasses import replace

import pytest
import torch
from oracles import Perceptron, slow_gradients, slowly_adapted
from random_networks import initialise, random_episodes, random_network, random_source, with_tensors
from torch.nn.functional import cross_entropy

from metafa.learning import adaptation, episodes, meta, noise, outer, tasksets
from metafa.learning.credit import Pass, Signals
from metafa.learning.kinds import OUTER_ALGORITHMS, resolved
from metafa.learning.networks import Network
from metafa.learning.optimizers import Optimizer
from metafa.learning.outer import OuterProblem
from metafa.learning.rules import RULES, Rule
from metafa.learning.streams import Streams
from metafa.learning.training import Learner
from metafa.tasks.base import import_learn2learn


def parameters_of(network: Network) -> list[torch.Tensor]:
    return list(network.tensors)


def outer_gradient(algorithm, network, inner, outer_rule, tasks):
    return resolved(OUTER_ALGORITHMS[algorithm].gradient)(OuterProblem(network, inner, outer_rule, tasks))


BACKPROP, ALIGNMENT = RULES["backprop"], RULES["feedback_alignment"]


def some_entries(tensor: torch.Tensor, number: int, seed: int) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return [tuple(int(torch.randint(n, (), generator=generator)) for n in tensor.shape) for _ in range(number)]


def broadcast(batch: Pass) -> Signals:
    """A rule of another kind: every hidden unit gets the sum of the output errors. It has no feedback."""
    errors: list[torch.Tensor | None] = [None] * len(batch.layers)
    errors[-1] = batch.error()
    for place in (place for place in range(batch.lowest, len(batch.layers) - 1) if batch.layers[place].learns):
        total = batch.error().sum(-1, keepdim=True).expand_as(batch.activity.caches[place + 1]).contiguous()
        errors[place] = batch.layers[place + 1].backward({}, None, total, batch.activity.caches[place + 1])
    return Signals(errors, batch.activity.caches)


@pytest.fixture(autouse=True)
def broadcasting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "broadcast", Rule(None, "none", signals=f"{__name__}:broadcast"))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", [[8, 6, 3], [8, 6, 5, 3]])
@pytest.mark.parametrize("algorithm", ["exact", "anil"])
@pytest.mark.parametrize("rule", [*RULES, "broadcast"])
def test_exact_equals_finite_differences_of_the_meta_loss(
    rule: str, algorithm: str, sizes: list[int], activation: str
) -> None:
    """For the weights, the biases and the inner learning rates of each step and layer."""
    network, tasks = random_network(sizes, rule=rule, activation=activation), random_episodes(sizes[0])
    inner = meta.inner_loop(network, RULES[rule], 3, 0.5)
    adapted_layers = "readout" if algorithm == "anil" else "all"
    learned = replace(inner, learning_rates=inner.learning_rates.clone().requires_grad_())
    made = outer_gradient(algorithm, network, learned, RULES[rule], tasks)

    def loss(parameters: list[torch.Tensor], replica: int) -> torch.Tensor:
        *rest, rates = parameters
        shifted = with_tensors(network, rest)
        changed = replace(inner, learning_rates=rates, adapted_layers=adapted_layers)
        return meta.meta_loss(shifted, changed, tasks)[0][replica]

    parameters = [*parameters_of(network), inner.learning_rates]
    step = 1e-6
    for index, (parameter, found) in enumerate(zip(parameters, (*made.tensors, *made.learning_rates), strict=True)):
        for where in some_entries(parameter, 6, seed=index):
            losses = []
            for sign in (1, -1):
                moved = parameter.clone()
                moved[where] += sign * step
                losses.append(loss([moved if i == index else p for i, p in enumerate(parameters)], where[0]))
            expected = (losses[0] - losses[1]) / (2 * step)
            # central differences in float64: truncation 1e-12, cancellation 1e-16 / 1e-6
            torch.testing.assert_close(found[where], expected, rtol=1e-6, atol=2e-9)


def maml_gradients(
    network: Network,
    tasks: episodes.Episodes,
    replica: int,
    steps: int,
    rate: float,
    first_order: bool,
    align: bool = False,
) -> tuple[list[torch.Tensor], float]:
    """learn2learn's outer gradient: weights, then biases; and its meta-loss."""
    l2l = import_learn2learn()
    module = Perceptron(network, replica, align)
    maml = l2l.algorithms.MAML(module, lr=rate, first_order=first_order)
    total = 0.0
    number = tasks.support.shape[1]
    for task in range(number):
        learner = maml.clone()
        for _ in range(steps):
            images = tasks.images[tasks.support[replica, task]]
            learner.adapt(cross_entropy(learner(images), tasks.support_labels[replica, task]))
        loss = cross_entropy(learner(tasks.images[tasks.query[replica, task]]), tasks.query_labels[replica, task])
        (loss / number).backward()
        total += loss.item() / number
    return [p.grad for p in (*module.weights, *module.biases)], total


@pytest.mark.parametrize(
    ("algorithm", "rule"),
    [("exact", "backprop"), ("first_order", "backprop"), ("first_order", "feedback_alignment")],
)
def test_one_outer_step_equals_learn2learns(algorithm: str, rule: str) -> None:
    """`exact` is MAML and `first_order` MAML(first_order=True), on the same tasks, at full size in float32."""
    network = random_network([784, 100, 5], dtype=torch.float32)
    tasks = random_episodes(784, ways=5, shots=5, queries=10, dtype=torch.float32)
    inner = meta.inner_loop(network, RULES[rule], 5, 0.1)
    made = outer_gradient(algorithm, network, inner, RULES[rule], tasks)
    for replica in range(2):
        expected, loss = maml_gradients(
            network, tasks, replica, 5, 0.1, first_order=algorithm == "first_order", align=rule != "backprop"
        )
        assert made.loss[replica].item() == pytest.approx(loss, rel=1e-5)
        for found, wanted in zip(made.tensors, expected, strict=True):
            # float32 sums over 784 pixels and 150 images, through five steps: a few hundred roundings of 6e-8
            scale = wanted.abs().max().item()
            torch.testing.assert_close(found[replica], wanted, rtol=0, atol=1e-4 * scale)


def adapted_module(network: Network, tasks: episodes.Episodes, replica: int, task: int, align: bool) -> Perceptron:
    """A module after three steps of torch's SGD at 0.5 on a task's support set."""
    module = Perceptron(network, replica, align)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        images = tasks.images[tasks.support[replica, task]]
        cross_entropy(module(images), tasks.support_labels[replica, task]).backward()
        optimizer.step()
    return module


def test_backprop_outside_reads_no_feedback_of_the_rule_inside() -> None:
    network, tasks = random_network([8, 6, 5, 3], rule="broadcast"), random_episodes(8)
    inner = meta.inner_loop(network, RULES["broadcast"], 0, 0.5)
    made = outer_gradient("first_order", network, inner, BACKPROP, tasks)
    wanted = outer_gradient("exact", network, meta.inner_loop(network, BACKPROP, 0, 0.5), BACKPROP, tasks)
    for one, other in zip(made.tensors, wanted.tensors, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_first_order_with_backprop_outside_a_feedback_alignment_loop() -> None:
    network, tasks = random_network([8, 6, 3]), random_episodes(8)
    inner = meta.inner_loop(network, ALIGNMENT, 3, 0.5)
    made = outer_gradient("first_order", network, inner, BACKPROP, tasks)
    for replica in range(2):
        total = [torch.zeros_like(p[replica]) for p in parameters_of(network)]
        for task in range(3):
            module = adapted_module(network, tasks, replica, task, align=True)
            module.align = False
            module.zero_grad()
            images = tasks.images[tasks.query[replica, task]]
            cross_entropy(module(images), tasks.query_labels[replica, task]).backward()
            for sum_, p in zip(total, (*module.weights, *module.biases), strict=True):
                sum_ += p.grad / 3
        for found, wanted in zip(made.tensors, total, strict=True):
            torch.testing.assert_close(found[replica], wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", ["backprop", "feedback_alignment"])
def test_reptile_points_from_the_adapted_weights(rule: str) -> None:
    network, tasks = random_network([8, 6, 3]), random_episodes(8)
    inner = meta.inner_loop(network, RULES[rule], 3, 0.5)
    made = outer_gradient("reptile", network, inner, RULES[rule], tasks)
    for replica in range(2):
        total = [torch.zeros_like(p[replica]) for p in parameters_of(network)]
        for task in range(3):
            module = adapted_module(network, tasks, replica, task, align=rule != "backprop")
            for sum_, p, start in zip(total, (*module.weights, *module.biases), parameters_of(network), strict=True):
                sum_ += (start[replica] - p.data) / 3
        for found, wanted in zip(made.tensors, total, strict=True):
            torch.testing.assert_close(found[replica], wanted, rtol=1e-10, atol=1e-12)


def test_evaluation_in_blocks_equals_evaluation_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, tasks = random_network([8, 6, 3]), random_episodes(8, tasks=7)
    inner = meta.inner_loop(network, BACKPROP, 3, 0.5)
    whole = meta.evaluate(network, inner, tasks)
    monkeypatch.setattr(meta, "EVALUATION_BYTES", {"cpu": 20_000})  # a task or two a block
    blocks = meta.evaluate(network, inner, tasks)
    for name in ("query_loss", "query_accuracy", "support_loss", "support_accuracy"):
        torch.testing.assert_close(getattr(blocks, name), getattr(whole, name), rtol=1e-12, atol=0)


def test_images_beyond_the_memory_for_their_base_are_sent_through_the_first_layer_task_by_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, drawn = random_network([8, 6, 3]), random_episodes(8, tasks=7)
    tasks = replace(drawn, images=drawn.images[:20], support=drawn.support % 20, query=drawn.query % 20)
    inner = meta.inner_loop(network, BACKPROP, 3, 0.5)
    whole = meta.meta_loss(network, inner, tasks)
    monkeypatch.setattr(meta, "BASE_BYTES", {"cpu": 20 * 2 * 6 * 8 - 1})
    monkeypatch.setattr(adaptation, "base_of_all", None)  # never called
    for found, wanted in zip(meta.meta_loss(network, inner, tasks), whole, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)


def test_the_adaptation_curve_begins_with_the_network_itself() -> None:
    network, tasks = random_network([8, 6, 3]), random_episodes(8)
    curve = meta.evaluate(network, meta.inner_loop(network, BACKPROP, 2, 0.5), tasks)
    for replica in range(2):
        module = Perceptron(network, replica, align=False)
        for labels, indices, found in [
            (tasks.query_labels, tasks.query, curve.query_loss),
            (tasks.support_labels, tasks.support, curve.support_loss),
        ]:
            losses = [cross_entropy(module(tasks.images[indices[replica, t]]), labels[replica, t]) for t in range(3)]
            torch.testing.assert_close(found[0, replica], torch.stack(losses).mean().detach())


@pytest.mark.parametrize("algorithm", ["exact", "first_order"])
def test_meta_training_equals_learn2learns_loop_with_torchs_adam(algorithm: str) -> None:
    source = random_source(20, classes=10, images_per_class=10)
    streams = Streams(7, (0, 1))
    network = initialise([20, 12, 3], streams)
    modules = [Perceptron(network, replica, align=False) for replica in range(2)]
    inner = meta.inner_loop(network, BACKPROP, 3, 0.2)
    steps = list(
        meta.train(
            Learner(network, BACKPROP, streams, Optimizer("adam", (1e-2,))),
            inner,
            source,
            shots=2,
            tasks_per_batch=4,
            outer_algorithm=algorithm,
            outer_rule=BACKPROP,
            outer_steps=15,
        )
    )
    optimizers = [torch.optim.Adam(module.parameters(), lr=1e-2) for module in modules]
    tasks_from = streams.generators("meta/tasks")
    l2l = import_learn2learn()
    for step in steps:
        tasks = source.draw(4, 2, tasks_from)
        for replica, (module, optimizer) in enumerate(zip(modules, optimizers, strict=True)):
            maml = l2l.algorithms.MAML(module, lr=0.2, first_order=algorithm == "first_order")
            optimizer.zero_grad()
            losses = []
            for task in range(4):
                learner = maml.clone()
                for _ in range(3):
                    images = tasks.images[tasks.support[replica, task]]
                    learner.adapt(cross_entropy(learner(images), tasks.support_labels[replica, task]))
                images = tasks.images[tasks.query[replica, task]]
                losses.append(cross_entropy(learner(images), tasks.query_labels[replica, task]))
            loss = torch.stack(losses).mean()
            loss.backward()
            optimizer.step()
            # fifteen steps of Adam in float32, which magnifies the rounding of small gradients
            assert step.loss[replica].item() == pytest.approx(loss.item(), rel=1e-3)


def test_replicas_are_apart() -> None:
    """Meta-training several replicas together gives each the numbers that it has alone."""
    source = random_source(8, classes=5, images_per_class=8)

    def train(seeds: tuple[int, ...]) -> Network:
        streams = Streams(7, seeds)
        network = initialise([8, 6, 3], streams)
        steps = meta.train(
            Learner(network, ALIGNMENT, streams, Optimizer("adam", (1e-2,))),
            meta.inner_loop(network, ALIGNMENT, 2, 0.3),
            source,
            shots=2,
            tasks_per_batch=4,
            outer_algorithm="exact",
            outer_rule=BACKPROP,
            outer_steps=5,
        )
        assert [step.number for step in steps] == [1, 2, 3, 4, 5]
        return network

    together, alone = train((0, 1, 2)), train((1,))
    for a, b in zip(together.tensors, alone.tensors, strict=True):
        # Adam divides by the gradient's own size, which magnifies the rounding of small gradients
        torch.testing.assert_close(a[1], b[0], rtol=1e-3, atol=1e-5)


def test_no_outer_algorithm_leaves_the_network_alone() -> None:
    network = random_network([8, 6, 3])
    before = [p.clone() for p in network.tensors]
    source = tasksets.TasksetSource(None, "cpu")
    steps = meta.train(
        Learner(replace(network), BACKPROP, Streams(0, (0, 1)), Optimizer("adam", (1e-2,))),
        meta.inner_loop(network, BACKPROP, 2, 0.3),
        source,
        shots=2,
        tasks_per_batch=4,
        outer_algorithm="none",
        outer_rule=BACKPROP,
        outer_steps=5,
    )
    assert list(steps) == []
    assert all(torch.equal(a, b) for a, b in zip(before, network.tensors, strict=True))


@pytest.mark.parametrize("algorithm", ["first_order", "reptile"])
@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.transports == "none"])
def test_no_step_of_it_reads_a_forward_weight_backwards(rule: str, algorithm: str) -> None:
    """The audit of a whole trial: noise, inner loop and outer loop are the same to the bit where every weight that
    a rule is shown is not a number."""
    plain = RULES[rule]
    blind = replace(
        plain,
        carrier=lambda weight, feedback: plain.carrier(torch.full_like(weight, torch.nan), feedback),
    )
    source = random_source(8, classes=5, images_per_class=8)

    def end_of_trial(used: Rule) -> Network:
        streams = Streams(7, (0, 1))
        network = initialise([8, 6, 5, 3], streams, rule)
        learner = Learner(network, used, streams, Optimizer("adam", (1e-2,)))
        for _ in noise.pretrain(learner, noise.Noise(), steps=5, batch_size=4):
            pass
        for _ in meta.train(
            learner,
            meta.inner_loop(network, used, 2, 0.3),
            source,
            shots=2,
            tasks_per_batch=4,
            outer_algorithm=algorithm,
            outer_rule=used,
            outer_steps=5,
        ):
            pass
        return network

    one, two = end_of_trial(plain), end_of_trial(blind)
    assert all(torch.equal(a, b) for a, b in zip(parameters_of(one), parameters_of(two), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one.feedback, two.feedback, strict=True))


def test_first_order_under_nested_kolen_pollack_equals_the_slow_reference() -> None:
    """The query errors go back through each task's own feedback, as its inner loop left it."""
    rule = "nested_kolen_pollack"
    network, tasks = random_network([8, 6, 5, 3], rule=rule), random_episodes(8)
    inner = meta.inner_loop(network, RULES[rule], 3, 0.5)
    made = outer_gradient("first_order", network, inner, RULES[rule], tasks)
    for replica in range(2):
        total = [torch.zeros_like(p[replica]) for p in parameters_of(network)]
        for task in range(3):
            images, labels = tasks.images[tasks.support[replica, task]], tasks.support_labels[replica, task]
            adapted = slowly_adapted(network, replica, rule, images, labels, [[0.5] * 3] * 3)
            images, labels = tasks.images[tasks.query[replica, task]], tasks.query_labels[replica, task]
            weights, biases = slow_gradients(adapted, 0, images, torch.nn.functional.one_hot(labels, 3), rule)
            for sum_, gradient in zip(total, (*weights, *biases), strict=True):
                sum_ += torch.tensor(gradient, dtype=torch.float64) / 3
        for found, wanted in zip(made.tensors, total, strict=True):
            torch.testing.assert_close(found[replica], wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("algorithm", ["exact", "anil", "first_order", "reptile"])
def test_an_outer_gradient_in_blocks_equals_the_whole(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, tasks = random_network([8, 6, 3]), random_episodes(8, tasks=7)
    inner = meta.inner_loop(network, ALIGNMENT, 3, 0.5)
    if algorithm in ("exact", "anil"):
        inner = replace(inner, learning_rates=inner.learning_rates.requires_grad_())
    problem = OuterProblem(network, inner, BACKPROP, tasks)
    whole = outer.outer_gradient(OUTER_ALGORITHMS[algorithm], problem)
    monkeypatch.setattr(outer, "TRAINING_BYTES", {"cpu": 40_000})  # two or three tasks a block
    blocks = outer.outer_gradient(OUTER_ALGORITHMS[algorithm], problem)
    ours, theirs = ((o.logits, o.targets, *o.tensors, *o.learning_rates) for o in (blocks, whole))
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-14)


def test_anil_equals_learn2learns_head_on_a_shared_body() -> None:
    network = random_network([784, 100, 5], dtype=torch.float32)
    tasks = random_episodes(784, ways=5, shots=5, queries=10, dtype=torch.float32)
    inner = meta.inner_loop(network, ALIGNMENT, 5, 0.1)
    made = outer_gradient("anil", network, inner, ALIGNMENT, tasks)
    l2l = import_learn2learn()
    for replica in range(2):
        layers = [torch.nn.Linear(784, 100), torch.nn.Linear(100, 5)]
        for layer, weights, biases in zip(layers, network.weights, network.biases, strict=True):
            layer.weight.data, layer.bias.data = weights[replica].clone(), biases[replica].clone()
        body, head = torch.nn.Sequential(layers[0], torch.nn.ReLU()), l2l.algorithms.MAML(layers[1], lr=0.1)
        for task in range(3):
            learner = head.clone()
            features = body(tasks.images[tasks.support[replica, task]])
            for _ in range(5):
                learner.adapt(cross_entropy(learner(features), tasks.support_labels[replica, task]))
            shown = body(tasks.images[tasks.query[replica, task]])
            (cross_entropy(learner(shown), tasks.query_labels[replica, task]) / 3).backward()
        expected = [layers[0].weight.grad, layers[1].weight.grad, layers[0].bias.grad, layers[1].bias.grad]
        for found, wanted in zip(made.tensors, expected, strict=True):
            torch.testing.assert_close(found[replica], wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())


def test_inner_learning_rates_are_learned_by_the_outer_optimizer() -> None:
    source = random_source(8, classes=5, images_per_class=8)
    streams = Streams(7, (0, 1))
    network = initialise([8, 6, 3], streams)
    inner = meta.inner_loop(network, ALIGNMENT, 2, 0.3)
    learned = replace(inner, learning_rates=inner.learning_rates.requires_grad_())
    before = [t.detach().clone() for t in (*parameters_of(network), learned.learning_rates)]
    tasks = source.draw(4, 2, streams.generators("meta/tasks"))
    made = outer_gradient("exact", network, learned, ALIGNMENT, tasks)
    expected = [p - 0.5 * g for p, g in zip(before, (*made.tensors, *made.learning_rates), strict=True)]
    for _ in meta.train(
        Learner(network, ALIGNMENT, streams, Optimizer("sgd", (0.5,))),
        learned,
        source,
        shots=2,
        tasks_per_batch=4,
        outer_algorithm="exact",
        outer_rule=ALIGNMENT,
        outer_steps=1,
    ):
        pass
    for found, wanted in zip((*parameters_of(network), learned.learning_rates), expected, strict=True):
        torch.testing.assert_close(found, wanted)
