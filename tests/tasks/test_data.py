"""Images are a part of a result: their digests are in `trial_id` and in `trials`, and others are not mixed in."""

import bz2
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import synthetic_results as made
from study_texts import study_with
from typer.testing import CliRunner

from metafa import cli
from metafa.results import addresses, preparation, tables
from metafa.results.preparation import IMAGES
from metafa.running import trial_rows
from metafa.studies import study
from metafa.tasks import LabelledImages, data
from metafa.trials import trial

ON_USPS = {
    "seeds": 1,
    "phases": [{"phase": "supervised", "dataset": "usps", "batch_size": 4, "steps": {"choices": [1, 2]}}],
}
USPS = study_with(ON_USPS)
SEARCH = study_with(ON_USPS, search={"method": "tpe", "trials": 2, "objectives": ["supervised.loss"]})


def put_usps(folder: Path, file: str, seed: int) -> None:
    """A file of 20 random images."""
    random = np.random.default_rng(seed)
    images = random.uniform(-1, 1, (20, 256))
    lines = [f"{i % 10 + 1} " + " ".join(f"{p}:{v:.4f}" for p, v in enumerate(x, 1)) for i, x in enumerate(images)]
    (folder / file).write_bytes(bz2.compress("\n".join(lines).encode()))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study over USPS, and two files of USPS."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    (tmp_path / "s.toml").write_text(USPS)
    put_usps(tmp_path, "usps.bz2", 0)
    put_usps(tmp_path, "usps.t.bz2", 1)
    return tmp_path


def over_what_is_here(text: str) -> study.Study:
    checked = study.parse(text, default_name="s")
    return checked.over(data.here(checked.examples).digests)


def put_results(address: str, text: str = USPS) -> study.Study:
    """Results of all trials, with the rows that a worker gives them but for what is measured."""
    checked = over_what_is_here(text)
    preparation.prepare(addresses.at(address), checked)
    for one in checked.trials:
        made.put(address, checked, one, [], data=trial_rows.known_columns(one, checked, {})["data"])
    return checked


def metafa(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return f"{done.exit_code}: {done.output}"


def test_a_digest_tells_pixels_labels_and_shapes_apart() -> None:
    images, labels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3), np.array([0, 1, 0, 1])
    one = LabelledImages(images, labels, ("a", "b"))
    assert one.digest == LabelledImages(images.copy(), labels.astype(np.int32), ("c", "d")).digest
    other = images.copy()
    other[3, 1, 2] ^= 1
    for different in (
        LabelledImages(other, labels, ("a", "b")),
        LabelledImages(images[::-1], labels, ("a", "b")),
        LabelledImages(images.reshape(4, 3, 2), labels, ("a", "b")),
        LabelledImages(images, 1 - labels, ("a", "b")),
        LabelledImages(images, labels, ("a", "b", "c")),
    ):
        assert different.digest != one.digest


@pytest.mark.parametrize("file", ["usps.bz2", "usps.t.bz2"])
def test_another_file_makes_other_trials(file: str, here: Path) -> None:
    before = over_what_is_here(USPS)
    assert len({one.trial_id for one in before.trials}) == 2
    assert [one.trial_id for one in over_what_is_here(USPS).trials] == [one.trial_id for one in before.trials]
    put_usps(here, file, 2)
    after = over_what_is_here(USPS)
    assert not {one.trial_id for one in before.trials} & {one.trial_id for one in after.trials}
    assert before.fingerprint != after.fingerprint
    assert (
        over_what_is_here(SEARCH).fingerprint != study.parse(SEARCH, default_name="s").over(before.digests).fingerprint
    )


def test_a_trials_row_tells_the_images_that_it_draws_on_and_no_others(here: Path) -> None:
    names = ("glyphs", "mnist10k")
    both = study_with(ON_USPS, supervised={"dataset": {"choices": names}, "steps": 1})
    digests = {f"datasets/{name}/{part}": name + part for name in names for part in ("training", "test")}
    for one in study.parse(both).over(digests).trials:
        name = one.varied["supervised.dataset"]
        assert one.data == {key: digest for key, digest in digests.items() if name in key}
    put_results("r")
    found = tables.load("r").trials["data"].map(json.loads)
    assert list(found) == [data.here(study.parse(USPS).examples).digests] * 2


@pytest.mark.parametrize("text", [USPS, SEARCH])
def test_workers_and_whoever_asks_for_a_point_know_the_same_trials(text: str, here: Path) -> None:
    checked = over_what_is_here(text)
    at_a_worker = pickle.loads(pickle.dumps(checked.of_trials([])))
    put_usps(here, "usps.bz2", 2)  # images there are of no account: the driver sends its own
    for steps in (1, 2):
        ours = checked.trial({"supervised.steps": steps})
        assert at_a_worker.trial({"supervised.steps": steps}).trial_id == ours.trial_id
        assert ours.data == checked.digests
        if not checked.adaptive:
            assert ours.trial_id in {one.trial_id for one in checked.trials}
            assert checked.of_trials([ours]).trials[0].trial_id == ours.trial_id


