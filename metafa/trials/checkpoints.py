"""A trial's checkpoint, and its file: tensors, and text; nothing in it is ever executed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import safetensors.torch
from pydantic import BaseModel, NonNegativeInt
from safetensors import SafetensorError
from torch import Tensor
from typing_extensions import TypedDict

from metafa.results.sealing import DIGEST_BYTES, digest
from metafa.trials.recording import Divergence, Outcome


@dataclass(frozen=True)
class Checkpoint:
    """A trial interrupted: in which of its phases and after how many steps of it, all tensors that it goes on from, at
    which moments the weights' path was kept, and what it leaves behind so far."""

    phase: int
    step: int
    tensors: dict[str, Tensor]
    moments: list[tuple[str, int]]
    outcome: Outcome


class _Row(TypedDict):
    seed: int
    learning_rate: float | None
    phase: str
    step: int
    metric: str
    layer: int | None
    component: int | None
    inputs: str | None
    shift: str | None
    strength: float | None
    value: float


class _Text(BaseModel):
    """What a checkpoint holds besides tensors."""

    phase: NonNegativeInt
    step: NonNegativeInt
    moments: list[tuple[str, int]]
    rows: list[_Row]
    divergences: dict[int, Divergence]
    judged: list[tuple[str, int, float]]


def encode(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as the content of a file, a digest of it at the end."""
    divergences = {replica: asdict(divergence) for replica, divergence in checkpoint.outcome.divergences.items()}
    text = json.dumps(
        dict(
            phase=checkpoint.phase,
            step=checkpoint.step,
            moments=checkpoint.moments,
            rows=checkpoint.outcome.rows,
            divergences=divergences,
            judged=checkpoint.outcome.judged,
        )
    )
    tensors = {name: tensor.contiguous().cpu() for name, tensor in checkpoint.tensors.items()}
    content = safetensors.torch.save(tensors, {"metafa": text})
    return content + digest(content)


def decode(content: bytes) -> Checkpoint | None:
    """The checkpoint in a file, or None where that is damaged, or none that metafa writes."""
    content, kept = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if kept != digest(content):
        return None
    try:
        # safetensors reads what else is in its header from files alone
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        text = _Text.model_validate(json.loads(header["__metadata__"]["metafa"]))
        tensors = safetensors.torch.load(content)
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError, SafetensorError):
        return None
    outcome = Outcome([dict(row) for row in text.rows], text.divergences, text.judged)
    return Checkpoint(text.phase, text.step, tensors, text.moments, outcome)
