import torch
from torch.nn.functional import cross_entropy, mse_loss

from metafa.learning.kinds import LOSSES, resolved


def outputs_and_targets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = (torch.randn(2, 7, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    return outputs.requires_grad_(), torch.softmax(targets, -1)


def test_squared_error_equals_torchs() -> None:
    """Half the squared distance, a mean over images."""
    outputs, targets = outputs_and_targets()
    loss = resolved(LOSSES["squared_error"])
    for replica in range(2):
        wanted = mse_loss(outputs[replica], targets[replica], reduction="sum") / 2 / 7
        torch.testing.assert_close(loss.value(outputs, targets)[replica], wanted, rtol=1e-12, atol=0)
        (gradient,) = torch.autograd.grad(wanted, outputs)
        torch.testing.assert_close(loss.error(outputs, targets)[replica], gradient[replica], rtol=1e-12, atol=0)
    assert loss.score is None
    assert loss.scored(outputs, targets).isnan().all()


def test_cross_entropy_equals_torchs() -> None:
    outputs, targets = outputs_and_targets()
    loss = resolved(LOSSES["cross_entropy"])
    for replica in range(2):
        wanted = cross_entropy(outputs[replica], targets[replica])
        torch.testing.assert_close(loss.value(outputs, targets)[replica], wanted, rtol=1e-12, atol=0)
        (gradient,) = torch.autograd.grad(wanted, outputs)
        torch.testing.assert_close(loss.error(outputs, targets)[replica], gradient[replica], rtol=1e-11, atol=1e-15)
