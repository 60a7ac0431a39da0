"""A trial's checkpoint as a file: tensors, and text; nothing in it is ever executed."""

from __future__ import annotations

import json
from dataclasses import asdict

import safetensors.torch

from metafa.store import DIGEST_BYTES, digest
from metafa.trial import Checkpoint, Divergence, Outcome


def encode(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as the content of a file, a digest of it at the end."""
    divergences = {replica: asdict(found) for replica, found in checkpoint.outcome.divergences.items()}
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
    """The checkpoint in a file, or None where that is damaged."""
    content, kept = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if kept != digest(content):
        return None
    # safetensors reads what else is in its header from files alone
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    found = json.loads(header["__metadata__"]["metafa"])
    divergences = {int(k): Divergence(**v) for k, v in found["divergences"].items()}
    outcome = Outcome(found["rows"], divergences, [(phase, step, value) for phase, step, value in found["judged"]])
    moments = [(phase, step) for phase, step in found["moments"]]
    return Checkpoint(found["phase"], found["step"], safetensors.torch.load(content), moments, outcome)
