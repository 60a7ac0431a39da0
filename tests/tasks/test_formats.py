"""Files that each test writes in the published format, read as torchvision reads the same files."""

import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision
from PIL import Image

from metafa.errors import DataBroken
from metafa.tasks import DATASETS, PARTS

RANDOM = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    return tmp_path


def put(path: Path, content: bytes) -> str:
    """Writes a file; returns its MD5, by which torchvision knows the published one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, np.uint8)


@pytest.fixture
def cifar100(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-100 of five and three images, for which torchvision's class knows the MD5 of the files written."""
    theirs, below = torchvision.datasets.CIFAR100, folder / "cifar-100-python"
    for file, fine in (("train", [99, 3, 0, 1, 7]), ("test", [5, 98, 2])):
        batch = {"data": pixels(len(fine), 3072), "fine_labels": fine, "coarse_labels": [0] * len(fine)}
        md5 = put(below / file, pickle.dumps(batch))
        monkeypatch.setattr(theirs, f"{file}_list", [[file, md5]])
    names = {"fine_label_names": [f"kind {i}" for i in range(100)], "coarse_label_names": ["one"]}
    md5 = put(below / "meta", pickle.dumps(names))
    monkeypatch.setattr(theirs, "meta", {"filename": "meta", "key": "fine_label_names", "md5": md5})
    return below


def test_cifar100_is_read_with_its_fine_classes_as_torchvision_reads_it(cifar100: Path) -> None:
    for part in PARTS:
        ours = DATASETS["cifar100"].load(part, False)
        read = torchvision.datasets.CIFAR100(cifar100.parent, train=part == "training")
        np.testing.assert_array_equal(ours.images, read.data)
        assert ours.labels.tolist() == read.targets
        assert ours.class_names == tuple(read.classes)


def test_a_part_of_cifar_needs_no_file_of_the_other_and_no_altered_file_is_unpickled(cifar100: Path) -> None:
    (cifar100 / "train").unlink()
    assert len(DATASETS["cifar100"].load("test", False).labels) == 3
    assert [DATASETS["cifar100"].here(part) for part in PARTS] == [False, True]
    (cifar100 / "test").write_bytes(b"cos\nsystem\n(S'touch " + bytes(cifar100 / "run") + b"'\ntR.")
    with pytest.raises(DataBroken, match="cifar-100-python/test: is not the file that was published"):
        DATASETS["cifar100"].load("test", False)
    assert not (cifar100 / "run").exists()


