import math
from collections import defaultdict

import pandas as pd
import pytest

from metafa.errors import StudyError
from metafa.learning import credit
from metafa.results import columns, parts
from metafa.studies import study
from metafa.studies.data import BATCH, Inputs
from metafa.studies.metrics import METRICS, OF_THE_BATCH
from metafa.studies.needs import inputs_of, metrics_of
from metafa.studies.settings import EarlyStoppingSettings, TrialSettings
from metafa.trials import checkpoints, recording, trial

TEXT = """\
seeds = 2
[network]
hidden = [20]
rule = "feedback_alignment"
[[phases]]
phase = "noise"
steps = 30
[[phases]]
phase = "evaluate"
name = "before_meta"
task_distributions = ["glyphs"]
tasks = 6
[[phases]]
phase = "meta"
task_distribution = "glyphs"
outer_steps = 4
tasks_per_batch = 2
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
tasks = 6
[measure]
points = 4
tasks = 5
"""


def parsed(text: str = TEXT):
    return study.parse(text).trials[0].settings


@pytest.fixture(scope="module")
def sources():
    return trial.prepared(trial.load_sources(parsed()))


def values(rows: list[dict], **where) -> dict[tuple, float]:
    """The values of the rows that match ``where``, by what else identifies them."""
    kept = [row for row in rows if all(row[key] == value for key, value in where.items())]
    return {tuple(v for k, v in row.items() if k != "value"): row["value"] for row in kept}


def test_every_metric_is_measured_where_it_says(sources) -> None:
    fractions = []
    rows = trial.run(parsed(), sources, watch=trial.Watch(fractions.append)).rows
    found = defaultdict(set)
    for row in rows:
        found[row["phase"], row["metric"]].add((row["step"], row["layer"], row["inputs"]))
    noise_steps, meta_steps = [0, 1, 5, 30], [0, 1, 2, 4]
    for phase, steps in (("noise", noise_steps), ("meta", meta_steps)):
        assert found[phase, "loss"] == {(s, None, "batch") for s in steps[1:]}
        assert found[phase, "accuracy"] == {(s, None, "batch") for s in steps[1:]}
        assert found[phase, "alignment_angle"] == {(s, 2, None) for s in steps}
        for metric in ("effective_dimensionality", "effective_rank"):
            assert found[phase, metric] == {(s, layer, None) for s in steps for layer in (1, 2)}
        for metric in ("readout_probability", "readout_deviation"):
            assert found[phase, metric] == {(s, None, task) for s in steps for task in ("noise", "glyphs")}
        for metric in ("meta_loss", "meta_accuracy"):
            assert found[phase, metric] == {(s, None, "glyphs") for s in steps}
    for phase in ("before_meta", "evaluate"):
        for metric in ("meta_loss", "meta_accuracy", "generalization_error"):
            assert found[phase, metric] == {(s, None, "glyphs") for s in range(6)}
    assert len(values(rows)) == len(rows), "no measurement stands twice"
    assert {row["seed"] for row in rows} == {0, 1}
    assert all(math.isfinite(row["value"]) for row in rows)
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)


def test_a_trial_run_again_gives_the_same_numbers_to_the_bit(sources) -> None:
    assert trial.run(parsed(), sources).rows == trial.run(parsed(), sources).rows


def test_no_noise_steps_equals_no_noise_phase_to_the_bit(sources) -> None:
    none = TEXT.replace("steps = 30", "steps = 0")
    without = TEXT.replace('[[phases]]\nphase = "noise"\nsteps = 30\n', "")
    rows, others = trial.run(parsed(none), sources).rows, trial.run(parsed(without), sources).rows
    for phase in ("before_meta", "meta", "evaluate"):
        assert values(rows, phase=phase) == values(others, phase=phase)


def test_conditions_with_a_seed_in_common_start_from_the_same_network_and_tasks(sources) -> None:
    """Nothing that a condition changes moves another draw: comparisons are paired."""
    one = values(trial.run(parsed(), sources).rows, phase="noise", step=0)
    for changed in (
        TEXT.replace('"feedback_alignment"', '"backprop"'),
        TEXT.replace("steps = 30", "steps = 7"),
        TEXT.replace("outer_steps = 4", "outer_steps = 2"),
        TEXT.replace("seeds = 2", "seeds = 3"),
    ):
        other = values(trial.run(parsed(changed), sources).rows, phase="noise", step=0)
        for metric in ("alignment_angle", "effective_dimensionality", "readout_probability"):
            ours = {k: v for k, v in one.items() if k[4] == metric}
            assert ours
            # packed with another seed, a product may be rounded otherwise
            assert {k: other[k] for k in ours} == pytest.approx(ours, rel=1e-5)


