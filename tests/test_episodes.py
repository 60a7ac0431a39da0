import random
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats

from metafa import episodes, tasks
from metafa.tasks.base import SIDE, LabelledImages, import_learn2learn

CLASS_SIZES = [4, 5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def dataset():
    """Six classes of different sizes; pixel 0 of an image is its index, pixel 1 its class."""
    l2l = import_learn2learn()
    labels = [c for c, size in enumerate(CLASS_SIZES) for _ in range(size)]
    images = torch.tensor([[float(i), float(label)] for i, label in enumerate(labels)])
    return l2l.data.MetaDataset(torch.utils.data.TensorDataset(images.view(-1, 1, 1, 2), torch.tensor(labels)))


def taskset(dataset, ways: int = 3, images: int = 4, fused: bool = True, extra: tuple = (), **options):
    t = import_learn2learn().data.transforms
    sampler = (
        [t.FusedNWaysKShots(dataset, n=ways, k=images, **options)]
        if fused
        else [t.NWays(dataset, ways), t.KShots(dataset, images, **options)]
    )
    rest = [t.LoadData(dataset), t.RemapLabels(dataset), *(kind(dataset) for kind in extra)]
    return import_learn2learn().data.Taskset(dataset, sampler + rest)


def generators(number: int = 1) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(number)]


def frequencies(images: torch.Tensor, labels: torch.Tensor, ways: int = 3) -> dict[str, torch.Tensor]:
    """How often each class, each image, and each class under each label was drawn."""
    index, klass = images[..., 0].long().flatten(), images[..., 1].long().flatten()
    return {
        "class": klass.bincount(minlength=len(CLASS_SIZES)),
        "image": index.bincount(minlength=sum(CLASS_SIZES)),
        "label of a class": (klass * ways + labels.flatten()).bincount(minlength=len(CLASS_SIZES) * ways),
    }


def drawn_like(one: torch.Tensor, other: torch.Tensor) -> float:
    """The p-value of both counts coming from one distribution."""
    return stats.chi2_contingency(torch.stack([one, other]).numpy() + 1e-9).pvalue


@pytest.mark.parametrize("fused", [True, False])
def test_tasks_have_the_tasksets_distribution(dataset, fused: bool) -> None:
    asked = taskset(dataset, fused=fused)
    source = episodes.from_taskset(asked)
    assert isinstance(source, episodes.EpisodeSource)
    number = 4000
    ours = episodes.draw(source, number, 1, generators())
    random.seed(0)
    theirs = [asked.sample() for _ in range(number)]
    # one image of each class, since the images of a class come together: learn2learn's four stand side by side
    theirs_images = torch.stack([x for x, _ in theirs])[:, ::4, 0, 0]
    expected = frequencies(theirs_images, torch.stack([y for _, y in theirs])[:, ::4])
    for images, labels in [
        (ours.images[ours.support[0]], ours.support_labels[0]),
        (ours.images[ours.query[0]][:, ::3], ours.query_labels[0][:, ::3]),
    ]:
        for name, counts in frequencies(images, labels).items():
            assert drawn_like(counts, expected[name]) > 1e-4, name
    # tasks are sets of classes: each of the 20 is as likely
    classes = ours.images[ours.support[0]][..., 1].long().sort(-1).values
    codes = (classes * torch.tensor([36, 6, 1])).sum(-1).unique(return_counts=True)[1]
    assert len(codes) == 20
    assert stats.chisquare(codes.numpy()).pvalue > 1e-4


def labelled(labels: list[int]) -> LabelledImages:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), SIDE, SIDE), np.uint8)
    return LabelledImages(images, np.array(labels), tuple(map(str, range(max(labels) + 1))))


@pytest.mark.parametrize(
    "load",
    [
        lambda: tasks.TASK_DISTRIBUTIONS["glyphs"].load("validation", False),
        lambda: labelled([3, 0, 0, 4, 3, 1, 0, 4, 3, 3, 1, 1, 4, 0, 0, 1, 4]),  # digits: mixed, of unequal number
        lambda: labelled([5, 5, 5, 2, 2, 2, 9, 9, 9, 9]),  # classes without images between them
    ],
    ids=["glyphs", "mixed", "gaps"],
)
def test_drawing_without_learn2learn_equals_drawing_from_its_taskset(load: Callable[[], LabelledImages]) -> None:
    """To the bit: the same images, and the same ones of them in every task."""
    images = load()
    sources = [
        episodes.from_images(images.images, images.labels, ways=3, images_per_class=3),
        episodes.from_taskset(tasks.taskset(images, ways=3, images_per_class=3)),
    ]
    ours, theirs = (vars(episodes.draw(source, 50, 1, generators(2))) for source in sources)
    assert (ours.pop("gram"), theirs.pop("gram")) == (None, None)
    for name, values in ours.items():
        assert values.dtype == theirs[name].dtype
        assert torch.equal(values, theirs[name]), name


