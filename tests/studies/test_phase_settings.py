"""Phases: a kind that is added to the table, and the facts that others read."""

from __future__ import annotations

from typing import Literal

import pytest
from study_texts import study_with

from metafa.errors import StudyError
from metafa.studies import study
from metafa.studies.data import DatasetNeed
from metafa.studies.fields import Name, Rates
from metafa.studies.needs import dataset_needs, image_needs, images_by_phase, metrics_of, transports
from metafa.studies.phase_settings import PhaseSettings
from metafa.studies.phases import PHASES
from metafa.studies.settings import flatten

DISTILLED = {
    "network": {"rule": "kolen_pollack"},
    "phases": [
        {"phase": "distil", "speed": [0.1, 0.2]},
        {"phase": "out_of_distribution", "datasets": ["digits"]},
    ],
}


class DistilPhase(PhaseSettings):
    """A phase that trains on a dataset, and whose learning rate is called otherwise."""

    trains = True
    measures = ("accuracy",)

    phase: Literal["distil"]
    name: Name = "distil"
    speed: Rates = 0.1

    @property
    def has_steps(self) -> bool:
        return True

    def dataset_needs(self) -> list[DatasetNeed]:
        return [DatasetNeed(f"{self.name}.dataset", "glyphs")]


def test_a_kind_that_is_added_to_the_table_may_be_named_in_a_study(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudyError, match="`phase` is 'distil', expected"):
        study.parse(study_with(DISTILLED))
    monkeypatch.setitem(PHASES, "distil", DistilPhase)
    settings = study.parse(study_with(DISTILLED)).trials[0].settings
    distil, tested = settings.phases
    assert isinstance(distil, DistilPhase)
    assert settings.side_by_side == {"distil.speed": [0.1, 0.2]}
    assert settings.datasets() == {"distil": "glyphs", "out_of_distribution": "glyphs"}
    assert [need.dataset for need in dataset_needs(settings)] == ["glyphs", "glyphs", "digits"]
    assert images_by_phase(settings, distil) == (["datasets/glyphs/training"], ["datasets/glyphs/test"])
    assert images_by_phase(settings, tested) == ([], ["datasets/glyphs/test", "datasets/digits/test"])
    assert image_needs(settings)["datasets/digits/test"] == "out_of_distribution.datasets"
    assert transports(settings) == {"distil": "none", "out_of_distribution": "none"}
    assert {"accuracy", "loss", "alignment_angle"} <= metrics_of(settings)["distil"]
    with pytest.raises(StudyError, match="unknown key; did you mean 'speed'"):
        study.parse(study_with(DISTILLED, distil={"sped": 0.1}))


def test_the_kind_of_every_phase_stands_beside_its_settings() -> None:
    text = '[[phases]]\nphase = "noise"\nname = "first"\nsteps = 1\n[[phases]]\nphase = "supervised"\n'
    flat = flatten(study.parse(f'{text}dataset = "glyphs"\nsteps = 1\n').trials[0].settings)
    assert (flat["first.phase"], flat["supervised.phase"]) == ("noise", "supervised")
