"""What has to hold of a study as a whole."""

import re
from typing import Any

import pyarrow as pa
import pytest
from study_bases import EVALUATE, EVALUATED, GRID, SEARCHED, STOPPED, SUPERVISED, WITH_DATA, mistakes
from study_texts import study_with

from metafa.errors import StudyError
from metafa.results import columns
from metafa.results.parts import decode, encode
from metafa.studies import settings, study
from metafa.studies.metrics import METRICS

CLAIM = {"claim": 2, "statement": "s", "metric": "accuracy", "phase": "noise", "expect": "lower"}
SPECTRA = WITH_DATA | {"measure": {"singular_values": True}, "early_stopping": STOPPED["early_stopping"]}
RANGES = {"search": {"method": "random", "trials": 3}}


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (
            "evaluate.accuracy",
            "search.objectives[0]: found 'evaluate.accuracy', but 'evaluate' does not measure 'accuracy'; did you mean "
            "'evaluate.meta_accuracy'? it measures 'generalization_error', 'meta_accuracy', 'meta_loss'",
        ),
        ("evaluate.loss", "did you mean 'evaluate.meta_loss'?"),
        ("meta_loss", "expected PHASE.METRIC, where the phases are 'evaluate', 'noise'"),
        ("meta.meta_loss", "where the phases are 'evaluate', 'noise', 'supervised'"),
        ("network.hidden", "expected PHASE.METRIC"),
        ("noise.batch_size", "'noise.batch_size' is 64 in every trial; nothing is to be"),
        ("noise.loss", "'noise' does not measure 'loss' in every trial"),
        ("noise.singular_value", "'noise' does not measure 'singular_value';"),
        ("noise.effective_rank", "search: `directions` have to be said: neither less"),
    ],
)
def test_a_search_is_by_what_every_trial_measures(objective: str, said: str) -> None:
    study.parse(study_with(SEARCHED))
    messages = mistakes(study_with(SEARCHED, search={"objectives": [objective]}))
    assert any(said in message for message in messages), messages


@pytest.mark.parametrize(
    ("base", "stopping", "said"),
    [
        (STOPPED, {"metric": "supervised.los"}, "early_stopping.metric: found 'supervised.los', but 'supervised'"),
        (STOPPED, {"metric": "evaluate.meta_loss"}, "where the phases that train are 'noise', 'supervised'"),
        (STOPPED, {"metric": "supervised.inner_learning_rate"}, "does not measure 'inner_learning_rate';"),
        (
            SPECTRA,
            {"metric": "supervised.singular_value"},
            "does not measure 'singular_value' throughout each trial",
        ),
        (STOPPED, {"metric": "noise.effective_rank"}, "early_stopping: `direction` has to be said: neither less"),
        (STOPPED, {"method": "asha", "reduction_factor": 1.0}, "reduction_factor: found 1.0: input should be"),
    ],
)
def test_trials_are_stopped_by_what_they_measure_throughout(base: dict, stopping: dict, said: str) -> None:
    study.parse(study_with(base))
    messages = mistakes(study_with(base, early_stopping=stopping))
    assert any(said in message for message in messages), messages


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"search": {"method": "cmaes"}, "seed": {"low": 0, "high": 9}},
            '"cmaes" knows ranges alone, and draws choices at random, whatever it finds; give a range, or take "tpe"',
        ),
        ({"seed": 2**63}, f"seed: found {2**63}: input should be less than or equal"),
        (
            {"noise": {"steps": {"choices": [0, 10**30]}}},
            "noise.steps: found 1000000000000000000000000000000: input should be less",
        ),
    ],
)
def test_a_search_space_that_cannot_be_searched_is_refused(changes: dict, said: str) -> None:
    messages = mistakes(study_with(SEARCHED, **changes))
    assert any(said in message for message in messages), messages


@pytest.mark.parametrize(
    ("base", "claim", "said"),
    [
        (
            WITH_DATA,
            {"metric": "meta_accurac"},
            "claims[0].metric: found 'meta_accurac', but 'noise' does not measure",
        ),
        (
            WITH_DATA,
            {"metric": "expected_calibration_error"},
            "does not measure 'expected_calibration_error'; it meas",
        ),
        (SUPERVISED, {"phase": "data"}, "claims[0].phase: found 'data', but the phases are 'supervised'"),
        (SUPERVISED, {"figure": "figure_7"}, "claims[0].figure: found 'figure_7', expected 'figure_1', 'figure_2', "),
        (SUPERVISED, {"expect": "near"}, 'claims[0]: expect = "near" needs a `margin` above 0: how near'),
        (
            SUPERVISED,
            {"step": "first", "compare": "start"},
            'claims[0]: step = "first" with compare = "start" compares',
        ),
        (SUPERVISED, {"claims": 2}, "claims[0].claims: unknown key; did you mean 'claim'?"),
    ],
)
def test_what_is_wrong_in_a_claim_is_said(base: dict, claim: dict, said: str) -> None:
    messages = mistakes(study_with(base, claims=[CLAIM | claim]))
    assert any(said in message for message in messages), messages


