"""The large matrix products, which are most of metafa's arithmetic, by the fastest library that torch carries.

On a CPU that is oneDNN, by the operator that `torch.compile` itself calls: it uses AVX-512 on every CPU that has it,
where torch's own products go to MKL, which does so on Intel's alone, and takes about half the time there. Elsewhere,
in other precisions and in what autograd follows, these are torch's own products.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

WORTHWHILE = 2**20  # multiplications of one product; the operator's own cost is that of some thousands


def _onednn(inputs: Tensor, weights: Tensor, biases: Tensor | None = None) -> Tensor:
    """inputs @ weights^T + biases."""
    return torch.ops.mkldnn._linear_pointwise(inputs, weights, biases, "none", [], "")


def _has_onednn() -> bool:
    """Whether this torch has the operator, which is not public, as it is known here."""
    try:
        return _onednn(torch.full((1, 1), 2.0), torch.full((1, 1), 3.0)).item() == 6
    except (AttributeError, RuntimeError, TypeError):
        return False


_ONEDNN = _has_onednn()


def library(device: str) -> str:
    """The library that computes large products in single precision on a ``device`` of torch's, ``cpu`` or ``cuda``:
    "onednn" or "torch". The last bits of results depend on it."""
    return "onednn" if _ONEDNN and device == "cpu" else "torch"


def _by_onednn(multiplications: int, *tensors: Tensor) -> bool:
    return (
        _ONEDNN
        and multiplications >= WORTHWHILE
        and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
    )


def _stacked(parts: list[Tensor]) -> Tensor:
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)  # one is not copied


def affine(
    inputs: Float[Tensor, "_batch image in"],
    weights: Float[Tensor, "_batch out in"],
    biases: Float[Tensor, "_batch out"],
) -> Float[Tensor, "_batch image out"]:
    """x W^T + b, of every batch of images with its own matrix."""
    if _by_onednn(inputs[0].numel() * weights.shape[1], inputs, weights, biases):
        return _stacked([_onednn(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)])
    return torch.baddbmm(biases.unsqueeze(-2), inputs, weights.mT)


def outer(
    errors: Float[Tensor, "_batch image out"], inputs: Float[Tensor, "_batch image in"]
) -> Float[Tensor, "_batch out in"]:
    """delta^T h, of every batch of images."""
    if _by_onednn(errors[0].numel() * inputs.shape[-1], errors, inputs):
        return _stacked([_onednn(e.mT, x.mT) for e, x in zip(errors, inputs, strict=True)])
    return torch.bmm(errors.mT, inputs)


def gram_with_first(images: Float[Tensor, "_batch image pixel"], first: int) -> Float[Tensor, "_batch image _first"]:
    """The products of the images of every batch with its ``first`` ones."""
    if _by_onednn(images[0].numel() * first, images):
        return _stacked([_onednn(x, x[:first]) for x in images])
    return torch.bmm(images, images[:, :first].mT)