def test_that_comparison_finds_a_sampler_that_favours_a_class(dataset) -> None:
    source = episodes.from_taskset(taskset(dataset))
    fair = episodes.draw(source, 4000, 1, generators())
    # tasks with class 0 a third more likely than they should be
    classes = fair.images[fair.support[0]][..., 1].long()
    keep = (classes == 0).any(-1) | (torch.rand(4000, generator=generators()[0]) < 0.6)
    biased = frequencies(fair.images[fair.support[0][keep]], fair.support_labels[0][keep])["class"]
    other = episodes.draw(source, 4000, 1, [torch.Generator().manual_seed(99)])
    expected = frequencies(other.images[other.support[0]], other.support_labels[0])["class"]
    assert drawn_like(biased, expected) < 1e-4


def test_support_and_query_are_disjoint_and_labels_follow_classes(dataset) -> None:
    tasks = episodes.draw(episodes.from_taskset(taskset(dataset)), 500, 2, generators(2))
    assert tasks.support.shape == (2, 500, 6)
    assert tasks.query.shape == (2, 500, 6)
    together = torch.cat([tasks.support, tasks.query], -1).sort(-1).values
    assert (together[..., 1:] != together[..., :-1]).all()
    classes = torch.cat([tasks.images[tasks.support], tasks.images[tasks.query]], 2)[..., 1].long()
    labels = torch.cat([tasks.support_labels, tasks.query_labels], 2)
    same_class = classes[..., :, None] == classes[..., None, :]
    assert torch.equal(same_class, labels[..., :, None] == labels[..., None, :])
    assert tasks.support_labels.flatten(0, 1).float().sort(-1).values.unique(dim=0).tolist() == [[0, 0, 1, 1, 2, 2]]
    assert not torch.equal(tasks.support[0], tasks.support[1]), "replicas draw tasks of their own"


def test_distinct_makes_every_ordered_choice_equally_likely() -> None:
    uniforms = torch.rand(60_000, 3, dtype=torch.float64, generator=generators()[0])
    chosen = torch.from_numpy(episodes._distinct(np.array(5), uniforms.numpy()))
    codes = (chosen * torch.tensor([25, 5, 1])).sum(-1)
    orders = sorted(25 * a + 5 * b + c for a, b, c in permutations(range(5), 3))
    values, counts = codes.unique(return_counts=True)
    assert values.tolist() == orders
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_distinct_stays_in_range_at_the_largest_uniform() -> None:
    largest = torch.full((1, 4), 1 - 2**-53, dtype=torch.float64)
    assert sorted(episodes._distinct(np.array(4), largest.numpy())[0].tolist()) == [0, 1, 2, 3]


def test_filtered_labels_are_the_only_ones_drawn(dataset) -> None:
    source = episodes.from_taskset(taskset(dataset, filter_labels=[1, 3, 5]))
    tasks = episodes.draw(source, 50, 1, generators())
    assert set(tasks.images[tasks.support][..., 1].long().flatten().tolist()) == {1, 3, 5}


def test_unknown_transforms_are_asked_for(dataset) -> None:
    t = import_learn2learn().data.transforms

    class Tripled:
        """A transform of a user's own: images times three."""

        def __init__(self, dataset):
            self.dataset = dataset

        def __call__(self, description):
            for one in description:
                one.transforms.append(lambda sample: [sample[0] * 3, sample[1]])
            return description

    asked = taskset(dataset, extra=(Tripled, t.ConsecutiveLabels))
    source = episodes.from_taskset(asked)
    assert isinstance(source, episodes.TasksetSource)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    tasks = episodes.draw(source, 20, 1, generators(2))
    # Python's own generator cannot be compared here: beartype, which checks the types in tests, draws from it
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    again = episodes.draw(source, 20, 1, generators(2))
    assert torch.equal(tasks.images, again.images), "the same streams give the same tasks"
    assert tasks.support.shape == (2, 20, 3)
    assert tasks.query.shape == (2, 20, 9)
    assert tasks.support_labels.sort(-1).values.unique(dim=1).tolist() == [[[0, 1, 2]]] * 2
    drawn = torch.cat([tasks.images[tasks.support], tasks.images[tasks.query]], 2)[..., 0] / 3
    assert torch.equal(drawn, drawn.round())
    assert (drawn.sort(-1).values.diff(dim=-1) > 0).all()


@pytest.mark.parametrize("options", [{"replacement": True}, {"fused": False, "replacement": True}])
def test_drawing_with_replacement_is_left_to_the_taskset(dataset, options: dict) -> None:
    assert isinstance(episodes.from_taskset(taskset(dataset, **options)), episodes.TasksetSource)


def test_a_finite_set_of_tasks_is_left_to_the_taskset(dataset) -> None:
    finite = taskset(dataset)
    finite.num_tasks = 5
    assert isinstance(episodes.from_taskset(finite), episodes.TasksetSource)


def test_no_image_left_for_the_query_set(dataset) -> None:
    with pytest.raises(ValueError, match="4 images of a class leave none for the query set beside 4 shots"):
        episodes.draw(episodes.from_taskset(taskset(dataset)), 1, 4, generators())
