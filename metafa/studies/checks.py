"""What has to hold of a study as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from metafa.studies.claim_checks import check_comparison
from metafa.studies.claims import FEWEST_SEEDS, ClaimSettings, accuracy_inputs, chosen_inputs
from metafa.studies.data import BATCH, NO_INPUTS, Inputs
from metafa.studies.fields import MAX_STEPS
from metafa.studies.measured_checks import check_measured, undirected
from metafa.studies.metrics import METRICS, direction_of, is_of
from metafa.studies.mistakes import MAX_MESSAGES, Mistakes
from metafa.studies.names import close, meant
from metafa.studies.needs import inputs_of, measured_once, metrics_of
from metafa.studies.phases import NoisePhase
from metafa.studies.search_checks import check_search
from metafa.studies.settings import MAX_TRIALS, EarlyStoppingSettings, StudySettings, TrialSettings
from metafa.studies.spaces import NOT_SEARCHED, Range, TreePath, dotted_name
from metafa.studies.values import listed, shown

MAX_LISTED = 100  # of a list: phases, layers, claims, strengths


def _ever_measured(settings: TrialSettings, phase: str) -> set[str]:
    """What a phase measures that may have no steps in this trial, and has some in others."""
    return metrics_of(settings, any_steps=True).get(phase, set())


def check_lists(mistakes: Mistakes, tree: Any, path: TreePath = ()) -> None:
    """Whether lists are of a length that a trial could have; what is in `choices` is for many trials."""
    if len(mistakes.messages) > MAX_MESSAGES or not isinstance(tree, dict | list):
        return
    if isinstance(tree, list) and len(tree) > MAX_LISTED and path[-1:] != ("choices",):
        mistakes.add(path, f"found a list of {len(tree)}, expected at most {MAX_LISTED}")
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list):
            check_lists(mistakes, value, (*path, key))


def check_size(mistakes: Mistakes, spaces: dict[TreePath, dict]) -> None:
    """Whether a grid, and what is to be said of each of its values, can be written down."""
    search = mistakes.tree.get("search")
    grid = not isinstance(search, dict) or search.get("method", "grid") == "grid"
    counts = [len(space["choices"]) for space in spaces.values() if "choices" in space]
    if grid and (size := math.prod(counts)) > MAX_TRIALS:
        mistakes.add((), f"a grid of {size if size < 10**30 else 'more than 10^30'} trials; at most {MAX_TRIALS}")
    elif sum(counts) > MAX_TRIALS:
        mistakes.add((), f"{sum(counts)} choices together; at most {MAX_TRIALS}")


def check_space(mistakes: Mistakes, path: TreePath, space: dict) -> None:
    if not path or path[0] in NOT_SEARCHED or path[-1] in ("phase", "name"):
        mistakes.add(path, "cannot be a search space")
    elif "choices" in space:
        if set(space) != {"choices"}:
            mistakes.add(path, f"`choices` stands alone, found beside it: {listed(set(space) - {'choices'})}")
        elif not isinstance(space["choices"], list) or not space["choices"]:
            mistakes.add((*path, "choices"), f"found {shown(space['choices'])}, expected a list of at least one value")
    else:
        try:
            checked = Range.model_validate(space)
        except ValidationError as error:
            mistakes._explain(error.errors(include_url=False), {}, path, Range)
            return
        if checked.low >= checked.high:
            mistakes.add(path, f"a range the wrong way round: low = {checked.low} is not below high = {checked.high}")
        elif checked.log and checked.low <= 0:
            mistakes.add(path, f"a logarithmic range starts above 0, found low = {checked.low}")
        elif checked.log and checked.step is not None:
            mistakes.add(path, "a range has `log` or `step`, not both")
        elif checked.step is not None and checked.step <= 0:
            mistakes.add(path, f"`step` has to be above 0, found {checked.step}")
        elif isinstance(checked.low, int) and isinstance(checked.high, int) and isinstance(checked.step, float):
            mistakes.add(path, f"a range of whole numbers has a whole `step`, found {checked.step}")
        elif checked.step is not None and (checked.high - checked.low) / checked.step > MAX_STEPS:
            mistakes.add(path, f"a range has at most {MAX_STEPS:.0e} steps, found more, of {checked.step} each")


def check_phases(mistakes: Mistakes, examples: Sequence[TrialSettings]) -> None:
    """What has to hold of the phases of every trial, and of all trials together."""
    kinds: dict[str, str] = {}
    for settings in examples:
        seen: set[str] = set()
        for i, phase in enumerate(settings.phases):
            if phase.name in StudySettings.model_fields:
                mistakes.add(("phases", i, "name"), f"{phase.name!r} is the name of another setting; choose another")
            if phase.name not in seen and kinds.setdefault(phase.name, phase.phase) != phase.phase:
                mistakes.add(
                    ("phases",),
                    f"{phase.name!r} is called a phase of kind {kinds[phase.name]!r} in one choice and one of kind "
                    f"{phase.phase!r} in another; give one of them another `name`",
                )
            seen.add(phase.name)
        _check_adaptation(mistakes, settings)
        labelled = [need for phase in settings.phases for need in phase.dataset_needs() if need.labelled]
        if not labelled and not any(phase.task_needs() for phase in settings.phases):
            mistakes.add(("phases",), 'no phase has images; add one with phase = "evaluate", "meta" or "supervised"')


def _check_adaptation(mistakes: Mistakes, settings: TrialSettings) -> None:
    """Whether all the whole datasets that a trial names count in its whole-dataset meta-loss."""
    adapting = [(i, phase) for i, phase in enumerate(settings.phases) if phase.adapts_to_datasets]
    for i, phase in adapting:
        names = phase.seen_as_they_are()
        if twice := {name for name in names if names.count(name) > 1}:
            mistakes.add(("phases", i, "datasets"), f"found {listed(twice)} twice; a dataset counts once")
    for i, phase in adapting[1:] if any(phase.watches_datasets for phase in settings.phases) else ():
        first = f"noise phases measure the whole-dataset meta-loss of {adapting[0][1].name!r} alone"
        mistakes.add(("phases", i), f"{first}, and not that of {phase.name!r}; a trial has one phase of this kind")


def check_columns(mistakes: Mistakes, examples: Sequence[TrialSettings], spaces: dict[TreePath, dict]) -> None:
    """Whether the table of trials has a column for each setting that holds it of every trial, whoever made it."""
    side_by_side = examples[0].side_by_side.keys()
    for settings in examples:
        for i, phase in enumerate(settings.phases):
            if phase.name in {other.name for other in settings.phases[:i]}:
                mistakes.add(("phases", i), f"two phases are called {phase.name!r}; give one of them another `name`")
        of_lists = [
            path for path in spaces if dotted_name(path, mistakes.tree) in settings.side_by_side.keys() | side_by_side
        ]
        for path in of_lists:
            mistakes.add(path, "a list of learning rates, side by side in one trial, cannot be one of `choices`")
        if not of_lists and settings.side_by_side.keys() != side_by_side:
            mistakes.add(("phases",), "every choice has to list its learning rates in the same setting, or none any")


def check_whole(
    mistakes: Mistakes,
    settings: StudySettings,
    spaces: dict[TreePath, dict],
    examples: Sequence[TrialSettings],
    every: Iterable[TrialSettings],
) -> None:
    """What no single setting is to blame for, of trials of which ``every`` one tells, or ``examples`` of them."""
    if settings.claims and (fewest := min(one.seeds for one in every)) < FEWEST_SEEDS:
        sentence = f"found {fewest}, but a claim needs at least {FEWEST_SEEDS} networks for its 95% interval"
        mistakes.add(("seeds",), sentence)
    for i, claim in enumerate(settings.claims):
        if claim.phase not in (names := {phase.name for one in examples for phase in one.phases}):
            mistakes.add(("claims", i, "phase"), f"found {claim.phase!r}, but the phases are {listed(names)}")
        else:
            measured = [_ever_measured(one, claim.phase) for one in examples]
            check_measured(mistakes, ("claims", i, "metric"), "", claim.metric, claim.phase, set.union(*measured))
            whose = [one for one, metrics in zip(examples, measured, strict=True) if claim.metric in metrics]
            check_claim(mistakes, ("claims", i), claim, whose)
    check_search(mistakes, settings, spaces, examples, every)
    if (stopping := settings.early_stopping) is not None:
        check_early_stopping(mistakes, stopping, examples)


def check_claim(mistakes: Mistakes, path: TreePath, claim: ClaimSettings, examples: Sequence[TrialSettings]) -> None:
    """Whether the trials that measure what a claim is about, of which ``examples`` are some, can tell of it."""
    if not examples:
        return
    check_comparison(mistakes, path, claim, examples)
    _check_inputs(mistakes, path, claim, examples)
    _check_layer(mistakes, path, claim, examples)
    if claim.at_accuracy is not None:
        _check_accuracy(mistakes, (*path, "at_accuracy"), claim, examples)
    rules = {one.network.rule for one in examples}
    if claim.rule not in rules:
        mistakes.add(
            (*path, "rule"), f"{claim.rule!r} is about no network of this study: their rules are {listed(rules)}"
        )
    if claim.against is not None:
        return  # `check_compared` says whether its conditions are there
    steps = [{phase.name: phase.steps for phase in one.phases if isinstance(phase, NoisePhase)} for one in examples]
    if not any(map(any, (of_trial.values() for of_trial in steps))):
        names = {name for of_trial in steps for name in of_trial}
        remedy = f"the `steps` of {listed(names)} are 0 alone" if names else "give the study a noise phase"
        mistakes.add(path, f"claims are about networks with noise, but no trial has any; {remedy}")
    elif claim.compare == "noise":
        fewest = {name: min(one.get(name, 0) for one in steps) for of_trial in steps for name in of_trial}
        if sum(fewest.values()):
            sentence = "networks with noise are compared with those without, but every trial has some"
            mistakes.add(path, f"{sentence}; let noise `steps` be 0 too, or compare with the start or a reference")


def _check_inputs(mistakes: Mistakes, path: TreePath, claim: ClaimSettings, examples: Sequence[TrialSettings]) -> None:
    """Whether a claim's metric is measured on the inputs that it is about."""
    if claim.earlier_task is not None:
        sentence = "stands in results of earlier versions alone; say `inputs` and `shift`"
        mistakes.add((*path, "earlier_task"), sentence)
        return
    measured = set[Inputs]()
    for one in examples:
        dataset, phase = one.datasets().get(claim.phase), next(ph for ph in one.phases if ph.name == claim.phase)
        inputs = inputs_of(one, claim.phase, claim.metric)
        if chosen_inputs(claim, {(dataset, on) for on in inputs}, phase.skips_own_dataset):
            return
        measured |= inputs - {NO_INPUTS, BATCH}
    names = {str(one.inputs) for one in measured}
    shifts = {one.shift for one in measured if one.shift and claim.inputs in (None, one.inputs)}
    if claim.inputs is None and claim.shift is None:
        mistakes.add(path, f"`inputs` has to say on which inputs {claim.metric} is meant, of {listed(names)}")
    elif not measured:
        key = "shift" if claim.inputs is None else "inputs"
        mistakes.add((*path, key), f"{claim.metric} is of no inputs in {claim.phase}; leave `{key}` out")
    elif claim.inputs is not None and claim.inputs not in names:
        hint = meant(close(claim.inputs, names))
        sentence = f"found {claim.inputs!r}, but in {claim.phase} {claim.metric} is measured on {listed(names)}{hint}"
        mistakes.add((*path, "inputs"), sentence)
    elif claim.shift is None:
        sentence = f"{claim.inputs!r} is measured with a shift alone; `shift` has to say which, of {listed(shifts)}"
        mistakes.add(path, sentence)
    else:
        whose = f"images of {claim.inputs}" if claim.inputs else "images"
        what = f"the shifts of {whose} are {listed(shifts)}" if shifts else f"no {whose} are shifted"
        mistakes.add((*path, "shift"), f"found {claim.shift!r}, but in {claim.phase} {what}")


