import hashlib
import shutil
import subprocess
import sys
import typing
import zipfile
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from metafa import settings
from metafa.tasks import SPLITS, TASK_DISTRIBUTIONS, DataAbsent, base, glyphs, omniglot, taskset


def test_the_table_and_the_study_files_know_the_same_names() -> None:
    assert set(TASK_DISTRIBUTIONS) == set(typing.get_args(settings.TaskDistributionName))


def test_glyphs_are_many_and_their_scripts_apart() -> None:
    splits = {split: glyphs.load(split) for split in SPLITS}
    scripts = {split: {name.split("/")[0] for name in images.class_names} for split, images in splits.items()}
    assert sum(len(images.class_names) for images in splits.values()) >= 1000
    assert sum(len(found) for found in scripts.values()) >= 10
    assert not scripts["training"] & scripts["validation"]
    assert not scripts["training"] & scripts["test"]
    assert not scripts["validation"] & scripts["test"]
    for images in splits.values():
        assert images.images_per_class >= 20
        assert images.images.shape == (len(images.labels), 28, 28)
        assert len(set(images.class_names)) == len(images.class_names)
        inked = images.images.reshape(len(images.images), -1) > 127
        assert inked.any(1).all(), "no image is empty"


def test_no_glyph_stands_twice_in_any_face() -> None:
    """Homoglyphs, such as the A of Latin, Greek and Cyrillic, are one class; so are letters alike but for size."""
    characters = glyphs.characters()
    for face in ("DejaVuSans.ttf", "DejaVuSerif.ttf"):
        rasters = np.stack([glyphs._raster(face, c.codepoint).ravel() for c in characters if face in c.faces])
        unit = rasters / np.linalg.norm(rasters.astype(float), axis=1, keepdims=True)
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, 0)
        assert cosines.max() < 0.9301
    names = {c.codepoint for c in characters}
    assert ord("A") in names
    assert not names & {0x0391, 0x0410}, "Greek and Cyrillic A"
    assert not names & {ord("o"), ord("օ")} or ord("O") not in names


def test_glyphs_are_the_same_bytes_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn anew, they have the digest they had when first drawn."""
    if matplotlib.__version__ != "3.11.2":
        pytest.skip(f"the digest is of matplotlib 3.11.2, this is {matplotlib.__version__}")
    monkeypatch.setattr(base.platformdirs, "user_cache_path", lambda name: tmp_path)
    digest = hashlib.sha256()
    for split in SPLITS:
        images = glyphs.load(split)
        digest.update(images.images.tobytes() + "".join(images.class_names).encode())
    assert digest.hexdigest()[:16] == "2c4d579cc8034acd"


def test_a_taskset_is_learn2learns_and_its_samples_are_the_images() -> None:
    images = glyphs.load("validation")
    made = taskset(images, ways=5, images_per_class=15)
    assert type(made).__module__.startswith("learn2learn")
    sample, label = made.dataset[30]
    assert label == images.labels[30]
    np.testing.assert_array_equal(sample.numpy()[0], images.images[30].astype(np.float32) / 255)
    pixels, labels = made.sample()
    assert pixels.shape == (75, 1, 28, 28)
    assert sorted(labels.tolist()) == sorted(list(range(5)) * 15)


WITHOUT_LEARN2LEARN = """
import sys
sys.modules["learn2learn"] = None  # as where it is not installed: importing it raises ModuleNotFoundError
import metafa
from metafa import study, tasks, trial

