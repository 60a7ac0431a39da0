"""analysis/claims.py on results whose answers are known."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from claim_rows import rows_of
from study_texts import study_with

from metafa.reporting.conditions import Tables
from metafa.results import addresses, preparation
from metafa.results.columns import TABLES
from metafa.studies import study
from metafa.studies.data import Inputs

STUDY = {
    "seeds": 12,
    "network": {"rule": {"choices": ["feedback_alignment", "backprop"]}},
    "phases": [
        {"phase": "noise", "steps": {"choices": [0, 1000]}},
        {"phase": "supervised", "dataset": {"choices": ["digits", "usps"]}, "steps": 100},
        {"phase": "out_of_distribution", "rotation": [10, 20]},
    ],
}


ANGLE = dict(metric="alignment_angle", phase="noise", layer=2, compare="start", expect="lower")


CHANCE = dict(metric="readout_probability", phase="noise", inputs="noise", compare="reference", reference=0.1)
LEARNED, SHIFTED = (dict(metric="accuracy", phase=phase) for phase in ("supervised", "out_of_distribution"))


CLAIMS = [
    (1, ANGLE, "holds"),
    (1, ANGLE | dict(margin=30.0), "fails"),
    (2, LEARNED | dict(step="mean", expect="higher"), "holds"),
    (2, LEARNED | dict(rule="backprop", expect="higher"), "undecided"),
    (4, CHANCE | dict(expect="near", margin=0.05), "holds"),
    (6, LEARNED | dict(expect="lower"), "fails"),
    (7, SHIFTED | dict(expect="higher"), "holds"),
    (7, SHIFTED | dict(shift="rotation", expect="higher"), "holds"),
]


@pytest.fixture(params=[[None], [0.001, 0.01]], ids=["one rate", "rates side by side"])
def claimed(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    rates = {} if request.param == [None] else {"learning_rate": request.param}
    written = [{"claim": number, "statement": "s"} | claim for number, claim, _ in CLAIMS]
    checked = study.parse(study_with(STUDY, supervised=rates, claims=written), default_name="made")
    folder = tmp_path / "made"
    preparation.prepare(addresses.at(folder), checked)
    random = np.random.default_rng(0)
    for trial in checked.trials:
        noise, dataset = trial.varied["noise.steps"], trial.varied["supervised.dataset"]
        gain = 0.1 * (noise > 0) * (trial.varied["network.rule"] == "feedback_alignment")
        rows = []
        for seed, rate in itertools.product(range(12), request.param):
            off = 0.01 * seed + random.normal(0, 0.001)  # seeds differ more than they are measured
            found = [
                ("noise", step, "alignment_angle", 2, Inputs(), 90 - off - (20 + off) * step / 1000)
                for step in sorted({0, noise})
            ]
            found += [("noise", noise, "readout_probability", None, Inputs("noise"), 0.12 + 0.1 * off)]
            # in the batch trained on, and on the test images: a straight rise from step 0, so that the mean is midway
            for step in (0, 10, 100):
                found += [
                    ("supervised", step, "accuracy", None, Inputs("batch"), 0.99),
                    ("supervised", step, "accuracy", None, Inputs(dataset), off + (0.4 + 2 * gain) * step / 100),
                ]
            shifted = {10.0: 0.5 + gain, 20.0: 0.3 + gain}
            changed = {Inputs(dataset): 0.0} | {Inputs(dataset, "rotation", by): one for by, one in shifted.items()}
            found += [
                ("out_of_distribution", 0, "accuracy", None, inputs, off + value) for inputs, value in changed.items()
            ]
            shared = {"seed": seed, "learning_rate": rate}
            rows += [
                shared | dict(phase=phase, step=step, metric=metric, layer=layer, value=value, **inputs._asdict())
                for phase, step, metric, layer, inputs, value in found
            ]
        synthetic_results.put(folder, checked, trial, rows)
    return folder


def test_each_claim_is_judged_by_its_rule(claimed: Path, tmp_path: Path) -> None:
    done = synthetic_results.run("claims.py", claimed, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out" / "claims.csv")
    conditions = table["conditions"].unique()
    assert {place.split(",")[0] for place in conditions} == {"supervised.dataset digits", "supervised.dataset usps"}
    assert len(table) == len(conditions) * len(CLAIMS), "a row a dataset and rate"
    for place in conditions:
        rows = table[table["conditions"] == place]
        assert rows["verdict"].tolist() == [verdict for _, _, verdict in CLAIMS]
        assert (rows["seeds"] == 12).all()
        one, _, learned, backprops, chance, _, shifted, by_shift = rows["difference"]
        assert one == pytest.approx(-20.055, abs=0.001)
        assert learned == pytest.approx(0.1, abs=0.001), "half of the 0.2 gained at the end"
        assert abs(backprops) < 0.001
        assert chance == pytest.approx(0.02 + 0.1 * 0.055, abs=0.001)
        assert shifted == by_shift == pytest.approx(0.1, abs=0.001)
        # of the images as they are, 0 + off, nothing may be in the mean out of distribution
        assert rows["against"].iloc[-1] == pytest.approx(0.4 + 0.055, abs=0.001)
        assert rows["backprop"].iloc[2] == pytest.approx(0.2 + 0.055, abs=0.001)
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert len(pictures) == len(CLAIMS)


def test_a_study_that_claims_nothing_is_said_in_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    synthetic_results.results_of(folder, study_with(STUDY), lambda trial: [])
    done = synthetic_results.run("claims.py", folder)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"{folder}: this study claims nothing; say under [[claims]] what is to be judged, and how"
    )


def test_a_study_of_which_too_little_is_done_is_said_in_a_line(claimed: Path, tmp_path: Path) -> None:
    for trial in preparation.read_study(addresses.at(claimed)).trials:
        if trial.varied["noise.steps"] == 0:
            for table in TABLES:
                (claimed / table / f"{trial.trial_id}.parquet").unlink()
    done = synthetic_results.run("claims.py", claimed, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.strip() == f"{claimed}: claim 2: not all of the trials that it compares are done"
    assert not (tmp_path / "out").exists()


@pytest.fixture
def claim_figures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(synthetic_results.ANALYSIS))
    return importlib.import_module("claim_figures")


def test_what_noise_is_compared_with_is_drawn_beside_each_kind_of_noise(claim_figures: ModuleType) -> None:
    """And a kind may have settings that others lack."""
    names, kinds = ["noise.inputs", "noise.dataset"], [(0, "normal", None), (9, "normal", None), (9, "images", "mnist")]
    rows = rows_of("noise_steps noise.inputs noise.dataset value", [(*kind, n) for n, kind in enumerate(kinds)])
    tables = Tables(addresses.at("nowhere"), rows, rows, ["network.rule", "noise_steps", *names], names)
    drawn = claim_figures.with_baselines(rows, tables)
    assert drawn["value"].tolist() == [0, 1, 2, 0]
    assert drawn.iloc[3][["noise_steps", *names]].tolist() == [0, "images", "mnist"]


def test_spectra_are_drawn_from_the_largest_singular_value_down(claim_figures: ModuleType) -> None:
    """At the end of a phase, dashed as they were at its start, where there are no networks without noise."""
    found = [
        ("a", s, 100, step, n, size / n + 0.1 * s) for s in (0, 1) for step, size in ((0, 4), (100, 8)) for n in (1, 2)
    ]
    spectra = rows_of("trial_id seed noise_steps step component value", found)
    (axis,) = (axis for axis in claim_figures.plot_spectra(spectra, []).axes if axis.get_visible())
    drawn = {line.get_linestyle(): line for line in axis.lines}
    for style, size in (("--", 4), ("-", 8)):
        assert drawn[style].get_xdata().tolist() == [1, 2]
        assert drawn[style].get_ydata().tolist() == pytest.approx([size + 0.05, size / 2 + 0.05])


def test_generalization_is_drawn_against_training_images_and_rank(claim_figures: ModuleType) -> None:
    points = [(seed, noise, images) for seed in (0, 1) for noise in (0, 1000) for images in (100, 1000)]
    errors = [(f"{n}{i}", s, n, i, 9, 1 / i + n + 0.1 * s) for s, n, i in points]
    ranks = [(f"{n}{i}", s, n, i, 9, 50 + i / 100 - n / 100 + s) for s, n, i in points]
    names = "trial_id seed noise_steps supervised.training_images step value"
    drawn = claim_figures.plot_generalization(
        rows_of(names, errors), rows_of(names, ranks), "supervised.training_images", []
    )
    by_size, by_rank = drawn.axes
    for axis, x in (
        (by_size, {"--": [100, 1000], "-": [100, 1000]}),
        (by_rank, {"--": [51.5, 60.5], "-": [41.5, 50.5]}),
    ):
        lines = {line.get_linestyle(): line for line in axis.lines if line.get_linestyle() != "None"}
        for style, noise in (("--", 0), ("-", 1000)):
            assert lines[style].get_xdata().tolist() == pytest.approx(x[style])
            assert lines[style].get_ydata().tolist() == pytest.approx([noise + 0.06, noise + 0.051])
