"""The likeliest mistakes are told what would be right."""

import re

import pytest
from study_bases import EVALUATED, GRID_LINES, mistakes
from study_texts import study_with, written

from metafa.errors import StudyError
from metafa.studies import study

# a line of `GRID_LINES`, what stands in its place, and the whole of what is said of it
LIKELY = [
    (
        "steps",
        "steps = [0, 500]",
        "s.toml:9: noise.steps: found [0, 500], expected a whole number; to vary it, write { choices = [0, 500] }",
    ),
    (
        "steps",
        "steps = { values = [0, 500] }",
        "s.toml:9: noise.steps: found { values = [0, 500] }, expected a whole number; to vary it, write { "
        "choices = [0, 500] }",
    ),
    (
        "steps",
        "steps = { choice = [0, 500] }",
        "s.toml:9: noise.steps: found { choice = [0, 500] }, expected a whole number; to vary it, write { "
        "choices = [0, 500] }",
    ),
    (
        "steps",
        "steps = { min = 0, max = 500 }",
        "s.toml:9: noise.steps: found { min = 0, max = 500 }, expected a whole number; to vary it, write { "
        "low = 0, high = 500 }",
    ),
    (
        "steps",
        "steps = { from = 0, to = 500 }",
        "s.toml:9: noise.steps: found { from = 0, to = 500 }, expected a whole number; to vary it, write { "
        "low = 0, high = 500 }",
    ),
    (
        "steps",
        "steps = { grid = 3 }",
        "s.toml:9: noise.steps: found { grid = 3 }, expected a whole number; to vary it, write { choices = [...] }",
    ),
    ("steps", "steps = { low = 0 }", "s.toml:9: noise.steps.high: missing: a range has `low` and `high`"),
    ("steps", "steps = [500]", "s.toml:9: noise.steps: found [500], expected a whole number; write 500"),
    ("steps", "steps = '500'", "s.toml:9: noise.steps: found '500', expected a whole number, without quotes"),
    ("steps", "steps = true", "s.toml:9: noise.steps: found true, expected a whole number"),
    ("steps", "steps = 1e-4", "s.toml:9: noise.steps: found 0.0001, expected a whole number"),
    ("steps", "steps = 1e3", "s.toml:9: noise.steps: found 1000.0, expected a whole number: 1000"),
    (
        "steps",
        "steps = 1\nlearning_rate = '1e-3'",
        "s.toml:10: noise.learning_rate: found '1e-3', expected a number, without quotes",
    ),
    ("rule", "hidden = 100", "s.toml:5: network.hidden: found 100, expected a list: [100]"),
    ("rule", "hidden = '100'", "s.toml:5: network.hidden: found '100', expected a list: [100], without quotes"),
    (
        "rule",
        "hidden = [[100], [50, 50]]",
        "s.toml:5: network.hidden: found [[100], [50, 50]], expected a list of values; to vary it, write { "
        "choices = [[100], [50, 50]] }",
    ),
    ("rule", "layers = [100]", "s.toml:5: network.layers: unknown key; did you mean 'hidden'?"),
    (
        "rule",
        "seeds = 3",
        "s.toml:5: network.seeds: unknown key here; `seeds` stands at the top of the file, above the first "
        "table in brackets",
    ),
    (
        "rule",
        "learning_rate = 0.1",
        "s.toml:5: network.learning_rate: unknown key here; it stands under a [[phases]] whose `phase` is "
        "'noise', 'supervised' or 'whole_datasets'",
    ),
    ("rule", "measure.points = 5", "s.toml:5: network.measure: unknown key here; [measure] is a table of its own"),
    ("seeds", "trials = 4", "s.toml:2: trials: unknown key here; it stands under [search]"),
    (
        "seeds",
        "rule = 'backprop'",
        "s.toml:2: rule: unknown key here; it stands under [network], or under [[claims]], or under a [[phases]] whose "
        "`phase` is 'noise'",
    ),
    (
        "seeds",
        "seeds = [0, 1]",
        "s.toml:2: seeds: found [0, 1], expected a whole number: how many seeds, such as 3 for seeds 0, 1 and 2",
    ),
    ("seeds", "name = 3", "s.toml:2: name: found 3, expected a string, in quotes"),
    (
        "seeds",
        "name = 'my study'",
        "s.toml:2: name: found 'my study', expected letters, digits, '_' and '-', a letter first, at most "
        '64, such as "my_study"',
    ),
    (
        "seeds",
        "search = 'random'",
        "s.toml:2: search: found 'random', expected a table: [search], with its settings below it",
    ),
    (
        "seeds",
        "early_stopping = true",
        "s.toml:2: early_stopping: found true, expected a table: [early_stopping], with its settings below it",
    ),
    ("seeds", "resources.gpus = 1", "s.toml:2: resources.gpus: unknown key; did you mean 'gpus_per_trial'?"),
    (
        "seeds",
        "noise.steps = 4",
        's.toml:2: noise: unknown key; phases are a list: each stands under a [[phases]], with phase = "noise"',
    ),
    (
        "network",
        "\n[[network]]",
        "s.toml:4: network: found [{ rule = { choices = ['backprop', 'feedback_alignment'] ..., expected a "
        "table: [network], with single brackets",
    ),
    (
        "task_distribution",
        'dataset = "glyphs"',
        "s.toml:13: meta.dataset: unknown key; did you mean 'task_distribution'?",
    ),
    ("outer_steps", "steps = 10", "s.toml:14: meta.steps: unknown key; did you mean 'outer_steps' or 'inner_steps'?"),
    ("outer_steps", "iterations = 10", "s.toml:14: meta.iterations: `iterations` is called `outer_steps` now"),
    (
        "outer_steps",
        "iterations = { choices = [1, 2] }",
        "s.toml:14: meta.iterations: `iterations` is called `outer_steps` now",
    ),
    (
        "outer_steps",
        "outer_steps = 10\nlr = 0.1",
        "s.toml:15: meta.lr: unknown key; did you mean 'inner_learning_rate' or 'outer_learning_rate'?",
    ),
    (
        "outer_steps",
        "outer_steps = 10\nouter_algorithm = 'maml'",
        "s.toml:15: meta.outer_algorithm: found 'maml', expected 'exact', 'first_order', 'reptile', 'anil' "
        "or 'none'; did you mean 'exact'?",
    ),
    (
        "outer_steps",
        "outer_steps = 10\nlearn_inner_rates = 'true'",
        "s.toml:15: meta.learn_inner_rates: found 'true', expected true or false, without quotes",
    ),
    (
        "task_distributions",
        'task_distributions = ["glyphs"]\nlearning_rate = 0.1',
        "s.toml:19: evaluate.learning_rate: unknown key; did you mean 'inner_learning_rate'?",
    ),
    (
        "task_distributions",
        'task_distributions = ["glyphs"]\nseeds = 3',
        "s.toml:19: evaluate.seeds: unknown key here; `seeds` stands at the top of the file, above the first "
        "table in brackets",
    ),
    (
        "task_distributions",
        'task_distributions = "glyphs"',
        "s.toml:18: evaluate.task_distributions: found 'glyphs', expected a list: ['glyphs']",
    ),
    (
        "evaluate",
        '\n[[phases]]\ntype = "evaluate"',
        "s.toml:16: phases[2]: a phase says of which kind it is in `phase`, one of 'evaluate', 'meta', "
        "'noise', 'out_of_distribution', 'soft_alignment', 'supervised', 'whole_datasets'; found type = \"evaluate\", "
        "write "
        'phase = "evaluate"',
    ),
    (
        "evaluate",
        '\n[[phases]]\nphase = "test"',
        "s.toml:16: phases[2]: `phase` is 'test', expected 'evaluate', 'meta', 'noise', "
        "'out_of_distribution', 'soft_alignment', 'supervised', 'whole_datasets'; did you mean 'evaluate'?",
    ),
]


