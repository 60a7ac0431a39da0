"""A trial while it runs: whoever follows it is told how far it is and judges it, and it goes on from checkpoints as if
nothing had happened."""

import pytest
from trial_runs import ON_DATA, ON_TASKS, run, settings_of

from metafa.results.measured import measurement
from metafa.studies.settings import EarlyStoppingSettings, TrialSettings
from metafa.trials import checkpoints, trial
from metafa.trials.recording import Outcome

JUDGED = {
    "seeds": 2,
    "network": {"hidden": [8]},
    "phases": [
        {"phase": "noise", "steps": 20},
        {"phase": "meta", "task_distribution": "glyphs", "outer_steps": 130, "tasks_per_batch": 1},
        {"phase": "evaluate", "task_distributions": ["glyphs"], "tasks": 3},
    ],
    "measure": {"points": 4, "tasks": 3, "weight_path": True},
}

LONG = {
    "seeds": 2,
    "network": {"hidden": [20]},
    "phases": [
        {"phase": "noise", "steps": 130},
        {"phase": "supervised", "dataset": "glyphs", "training_images": 300, "steps": 70},
        {"phase": "meta", "task_distribution": "glyphs", "outer_steps": 70, "tasks_per_batch": 2},
        {"phase": "evaluate", "task_distributions": ["glyphs"], "tasks": 6},
    ],
    "measure": {"points": 4, "tasks": 5, "weight_path": True},
}


def test_the_fraction_that_is_done_grows_to_one(sources) -> None:
    fractions = []
    trial.run(settings_of(ON_TASKS), sources, watch=trial.Watch(fractions.append))
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)


def judged(sources, settings: TrialSettings, metric: str, checkpoint=None, keep=lambda make: None):
    """What a trial is judged by, at which step, and its outcome."""
    found = {}
    stopping = EarlyStoppingSettings(method="asha", metric=metric, grace_period=3, reduction_factor=2.5)

    def look(phase, step, outcome, rows) -> None:
        found[step] = measurement(rows, metric)
        outcome.judged.append((phase, step, found[step]))

    watch = trial.Watch(judges=stopping.judged_steps, judged=look, checkpoint=keep)
    return found, trial.run(settings, sources, watch=watch, checkpoint=checkpoint)


@pytest.mark.parametrize("metric", ["meta.meta_loss", "noise.loss"])
def test_what_is_compared_is_measured_at_the_same_step(metric: str, sources) -> None:
    """A trial is the beginning of a longer one, so that both are judged by the same numbers, to the bit, as far as the
    shorter one goes, and whatever moments of its own each is measured at; and being judged leaves no trace."""
    found = {}
    for points, length in ((5, 2), (5, 20), (9, 130)):
        noise, outer_steps = (length, 5) if metric.startswith("noise") else (0, length)
        settings = settings_of(
            JUDGED, measure={"points": points}, noise={"steps": noise}, meta={"outer_steps": outer_steps}
        )
        found[length], outcome = judged(sources, settings, metric)
        assert outcome.rows == trial.run(settings, sources).rows
    # 3, then times 2.5: 7.5, 18.75, 46.9, 117.2
    assert list(found[130]) == [3, 8, 19, 47, 118]
    assert found[20] == {step: found[130][step] for step in (3, 8, 19)}
    assert found[2] == {}, "shorter than the first step at which trials are judged"


def test_a_trial_that_goes_on_knows_what_it_was_judged_by(sources) -> None:
    settings, metric, kept = settings_of(JUDGED), "meta.meta_loss", []
    found, whole = judged(sources, settings, metric, keep=lambda make: kept.append(checkpoints.encode(make())))
    assert [step for _, step, _ in whole.judged] == [3, 8, 19, 47, 118]
    for content, before in zip(kept, (4, 5), strict=True):
        checkpoint = checkpoints.decode(content)
        assert checkpoint.outcome.judged == whole.judged[:before]
        later, rest = judged(sources, settings, metric, checkpoint)
        assert later == {step: found[step] for _, step, _ in whole.judged[before:]}
        assert (rest.rows, rest.judged) == (whole.rows, whole.judged)


def kept_of(settings: TrialSettings, sources: trial.Sources) -> tuple[list[bytes], Outcome]:
    """The checkpoints of a trial, each written as in a study, and its outcome."""
    kept: list[bytes] = []
    watch = trial.Watch(checkpoint=lambda make: kept.append(checkpoints.encode(make())))
    return kept, trial.run(settings, sources, watch=watch)


