"""A checkpoint is read as it was written, or taken for none."""

from __future__ import annotations

import json

import safetensors.torch
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metafa.results import sealing
from metafa.results.sealing import DIGEST_BYTES
from metafa.trials import checkpoints


def checkpoint(**changes: object) -> bytes:
    """A checkpoint whose text has ``changes`` in it, with the right digest."""
    row = {"seed": 0, "learning_rate": None, "phase": "noise", "step": 0, "metric": "loss", "layer": None}
    row |= {"component": None, "inputs": None, "shift": None, "strength": None, "value": float("nan")}
    diverged = {"seed": 0, "learning_rate": None, "phase": "noise", "step": 0, "metric": "loss"}
    text = {"phase": 0, "step": 4, "moments": [["noise", 0]], "rows": [row], "divergences": {"0": diverged}}
    text["judged"] = [["noise", 0, 0.1]]
    content = safetensors.torch.save({"weights": torch.ones(2)}, {"metafa": json.dumps(text | changes)})
    return content + sealing.digest(content)


def test_a_checkpoint_is_read_or_taken_for_none() -> None:
    found = checkpoints.decode(checkpoint())
    assert found is not None
    assert checkpoints.encode(found) == checkpoint()
    for changes in (
        {"phase": "noise"},
        {"phase": -1},
        {"step": None},
        {"moments": [["noise"]]},
        {"rows": [{"seed": 0}]},
        {"rows": 3},
        {"divergences": {"first": {}}},
        {"divergences": {"0": {"seed": 0, "odd": 1}}},
        {"judged": [[0]]},
    ):
        assert checkpoints.decode(checkpoint(**changes)) is None
    deep = safetensors.torch.save({}, {"metafa": "[" * 100_000})
    for content in (b"", b"\xff" * 40, json.dumps({}).encode(), deep, (2**63).to_bytes(8, "little") + b"{}"):
        assert checkpoints.decode(content + sealing.digest(content)) is None


@hypothesis_settings(max_examples=200, deadline=None, derandomize=True)
@given(place=st.integers(0, 2000), instead=st.binary(max_size=20))
def test_a_checkpoint_of_which_bytes_are_others_is_read_or_taken_for_none(place: int, instead: bytes) -> None:
    content = checkpoint()[:-DIGEST_BYTES]
    content = content[: place % len(content)] + instead + content[place % len(content) + len(instead) :]
    checkpoints.decode(content + sealing.digest(content))
