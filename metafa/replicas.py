"""Networks as Python's users hold them, and their measurements as a data frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from metafa.learning.layers.activation import Activation
from metafa.learning.networks import Network
from metafa.learning.streams import Streams
from metafa.studies.card import card
from metafa.studies.data import NO_INPUTS, Inputs
from metafa.studies.phases import RuleName
from metafa.trials import recording


@dataclass(frozen=True)
class Replicas:
    """S networks of one shape, each with a seed of its own, and the credit assignment rule that they learn by.

    network: their ``weights``, one tensor ``[S, out, in]`` for each layer, first layer first; their ``biases``,
        ``[S, out]``; and their ``feedback``, ``[S, out, in]`` for every layer but the first. `pretrain` changes all of
        these in place.
    rule: the name of the credit assignment rule.
    streams: the random streams that everything is drawn from.
    """

    network: Network
    rule: RuleName
    streams: Streams

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each replica."""
        return self.streams.replica_seeds

    @property
    def sizes(self) -> tuple[int, ...]:
        """The network's inputs, what each hidden layer with weights makes of an image, and its outputs."""
        layers = zip(self.network.layers, self.network.parameters, strict=True)
        return (self.network.inputs, *(layer.outputs for layer, own in layers if "weight" in own))

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return f"<Replicas: {len(self.seeds)} networks {shape} that learn by {self.rule}, on {self.streams.device}>"

    def _repr_html_(self) -> str:
        activations = dict.fromkeys(layer.name for layer in self.network.layers if isinstance(layer, Activation))
        rows = {"rule": self.rule, "units": " - ".join(map(str, self.sizes)), "activation": ", ".join(activations)}
        return card(f"{len(self.seeds)} networks", rows | {"device": self.streams.device})


COLUMNS = ["seed", "phase", "step", "metric", "layer", "inputs", "value"]


def check_replicas(replicas: Any) -> None:
    """Raises TypeError where ``replicas`` are none."""
    if not isinstance(replicas, Replicas):
        raise TypeError(f"replicas: found {type(replicas).__name__}, expected what `metafa.initialise` returns")


def frame(
    replicas: Replicas,
    phase: str,
    step: int,
    measured: Iterable[tuple[str, int | None, Tensor]],
    inputs: Inputs = NO_INPUTS,
) -> pd.DataFrame:
    """A row for each seed of each metric, layer and values that were ``measured``."""
    rates = [None] * len(replicas.seeds)
    rows = [
        row
        for metric, layer, values in measured
        for row in recording.measured_rows(
            replicas.seeds, rates, phase, step, metric, values, layer=layer, inputs=inputs
        )
    ]
    return pd.DataFrame(rows)[COLUMNS].astype({"layer": "Int64"})
