"""Controls of a training phase: what becomes of a network in place of what training makes of it.

A control lets the training run, and then leaves the network as it was at the phase's start but for one thing that the
training did: how far it moved, or how far it turned towards the feedback. What is learned faster after the training but
not after the control, that one thing does not explain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from metafa.learning import credit, networks
from metafa.learning.kinds import CONTROLS, resolved
from metafa.learning.layers.base import Parameters
from metafa.learning.measures import unit_alignment_angles
from metafa.learning.networks import Network
from metafa.learning.rules import Rule
from metafa.learning.streams import Streams
from metafa.learning.training import ResumePoint, State, Step

STATE = "control/"
PARALLEL = 1e-6  # the sine of an angle that is one of rounding


@dataclass(frozen=True)
class Control:
    """A control of one phase.

    kind: a row of `CONTROLS` that has a function.
    start: the network as it was at the phase's start, a copy.
    rule: by whose feedback the network learns, and against which angles are measured.
    streams: what random steps are drawn from.
    """

    kind: str
    start: Network
    rule: Rule
    streams: Streams


def begin(kind: str, network: Network, rule: Rule, streams: Streams, resume: ResumePoint) -> Control | None:
    """The control of a phase that begins with ``network``, or goes on with it from a step whose state `carried` has
    made; None where the ``kind`` controls nothing."""
    if CONTROLS[kind].function is None:
        return None
    start = networks.copied(network)
    for number, tensor in enumerate(start.state if resume.state else ()):
        assert resume.state is not None
        tensor.copy_(resume.state[f"{STATE}{number}"])
    return Control(kind, start, rule, streams)


def carried(control: Control | None, steps: Iterator[Step]) -> Iterator[Step]:
    """The steps of a phase, whose state has what the control goes on from: the network at the phase's start."""
    if control is None:
        yield from steps
        return
    start: State = {f"{STATE}{number}": tensor for number, tensor in enumerate(control.start.state)}
    for step in steps:
        yield replace(step, state=partial(_joined, step.state, start))


def _joined(of_loop: Callable[[], State], start: State) -> State:
    return of_loop() | start


def leave(control: Control | None, network: Network) -> None:
    """Makes of ``network``, in place, what a phase leaves that ends here."""
    if control is None:
        return
    parameters = resolved(CONTROLS[control.kind].function)(control, network)
    _assign(network, replace(control.start, parameters=parameters))


@contextmanager
def as_left(control: Control | None, network: Network) -> Iterator[None]:
    """Within it ``network`` is what a phase leaves that ends here; after it the training goes on as if it never had
    been."""
    if control is None:
        yield
        return
    trained = networks.copied(network)
    leave(control, network)
    try:
        yield
    finally:
        _assign(network, trained)


@torch.no_grad()
def random_step(control: Control, trained: Network) -> tuple[Parameters, ...]:
    """The parameters at the start, each moved by a step of the norm of the training's, in a random direction:
    W_0 + ||W - W_0|| u, u uniform on the unit sphere, for each layer's weight, each layer's bias, and each replica by
    itself. The direction is the same wherever the training is controlled, so that the step grows along a line."""
    made: list[dict[str, Tensor]] = []
    for place, (before, after) in enumerate(zip(control.start.parameters, trained.parameters, strict=True)):
        own = dict(before)
        for name, tensor in control.start.layers[place].trained(before).items():
            generators = control.streams.generators(f"control/{name}/{place}")
            drawn = [torch.randn(tensor.shape[1:], generator=g, device=g.device) for g in generators]
            direction = torch.stack(drawn).double().flatten(1)
            length = (after[name].double() - tensor.double()).flatten(1).norm(dim=1, keepdim=True)
            step = direction * (length / direction.norm(dim=1, keepdim=True))
            own[name] = (tensor.double() + step.view_as(tensor)).to(tensor.dtype)
        made.append(own)
    return tuple(made)


@torch.no_grad()
def soft_alignment(control: Control, trained: Network) -> tuple[Parameters, ...]:
    """The parameters at the start, but for weights that errors are carried through: these are `turned` towards the
    feedback at the start until, unit by unit, they have the angle to it that training has reached. After the one-time
    soft alignment of Cheon, Bae and Paik (arXiv 2505.20892); that the angle is training's is metafa's own."""
    start = control.start
    made = [dict(own) for own in start.parameters]
    before, after = (credit.alignment_pairs(control.rule, network) for network in (start, trained))
    for place, (_, weight, feedback), (_, *reached) in zip(start.carried, before, after, strict=True):
        turned_to = turned(weight, feedback, torch.deg2rad(unit_alignment_angles(*reached)))
        made[place]["weight"] = credit.of_outgoing(turned_to, made[place]["weight"])
    return tuple(made)


@torch.no_grad()
def align(network: Network, rule: Rule, angle: float) -> None:
    """Turns the weights that errors are carried through, in place, as `turned` does, to ``angle`` degrees."""
    for own, (_, weight, feedback) in zip(network.carried_weights, credit.alignment_pairs(rule, network), strict=True):
        units = (len(weight), weight.shape[2])
        angles = torch.full(units, math.radians(angle), dtype=torch.float64, device=weight.device)
        own.copy_(credit.of_outgoing(turned(weight, feedback, angles), own))


def turned(
    weight: Float[Tensor, "replica out in"],
    feedback: Float[Tensor, "replica out in"],
    angles: Float[Tensor, "replica in"],
) -> Float[Tensor, "replica out in"]:
    """The weights with each column w turned, within the plane of w and its feedback b, until it has the angle
    ``angles`` (radians) to b: |w| (cos a b/|b| + sin a v/|v|), v = w - (w . b) b / |b|^2. Norms of columns, and so of
    the matrix, stay. A column stays as it is where no plane is given, as w and b are parallel or one of them is all
    zeros, or no angle."""
    w, b = weight.double(), feedback.double()
    along = b / b.norm(dim=1, keepdim=True)
    across = w - (w * along).sum(1, keepdim=True) * along
    size, rest = w.norm(dim=1, keepdim=True), across.norm(dim=1, keepdim=True)
    made = size * (angles.cos()[:, None] * along + angles.sin()[:, None] * across / rest)
    told = made.isfinite().all(1, keepdim=True) & (rest > PARALLEL * size)
    return torch.where(told, made, w).to(weight.dtype)


def _assign(network: Network, source: Network) -> None:
    for tensor, value in zip(network.state, source.state, strict=True):
        tensor.copy_(value)
