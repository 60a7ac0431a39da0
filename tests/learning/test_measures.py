import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from metafa.learning import measures


def test_alignment_angle_of_known_matrices() -> None:
    w = torch.randn(1, 20, 30, generator=torch.Generator().manual_seed(0))
    other = torch.randn(1, 20, 30, generator=torch.Generator().manual_seed(1))
    rejected = other - (other * w).sum() / (w * w).sum() * w
    assert measures.alignment_angle(w, 3 * w).item() == pytest.approx(0, abs=1e-5)
    assert measures.alignment_angle(w, -w).item() == pytest.approx(180, abs=1e-5)
    assert measures.alignment_angle(w, rejected).item() == pytest.approx(90, abs=1e-4)
    half = w / w.norm() + rejected / rejected.norm() * math.sqrt(3)
    assert measures.alignment_angle(w, half).item() == pytest.approx(60, abs=1e-4)


def test_alignment_angle_of_independent_matrices_spreads_as_theory_says() -> None:
    """The cosine of two random directions in n dimensions has mean 0 and variance 1 / n."""
    generator = torch.Generator().manual_seed(0)
    w, b = (torch.randn(4000, 10, 40, generator=generator) for _ in range(2))
    cosines = torch.cos(torch.deg2rad(measures.alignment_angle(w, b)))
    assert cosines.mean().item() == pytest.approx(0, abs=4 / math.sqrt(4000 * 400))
    assert cosines.var().item() == pytest.approx(1 / 400, rel=4 * math.sqrt(2 / 4000))


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_dimensionality_of_a_known_spectrum(shape: tuple[int, int]) -> None:
    values = torch.tensor([3.0, 2.0, 1.0, 0, 0, 0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(shape[0], shape[0], generator=generator, dtype=torch.float64)).Q[:, :6]
    right = torch.linalg.qr(torch.randn(shape[1], shape[1], generator=generator, dtype=torch.float64)).Q[:, :6]
    matrix = (left * values @ right.T)[None]
    shares = [9 / 14, 4 / 14, 1 / 14]
    assert measures.effective_dimensionality(matrix).item() == pytest.approx(14**2 / (81 + 16 + 1), rel=1e-9)
    entropy = -sum(p * math.log(p) for p in shares)
    assert measures.effective_rank(matrix).item() == pytest.approx(math.exp(entropy), rel=1e-9)


def test_dimensionality_is_that_of_the_identity_and_of_one_direction() -> None:
    assert measures.effective_dimensionality(torch.eye(7)[None]).item() == pytest.approx(7)
    assert measures.effective_rank(torch.eye(7)[None]).item() == pytest.approx(7)
    assert measures.effective_dimensionality(torch.ones(1, 4, 7)).item() == pytest.approx(1)


def test_singular_values_are_those_that_a_matrix_was_made_of() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 3, generator=generator, dtype=torch.float64)).Q for n in (5, 8))
    values = torch.tensor([4.0, 2.0, 0.5], dtype=torch.float64)
    matrix = left @ values.diag() @ right.T
    found = measures.singular_values(torch.stack([matrix, torch.full_like(matrix, torch.inf)]))
    torch.testing.assert_close(found[0], torch.cat([values, values.new_zeros(2)]), rtol=0, atol=1e-12)
    assert found[1].isnan().all()


def test_a_diverged_replica_is_not_a_number_and_leaves_the_others() -> None:
    broken = torch.stack([torch.full((3, 4), torch.inf), torch.ones(3, 4)])
    found = measures.effective_dimensionality(broken)
    assert found[0].isnan()
    assert found[1].item() == pytest.approx(1)


def test_readout_of_known_probabilities() -> None:
    logits = torch.tensor([[[0.7, 0.2, 0.1], [0.4, 0.3, 0.3]]]).log()
    assert measures.readout_probability(logits).item() == pytest.approx(0.55)
    deviations = [0.7 - 1 / 3, 1 / 3 - 0.2, 1 / 3 - 0.1, 0.4 - 1 / 3, 1 / 3 - 0.3, 1 / 3 - 0.3]
    assert measures.readout_deviation(logits).item() == pytest.approx(sum(deviations) / 6, rel=1e-6)
    assert measures.readout_deviation(torch.zeros(1, 5, 4)).item() == 0


def test_calibration_error_equals_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 500, 4, generator=generator)
    labels = torch.randint(4, (500,), generator=generator)
    found = measures.expected_calibration_error(logits, labels)
    for replica in range(2):
        wanted = multiclass_calibration_error(logits[replica], labels, num_classes=4, n_bins=15, norm="l1")
        # torchmetrics computes in float32
        assert found[replica].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_calibration_error_on_known_readouts() -> None:
    """Sure and always right: 0. Sure and always wrong: 1. Four in five sure, and right half the time: 0.3."""
    sure = torch.tensor([[100.0, 0.0]]).repeat(10, 1)
    four_in_five = torch.log(torch.tensor([[0.8, 0.2]])).repeat(10, 1)
    right, wrong, half = torch.zeros(10).long(), torch.ones(10).long(), torch.arange(10) % 2
    for logits, labels, expected in ((sure, right, 0.0), (sure, wrong, 1.0), (four_in_five, half, 0.3)):
        assert measures.expected_calibration_error(logits[None], labels).item() == pytest.approx(expected, abs=1e-6)
    broken = torch.full((1, 10, 2), torch.nan)
    assert measures.expected_calibration_error(broken, right).isnan().all()


def test_the_principal_path_of_points_on_known_curves() -> None:
    """A half-circle in a plane of a large space is found as it is; a line has one component alone."""
    generator = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(50, 2, generator=generator, dtype=torch.float64)).Q.T
    angle = torch.linspace(0, math.pi, 9, dtype=torch.float64)
    curve = torch.stack([3 * angle.cos(), angle.sin()], 1)  # an ellipse: its components are its axes
    line = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None] * torch.tensor([4.0, 0.0], dtype=torch.float64)
    weights = torch.stack([curve @ plane + 7, line @ plane], 1)
    path, fractions = measures.principal_path(weights)
    wanted = curve - curve.mean(0)
    wanted = wanted * torch.where(wanted[-1] < 0, -1.0, 1.0)
    torch.testing.assert_close(path[:, 0], wanted, rtol=0, atol=1e-10)
    variances = wanted.square().sum(0)
    torch.testing.assert_close(fractions[0], variances / variances.sum(), rtol=1e-10, atol=0)
    torch.testing.assert_close(path[:, 1], line, rtol=0, atol=1e-6)  # the square root of what rounding leaves of 0
    torch.testing.assert_close(fractions[1], torch.tensor([1.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_principal_path_of_broken_or_resting_weights_is_no_number() -> None:
    weights = torch.zeros(3, 2, 5)
    weights[1, 0] = torch.inf
    path, fractions = measures.principal_path(weights)
    assert path.isnan().all()
    assert fractions.isnan().all()