def test_a_phase_that_not_every_trial_has_may_stop_those_that_have_it() -> None:
    phases = {"choices": [[EVALUATE], [{"phase": "noise", "steps": 9}, EVALUATE]]}
    stopped = study_with(EVALUATED, phases=phases, early_stopping={"method": "median", "metric": "noise.loss"})
    assert len(study.parse(stopped).trials) == 2
    search = {"method": "tpe", "trials": 2, "objectives": ["noise.alignment_angle"]}
    assert "where the phases are 'evaluate'" in mistakes(study_with(EVALUATED, phases=phases, search=search))[0]


TESTED = {
    "network": {"hidden": [8], "rule": {"choices": ["feedback_alignment", "backprop"]}},
    "phases": [
        {"phase": "noise", "steps": {"choices": [0, 10]}},
        {"phase": "supervised", "dataset": "digits", "steps": 10},
        {"phase": "out_of_distribution", "rotation": [10.0], "unknown_datasets": ["kmnist10k"]},
    ],
}


def claiming(claim: dict[str, Any], **changes: Any) -> str:
    return study_with(TESTED, claims=[{"claim": 1, "statement": "s", "expect": "lower"} | claim], **changes)


@pytest.mark.parametrize(
    ("metric", "phase", "claim", "sentence"),
    [
        (
            "readout_probability",
            "noise",
            {},
            "`inputs` has to say on which inputs readout_probability is",
        ),
        (
            "readout_probability",
            "noise",
            {"inputs": "digts"},
            "found 'digts', but in noise readout_probability is measured on 'digits', 'noise'; did you mean 'digits'?",
        ),
        ("alignment_angle", "noise", {"inputs": "noise"}, "alignment_angle is of no inputs"),
        ("alignment_angle", "noise", {"layer": 9}, "found 9, but the networks have 2 layers"),
        ("alignment_angle", "noise", {"layer": 1}, "the first layer has no feedback"),
        ("feedback_distance", "noise", {"layer": 1}, "no feedback, and so no feedback_distance; layers count from 2"),
        (
            "feature_rank",
            "noise",
            {"layer": 2, "inputs": "noise"},
            "the last layer, 2, is the readout; feature_rank is",
        ),
        (
            "feature_rank",
            "noise",
            {"layer": 1},
            "`inputs` has to say on which inputs feature_rank is meant, of 'digits'",
        ),
        ("readout_wilcoxon", "noise", {}, "'noise' does not measure 'readout_wilcoxon'"),
        ("auroc", "out_of_distribution", {"inputs": "digits"}, "'digits' is measured with a shift alone"),
        ("auroc", "supervised", {}, "'supervised' does not measure 'auroc'"),
        (
            "effective_dimensionality",
            "noise",
            {},
            "found 'effective_dimensionality', which is called 'participation_ratio'",
        ),
        ("accuracy", "supervised", {"layer": 2}, "accuracy is not of a layer; leave `layer` out"),
        (
            "accuracy",
            "supervised",
            {"rule": "weight_mirror"},
            "'weight_mirror' is about no network of this study: their rules are 'backprop', 'feedback_alignment'",
        ),
        (
            "accuracy",
            "out_of_distribution",
            {"inputs": "usps"},
            "found 'usps', but in out_of_distribution accuracy is measured on 'digits'",
        ),
        (
            "accuracy",
            "out_of_distribution",
            {"inputs": "kmnist10k"},
            "found 'kmnist10k', but in out_of_distribution accuracy is measured on 'digits'",
        ),
        (
            "accuracy",
            "out_of_distribution",
            {"shift": "scaling"},
            "found 'scaling', but in out_of_distribution the shifts of images are 'rotation'",
        ),
        (
            "accuracy",
            "supervised",
            {"inputs": "digits", "shift": "rotation"},
            "found 'rotation', but in supervised no images of digits are shifted",
        ),
        ("loss", "supervised", {"at_accuracy": 0.5, "step": "mean"}, "`at_accuracy` stands in place of `step`; leave"),
        ("loss", "supervised", {"at_accuracy": 1.5}, "at_accuracy: found 1.5: input should be less than 1"),
        (
            "loss",
            "out_of_distribution",
            {"at_accuracy": 0.5},
            "out_of_distribution measures loss at one moment alone, not",
        ),
        (
            "readout_probability",
            "supervised",
            {"inputs": "noise", "at_accuracy": 0.5},
            "supervised measures readout_probability on noise, where it does not measure the accuracy",
        ),
        (
            "alignment_angle",
            "noise",
            {"at_accuracy": 0.5},
            "noise measures alignment_angle on no inputs, where it does not measure the accuracy",
        ),
        (
            "accuracy",
            "supervised",
            {"at_accuracy": 0.5},
            "at_accuracy: networks of the same accuracy do not differ in it; name another `metric`",
        ),
        (
            "accuracy",
            "supervised",
            {"reference": 0.5},
            "reference: the claim compares with networks without noise, not with a number; leave `reference` out, or",
        ),
        (
            "accuracy",
            "supervised",
            {"reference": 0.0, "against": {"noise.steps": 0}},
            "reference: the claim compares with the conditions that `against` says, not with a number",
        ),
        (
            "accuracy",
            "out_of_distribution",
            {"shift": "rotation", "compare": "start"},
            'compare: out_of_distribution measures accuracy at one moment alone, and compare = "start" would compare',
        ),
        (
            "accuracy",
            "out_of_distribution",
            {"shift": "rotation", "step": "mean"},
            'step: out_of_distribution measures accuracy at one moment alone; leave step = "mean" out',
        ),
        (
            "accuracy",
            "supervised",
            {"earlier_task": "digits"},
            "earlier_task: stands in results of earlier versions alone; say `inputs` and `shift`",
        ),
    ],
)
def test_a_claim_that_could_not_be_judged_is_refused(metric: str, phase: str, claim: dict, sentence: str) -> None:
    """Before anything runs."""
    with pytest.raises(StudyError, match=re.escape(sentence)):
        study.parse(claiming({"metric": metric, "phase": phase} | claim))


