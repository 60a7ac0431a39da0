import random
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats

from metafa import tasks
from metafa.learning import episodes, tasksets
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
    source = tasksets.from_taskset(asked)
    assert isinstance(source, episodes.EpisodeSource)
    number = 4000
    ours = source.draw(number, 1, generators())
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
        tasksets.from_taskset(tasks.taskset(images, ways=3, images_per_class=3)),
    ]
    ours, theirs = (vars(source.draw(50, 1, generators(2))) for source in sources)
    assert (ours.pop("gram"), theirs.pop("gram")) == (None, None)
    for name, values in ours.items():
        assert values.dtype == theirs[name].dtype
        assert torch.equal(values, theirs[name]), name


def test_that_comparison_finds_a_sampler_that_favours_a_class(dataset) -> None:
    source = tasksets.from_taskset(taskset(dataset))
    fair = source.draw(4000, 1, generators())
    # tasks with class 0 a third more likely than they should be
    classes = fair.images[fair.support[0]][..., 1].long()
    keep = (classes == 0).any(-1) | (torch.rand(4000, generator=generators()[0]) < 0.6)
    biased = frequencies(fair.images[fair.support[0][keep]], fair.support_labels[0][keep])["class"]
    other = source.draw(4000, 1, [torch.Generator().manual_seed(99)])
    expected = frequencies(other.images[other.support[0]], other.support_labels[0])["class"]
    assert drawn_like(biased, expected) < 1e-4


def test_support_and_query_are_disjoint_and_labels_follow_classes(dataset) -> None:
    tasks = tasksets.from_taskset(taskset(dataset)).draw(500, 2, generators(2))
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
    source = tasksets.from_taskset(taskset(dataset, filter_labels=[1, 3, 5]))
    tasks = source.draw(50, 1, generators())
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
    source = tasksets.from_taskset(asked)
    assert isinstance(source, tasksets.TasksetSource)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    tasks = source.draw(20, 1, generators(2))
    # Python's own generator cannot be compared here: beartype, which checks the types in tests, draws from it
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    again = source.draw(20, 1, generators(2))
    assert torch.equal(tasks.images, again.images), "the same streams give the same tasks"
    assert tasks.support.shape == (2, 20, 3)
    assert tasks.query.shape == (2, 20, 9)
    assert tasks.support_labels.sort(-1).values.unique(dim=1).tolist() == [[[0, 1, 2]]] * 2
    drawn = torch.cat([tasks.images[tasks.support], tasks.images[tasks.query]], 2)[..., 0] / 3
    assert torch.equal(drawn, drawn.round())
    assert (drawn.sort(-1).values.diff(dim=-1) > 0).all()


@pytest.mark.parametrize("options", [{"replacement": True}, {"fused": False, "replacement": True}])
def test_drawing_with_replacement_is_left_to_the_taskset(dataset, options: dict) -> None:
    assert isinstance(tasksets.from_taskset(taskset(dataset, **options)), tasksets.TasksetSource)


def test_a_finite_set_of_tasks_is_left_to_the_taskset(dataset) -> None:
    finite = taskset(dataset)
    finite.num_tasks = 5
    assert isinstance(tasksets.from_taskset(finite), tasksets.TasksetSource)


def test_a_lambda_among_the_transforms_is_left_to_the_taskset(dataset) -> None:
    asked = taskset(dataset, fused=False)
    asked.task_transforms = [*asked.task_transforms, lambda task: task]
    source = tasksets.from_taskset(asked)
    assert isinstance(source, tasksets.TasksetSource)
    assert source.draw(5, 1, generators()).query.shape == (1, 5, 9)


def test_what_a_taskset_makes_of_a_task_is_kept(dataset) -> None:
    asked = taskset(dataset)
    asked.task_collate = lambda task: (torch.stack([image for image, _ in task]) * 2, torch.arange(3).repeat(4))
    tasks = tasksets.from_taskset(asked).draw(3, 1, generators())
    assert tasks.support_labels.tolist() == [[[0, 1, 2]] * 3]
    assert (tasks.images % 2 == 0).all()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ways": 7}, "tasks of 7 ways need as many classes, but there are 6"),
        ({"images": 6}, "tasks take 6 images .* but 2 of the 6 classes have fewer; the smallest has 4"),
        ({"images": 10}, "tasks take 10 images .* but 6 of the 6 classes have fewer; the smallest has 4"),
    ],
)
def test_too_few_classes_or_images_are_said(dataset, fused: bool, options: dict, said: str) -> None:
    """As learn2learn does, which says so at the first task that finds too few."""
    asked = taskset(dataset, fused=fused, **options)
    with pytest.raises(ValueError, match="Sample larger than population"):
        [asked.sample() for _ in range(200)]
    with pytest.raises(ValueError, match=said):
        tasksets.from_taskset(asked)


