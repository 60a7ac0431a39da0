import pytest
import torch

from metafa.learning import shifts
from metafa.learning.kinds import SHIFTS

PICTURE = torch.zeros(1, 9, 9)
PICTURE[0, 3:6, 4] = 1.0  # a short upright line in the middle
PICTURE[0, 3, 5] = 0.5  # with a mark, so that no turn leaves it alike


def shifted(shift: str, strength: float, number: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return shifts.shifted(shift, PICTURE.repeat(number, 1, 1, 1), strength, generator)


@pytest.mark.parametrize("shift", SHIFTS)
def test_strength_zero_leaves_images_as_they_are(shift: str) -> None:
    assert torch.equal(shifted(shift, 0.0), PICTURE.repeat(4, 1, 1, 1))
    assert not torch.equal(shifted(shift, 1.0), PICTURE.repeat(4, 1, 1, 1))


def test_translation_by_whole_pixels_moves_them_each_way_in_turn() -> None:
    right, down, left, up = shifted("translation", 2.0)
    for found, (rows, columns) in ((right, (0, 2)), (down, (2, 0)), (left, (0, -2)), (up, (-2, 0))):
        torch.testing.assert_close(found, PICTURE.roll((rows, columns), (1, 2)), rtol=0, atol=1e-5)


def test_translation_by_half_a_pixel_is_the_mean_of_neighbours() -> None:
    right = shifted("translation", 0.5)[0]
    torch.testing.assert_close(right, (PICTURE + PICTURE.roll(1, 2)) / 2, rtol=0, atol=1e-5)


def test_rotation_by_a_quarter_turns_clockwise_then_counterclockwise() -> None:
    clockwise, counterclockwise = shifted("rotation", 90.0)[:2]
    torch.testing.assert_close(clockwise, PICTURE.rot90(-1, (1, 2)), rtol=0, atol=1e-5)
    torch.testing.assert_close(counterclockwise, PICTURE.rot90(1, (1, 2)), rtol=0, atol=1e-5)


def test_scaling_keeps_the_middle_and_grows_and_shrinks_in_turn() -> None:
    larger, smaller = shifted("scaling", 1.0)[:2]
    for changed in (larger, smaller):
        assert changed[0, 4, 4].item() == pytest.approx(1.0, abs=1e-5)
    # a line of three pixels is six long, bilinearly five at full ink; half as large, what was two rows off is one off
    assert larger[0, :, 4].gt(0.99).sum() == 5
    torch.testing.assert_close(smaller[0, 2:7, 2:7], PICTURE[0, ::2, ::2], rtol=0, atol=1e-5)


def test_pixel_noise_has_its_standard_deviation_and_stays_within_bounds() -> None:
    grey = torch.full((50, 1, 28, 28), 0.5)
    noisy = shifts.shifted("pixel_noise", grey, 0.1, torch.Generator().manual_seed(0))
    # 39,200 normals, five standard errors; at 0.5 +- five deviations nothing is cut
    assert (noisy - grey).std().item() == pytest.approx(0.1, rel=5 / (2 * 39200) ** 0.5)
    assert (noisy - grey).mean().abs().item() < 5 * 0.1 / 39200**0.5
    wild = shifts.shifted("pixel_noise", grey, 5.0, torch.Generator().manual_seed(0))
    assert (wild.min().item(), wild.max().item()) == (0.0, 1.0)


def test_resizing_is_torchvisions() -> None:
    """A picture of equal grey stays so; a chequerboard seen from afar is grey, not black or white."""
    chequered = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).float()[None, None]
    assert shifts.resized(torch.full((1, 1, 8, 8), 0.3), (28, 28)).sub(0.3).abs().max() < 1e-6
    small = shifts.resized(chequered, (4, 4))
    assert small.shape == (1, 1, 4, 4)
    assert small.sub(0.5).abs().max() < 0.05
