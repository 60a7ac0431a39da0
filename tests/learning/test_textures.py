"""Inputs with structure: spectra, the correlations of dead leaves, and images without meaning."""

import numpy as np
import pytest
import torch
from scipy import integrate

from metafa.learning import noise, textures
from metafa.learning.noise import Noise
from metafa.learning.streams import Streams

STREAMS = Streams(0, (0, 1))


def drawn(kind: Noise, number: int = 50) -> torch.Tensor:
    pixels = int(np.prod(kind.shape))
    return noise.draw_inputs(noise.prepared(kind, STREAMS), number, pixels, STREAMS.generators("x"))


def slope(pictures: np.ndarray) -> float:
    """That of the mean power of ``[picture, row, column]`` against the frequency, both as logarithms, above frequency 0
    and up to that of pixels."""
    power = (np.abs(np.fft.fft2(pictures.astype(np.float64))) ** 2).mean(0)
    rows, columns = (np.fft.fftfreq(side) for side in pictures.shape[1:])
    frequency = np.hypot(rows[:, None], columns)
    told = (frequency > 0) & (frequency < 0.5)
    return float(np.polyfit(np.log(frequency[told]), np.log(power[told]), 1)[0])


@pytest.mark.parametrize("shape", [(28, 28), (16, 12, 3)])
def test_the_amplitudes_of_pink_noise_fall_as_1_over_f(shape: tuple[int, ...]) -> None:
    pink = drawn(Noise("pink", 0.5, 2.0, shape=shape))
    assert pink.shape == (2, 50, np.prod(shape))
    torch.testing.assert_close(pink.mean(-1), torch.full((2, 50), 0.5), atol=1e-5, rtol=0)
    torch.testing.assert_close(pink.std(-1, correction=0), torch.full((2, 50), 2.0))
    pictures = pink[0].unflatten(1, shape).numpy()
    channels = [pictures] if len(shape) == 2 else [pictures[..., channel] for channel in range(3)]
    for channel in channels:
        assert slope(channel) == pytest.approx(-2, abs=0.01)
    assert abs(np.corrcoef(channels[0].ravel(), channels[-1].ravel())[0, 1]) < 0.2 or len(channels) == 1
    assert abs(torch.corrcoef(torch.stack([pink[0, 0], pink[0, 1]]))[0, 1]) < 0.6, "phases of its own"


def test_the_first_disc_that_covers_a_pixel_is_seen() -> None:
    """As if the last were painted first, each over those before."""
    random = np.random.default_rng(0)
    side = 40
    radii, down, right = random.uniform(1, 9, 60), random.uniform(0, side, 60), random.uniform(0, side, 60)
    painted = np.full((side, side), 60)
    rows, columns = np.mgrid[:side, :side]
    for number in reversed(range(60)):
        dy, dx = (np.abs(place - centre[number]) for place, centre in ((rows, down), (columns, right)))
        dy, dx = np.minimum(dy, side - dy), np.minimum(dx, side - dx)
        painted[dy**2 + dx**2 <= radii[number] ** 2] = number
    assert (textures.topmost(side, radii, down, right).reshape(side, side) == painted).all()


def test_dead_leaves_correlate_as_the_model_says() -> None:
    """Two pixels belong to one leaf with probability g(x) / (2 g(0) - g(x)), g(x) the mean area that a disc has in
    common with itself moved by x (Lee, Mumford and Huang 2001, section 4); else they are independent."""
    largest = 14.0

    def common(distance: float) -> float:
        def area(r: float) -> float:
            if distance >= 2 * r:
                return 0.0
            half = distance / (2 * r)
            return 2 * r**2 * (np.arccos(half) - half * np.sqrt(1 - half**2))

        return integrate.quad(lambda r: area(r) * r**-3, textures.SMALLEST_LEAF, largest, limit=200)[0]

    values = [textures.leaves(512, largest, 1, g)[..., 0].double() for g in Streams(0, tuple(range(4))).generators("x")]
    for distance in (1, 2, 4, 8, 16):
        both = [torch.corrcoef(torch.stack([v.ravel(), v.roll(distance, 0).ravel()]))[0, 1].item() for v in values]
        expected = common(distance) / (2 * common(0) - common(distance))
        assert np.mean(both) == pytest.approx(expected, abs=0.015), distance
    assert 0 <= values[0].min() < 0.01 < 0.99 < values[0].max() <= 1


def test_pictures_of_dead_leaves_have_a_spectrum_like_natures() -> None:
    """Power near f^-2, steeper where discs are larger than what is looked at: between that and the f^-3 of edges."""
    pictures = drawn(Noise("dead_leaves", shape=(28, 28)), 400)
    torch.testing.assert_close(pictures.mean(-1), torch.zeros(2, 400), atol=1e-5, rtol=0)
    torch.testing.assert_close(pictures.std(-1, correction=0), torch.ones(2, 400))
    assert -3 < slope(pictures[0].unflatten(1, (28, 28)).numpy()) < -1.5
    assert not torch.equal(pictures[0], pictures[1])


@pytest.mark.parametrize("shape", [(6, 6), (4, 4, 3)])
def test_shuffled_images_keep_their_pixels_and_nothing_else(shape: tuple[int, ...]) -> None:
    pixels = int(np.prod(shape))
    source = torch.arange(20.0 * pixels).view(20, pixels)  # each value tells its image, pixel and channel
    as_they_are = drawn(Noise("images", shape=shape, source=source), 200)
    shuffled = drawn(Noise("shuffled_images", shape=shape, source=source), 200)
    numbers = (as_they_are[..., 0] / pixels).long()
    assert torch.equal(source[numbers], as_they_are)
    assert (numbers[0].bincount(minlength=20) > 0).all()
    assert torch.equal(shuffled.sort(-1).values, source[(shuffled.amin(-1) / pixels).long()])
    channels = 3 if len(shape) > 2 else 1
    places = (shuffled % pixels).unflatten(2, (-1, channels))
    assert (places - places[..., :1] == torch.arange(channels)).all(), "the channels of a pixel stay together"
    orders = (places[..., 0] / channels).flatten(0, 1)
    assert len(orders.unique(dim=0)) == 400, "each image in an order of its own"
    assert abs(orders[:, 0].mean() - orders.shape[1] / 2) < orders.shape[1] / 8