def test_a_claim_at_an_accuracy_needs_all_moments() -> None:
    claim = {"metric": "readout_wilcoxon", "phase": "supervised", "inputs": "digits", "at_accuracy": 0.5}
    with pytest.raises(StudyError, match="readout_wilcoxon is measured at some moments of supervised alone, not as"):
        study.parse(claiming(claim, measure={"readout_distribution": True}))


def test_a_claim_about_the_mean_over_steps_needs_one_span() -> None:
    """Where networks converge, each condition has its own."""
    claim, ending = {"metric": "accuracy", "phase": "supervised"}, {"converged_metric": "loss", "converged_interval": 1}
    sentence = "claims[1].step: a phase that ends when its networks have converged has no common span; leave `step` out"
    claims = [{"claim": 1, "statement": "s", "expect": "lower"} | claim | about for about in ({}, {"step": "mean"})]
    with pytest.raises(StudyError, match=re.escape(sentence)):
        study.parse(study_with(TESTED, supervised=ending, claims=claims))
    study.parse(study_with(TESTED, noise=ending, claims=claims))


def test_a_claim_about_noise_needs_networks_with_it_and_without() -> None:
    claim = {"metric": "accuracy", "phase": "supervised"}
    for about in ({}, {"at_accuracy": 0.9, "metric": "loss"}, {"at_accuracy": 0.9, "metric": "alignment_angle"}):
        study.parse(claiming(claim | about))
    always, never = ({"steps": {"choices": choices}} for choices in ([5, 10], [0]))
    with pytest.raises(StudyError, match="every trial has some; let noise `steps` be 0 too"):
        study.parse(claiming(claim, noise=always))
    study.parse(claiming(claim | {"compare": "start"}, noise=always))
    with pytest.raises(StudyError, match="no trial has any; the `steps` of 'noise' are 0 alone"):
        study.parse(claiming(claim, noise=never))
    with pytest.raises(StudyError, match="no trial has any; give the study a noise phase"):
        study.parse(claiming(claim, noise=None))


