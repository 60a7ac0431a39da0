import hashlib
from pathlib import Path

import numpy as np
import pytest

from metafa.errors import DataBroken
from metafa.tasks import PARTS, SPLITS, glyphs


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


def test_glyphs_are_the_same_bytes_everywhere() -> None:
    """The digests that they had when they were first drawn, by matplotlib 3.11.2: whatever is installed now, results of
    then and of now are of the same images."""
    digest = hashlib.sha256()
    for split in SPLITS:
        images = glyphs.load(split)
        digest.update(images.images.tobytes() + "".join(images.class_names).encode())
    assert digest.hexdigest()[:16] == "2c4d579cc8034acd"
    assert [glyphs.load(split).digest for split in SPLITS] == [
        "5fe529b125be1800",
        "167ddd389c5fae07",
        "c011e3adcc8396c2",
    ]
    assert [glyphs.load_digits(part).digest for part in PARTS] == ["2e1393aab0a44dd4", "9d713a0b3bb459d0"]


def test_whoever_changes_the_images_changes_no_others() -> None:
    glyphs.load("test").images[:] = 0
    assert glyphs.load("test").digest == "c011e3adcc8396c2"


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where glyphs are read from: no file is there yet."""
    path = tmp_path / "glyphs.npz"
    monkeypatch.setattr(glyphs, "DRAWN", path)
    glyphs._array.cache_clear()
    yield path
    glyphs._array.cache_clear()


@pytest.mark.parametrize("damage", ["absent", "cut short", "a bit flipped", "emptied", "other arrays", "a folder"])
def test_a_damaged_file_of_glyphs_is_said(damage: str, damaged: Path) -> None:
    sound = Path(glyphs.__file__).with_name("glyphs.npz").read_bytes()
    if damage == "cut short":
        damaged.write_bytes(sound[: len(sound) // 2])
    elif damage == "a bit flipped":  # of the first array's images
        damaged.write_bytes(sound[:100_000] + bytes([sound[100_000] ^ 1]) + sound[100_001:])
    elif damage == "emptied":
        damaged.write_bytes(b"")
    elif damage == "other arrays":
        np.savez(damaged, training=np.zeros((39, 28, 28), np.uint8), training_names=np.array(["a", "b"]))
    elif damage == "a folder":
        damaged.mkdir()
    with pytest.raises(DataBroken, match=r"glyphs\.npz: .*; install metafa again") as caught:
        glyphs.load("training")
    assert "\n" not in str(caught.value)
