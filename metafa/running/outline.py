"""What a study would run, in lines, without running anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from metafa.results.store import Store
from metafa.results.tables import trial_rows
from metafa.running.launch import seeds
from metafa.running.progress import duration
from metafa.studies import alike, search
from metafa.studies.compared import PHASES
from metafa.studies.needs import image_needs, transports
from metafa.studies.settings import as_text
from metafa.studies.study import Study

if TYPE_CHECKING:
    from metafa.tasks.base import LabelledImages


def lines(study: Study, address: str, done: int) -> Iterator[tuple[str, str]]:
    """What a study would run, each with the word that its line begins with: its phases, trials, of which so many are
    ``done`` in the results at ``address``, its search and what it varies."""
    yield "phases", " → ".join(phase.name for phase in study.examples[0].phases)
    yield "trials", f"{study.total} of {seeds(study)} seeds, {done} of them done, in {address}"
    if study.fewer:
        yield "", study.fewer
    if study.adaptive:
        aims = [" ".join(aim) for aim in zip(study.search.sought, study.search.objectives, strict=True)]
        at_random = min(search.at_random(study.search, len(study.spaces)), study.total)
        drawn = f"{at_random} of {study.total} points are drawn at random before it learns from any"
        yield "search", f"{study.search.method}, to {' and '.join(aims)}; {drawn}"
    elif study.search.method != "grid":
        yield "search", study.search.method
    if study.by_timing:
        yield "", "which trials are tried or run to their end depends on timing"
    for name, space in study.spaces.items():
        yield from _varied(name, space)
    for sentence in component_rows(study):
        yield "rows", sentence
    for sentence in alike.sentences(study):
        yield "same", sentence


def _varied(name: str, space: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines of a search space: a choice of phases has one for itself."""
    if name == PHASES:
        yield "varies", name
        for phases in space["choices"]:
            yield "", " → ".join(map(as_text, phases))
        return
    if "choices" in space:
        values = ", ".join(
            f"[{as_text(value)}]" if isinstance(value, list) else as_text(value) for value in space["choices"]
        )
    else:
        values = f"{space['low']} to {space['high']}"
        values += ", logarithmic" * space.get("log", False) + f", in steps of {space.get('step')}" * ("step" in space)
    yield "varies", f"{name}: {values}"


def costs(study: Study, images: Mapping[str, LabelledImages]) -> Iterator[str]:
    """A sentence for each phase in which measuring the whole-dataset meta-loss would take longer than the training that
    it watches; for the first of the trials that say how it is measured, and where their ``images`` are here."""
    settings = next((one for one in study.examples if any(phase.adapts_to_datasets for phase in one.phases)), None)
    if settings is None or not image_needs(settings).keys() <= images.keys():
        return
    from metafa.trials import sources, whole_datasets

    found = whole_datasets.seconds(settings, sources.load_sources(settings, images=images))
    for phase, (measuring, training) in found.items():
        if measuring > training:
            yield (
                f"in {phase} of a trial, measuring the whole-dataset meta-loss would take about {duration(measuring)}, "
                f"the training that it watches {duration(training)} (hours, minutes and seconds); fewer "
                "`measure.points`, or fewer `steps` of the phase that names the datasets, take less"
            )


def component_rows(study: Study) -> Iterator[str]:
    """How many measurements a trial has at most by the settings that record one for each of many components."""
    most: dict[str, int] = {}
    for settings in study.examples:
        wanted, senders = settings.measure, settings.network.senders(settings.image_shape)
        rates = max(map(len, settings.side_by_side.values()), default=1)
        phases = sum(phase.trains for phase in settings.phases)
        copies = sum(len(phase.tested_on(None)) for phase in settings.phases if phase.adapts_to_datasets)
        a_moment = {
            "units": phases * sum(senders) * wanted.units,
            "last_layer_weights": (phases + copies) * 2 * senders[-1] * settings.outputs * wanted.last_layer_weights,
        }
        for name, number in a_moment.items():
            most[name] = max(most.get(name, 0), number * wanted.points * settings.seeds * rates)
    for name, number in most.items():
        if number:
            yield f"`measure.{name}` records up to {number:,} measurements in a trial"


def transport_table(study: Study) -> Table:
    """What each phase reads of the forward weights to send errors back."""
    names, rows = _transported(study)
    title = "weight transport: what of the forward weights is read to send errors back"
    table = Table(title=title, title_justify="left")
    last = [name.rpartition(".")[2] for name in names]
    for name, short in zip(names, last, strict=True):
        table.add_column(short if last.count(short) == 1 else name, no_wrap=True)
    parts = list(dict.fromkeys(part for _, transported in rows for part in transported))
    for part in parts:
        table.add_column(part)
    styles = {"weights": "red", "signs": "yellow", "none": "green"}
    for values, transported in rows:
        read = [transported.get(part, "") for part in parts]
        table.add_row(*values, *(Text(what, styles.get(what, "")) for what in read))
    return table


def _transported(study: Study) -> tuple[list[str], list[tuple[list[str], dict[str, str]]]]:
    """What each phase reads of the forward weights to send errors back: the settings by which that differs in the
    study, and for each combination of their values what `transports` says of it, once for each choice of phases of
    which it says something else."""
    kinds = (".rule", "outer_algorithm", "outer_rule")
    names = [name for name in study.spaces if name.endswith(kinds)] or ["network.rule"]
    rows: dict[tuple, tuple[list[str], dict[str, str]]] = {}
    for settings in (trial.settings for trial in study.trials) if study.trials else study.examples:
        tables = {"network": settings.network} | {phase.name: phase for phase in settings.phases}
        places = (name.rpartition(".") for name in names)
        values = [str(getattr(tables[table], setting)) for table, _, setting in places]
        transported = transports(settings)
        rows.setdefault((*values, frozenset(transported.items())), (values, transported))
    return names, list(rows.values())


def products(study: Study, store: Store) -> str | None:
    """A sentence where trials in ``store`` were computed by another library of matrix products than this machine has,
    so that the last bits of the study's other trials would not be comparable; else None."""
    if not store.exists("study.toml"):
        return None
    before = {row["matrix_products"] for row in trial_rows(store, ("matrix_products",))} - {None}
    if not before:
        return None
    from metafa.learning import products

    library = products.library("cuda" if study.resources.gpus_per_trial else "cpu")
    others = sorted(before - {library})
    if not others:
        return None
    return (
        f"trials in {store.address} were computed with matrix products of {' and '.join(others)}; this machine's are "
        f"of {library}, so that the last bits of further trials differ from what they would be there"
    )