def test_a_diverged_replica_is_a_result(sources) -> None:
    text = TEXT.replace("steps = 30", 'steps = 30\noptimizer = "sgd"\nlearning_rate = 1e30')
    outcome = trial.run(parsed(text), sources)
    assert sorted(outcome.divergences) == [0, 1]
    for divergence in outcome.divergences.values():
        assert divergence.phase == "noise"
        assert 1 <= divergence.step <= 5
    last = values(outcome.rows, phase="evaluate", metric="meta_loss", step=5)
    assert len(last) == 2
    assert all(math.isnan(value) for value in last.values())
    assert not values(outcome.rows, phase="noise", step=30), "nothing is trained on once every replica has diverged"


EVALUATE = """\
seeds = 2
[network]
hidden = [20]
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
tasks = 6
"""


def test_an_inner_loop_that_diverges_is_a_result(sources) -> None:
    outcome = trial.run(parsed(EVALUATE + "inner_learning_rate = 1e30"), sources)
    assert list(outcome.divergences.values()) == [
        recording.Divergence(seed, None, "evaluate", 1, "meta_loss") for seed in (0, 1)
    ]
    for metric in ("meta_loss", "meta_accuracy", "generalization_error"):
        measured = values(outcome.rows, metric=metric)
        assert {math.isfinite(value) for key, value in measured.items() if key[3] == 0} == {True}
        assert {math.isnan(value) for key, value in measured.items() if key[3] == 5} == {True}


def test_a_loss_of_a_thousand_times_chance_has_diverged(sources) -> None:
    """All of it is finite: the first step above the bound is where each seed diverged."""
    settings = parsed(EVALUATE + "inner_learning_rate = 30.0")
    assert settings.divergence_bound == pytest.approx(1000 * math.log(5))
    outcome = trial.run(settings, sources)
    assert all(math.isfinite(row["value"]) for row in outcome.rows)
    for seed in (0, 1):
        losses = values(outcome.rows, metric="meta_loss", seed=seed)
        above = [key[3] for key, loss in losses.items() if loss > 1000 * math.log(5)]
        assert outcome.divergences[seed] == recording.Divergence(seed, None, "evaluate", min(above), "meta_loss")
    assert not trial.run(parsed(EVALUATE), sources).divergences


def test_the_replica_that_diverges_is_told_by_seed_and_learning_rate(sources) -> None:
    outcome = trial.run(parsed(EVALUATE + "inner_learning_rate = [0.3, 1e30]"), sources)
    assert outcome.divergences == {
        2 + seed: recording.Divergence(seed, 1e30, "evaluate", 1, "meta_loss") for seed in (0, 1)
    }
    assert all(math.isfinite(value) for value in values(outcome.rows, learning_rate=0.3).values())


def test_a_meta_loss_that_diverges_on_the_way_ends_no_training(sources) -> None:
    """What is trained is sound, and is trained to its end: it is the loop that measures it which diverges."""
    bad = TEXT.replace('name = "before_meta"', 'name = "before_meta"\ninner_learning_rate = 1e30')
    outcome = trial.run(parsed(bad), sources)
    assert set(outcome.divergences.values()) == {
        recording.Divergence(seed, None, "noise", 0, "meta_loss") for seed in (0, 1)
    }
    sound = trial.run(parsed(), sources).rows
    assert values(outcome.rows, phase="evaluate") == values(sound, phase="evaluate")


def test_losses_on_batches_and_on_test_images_are_held_to_the_bound() -> None:
    settings = parsed(SUPERVISED.replace("epochs = 2", 'epochs = 2\noptimizer = "sgd"\nlearning_rate = 1e4'))
    outcome = trial.run(settings, trial.prepared(trial.load_sources(settings)))
    for seed in (0, 1):
        losses = values(outcome.rows, phase="supervised", metric="loss", seed=seed)
        first = min(key[3] for key, loss in losses.items() if loss > 1000 * math.log(10))
        assert outcome.divergences[seed] == recording.Divergence(seed, None, "supervised", first, "loss")
        assert all(math.isfinite(loss) for loss in losses.values())