def test_stl10_is_read_as_torchvision_reads_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, below, sums = torchvision.datasets.STL10, folder / "stl10_binary", {}
    for of, labels in (("train", [1, 10, 4]), ("test", [7, 2])):
        sums[f"{of}_X.bin"] = put(below / f"{of}_X.bin", pixels(len(labels), 3, 96, 96).tobytes())
        sums[f"{of}_y.bin"] = put(below / f"{of}_y.bin", bytes(labels))
        monkeypatch.setattr(theirs, f"{of}_list", [[file, md5] for file, md5 in sums.items() if of in file])
    put(below / "class_names.txt", b"airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n")
    for part, split in (("training", "train"), ("test", "test")):
        ours, read = DATASETS["stl10"].load(part, False), theirs(folder, split=split)
        np.testing.assert_array_equal(ours.images, np.stack([np.asarray(image) for image, _ in read]))
        assert ours.labels.tolist() == [label for _, label in read]
        assert ours.class_names == tuple(read.classes)
    with (below / "test_X.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataBroken, match=r"test_X\.bin: has 55297 bytes, no multiple of the 27648 of an image"):
        DATASETS["stl10"].load("test", False)


def test_svhn_is_read_as_torchvision_reads_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, files = torchvision.datasets.SVHN, {}
    for split, labels in (("train", [10, 1, 9, 5]), ("test", [2, 10])):
        file = io.BytesIO()
        scipy.io.savemat(file, {"X": pixels(32, 32, 3, len(labels)), "y": np.array(labels, np.uint8)[:, None]})
        files[split] = ["", f"{split}_32x32.mat", put(folder / f"{split}_32x32.mat", file.getvalue())]
    monkeypatch.setattr(theirs, "split_list", files)
    for part, split in (("training", "train"), ("test", "test")):
        ours, read = DATASETS["svhn"].load(part, False), theirs(folder, split=split)
        np.testing.assert_array_equal(ours.images, np.stack([np.asarray(image) for image, _ in read]))
        assert ours.labels.tolist() == [label for _, label in read]
        assert ours.class_names == tuple("0123456789")
    whole = (folder / "test_32x32.mat").read_bytes()
    (folder / "test_32x32.mat").write_bytes(whole[:-700])
    with pytest.raises(DataBroken, match=r"test_32x32\.mat: is cut short or no file of MATLAB's") as caught:
        DATASETS["svhn"].load("test", False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("split", "classes"), [("balanced", 47), ("letters", 26), ("digits", 10)])
def test_emnist_is_read_as_torchvision_reads_it_but_upright(split: str, classes: int, folder: Path) -> None:
    """torchvision leaves images lying as they were published, and counts a letter that there is not."""
    first = split == "letters"
    for of, number in (("train", 60), ("test", 50)):
        stem = folder / "EMNIST/raw" / f"emnist-{split}-{of}"
        put(stem.with_name(f"{stem.name}-images-idx3-ubyte"), idx(pixels(number, 28, 28)))
        put(stem.with_name(f"{stem.name}-labels-idx1-ubyte"), idx(np.arange(number) % classes + first))
    for part in PARTS:
        ours = DATASETS[f"emnist-{split}"].load(part, False)
        read = torchvision.datasets.EMNIST(folder, split=split, train=part == "training")
        np.testing.assert_array_equal(ours.images, read.data.mT.numpy())
        assert len(ours.class_names) == DATASETS[f"emnist-{split}"].classes == classes
        theirs = [read.classes[label] for label in read.targets]
        assert [ours.class_names[label] for label in ours.labels] == theirs


def archive_of(classes: list[str], images: int) -> bytes:
    """A zip archive of images of one colour, whose red is their number within the class."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in classes:
            for i in reversed(range(images)):
                png = io.BytesIO()
                Image.new("RGB", (32, 32), (i, 0, 255)).save(png, "PNG")
                archive.writestr(f"{name}/{i:04}.png", png.getvalue())
    return file.getvalue()


def test_cifarfs_trains_on_the_first_120_images_of_each_class(folder: Path) -> None:
    names = [f"kind{i:02}" for i in range(100)]
    for file, classes in (("train", names[36:]), ("val", names[20:36]), ("test", names[:20])):
        put(folder / "cifarfs-150" / f"{file}.zip", archive_of(classes, images=122))
    training, test = (DATASETS["cifarfs-150"].load(part, False) for part in PARTS)
    assert training.class_names == test.class_names == tuple(names)
    assert training.images.shape == (12000, 32, 32, 3)
    assert (training.images[:, 0, 0, 0].reshape(100, 120) == np.arange(120)).all()
    assert (test.images[:, 0, 0].reshape(100, 2, 3) == [[120, 0, 255], [121, 0, 255]]).all()
    assert (test.labels == np.repeat(np.arange(100), 2)).all()
    (folder / "cifarfs-150" / "val.zip").write_bytes(archive_of(names[20:35], images=122))
    with pytest.raises(DataBroken, match="cifarfs-150: holds 99 classes in its archives, where there are 100"):
        DATASETS["cifarfs-150"].load("test", False)
    (folder / "cifarfs-150" / "val.zip").write_bytes(b"PK")
    with pytest.raises(DataBroken, match=r"val\.zip: is cut short or no zip archive of images"):
        DATASETS["cifarfs-150"].load("test", False)


def test_cifarfs_is_a_hundred_classes_of_150_images(data: Path) -> None:
    if not DATASETS["cifarfs-150"].here("test"):
        pytest.skip("cifarfs-150 is not in METAFA_DATA")
    training, test = (DATASETS["cifarfs-150"].load(part, False) for part in PARTS)
    assert (np.bincount(training.labels) == 120).all()
    assert (np.bincount(test.labels) == 30).all()
    assert not training.distinct & test.distinct
