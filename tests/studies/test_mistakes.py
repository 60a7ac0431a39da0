"""Mistakes in a study file: each is told in a sentence, with its place, and all of them at once."""

import pytest
from study_bases import GRID_LINES, mistakes
from study_texts import written

# a line of `GRID_LINES`, what stands in its place, and what is said of it
SAID = [
    ("network", "\n[network]\n[]", "not TOML"),
    ("steps", "stepz = { choices = [0, 100] }", "s.toml:9: noise.stepz: unknown key; did you mean 'steps'?"),
    ("seeds", "sedes = 4", "s.toml:2: sedes: unknown key; did you mean 'seeds'?"),
    ("network", "\n[netwrok]", "s.toml:4: netwrok: unknown key; did you mean 'network'?"),
    ("seeds", 'seeds = "4"', "s.toml:2: seeds: found '4', expected a whole number"),
    ("seeds", "seeds = true", "s.toml:2: seeds: found true, expected a whole number"),
    ("seeds", "seeds = 0", "s.toml:2: seeds: found 0: input should be greater than or equal to 1"),
    ("steps", 'steps = { choices = [0, "x"] }', "s.toml:9: noise.steps: found 'x', expected a whole number"),
    (
        "steps",
        "steps = { choices = [] }",
        "s.toml:9: noise.steps.choices: found [], expected a list of at least one value",
    ),
    (
        "steps",
        "steps = { low = 10, high = 2 }",
        "s.toml:9: noise.steps: a range the wrong way round: low = 10 is not below high = 2",
    ),
    (
        "steps",
        "steps = { low = 1, high = 2 }",
        's.toml:9: noise.steps: a range needs another [search] method, such as "random"; a grid takes `choices`',
    ),
    (
        "steps",
        "steps = { low = 1, high = 2, logg = true }",
        "s.toml:9: noise.steps.logg: unknown key; did you mean 'log'?",
    ),
    (
        "rule",
        'rule = { choices = ["bakcprop", "feedback_alignment"] }',
        "s.toml:5: network.rule: found 'bakcprop', expected 'backprop', 'feedback_alignment', ",
    ),
    ("rule", 'rule = { choices = ["bakcprop", "feedback_alignment"] }', "; did you mean 'backprop'?"),
    ("outer_steps", "outer_steps = 10\nouter_learning_rate = 0", "meta.outer_learning_rate: found 0: input should"),
    ("outer_steps", "outer_steps = 10\nouter_learning_rate = [0.1, 0]", "outer_learning_rate[1]: found 0: input"),
    ("outer_steps", "outer_steps = 10\nouter_learning_rate = []", "found []: list should have at least 1 item"),
    ("outer_steps", 'outer_steps = 10\nouter_learning_rate = "x"', "outer_learning_rate: found 'x', expected a num"),
    ("outer_steps", "outer_steps = 10\nouter_learning_rate = [0.1, 0.1]", "outer_learning_rate has a rate twice"),
    (
        "outer_steps",
        "outer_steps = 10\nouter_learning_rate = [0.1, 0.2]\ninner_learning_rate = [1.0, 2.0]",
        "one learning rate at most is a list, found meta.inner_learning_rate and meta.outer_learning_rate",
    ),
    (
        "outer_steps",
        "outer_steps = 10\nouter_learning_rate = { choices = [[0.1, 0.2], 0.3] }",
        "a list of learning rates, side by side in one trial, cannot be one of `choices`",
    ),
    ("outer_steps", "outer_steps = 10\nouter_momentum = 0.9", 'is for outer_optimizer = "sgd"; adam has its own'),
    (
        "steps",
        "steps = 10\nmomentum = 0.9",
        's.toml:7: phases[0]: `momentum` is for optimizer = "sgd"; adam has its own',
    ),
    (
        "steps",
        'steps = 1999\nconverged_metric = "loss"',
        "s.toml:7: phases[0]: no network can have converged before step 2000, `converged_interval` times",
    ),
    (
        "outer_steps",
        'outer_steps = 10\nouter_algorithm = "reptile"\nlearn_inner_rates = true',
        's.toml:11: phases[1]: `learn_inner_rates` needs outer_algorithm = "exact" or "anil"',
    ),
    (
        "outer_steps",
        "outer_steps = 10\ninner_steps = 0\nlearn_inner_rates = true",
        "s.toml:11: phases[1]: `learn_inner_rates` needs `inner_steps`: each has a rate to learn, and there are none",
    ),
    (
        "evaluate",
        '\n[[phases]]\nphase = "evaluate"\nlearned_rates = true',
        "evaluate.learned_rates needs a meta phase before it with learn_inner_rates = true",
    ),
    (
        "meta",
        '\n[[phases]]\nphase = "mta"',
        "s.toml:11: phases[1]: `phase` is 'mta', expected 'evaluate', 'meta', 'noise'",
    ),
    ("outer_steps", "", "s.toml:11: meta.outer_steps: missing, and it has no default"),
    ("outer_steps", "outer_steps = 10\nways = 1", "s.toml:15: meta.ways: found 1: input should be greater"),
    ("outer_steps", "outer_steps = 10\ninner_learning_rate = nan", "s.toml:15: meta.inner_learning_rate: found nan"),
    ("seeds", 'seeds = 4\nname = "../elsewhere"', "s.toml:3: name: found '../elsewhere', expected letters"),
    ("evaluate", '\n[[phases]]\nphase = "evaluate"\nname = "noise"', "phases[2]: two phases are called 'noise'"),
    ("evaluate", '\n[[phases]]\nphase = "evaluate"\nname = "network"', "'network' is the name of another setting"),
    ("seeds", "seeds = 4\nsearch.trials = 3", "s.toml:3: search.trials: a grid has as many trials"),
    ("seeds", 'seeds = 4\nsearch.method = "random"', 'search: method = "random" needs `trials`'),
]


@pytest.mark.parametrize(("line", "instead", "said"), SAID, ids=[said for _, _, said in SAID])
def test_every_mistake_is_said_with_its_place(line: str, instead: str, said: str) -> None:
    (message,) = mistakes(written(GRID_LINES, **{line: instead}))
    assert said in message


def test_all_mistakes_are_said_at_once() -> None:
    text = written(
        GRID_LINES,
        seeds="sedes = 4",
        task_distribution='task_distribution = "glyph"',
        task_distributions='task_distributions = ["glyph"]',
    )
    assert sorted(":".join(message.split(":")[:3]) for message in mistakes(text)) == [
        "s.toml:13: meta.task_distribution",
        "s.toml:18: evaluate.task_distributions[0]",
        "s.toml:2: sedes",
    ]


@pytest.mark.parametrize(
    "text",
    ["a" + ".a" * 50_000 + " = 1", "a = " + "[" * 50_000 + "]" * 50_000, 'phases = [{phase = "noise", steps = 1}]' * 2],
)
def test_hostile_files_are_refused(text: str) -> None:
    assert len(mistakes(text)) >= 1