@pytest.mark.parametrize(("line", "instead", "said"), LIKELY, ids=[said for _, _, said in LIKELY])
def test_the_likeliest_mistakes_are_told_what_would_be_right(line: str, instead: str, said: str) -> None:
    assert mistakes(written(GRID_LINES, **{line: instead})) == [said]


EVALUATE = 'phase = "evaluate"\ntask_distributions = ["glyphs"]\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "[phases]\n" + EVALUATE,
            1,
            "phases: phases are a list: write [[phases]], with double brackets, in place of [phases]",
        ),
        (
            "[phases]\n" + EVALUATE + "[phases]\n" + EVALUATE,
            4,
            "not TOML: phases are a list: write [[phases]] above each of them",
        ),
        (
            "[[phases]]\n" + EVALUATE + "[phases]\n",
            4,
            "not TOML: phases are a list: write [[phases]] above each of them",
        ),
        (
            "[phases.noise]\nsteps = 3\n",
            1,
            'phases: phases are a list: write [[phases]] and below it phase = "noise", in place of [phases.noise]',
        ),
        (
            "[[phases.noise]]\nsteps = 3\n",
            1,
            'phases: phases are a list: write [[phases]] and below it phase = "noise", in place of [[phases.noise]]',
        ),
        (
            "phases = ['noise']\n",
            1,
            "phases[0]: a phase says of which kind it is in `phase`, one of 'evaluate', 'meta', 'noise', "
            "'out_of_distribution', 'soft_alignment', 'supervised', 'whole_datasets'; write [[phases]] and below it "
            'phase = "noise"',
        ),
        (
            "[[phase]]\n" + EVALUATE,
            1,
            "phase: unknown key; phases are a list: each stands under a [[phases]], of whichever kind its `phase` says",
        ),
        (
            "",
            None,
            "phases: missing: what trials do, each phase under a [[phases]]; `metafa studies` lists studies to copy",
        ),
    ],
)
def test_phases_written_otherwise_than_as_a_list(text: str, line: int | None, said: str) -> None:
    assert mistakes(text) == [f"s.toml:{line}: {said}" if line else f"s.toml: {said}"]


@pytest.mark.parametrize(
    ("hidden", "choices"),
    [
        ({"choices": [10, 20]}, [[10], [20]]),
        ({"choices": [[10], 20]}, [[10], [20]]),
        ({"values": [10, 100]}, [[10], [100]]),
        ({"low": 10, "high": 100}, [[10], [100]]),
    ],
)
def test_choices_of_a_list_are_lists_and_that_is_said_once(hidden: dict, choices: list) -> None:
    (message,) = mistakes(study_with(EVALUATED, network={"hidden": hidden}))
    assert message.endswith(f"expected a list; to vary it, each choice is a list: {{ choices = {choices} }}")
    study.parse(study_with(EVALUATED, network={"hidden": {"choices": choices}}))


def test_advice_on_choices_is_advice_that_works() -> None:
    for steps, end in [({"choices": [[0, 500]]}, "{ choices = [0, 500] }"), ([], "expected a whole number")]:
        text = study_with(EVALUATED, phases=[*EVALUATED["phases"], {"phase": "noise", "steps": steps}])
        with pytest.raises(StudyError, match=re.escape(end) + "$"):
            study.parse(text)
    with pytest.raises(StudyError, match=r"in which each choice is a list of phases$"):
        study.parse(study_with({}, phases={"choices": [{"phase": "noise", "steps": steps} for steps in (1, 2)]}))
