import bz2
import pickle
import shutil
import typing
from pathlib import Path

import numpy as np
import pytest

from metafa import settings
from metafa.tasks import DataAbsent, data_folder
from metafa.tasks.classification import DATASETS, OF_TORCHVISION, PARTS


def test_the_table_and_the_study_files_know_the_same_names() -> None:
    assert set(DATASETS) == set(typing.get_args(settings.DatasetName)) == set(settings.DATASET_SHAPES)


@pytest.mark.parametrize(
    ("name", "sizes"), [("glyphs", (5000, 1000)), ("digits", (1438, 359)), ("mnist10k", (8000, 2000))]
)
def test_datasets_are_as_study_files_suppose(name: str, sizes: tuple[int, int], request: pytest.FixtureRequest) -> None:
    if name == "mnist10k":
        request.getfixturevalue("data")
    parts = [DATASETS[name].load(part, False) for part in PARTS]
    assert DATASETS[name].here()
    assert tuple(len(part.labels) for part in parts) == sizes
    for part in parts:
        assert part.images.dtype == np.uint8
        assert part.images.shape[1:] == settings.DATASET_SHAPES[name]
        assert part.images.max() == 255
        assert len(part.class_names) == settings.DATASET_CLASSES
        assert set(part.labels.tolist()) == set(range(10))
    training, test = ({image.tobytes() for image in part.images} for part in parts)
    assert not training & test, "no test image was trained on"


def test_digits_are_told_apart_by_their_shape_in_every_dataset() -> None:
    """The nearest of the training images' class means names most test images, where chance is a tenth: the labels are
    the digits'."""
    for name in ("glyphs", "digits"):
        training, test = (DATASETS[name].load(part, False) for part in PARTS)
        flat = [part.images.reshape(len(part.labels), -1).astype(float) for part in (training, test)]
        means = np.stack([flat[0][training.labels == label].mean(0) for label in range(10)])
        nearest = ((flat[1][:, None] - means) ** 2).sum(-1).argmin(1)
        assert (nearest == test.labels).mean() > 0.75, name


def test_a_folder_with_some_of_a_datasets_files_is_told_what_it_lacks(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (data / "mnist10k" / "MNIST" / "raw").iterdir():
        shutil.copyfile(file, raw / file.name)
    assert DATASETS["mnist"].here()
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataAbsent, match=r"mnist is here in part: .*raw lacks t10k-labels-idx1-ubyte$"):
        DATASETS["mnist"].load("test", False)


def test_what_torchvision_would_download_is_not_taken_for_mnist10k(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the whole of MNIST: no figure said to be of mnist10k may come from it."""
    monkeypatch.setenv("METAFA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataAbsent, match="mnist10k is not here: none of "):
        DATASETS["mnist10k"].load("training", True)
    assert not data_folder().exists()


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_absent_datasets_are_said_and_leave_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataAbsent, match=f"{name} is not here: none of "):
        DATASETS[name].load("training", False)
    assert not data_folder().exists()


def test_usps_is_read_as_torchvision_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in the dataset's own format, made here: two images each, one all background, one all ink."""
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    lines = [f"{label} " + " ".join(f"{i}:{value}" for i in range(1, 257)) for label, value in ((4, -1), (10, 1))]
    for file in OF_TORCHVISION["usps"].files:
        (tmp_path / file).write_bytes(bz2.compress("\n".join(lines).encode()))
    usps = DATASETS["usps"].load("test", False)
    assert usps.labels.tolist() == [3, 9]
    assert usps.images.shape == (2, 16, 16)
    assert usps.images.max(axis=(1, 2)).tolist() == [0, 255]


def test_cifar10_is_read_as_torchvision_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in the dataset's own format, made here, of one image each: torchvision's checksums are passed over. Colours
    come last, as `DATASET_SHAPES` says."""
    import torchvision

    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *of: True)
    (tmp_path / "cifar-10-batches-py").mkdir()
    red = np.zeros((3, 32, 32), np.uint8)
    red[0] = 255
    for number, file in enumerate(OF_TORCHVISION["cifar10"].files):
        names = {"label_names": [f"kind {label}" for label in range(10)]}
        batch = names if file.endswith("meta") else {"data": red.reshape(1, -1), "labels": [number]}
        (tmp_path / file).write_bytes(pickle.dumps(batch))
    training, test = (DATASETS["cifar10"].load(part, False) for part in PARTS)
    assert training.labels.tolist() == [0, 1, 2, 3, 4]
    assert test.labels.tolist() == [5]
    assert test.images.shape == (1, 32, 32, 3)
    assert (test.images == [255, 0, 0]).all()
    assert test.class_names[3] == "kind 3"
