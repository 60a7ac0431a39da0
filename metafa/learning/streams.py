"""Named random streams: the one place where generators are made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Streams:
    """The random streams of a trial's replicas.

    A draw depends on the study's seed, its replica's seed and its own name, and on nothing else: two
    trials that draw ``"weights"`` for the same seed draw the same weights, whatever else they draw.
    """

    study_seed: int
    replica_seeds: tuple[int, ...]
    device: str = "cpu"

    def generators(self, name: str, device: str | None = None) -> list[torch.Generator]:
        """A fresh generator for each replica, at the start of its stream ``name``."""
        return [
            self._generator(f"{self.study_seed}/{seed}/{name}", device or self.device) for seed in self.replica_seeds
        ]

    @staticmethod
    def _generator(key: str, device: str) -> torch.Generator:
        digest = hashlib.blake2b(key.encode(), digest_size=7).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(digest, "big"))
