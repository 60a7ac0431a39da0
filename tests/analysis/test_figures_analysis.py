"""analysis/figures.py, which the other scripts share."""

from __future__ import annotations

import io
import runpy

import numpy as np
import pandas as pd
import pytest
import synthetic_results

from metafa.reporting.appearance import Line


@pytest.mark.parametrize(
    "words",
    [
        ["feedback_alignment, " + ", ".join(f"noise.setting_{n} = {n / 7:.4f}" for n in range(20)), "backprop"],
        ["backprop", "feedback_alignment", "no noise", "10000 noise steps"],
    ],
)
def test_words_stay_within_a_figure(words: list[str]) -> None:
    figures = runpy.run_path(str(synthetic_results.ANALYSIS / "figures.py"))
    figure, _ = figures["grid"](1, 1)
    figures["legend"](figure, [Line((one,), one, "black", "solid") for one in words])
    figure.savefig(io.BytesIO())
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1 / 2, "and leave half of it for the curves"


def test_no_text_of_a_csv_is_a_formula() -> None:
    figures = runpy.run_path(str(synthetic_results.ANALYSIS / "figures.py"))
    texts = [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "＝1",
        "a=1",
        "",
        None,
        "-0.5",
        "-inf",
        "1e-3",
    ]
    table = pd.DataFrame({"=text": texts, "number": np.linspace(-1, 1, len(texts))})
    read = pd.read_csv(
        io.StringIO(figures["for_spreadsheets"](table).to_csv(index=False)), keep_default_na=False, dtype=str
    )
    assert read["'=text"].tolist() == [
        *("'" + text for text in texts[:5]),
        "'\\r=1",
        "'＝1",
        "a=1",
        "",
        "",
        "-0.5",
        "-inf",
        "1e-3",
    ]
    assert read["number"].astype(float).tolist() == table["number"].tolist()
