import math
import re
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

from metafa.errors import StudyError
from metafa.learning import kinds, rules
from metafa.results import columns
from metafa.results.parts import decode, encode
from metafa.studies import claims, fields, needs, phases, sentences, settings, study
from metafa.studies.mistakes import misfits
from metafa.trials import trial

BASE = """\
question = "q"
seeds = 4

[network]
rule = { choices = ["backprop", "feedback_alignment"] }

[[phases]]
phase = "noise"
steps = { choices = [0, 100] }

[[phases]]
phase = "meta"
task_distribution = "glyphs"
outer_steps = 10

[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(StudyError) as caught:
        study.parse(text, file="s.toml")
    assert all("\n" not in message for message in caught.value.messages)
    return caught.value.messages


def test_every_kind_of_phase_has_its_function() -> None:
    assert set(phases.PHASES) == set(trial.RUN_PHASE)


def test_a_rule_that_is_added_to_the_table_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f'network.rule = "of_my_own"\n[[phases]]\n{PHASE}'
    (message,) = mistakes(text)
    assert "found 'of_my_own', expected 'backprop', 'feedback_alignment', " in message
    assert "or 'weight_mirror'" in message
    monkeypatch.setitem(rules.RULES, "of_my_own", rules.RULES["feedback_alignment"])
    assert study.parse(text).trials[0].settings.network.rule == "of_my_own"


def test_weight_transport_is_said_of_every_part() -> None:
    """An exact meta-gradient and backprop read weights; Reptile sends no error of its own; a readout needs none."""

    def said(**changes: str) -> dict[str, str]:
        text = BASE.replace('rule = { choices = ["backprop", "feedback_alignment"] }', f'rule = "{changes["rule"]}"')
        for key in ("outer_algorithm", "outer_rule"):
            if key in changes:
                text = text.replace("outer_steps = 10", f'outer_steps = 10\n{key} = "{changes[key]}"')
        return needs.transports(study.parse(text).trials[0].settings)

    parts = ["noise", "meta, inner loop", "meta, outer loop", "evaluate"]
    for changes, expected in [
        ({"rule": "backprop"}, ["weights"] * 4),
        ({"rule": "feedback_alignment"}, ["none", "none", "weights", "none"]),
        ({"rule": "feedback_alignment", "outer_algorithm": "first_order"}, ["none"] * 4),
        ({"rule": "kolen_pollack", "outer_algorithm": "reptile"}, ["none"] * 4),
        (
            {"rule": "weight_mirror", "outer_algorithm": "first_order", "outer_rule": "backprop"},
            ["none", "none", "weights", "none"],
        ),
        ({"rule": "sign_symmetry_fixed", "outer_algorithm": "first_order"}, ["signs"] * 4),
        ({"rule": "backprop", "outer_algorithm": "anil"}, ["weights", "none", "weights", "weights"]),
        ({"rule": "backprop", "outer_algorithm": "none"}, ["weights", "none", "none", "weights"]),
    ]:
        assert said(**changes) == dict(zip(parts, expected, strict=True))


def test_a_grid_is_every_combination_in_the_files_order() -> None:
    varied = [t.varied for t in study.parse(BASE).trials]
    assert varied == [
        {"network.rule": rule, "noise.steps": steps}
        for rule in ("backprop", "feedback_alignment")
        for steps in (0, 100)
    ]


def test_settings_are_flattened_under_dotted_names() -> None:
    flat = settings.flatten(study.parse(BASE).trials[1].settings)
    assert flat["noise.steps"] == 100
    assert flat["network.rule"] == "backprop"
    assert flat["phases"] == ["noise", "meta", "evaluate"]
    assert flat["meta.inner_learning_rate"] == 0.3
    assert flat["evaluate.task_distributions"] == ["glyphs"]


def test_trial_ids_tell_what_determines_the_result_and_nothing_else() -> None:
    ids = {t.trial_id for t in study.parse(BASE).trials}
    assert len(ids) == 4
    for same in (
        BASE.replace('"q"', '"another question"'),
        BASE + "[resources]\ncpus_per_trial = 2\n",
        BASE.replace("[0, 100]", "[100, 0]"),
        BASE.replace("seeds = 4", "seeds = 4\nseed = 0"),
        '# a comment\nname = "other"\n' + BASE,
    ):
        assert {t.trial_id for t in study.parse(same).trials} == ids
    for other in (
        BASE.replace("seeds = 4", "seeds = 5"),
        BASE.replace("seeds = 4", "seeds = 4\nseed = 1"),
        BASE.replace("outer_steps = 10", "outer_steps = 11"),
    ):
        assert not {t.trial_id for t in study.parse(other).trials} & ids


def test_a_random_search_draws_within_its_ranges_and_always_the_same() -> None:
    text = BASE.replace("seeds = 4", 'seeds = 4\nsearch = { method = "random", trials = 60 }').replace(
        "outer_steps = 10",
        "outer_steps = { low = 10, high = 50, step = 20 }\n"
        "outer_learning_rate = { low = 1e-4, high = 0.01, log = true }",
    )
    points = [t.varied for t in study.parse(text).trials]
    assert points == [t.varied for t in study.parse(text).trials]
    assert points != [t.varied for t in study.parse("seed = 1\n" + text).trials]
    assert {p["meta.outer_steps"] for p in points} == {10, 30, 50}
    rates = [p["meta.outer_learning_rate"] for p in points]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 15 < sum(rate < 1e-3 for rate in rates) < 45, "half of a logarithmic range is below its geometric mean"
    assert {p["noise.steps"] for p in points} == {0, 100}


SAID = [
    ("[network", "[network]\n[", "not TOML"),
    ("steps =", "stepz =", "s.toml:9: noise.stepz: unknown key; did you mean 'steps'?"),
    ("seeds = 4", "sedes = 4", "s.toml:2: sedes: unknown key; did you mean 'seeds'?"),
    ("[network]", "[netwrok]", "s.toml:4: netwrok: unknown key; did you mean 'network'?"),
    ("seeds = 4", 'seeds = "4"', "s.toml:2: seeds: found '4', expected a whole number"),
    ("seeds = 4", "seeds = true", "s.toml:2: seeds: found true, expected a whole number"),
    ("seeds = 4", "seeds = 0", "s.toml:2: seeds: found 0: input should be greater than or equal to 1"),
    ("[0, 100]", '[0, "x"]', "s.toml:9: noise.steps: found 'x', expected a whole number"),
    ("[0, 100]", "[]", "s.toml:9: noise.steps.choices: found [], expected a list of at least one value"),
    (
        "{ choices = [0, 100] }",
        "{ low = 10, high = 2 }",
        "s.toml:9: noise.steps: a range the wrong way round: low = 10 is not below high = 2",
    ),
    (
        "{ choices = [0, 100] }",
        "{ low = 1, high = 2 }",
        's.toml:9: noise.steps: a range needs another [search] method, such as "random"; a grid takes `choices`',
    ),
    (
        "{ choices = [0, 100] }",
        "{ low = 1, high = 2, logg = true }",
        "s.toml:9: noise.steps.logg: unknown key; did you mean 'log'?",
    ),
    (
        '"backprop"',
        '"bakcprop"',
        "s.toml:5: network.rule: found 'bakcprop', expected 'backprop', 'feedback_alignment', ",
    ),
    ('"backprop"', '"bakcprop"', "; did you mean 'backprop'?"),
    (
        "outer_steps = 10",
        "outer_steps = 10\nouter_learning_rate = 0",
        "meta.outer_learning_rate: found 0: input should",
    ),
    ("outer_steps = 10", "outer_steps = 10\nouter_learning_rate = [0.1, 0]", "outer_learning_rate[1]: found 0: input"),
    ("outer_steps = 10", "outer_steps = 10\nouter_learning_rate = []", "found []: list should have at least 1 item"),
    (
        "outer_steps = 10",
        'outer_steps = 10\nouter_learning_rate = "x"',
        "outer_learning_rate: found 'x', expected a num",
    ),
    ("outer_steps = 10", "outer_steps = 10\nouter_learning_rate = [0.1, 0.1]", "outer_learning_rate has a rate twice"),
    (
        "outer_steps = 10",
        "outer_steps = 10\nouter_learning_rate = [0.1, 0.2]\ninner_learning_rate = [1.0, 2.0]",
        "one learning rate at most is a list, found meta.inner_learning_rate and meta.outer_learning_rate",
    ),
    (
        "outer_steps = 10",
        "outer_steps = 10\nouter_learning_rate = { choices = [[0.1, 0.2], 0.3] }",
        "a list of learning rates, side by side in one trial, cannot be one of `choices`",
    ),
    ("outer_steps = 10", "outer_steps = 10\nouter_momentum = 0.9", 'is for outer_optimizer = "sgd"; adam has its own'),
    (
        "outer_steps = 10",
        'outer_steps = 10\nouter_algorithm = "reptile"\nlearn_inner_rates = true',
        's.toml:11: phases[1]: `learn_inner_rates` needs outer_algorithm = "exact" or "anil"',
    ),
    (
        "outer_steps = 10",
        "outer_steps = 10\ninner_steps = 0\nlearn_inner_rates = true",
        "s.toml:11: phases[1]: `learn_inner_rates` needs `inner_steps`: each has a rate to learn, and there are none",
    ),
    (
        'phase = "evaluate"',
        'phase = "evaluate"\nlearned_rates = true',
        "evaluate.learned_rates needs a meta phase before it with learn_inner_rates = true",
    ),
    ('phase = "meta"', 'phase = "mta"', "s.toml:11: phases[1]: `phase` is 'mta', expected 'evaluate', 'meta', 'noise'"),
    ("outer_steps = 10", "", "s.toml:11: meta.outer_steps: missing, and it has no default"),
    ("outer_steps = 10", "outer_steps = 10\nways = 1", "s.toml:15: meta.ways: found 1: input should be greater"),
    (
        "outer_steps = 10",
        "outer_steps = 10\ninner_learning_rate = nan",
        "s.toml:15: meta.inner_learning_rate: found nan",
    ),
    ("seeds = 4", 'seeds = 4\nname = "../elsewhere"', "s.toml:3: name: found '../elsewhere', expected letters"),
    ('phase = "evaluate"', 'phase = "evaluate"\nname = "noise"', "phases[2]: two phases are called 'noise'"),
    ('phase = "evaluate"', 'phase = "evaluate"\nname = "network"', "'network' is the name of another setting"),
    ("seeds = 4", "seeds = 4\nsearch.trials = 3", "s.toml:3: search.trials: a grid has as many trials"),
    ("seeds = 4", 'seeds = 4\nsearch.method = "random"', 'search: method = "random" needs `trials`'),
]

# The likeliest mistakes: what stands in place of what, and the whole of what is said.
NOISE_STEPS, RULE = "{ choices = [0, 100] }", 'rule = { choices = ["backprop", "feedback_alignment"] }'
VARY = "s.toml:9: noise.steps: found {}, expected a whole number; to vary it, write {}"
LIKELY = [
    (NOISE_STEPS, "[0, 500]", VARY.format("[0, 500]", "{ choices = [0, 500] }")),
    (NOISE_STEPS, "{ values = [0, 500] }", VARY.format("{ values = [0, 500] }", "{ choices = [0, 500] }")),
    (NOISE_STEPS, "{ choice = [0, 500] }", VARY.format("{ choice = [0, 500] }", "{ choices = [0, 500] }")),
    (NOISE_STEPS, "{ min = 0, max = 500 }", VARY.format("{ min = 0, max = 500 }", "{ low = 0, high = 500 }")),
    (NOISE_STEPS, "{ from = 0, to = 500 }", VARY.format("{ from = 0, to = 500 }", "{ low = 0, high = 500 }")),
    (NOISE_STEPS, "{ grid = 3 }", VARY.format("{ grid = 3 }", "{ choices = [...] }")),
    (NOISE_STEPS, "{ low = 0 }", "s.toml:9: noise.steps.high: missing: a range has `low` and `high`"),
    (NOISE_STEPS, "[500]", "s.toml:9: noise.steps: found [500], expected a whole number; write 500"),
    (NOISE_STEPS, "'500'", "s.toml:9: noise.steps: found '500', expected a whole number, without quotes"),
    (NOISE_STEPS, "true", "s.toml:9: noise.steps: found true, expected a whole number"),
    (NOISE_STEPS, "1e-4", "s.toml:9: noise.steps: found 0.0001, expected a whole number"),
    (NOISE_STEPS, "1e3", "s.toml:9: noise.steps: found 1000.0, expected a whole number: 1000"),
    (
        NOISE_STEPS,
        "1\nlearning_rate = '1e-3'",
        "s.toml:10: noise.learning_rate: found '1e-3', expected a number, without quotes",
    ),
    (RULE, "hidden = 100", "s.toml:5: network.hidden: found 100, expected a list: [100]"),
    (RULE, "hidden = '100'", "s.toml:5: network.hidden: found '100', expected a list: [100], without quotes"),
    (
        RULE,
        "hidden = [[100], [50, 50]]",
        "s.toml:5: network.hidden: found [[100], [50, 50]], expected a list of values; to vary it, write "
        "{ choices = [[100], [50, 50]] }",
    ),
    (RULE, "layers = [100]", "s.toml:5: network.layers: unknown key; did you mean 'hidden'?"),
    (
        RULE,
        "seeds = 3",
        "s.toml:5: network.seeds: unknown key here; `seeds` stands at the top of the file, above the first table in "
        "brackets",
    ),
    (
        RULE,
        "learning_rate = 0.1",
        "s.toml:5: network.learning_rate: unknown key here; it stands under a [[phases]] whose `phase` is 'noise' or "
        "'supervised'",
    ),
    (RULE, "measure.points = 5", "s.toml:5: network.measure: unknown key here; [measure] is a table of its own"),
    ("seeds = 4", "trials = 4", "s.toml:2: trials: unknown key here; it stands under [search]"),
    (
        "seeds = 4",
        "rule = 'backprop'",
        "s.toml:2: rule: unknown key here; it stands under [network], or under [[claims]]",
    ),
    (
        "seeds = 4",
        "seeds = [0, 1]",
        "s.toml:2: seeds: found [0, 1], expected a whole number: how many seeds, such as 3 for seeds 0, 1 and 2",
    ),
    ("seeds = 4", "name = 3", "s.toml:2: name: found 3, expected a string, in quotes"),
    (
        "seeds = 4",
        "name = 'my study'",
        "s.toml:2: name: found 'my study', expected letters, digits, '_' and '-', a letter first, at most 64, such as "
        '"my_study"',
    ),
    (
        "seeds = 4",
        "search = 'random'",
        "s.toml:2: search: found 'random', expected a table: [search], with its settings below it",
    ),
    (
        "seeds = 4",
        "early_stopping = true",
        "s.toml:2: early_stopping: found true, expected a table: [early_stopping], with its settings below it",
    ),
    ("seeds = 4", "resources.gpus = 1", "s.toml:2: resources.gpus: unknown key; did you mean 'gpus_per_trial'?"),
    (
        "seeds = 4",
        "noise.steps = 4",
        's.toml:2: noise: unknown key; phases are a list: each stands under a [[phases]], with phase = "noise"',
    ),
    (
        "[network]",
        "[[network]]",
        "s.toml:4: network: found [{ rule = { choices = ['backprop', 'feedback_alignment'] ..., expected a table: "
        "[network], with single brackets",
    ),
    ("task_distribution =", "dataset =", "s.toml:13: meta.dataset: unknown key; did you mean 'task_distribution'?"),
    (
        "outer_steps = 10",
        "steps = 10",
        "s.toml:14: meta.steps: unknown key; did you mean 'outer_steps' or 'inner_steps'?",
    ),
    ("outer_steps = 10", "iterations = 10", "s.toml:14: meta.iterations: `iterations` is called `outer_steps` now"),
    (
        "outer_steps = 10",
        "iterations = { choices = [1, 2] }",
        "s.toml:14: meta.iterations: `iterations` is called `outer_steps` now",
    ),
    (
        "outer_steps = 10",
        "outer_steps = 10\nlr = 0.1",
        "s.toml:15: meta.lr: unknown key; did you mean 'inner_learning_rate' or 'outer_learning_rate'?",
    ),
    (
        "outer_steps = 10",
        "outer_steps = 10\nouter_algorithm = 'maml'",
        "s.toml:15: meta.outer_algorithm: found 'maml', expected 'exact', 'first_order', 'reptile', 'anil' or 'none'; "
        "did you mean 'exact'?",
    ),
    (
        "outer_steps = 10",
        "outer_steps = 10\nlearn_inner_rates = 'true'",
        "s.toml:15: meta.learn_inner_rates: found 'true', expected true or false, without quotes",
    ),
    (
        '["glyphs"]',
        '["glyphs"]\nlearning_rate = 0.1',
        "s.toml:19: evaluate.learning_rate: unknown key; did you mean 'inner_learning_rate'?",
    ),
    (
        '["glyphs"]',
        '["glyphs"]\nseeds = 3',
        "s.toml:19: evaluate.seeds: unknown key here; `seeds` stands at the top of the file, above the first table in "
        "brackets",
    ),
    ('["glyphs"]', '"glyphs"', "s.toml:18: evaluate.task_distributions: found 'glyphs', expected a list: ['glyphs']"),
    (
        'phase = "evaluate"',
        'type = "evaluate"',
        "s.toml:16: phases[2]: a phase says of which kind it is in `phase`, one of 'evaluate', 'meta', 'noise', "
        """'out_of_distribution', 'supervised'; found type = "evaluate", write phase = "evaluate\"""",
    ),
    (
        'phase = "evaluate"',
        'phase = "test"',
        "s.toml:16: phases[2]: `phase` is 'test', expected 'evaluate', 'meta', 'noise', 'out_of_distribution', "
        "'supervised'; did you mean 'evaluate'?",
    ),
    # what is not TOML
    (NOISE_STEPS, "", "s.toml:9: not TOML: the value is missing"),
    (NOISE_STEPS, "10,000", "s.toml:9: not TOML: a number has no commas in it, and a list has brackets: [1, 2]"),
    (NOISE_STEPS, "0100", "s.toml:9: not TOML: a number begins with no 0: 100"),
    (NOISE_STEPS, ".5", "s.toml:9: not TOML: a number begins with a digit: 0.5"),
    (NOISE_STEPS, "None", "s.toml:9: not TOML: TOML has no None: leave the line out, and the default is taken"),
    (NOISE_STEPS, "True", "s.toml:9: not TOML: write true, in lower case"),
    (NOISE_STEPS, "1\nsteps = 2", "s.toml:10: not TOML: `steps` is set twice"),
    (
        NOISE_STEPS,
        "{ choices = [1, 2]",
        "s.toml:9: not TOML: a } or a , is missing; all that stands in { } is on one line",
    ),
    (RULE, "rule = backprop", 's.toml:5: not TOML: a string stands in quotes: "backprop"'),
    (RULE, "rule: 'backprop'", "s.toml:5: not TOML: TOML has = where YAML and JSON have :"),
    (RULE, "rule = 'backprop", "s.toml:5: not TOML: a closing quotation mark is missing"),
    ("[network]", "[network]\n[network]", "s.toml:5: not TOML: [network] stands twice, or is set above already"),
    ("[network]", "network", "s.toml:4: not TOML: write [network] for a table, or network = and a value"),
    (
        "[[phases]]",
        "[phases]",
        "s.toml:11: not TOML: phases are a list: write [[phases]] above each of them",
    ),
]