print(metafa.evaluate(metafa.initialise(seeds=1), "glyphs", tasks=2, inner_steps=1)["task"].unique().tolist())
text = '[[phases]]\\nphase = "meta"\\ntask_distribution = "glyphs"\\niterations = 1'
print(*(key[:2] for key in trial.load_sources(study.parse(text).trials[0].settings).tasks))
tasks.taskset(tasks.TASK_DISTRIBUTIONS["glyphs"].load("test", False), ways=5, images_per_class=15)
"""


def test_without_learn2learn_only_its_tasksets_are_missed() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_LEARN2LEARN], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["['glyphs']", "('glyphs', 'training')"]
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: a learn2learn taskset needs learn2learn, which is not installed: `uv pip install "
        "--editable '.[learn2learn]'` in metafa's checkout installs it, and metafa's README has the commands for pip"
    )


def test_omniglot_minimal_keeps_alphabets_apart(data: Path) -> None:
    splits = {split: omniglot.load_minimal(split) for split in SPLITS}
    alphabets = {split: {name.split("/")[0] for name in images.class_names} for split, images in splits.items()}
    assert alphabets == {
        "training": {"Balinese", "Greek", "Korean", "Latin"},
        "validation": {"Early_Aramaic"},
        "test": {"Japanese_(katakana)", "Sanskrit", "Tagalog"},
    }
    assert {split: len(images.class_names) for split, images in splits.items()} == {
        "training": 114,
        "validation": 22,
        "test": 106,
    }
    for images in splits.values():
        assert (np.bincount(images.labels) == 20).all()
        # ink is bright on dark, and a small part of the image
        assert 0.02 < images.images.mean() / 255 < 0.2


def test_omniglot_minimal_reads_folders_as_it_reads_archives(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_archives = omniglot.load_minimal("test")
    for part in (1, 2):
        with zipfile.ZipFile(data / "omniglot-py" / f"images_background_small{part}.zip") as archive:
            archive.extractall(tmp_path / "omniglot-py")
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    from_folders = omniglot.load_minimal("test")
    np.testing.assert_array_equal(from_folders.images, from_archives.images)
    assert from_folders.class_names == from_archives.class_names


def test_the_full_omniglot_divides_by_alphabet(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's layout and learn2learn's loader, with the two minimal splits in place of the full ones."""
    from torchvision.datasets import Omniglot

    for part, name in (("small1", "images_background"), ("small2", "images_evaluation")):
        with zipfile.ZipFile(data / "omniglot-py" / f"images_background_{part}.zip") as archive:
            archive.extractall(tmp_path / "omniglot-py")
        shutil.move(tmp_path / "omniglot-py" / f"images_background_{part}", tmp_path / "omniglot-py" / name)
    monkeypatch.setattr(Omniglot, "_check_integrity", lambda self: True)  # the checksums are those of the full set
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    assert omniglot.here()
    monkeypatch.setattr(omniglot, "VALIDATION", ("Korean",))
    splits = {split: omniglot.load(split, download=False) for split in SPLITS}
    assert {split: len(images.class_names) for split, images in splits.items()} == {
        "training": 96,
        "validation": 40,
        "test": 156,
    }
    tagalog = [i for i, name in enumerate(splits["test"].class_names) if name.startswith("Tagalog")]
    again = omniglot.load_minimal  # the same pictures, through the other loader
    monkeypatch.setenv("METAFA_DATA", str(data))
    minimal = again("test")
    others = [i for i, name in enumerate(minimal.class_names) if name.startswith("Tagalog")]
    ours, theirs = (
        sorted(image.tobytes() for image in source.images[np.isin(source.labels, classes)])
        for source, classes in ((splits["test"], tagalog), (minimal, others))
    )
    assert ours == theirs


def test_mnist_holds_out_its_last_tenth(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFA_DATA", str(data / "mnist10k"))
    splits = {split: TASK_DISTRIBUTIONS["mnist"].load(split, False) for split in SPLITS}
    assert {split: len(images.labels) for split, images in splits.items()} == {
        "training": 7200,
        "validation": 800,
        "test": 2000,
    }
    assert all(len(images.class_names) == 10 for images in splits.values())


@pytest.mark.parametrize("name", ["omniglot", "omniglot-minimal", "mnist", "fashion-mnist", "kmnist"])
def test_absent_data_is_said_and_leaves_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFA_DATA", str(tmp_path / "nowhere"))
    assert not TASK_DISTRIBUTIONS[name].here()
    with pytest.raises(DataAbsent, match=name):
        TASK_DISTRIBUTIONS[name].load("test", False)
    assert not (tmp_path / "nowhere").exists()


def test_a_failed_download_is_said_in_a_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "KMNIST" / "raw"

    def download() -> None:
        with base.quiet_download("kmnist", folder):
            folder.mkdir(parents=True)
            raise OSError("no route")

    with pytest.raises(DataAbsent, match=r"kmnist is not in .* and could not be downloaded \(no route\)") as caught:
        download()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
