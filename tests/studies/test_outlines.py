"""Whether the phases of a trial fit each other, and which images they draw on."""

from dataclasses import replace

import pytest
from study_bases import EVALUATE, SUPERVISED, mistakes
from study_texts import study_with

from metafa.studies import study
from metafa.studies.data import BATCH, DATASETS, Inputs
from metafa.studies.needs import image_needs, images_by_phase, inputs_of
from metafa.studies.outlines import standardized_by

SHIFTED = {"phase": "out_of_distribution", "rotation": [10]}


def test_a_shift_is_of_the_dataset_trained_on_where_none_is_said() -> None:
    phases = [{**SUPERVISED["phases"][0], "dataset": {"choices": ["digits", "glyphs"]}}, SHIFTED]
    found = [trial.settings for trial in study.parse(study_with(SUPERVISED, phases=phases)).trials]
    assert [settings.datasets()["out_of_distribution"] for settings in found] == ["digits", "glyphs"]
    assert [set(settings.pixels.values()) for settings in found] == [{64}, {784}]


def test_a_network_takes_images_of_one_size() -> None:
    (message,) = mistakes(study_with(SUPERVISED, phases=[*SUPERVISED["phases"], EVALUATE]))
    assert "images of one size, found pixels: 64 of digits in supervised, 784 of glyphs in evaluate" in message


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ([SHIFTED], "s.toml: out_of_distribution needs a `dataset`, or a supervised phase before it"),
        (
            [*SUPERVISED["phases"], {"phase": "out_of_distribution", "datasets": ["kmnist"]}],
            "s.toml:10: out_of_distribution.datasets: their classes are the ten digits; those of kmnist are not",
        ),
        (
            [*SUPERVISED["phases"], {"phase": "out_of_distribution", "datasets": ["svhn"]}],
            "s.toml:10: out_of_distribution.datasets: images of svhn are in colour, and those of digits grey",
        ),
        (
            [*SUPERVISED["phases"], {"phase": "out_of_distribution", "unknown_datasets": ["mnist"]}],
            "s.toml:10: out_of_distribution.unknown_datasets: mnist has classes in common with digits; expected "
            "classes that it does not have",
        ),
        (
            [*SUPERVISED["phases"], {"phase": "out_of_distribution", "unknown_datasets": ["cifar10"]}],
            "s.toml:10: out_of_distribution.unknown_datasets: images of cifar10 are in colour, and those of "
            "digits grey",
        ),
        (
            [
                {"phase": "supervised", "dataset": "cifar100", "epochs": 1},
                {"phase": "out_of_distribution", "dataset": "cifar10"},
            ],
            "s.toml:4: out_of_distribution.dataset: cifar10 has 10 classes, and cifar100, trained on before it, 100",
        ),
    ],
)
def test_what_tests_out_of_distribution_fits_what_was_trained_on(phases: list, said: str) -> None:
    assert said in mistakes(study_with(SUPERVISED, phases=phases))


TURNED = {"phase": "noise", "steps": 9, "control": "soft_alignment"}
UNTURNABLE = 'noise.control = "soft_alignment" turns weights towards feedback in their shape that they do not decide'
LENT = {"phase": "noise", "steps": 9, "inputs": "shuffled_images", "dataset": "digits"}


@pytest.mark.parametrize("rule", ["backprop", "direct_feedback_alignment", "sign_symmetry_fixed"])
def test_weights_are_turned_towards_feedback_that_is_there(rule: str) -> None:
    """Also where it is but one of several choices."""
    study.parse(study_with(SUPERVISED, phases=[TURNED, *SUPERVISED["phases"]]))
    network = {"rule": {"choices": ["feedback_alignment", rule]}}
    phases = [TURNED | {"control": {"choices": ["none", "soft_alignment"]}}, *SUPERVISED["phases"]]
    (message,) = mistakes(study_with(SUPERVISED, network=network, phases=phases))
    assert message.startswith(f"s.toml:5: {UNTURNABLE}, which network.rule = {rule!r} does not have")


def test_weights_are_turned_to_angles_that_there_are() -> None:
    once = {"phase": "soft_alignment", "angle": {"choices": [72.0, 181.0]}}
    (message,) = mistakes(study_with(SUPERVISED, phases=[once, *SUPERVISED["phases"]]))
    assert message.endswith("soft_alignment.angle: found 181.0: input should be less than or equal to 180")
    backprop = study_with(
        SUPERVISED, network={"rule": "backprop"}, phases=[once | {"angle": 72.0}, *SUPERVISED["phases"]]
    )
    (message,) = mistakes(backprop)
    assert message.startswith('s.toml:4: soft_alignment.phase = "soft_alignment" turns weights towards feedback')


def test_images_that_are_inputs_of_noise_are_of_a_dataset_of_one_size() -> None:
    (message,) = mistakes(
        study_with(
            SUPERVISED, phases=[{key: value for key, value in LENT.items() if key != "dataset"}, *SUPERVISED["phases"]]
        )
    )
    assert message.endswith('inputs = "shuffled_images" needs a `dataset`: whose images')
    (message,) = mistakes(study_with(SUPERVISED, phases=[LENT | {"dataset": "mnist"}, *SUPERVISED["phases"]]))
    assert "images of one size, found pixels: 784 of mnist in noise, 64 of digits in supervised" in message
    (message,) = mistakes(study_with(SUPERVISED, phases=[LENT]))
    assert "no phase has images; add one" in message, "nobody would know how many classes there are"