def _check_accuracy(
    mistakes: Mistakes, path: TreePath, claim: ClaimSettings, examples: Sequence[TrialSettings]
) -> None:
    """Whether the accuracy is measured where a claim's metric is, and both through training."""
    for one in examples:
        dataset, phase = one.datasets().get(claim.phase), next(ph for ph in one.phases if ph.name == claim.phase)
        if measured_once(one, claim.phase, claim.metric):
            mistakes.add(path, f"{claim.phase} measures {claim.metric} at one moment alone, not as accuracy rises")
            return
        if phase.trains and not METRICS[claim.metric].throughout:
            mistakes.add(
                path, f"{claim.metric} is measured at some moments of {claim.phase} alone, not as accuracy rises"
            )
            return
        known = inputs_of(one, claim.phase, "accuracy") if "accuracy" in _ever_measured(one, claim.phase) else set()
        measured = {(dataset, on) for on in inputs_of(one, claim.phase, claim.metric)}
        for _, inputs in chosen_inputs(claim, measured, phase.skips_own_dataset):
            if (on := accuracy_inputs(dataset, inputs)) not in known:
                images = "no inputs" if on == NO_INPUTS else str(on)
                said = f"{claim.phase} measures {claim.metric} on {images}, where it does not measure the accuracy"
                mistakes.add(path, said)
                return


