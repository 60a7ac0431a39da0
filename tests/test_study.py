import typing
from pathlib import Path

import pytest

from metafa import credit, meta, networks, optimizers, settings, study, transport, trial

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
iterations = 10

[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(study.StudyError) as caught:
        study.parse(text, file="s.toml")
    assert all("\n" not in message for message in caught.value.messages)
    return caught.value.messages


def test_the_schema_names_what_the_tables_hold() -> None:
    assert set(typing.get_args(settings.RuleName)) == set(credit.RULES) == set(transport.TRANSPORT)
    assert set(typing.get_args(settings.ActivationName)) == set(networks.ACTIVATIONS)
    assert set(typing.get_args(settings.OuterAlgorithmName)) == set(meta.OUTER_ALGORITHMS)
    assert set(typing.get_args(settings.OptimizerName)) == set(optimizers.OPTIMIZERS)
    assert set(settings.PHASES) == set(trial.RUN_PHASE)


def test_weight_transport_is_said_of_every_part() -> None:
    """An exact meta-gradient and backprop read weights; Reptile sends no error of its own; a readout needs none."""

    def said(**changes: str) -> dict[str, str]:
        text = BASE.replace('rule = { choices = ["backprop", "feedback_alignment"] }', f'rule = "{changes["rule"]}"')
        for key in ("outer_algorithm", "outer_rule"):
            if key in changes:
                text = text.replace("iterations = 10", f'iterations = 10\n{key} = "{changes[key]}"')
        return settings.transports(study.parse(text).trials[0].settings)

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
        BASE.replace("iterations = 10", "iterations = 11"),
    ):
        assert not {t.trial_id for t in study.parse(other).trials} & ids


def test_a_random_search_draws_within_its_ranges_and_always_the_same() -> None:
    text = BASE.replace("seeds = 4", 'seeds = 4\nsearch = { method = "random", trials = 60 }').replace(
        "iterations = 10",
        "iterations = { low = 10, high = 50, step = 20 }\n"
        "outer_learning_rate = { low = 1e-4, high = 0.01, log = true }",
    )
    points = [t.varied for t in study.parse(text).trials]
    assert points == [t.varied for t in study.parse(text).trials]
    assert points != [t.varied for t in study.parse("seed = 1\n" + text).trials]
    assert {p["meta.iterations"] for p in points} == {10, 30, 50}
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
    ("iterations = 10", "iterations = 10\nouter_learning_rate = 0", "meta.outer_learning_rate: found 0: input should"),
    ("iterations = 10", "iterations = 10\nouter_learning_rate = [0.1, 0]", "outer_learning_rate[1]: found 0: input"),
    ("iterations = 10", "iterations = 10\nouter_learning_rate = []", "found []: list should have at least 1 item"),
    ("iterations = 10", 'iterations = 10\nouter_learning_rate = "x"', "outer_learning_rate: found 'x', expected a num"),
    ("iterations = 10", "iterations = 10\nouter_learning_rate = [0.1, 0.1]", "outer_learning_rate has a rate twice"),
    (
        "iterations = 10",
        "iterations = 10\nouter_learning_rate = [0.1, 0.2]\ninner_learning_rate = [1.0, 2.0]",
        "one learning rate at most is a list, found meta.inner_learning_rate and meta.outer_learning_rate",
    ),
    (
        "iterations = 10",
        "iterations = 10\nouter_learning_rate = { choices = [[0.1, 0.2], 0.3] }",
        "a list of learning rates, side by side in one trial, cannot be one of `choices`",
    ),
    ("iterations = 10", "iterations = 10\nouter_momentum = 0.9", 'is for outer_optimizer = "sgd"; adam has its own'),
    (
        "iterations = 10",
        'iterations = 10\nouter_algorithm = "reptile"\nlearn_inner_rates = true',
        's.toml:11: phases[1]: `learn_inner_rates` needs outer_algorithm = "exact" or "anil"',
    ),
    (
        'phase = "evaluate"',
        'phase = "evaluate"\nlearned_rates = true',
        "evaluate.learned_rates needs a meta phase before it with learn_inner_rates = true",
    ),
    ('phase = "meta"', 'phase = "mta"', "s.toml:11: phases[1]: `phase` is 'mta', expected 'evaluate', 'meta', 'noise'"),
    ("iterations = 10", "", "s.toml:11: meta.iterations: missing, and it has no default"),
    ("iterations = 10", "iterations = 10\nways = 1", "s.toml:15: meta.ways: found 1: input should be greater"),
    ("iterations = 10", "iterations = 10\ninner_learning_rate = nan", "s.toml:15: meta.inner_learning_rate: found nan"),
    ("seeds = 4", 'seeds = 4\nname = "../elsewhere"', "s.toml:3: name: found '../elsewhere', expected letters"),
    ('phase = "evaluate"', 'phase = "evaluate"\nname = "noise"', "phases[2]: two phases are called 'noise'"),
    ('phase = "evaluate"', 'phase = "evaluate"\nname = "network"', "'network' is the name of another setting"),
    ("seeds = 4", "seeds = 4\nsearch.trials = 3", "s.toml:3: search.trials: a grid has as many trials"),
    ("seeds = 4", 'seeds = 4\nsearch.method = "random"', 'search: method = "random" needs `trials`'),
]


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
        with pytest.raises(study.StudyError, match=said):
            study.read(path)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[1].glob("studies/**/*.toml")), ids=lambda p: p.name)
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
    with_claim, without = study.parse(CLAIM), study.parse(SUPERVISED)
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