PERCEPTRON = {"hidden": [20]}


@pytest.mark.parametrize(
    ("network", "rule", "outer"),
    [
        (PERCEPTRON, "feedback_alignment", {"learn_inner_rates": True}),
        (PERCEPTRON, "weight_mirror", {"outer_algorithm": "first_order", "outer_schedule": "cosine"}),
        (PERCEPTRON, "sign_symmetry_random", {"outer_algorithm": "reptile", "outer_optimizer": "sgd"}),
        (PERCEPTRON, "nested_kolen_pollack", {"outer_algorithm": "first_order", "outer_learning_rate": [1e-3, 1e-2]}),
    ],
)
def test_a_trial_goes_on_from_every_checkpoint_to_the_same_rows_to_the_bit(
    network: dict, rule: str, outer: dict
) -> None:
    """Each checkpoint is written and read as in a study; all that later draws, optimizers and feedback depend on has to
    be in it."""
    settings = settings_of(LONG | {"network": network | {"rule": rule}}, meta=outer)
    sources = trial.prepared(trial.load_sources(settings))
    kept, whole = kept_of(settings, sources)
    found = [checkpoints.decode(content) for content in kept]
    assert [(checkpoint.phase, checkpoint.step) for checkpoint in found] == [(0, 64), (0, 128), (1, 64), (2, 64)]
    for checkpoint in found:
        rest = trial.run(settings, sources, checkpoint=checkpoint)
        assert rest.rows == whole.rows, (checkpoint.phase, checkpoint.step)


def test_a_convolutional_network_goes_on_from_every_checkpoint_to_the_same_rows_to_the_bit() -> None:
    # tanh, so that no feature map is 0 for every image
    network = {"architecture": "omniglot-cnn", "filters": 2, "activation": "tanh", "rule": "weight_mirror"}
    noise, supervised, meta, evaluate = LONG["phases"]
    small = {"shots": 1, "queries": 2, "inner_steps": 2}
    phases = [
        noise | {"steps": 66, "batch_size": 8},
        supervised | {"steps": 66, "batch_size": 8},
        meta | {"outer_steps": 66, "tasks_per_batch": 1, "learn_inner_rates": True} | small,
        evaluate | small,
    ]
    settings = settings_of(LONG | {"network": network, "phases": phases}, measure={"tasks": 2, "points": 3})
    sources = trial.prepared(trial.load_sources(settings))
    kept, whole = kept_of(settings, sources)
    found = [checkpoints.decode(content) for content in kept]
    assert [(checkpoint.phase, checkpoint.step) for checkpoint in found] == [(0, 64), (1, 64), (2, 64)]
    for checkpoint in found:
        assert trial.run(settings, sources, checkpoint=checkpoint).rows == whole.rows, checkpoint.phase


def test_running_statistics_survive_an_interruption() -> None:
    settings = settings_of(ON_DATA, noise={"steps": 100}, supervised={"epochs": 30}, network={"normalization": "batch"})
    sources = trial.prepared(trial.load_sources(settings))
    kept, whole = kept_of(settings, sources)
    assert whole.rows != trial.run(settings_of(ON_DATA), sources).rows
    for checkpoint in map(checkpoints.decode, kept):
        assert trial.run(settings, sources, checkpoint=checkpoint).rows == whole.rows


def test_a_trial_goes_on_from_a_checkpoint_to_the_same_divergences() -> None:
    """One learning rate of two breaks between two moments: where, only the steps before the checkpoint have seen."""
    settings = settings_of(ON_DATA, noise={"steps": 200, "optimizer": "sgd", "learning_rate": [1e-3, 1e10]})
    kept, whole = kept_of(settings, trial.prepared(trial.load_sources(settings)))
    assert {(one.seed, one.learning_rate, one.phase) for one in whole.divergences.values()} == {
        (0, 1e10, "noise"),
        (1, 1e10, "noise"),
    }
    assert kept
    for content in kept:
        assert run(settings, checkpoint=checkpoints.decode(content)).divergences == whole.divergences


def test_a_damaged_checkpoint_is_known() -> None:
    settings = settings_of(ON_DATA, supervised={"epochs": 40})
    (content, *_), _ = kept_of(settings, trial.prepared(trial.load_sources(settings)))
    assert checkpoints.decode(content) is not None
    for place in range(0, len(content), 997):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        assert checkpoints.decode(bytes(damaged)) is None
        assert checkpoints.decode(content[:place]) is None
