"""The linear layer, and its dual: the form that it takes on inputs that do not change.

With plain gradient descent a linear layer's weights after some steps are W + C^T X, X the support images and C the sum
of -rate * delta over steps. On any images X' they act as X' W^T + (X' X^T) C, so a task needs its base pre-activations
X' W^T + b and the small Gram matrix X' X^T + 1 (the 1 carries the bias), and never a copy of a large layer. This equals
updating every weight, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import products
from metafa.learning.layers.base import Cache, Draw, Layer, Parameters, folded, of_deviation, per_episode, times


@dataclass(frozen=True)
class Linear(Layer):
    """y = x W^T + b; ``weight`` is ``[network, out, in]`` and ``bias`` ``[network, out]``.

    gain: the variance of initial weights, times the number of inputs.
    distribution: of initial weights, ``normal`` or ``uniform``.
    units_first: how outputs lie in memory where each batch has weights of its own: units before images. Softmax over
        a few outputs of many images is several times faster over the outer of the two axes.
    """

    inputs: int
    outputs: int
    gain: float
    units_first: bool = False
    distribution: str = "normal"

    learns = True
    carried = True
    has_dual = True

    @property
    def deviation(self) -> float:
        return (self.gain / self.inputs) ** 0.5

    def initialise(self, draw: Draw) -> Parameters:
        """Weights of mean 0 and variance gain / in; biases 0."""
        weight = of_deviation(draw, self.weight_shape, self.deviation, self.distribution)
        return {"weight": weight, "bias": torch.zeros(weight.shape[:2], device=weight.device)}

    def forward(self, own: Parameters, x: Tensor) -> tuple[Tensor, Cache]:
        weight, bias = own["weight"], own["bias"]
        networks = weight.shape[0]
        if not self.units_first:
            shared = products.affine(folded(x, networks), weight, bias)
            return shared if x.shape[0] == networks else shared.view(*x.shape[:-1], -1), x
        if x.shape[0] == networks:
            return torch.baddbmm(bias.unsqueeze(-1), weight, x.mT).mT, x
        shared = torch.baddbmm(bias.unsqueeze(-2), x.reshape(networks, -1, x.shape[-1]), weight.mT)
        return shared.view(*x.shape[:-1], -1), x

    def backward(self, own: Parameters, carrier: Tensor | None, error: Tensor, cache: Cache) -> Tensor:
        assert carrier is not None
        return times(error, carrier)

    def gradients(self, error: Tensor, cache: Cache, networks: int) -> Parameters:
        """delta^T h, and the sum of delta over images."""
        error = folded(error, networks)
        return {"weight": products.outer(error, folded(cache, networks)), "bias": error.sum(-2)}

    def gradient_step(
        self, own: Parameters, rate: Tensor, error: Tensor, cache: Cache, feedback: Tensor | None
    ) -> tuple[Parameters, Tensor | None]:
        episodes, error = error.shape[0], rate * error
        found = {
            "weight": torch.baddbmm(per_episode(own["weight"], episodes), error.mT, cache, alpha=-1),
            "bias": per_episode(own["bias"], episodes) - error.sum(-2),
        }
        if feedback is not None:
            feedback = torch.baddbmm(per_episode(feedback, episodes), error.mT, cache, alpha=-1)
        return found, feedback

    def answer(self, weight: Tensor, noise: Tensor) -> Tensor:
        return noise @ weight.mT

    def average(self, feedback: Tensor, answers: Tensor, noise: Tensor, keep: float, by: float) -> None:
        feedback.baddbmm_(answers.mT, noise, beta=keep, alpha=by)

    def dual(self, outputs: Tensor, gram: Tensor, images: Tensor, place: slice) -> Dual:
        return Dual(self, outputs, gram, images, place)

    def of_all(self, own: Parameters, images: Float[Tensor, "_all pixel"]) -> Float[Tensor, "_all replica out"]:
        weight, bias = own["weight"].flatten(0, 1), own["bias"].flatten()
        return products.affine(images[None], weight[None], bias[None])[0].unflatten(1, own["bias"].shape)


@dataclass(frozen=True)
class Dual(Layer):
    """A linear layer on a set of images that does not change, as it adapts to tasks; its one parameter is
    ``coefficients``, C above, ``[episode, support, out]``, and none while they are all 0.

    linear: the layer that it stands for.
    base: its outputs at the start.
    gram: products of the set's images with the support images, plus 1.
    images: all images of each task, support images first; none where no outer algorithm asks for them.
    place: which of them the set is.
    """

    linear: Linear
    base: Float[Tensor, "_episode _image _out"]
    gram: Float[Tensor, "_episode _image _support"]
    images: Float[Tensor, "_replica _task _all _in"]
    place: slice

    learns = True
    carried = True

    def forward(self, own: Parameters, x: None) -> tuple[Tensor, Cache]:
        if not own:
            return self.base.clone(), None
        return torch.baddbmm(self.base, self.gram, own["coefficients"]), None

    def gradients(self, error: Tensor, cache: Cache, networks: int) -> Parameters:
        images = self.images[:, :, self.place].flatten(1, 2)
        return self.linear.gradients(folded(error, len(images)), images, networks)

    def gradient_step(
        self, own: Parameters, rate: Tensor, error: Tensor, cache: Cache, feedback: Tensor | None
    ) -> tuple[Parameters, Tensor | None]:
        """The gradient of the weight is delta^T X, so that of C, as a step goes, is delta."""
        if not own:
            return {"coefficients": -rate * error}, None
        return {"coefficients": torch.addcmul(own["coefficients"], rate, error, value=-1)}, None

    def live(self, own: Parameters) -> tuple[Layer, Parameters, Parameters]:
        """Differentiated by the outputs at the start: the gradients of the weights follow from theirs."""
        base = self.base.requires_grad_()
        return replace(self, base=base), own, {"base": base}

    def derivatives(self, error: Tensor, cache: Cache) -> Parameters:
        return {"coefficients": torch.bmm(self.gram.mT, error)}

    def initial_gradients(self, by_leaves: Parameters, error: Tensor, replicas: int) -> Parameters:
        errors = torch.cat([by_leaves["base"], error], 1)
        return self.linear.gradients(folded(errors, replicas), self.images.flatten(1, 2), replicas)

    def displacement(self, start: Parameters, own: Parameters) -> Parameters:
        if not own:
            return {name: torch.zeros_like(tensor) for name, tensor in start.items()}
        replicas, tasks = self.images.shape[:2]
        return self.gradients(folded(own["coefficients"], replicas) / -tasks, None, replicas)