def _check_layer(mistakes: Mistakes, path: TreePath, claim: ClaimSettings, examples: Sequence[TrialSettings]) -> None:
    """Whether a claim's metric is of the layer that it is about."""
    layers = max(len(one.network.hidden_units) for one in examples) + 1
    if claim.layer is None:
        return
    if not is_of(claim.metric, "layer", "features"):
        mistakes.add((*path, "layer"), f"{claim.metric} is not of a layer; leave `layer` out")
    elif claim.layer > layers:
        mistakes.add((*path, "layer"), f"found {claim.layer}, but the networks have {layers} layers")
    elif claim.layer == layers and is_of(claim.metric, "features"):
        sentence = f"the last layer, {layers}, is the readout; {claim.metric} is of hidden layers"
        mistakes.add((*path, "layer"), sentence)
    elif claim.layer < METRICS[claim.metric].lowest_layer:
        what = f"and so no {claim.metric}; layers count from 2"
        mistakes.add((*path, "layer"), f"the first layer has no feedback, {what}")


def check_early_stopping(
    mistakes: Mistakes, stopping: EarlyStoppingSettings, examples: Sequence[TrialSettings]
) -> None:
    path = ("early_stopping", "metric")
    trained = {phase.name for one in examples for phase in one.phases if phase.trains}
    if stopping.phase not in trained:
        which = f"the phases that train are {listed(trained)}"
        mistakes.add(path, f"found {stopping.metric!r}, expected PHASE.METRIC, where {which}")
        return
    # a trial without the phase is not judged
    measured = [found for one in examples if (found := _ever_measured(one, stopping.phase))]
    every = {name for name in set.intersection(*measured) if METRICS[name].throughout}
    metric = stopping.metric.rpartition(".")[2]
    some = " throughout each trial" if metric in set.union(*measured) else ""
    check_measured(mistakes, path, f"{stopping.phase}.", metric, stopping.phase, every, some)
    if stopping.direction is None and direction_of(stopping.metric) is None:
        mistakes.add(("early_stopping",), f"`direction` has to be said: {undirected(stopping.metric)}")


def check_grid(mistakes: Mistakes, settings: StudySettings, spaces: dict[TreePath, dict]) -> None:
    """Whether a grid has choices alone, whoever made it."""
    if settings.search.method != "grid":
        return
    for path in (path for path, space in spaces.items() if "choices" not in space):
        mistakes.add(path, 'a range needs another [search] method, such as "random"; a grid takes `choices`')
