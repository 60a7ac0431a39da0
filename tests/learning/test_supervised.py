import math

import pytest
import torch
from oracles import Perceptron
from random_networks import initialise, random_network
from torch.nn.functional import cross_entropy

from metafa.learning import supervised
from metafa.learning.optimizers import Optimizer
from metafa.learning.rules import RULES
from metafa.learning.streams import Streams
from metafa.learning.supervised import Labelled
from metafa.learning.training import Learner


def random_data(images: int = 50, pixels: int = 8, classes: int = 3, dtype: torch.dtype = torch.float32) -> Labelled:
    generator = torch.Generator().manual_seed(0)
    return Labelled(
        torch.rand(images, pixels, generator=generator, dtype=dtype),
        torch.randint(classes, (images,), generator=generator),
    )


ADAM = Optimizer("adam", (1e-2,))
REGULARIZED = Optimizer("adam", (1e-2,), l2_penalty=0.1, max_norm=0.6, schedule="cosine", steps=9)
WITH_MOMENTUM = Optimizer("sgd", (0.1,), 0.9, "cosine", 9, l2_penalty=0.1, max_norm=0.6)


def theirs(how: Optimizer, module: Perceptron) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """torch's own optimizer and schedule of one network."""
    (rate,) = how.learning_rates
    if how.name == "adam":
        optimizer = torch.optim.Adam(module.parameters(), lr=rate, weight_decay=how.l2_penalty)
    else:
        optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=how.momentum, weight_decay=how.l2_penalty)
    if how.schedule == "constant":
        return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)


def run(
    network,
    rule: str,
    data: Labelled,
    streams: Streams,
    images: int,
    steps: int,
    batch_size: int = 7,
    how: Optimizer = ADAM,
) -> list:
    chosen = supervised.choose(data, images, streams)
    learner = Learner(network, RULES[rule], streams, how)
    return list(supervised.train(learner, data, chosen, steps=steps, batch_size=batch_size))


@pytest.mark.parametrize(
    ("rule", "how"),
    [("backprop", ADAM), *(("feedback_alignment", how) for how in (ADAM, REGULARIZED, WITH_MOMENTUM))],
)
def test_training_equals_a_plain_torch_loop(rule: str, how: Optimizer) -> None:
    """Three epochs of three batches; the orders are those of the named streams, drawn here anew."""
    data, streams = random_data(), Streams(3, (0, 5))
    network = initialise([8, 6, 3], streams, rule)
    modules = [Perceptron(network, replica, align=rule != "backprop") for replica in range(2)]
    steps, shortened = run(network, rule, data, streams, images=25, steps=9, how=how), 0
    for replica, module in enumerate(modules):
        optimizer, schedule = theirs(how, module)
        subset = torch.randperm(50, generator=streams.generators("supervised/images")[replica])[:25]
        orders = streams.generators("supervised/batches")[replica]
        for epoch in range(3):
            order = torch.randperm(25, generator=orders)
            assert len(set(order[:21].tolist())) == 21, "no image comes twice in an epoch"
            for number, batch in enumerate(order[:21].split(7)):
                seen = subset[batch]
                loss = cross_entropy(module(data.images[seen]), data.labels[seen])
                found = steps[3 * epoch + number].loss[replica]
                torch.testing.assert_close(found, loss.detach(), rtol=1e-5, atol=1e-6)
                optimizer.zero_grad()
                loss.backward()
                if how.max_norm is not None:
                    shortened += torch.nn.utils.clip_grad_norm_(module.parameters(), how.max_norm) > how.max_norm
                optimizer.step()
                schedule.step()
        for found, wanted in zip((*network.weights, *network.biases), module.parameters(), strict=False):
            # nine steps of 1e-2, each off by float32's rounding at most
            torch.testing.assert_close(found[replica], wanted.data, rtol=1e-4, atol=1e-5)
    assert how.max_norm is None or 0 < shortened < 18, "some gradients of some replicas are shortened"


def test_seeds_choose_their_images_whatever_else_is_asked() -> None:
    """The same seed sees the same images in every trial, and a smaller number is part of a larger one."""
    data = random_data()
    few = supervised.choose(data, 10, Streams(0, (0, 1)))
    more = supervised.choose(data, 30, Streams(0, (1, 2)))
    assert torch.equal(few[1], more[0][:10])
    assert not torch.equal(few[0], few[1])
    assert torch.equal(supervised.choose(data, None, Streams(0, (4,)))[0], torch.arange(50))


def test_a_batch_larger_than_an_epoch_is_refused() -> None:
    data, streams = random_data(), Streams(0, (0,))
    network = initialise([8, 6, 3], streams)
    with pytest.raises(ValueError, match="a batch of 7 images, but only 5 to train on"):
        run(network, "backprop", data, streams, images=5, steps=1)


def test_evaluation_is_the_mean_over_images_in_blocks_or_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = random_network([8, 6, 3]), random_data(dtype=torch.float64)
    chosen = torch.stack([torch.arange(20), torch.arange(30, 50)])
    for block in (2**22, 7 * 8 * 8):  # all at once; seven images of eight pixels
        monkeypatch.setattr(supervised, "BLOCK_BYTES", {"cpu": block})
        everything, part = supervised.evaluate(network, data), supervised.evaluate(network, data, chosen)
        for replica in range(2):
            module = Perceptron(network, replica, align=False)
            for (loss, accuracy), seen in ((everything, slice(None)), (part, chosen[replica])):
                logits, labels = module(data.images[seen]), data.labels[seen]
                torch.testing.assert_close(loss[replica], cross_entropy(logits, labels).detach(), rtol=1e-12, atol=0)
                assert accuracy[replica].item() == pytest.approx((logits.argmax(1) == labels).double().mean().item())


def test_a_network_that_memorized_has_the_test_loss_as_its_generalization_error() -> None:
    """Random labels can be memorized and not generalized: the loss on them is nearly 0, on others at least chance's."""
    data, others = random_data(images=21), random_data(images=400)
    others = Labelled(others.images[200:], others.labels[200:])
    streams = Streams(0, (0, 1))
    network = initialise([8, 60, 3], streams)
    run(network, "backprop", data, streams, images=21, steps=3000)
    of_training, accuracy = supervised.evaluate(network, data)
    on_others, _ = supervised.evaluate(network, others)
    assert accuracy.tolist() == [1.0, 1.0]
    assert (of_training < 0.01).all()
    assert ((on_others - of_training) > math.log(3)).all()