def test_what_is_no_number_by_design_is_no_divergence() -> None:
    """Feedback that float32 rounds to 0 has no direction, and weights that are not trained have no path."""
    text = SUPERVISED.replace("steps = 30", "steps = 0").replace("epochs = 2", "epochs = 0") + "weight_path = true\n"

    def scaled(scale: float) -> TrialSettings:
        """At a scale that no study may say."""
        settings = parsed(text.replace("[20]", '[20]\nrule = "feedback_alignment"'))
        return settings.model_copy(update={"network": settings.network.model_copy(update={"feedback_scale": scale})})

    settings = scaled(1e-60)
    outcome = trial.run(settings, trial.prepared(trial.load_sources(settings)))
    none = {row["metric"] for row in outcome.rows if not math.isfinite(row["value"])}
    assert none == {"alignment_angle", "weight_path", "weight_path_variance"}
    assert not outcome.divergences
    infinite = scaled(1e39)
    outcome = trial.run(infinite, trial.prepared(trial.load_sources(infinite)))
    assert set(outcome.divergences.values()) == {recording.Divergence(seed, None, "noise", 0) for seed in (0, 1)}


def test_tasks_of_fewer_ways_than_the_network_has_outputs(sources) -> None:
    """Meta-trained on 3 ways and evaluated on 5: one readout of 5 serves both."""
    settings = parsed(TEXT.replace("outer_steps = 4", "outer_steps = 4\nways = 3"))
    assert settings.outputs == 5
    rows = trial.run(settings, trial.prepared(trial.load_sources(settings))).rows
    for phase in ("noise", "before_meta"):
        assert values(rows, phase=phase) == values(trial.run(parsed(), sources).rows, phase=phase)
    accuracies = values(rows, phase="meta", metric="accuracy")
    assert all(round(value * 60) / 60 == pytest.approx(value) for value in accuracies.values()), "2 tasks of 30 queries"


@pytest.mark.parametrize(
    ("setting", "rates"),
    [
        ('phase = "noise"\nlearning_rate = ', [1e-4, 1e-3]),
        ('phase = "meta"\nouter_learning_rate = ', [1e-4, 1e-3]),
        ('phase = "meta"\ninner_learning_rate = ', [0.1, 0.5]),
        ('name = "before_meta"\ninner_learning_rate = ', [0.1, 0.5]),
    ],
)
def test_learning_rates_side_by_side_equal_a_trial_each(sources, setting: str, rates: list[float]) -> None:
    written = setting.splitlines()[0]
    together = trial.run(parsed(TEXT.replace(written, f"{setting}{rates}")), sources).rows
    assert {(row["seed"], row["learning_rate"]) for row in together} == {(s, r) for s in (0, 1) for r in rates}
    for rate in rates:
        alone = values(trial.run(parsed(TEXT.replace(written, f"{setting}{rate}")), sources).rows)
        found = {(k[0], None, *k[2:]): v for k, v in values(together, learning_rate=rate).items()}
        assert found.keys() == alone.keys()
        # packed with others a product may be rounded otherwise, and Adam magnifies the rounding of small gradients
        assert found == pytest.approx(alone, rel=2e-3, abs=2e-3)


def test_inner_rates_are_learned_and_adapted_with(sources) -> None:
    learning = TEXT.replace("outer_steps = 4", "outer_steps = 4\nlearn_inner_rates = true\nouter_learning_rate = 0.05")
    rows = trial.run(parsed(learning), sources).rows
    rates = values(rows, phase="meta", metric="inner_learning_rate")
    assert {(key[0], key[5]) for key in rates} == {(seed, layer) for seed in (0, 1) for layer in (1, 2)}
    first, last = (values(rows, phase="meta", metric="inner_learning_rate", step=step) for step in (0, 4))
    assert list(first.values()) == pytest.approx([0.3] * 4)
    # Adam moves each of them by its learning rate a step, at first: in four steps by 0.2 at most
    assert all(0.001 < abs(rate - 0.3) < 0.2001 for rate in last.values())
    fixed, learned = (
        values(r, phase="evaluate", metric="meta_loss", step=5)
        for r in (
            rows,
            trial.run(
                parsed(learning[::-1].replace("6 = sksat", "eurt = setar_denrael\n6 = sksat", 1)[::-1]), sources
            ).rows,
        )
    )
    assert fixed.keys() == learned.keys()
    assert fixed != learned