def test_images_that_noise_lends_are_needed_without_their_tests_and_labels() -> None:
    phases = [LENT | {"dataset": "fashion-mnist"}, {**SUPERVISED["phases"][0], "dataset": "glyphs"}, SHIFTED]
    settings = study.parse(study_with(SUPERVISED, phases=phases)).trials[0].settings
    assert dict(image_needs(settings)) == {
        "datasets/fashion-mnist/training": "noise.dataset",
        "datasets/glyphs/training": "supervised.dataset",
        "datasets/glyphs/test": "supervised.dataset",
    }
    assert settings.datasets() == {"supervised": "glyphs", "out_of_distribution": "glyphs"}
    assert images_by_phase(settings, settings.phases[0]) == (["datasets/fashion-mnist/training"], [])


def test_noise_after_data_is_tested_on_the_data() -> None:
    after = study.parse(study_with(SUPERVISED, phases=[*SUPERVISED["phases"], LENT])).trials[0].settings
    assert after.datasets() == {"supervised": "digits", "noise": "digits"}
    assert inputs_of(after, "noise", "accuracy") == {BATCH, Inputs("digits")}
    before = study.parse(study_with(SUPERVISED, phases=[LENT, *SUPERVISED["phases"]])).trials[0].settings
    assert inputs_of(before, "noise", "accuracy") == {BATCH}


def test_pictures_have_the_shape_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = replace(DATASETS["digits"], shape=(64,))
    monkeypatch.setitem(DATASETS, "flat", flat)
    pink = {"phase": "noise", "name": "texture", "steps": 9, "inputs": "pink"}
    (message,) = mistakes(study_with(SUPERVISED, phases=[pink, {**SUPERVISED["phases"][0], "dataset": "flat"}]))
    assert message.endswith('texture.inputs = "pink" needs images with rows and columns, found images of shape (64,)')


TASKS, TRAINED = EVALUATE | {"task_distributions": ["kmnist", "glyphs"]}, {"phase": "supervised", "dataset": "mnist"}


@pytest.mark.parametrize(
    ("phases", "image", "place"),
    [
        ([TASKS, TRAINED | {"steps": 1}], "datasets/mnist/training", "supervised.dataset"),
        ([TASKS], "tasks/kmnist/training", "network.pixels"),
        ([{"phase": "out_of_distribution", "dataset": "usps"}], "datasets/usps/training", "network.pixels"),
    ],
)
def test_standardized_pixels_need_the_training_images_of_what_is_trained_on(
    phases: list, image: str, place: str
) -> None:
    settings = study.parse(study_with({"phases": phases, "network": {"pixels": "standardized"}})).trials[0].settings
    assert standardized_by(settings.outlines) == image
    assert image_needs(settings)[image] == place
    as_they_are = study.parse(study_with({"phases": phases})).trials[0]
    assert (image in image_needs(as_they_are.settings)) == (place != "network.pixels")


def test_batch_normalization_takes_batches_of_several_images() -> None:
    normalized = {"network": {"normalization": "batch"}}
    (message,) = mistakes(study_with(SUPERVISED, supervised={"batch_size": 1}, **normalized))
    assert "supervised.batch_size: found 1; batch normalization takes batches of at least 2" in message


CONVOLUTIONAL = {"network": {"architecture": "cnn4"}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            CONVOLUTIONAL,
            'network.architecture = "cnn4" takes images of at least 16 x 16 pixels; those of digits in supervised are '
            "8 x 8",
        ),
        (
            {"network": {"architecture": "omniglot-cnn", "hidden": [100]}},
            'architecture = "omniglot-cnn" has no `hidden`; it has `filters`',
        ),
        ({"network": {"filters": 8}}, 'architecture = "mlp" has no `filters`; it has `hidden`'),
        (
            {"network": {"architecture": "omniglot-cnn", "normalization": "group", "filters": 12}},
            "found 8 groups, which do not divide the 12 units of a hidden layer",
        ),
        (
            {"network": {"hidden": [16, 12], "normalization": "group"}},
            "found 8 groups, which do not divide the 12 units of a hidden layer",
        ),
        (
            {"network": {"hidden": [8], "normalization": "group"}},
            "found 8 groups of 8 units: normalization of one unit makes 0 of it",
        ),
        ({"network": {"architecture": "vgg"}}, "found 'vgg', expected 'mlp', 'omniglot-cnn', 'cnn4' or 'resnet12'"),
    ],
)
def test_what_an_architecture_cannot_take_is_said(changes: dict, said: str) -> None:
    (message,) = mistakes(study_with(SUPERVISED, **changes))
    assert said in message


def test_an_architecture_has_its_own_normalization_and_activation_where_none_is_said() -> None:
    networks = [{"architecture": name} for name in ("mlp", "omniglot-cnn", "resnet12")]
    networks.append({"architecture": "resnet12", "normalization": "none", "activation": "tanh"})
    found = [
        study.parse(study_with(SUPERVISED, supervised={"dataset": "mnist"}, network=network)).trials[0].settings.network
        for network in networks
    ]
    assert [(network.normalization, network.activation) for network in found] == [
        ("none", "relu"),
        ("batch", "relu"),
        ("batch", "leaky_relu"),
        ("none", "tanh"),
    ]
