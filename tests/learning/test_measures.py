import itertools
import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity
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
    squares = measures.squared_singular_values(matrix)
    assert measures.participation_ratio(squares).item() == pytest.approx(14**2 / (81 + 16 + 1), rel=1e-9)
    for measure, shares in (
        (measures.effective_rank, [3 / 6, 2 / 6, 1 / 6]),
        (measures.squared_effective_rank, [9 / 14, 4 / 14, 1 / 14]),
    ):
        assert measure(squares).item() == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-9)


def test_effective_rank_is_the_entropy_of_scipys_singular_values() -> None:
    weights = torch.randn(3, 30, 50, generator=torch.Generator().manual_seed(0))
    found = measures.effective_rank(measures.squared_singular_values(weights))
    wanted = [math.exp(stats.entropy(linalg.svdvals(one.double().numpy()))) for one in weights]
    assert found.tolist() == pytest.approx(wanted, rel=1e-10)


def test_dimensionality_is_that_of_the_identity_and_of_one_direction() -> None:
    for measure in (measures.participation_ratio, measures.squared_effective_rank, measures.effective_rank):
        for matrix, wanted in ((torch.eye(7)[None], 7), (torch.ones(1, 4, 7), 1)):
            assert measure(measures.squared_singular_values(matrix)).item() == pytest.approx(wanted, rel=1e-12)
        assert measure(measures.squared_singular_values(torch.zeros(1, 4, 7))).isnan().all()


def test_the_angle_of_each_unit_is_that_of_its_columns() -> None:
    """Of a unit without weights there is none, and the mean is over the others."""
    generator = torch.Generator().manual_seed(0)
    w, b = (torch.randn(2, 10, 5, generator=generator) for _ in range(2))
    w[0, :, 0], b[0, :, 1], w[1, :, 2] = b[0, :, 0] * 3, -w[0, :, 1], 0
    found = measures.unit_alignment_angles(w, b)
    for replica, unit in itertools.product(range(2), range(5)):
        x, y = w[replica, :, unit].double(), b[replica, :, unit].double()
        if x.norm():
            wanted = math.degrees(math.acos((x @ y / x.norm() / y.norm()).clamp(-1, 1)))
            assert found[replica, unit].item() == pytest.approx(wanted, abs=1e-5)
    assert found[0, :2].tolist() == pytest.approx([0, 180], abs=1e-5)
    assert found[1, 2].isnan()
    means = measures.unit_alignment_angle(w, b)
    assert means.tolist() == pytest.approx([found[0].mean().item(), found[1, [0, 1, 3, 4]].mean().item()])


def test_a_layer_with_an_angle_of_90_degrees_may_have_units_of_0_and_180() -> None:
    """What tells the angle of a layer as one vector from that of its units."""
    weights = torch.eye(2)[None]
    feedback = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]])
    assert measures.alignment_angle(weights, feedback).item() == pytest.approx(90)
    assert measures.unit_alignment_angles(weights, feedback)[0].tolist() == pytest.approx([0, 180])
    longer = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])  # it weighs units by their size, where their mean does not
    assert measures.alignment_angle(longer, feedback).item() < 70
    assert measures.unit_alignment_angle(longer, feedback).item() == pytest.approx(90)


def test_distance_from_feedback() -> None:
    weights, feedback = torch.zeros(1, 2, 2), torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
    assert measures.feedback_distance(weights, feedback).item() == 5
    assert measures.feedback_distance(feedback, feedback).item() == 0


def test_the_rank_of_features_is_that_of_their_cosine_similarities() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.relu(torch.randn(2, 40, 12, generator=generator))
    features[1, :, 3] = 0  # of which nothing remains, though scikit-learn has it in the matrix, all zeros
    found = measures.feature_rank(features)
    for replica in range(2):
        gram = cosine_similarity(features[replica].double().numpy().T)
        assert gram.shape == (12, 12)
        wanted = math.exp(stats.entropy(linalg.svdvals(gram)))
        assert found[replica].item() == pytest.approx(wanted, rel=1e-8)
    others = [unit for unit in range(12) if unit != 3]
    assert measures.feature_rank(features[1:, :, others]).item() == pytest.approx(found[1].item(), rel=1e-12)


def test_the_rank_of_features_of_known_directions() -> None:
    """Two groups of units that answer alike have rank 2, however large their answers; silent ones add nothing."""
    a, b = torch.tensor([1.0, 2.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 5.0, 1.0])
    features = torch.stack([a, 10 * a, b, 3 * b, torch.zeros(4)], 1)[None]
    assert measures.feature_rank(features).item() == pytest.approx(2, rel=1e-6)
    assert measures.feature_rank(torch.eye(6)[None]).item() == pytest.approx(6)
    assert measures.feature_rank(torch.zeros(1, 4, 3)).isnan().all()
    broken = torch.stack([features[0], torch.full_like(features[0], torch.nan)])
    assert measures.feature_rank(broken).isnan().tolist() == [False, True]


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
    found = measures.participation_ratio(measures.squared_singular_values(broken))
    assert found[0].isnan()
    assert found[1].item() == pytest.approx(1)


