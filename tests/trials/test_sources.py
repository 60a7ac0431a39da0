"""The images of trials: each loaded once, as numbers from 0 to 1; and as networks see them."""

import numpy as np
import pytest
import torch
from torch import Tensor
from trial_runs import ON_DATA, ON_TASKS, settings_of, values

from metafa.learning import shifts
from metafa.tasks import DATASETS, LabelledImages
from metafa.trials.phases import RUN_PHASE
from metafa.trials.sources import load_sources, prepared
from metafa.trials.trial_run import NO_WATCH, TrialRun

PIXELS = ("unit", "standardized")


def test_phases_that_draw_alike_share_a_source() -> None:
    one, other = settings_of(ON_TASKS), settings_of(ON_TASKS, evaluate={"ways": 3})
    shared = [(distribution, split, ways) for distribution, split, ways, _ in load_sources(one).tasks]
    assert sorted(shared) == [("glyphs", "test", 5), ("glyphs", "training", 5)]
    assert {ways for _, _, ways, _ in load_sources(one, other).tasks} == {3, 5}


def test_images_are_flat_and_from_0_to_1() -> None:
    random = np.random.default_rng(0)
    given = {}
    for part, number in (("training", 7), ("test", 5)):
        images = random.integers(0, 256, (number, 8, 8)).astype(np.uint8)
        names = tuple(map(str, range(10)))
        given[f"datasets/digits/{part}"] = LabelledImages(images, np.arange(number, dtype=np.int64), names)
    for found, wanted in zip(
        prepared(load_sources(settings_of(ON_DATA), images=given)).datasets["digits"], given.values(), strict=True
    ):
        pixels = [[pixel / 255 for row in image for pixel in row] for image in wanted.images.tolist()]
        np.testing.assert_array_equal(found.images.numpy(), np.array(pixels, np.float32))
        assert found.labels.tolist() == wanted.labels.tolist()


def standardized(images: Tensor, training: np.ndarray) -> np.ndarray:
    """In float64, by the mean and standard deviation of all training images."""
    unit = training.astype(np.float64) / 255
    return (images.double().numpy() - unit.mean()) / unit.std()


def test_what_sees_images_sees_them_standardized_by_the_training_images() -> None:
    """Datasets and tasks alike; the unit images are there for other trials."""
    phases = [{"phase": "supervised", "dataset": "glyphs", "steps": 1}, *ON_TASKS["phases"]]
    unit, settings = (settings_of(ON_TASKS, phases=phases, network={"pixels": kind}) for kind in PIXELS)
    sources = prepared(load_sources(unit, settings))
    training = DATASETS["glyphs"].load("training", False).images
    seen = sources.seen(settings)
    for ours, plain in zip(seen.datasets["glyphs"], sources.datasets["glyphs"], strict=True):
        np.testing.assert_allclose(ours.images.numpy(), standardized(plain.images, training), atol=1e-5)
    assert abs(seen.datasets["glyphs"][0].images.mean().item()) < 1e-4
    assert seen.datasets["glyphs"][0].images.std().item() == pytest.approx(1, abs=1e-4)
    for key, source in seen.tasks.items():
        np.testing.assert_allclose(source.images.numpy(), standardized(sources.tasks[key].images, training), atol=1e-5)
        assert (source.gram is None) == (sources.tasks[key].gram is None) == (key[1] == "training"), "by their number"
        if source.gram is not None:
            chosen = source.images[:100]
            # float32 sums of 784 products, which products of other shapes add in another order on some machines
            products = chosen.double() @ chosen.double().mT + 1
            torch.testing.assert_close(source.gram[:100, :100].double(), products, rtol=1e-5, atol=5e-3)
    assert sources.seen(settings) is seen, "once for all trials"
    assert sources.seen(unit) is sources


def test_images_out_of_distribution_are_shifted_before_they_are_standardized() -> None:
    tested = {"phase": "out_of_distribution", "rotation": [20], "datasets": ["glyphs"]}
    settings = settings_of(ON_DATA, phases=[*ON_DATA["phases"], tested], network={"pixels": "standardized"})
    sources = prepared(load_sources(settings))
    run = TrialRun(settings, sources, "cpu", NO_WATCH)
    for number, phase in enumerate(settings.phases):
        assert run.begins(number)
        RUN_PHASE[phase.phase](run, phase)
    weights, biases = ([t.double().numpy() for t in some] for some in (run.network.weights, run.network.biases))
    training = DATASETS["digits"].load("training", False).images
    (_, digits), (_, glyphs) = (sources.datasets[name] for name in ("digits", "glyphs"))
    pictures = digits.images.unflatten(1, (1, 8, 8))
    changed = {
        ("digits", None): digits.images,
        ("digits", "rotation"): shifts.rotated(pictures, 20.0, torch.Generator()).flatten(1),
        ("glyphs", None): shifts.resized(glyphs.images.unflatten(1, (1, 28, 28)), (8, 8)).flatten(1),
    }
    labels = {"digits": digits.labels.numpy(), "glyphs": glyphs.labels.numpy()}
    for (name, shift), images in changed.items():
        x = standardized(images, training)
        for seed in range(2):
            hidden = np.maximum(x @ weights[0][seed].T + biases[0][seed], 0)
            logits = hidden @ weights[1][seed].T + biases[1][seed]
            logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            wanted = -logs[np.arange(len(x)), labels[name]].mean()
            where = dict(phase="out_of_distribution", metric="loss", inputs=name, shift=shift, seed=seed)
            (found,) = values(run.recorder.outcome.rows, **where).values()
            assert found == pytest.approx(wanted, rel=1e-4)