def test_all_images_of_every_class_are_a_sound_task(dataset) -> None:
    """The most that there are: 6 ways of 6 classes, 4 images of the class that has 4."""
    tasks = tasksets.from_taskset(taskset(dataset, ways=6, images=4)).draw(50, 3, generators())
    together = torch.cat([tasks.support, tasks.query], -1).sort(-1).values
    assert (together[..., 1:] != together[..., :-1]).all()
    assert (tasks.images[tasks.support][..., 1].long().sort(-1).values == torch.arange(6).repeat_interleave(3)).all()


@pytest.mark.parametrize("transformed", [False, True])
def test_a_fixed_number_of_tasks_is_offered_once_each(dataset, transformed: bool) -> None:
    """In the order of learn2learn's own loop over the taskset, and the same to every replica."""
    asked = taskset(dataset)
    if transformed:
        asked.task_transforms = [*asked.task_transforms, lambda task: task]
    asked.num_tasks = 7
    source = tasksets.from_taskset(asked)
    assert source.number_of_tasks == 7
    found = source.every(7, 1, replicas=2)
    for i, (images, labels) in enumerate(asked):
        assert images.flatten(1).equal(found.images[12 * i : 12 * (i + 1)])
        first = [labels.tolist().index(label) for label in labels.unique().tolist()]
        for replica in range(2):
            assert (found.support[replica, i] - 12 * i).sort().values.tolist() == sorted(first)
            support, query = found.support[replica, i], found.query[replica, i]
            assert torch.cat([support, query]).sort().values.tolist() == list(range(12 * i, 12 * (i + 1)))
            assert labels[support - 12 * i].equal(found.support_labels[replica, i])
            assert labels[query - 12 * i].equal(found.query_labels[replica, i])
    assert source.every(3, 1, replicas=1).images.equal(found.images[:36])
    with pytest.raises(ValueError, match="tasks is 8, but the taskset has 7"):
        source.every(8, 1, replicas=1)


def test_a_fixed_list_not_drawn_yet_does_not_depend_on_who_asks(dataset) -> None:
    lists = []
    for seed in (1, 2):
        asked = taskset(dataset)
        asked.num_tasks = 4
        random.seed(seed)
        torch.manual_seed(seed)
        lists.append(tasksets.from_taskset(asked).every(4, 1, replicas=seed))
    assert lists[0].images.equal(lists[1].images)
    assert lists[0].support[0].equal(lists[1].support[1])


def task(counts: list[int], labels: list[int] | None = None, pixels: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    labels = list(range(len(counts))) if labels is None else labels
    return torch.rand(sum(counts), 1, pixels), torch.tensor(labels).repeat_interleave(torch.tensor(counts))


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([], "there are no tasks"),
        ([task([3, 3], [10, 12])], "a task of 2 classes has labels from 10 to 12; expected 0 to 1"),
        ([task([3, 3, 3], [0, 1, 3])], "a task of 3 classes has labels from 0 to 3; expected 0 to 2"),
        ([task([3, 3], [-1, 0])], "labels from -1 to 0; expected 0 to 1"),
        ([task([3, 4])], "a task has 3 images of one class and 4 of another"),
        (
            [task([3, 3]), task([3, 3, 3])],
            "one has 6 images of 6 pixels in 2 classes, another 9 images .* in 3 classes",
        ),
        ([task([3, 3]), task([4, 4])], "one has 6 images of 6 pixels in 2 classes, another 8 images"),
        ([task([3, 3, 3, 3]), task([4, 4, 4])], "in 4 classes, another 12 images of 6 pixels in 3 classes"),
        ([task([3, 3]), task([3, 3], pixels=7)], "another 6 images of 7 pixels in 2 classes"),
        ([task([1, 1])], "1 images of a class leave none for the query set beside 1 shots"),
        ([(torch.rand(6, 4), torch.rand(6))], r"labels of shape \[6\] and type torch.float32"),
        ([(torch.rand(6, 4), torch.zeros(5).long())], r"images of shape \[6, 4\] and labels of shape \[5\]"),
        ([(torch.rand(6), torch.zeros(6).long())], r"images of shape \[6\]"),
        ([torch.rand(6, 4)], "a task is a pair of tensors, its images and their labels: too many values"),
        ([("images", "labels")], "a task is a pair of tensors"),
    ],
)
def test_what_is_no_task_is_said(tasks: list, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tasksets.TasksetSource(tasks).every(len(tasks), 1, replicas=1)


def test_no_image_left_for_the_query_set(dataset) -> None:
    with pytest.raises(ValueError, match="4 images of a class leave none for the query set beside 4 shots"):
        tasksets.from_taskset(taskset(dataset)).draw(1, 4, generators())
