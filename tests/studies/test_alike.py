"""What `metafa check` calls the same trial in other words computes the same, to the bit; nothing else is called so."""

import math
from collections.abc import Collection

import pytest
from study_bases import EVALUATED
from study_texts import study_with
from typer.testing import CliRunner

from metafa import cli
from metafa.learning import rules
from metafa.studies import alike, study
from metafa.studies.metrics import METRICS
from metafa.studies.trial import Trial
from metafa.trials import trial

NETWORK = {"hidden": [8], "rule": "feedback_alignment"}
TASKS = {
    "seeds": 1,
    "measure": {"points": 3, "tasks": 2},
    "network": NETWORK,
    "phases": [
        {"phase": "noise", "steps": 3},
        {"phase": "noise", "name": "more", "steps": 2},
        {"phase": "meta", "task_distribution": "glyphs", "tasks_per_batch": 2, "outer_steps": 2},
        {"phase": "evaluate", "task_distributions": ["glyphs"], "tasks": 2, "inner_steps": 2},
    ],
}
DATA = {
    "seeds": 1,
    "measure": {"points": 3},
    "network": NETWORK,
    "phases": [
        {"phase": "noise", "steps": 3},
        {"phase": "supervised", "dataset": "digits", "training_images": 200, "steps": 3},
    ],
}


def rule(name: str, **settings: object) -> dict:
    return {"network": {"rule": name, **settings}}


def meta(**settings: object) -> dict:
    return {"meta": {"outer_steps": 2, **settings}}


NO_NOISE, NO_MORE, NO_DATA = ({name: {"steps": 0}} for name in ("noise", "more", "supervised"))
IMAGES = {"inputs": "images", "dataset": "digits"}
NO_STEPS = {"evaluate": {"inner_steps": 0}}
# what is said, the study, and what the two trials change of it
SAME = [
    ("direct_feedback_alignment", TASKS, {}, rule("direct_feedback_alignment")),
    ("without tasks", DATA, rule("kolen_pollack"), rule("nested_kolen_pollack")),
    ("weight_mirror", TASKS, {}, rule("feedback_alignment", mirror_learning_rate=0.5)),
    (
        "of one size",
        TASKS,
        rule("sign_symmetry_uniform"),
        rule("sign_symmetry_uniform", feedback_distribution="uniform"),
    ),
    ("alignment angle", TASKS, rule("backprop"), rule("backprop", feedback_scale=3.0)),
    ("group normalization", TASKS, {}, {"network": {"groups": 4}}),
    ("batch normalization", TASKS, {}, {"network": {"batch_statistics": "support"}}),
    (
        "batch normalization",
        DATA,
        {"network": {"normalization": "batch"}},
        {"network": {"normalization": "batch", "batch_statistics": "support"}},
    ),
    ("a noise phase", TASKS, NO_NOISE, {"noise": {"steps": 0, "learning_rate": 0.1, "labels": "soft"}}),
    ("a noise phase", TASKS, NO_NOISE, {"noise": {"steps": 0, "rule": "backprop", "control": "random_step"}}),
    (
        "learned by backprop",
        TASKS,
        rule("backprop"),
        {**rule("backprop"), "noise": {"rule": "backprop"}},
    ),
    ("need no dataset", DATA, {}, {"noise": {"dataset": "digits"}}),
    ("of their own", DATA, {"noise": IMAGES}, {"noise": IMAGES | {"mean": 2.0, "standard_deviation": 3.0}}),
    ("a second noise phase", TASKS, NO_MORE, {"more": {"steps": 0, "inputs": "uniform", "mean": 2.0}}),
    ("a supervised phase", DATA, NO_DATA, {"supervised": {"steps": None, "epochs": 0, "optimizer": "sgd"}}),
    ("a noise phase", TASKS, NO_NOISE, {"noise": {"steps": 0, "l2_penalty": 0.1, "converged_metric": "loss"}}),
    ("converged_metric", DATA, {}, {"supervised": {"converged_patience": 9, "converged_change": 1.0}}),
    ("a meta phase", TASKS, meta(outer_steps=0), meta(outer_steps=9, outer_algorithm="none", shots=5)),
    (
        "outer_rule",
        TASKS,
        rule("backprop") | meta(outer_algorithm="first_order"),
        rule("backprop") | meta(outer_algorithm="first_order", outer_rule="backprop"),
    ),
    ("outer_rule", TASKS, {}, meta(outer_rule="backprop")),
    ("no learning rate", TASKS, NO_STEPS, {"evaluate": {"inner_steps": 0, "inner_learning_rate": 0.1}}),
    ("which layers", TASKS, NO_STEPS, {"evaluate": {"inner_steps": 0, "adapted_layers": "readout"}}),
]
OTHERS = [
    (
        TASKS,
        {"network": {"normalization": "group", "groups": 2}},
        {"network": {"normalization": "group", "groups": 4}},
    ),
    (
        TASKS,
        {"network": {"normalization": "batch"}},
        {"network": {"normalization": "batch", "batch_statistics": "support"}},
    ),
    (DATA, {}, {"supervised": {"l2_penalty": 0.1}}),
    (DATA, {}, {"supervised": {"gradient_clipping": 0.1}}),
    (DATA, {}, {"supervised": {"schedule": "cosine"}}),
    (DATA, {"supervised": {"optimizer": "sgd"}}, {"supervised": {"optimizer": "sgd", "momentum": 0.9}}),
    (TASKS, rule("feedback_alignment", hidden=[8, 8]), rule("direct_feedback_alignment", hidden=[8, 8])),
    (TASKS, rule("kolen_pollack"), rule("nested_kolen_pollack")),
    (TASKS, rule("weight_mirror"), rule("weight_mirror", mirror_learning_rate=0.5)),
    (TASKS, NO_NOISE, {"noise": {"steps": 0, "inputs": "uniform", "mean": 2.0}}),
    (TASKS, {}, {"noise": {"rule": "backprop"}}),
    (TASKS, {}, {"noise": {"control": "random_step"}}),
    (DATA, {"noise": IMAGES}, {"noise": IMAGES | {"inputs": "shuffled_images"}}),
    (TASKS, meta(outer_algorithm="first_order"), {}),
    (TASKS, meta(outer_algorithm="first_order"), meta(outer_algorithm="first_order", outer_rule="backprop")),
]


