"""The images of trials: each loaded once, as numbers from 0 to 1."""

import numpy as np
from trial_runs import ON_DATA, ON_TASKS, settings_of

from metafa.tasks import LabelledImages
from metafa.trials.sources import load_sources, prepared


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
