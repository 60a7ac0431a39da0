"""The figures of reports: what is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_results
from synthetic_results import EVALUATE, NOISE, study_of

from metafa.reporting import appearance, charts, conditions, figures


def test_bands_stay_on_a_logarithmic_axis(tmp_path: Path) -> None:
    """The interval of two seeds far apart begins below 0, where such an axis has no place and a band would be torn."""
    text = study_of(NOISE | {"steps": 0}, EVALUATE, seeds=2)
    row = {"phase": "evaluate", "inputs": "glyphs", "metric": "meta_loss"}
    synthetic_results.results_of(
        tmp_path / "made",
        text,
        lambda _: [row | {"seed": s, "step": n, "value": 1.5 + s} for s in (0, 1) for n in (0, 1)],
    )
    tables = conditions.read(tmp_path / "made")
    curves = figures.adaptation_curves(tables)
    assert (curves["low"] < 0).all()
    figure = charts.draw(figures.adaptation(curves, "meta_loss", tables, appearance.lines(tables)))
    for band in figure.data[::2]:
        assert min(band.y) == 2.0 / 2, "half of the least value shown"
        assert max(band.y) == pytest.approx(curves["high"].iloc[0])
