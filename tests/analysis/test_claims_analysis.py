"""analysis/claims.py on results whose answers are known."""

import importlib
import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from metafa.reporting.claims import judge
from metafa.reporting.conditions import NOISE, RULE, Tables
from metafa.results import addresses, columns, preparation, publishing
from metafa.results.columns import TABLES
from metafa.studies import study
from metafa.studies.claims import ClaimSettings
from metafa.studies.data import Inputs
from metafa.studies.settings import flatten

SCRIPT = Path(__file__).parents[2] / "analysis" / "claims.py"
STUDY = """\
seeds = 12
[network]
rule = { choices = ["feedback_alignment", "backprop"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 1000] }
[[phases]]
phase = "supervised"
dataset = { choices = ["digits", "usps"] }
steps = 100
[[phases]]
phase = "out_of_distribution"
rotation = [10, 20]
"""
# claim, settings, and the verdict they lead to on the results below
ANGLE = 'metric = "alignment_angle"\nphase = "noise"\nlayer = 2\ncompare = "start"\nexpect = "lower"'
CHANCE = 'metric = "readout_probability"\nphase = "noise"\ninputs = "noise"\ncompare = "reference"\nreference = 0.1\n'
CLAIMS = [
    (1, ANGLE, "holds"),
    (1, f"{ANGLE}\nmargin = 30.0", "fails"),
    (2, 'metric = "accuracy"\nphase = "supervised"\nstep = "mean"\nexpect = "higher"', "holds"),
    (2, 'metric = "accuracy"\nphase = "supervised"\nrule = "backprop"\nexpect = "higher"', "undecided"),
    (4, f'{CHANCE}expect = "near"\nmargin = 0.05', "holds"),
    (6, 'metric = "accuracy"\nphase = "supervised"\nexpect = "lower"', "fails"),
    (7, 'metric = "accuracy"\nphase = "out_of_distribution"\nexpect = "higher"', "holds"),
    (7, 'metric = "accuracy"\nphase = "out_of_distribution"\nshift = "rotation"\nexpect = "higher"', "holds"),
]


@pytest.fixture(params=[[None], [0.001, 0.01]], ids=["one rate", "rates side by side"])
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    text = (
        STUDY if request.param == [None] else STUDY.replace("steps = 100", "steps = 100\nlearning_rate = [0.001, 0.01]")
    )
    text += "".join(f'[[claims]]\nclaim = {n}\nstatement = "s"\n{rest}\n' for n, rest, _ in CLAIMS)
    checked, folder = study.parse(text, default_name="made"), tmp_path / "made"
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
            shared = {"trial_id": trial.trial_id, "seed": seed, "learning_rate": rate}
            rows += [
                shared | dict(phase=phase, step=step, metric=metric, layer=layer, value=value, **inputs._asdict())
                for phase, step, metric, layer, inputs, value in found
            ]
        row = flatten(trial.settings) | {"trial_id": trial.trial_id, "study": "made", "status": "done"}
        publishing.write(addresses.at(folder), columns.trials_schema(checked), row, rows)
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=240)


def test_each_claim_is_judged_by_its_rule(made: Path, tmp_path: Path) -> None:
    done = run(made, "--output", tmp_path / "out")
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
    checked, folder = study.parse(STUDY, default_name="made"), tmp_path / "made"
    preparation.prepare(addresses.at(folder), checked)
    row = flatten(checked.trials[0].settings) | {"trial_id": checked.trials[0].trial_id, "status": "done"}
    publishing.write(addresses.at(folder), columns.trials_schema(checked), row, [])
    done = run(folder)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"{folder}: this study claims nothing; say under [[claims]] what is to be judged, and how"
    )


