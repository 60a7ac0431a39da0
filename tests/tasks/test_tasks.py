import hashlib
import shutil
import subprocess
import sys
import typing
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from metafa.errors import DataAbsent, DataBroken
from metafa.studies import data
from metafa.tasks import SPLITS, TASK_DISTRIBUTIONS, base, drawing, glyphs, omniglot, taskset


def test_the_table_and_the_study_files_know_the_same_names() -> None:
    assert set(TASK_DISTRIBUTIONS) == set(typing.get_args(data.TaskDistributionName))


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
        rasters = np.stack([drawing.raster(face, c.codepoint).ravel() for c in characters if face in c.faces])
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
from metafa import tasks
from metafa.studies import study
from metafa.trials import trial

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


@pytest.fixture
def minimal(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the two minimal splits: the first unpacked one folder too deep, the second an archive."""
    folder = tmp_path / "omniglot-py"
    with zipfile.ZipFile(data / "omniglot-py" / "images_background_small1.zip") as archive:
        archive.extractall(folder / "images_background_small1")
    shutil.copyfile(data / "omniglot-py" / "images_background_small2.zip", folder / "images_background_small2.zip")
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    return folder


DEEP = Path("images_background_small1/images_background_small1/Balinese/character01")
NAME = "Balinese/character01/0108_01.png"


def test_omniglot_is_known_by_its_drawings_paths_however_deep(
    minimal: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What macOS and Windows leave beside drawings is none, nor is an empty folder beside the archive."""
    for name in ("._0108_01.png", ".DS_Store", "Thumbs.db"):
        (minimal / DEEP / name).write_bytes(b"x")
    (minimal / "images_background_small2").mkdir()
    with zipfile.ZipFile(minimal / "images_background_small2.zip", "a") as archive:
        archive.writestr("__MACOSX/images_background_small2/Sanskrit/character01/._0863_01.png", b"x")
    found = {split: omniglot.load_minimal(split) for split in SPLITS}
    monkeypatch.setenv("METAFA_DATA", str(data))
    published = {split: omniglot.load_minimal(split) for split in SPLITS}
    for split in SPLITS:
        assert found[split].digest == published[split].digest
        assert found[split].class_names == published[split].class_names
    assert not {i.tobytes() for i in found["training"].images} & {i.tobytes() for i in found["test"].images}


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


BROKEN = {
    "an archive cut short": (lambda at: cut(at / "images_background_small2.zip"), r"small2\.zip: cannot be read \("),
    "an empty archive": (lambda at: (at / "images_background_small2.zip").write_bytes(b""), r"small2\.zip: cannot be"),
    "a drawing cut short": (lambda at: cut(at / DEEP / "0108_01.png"), r"character01/0108_01\.png: is cut short or no"),
    "a drawing that is missing": (
        lambda at: (at / DEEP / "0108_01.png").unlink(),
        r"images_background_small1: holds 5 alphabets, 136 characters and 2719 drawings, where 5 alphabets, 136 charact"
        r"ers and 2720 drawings were published; Balinese/character01 has 19 drawings; put the published",
    ),
    "an alphabet that is missing": (
        lambda at: shutil.rmtree(at / DEEP.parent),
        "small1: holds 4 alphabets, 112 characters and 2240 drawings",
    ),
    "an empty folder": (
        lambda at: (shutil.rmtree(at / DEEP.parts[0]), (at / DEEP.parts[0]).mkdir()),
        "small1: holds 0 alphabets, 0 characters and 0 drawings",
    ),
    "two drawings of one name": (
        lambda at: (
            (at / DEEP.parents[1] / "again/Balinese/character01").mkdir(parents=True),
            shutil.copyfile(at / DEEP / "0108_02.png", at / DEEP.parents[1] / "again" / NAME),
        ),
        "are two drawings of one name",
    ),
    "a test drawing among the training drawings": (
        lambda at: (at / DEEP / "0108_01.png").write_bytes(of_test(at)),
        "omniglot-minimal: 1 of the 2120 test images stand among the training images",
    ),
}


def of_test(folder: Path) -> bytes:
    """A drawing of the second minimal split, of an alphabet that is not in the first."""
    with zipfile.ZipFile(folder / "images_background_small2.zip") as archive:
        return archive.read(next(n for n in archive.namelist() if "Sanskrit" in n and n.endswith(".png")))


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_omniglot_is_said_with_its_file(kind: str, minimal: Path) -> None:
    how, said = BROKEN[kind]
    how(minimal)
    with pytest.raises(DataBroken, match=said) as caught:
        omniglot.load_minimal("training")
    assert str(minimal) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_full_omniglot_is_torchvisions_to_the_bit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from the archives, without the internet; of each part some alphabets are unpacked for torchvision."""
    from torchvision.datasets import Omniglot

    monkeypatch.setenv("METAFA_DATA", str(data))
    splits = {split: TASK_DISTRIBUTIONS["omniglot"].load(split, False) for split in SPLITS}
    assert {split: len(images.class_names) for split, images in splits.items()} == {
        "training": 777,
        "validation": 187,
        "test": 659,
    }
    validation = {name.split("/")[0] for name in splits["validation"].class_names}
    assert validation == set(omniglot.VALIDATION)
    ours = {
        name: images.images[images.labels == label]
        for images in splits.values()
        for label, name in enumerate(images.class_names)
    }
    assert len(ours) == 1623
    monkeypatch.setattr(Omniglot, "_check_integrity", lambda self: True)  # the archives are packed anew
    for part, alphabets in (("images_background", ("Braille", "Tagalog")), ("images_evaluation", ("ULOG",))):
        with zipfile.ZipFile(data / "omniglot-py" / f"{part}.zip") as archive:
            wanted = [name for name in archive.namelist() if name.split("/")[1] in alphabets]
            archive.extractall(tmp_path / "omniglot-py", wanted)
        theirs = Omniglot(tmp_path, background=part == "images_background")
        for label, name in enumerate(theirs._characters):
            paths = sorted((tmp_path / "omniglot-py" / part / name).glob("*.png"))
            images = {file: theirs[i][0] for i, (file, of) in enumerate(theirs._flat_character_images) if of == label}
            reduced = [255 - np.asarray(images[path.name].resize((28, 28), Image.Resampling.LANCZOS)) for path in paths]
            np.testing.assert_array_equal(ours[name], np.stack(reduced))


@pytest.mark.parametrize("damage", ["cut short", "emptied", "other arrays", "a folder"])
def test_a_damaged_cache_of_glyphs_is_drawn_anew(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = glyphs.load("test")
    monkeypatch.setattr(base.platformdirs, "user_cache_path", lambda name: tmp_path)
    path = glyphs._cache_path()
    if damage == "cut short":
        glyphs.load("test")
        cut(path)
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "other arrays":
        np.savez(path, test=sound.images[:-1], test_names=np.array(sound.class_names))
    else:
        path.mkdir()
    assert glyphs.load("test").digest == sound.digest
    assert glyphs.load("test").class_names == sound.class_names
    if damage != "a folder":
        assert glyphs._kept(path, "test")[1] == sound.class_names, "and kept"
    assert list(tmp_path.iterdir()) == [path]


def test_glyphs_need_no_cache_that_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = glyphs.load("test")
    monkeypatch.setattr(base.platformdirs, "user_cache_path", lambda name: Path("/proc/nowhere"))
    assert glyphs.load("test").digest == sound.digest


def test_several_keep_glyphs_at_once_and_none_reads_half(tmp_path: Path) -> None:
    arrays = {"test": np.zeros((40, 28, 28), np.uint8), "test_names": np.array(["a", "b"])}
    path = tmp_path / "glyphs.npz"
    glyphs._keep(path, arrays)
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(glyphs._keep, path, arrays) for _ in range(40)]
        while not all(one.done() for one in writing):
            assert glyphs._kept(path, "test")[1] == ("a", "b")
    assert list(tmp_path.iterdir()) == [path]


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