def test_a_column_is_never_of_two_types() -> None:
    """Not of a study that is said to have results either, as a crafted one is."""
    noise = {"phase": "noise", "steps": 1}
    for text in (
        study_with(GRID, noise={"learning_rate": {"choices": [0.1, [0.1, 0.2]]}}),
        study_with({}, phases={"choices": [[{**noise, "learning_rate": [1, 2]}], [noise]]}),
    ):
        with pytest.raises(StudyError, match=r"cannot be one of `choices`|or none any"):
            study.parse(text, has_results=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": {"learning_rate": {"choices": [1, 2.5]}}},
        {"noise": {"mean": {"choices": [0.5, 2**63 - 1, -(2**63), 0]}}},
        {"noise": {"learning_rate": [1, 2.5, 3]}},
        {"noise": {"weight_decay": {"choices": [0, 0.5]}}},
        {"noise": {"mean": {"low": 0, "high": 2.5}}} | RANGES,
        {"noise": {"mean": {"low": 0, "high": 9, "step": 3}}} | RANGES,
        {"seed": {"choices": [0, 2**63 - 1]}},
        {"network": {"hidden": {"choices": [[1], [2, 3]]}}},
        {
            "phases": {
                "choices": [
                    [{"phase": "noise", "steps": 1, "mean": 1}, EVALUATE],
                    [EVALUATE | {"ways": 7}],
                    [
                        {"phase": "noise", "steps": 1, "mean": 0.5},
                        {
                            "phase": "meta",
                            "task_distribution": "glyphs",
                            "outer_steps": 1,
                            "inner_learning_rate": 1,
                        },
                    ],
                ]
            }
        },
    ],
)
def test_whatever_a_study_varies_stands_in_its_tables(changes: dict) -> None:
    """Whole numbers beside others, and settings that not every trial has: each column has one type, and every trial its
    settings in it, unrounded."""
    checked = study.parse(study_with(GRID, **changes))
    schema = columns.trials_schema(checked)
    for trial in checked.trials:
        row = settings.flatten(trial.settings)
        part = encode(pa.Table.from_pylist([row | {"trial_id": trial.trial_id, "status": "done"}], schema))
        (read,) = decode(part, "trials").to_pylist()
        assert {name: read[name] for name in row} == row
        assert {name for name, value in read.items() if value is not None} - {"trial_id", "status"} <= row.keys()


ALL_MEASURED = {
    "measure": {"last_layer_weights": True, "singular_values": True, "readout_distribution": True, "weight_path": True},
    "phases": [
        {"phase": "noise", "steps": {"choices": [0, 10]}},
        {"phase": "supervised", "dataset": "glyphs", "steps": 5000, "converged_metric": "loss"},
        {"phase": "whole_datasets", "datasets": ["mnist10k", "glyphs"], "steps": 10},
    ],
}


@pytest.mark.parametrize(
    ("metric", "inputs"),
    [
        ("last_layer_weight", {}),
        ("last_layer_feedback", {}),
        ("singular_value", {}),
        ("weight_path", {}),
        ("readout_quantile", {"inputs": "noise"}),
    ],
)
def test_nothing_is_judged_by_a_mean_that_tells_nothing(metric: str, inputs: dict) -> None:
    claim = CLAIM | {"metric": metric, "phase": "noise"} | inputs
    (message,) = mistakes(study_with(ALL_MEASURED, claims=[claim]))
    said = f"metric: {metric} has many values for each network, whose mean tells nothing of it"
    assert message.endswith(f"claims[0].{said}")
    if METRICS[metric].throughout:
        stopping = {"method": "median", "metric": f"noise.{metric}", "direction": "minimize"}
        (message,) = mistakes(study_with(ALL_MEASURED, early_stopping=stopping))
        assert message.endswith(f"early_stopping.{said}")


@pytest.mark.parametrize(
    ("metric", "phase"),
    [
        ("whole_dataset_meta_loss", "whole_datasets"),
        ("whole_dataset_meta_loss_at_end", "whole_datasets"),
        ("converged_step", "supervised"),
        ("weight_path_variance", "supervised"),
    ],
)
def test_what_is_measured_at_one_moment_is_not_compared_with_itself(metric: str, phase: str) -> None:
    claim = CLAIM | {"metric": metric, "phase": phase}
    study.parse(study_with(ALL_MEASURED, claims=[claim]))
    (message,) = mistakes(study_with(ALL_MEASURED, claims=[claim | {"compare": "start"}]))
    assert f"claims[0].compare: {phase} measures {metric} at one moment alone, and compare =" in message
    start = {"metric": "whole_dataset_meta_loss", "phase": "noise", "compare": "start"}
    study.parse(study_with(ALL_MEASURED, claims=[claim | start]))


def test_every_whole_dataset_counts_once() -> None:
    (message,) = mistakes(study_with(ALL_MEASURED, whole_datasets={"datasets": ["glyphs", "mnist10k", "glyphs"]}))
    assert message.endswith("whole_datasets.datasets: found 'glyphs' twice; a dataset counts once")
    noise, _, adaptation = ALL_MEASURED["phases"]
    phases = [noise, adaptation, adaptation | {"name": "more", "datasets": ["kmnist10k"]}]
    text = study_with(ALL_MEASURED, phases=phases)
    assert study.parse(text, has_results=True).total == 2, "earlier results can be read"
    (message,) = mistakes(text)
    assert message.endswith(
        "phases[2]: noise phases measure the whole-dataset meta-loss of 'whole_datasets' alone, and not that of "
        "'more'; a trial has one phase of this kind"
    )
    study.parse(study_with(ALL_MEASURED, phases=phases[1:]))