def test_a_study_of_which_too_little_is_done_is_said_in_a_line(made: Path, tmp_path: Path) -> None:
    for trial in preparation.read_study(addresses.at(made)).trials:
        if trial.varied["noise.steps"] == 0:
            for table in TABLES:
                (made / table / f"{trial.trial_id}.parquet").unlink()
    done = run(made, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.strip() == f"{made}: claim 2: not all of the trials that it compares are done"
    assert not (tmp_path / "out").exists()


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("claims")


def rows_of(names: str, values: list[tuple], **shared: object) -> pd.DataFrame:
    unsaid = {"learning_rate": np.nan, "inputs": None, "shift": None, "strength": np.nan, "layer": np.nan}
    shared = unsaid | {"network.rule": "feedback_alignment"} | shared
    rows = pd.DataFrame(values, columns=names.split())
    return rows.assign(**{name: value for name, value in shared.items() if name not in rows})


def test_a_claim_has_a_row_for_each_number_of_noise_steps() -> None:
    """And where it names no layer, it is about their mean."""
    found = [
        (f"with {noise}", seed, noise, layer, 10.0 * layer - noise / 100 + 0.1 * seed + (seed % 2) * (noise > 0) * 0.01)
        for noise in (0, 500, 1000)
        for seed in range(8)
        for layer in (2, 3)
    ]
    rows = rows_of("trial_id seed noise_steps layer value", found, step=0, phase="noise")
    claim = ClaimSettings(claim=3, statement="s", metric="alignment_angle", phase="noise", expect="lower")
    judged = judge(rows, claim, Tables(addresses.at("nowhere"), rows, rows, [RULE, NOISE], []))
    assert judged["compared"].tolist() == [
        f"alignment_angle: {noise} noise steps against no noise" for noise in (500, 1000)
    ]
    assert judged["difference"].tolist() == pytest.approx([-4.995, -9.995])
    assert judged["against"].tolist() == pytest.approx([25.35, 25.35])
    assert judged["verdict"].tolist() == ["holds", "holds"]


def test_spectra_are_drawn_from_the_largest_singular_value_down(claims: ModuleType) -> None:
    """At the end of a phase, dashed as they were at its start, where there are no networks without noise."""
    found = [
        ("a", s, 100, step, n, size / n + 0.1 * s) for s in (0, 1) for step, size in ((0, 4), (100, 8)) for n in (1, 2)
    ]
    spectra = rows_of("trial_id seed noise_steps step component value", found)
    (axis,) = (axis for axis in claims.plot_spectra(spectra, []).axes if axis.get_visible())
    drawn = {line.get_linestyle(): line for line in axis.lines}
    for style, size in (("--", 4), ("-", 8)):
        assert drawn[style].get_xdata().tolist() == [1, 2]
        assert drawn[style].get_ydata().tolist() == pytest.approx([size + 0.05, size / 2 + 0.05])


def test_generalization_is_drawn_against_training_images_and_rank(claims: ModuleType) -> None:
    points = [(seed, noise, images) for seed in (0, 1) for noise in (0, 1000) for images in (100, 1000)]
    errors = [(f"{n}{i}", s, n, i, 9, 1 / i + n + 0.1 * s) for s, n, i in points]
    ranks = [(f"{n}{i}", s, n, i, 9, 50 + i / 100 - n / 100 + s) for s, n, i in points]
    names = "trial_id seed noise_steps supervised.training_images step value"
    drawn = claims.plot_generalization(rows_of(names, errors), rows_of(names, ranks), "supervised.training_images", [])
    by_size, by_rank = drawn.axes
    for axis, x in (
        (by_size, {"--": [100, 1000], "-": [100, 1000]}),
        (by_rank, {"--": [51.5, 60.5], "-": [41.5, 50.5]}),
    ):
        lines = {line.get_linestyle(): line for line in axis.lines if line.get_linestyle() != "None"}
        for style, noise in (("--", 0), ("-", 1000)):
            assert lines[style].get_xdata().tolist() == pytest.approx(x[style])
            assert lines[style].get_ydata().tolist() == pytest.approx([noise + 0.06, noise + 0.051])
