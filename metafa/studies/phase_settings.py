"""What every phase has: a kind, a name, and the facts that others ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Union

from pydantic import Discriminator, GetCoreSchemaHandler, GetJsonSchemaHandler, Tag, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from metafa.learning.rules import Rule
from metafa.studies.data import DatasetName, DatasetNeed, Inputs, TaskNeed
from metafa.studies.fields import SIDE_BY_SIDE, Name, Settings
from metafa.studies.outlines import Outline


class PhaseSettings(Settings):
    """What every phase has, and the facts about it."""

    trains: ClassVar[bool] = False
    """Whether phases of this kind train the network. A phase that trains learns from its tasks and from its datasets'
    training images; any other is tested on its tasks. Each is tested on its datasets' test images."""
    evaluates: ClassVar[bool] = False
    """Whether phases that train measure the meta-loss on the tasks of the trial's first such phase, which has the
    settings of `EvaluatePhase`."""
    adapts_to_datasets: ClassVar[bool] = False
    """Whether noise pretraining measures the whole-dataset meta-loss on the datasets of the trial's first such phase,
    which has the settings of `WholeDatasetsPhase`."""
    watches_datasets: ClassVar[bool] = False
    """Whether phases of this kind measure the whole-dataset meta-loss while they train."""
    skips_own_dataset: ClassVar[bool] = False
    """Whether a claim that names no inputs is about all that the phase is tested on but its dataset's images as they
    are, or about these alone."""
    retests: ClassVar[bool] = False
    """Whether the phase has no dataset of its own, and is tested on that of the last phase before that trained on one,
    where there is one. It `measures` what it does on that alone."""
    measures: ClassVar[tuple[str, ...]] = ()
    """The metrics that it measures by itself, on the inputs `tested_on`. Every phase that trains measures besides what
    the rows of `METRICS` say."""
    measures_once: ClassVar[tuple[str, ...]] = ()
    """Those of its `measures` that it measures at one moment alone."""

    phase: str
    name: Name

    @property
    def has_steps(self) -> bool:
        """Whether the phase changes the network at all."""
        return False

    @property
    def learns_rates(self) -> bool:
        """Whether the phase learns the inner loop's learning rates."""
        return False

    @property
    def converges(self) -> bool:
        """Whether the phase ends when its networks have converged, and tells when they had."""
        return False

    @property
    def takes_learned_rates(self) -> bool:
        """Whether the phase needs the learning rates that a phase before it has learned."""
        return False

    @property
    def pictures(self) -> str:
        """The setting, as it is written, for which the network's inputs have to have rows and columns; empty where
        there is none."""
        return ""

    @property
    def turns(self) -> str:
        """The setting, as it is written, for which weights have to be `turnable` towards feedback (`rules.Rule`); empty
        where there is none."""
        return ""

    def task_needs(self) -> list[TaskNeed]:
        """The tasks that the phase draws."""
        return []

    def dataset_needs(self) -> list[DatasetNeed]:
        """The datasets that the phase uses, its own first."""
        return []

    def seen_as_they_are(self) -> list[DatasetName]:
        """Datasets besides the phase's own whose images the network takes in the size that they have."""
        return []

    def tested_on(self, dataset: DatasetName | None) -> set[Inputs]:
        """The inputs of the metrics that the phase `measures`; ``dataset`` is its own."""
        return {Inputs(dataset)}

    def measured_on(self, metric: str, dataset: DatasetName | None) -> set[Inputs]:
        """Those of the inputs `tested_on` that it measures a ``metric`` of its `measures` on; where there are none, it
        does not measure it."""
        return self.tested_on(dataset)

    def transports(self, rule: Rule) -> dict[str, str]:
        """What each part of the phase reads of the forward weights to send errors back, as `Rule.transports`."""
        return {self.name: rule.transports if self.trains else "none"}

    @property
    def outline(self) -> Outline:
        """What other phases have to fit, and what decides which images the phase draws on."""
        learning_rates = [(name, getattr(self, name)) for name in learning_rates_of(type(self))]
        datasets: dict[tuple[DatasetName, str, tuple[str, ...]], str] = {}
        needs = self.dataset_needs()
        for need in (need for need in needs if need.labelled):
            datasets.setdefault((need.dataset, need.classes, need.parts), need.place)
        return Outline(
            self.phase,
            self.name,
            self.trains,
            lists=tuple((name, tuple(rates)) for name, rates in learning_rates if isinstance(rates, list)),
            tasks=tuple((need.place, need.distribution, need.split) for need in self.task_needs()),
            datasets=tuple((place, *dataset) for dataset, place in datasets.items()),
            seen=tuple(self.seen_as_they_are()),
            single_images=getattr(self, "batch_size", None) == 1,
            learns_rates=self.learns_rates,
            takes_learned_rates=self.takes_learned_rates,
            unlabelled=tuple((need.place, need.dataset) for need in needs if not need.labelled),
            retests=self.retests,
            pictures=self.pictures,
            turns=self.turns,
        )


@cache
def learning_rates_of(kind: type[PhaseSettings]) -> tuple[str, ...]:
    """The settings of a kind of phase that are learning rates, and so may be lists, side by side in one trial."""
    return tuple(name for name, field in kind.model_fields.items() if SIDE_BY_SIDE in field.metadata)


@cache
def _union_of(rows: tuple[tuple[str, type[PhaseSettings]], ...]) -> TypeAdapter:
    kinds = tuple(Annotated[settings, Tag(kind)] for kind, settings in rows)
    return TypeAdapter(Annotated[Union[kinds], Discriminator(_kind_of)])  # type: ignore[arg-type]  # noqa: UP007


def _kind_of(value: Any) -> Any:
    return value.get("phase") if isinstance(value, dict) else getattr(value, "phase", None)


@dataclass(frozen=True, eq=False)
class OneOf:
    """The type of a phase of any kind in a table: a row that is added to the table is allowed from then on."""

    table: Mapping[str, type[PhaseSettings]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(lambda value: self._union.validate_python(value))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(self._union.core_schema)

    @property
    def _union(self) -> TypeAdapter:
        return _union_of(tuple(self.table.items()))
