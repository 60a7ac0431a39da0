"""A trial goes on from a checkpoint as if nothing had happened."""

import pytest
from trial_runs import ON_DATA, run, settings_of

from metafa.studies.settings import TrialSettings
from metafa.trials import checkpoints, trial
from metafa.trials.recording import Outcome

LONG = {
    "seeds": 2,
    "network": {"hidden": [20]},
    "phases": [
        {"phase": "noise", "steps": 200},
        {"phase": "supervised", "dataset": "glyphs", "training_images": 300, "steps": 150},
        {"phase": "meta", "task_distribution": "glyphs", "outer_steps": 140, "tasks_per_batch": 2},
        {"phase": "evaluate", "task_distributions": ["glyphs"], "tasks": 6},
    ],
    "measure": {"points": 4, "tasks": 5, "weight_path": True},
}


def kept_of(settings: TrialSettings, sources: trial.Sources) -> tuple[list[bytes], Outcome]:
    """The checkpoints of a trial, each written as in a study, and its outcome."""
    kept: list[bytes] = []
    watch = trial.Watch(checkpoint=lambda make: kept.append(checkpoints.encode(make())))
    return kept, trial.run(settings, sources, watch=watch)


@pytest.mark.parametrize(
    ("rule", "outer"),
    [
        ("feedback_alignment", {"learn_inner_rates": True}),
        ("weight_mirror", {"outer_algorithm": "first_order", "outer_schedule": "cosine"}),
        ("sign_symmetry_random", {"outer_algorithm": "reptile", "outer_optimizer": "sgd", "outer_momentum": 0.9}),
        ("nested_kolen_pollack", {"outer_algorithm": "first_order", "outer_learning_rate": [1e-3, 1e-2]}),
    ],
)
def test_a_trial_goes_on_from_every_checkpoint_to_the_same_rows_to_the_bit(rule: str, outer: dict) -> None:
    """Each checkpoint is written and read as in a study; all that later draws, optimizers and feedback depend on has to
    be in it."""
    settings = settings_of(LONG, network={"rule": rule}, meta=outer)
    sources = trial.prepared(trial.load_sources(settings))
    kept, whole = kept_of(settings, sources)
    found = [checkpoints.decode(content) for content in kept]
    assert [(checkpoint.phase, checkpoint.step) for checkpoint in found] == [
        (0, 64), (0, 128), (0, 192), (1, 64), (1, 128), (2, 64), (2, 128)
    ]  # fmt: skip
    for checkpoint in found:
        rest = trial.run(settings, sources, checkpoint=checkpoint)
        assert rest.rows == whole.rows, (checkpoint.phase, checkpoint.step)


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
