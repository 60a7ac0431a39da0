import functools

import pytest
import torch

from metafa.learning import products

SIZES = [(1, 64, 784, 100), (3, 64, 784, 100), (2, 7, 5, 4)]  # batches, images, in, out; the last too small for oneDNN


def operands(batches: int, images: int, into: int, out: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((batches, images, into), (batches, out, into), (batches, out), (batches, images, out))
    return tuple(torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", SIZES)
def test_products_are_those_of_float64(
    sizes: tuple[int, ...], dtype: torch.dtype, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By oneDNN, where this torch has it, and by torch's own products."""
    monkeypatch.setattr(products, "_ONEDNN", onednn and products._has_onednn())
    inputs, weights, biases, errors = operands(*sizes, dtype)
    exact = [t.double() for t in (inputs, weights, biases, errors)]
    # sums of at most 784 products of standard normals, as large as 100; float32 keeps 24 bits of each
    tolerance = 784 * 100 * torch.finfo(dtype).eps / 16
    for found, wanted in (
        (products.affine(inputs, weights, biases), torch.einsum("rnp,rop->rno", *exact[:2]) + exact[2][:, None]),
        (products.outer(errors, inputs), torch.einsum("rno,rnp->rop", exact[3], exact[0])),
        (products.gram_with_first(inputs, 4), torch.einsum("rnp,rmp->rnm", exact[0], exact[0][:, :4])),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=tolerance)


def test_products_by_strided_operands_are_the_same() -> None:
    """oneDNN reads memory itself: a slice or a transposed matrix must not be taken for a contiguous one."""
    inputs, weights, biases, errors = operands(2, 64, 784, 100, torch.float32)
    close = functools.partial(torch.testing.assert_close, rtol=0, atol=1e-3)  # as above, sums in another order
    wide, tall = torch.cat([inputs, inputs], -1), inputs.mT.contiguous().mT
    for other in (wide[..., :784], tall):
        close(products.affine(other, weights, biases), products.affine(inputs, weights, biases))
        close(products.outer(errors, other), products.outer(errors, inputs))
        close(products.gram_with_first(other, 30), products.gram_with_first(inputs, 30))


def test_what_autograd_follows_keeps_its_gradient() -> None:
    inputs, weights, biases, _ = operands(1, 64, 784, 100, torch.float32)
    weights.requires_grad_()
    products.affine(inputs, weights, biases).sum().backward()
    torch.testing.assert_close(weights.grad, inputs.sum(1, keepdim=True).expand_as(weights))