def trials_of(base: dict, *either: dict) -> list[Trial]:
    return [study.parse(study_with(base, **changes)).trials[0] for changes in either]


def together(trials: list[Trial]) -> study.Study:
    """A study of both trials."""
    return study.parse(study_with(EVALUATED)).of_trials(trials)


def rows_of(one: Trial, without: Collection[str] = ()) -> list[dict]:
    rows = trial.run(one.settings, trial.prepared(trial.load_sources(one.settings))).rows
    assert all(math.isfinite(row["value"]) for row in rows)
    return [row for row in rows if row["metric"] not in without]


@pytest.mark.parametrize("said", SAME, ids=lambda said: said[0])
def test_what_is_called_the_same_is(said: tuple) -> None:
    words, *how = said
    one, other = trials_of(*how)
    assert one.trial_id != other.trial_id
    (sentence,) = alike.sentences(together([one, other]))
    assert sentence.startswith("1 trial repeats another under other names")
    assert words in sentence
    of_feedback = [name for name, metric in METRICS.items() if metric.of_carrier is not None]
    without = of_feedback if words == "alignment angle" else []
    assert rows_of(one, without) == rows_of(other, without)


@pytest.mark.parametrize("how", OTHERS)
def test_what_is_not_the_same_is_not_called_so(how: tuple) -> None:
    one, other = trials_of(*how)
    assert alike.sentences(together([one, other])) == []
    assert rows_of(one) != rows_of(other)


def test_check_tells_which_trials_count_twice(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "twice.toml").write_text(
        """\
network.rule = { choices = ["backprop", "feedback_alignment", "direct_feedback_alignment"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 64] }
learning_rate = { choices = [1e-4, 1e-3, 1e-2] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""
    )
    done = CliRunner().invoke(cli.app, ["check", "twice.toml"])
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("same     ")]
    # of 18 trials six are direct; of the six that are left without noise two of three of each rule
    assert [" ".join(line.split()[1:3]) for line in lines] == ["6 trials", "4 trials"]


def test_facts_of_rules_of_ones_own_are_those_of_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said goes by what a rule does, not by its name, and is so: rows are compared to the bit."""
    mirror = rules.Rule(rules.feedback_weight, "none", learning=rules.WEIGHT_MIRROR)
    uniform = rules.Rule(rules.signed_feedback, "signs", magnitudes="constant")
    monkeypatch.setitem(rules.RULES, "own_mirror", mirror)
    monkeypatch.setitem(rules.RULES, "own_uniform", uniform)
    one, other = trials_of(TASKS, rule("own_mirror"), rule("own_mirror", mirror_learning_rate=0.5))
    assert alike.sentences(together([one, other])) == []
    assert rows_of(one) != rows_of(other)
    one, other = trials_of(TASKS, rule("own_uniform"), rule("own_uniform", feedback_distribution="uniform"))
    assert ["of one size" in sentence for sentence in alike.sentences(together([one, other]))] == [True]
    assert rows_of(one) == rows_of(other)


@pytest.mark.parametrize("learning", [rules.KOLEN_POLLACK, rules.WEIGHT_MIRROR])
def test_a_rule_whose_feedback_has_other_shapes_than_it_follows_is_refused(learning: rules.FeedbackLearning) -> None:
    with pytest.raises(ValueError, match="straight from the outputs has other shapes"):
        rules.Rule(rules.feedback_weight, "none", route="direct", learning=learning)
