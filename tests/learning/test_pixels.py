"""Standardized pixels, against numpy's statistics and torchvision's own transform."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from metafa.learning import pixels

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3)])
def test_images_are_standardized_colour_by_colour_as_torchvision_normalizes(shape: tuple[int, ...]) -> None:
    images = (RANDOM.integers(0, 256, (50, *shape)) * np.linspace(0.3, 1, shape[-1])).astype(np.uint8)
    axes = (0, 1, 2)
    unit = images.astype(np.float64) / 255
    means, deviations = (np.atleast_1d(statistic(unit, axis=axes)) for statistic in (np.mean, np.std))
    np.testing.assert_allclose(pixels.channel_statistics(images), np.stack([means, deviations], 1), rtol=1e-12)
    flat = torch.from_numpy(unit.reshape(50, -1)).float()
    standardized = pixels.standardization(images)(flat)
    colours_first = torch.from_numpy(unit if len(shape) == 3 else unit[..., None]).movedim(-1, 1).float()
    theirs = functional.normalize(colours_first, means.tolist(), deviations.tolist())
    torch.testing.assert_close(standardized, theirs.movedim(1, -1).flatten(1), rtol=1e-5, atol=1e-5)


def test_a_colour_that_never_varies_is_0() -> None:
    images = RANDOM.integers(0, 256, (5, 2, 2, 3)).astype(np.uint8)
    images[..., 1] = 77
    standardized = pixels.standardization(images)(torch.from_numpy(images.reshape(5, -1) / 255).float())
    assert standardized.isfinite().all()
    assert standardized[:, 1::3].abs().max() < 1e-6