def test_no_outer_algorithm_leaves_the_meta_loss_as_it_was(sources) -> None:
    rows = trial.run(parsed(TEXT.replace("outer_steps = 4", 'outer_steps = 4\nouter_algorithm = "none"')), sources).rows
    before, after = (values(rows, phase=phase, metric="meta_loss") for phase in ("before_meta", "evaluate"))
    assert list(before.values()) == list(after.values())


@pytest.mark.parametrize(
    ("total", "points", "expected"),
    [(0, 5, {0}), (1, 5, {0, 1}), (1000, 5, {0, 1, 10, 100, 1000}), (8000, 3, {0, 1, 8000}), (2, 9, {0, 1, 2})],
)
def test_measuring_steps_are_even_in_the_logarithm(total: int, points: int, expected: set[int]) -> None:
    assert recording.measuring_steps(total, points) == expected


KINDS = {
    "noise": "steps = {steps}",
    "supervised": 'dataset = "glyphs"\nsteps = {steps}',
    "meta": 'task_distribution = "glyphs"\nouter_steps = {steps}\ntasks_per_batch = 1\n{meta}',
    "out_of_distribution": "rotation = [10]",
    "evaluate": 'task_distributions = ["glyphs"]\ntasks = 1',
}


def of_kinds(*kinds: str, rule: str = "feedback_alignment", steps: int = 2, meta: str = "", measure: str = "") -> str:
    """A trial of one phase of each of these kinds."""
    text = f"seeds = 1\nnetwork = {{ hidden = [4], rule = {rule!r} }}\n"
    text += f"measure = {{ points = 3, tasks = 1{', ' * bool(measure)}{measure} }}\n"
    for number, kind in enumerate(kinds):
        text += f'[[phases]]\nphase = "{kind}"\nname = "phase_{number}"\n{KINDS[kind]}\n'.format(steps=steps, meta=meta)
    return text


EVERY = "singular_values = true, weight_path = true"


@pytest.fixture(scope="module")
def every_source():
    return trial.prepared(trial.load_sources(parsed(of_kinds(*KINDS))))


@pytest.mark.parametrize(
    "text",
    [
        *(of_kinds(*KINDS, rule=rule) for rule in credit.RULES),
        *(of_kinds(kind, *others) for kind in ("noise", "supervised", "meta") for others in ((), ("evaluate",))
          if kind != "noise" or others),
        *(of_kinds(*KINDS, steps=0, measure=one) for one in ("", EVERY)),
        *(of_kinds(*KINDS, measure=one) for one in ("singular_values = true", "weight_path = true", EVERY)),
        of_kinds("noise", "meta", "supervised", "evaluate", "noise", meta="learn_inner_rates = true", measure=EVERY),
        of_kinds("meta", "noise", "evaluate", steps=0, meta="learn_inner_rates = true"),
        of_kinds("meta", "evaluate", meta='outer_algorithm = "none"'),
        of_kinds("evaluate", measure=EVERY),
    ],
)  # fmt: skip
def test_what_each_phase_measures_is_known_before_it_runs(text: str, every_source) -> None:
    """For every kind of phase, every rule, and every setting that what is measured depends on, both ways."""
    settings = parsed(text)
    rows = trial.run(settings, every_source).rows
    found = {phase.name: set() for phase in settings.phases}
    steps = defaultdict(set)
    for row in rows:
        found[row["phase"]].add(row["metric"])
        steps[row["phase"], row["metric"]].add(row["step"])
    assert found == metrics_of(settings)
    inputs = defaultdict(set)
    for row in rows:
        inputs[row["phase"], row["metric"]].add(Inputs(row["inputs"], row["shift"], row["strength"]))
    for (phase, metric), found_on in inputs.items():
        without = {BATCH} - found_on if metric in OF_THE_BATCH else set()  # after no step
        assert found_on == inputs_of(settings, phase, metric) - without
    keys = [tuple(value for name, value in row.items() if name != "value") for row in rows]
    assert len(set(keys)) == len(keys), "no two numbers stand under one name"
    table = columns.measured("0" * 16, rows)
    read = parts.decode(parts.encode(table), "measurements").to_pandas()
    pd.testing.assert_frame_equal(read, table.to_pandas(), check_exact=True)  # what a trial measures can be read
    # what may stop a trial early is measured at every moment after the start
    for (phase, metric), here in steps.items():
        if METRICS[metric].throughout and (phase, "alignment_angle") in steps:
            assert here - {0} == steps[phase, "alignment_angle"] - {0}


