import numpy as np
import pytest

from metafa.tasks import DATASETS, PARTS


@pytest.mark.parametrize(
    ("name", "sizes"), [("glyphs", (5000, 1000)), ("digits", (1438, 359)), ("mnist10k", (8000, 2000))]
)
def test_datasets_are_as_study_files_suppose(name: str, sizes: tuple[int, int], request: pytest.FixtureRequest) -> None:
    if name == "mnist10k":
        request.getfixturevalue("data")
    parts = [DATASETS[name].load(part, False) for part in PARTS]
    assert DATASETS[name].here("test")
    assert tuple(len(part.labels) for part in parts) == sizes
    for part in parts:
        assert part.images.dtype == np.uint8
        assert part.images.shape[1:] == DATASETS[name].shape
        assert part.images.max() == 255
        assert len(part.class_names) == DATASETS[name].classes
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