@pytest.mark.parametrize(("written", "instead", "said"), LIKELY, ids=[said for _, _, said in LIKELY])
def test_the_likeliest_mistakes_are_told_what_would_be_right(written: str, instead: str, said: str) -> None:
    changed = BASE.replace(written, instead, 1)
    assert changed != BASE
    messages = mistakes(changed)
    assert messages == [said]


PHASE = 'phase = "evaluate"\ntask_distributions = ["glyphs"]\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "[phases]\n" + PHASE,
            1,
            "phases: phases are a list: write [[phases]], with double brackets, in place of [phases]",
        ),
        (
            "[phases]\n" + PHASE + "[phases]\n" + PHASE,
            4,
            "not TOML: phases are a list: write [[phases]] above each of them",
        ),
        ("[[phases]]\n" + PHASE + "[phases]\n", 4, "not TOML: phases are a list: write [[phases]] above each of them"),
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
            """'out_of_distribution', 'supervised'; write [[phases]] and below it phase = "noise\"""",
        ),
        (
            "[[phase]]\n" + PHASE,
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


@pytest.mark.parametrize("file", ["01_x", "my study", "study.v2", "é"])
def test_a_file_whose_name_is_no_name_is_told_what_to_do(file: str, tmp_path: Path) -> None:
    """And what it is told to write is taken."""
    path = tmp_path / f"{file}.toml"
    path.write_text("[[phases]]\n" + PHASE, encoding="utf-8")
    with pytest.raises(StudyError, match="a study is called as its file is: rename it, or write name = ") as caught:
        study.read(path)
    (message,) = caught.value.messages
    name = message.partition("or write ")[2].removesuffix(" at its top")
    path.write_text(f"{name}\n[[phases]]\n{PHASE}", encoding="utf-8")
    assert study.read(path).name == tomllib.loads(name)["name"]


def typos(name: str) -> list[str]:
    """A letter left out, doubled, and two letters changed over, in the middle of a name; and other ways to write it."""
    middle = len(name) // 2
    left, right = name[:middle], name[middle:]
    changed = left[:-1] + right[0] + left[-1] + right[1:]
    return [left + right[1:], left + right[0] + right, changed, name.upper(), name.replace("_", "-")]


TABLES = {
    "": (settings.StudySettings, "{key} = 1\n" + "[[phases]]\n" + PHASE),
    **{
        name: (table, f"[[phases]]\n{PHASE}[{name}]\n{{key}} = 1\n")
        for name, table in sentences.TABLES.items()
        if name != "claims"
    },
    "claims": (claims.ClaimSettings, f"[[phases]]\n{PHASE}[[claims]]\n{{key}} = 1\n"),
    **{kind: (table, f'[[phases]]\nphase = "{kind}"\n{{key}} = 1\n') for kind, table in phases.PHASES.items()},
}


@pytest.mark.parametrize("table", TABLES)
def test_a_typo_in_any_name_of_the_schema_is_known(table: str) -> None:
    model, text = TABLES[table]
    for name in set(model.model_fields) - {"phase", "phases"}:
        for typo in set(typos(name)) - set(model.model_fields):
            found = [m for m in mistakes(text.format(key=typo)) if "unknown key" in m]
            assert any(f"did you mean '{name}'?" in message for message in found), (typo, found)


def test_a_typo_in_any_value_of_the_schema_is_known() -> None:
    for key, names in [("rule", set(rules.RULES)), ("activation", set(kinds.ACTIVATIONS))]:
        for name in names:
            for typo in set(typos(name)) - names:
                (message,) = mistakes(f'network.{key} = "{typo}"\n[[phases]]\n{PHASE}')
                assert message.endswith(f"; did you mean '{name}'?"), (typo, message)


def test_a_key_of_another_table_is_known() -> None:
    """Every key of every table, under every other."""
    for place, (model, _) in TABLES.items():
        for other, (_, elsewhere) in TABLES.items():
            for name in set(model.model_fields) - set(TABLES[other][0].model_fields) - {"phases", other}:
                found = [m for m in mistakes(elsewhere.format(key=name)) if f"{name}: unknown key" in m]
                assert len(found) == 1, (place, other, name, found)
                assert "did you mean" in found[0] or "stand" in found[0] or "table of its own" in found[0], found


@pytest.mark.parametrize(
    "encoded",
    [
        b"\xef\xbb\xbf" + BASE.encode(),
        BASE.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode(),
    ],
    ids=["a byte order mark", "lines as of Windows", "both"],
)
def test_files_as_windows_writes_them_are_read(encoded: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(encoded)
    assert study.read(path).trials == study.parse(BASE).trials
    assert study.parse(study.read(path).text).trials == study.parse(BASE).trials
    path.write_bytes(encoded.replace(b"seeds", b"sedes"))
    with pytest.raises(StudyError, match=r"s\.toml:2: sedes: unknown key; did you mean 'seeds'"):
        study.read(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(BASE.encode(encoding))
    with pytest.raises(StudyError, match="UTF-16; a study file is TOML, in UTF-8: save it as that"):
        study.read(path)


@pytest.mark.parametrize(("written", "instead", "said"), SAID, ids=[said for _, _, said in SAID])
def test_every_mistake_is_said_with_its_place(written: str, instead: str, said: str) -> None:
    changed = BASE.replace(written, instead, 1)
    assert changed != BASE
    messages = mistakes(changed)
    assert len(messages) == 1, messages
    assert said in messages[0]


def test_all_mistakes_are_said_at_once() -> None:
    messages = mistakes(BASE.replace("seeds", "sedes").replace('"glyphs"', '"glyph"'))
    assert sorted(":".join(m.split(":")[:3]) for m in messages) == [
        "s.toml:13: meta.task_distribution",
        "s.toml:18: evaluate.task_distributions[0]",
        "s.toml:2: sedes",
    ]


def test_a_study_needs_images() -> None:
    text = '[[phases]]\nphase = "noise"\nsteps = 3\n'
    assert mistakes(text) == [
        's.toml:1: phases: no phase has images; add one with phase = "evaluate", "meta" or "supervised"'
    ]


@pytest.mark.parametrize(
    "text",
    ["a" + ".a" * 50_000 + " = 1", "a = " + "[" * 50_000 + "]" * 50_000, 'phases = [{phase = "noise", steps = 1}]' * 2],
)
def test_hostile_files_are_refused(text: str) -> None:
    assert len(mistakes(text)) >= 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, content, said in [
        (tmp_path / "absent.toml", None, "no such study file"),
        (tmp_path, None, "is a folder; give a study file in it"),
        (tmp_path / "latin.toml", "question = 'é'".encode("latin1"), "not UTF-8 at byte 12"),
        (tmp_path / "huge.toml", b"#" * (2**20 + 1), "at most"),
    ]:
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(StudyError, match=said):
            study.read(path)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("studies/**/*.toml")), ids=lambda p: p.name)
def test_the_studies_that_come_with_metafa_are_sound(path: Path) -> None:
    assert study.read(path).total


SUPERVISED = """\
[[phases]]
phase = "supervised"
dataset = "digits"
epochs = 1
"""
CLAIM = f"""\
{SUPERVISED}
[[claims]]
claim = 2
statement = "s"
metric = "loss"
phase = "supervised"
expect = "lower"
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            SUPERVISED + "steps = 3\n",
            "s.toml:1: phases[0]: a supervised phase is as long as its `steps` or its `epochs` say: one of the two",
        ),
        (
            SUPERVISED + "training_images = 20\n",
            "s.toml:1: phases[0]: `training_images` is 20, less than a batch of 64",
        ),
        (
            '[[phases]]\nphase = "out_of_distribution"\nrotation = [10]\n',
            "s.toml: out_of_distribution needs a `dataset`, or a supervised phase before it",
        ),
        (
            SUPERVISED + '[[phases]]\nphase = "out_of_distribution"\ndatasets = ["kmnist"]\n',
            "s.toml: out_of_distribution.datasets: their classes are the ten digits; those of kmnist are not",
        ),
        (
            CLAIM.replace('"loss"\nphase = "supervised"', '"loss"\nphase = "data"'),
            "claims[0].phase: found 'data', but the phases are 'supervised'",
        ),
        (
            CLAIM.replace("lower", "near"),
            'claims[0]: expect = "near" needs a `margin` above 0: how near',
        ),
        (
            CLAIM.replace("claim = 2", "claims = 2"),
            "claims[0].claims: unknown key; did you mean 'claim'?",
        ),
    ],
)
def test_what_does_not_fit_in_supervised_studies_is_said(text: str, expected: str) -> None:
    assert any(expected in message for message in mistakes(text)), mistakes(text)


def test_a_shift_is_of_the_dataset_trained_on_where_none_is_said() -> None:
    text = SUPERVISED.replace('"digits"', '{ choices = ["digits", "glyphs"] }') + (
        '[[phases]]\nphase = "out_of_distribution"\nrotation = [10]\n'
    )
    settings_ = [t.settings for t in study.parse(text).trials]
    assert [s.datasets()["out_of_distribution"] for s in settings_] == ["digits", "glyphs"]
    assert [set(s.pixels.values()) for s in settings_] == [{64}, {784}]


def test_claims_are_no_part_of_what_determines_a_trial() -> None:
    noise = '[[phases]]\nphase = "noise"\nsteps = { choices = [0, 10] }\n[[phases]]\n'
    with_claim, without = (study.parse(text.replace("[[phases]]\n", noise, 1)) for text in (CLAIM, SUPERVISED))
    assert with_claim.trials[0].trial_id == without.trials[0].trial_id


SEARCHED = """\
seeds = 1
measure = { singular_values = false, points = { choices = [3, 4] } }
[[phases]]
phase = "noise"
steps = { choices = [0, 10] }
[[phases]]
phase = "supervised"
dataset = "glyphs"
steps = 10
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
[search]
method = "tpe"
trials = 4
objectives = ["evaluate.meta_loss"]
"""
STOPPED = (
    SEARCHED.partition("[search]")[0]
    + """\
[early_stopping]
method = "median"
metric = "supervised.loss"
"""
)
CLAIMED = (
    SEARCHED.partition("[search]")[0]
    + """\
[[claims]]
claim = 2
statement = "s"
metric = "accuracy"
phase = "noise"
expect = "lower"
"""
)


@pytest.mark.parametrize(
    ("text", "written", "instead", "said"),
    [
        (
            SEARCHED,
            "evaluate.meta_loss",
            "evaluate.accuracy",
            "search.objectives[0]: found 'evaluate.accuracy', but 'evaluate' does not measure 'accuracy'; did you mean "
            "'evaluate.meta_accuracy'? it measures 'generalization_error', 'meta_accuracy', 'meta_loss'",
        ),
        (SEARCHED, "evaluate.meta_loss", "evaluate.loss", "did you mean 'evaluate.meta_loss'?"),
        (
            SEARCHED,
            "evaluate.meta_loss",
            "meta_loss",
            "expected PHASE.METRIC, where the phases are 'evaluate', 'noise'",
        ),
        (SEARCHED, "evaluate.meta_loss", "meta.meta_loss", "where the phases are 'evaluate', 'noise', 'supervised'"),
        (SEARCHED, "evaluate.meta_loss", "network.hidden", "expected PHASE.METRIC"),
        (
            SEARCHED,
            "evaluate.meta_loss",
            "noise.batch_size",
            "'noise.batch_size' is 64 in every trial; nothing is to be",
        ),
        (SEARCHED, "evaluate.meta_loss", "noise.loss", "'noise' does not measure 'loss' in every trial"),
        (SEARCHED, "evaluate.meta_loss", "noise.singular_value", "'noise' does not measure 'singular_value';"),
        (SEARCHED, "evaluate.meta_loss", "noise.effective_rank", "search: `directions` have to be said: neither less"),
        (
            STOPPED,
            "supervised.loss",
            "supervised.los",
            "early_stopping.metric: found 'supervised.los', but 'supervised'",
        ),
        (STOPPED, "supervised.loss", "evaluate.meta_loss", "where the phases that train are 'noise', 'supervised'"),
        (STOPPED, "supervised.loss", "supervised.inner_learning_rate", "does not measure 'inner_learning_rate';"),
        (
            STOPPED.replace("= false", "= true"),
            "supervised.loss",
            "supervised.singular_value",
            "does not measure 'singular_value' throughout each trial",
        ),
        (
            STOPPED,
            "supervised.loss",
            "noise.effective_rank",
            "early_stopping: `direction` has to be said: neither less",
        ),
        (STOPPED, '"median"', '"asha"\nreduction_factor = 1.0', "reduction_factor: found 1.0: input should be"),
        (
            CLAIMED,
            '"accuracy"',
            '"meta_accurac"',
            "claims[0].metric: found 'meta_accurac', but 'noise' does not measure",
        ),
        (
            CLAIMED,
            '"accuracy"',
            '"expected_calibration_error"',
            "does not measure 'expected_calibration_error'; it meas",
        ),
        (
            SEARCHED.replace('"tpe"', '"cmaes"'),
            "seeds = 1",
            "seeds = 1\nseed = { low = 0, high = 9 }",
            '"cmaes" knows ranges alone, and draws choices at random, whatever it finds; give a range, or take "tpe"',
        ),
        (
            SEARCHED,
            "seeds = 1",
            f"seeds = 1\nseed = {2**63}",
            f"seed: found {2**63}: input should be less than or equal",
        ),
        (
            SEARCHED,
            "[0, 10]",
            f"[0, {10**30}]",
            "noise.steps: found 1000000000000000000000000000000: input should be less",
        ),
    ],
)
def test_what_is_measured_is_known_before_anything_runs(text: str, written: str, instead: str, said: str) -> None:
    study.parse(text.replace('"cmaes"', '"tpe"'))
    messages = mistakes(text.replace(written, instead))
    assert any(said in message for message in messages), messages


EVERY_TABLE = [*phases.PHASES.values(), *sentences.TABLES.values(), settings.StudySettings]


def refused(table: type[fields.Settings], name: str, value: object) -> bool:
    """Whether a value is wrong for a setting, or for one in a list of them; and what is said of it."""
    return all(
        any(re.match(rf"{name}: found .*[a-z]", said) for said in misfits(table, {name: one}))
        for one in ([value] if not isinstance(value, list) else [value[0], value])
    )


@pytest.mark.parametrize("table", EVERY_TABLE, ids=lambda table: table.__name__)
def test_no_setting_takes_what_no_trial_could_hold(table: type[fields.Settings]) -> None:
    """A whole number beyond Parquet's, a number beyond those of 32 bits, a text that would steer a terminal: whichever
    setting it is given to, of those that have that type or a list of it."""
    wrong = {
        "integer": [2**63, -(2**63) - 1, 10**400, 1 << 40_000],
        "number": [math.inf, math.nan, 1e308, -1e308, 3.5e38, 5e-324, 1e-38, 10**400, 1 << 40_000],
        "string": ["a\0b", "\x1b[31m", "a\x9bb", "\x7f", "\udcff", "x" * 100_000],
    }
    tried = 0
    for name, said in table.model_json_schema()["properties"].items():
        for one in (said, *said.get("anyOf", ())):
            inner = one.get("items", one)
            if "enum" in inner or "const" in inner:
                continue
            for value in wrong.get(inner.get("type"), ()):
                assert refused(table, name, [value] if "items" in one else value), (name, value)
                tried += 1
    assert tried


def of_noise(setting: str, top: str = "") -> str:
    return BASE.replace("steps = { choices = [0, 100] }", f"steps = 9\n{setting}").replace(
        "seeds = 4", f"seeds = 4{top}"
    )


RANDOM = '\nsearch = { method = "random", trials = 3 }'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE.replace("seeds = 4", f"seed = {2**63}"), f"s.toml:2: seed: found {2**63}: input should be less than or"),
        (BASE.replace("seeds = 4", f"seed = {{ choices = [0, {2**64}] }}"), f"s.toml:2: seed: found {2**64}: input"),
        (BASE.replace("seeds = 4", f"seed = {-(2**64)}"), f"s.toml:2: seed: found {-(2**64)}: input should be greater"),
        (BASE.replace("seeds = 4", "seed = 0x" + "f" * 9999), "s.toml:2: seed: found an integer of 39996 bits: input"),
        (
            BASE.replace("seeds = 4", "seeds = 10_001"),
            "s.toml:2: seeds: found 10001: input should be less than or equal",
        ),
        (of_noise("mean = 1" + "0" * 400), ", more than any number that is computed with"),
        (
            of_noise("learning_rate = 5e-324"),
            "s.toml:10: noise.learning_rate: found 5e-324: numbers of 32 bits are 0, or from 1.18e-38 to 3.4e+38 in",
        ),
        (of_noise("learning_rate = [0.1, 1e308]"), "s.toml:10: noise.learning_rate[1]: found 1e+308: numbers of 32"),
        (
            of_noise(f"learning_rate = {{ low = 1, high = 1{'0' * 400} }}", RANDOM),
            "s.toml:11: noise.learning_rate.high: found an integer of 1329 bits, expected one from 1 - 2^63 to 2^63",
        ),
        (of_noise("mean = { low = -1e308, high = 1e308 }", RANDOM), "s.toml:11: noise.mean: found -1e+308: numbers"),
        (of_noise("mean = { low = -inf, high = 1 }", RANDOM), "s.toml:11: noise.mean.low: found -inf: input should be"),
        (
            of_noise("mean = { low = true, high = '3' }", RANDOM),
            "s.toml:11: noise.mean.low: found true, expected a num",
        ),
        (
            of_noise("mean = { low = 0.1, high = 1.0, step = 5e-324 }", RANDOM),
            "s.toml:11: noise.mean: a range has at most 1e+12 steps, found more, of 5e-324 each",
        ),
        (
            of_noise(f"mean = {{ low = 0.0, high = 1.0, step = {10**400} }}", RANDOM),
            "s.toml:11: noise.mean.step: found an integer of 1329 bits, expected one from",
        ),
        (
            BASE.replace('"q"', '"a\\u0000b"'),
            "s.toml:1: question: found '\\x00' in it, expected a text without control characters",
        ),
        (
            BASE.replace('"q"', f'"{"q" * 10_001}"'),
            "s.toml:1: question: found a text of 10001 letters, expected at most",
        ),
        (BASE + "[resources]\ngpus_per_trial = 1.5\n", "resources.gpus_per_trial: found 1.5: GPUs are shared by fract"),
        (BASE.replace("seeds = 4", '"\\u001b[31m" = 4'), "s.toml:2: \\x1b[31m: unknown key; known are"),
    ],
)
def test_what_is_beyond_all_bounds_is_said_in_a_sentence(text: str, said: str) -> None:
    messages = mistakes(text)
    assert said in messages[0]
    assert all(message.isprintable() for message in messages)


def test_a_column_is_never_of_two_types() -> None:
    """Not of a study that is said to have results either, as a crafted one is."""
    for text in (
        of_noise("learning_rate = { choices = [0.1, [0.1, 0.2]] }"),
        'phases = { choices = [[{ phase = "noise", steps = 1, learning_rate = [1, 2] }], '
        '[{ phase = "noise", steps = 1 }]] }',
    ):
        with pytest.raises(StudyError, match=r"cannot be one of `choices`|or none any"):
            study.parse(text, has_results=True)


def test_texts_may_have_lines() -> None:
    question = 'question = """\nWhy,\n\tand "how"? – 學習"""'
    assert study.parse(BASE.replace('question = "q"', question)).question == 'Why,\n\tand "how"? – 學習'


@pytest.mark.parametrize(
    "text",
    [
        of_noise("learning_rate = { choices = [1, 2.5] }"),
        of_noise(f"mean = {{ choices = [0.5, {2**63 - 1}, {-(2**63)}, 0] }}"),
        of_noise("learning_rate = [1, 2.5, 3]"),
        of_noise("weight_decay = { choices = [0, 0.5] }"),
        of_noise("mean = { low = 0, high = 2.5 }", RANDOM),
        of_noise("mean = { low = 0, high = 9, step = 3 }", RANDOM),
        BASE.replace("seeds = 4", f"seed = {{ choices = [0, {2**63 - 1}] }}"),
        BASE.replace("[network]", "[network]\nhidden = { choices = [[1], [2, 3]] }"),
        "phases = { choices = [\n"
        '[{ phase = "noise", steps = 1, mean = 1 }, { phase = "evaluate", task_distributions = ["glyphs"] }],\n'
        '[{ phase = "evaluate", task_distributions = ["glyphs"], ways = 7 }],\n'
        '[{ phase = "noise", steps = 1, mean = 0.5 }, { phase = "meta", task_distribution = "glyphs", '
        "outer_steps = 1, inner_learning_rate = 1 }],\n"
        "] }",
    ],
)
def test_whatever_a_study_varies_stands_in_its_tables(text: str) -> None:
    """Whole numbers beside others, and settings that not every trial has: each column has one type, and every trial its
    settings in it, unrounded."""
    checked = study.parse(text)
    schema = columns.trials_schema(checked)
    for trial_ in checked.trials:
        row = settings.flatten(trial_.settings)
        part = encode(pa.Table.from_pylist([row | {"trial_id": trial_.trial_id, "status": "done"}], schema))
        (read,) = decode(part, "trials").to_pylist()
        assert {name: read[name] for name in row} == row
        assert {name for name, value in read.items() if value is not None} - {"trial_id", "status"} <= row.keys()


def test_a_metric_says_which_way_it_is_better() -> None:
    """An accuracy is maximized, a loss and a setting minimized, where nothing is said."""
    names = ["evaluate.meta_accuracy", "evaluate.meta_loss", "noise.steps", "supervised.accuracy", "measure.points"]
    sought = study.parse(SEARCHED.replace('["evaluate.meta_loss"]', str(names))).search.sought
    assert sought == ["maximize", "minimize", "minimize", "maximize", "minimize"]
    said = SEARCHED.replace('meta_loss"]', 'meta_accuracy"]\ndirections = ["minimize"]')
    assert study.parse(said).search.sought == ["minimize"]
    rank = SEARCHED.replace('evaluate.meta_loss"]', 'noise.effective_rank"]\ndirections = ["maximize"]')
    assert study.parse(rank).search.sought == ["maximize"]
    for metric, direction in (("loss", "minimize"), ("accuracy", "maximize"), ("meta_accuracy", "maximize")):
        assert (
            study.parse(STOPPED.replace("supervised.loss", f"supervised.{metric}")).early_stopping.sought == direction
        )


def test_a_phase_that_not_every_trial_has_may_stop_those_that_have_it() -> None:
    text = """\
    phases = { choices = [
      [{phase = "evaluate", task_distributions = ["glyphs"]}],
      [{phase = "noise", steps = 9}, {phase = "evaluate", task_distributions = ["glyphs"]}],
    ] }
    early_stopping = { method = "median", metric = "noise.loss" }
    """
    assert len(study.parse(text).trials) == 2
    searched = text.partition("early_stopping")[0] + (
        'search = { method = "tpe", trials = 2, objectives = ["noise.alignment_angle"] }'
    )
    assert "where the phases are 'evaluate'" in mistakes(searched)[0]


CLAIMED = """\
[network]
hidden = [8]
rule = { choices = ["feedback_alignment", "backprop"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 10] }
[[phases]]
phase = "supervised"
dataset = "digits"
steps = 10
[[phases]]
phase = "out_of_distribution"
rotation = [10.0]
[[claims]]
claim = 1
statement = "s"
expect = "lower"
"""


@pytest.mark.parametrize(
    ("claim", "sentence"),
    [
        (
            'metric = "readout_probability"\nphase = "noise"',
            "`inputs` has to say on which inputs readout_probability is",
        ),
        (
            'metric = "readout_probability"\nphase = "noise"\ninputs = "digts"',
            "found 'digts', but in noise readout_probability is measured on 'digits', 'noise'; did you mean 'digits'?",
        ),
        ('metric = "alignment_angle"\nphase = "noise"\ninputs = "noise"', "alignment_angle is of no inputs"),
        ('metric = "alignment_angle"\nphase = "noise"\nlayer = 9', "found 9, but the networks have 2 layers"),
        ('metric = "alignment_angle"\nphase = "noise"\nlayer = 1', "the first layer has no feedback"),
        ('metric = "accuracy"\nphase = "supervised"\nlayer = 2', "accuracy is not of a layer; leave `layer` out"),
        (
            'metric = "accuracy"\nphase = "supervised"\nrule = "weight_mirror"',
            "'weight_mirror' is about no network of this study: their rules are 'backprop', 'feedback_alignment'",
        ),
        (
            'metric = "accuracy"\nphase = "out_of_distribution"\ninputs = "usps"',
            "found 'usps', but in out_of_distribution accuracy is measured on 'digits'",
        ),
        (
            'metric = "accuracy"\nphase = "out_of_distribution"\nshift = "scaling"',
            "found 'scaling', but the shifts of out_of_distribution are 'rotation'",
        ),
        (
            'metric = "accuracy"\nphase = "supervised"\ninputs = "digits"\nshift = "rotation"',
            "found 'rotation', but no images of supervised are shifted",
        ),
    ],
)
def test_a_claim_that_could_not_be_judged_is_refused(claim: str, sentence: str) -> None:
    """Before anything runs."""
    with pytest.raises(StudyError, match=re.escape(sentence)):
        study.parse(CLAIMED + claim)


def test_a_claim_about_noise_needs_networks_with_it_and_without() -> None:
    claim = 'metric = "accuracy"\nphase = "supervised"'
    study.parse(CLAIMED + claim)
    with pytest.raises(StudyError, match="every trial has some; let noise `steps` be 0 too"):
        study.parse(CLAIMED.replace("[0, 10]", "[5, 10]") + claim)
    study.parse(CLAIMED.replace("[0, 10]", "[5, 10]") + claim + '\ncompare = "start"')
    with pytest.raises(StudyError, match="no trial has any; give the study a noise phase"):
        study.parse(CLAIMED.replace("[0, 10]", "[0]") + claim)


LISTS = """\
network.hidden = HIDDEN
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


@pytest.mark.parametrize(
    ("hidden", "choices"),
    [
        ("{ choices = [10, 20] }", "[[10], [20]]"),
        ("{ choices = [[10], 20] }", "[[10], [20]]"),
        ("{ values = [10, 100] }", "[[10], [100]]"),
        ("{ low = 10, high = 100 }", "[[10], [100]]"),
    ],
)
def test_choices_of_a_list_are_lists_and_that_is_said_once(hidden: str, choices: str) -> None:
    with pytest.raises(StudyError) as refused:
        study.parse(LISTS.replace("HIDDEN", hidden))
    (message,) = refused.value.messages
    assert message.endswith(f"expected a list; to vary it, each choice is a list: {{ choices = {choices} }}")
    study.parse(LISTS.replace("HIDDEN", f"{{ choices = {choices} }}"))


def test_advice_on_choices_is_advice_that_works() -> None:
    for steps, end in [("{ choices = [[0, 500]] }", "{ choices = [0, 500] }"), ("[]", "expected a whole number")]:
        with pytest.raises(StudyError, match=re.escape(end) + "$"):
            study.parse(LISTS.replace("HIDDEN", "[3]") + f'[[phases]]\nphase = "noise"\nsteps = {steps}\n')
    with pytest.raises(StudyError, match=r"in which each choice is a list of phases$"):
        study.parse('phases = { choices = [{ phase = "noise", steps = 1 }, { phase = "noise", steps = 2 }] }')