JUDGED = """\
seeds = 2
network = { hidden = [8] }
measure = { points = POINTS, tasks = 3, weight_path = true }
[[phases]]
phase = "noise"
steps = NOISE
[[phases]]
phase = "meta"
task_distribution = "glyphs"
outer_steps = OUTER_STEPS
tasks_per_batch = 1
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
tasks = 3
"""


def judged(sources, metric: str, points: int, noise: int, outer_steps: int, checkpoint=None, keep=lambda make: None):
    """What a trial is judged by, at which step, and its outcome."""
    from metafa.results.measured import measurement

    settings, found = made(points, noise, outer_steps), {}
    stopping = EarlyStoppingSettings(method="asha", metric=metric, grace_period=3, reduction_factor=2.5)

    def look(phase, step, outcome, rows) -> None:
        found[step] = measurement(rows, metric)
        outcome.judged.append((phase, step, found[step]))

    watch = trial.Watch(judges=stopping.judged_steps, judged=look, checkpoint=keep)
    return found, trial.run(settings, sources, watch=watch, checkpoint=checkpoint)


def made(points: int, noise: int, outer_steps: int):
    text = JUDGED.replace("POINTS", str(points)).replace("NOISE", str(noise))
    return parsed(text.replace("OUTER_STEPS", str(outer_steps)))


@pytest.mark.parametrize("metric", ["meta.meta_loss", "noise.loss"])
def test_what_is_compared_is_measured_at_the_same_step(metric: str, sources) -> None:
    """A trial is the beginning of a longer one, so that both are judged by the same numbers, to the bit, as far as the
    shorter one goes, and whatever moments of its own each is measured at; and being judged leaves no trace."""
    found = {}
    for points, length in ((5, 2), (5, 20), (9, 130)):
        noise, outer_steps = (length, 5) if metric.startswith("noise") else (0, length)
        found[length], outcome = judged(sources, metric, points, noise, outer_steps)
        assert outcome.rows == trial.run(made(points, noise, outer_steps), sources).rows
    # 3, then times 2.5: 7.5, 18.75, 46.9, 117.2
    assert list(found[130]) == [3, 8, 19, 47, 118]
    assert found[20] == {step: found[130][step] for step in (3, 8, 19)}
    assert found[2] == {}, "shorter than the first step at which trials are judged"


def test_a_trial_that_goes_on_knows_what_it_was_judged_by(sources) -> None:
    kept = []
    found, whole = judged(
        sources, "meta.meta_loss", 4, 20, 130, keep=lambda make: kept.append(checkpoints.encode(make()))
    )
    assert [step for _, step, _ in whole.judged] == [3, 8, 19, 47, 118]
    for content, before in zip(kept, (4, 5), strict=True):
        checkpoint = checkpoints.decode(content)
        assert checkpoint.outcome.judged == whole.judged[:before]
        later, rest = judged(sources, "meta.meta_loss", 4, 20, 130, checkpoint)
        assert later == {step: found[step] for _, step, _ in whole.judged[before:]}
        assert (rest.rows, rest.judged) == (whole.rows, whole.judged)


SUPERVISED = """\
seeds = 2
[network]
hidden = [20]
[[phases]]
phase = "noise"
steps = 30
[[phases]]
phase = "supervised"
dataset = "digits"
training_images = 200
epochs = 2
[measure]
points = 4
"""


def test_a_supervised_phase_measures_training_and_test_images() -> None:
    settings = parsed(SUPERVISED)
    sources = trial.prepared(trial.load_sources(settings))
    rows = trial.run(settings, sources).rows
    steps = {0, 1, 2, 6}  # two epochs of three whole batches
    found = defaultdict(set)
    for row in rows:
        found[row["phase"], row["metric"]].add((row["step"], row["layer"], row["inputs"]))
    for metric in ("loss", "accuracy"):
        of_batches = {(step, None, "batch") for step in steps - {0}}
        assert found["supervised", metric] == of_batches | {(step, None, "digits") for step in steps}
    for metric in ("generalization_error", "expected_calibration_error"):
        assert found["supervised", metric] == {(step, None, "digits") for step in steps}
    assert found["supervised", "alignment_angle"] == {(step, 2, None) for step in steps}
    assert found["noise", "readout_probability"] == {
        (s, None, task) for s in (0, 1, 5, 30) for task in ("noise", "digits")
    }
    assert len(values(rows)) == len(rows), "no measurement stands twice"
    first = values(rows, phase="supervised", metric="accuracy", inputs="digits", step=0)
    assert all(0 <= value <= 0.4 for value in first.values()), "chance is 0.1"


