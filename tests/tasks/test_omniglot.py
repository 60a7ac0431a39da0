import hashlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metafa.errors import DataBroken
from metafa.tasks import SPLITS, TASK_DISTRIBUTIONS, omniglot


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
    for part, alphabets in (("images_background", ("Braille", "Tagalog")), ("images_evaluation", ("ULOG",))):
        packed = data / "omniglot-py" / f"{part}.zip"
        (tmp_path / "omniglot-py").mkdir(exist_ok=True)
        (tmp_path / "omniglot-py" / packed.name).symlink_to(packed)
        # the archives are packed anew, and torchvision knows the published ones by their MD5
        monkeypatch.setitem(Omniglot.zips_md5, part, hashlib.md5(packed.read_bytes()).hexdigest())
        with zipfile.ZipFile(packed) as archive:
            archive.extractall(
                tmp_path / "omniglot-py", [name for name in archive.namelist() if name.split("/")[1] in alphabets]
            )
        theirs: dict[int, list[bytes]] = {}
        for image, label in Omniglot(tmp_path, background=part == "images_background"):
            reduced = 255 - np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS))
            theirs.setdefault(label, []).append(reduced.tobytes())
        same = [[i.tobytes() for i in images] for name, images in ours.items() if name.startswith(alphabets)]
        assert sorted(map(sorted, theirs.values())) == sorted(map(sorted, same))