def test_readout_of_known_probabilities() -> None:
    logits = torch.tensor([[[0.7, 0.2, 0.1], [0.4, 0.3, 0.3]]]).log()
    assert measures.readout_probability(logits).item() == pytest.approx(0.55)
    deviations = [0.7 - 1 / 3, 1 / 3 - 0.2, 1 / 3 - 0.1, 0.4 - 1 / 3, 1 / 3 - 0.3, 1 / 3 - 0.3]
    assert measures.readout_deviation(logits).item() == pytest.approx(sum(deviations) / 6, rel=1e-6)
    assert measures.readout_deviation(torch.zeros(1, 5, 4)).item() == 0


def test_wilcoxons_test_of_a_readout_is_that_of_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 400, 4, generator=generator) * torch.tensor([0.01, 3.0, 0.0])[:, None, None]
    logits = torch.cat([logits, torch.full((1, 400, 4), torch.nan)])
    found = measures.readout_wilcoxon(logits)
    for replica in range(2):
        p = torch.softmax(logits[replica].double(), -1).flatten().numpy()
        assert found[replica].item() == pytest.approx(math.log10(stats.wilcoxon(p - 0.25).pvalue), rel=1e-9)
    assert found[1] < -3 < found[0], "large logits crowd near 0, small ones are about chance"
    assert found[2] == 0, "a readout that is chance everywhere"
    assert found[3].isnan()


def test_wilcoxons_test_has_a_logarithm_where_the_p_value_is_0_in_float64() -> None:
    """Mills' ratio: the normal tail beyond z is phi(z) / z but for a fraction 1 / z^2, of two thousand here."""
    logits = torch.zeros(1, 2000, 10)
    logits[..., 0] = torch.linspace(3, 4, 2000)
    p = torch.softmax(logits.double(), -1).flatten().numpy()
    result = stats.wilcoxon(p - 0.1, method="approx")
    z = abs(result.zstatistic)
    assert result.pvalue == 0
    tail = math.log10(2 / z) - (z**2 / 2 + math.log(2 * math.pi) / 2) / math.log(10)
    assert measures.readout_wilcoxon(logits).item() == pytest.approx(tail, abs=1 / z**2)


def test_quantiles_of_known_readouts() -> None:
    """Of probabilities 0.01 to 0.99, each once, and their complements: the quantile of each percent is that percent."""
    p = torch.arange(1, 100, dtype=torch.float64) / 100
    logits = torch.stack([p.log(), (1 - p).log()], -1)[None]
    found = measures.readout_quantiles(torch.cat([logits, torch.full_like(logits, torch.nan)]))
    assert found.shape == (2, 99)
    assert found[0].tolist() == pytest.approx(np.quantile(np.repeat(p.numpy(), 2), np.arange(1, 100) / 100), rel=1e-9)
    assert found[0, 49].item() == pytest.approx(0.5)
    assert found[1].isnan().all()


def test_auroc_equals_scikit_learns_with_ties_too() -> None:
    generator = torch.Generator().manual_seed(0)
    inside, outside = 2 * torch.randn(3, 300, 4, generator=generator), torch.randn(3, 200, 4, generator=generator)
    inside[1], outside[1] = (one[1].round().clamp(-1, 1) for one in (inside, outside))  # of few different logits
    inside[2, 0] = torch.nan
    found = measures.auroc(inside, outside)
    inner = [1] * 300 + [0] * 200
    for replica in range(2):
        both = torch.cat([inside[replica], outside[replica]]).double()
        scores = torch.softmax(both, -1).amax(-1)
        assert (len(scores.unique()) < 50) == (replica == 1)
        assert found[replica].item() == pytest.approx(roc_auc_score(inner, scores.numpy()), rel=1e-12)
    assert found[2].isnan()
    sure, unsure = torch.tensor([[[9.0, 0.0]] * 4]), torch.tensor([[[1.0, 0.0]] * 3])
    assert [measures.auroc(*pair).item() for pair in ((sure, unsure), (unsure, sure), (sure, sure))] == [1, 0, 0.5]


@pytest.mark.parametrize("bins", [10, 15])
def test_calibration_error_equals_torchmetrics(bins: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 500, 4, generator=generator)
    labels = torch.randint(4, (500,), generator=generator)
    found = measures.expected_calibration_error(logits, labels, bins)
    for replica in range(2):
        wanted = multiclass_calibration_error(logits[replica], labels, num_classes=4, n_bins=bins, norm="l1")
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