def test_no_noise_steps_equals_no_noise_phase_to_the_bit_through_data() -> None:
    none, absent = (
        parsed(SUPERVISED.replace("steps = 30", "steps = 0")),
        parsed(SUPERVISED.replace('[[phases]]\nphase = "noise"\nsteps = 30\n', "")),
    )
    sources = trial.prepared(trial.load_sources(none))
    one, other = (trial.run(settings, sources).rows for settings in (none, absent))
    assert [row for row in one if row["phase"] == "supervised"] == other


def test_the_path_of_the_weights_leads_through_all_phases() -> None:
    settings = parsed(SUPERVISED + "weight_path = true\n")
    rows = trial.run(settings, trial.prepared(trial.load_sources(settings))).rows
    moments = {("noise", step) for step in (0, 1, 5, 30)} | {("supervised", step) for step in (0, 1, 2, 6)}
    for component in (1, 2):
        of_a_seed = [
            row for row in rows if (row["metric"], row["component"], row["seed"]) == ("weight_path", component, 0)
        ]
        places = {(row["phase"], row["step"]): row["value"] for row in of_a_seed}
        assert places.keys() == moments
        assert places["noise", 30] == pytest.approx(places["supervised", 0], abs=1e-9), "data begins where noise ended"
        assert places["supervised", 6] >= 0
    variance = [row["value"] for row in rows if row["metric"] == "weight_path_variance" and row["seed"] == 0]
    assert len(variance) == 2
    assert 0.5 < sum(variance) <= 1


def test_singular_values_are_kept_at_each_end_of_a_phase() -> None:
    """Their participation ratio is the effective dimensionality measured at the same step."""
    settings = parsed(SUPERVISED + "singular_values = true\n")
    rows = trial.run(settings, trial.prepared(trial.load_sources(settings))).rows
    spectra = defaultdict(dict)
    for row in (row for row in rows if row["metric"] == "singular_value"):
        spectra[row["phase"], row["step"], row["layer"], row["seed"]][row["component"]] = row["value"]
    ends = (("noise", 0), ("noise", 30), ("supervised", 0), ("supervised", 6))
    assert spectra.keys() == {(*end, layer, seed) for end in ends for layer in (1, 2) for seed in (0, 1)}
    for (phase, step, layer, seed), found in spectra.items():
        assert list(found) == list(range(1, (20 if layer == 1 else 10) + 1))
        assert list(found.values()) == sorted(found.values(), reverse=True)
        squares = [value**2 for value in found.values()]
        where = dict(phase=phase, step=step, layer=layer, seed=seed)
        (ratio,) = values(rows, metric="effective_dimensionality", **where).values()
        assert sum(squares) ** 2 / sum(square**2 for square in squares) == pytest.approx(ratio, rel=1e-6)


def test_images_out_of_distribution_are_tested_by_shift_strength_and_dataset() -> None:
    shifted = """[[phases]]
phase = "out_of_distribution"
dataset = "digits"
translation = [0, 1]
pixel_noise = [0.5]
datasets = ["glyphs"]
"""
    settings = parsed(SUPERVISED + shifted)
    rows = trial.run(settings, trial.prepared(trial.load_sources(settings))).rows
    tested = {
        (row["metric"], row["inputs"], row["shift"], row["strength"]): row["value"]
        for row in rows
        if row["phase"] == "out_of_distribution"
    }
    digits = ("digits", None, None)
    shifts = [("translation", 0.0), ("translation", 1.0), ("pixel_noise", 0.5)]
    inputs = {digits, *(("digits", *shift) for shift in shifts), ("glyphs", None, None)}
    metrics = {"loss", "accuracy", "expected_calibration_error", "readout_probability"}
    assert tested.keys() == {(metric, *one) for metric in metrics for one in inputs}
    for metric in metrics:
        assert tested[metric, "digits", "translation", 0.0] == tested[metric, *digits]
    # what the training phase measured last, of the same images and weights
    last = values(rows, phase="supervised", metric="accuracy", inputs="digits", step=6, seed=1)
    assert list(last.values()) == [tested["accuracy", *digits]]
    assert tested["accuracy", "digits", "pixel_noise", 0.5] != tested["accuracy", *digits]


