"""What `metafa check` calls the same trial in other words computes the same, to the bit; nothing else is called so."""

import math

import pytest
from typer.testing import CliRunner

from metafa import cli
from metafa.studies import alike, study
from metafa.trials import trial

TASKS = """\
seeds = 1
measure = { points = 3, tasks = 2 }
network = { hidden = HIDDEN, RULE }
[[phases]]
phase = "noise"
NOISE
[[phases]]
phase = "noise"
name = "more"
MORE
[[phases]]
phase = "meta"
task_distribution = "glyphs"
tasks_per_batch = TASKS
META
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
tasks = 2
EVALUATE
"""
DATA = """\
seeds = 1
measure = { points = 3 }
network = { hidden = HIDDEN, RULE }
[[phases]]
phase = "noise"
NOISE
[[phases]]
phase = "supervised"
dataset = "digits"
training_images = 200
SUPERVISED
"""
USUAL = {
    "HIDDEN": "[8]",
    "RULE": 'rule = "feedback_alignment"',
    "NOISE": "steps = 3",
    "MORE": "steps = 2",
    "META": "outer_steps = 2",
    "TASKS": "2",
    "EVALUATE": "inner_steps = 2",
    "SUPERVISED": "steps = 3",
}
RULES = ('rule = "feedback_alignment"', 'rule = "direct_feedback_alignment"')
# what is said, the study, what is replaced in it, and the two trials
SAME = [
    ("direct_feedback_alignment", TASKS, {}, "RULE", *RULES),
    ("without tasks", DATA, {}, "RULE", 'rule = "kolen_pollack"', 'rule = "nested_kolen_pollack"'),
    ("weight_mirror", TASKS, {}, "RULE", RULES[0], RULES[0] + ", mirror_learning_rate = 0.5"),
    (
        "of one size",
        TASKS,
        {},
        "RULE",
        'rule = "sign_symmetry_uniform"',
        'rule = "sign_symmetry_uniform", feedback_distribution = "uniform"',
    ),
    ("alignment angle", TASKS, {}, "RULE", 'rule = "backprop"', 'rule = "backprop", feedback_scale = 3.0'),
    ("a noise phase", TASKS, {}, "NOISE", "steps = 0", 'steps = 0\nlearning_rate = 0.1\nlabels = "soft"'),
    ("a second noise phase", TASKS, {}, "MORE", "steps = 0", 'steps = 0\ninputs = "uniform"\nmean = 2.0'),
    ("a supervised phase", DATA, {}, "SUPERVISED", "steps = 0", 'epochs = 0\noptimizer = "sgd"'),
    ("a meta phase", TASKS, {}, "META", "outer_steps = 0", 'outer_steps = 9\nouter_algorithm = "none"\nshots = 5'),
    (
        "outer_rule",
        TASKS,
        {"RULE": 'rule = "backprop"'},
        "META",
        'outer_steps = 2\nouter_algorithm = "first_order"',
        'outer_steps = 2\nouter_algorithm = "first_order"\nouter_rule = "backprop"',
    ),
    ("outer_rule", TASKS, {}, "META", "outer_steps = 2", 'outer_steps = 2\nouter_rule = "backprop"'),
    ("no learning rate", TASKS, {}, "EVALUATE", "inner_steps = 0", "inner_steps = 0\ninner_learning_rate = 0.1"),
    ("which layers", TASKS, {}, "EVALUATE", "inner_steps = 0", 'inner_steps = 0\nadapted_layers = "readout"'),
]
OTHERS = [
    (TASKS, {"HIDDEN": "[8, 8]"}, "RULE", *RULES),
    (TASKS, {}, "RULE", 'rule = "kolen_pollack"', 'rule = "nested_kolen_pollack"'),
    (TASKS, {}, "RULE", 'rule = "weight_mirror"', 'rule = "weight_mirror", mirror_learning_rate = 0.5'),
    (TASKS, {}, "NOISE", "steps = 0", 'steps = 0\ninputs = "uniform"\nmean = 2.0'),
    (TASKS, {}, "META", 'outer_steps = 2\nouter_algorithm = "first_order"', "outer_steps = 2"),
    (
        TASKS,
        {},
        "META",
        'outer_steps = 2\nouter_algorithm = "first_order"',
        'outer_steps = 2\nouter_algorithm = "first_order"\nouter_rule = "backprop"',
    ),
]


def trials_of(text: str, usual: dict[str, str], place: str, *either: str):
    def written(one: str) -> str:
        found = text
        for key, value in (USUAL | usual | {place: one}).items():
            found = found.replace(key, value)
        return found

    return [study.parse(written(one)).trials[0] for one in either]


def together(trials) -> study.Study:
    """A study of both trials."""
    return study.parse('[[phases]]\nphase = "evaluate"\ntask_distributions = ["glyphs"]\n').of_trials(trials)


def rows_of(one, without: str = "") -> list[dict]:
    rows = trial.run(one.settings, trial.prepared(trial.load_sources(one.settings))).rows
    assert all(math.isfinite(row["value"]) for row in rows)
    return [row for row in rows if row["metric"] != without]


@pytest.mark.parametrize("said", SAME, ids=lambda said: said[0])
def test_what_is_called_the_same_is(said: tuple) -> None:
    words, *how = said
    one, other = trials_of(*how)
    assert one.trial_id != other.trial_id
    (sentence,) = alike.sentences(together([one, other]))
    assert sentence.startswith("1 trial repeats another under other names")
    assert words in sentence
    without = "alignment_angle" if words == "alignment angle" else ""
    assert rows_of(one, without) == rows_of(other, without)


@pytest.mark.parametrize("how", OTHERS, ids=lambda how: how[2])
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