def test_what_is_loaded_is_what_the_digests_are_of(here: Path) -> None:
    settings = study.parse(USPS).examples
    found = data.here(settings)
    put_usps(here, "usps.bz2", 2)
    training, _ = trial.load_sources(*settings, images=found.images).datasets["usps"]
    read = found.images["datasets/usps/training"].images
    assert (training.images * 255).round().byte().numpy().tobytes() == read.tobytes()


def test_results_over_other_images_are_not_continued(here: Path) -> None:
    checked = put_results("results/s")
    assert metafa("run", "s.toml").startswith("0: s: 2 of 2 trials done")
    before = (here / "usps.bz2").read_bytes()
    put_usps(here, "usps.bz2", 2)
    ours = data.here(checked.examples).digests["datasets/usps/training"]
    said = (
        "2: metafa: results/s holds 2 trials over other training images of usps: those had the digest "
        f"{checked.digests['datasets/usps/training']}, those here have {ours}; choose another folder with --results, "
        "or put the images of before back\n"
    )
    files = sorted(here.rglob("*"))
    for command in (["run", "s.toml"], ["check", "s.toml"], ["verify", "results/s"]):
        assert metafa(*command) == said
    (here / "s.toml").write_text(study_with(ON_USPS, supervised={"steps": {"choices": [1, 2, 3]}}))
    assert metafa("run", "s.toml") == said, "also with more trials"
    assert sorted(here.rglob("*")) == files, "nothing is written"
    (here / "usps.bz2").write_bytes(before)
    assert "trials   3 of 1 seeds, 2 of them done" in metafa("check", "s.toml")


def test_who_only_reads_results_needs_no_data(here: Path) -> None:
    checked = put_results("results/s")
    for file in ("usps.bz2", "usps.t.bz2"):
        (here / file).unlink()
    assert [one.trial_id for one in preparation.read_study(addresses.at("results/s")).trials] == [
        one.trial_id for one in checked.trials
    ]
    for copied in (False, True):
        if copied:  # the tables alone
            (here / "results/s" / IMAGES).unlink()
        status = metafa("status", "results/s")
        assert status.startswith("0: ")
        assert "2 done, 0 diverged, 0 stopped, 0 failed, 0 to do" in status
        assert "to do │" not in status
    assert metafa("report", "results/s").startswith("0: ")
    assert metafa("run", "s.toml").startswith("0: s: 2 of 2 trials done"), "nothing is downloaded to say so"


def test_data_that_breaks_is_said_once_before_anything_is_written(here: Path) -> None:
    (here / "usps.bz2").write_bytes((here / "usps.bz2").read_bytes()[:-10])
    for command in ("run", "check"):
        done = metafa(command, "s.toml")
        assert done.startswith(f"2: s.toml: supervised.dataset: {here / 'usps.bz2'}: is cut short or no bz2 archive")
        assert done.count("\n") == 1
    assert not (here / "results").exists()


def test_an_error_names_the_path_that_raised_it_and_not_the_results(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFA_DATA", str(here / "s.toml"))
    said = f"{here / 's.toml'}: is a file; set METAFA_DATA to the folder that datasets are to be in\n"
    assert metafa("run", "s.toml") == f"2: s.toml: supervised.dataset: {said}"
    assert metafa("tasks").endswith(f"metafa: {said}")
    put_at = here / "there"
    monkeypatch.setenv("METAFA_DATA", str(here))
    put_results(str(put_at))
    shutil.rmtree(put_at / "partial")
    done = metafa("report", str(put_at), "--output", "/proc/nowhere/report.html")
    assert done == "2: metafa: /proc/nowhere cannot be used: No such file or directory\n"


def test_test_images_that_were_trained_on_under_another_name_are_told(request: pytest.FixtureRequest) -> None:
    """MNIST's test images are mnist10k's; the first 8,000 of them are what it trains on."""
    request.getfixturevalue("data")  # or skipped
    learned = {"phase": "supervised", "dataset": "mnist10k", "steps": 5}
    tested = {"phase": "out_of_distribution", "dataset": "mnist10k", "datasets": ["mnist"]}
    said = "of the 10000 images that out_of_distribution tests on (test of mnist), 8000 are trained on before it"
    for phases, found in [
        ([learned, tested], [f"{said} (training of mnist10k)"]),
        ([learned | {"steps": 0}, tested], []),  # nothing is trained on
        ([learned], []),
    ]:
        needed = study.parse(study_with({"phases": phases})).examples
        assert data.overlaps(needed, data.check(needed, download=False)) == found
