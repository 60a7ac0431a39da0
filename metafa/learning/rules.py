"""The credit assignment rules: how an output error reaches every layer, a row each. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from metafa.learning.kinds import Reference


@dataclass(frozen=True)
class FeedbackLearning:
    """How feedback B changes with training steps and with outer steps; not at all by default.

    follows: whether B takes the same steps as W, and decays with it.
    change: a function that changes B in place after each step; it is given the network, the rule, a
        `feedback.FeedbackConfig` and the generators.
    """

    follows: bool = False
    change: Reference | None = None


FIXED = FeedbackLearning()
REDRAWN = FeedbackLearning(change="metafa.learning.feedback:redraw")
KOLEN_POLLACK = FeedbackLearning(follows=True)
WEIGHT_MIRROR = FeedbackLearning(change="metafa.learning.feedback:mirror")


@dataclass(frozen=True)
class Rule:
    """A credit assignment rule.

    carrier: from a layer's weights W and feedback B to what stands in W's place on the way back, in W's shape,
        whatever the layer; written in differentiable methods of tensors. On the direct route it is B itself.
    reads_feedback: whether errors pass through B; where they pass through W alone, B is there to be measured against.
    transports: what it reads of W to send errors back: all of it (``weights``), its ``signs``, or nothing (``none``).
    route: whether errors go from layer to layer, or from the outputs straight to each hidden layer.
    magnitudes: whether the entries of B are drawn at random, or are all of one size.
    learning: how B changes with training steps and with outer steps.
    nested: whether B learns within the inner loop too, from task to task anew; else a task leaves it as it is.
    signals: for a rule of another kind, which no carrier describes: a function from a `credit.Pass` to a
        `credit.Signals`, the error signals that the rule makes of one batch for all layers.
    draw: for such a rule: a function from the network, a `feedback.FeedbackConfig` and the `streams.Streams` to its
        feedback, tensors ``[replica, ...]``; a rule without feedback has None.
    fixed_inputs: whether the lowest layer's inputs are the images as they are in all that it computes.
    source: the paper that it comes from.

    Raises ValueError where feedback of the direct route is to follow or mirror the weights.
    """

    carrier: Callable[[Any, Any], Any] | None
    transports: Literal["weights", "signs", "none"]
    reads_feedback: bool = True
    route: Literal["layered", "direct"] = "layered"
    magnitudes: Literal["random", "constant"] = "random"
    learning: FeedbackLearning = FIXED
    nested: bool = False
    signals: Reference | None = None
    draw: Reference | None = None
    fixed_inputs: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        if self.route == "direct" and (self.learning.follows or self.learning == WEIGHT_MIRROR or self.nested):
            raise ValueError(
                "feedback that goes straight from the outputs has other shapes than the weights, and can neither take "
                'their steps nor mirror them: route = "direct" with KOLEN_POLLACK, WEIGHT_MIRROR or nested'
            )

    @property
    def turnable(self) -> bool:
        """Whether weights can be turned towards their feedback: each layer that errors are carried through has feedback
        in its weights' shape, which they do not decide."""
        layered = self.signals is None and self.route == "layered"
        return layered and self.reads_feedback and self.transports == "none"


def forward_weight(weight: Any, feedback: Any) -> Any:
    return weight


def feedback_weight(weight: Any, feedback: Any) -> Any:
    return feedback


def signed_feedback(weight: Any, feedback: Any) -> Any:
    """|B| * sign W; the sign of 0 is +."""
    return feedback.copysign(weight)


RULES: dict[str, Rule] = {
    # the gradient
    "backprop": Rule(forward_weight, "weights", reads_feedback=False, source="Rumelhart, Hinton and Williams 1986"),
    # B random and fixed
    "feedback_alignment": Rule(feedback_weight, "none", source="Lillicrap et al. 2016"),
    # B random and fixed, from the outputs to every hidden layer
    "direct_feedback_alignment": Rule(feedback_weight, "none", route="direct", source="Nøkland 2016"),
    # B with the signs of W, and sizes all equal (uSF), random and fixed (frSF), or random and drawn anew for every
    # batch (brSF). A task is one batch: its inner loop keeps them.
    "sign_symmetry_uniform": Rule(
        signed_feedback, "signs", magnitudes="constant", source="Liao, Leibo and Poggio 2016, uSF"
    ),
    "sign_symmetry_fixed": Rule(signed_feedback, "signs", source="Moskovitz, Litwin-Kumar and Abbott 2018, frSF"),
    "sign_symmetry_random": Rule(
        signed_feedback, "signs", learning=REDRAWN, source="Moskovitz, Litwin-Kumar and Abbott 2018, brSF"
    ),
    # B takes the same steps as W, and both decay: in noise pretraining and in the outer loop, where it was published;
    # a task leaves B as it is
    "kolen_pollack": Rule(
        feedback_weight, "none", learning=KOLEN_POLLACK, source="Kolen and Pollack 1994; Akrout et al. 2019"
    ),
    # B takes the same steps as W within a task too, without decay, so that each task's adapted readout keeps its
    # feedback; the next task starts from the initial B again, as it does from the initial W
    "nested_kolen_pollack": Rule(feedback_weight, "none", learning=KOLEN_POLLACK, nested=True, source="metafa"),
    # B learns to mirror W from the answers to noise, between training steps and between outer steps; a task leaves it
    # as it is
    "weight_mirror": Rule(feedback_weight, "none", learning=WEIGHT_MIRROR, source="Akrout et al. 2019, section 3"),
}
