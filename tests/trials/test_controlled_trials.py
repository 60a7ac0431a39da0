"""Noise phases that are controlled, learned by backprop, or after data, as a trial records them."""

import pytest
from trial_runs import run, settings_of, values

from metafa.trials import checkpoints, trial
from metafa.trials.recording import Outcome

NETWORK = {"hidden": [12, 8]}
BASE = {
    "seeds": 2,
    "network": NETWORK,
    "phases": [
        {"phase": "noise", "steps": 200, "learning_rate": 5e-3},
        {"phase": "supervised", "dataset": "digits", "training_images": 200, "steps": 70},
    ],
    "measure": {"points": 4, "weight_path": True, "singular_values": True},
}
ORDER = {**BASE, "phases": BASE["phases"][::-1]}


def at(outcome: Outcome, phase: str, step: int, metric: str) -> dict[tuple, float]:
    rows = [row | {"phase": "", "step": 0} for row in outcome.rows if (row["phase"], row["step"]) == (phase, step)]
    return values(rows, metric=metric)


@pytest.mark.parametrize("control", ["random_step", "soft_alignment"])
def test_what_is_measured_is_of_the_network_that_the_phase_leaves(control: str) -> None:
    """At the end of noise as at the start of what follows; and the path of the batches is the training's own."""
    plain, controlled = (run(settings_of(BASE, noise={"control": one})) for one in ("none", control))
    for metric in ("alignment_angle", "effective_rank", "singular_value", "readout_deviation"):
        left = at(controlled, "noise", 200, metric)
        assert left == at(controlled, "supervised", 0, metric)
        assert left != at(plain, "noise", 200, metric)
        assert at(controlled, "noise", 0, metric) == at(plain, "noise", 0, metric)
    assert values(controlled.rows, phase="noise", metric="loss", inputs="batch") == values(
        plain.rows, phase="noise", metric="loss", inputs="batch"
    )
    turned, start, reached = (
        at(one, "noise", step, "alignment_angle").values()
        for one, step in ((controlled, 200), (plain, 0), (plain, 200))
    )
    moved = [abs(one - other) for one, other in zip(start, reached, strict=True)]
    apart = [abs(one - other) for one, other in zip(turned, reached, strict=True)]
    # the angle is reached unit by unit, and so nearly by whole matrices
    assert (max(apart) < 0.5 * max(moved)) == (control == "soft_alignment")
    between = {row["step"] for row in plain.rows if row["phase"] == "noise"} - {0, 200}
    for step in between:  # as a phase of so many steps would leave it
        short = run(settings_of(BASE, noise={"steps": step, "control": control}))
        assert at(short, "noise", step, "alignment_angle") == at(controlled, "noise", step, "alignment_angle")


CASES = [
    {"noise": {"control": "random_step"}, "network": {"rule": "weight_mirror"}},
    {"noise": {"control": "soft_alignment", "learning_rate": [1e-3, 1e-2]}, "network": {"rule": "kolen_pollack"}},
    {"noise": {"rule": "backprop", "inputs": "pink"}, "network": {"rule": "sign_symmetry_random"}},
    {"noise": {"inputs": "dead_leaves"}},
    {"noise": {"inputs": "shuffled_images", "dataset": "digits"}},
]


@pytest.mark.parametrize("changes", CASES)
def test_it_goes_on_from_every_checkpoint_to_the_same_rows_to_the_bit(changes: dict) -> None:
    settings = settings_of(BASE, **changes)
    sources = trial.prepared(trial.load_sources(settings))
    kept: list[bytes] = []
    watch = trial.Watch(checkpoint=lambda make: kept.append(checkpoints.encode(make())))
    whole = trial.run(settings, sources, watch=watch)
    found = [checkpoints.decode(content) for content in kept]
    assert [(one.phase, one.step) for one in found] == [(0, 64), (0, 128), (0, 192), (1, 64)]
    for one in found:
        assert trial.run(settings, sources, checkpoint=one).rows == whole.rows, (one.phase, one.step)


def test_noise_learned_by_backprop_is_that_of_backprop_and_later_phases_are_not() -> None:
    by_backprop = run(settings_of(BASE, noise={"rule": "backprop"}))
    everywhere = run(settings_of(BASE, network={"rule": "backprop"}))
    own = run(settings_of(BASE))
    weights = {"metric": "singular_value", "phase": "noise"}
    assert values(by_backprop.rows, **weights) == values(everywhere.rows, **weights) != values(own.rows, **weights)
    # backprop's angle is to the feedback that is drawn and not used
    angles = {"metric": "alignment_angle", "phase": "noise"}
    assert values(by_backprop.rows, **angles) == values(everywhere.rows, **angles)
    weights["phase"] = "supervised"
    assert values(by_backprop.rows, **weights) != values(everywhere.rows, **weights)


def test_feedback_that_learns_stays_as_it_is_while_noise_is_learned_by_backprop() -> None:
    """So that Kolen-Pollack's is feedback alignment's; weights do not decay either."""
    one, other = (
        run(settings_of(BASE, network={"rule": rule}, noise={"rule": "backprop"}))
        for rule in ("kolen_pollack", "feedback_alignment")
    )
    for metric in ("singular_value", "alignment_angle"):
        assert values(one.rows, phase="noise", metric=metric) == values(other.rows, phase="noise", metric=metric)
        assert at(one, "supervised", 70, metric) != at(other, "supervised", 70, metric)


def test_noise_after_data_is_tested_on_the_data() -> None:
    """From where training on it ended; noise before data has none to be tested on."""
    outcome = run(settings_of(ORDER, noise={"learning_rate": 0.05}))
    for metric in ("accuracy", "loss"):
        named = {"metric": metric, "inputs": "digits"}
        start = at(outcome, "noise", 0, metric)
        trained = {key: value for key, value in at(outcome, "supervised", 70, metric).items() if "digits" in key}
        assert start == trained
        assert len(start) == 2
        assert len(values(outcome.rows, phase="noise", **named)) == 2 * 4
    accuracy = values(outcome.rows, phase="noise", metric="accuracy", inputs="digits")
    assert min(accuracy.values()) < min(at(outcome, "noise", 0, "accuracy").values()), "so much noise makes it forget"
    assert {"digits"} <= {row["inputs"] for row in outcome.rows if row["metric"] == "readout_deviation"}
    assert not values(run(settings_of(BASE)).rows, phase="noise", metric="accuracy", inputs="digits")


def test_weights_are_turned_once_to_a_given_angle() -> None:
    """Columns keep their norms, which are not those of the feedback's: whole matrices are not quite parallel."""
    phases = [{"phase": "soft_alignment", "angle": 0.0}, BASE["phases"][1]]
    outcome = run(settings_of({**BASE, "phases": phases}))
    angles = {"phase": "soft_alignment", "metric": "alignment_angle"}
    before, after = (values(outcome.rows, step=step, **angles) for step in (0, 1))
    assert max(after.values()) < 50 < 60 < min(before.values())
    assert at(outcome, "soft_alignment", 1, "singular_value") == at(outcome, "supervised", 0, "singular_value")
    path = [row for row in outcome.rows if row["metric"] == "weight_path" and row["phase"] == "soft_alignment"]
    assert {row["step"] for row in path} == {0, 1}