def test_a_network_takes_images_of_one_size() -> None:
    text = SUPERVISED + '[[phases]]\nphase = "evaluate"\ntask_distributions = ["glyphs"]\n'
    with pytest.raises(StudyError, match="images of one size, found pixels: 64 in supervised, 784 in evaluate"):
        parsed(text.replace("[measure]\npoints = 4\n", ""))


LONG = """\
seeds = 2
[network]
hidden = [20]
rule = "RULE"
[[phases]]
phase = "noise"
steps = 200
[[phases]]
phase = "supervised"
dataset = "glyphs"
training_images = 300
steps = 150
[[phases]]
phase = "meta"
task_distribution = "glyphs"
outer_steps = 140
tasks_per_batch = 2
OUTER
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
tasks = 6
[measure]
points = 4
tasks = 5
weight_path = true
"""


@pytest.mark.parametrize(
    ("rule", "outer"),
    [
        ("feedback_alignment", "learn_inner_rates = true"),
        ("weight_mirror", 'outer_algorithm = "first_order"\nouter_schedule = "cosine"'),
        ("sign_symmetry_random", 'outer_algorithm = "reptile"\nouter_optimizer = "sgd"\nouter_momentum = 0.9'),
        ("nested_kolen_pollack", 'outer_algorithm = "first_order"\nouter_learning_rate = [1e-3, 1e-2]'),
    ],
)
def test_a_trial_goes_on_from_every_checkpoint_to_the_same_rows_to_the_bit(rule: str, outer: str) -> None:
    """Each checkpoint is written and read as in a study; all that later draws, optimizers and feedback depend on has to
    be in it."""
    settings = parsed(LONG.replace("RULE", rule).replace("OUTER", outer))
    sources, kept = trial.prepared(trial.load_sources(settings)), []

    def keep(make) -> None:
        kept.append(checkpoints.encode(make()))

    whole = trial.run(settings, sources, watch=trial.Watch(checkpoint=keep))
    found = [checkpoints.decode(content) for content in kept]
    assert [(checkpoint.phase, checkpoint.step) for checkpoint in found] == [
        (0, 64), (0, 128), (0, 192), (1, 64), (1, 128), (2, 64), (2, 128)
    ]  # fmt: skip
    for checkpoint in found:
        rest = trial.run(settings, sources, checkpoint=checkpoint)
        assert rest.rows == whole.rows, (checkpoint.phase, checkpoint.step)


def test_a_trial_goes_on_from_a_checkpoint_to_the_same_divergences() -> None:
    """One learning rate of two breaks between two moments: where, only the steps before the checkpoint have seen."""
    text = SUPERVISED.replace("steps = 30", 'steps = 200\noptimizer = "sgd"\nlearning_rate = [1e-3, 1e10]')
    settings, kept = parsed(text), []
    sources = trial.prepared(trial.load_sources(settings))
    watch = trial.Watch(checkpoint=lambda make: kept.append(checkpoints.encode(make())))
    whole = trial.run(settings, sources, watch=watch)
    assert {(one.seed, one.learning_rate, one.phase) for one in whole.divergences.values()} == {
        (0, 1e10, "noise"),
        (1, 1e10, "noise"),
    }
    for content in kept:
        rest = trial.run(settings, sources, checkpoint=checkpoints.decode(content))
        assert rest.divergences == whole.divergences


def test_a_damaged_checkpoint_is_known() -> None:
    settings = parsed(SUPERVISED.replace("epochs = 2", "epochs = 40"))
    kept = []
    watch = trial.Watch(checkpoint=lambda make: kept.append(checkpoints.encode(make())))
    trial.run(settings, trial.prepared(trial.load_sources(settings)), watch=watch)
    content = kept[0]
    assert checkpoints.decode(content) is not None
    for place in range(0, len(content), 997):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        assert checkpoints.decode(bytes(damaged)) is None
        assert checkpoints.decode(content[:place]) is None
