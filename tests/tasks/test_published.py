import bz2
import gzip
import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from study_texts import study_with

from metafa.errors import DataAbsent, DataBroken, DataError
from metafa.studies import study
from metafa.tasks import DATASETS, PARTS, SPLITS, TASK_DISTRIBUTIONS, data_folder
from metafa.tasks import data as data_of
from metafa.tasks.published import PUBLISHED
from metafa.trials import trial

CIFAR10_FILES = [f"cifar-10-batches-py/{file}" for file in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
CIFAR10_FILES.append("cifar-10-batches-py/batches.meta")


def test_mnist_holds_out_its_last_tenth(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFA_DATA", str(data / "mnist10k"))
    splits = {split: TASK_DISTRIBUTIONS["mnist"].load(split, False) for split in SPLITS}
    assert {split: len(images.labels) for split, images in splits.items()} == {
        "training": 7200,
        "validation": 800,
        "test": 2000,
    }
    assert all(len(images.class_names) == 10 for images in splits.values())


def test_a_folder_with_some_of_a_datasets_files_is_told_what_it_lacks(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (data / "mnist10k" / "MNIST" / "raw").iterdir():
        shutil.copyfile(file, raw / file.name)
    assert all(map(DATASETS["mnist"].here, PARTS))
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


@pytest.mark.parametrize("name", PUBLISHED)
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
    for file in ("usps.bz2", "usps.t.bz2"):
        (tmp_path / file).write_bytes(bz2.compress("\n".join(lines).encode()))
    usps = DATASETS["usps"].load("test", False)
    assert usps.labels.tolist() == [3, 9]
    assert usps.images.shape == (2, 16, 16)
    assert usps.images.max(axis=(1, 2)).tolist() == [0, 255]


def test_cifar10_is_read_as_torchvision_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in the dataset's own format, made here, of one image each, whose checksums torchvision's class is told.
    Colours come last, as `DATASETS` says."""
    import torchvision

    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    (tmp_path / "cifar-10-batches-py").mkdir()
    red, sums = np.zeros((3, 32, 32), np.uint8), dict[str, str]()
    red[0] = 255
    for number, file in enumerate(CIFAR10_FILES):
        names = {"label_names": [f"kind {label}" for label in range(10)]}
        batch = names if file.endswith("meta") else {"data": red.reshape(1, -1), "labels": [number]}
        (tmp_path / file).write_bytes(pickle.dumps(batch))
        sums[Path(file).name] = hashlib.md5(pickle.dumps(batch)).hexdigest()
    theirs = torchvision.datasets.CIFAR10
    monkeypatch.setattr(theirs, "train_list", [[file, md5] for file, md5 in sums.items() if "data_" in file])
    monkeypatch.setattr(theirs, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(theirs, "meta", theirs.meta | {"md5": sums["batches.meta"]})
    training, test = (DATASETS["cifar10"].load(part, False) for part in PARTS)
    assert training.labels.tolist() == [0, 1, 2, 3, 4]
    assert test.labels.tolist() == [5]
    assert test.images.shape == (1, 32, 32, 3)
    assert (test.images == [255, 0, 0]).all()
    assert test.class_names[3] == "kind 3"


RAW = Path("MNIST/raw")


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def libsvm(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Values -1 to 1 and labels 0 to 9, as LIBSVM's USPS has them."""
    lines = [
        f"{label + 1} " + " ".join(f"{place}:{value:.6f}" for place, value in enumerate(image, 1))
        for image, label in zip(images, labels, strict=True)
    ]
    return bz2.compress("\n".join(lines).encode())


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with MNIST of 30 and 20 random images, and USPS of as many."""
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    random = np.random.default_rng(0)
    (tmp_path / RAW).mkdir(parents=True)
    for part, file, number in (("train", "usps.bz2", 30), ("t10k", "usps.t.bz2", 20)):
        labels = np.arange(number) % 10
        (tmp_path / RAW / f"{part}-images-idx3-ubyte").write_bytes(idx(random.integers(0, 256, (number, 28, 28))))
        (tmp_path / RAW / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
        (tmp_path / file).write_bytes(libsvm(random.uniform(-1, 1, (number, 256)), labels))
    return tmp_path


@pytest.mark.parametrize(("name", "theirs"), [("mnist", "MNIST"), ("usps", "USPS")])
def test_files_are_read_as_torchvision_reads_them_to_the_bit(name: str, theirs: str, written: Path) -> None:
    import torchvision

    for part in PARTS:
        ours = DATASETS[name].load(part, False)
        read = getattr(torchvision.datasets, theirs)(written, train=part == "training")
        np.testing.assert_array_equal(ours.images, np.asarray(read.data))
        np.testing.assert_array_equal(ours.labels, np.asarray(read.targets))


def test_values_that_a_sparse_line_leaves_out_are_zero(written: Path) -> None:
    (written / "usps.bz2").write_bytes(bz2.compress(b"1 2:1 256:-1\n10 \n"))
    found = DATASETS["usps"].load("training", False)
    assert found.labels.tolist() == [0, 9]
    assert found.images[0].flatten()[[0, 1, 255]].tolist() == [127, 255, 0]


Line = Callable[[bytes, list[bytes]], list[bytes]]


def in_line(change: Line) -> Callable[[bytes], bytes]:
    """A file of LIBSVM's with another third line: made of its label and of its values, each after its place."""

    def changed(content: bytes) -> bytes:
        lines = bz2.decompress(content).splitlines()
        label, *values = lines[2].split()
        lines[2] = b" ".join(change(label, values))
        return bz2.compress(b"\n".join(lines))

    return changed


IMAGES, LABELS, USPS = (str(RAW / "train-images-idx3-ubyte"), str(RAW / "train-labels-idx1-ubyte"), "usps.bz2")
NOT_AN_IMAGE = "line 3 is not an image of USPS"
DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "images cut short": (IMAGES, lambda c: c[:-5], "has 23531 bytes, where its beginning announces 23536"),
    "images too long": (IMAGES, lambda c: c + b"x", "has 23537 bytes, where its beginning announces 23536"),
    "images emptied": (IMAGES, lambda c: b"", "has 0 bytes, fewer than an IDX file begins with"),
    "images still packed": (IMAGES, gzip.compress, "begins with the bytes 1f 8b 08 .*, where .* has 00 00 08 03"),
    "no image": (IMAGES, lambda c: idx(np.zeros((0, 28, 28))), "holds no image"),
    "images of another size": (
        IMAGES,
        lambda c: idx(np.zeros((30, 8, 8))),
        "holds images of 8 x 8 pixels, where .* 28",
    ),
    "labels as images": (
        IMAGES,
        lambda c: idx(np.arange(30)),
        "begins with the bytes 00 00 08 01, where .* 00 00 08 03",
    ),
    "labels cut short": (LABELS, lambda c: c[:6], "has 6 bytes, fewer than"),
    "labels of the other part": (LABELS, lambda c: idx(np.arange(20) % 10), "holds 20 labels, but train-images-idx3-"),
    "an eleventh class": (LABELS, lambda c: idx(np.arange(30) % 11), "has labels other than those of 10 classes"),
    "usps cut short": (USPS, lambda c: c[:-9], r"is cut short or no bz2 archive \(Compressed data ended"),
    "usps emptied": (USPS, lambda c: b"", "holds no image"),
    "usps as text": (USPS, bz2.decompress, "is cut short or no bz2 archive"),
    "a place too many": (USPS, in_line(lambda label, values: [label, *values[:-1], b"257:0.5"]), NOT_AN_IMAGE),
    "a place 0": (USPS, in_line(lambda label, values: [label, b"0:0.5", *values[1:]]), NOT_AN_IMAGE),
    "a place twice": (USPS, in_line(lambda label, values: [label, values[0], b"1:0.5", *values[2:]]), NOT_AN_IMAGE),
    "a value out of range": (USPS, in_line(lambda label, values: [label, b"1:2.5", *values[1:]]), NOT_AN_IMAGE),
    "a value that is none": (USPS, in_line(lambda label, values: [label, *values[:-1], b"256:nan"]), NOT_AN_IMAGE),
    "a line cut short": (USPS, in_line(lambda label, values: [label, *values[:-1], b"256"]), NOT_AN_IMAGE),
    "a label 11": (USPS, in_line(lambda label, values: [b"11", *values]), "has labels other than those of 10 classes"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_broken_files_are_said_by_name_with_what_is_wrong(damage: str, written: Path) -> None:
    file, change, said = DAMAGES[damage]
    (written / file).write_bytes(change((written / file).read_bytes()))
    with pytest.raises(DataBroken, match=said) as caught:
        DATASETS["usps" if file == USPS else "mnist"].load("training", False)
    assert str(caught.value).startswith(f"{written / file}: ")
    assert "; replace it with the published file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_test_part_alone_serves_tests_and_no_training(written: Path) -> None:
    """USPS's test images and KMNIST's, without the files to train on."""
    (written / USPS).unlink()
    (written / "KMNIST/raw").mkdir(parents=True)
    for kind in ("images-idx3", "labels-idx1"):
        file = f"t10k-{kind}-ubyte"
        shutil.copyfile(written / RAW / file, written / "KMNIST/raw" / file)
    assert [DATASETS[name].here(part) for name in ("usps", "kmnist") for part in PARTS] == [False, True] * 2
    assert [TASK_DISTRIBUTIONS["kmnist"].here(split) for split in SPLITS] == [False, False, True]
    trained = {"phase": "supervised", "dataset": "mnist", "steps": 1, "batch_size": 4}
    tested = {"phase": "out_of_distribution", "datasets": ["usps"]}
    asked = study.parse(study_with({"phases": [trained, tested]})).examples
    found = data_of.check(asked, download=False)
    assert not found.absent
    assert found.images.keys() == {f"datasets/{key}" for key in ("mnist/training", "mnist/test", "usps/test")}
    _, usps = trial.load_sources(*asked, images=found.images).datasets["usps"]
    assert len(usps.labels) == 20
    for name, lacking in (("usps", r"lacks usps\.bz2"), ("kmnist", "lacks train-images-idx3-ubyte, train-labels-idx1")):
        with pytest.raises(DataAbsent, match=f"^{name} is here in part: .* {lacking}"):
            DATASETS[name].load("training", False)
        asked = study.parse(study_with({"phases": [trained | {"dataset": name}]})).examples
        assert data_of.check(asked, download=False).absent == [f"supervised.dataset: the training part of {name}"]


def test_what_is_no_file_is_said(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (written / USPS).unlink()
    (written / USPS).mkdir()
    with pytest.raises(DataBroken, match=r"usps\.bz2: cannot be read \(Is a directory\)"):
        DATASETS["usps"].load("training", True)
    (written / RAW / "t10k-labels-idx1-ubyte").rename(written / RAW / "t10k-labels-idx1-ubyte.gz")
    with pytest.raises(DataAbsent, match=r"unpack .*t10k-labels-idx1-ubyte\.gz"):
        DATASETS["mnist"].load("test", False)
    monkeypatch.setenv("METAFA_DATA", str(written / "usps.t.bz2"))
    with pytest.raises(DataBroken, match=r"usps\.t\.bz2: is a file; set METAFA_DATA to the folder"):
        DATASETS["mnist"].load("training", False)


def test_cifar10_is_unpickled_only_as_it_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFA_DATA", str(tmp_path))
    (tmp_path / "cifar-10-batches-py").mkdir()
    for file in CIFAR10_FILES:
        (tmp_path / file).write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "run") + b"'\ntR.")
    with pytest.raises(DataBroken, match="data_batch_1: is not the file that was published; replace it"):
        DATASETS["cifar10"].load("training", False)
    assert not (tmp_path / "run").exists()


def test_a_test_part_that_was_trained_on_is_refused(written: Path) -> None:
    """Of USPS, whose published files may hold an image twice, one of a hundred is let pass; of MNIST none is."""
    asked = study.parse('[[phases]]\nphase = "supervised"\ndataset = "usps"\nsteps = 1\nbatch_size = 4\n').examples
    assert len(data_of.check(asked, download=False).images) == 2
    shutil.copyfile(written / "usps.t.bz2", written / USPS)
    said = "supervised.dataset: usps: 20 of the 20 test images stand among the training images too"
    with pytest.raises(DataError, match=said):
        data_of.check(asked, download=False)
    images = (written / RAW / "t10k-images-idx3-ubyte").read_bytes()
    ours = (written / IMAGES).read_bytes()
    (written / IMAGES).write_bytes(ours[:16] + images[-784:] + ours[16 + 784 :])
    tasks = '[[phases]]\nphase = "{}"\nways = 2\nshots = 1\nqueries = 1\n'
    text = tasks.format("meta") + 'task_distribution = "mnist"\nouter_steps = 1\n'
    text += tasks.format("evaluate") + 'task_distributions = ["mnist"]\nsplit = "test"\n'
    with pytest.raises(DataError, match="mnist: 1 of the 20 test images stand among the training") as caught:
        data_of.check(study.parse(text).examples, download=False)
    assert len(caught.value.messages) == 1
