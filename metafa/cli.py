"""The command `metafa`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from metafa import results, study
from metafa.settings import DatasetNeed, TaskNeed, dataset_needs, flatten, task_needs, transports
from metafa.study import Study, Trial

DONE, SOME_FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    help="What does learning from random noise, before any data, do to how fast a network adapts to new tasks? "
    "A study file says what to vary; [bold]metafa run[/] runs it, its results are Parquet.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)
screen = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study file, such as studies/quickstart.toml.")]
ResultsOption = Annotated[
    Path | None, typer.Option("--results", metavar="FOLDER", help="Where results go.  [default: results/NAME]")
]


def main() -> None:
    """The entry point."""
    app()


def _stop(status: int, *messages: str) -> NoReturn:
    for message in messages:
        errors.print(message, markup=False)
    raise typer.Exit(status)


def _read(path: Path) -> Study:
    try:
        return study.read(path)
    except study.StudyError as error:
        _stop(UNUSABLE, *error.messages)


def _folder(checked: Study, chosen: Path | None) -> Path:
    folder = chosen or Path("results") / checked.name
    try:
        results.check(folder, checked)
    except results.ResultsError as error:
        _stop(UNUSABLE, f"metafa: {error}")
    return folder


def _check_data(path: Path, trials: Sequence[Trial], download: bool) -> list[str]:
    """Stops where the data of a trial is not there, or too little; returns what would have to be downloaded first."""
    from metafa.tasks import TASK_DISTRIBUTIONS, DataAbsent
    from metafa.tasks.classification import DATASETS

    # what is needed, where it is loaded from, which part of it, and what the images found there have wrong
    needs = [
        (need, TASK_DISTRIBUTIONS, need.distribution, need.split, _misfits_of_tasks)
        for need in sorted({need for trial in trials for need in task_needs(trial.settings)})
    ] + [
        (need, DATASETS, need.dataset, "training", _misfits_of_dataset)
        for need in dict.fromkeys(need for trial in trials for need in dataset_needs(trial.settings))
    ]
    absent, problems, sizes = set(), [], {}
    for need, known, name, part, misfits in needs:
        source, place = known[name], (misfits, name, part)
        if (misfits, name) in absent:
            continue
        try:
            if place not in sizes:
                if source.downloads and not download and not source.here():
                    absent.add((misfits, name))
                    continue
                loaded = source.load(part, download)
                sizes[place] = (len(loaded.labels), len(loaded.class_names), loaded.images_per_class)
        except DataAbsent as error:
            absent.add((misfits, name))
            problems.append(f"{path}: {need.place}: {error}")
            continue
        problems += [f"{path}: {sentence}" for sentence in misfits(need, *sizes[place])]
    if problems:
        _stop(UNUSABLE, *dict.fromkeys(problems))
    return sorted({name for _, name in absent})


def _misfits_of_tasks(need: TaskNeed, images: int, classes: int, per_class: int) -> Iterator[str]:
    where = f"the {need.split} classes of {need.distribution}"
    phase = need.place.split(".")[0]
    if need.ways > classes:
        yield f"{phase}.ways: found {need.ways}, but {where} are {classes}"
    if need.images_per_class > per_class:
        yield (
            f"{phase}.shots and {phase}.queries: {need.images_per_class} images of a class together, "
            f"but {where} have {per_class}"
        )


def _misfits_of_dataset(need: DatasetNeed, images: int, classes: int, per_class: int) -> Iterator[str]:
    if need.training_images > images:
        yield f"{need.place}: found {need.training_images}, but {need.dataset} has {images} training images"


@app.command()
def run(
    path: StudyFile,
    results_folder: ResultsOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time.  [default: as many as the CPUs and GPUs allow]")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster, such as 'auto'.  [default: this machine]")
    ] = None,
) -> None:
    """Run a study, or continue one that was stopped. Trials already done are not done again.

    Exit status: 0 done, 1 some trials failed, 2 unusable input.
    """
    checked = _read(path)
    folder = _folder(checked, results_folder)
    done = {id_ for id_, status in results.statuses(folder).items() if status in results.FINISHED}
    todo = [trial for trial in checked.trials if trial.trial_id not in done]
    if todo:
        _check_data(path, todo, download=True)
        _sweep(checked, folder, todo, workers, address)
    _summarise(checked, folder)
    if todo and (script := _analysis(checked)):
        screen.print(f"to look at them: python analysis/{script} {folder}", soft_wrap=True)


def _analysis(checked: Study) -> str | None:
    """The script that shows what a study has found."""
    if checked.claims:
        return "claims.py"
    kinds = {phase.phase for trial in checked.trials for phase in trial.settings.phases}
    return "meta_loss.py" if "evaluate" in kinds else None


def _sweep(checked: Study, folder: Path, todo: list[Trial], workers: int | None, address: str | None) -> None:
    from metafa import progress

    already = len(checked.trials) - len(todo)
    screen.print(
        f"[bold]{checked.name}[/]: {len(checked.trials)} trials of {_seeds(checked)} seeds"
        + (f", {already} done before" if already else "")
        + f"; results in {folder}"
    )
    with progress.watch(screen, total=len(checked.trials), already=already) as watcher:
        from metafa import sweep

        try:
            sweep.run(checked, folder, todo, watcher, workers, address)
        except ConnectionError as error:
            _stop(UNUSABLE, f"metafa: no Ray cluster at {address!r}: {str(error).splitlines()[0]}")
        except (sweep.ResourcesError, results.ResultsError) as error:
            _stop(UNUSABLE, f"metafa: {error}")
        except KeyboardInterrupt:
            watcher.stop()
            _stop(INTERRUPTED, "metafa: stopped; what is done is kept, and the same command continues")


def _seeds(checked: Study) -> str:
    counts = sorted({trial.settings.seeds for trial in checked.trials})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _summarise(checked: Study, folder: Path) -> None:
    statuses = results.statuses(folder)
    counts = {name: sum(status == name for status in statuses.values()) for name in ("done", "diverged", "failed")}
    screen.print(
        f"[bold]{checked.name}[/]: "
        + ", ".join(f"{n} of {len(checked.trials)} trials {name}" for name, n in counts.items() if n)
        + f"; results in {folder}"
    )
    if counts["failed"]:
        _stop(
            SOME_FAILED,
            f"metafa: {counts['failed']} trials failed; their errors stand in the column `error` of {folder}/trials, "
            "and the same command tries them again",
        )


@app.command()
def check(path: StudyFile, results_folder: ResultsOption = None) -> None:
    """Say what a study would run, without running anything."""
    checked = _read(path)
    folder = _folder(checked, results_folder)
    absent = _check_data(path, checked.trials, download=False)
    done = sum(status in results.FINISHED for status in results.statuses(folder).values())
    settings = checked.trials[0].settings

    screen.print(f"[bold]{checked.name}[/]" + (f": {checked.question}" if checked.question else ""), soft_wrap=True)
    screen.print(f"phases   {' → '.join(phase.name for phase in settings.phases)}")
    screen.print(f"trials   {len(checked.trials)} of {_seeds(checked)} seeds, {done} of them done, in {folder}")
    varied: dict[str, list] = {}
    for trial in checked.trials:
        for name, value in trial.varied.items():
            if value not in varied.setdefault(name, []):
                varied[name].append(value)
    for name, values in varied.items():
        shown = ", ".join(map(str, values)) if len(values) <= 12 else f"{len(values)} values"
        screen.print(f"varies   {name}: {shown}", soft_wrap=True)
    screen.print(_transports(checked))
    for name in absent:
        screen.print(f"data     {name} is not on this machine; `metafa run` downloads it")


def _transports(checked: Study) -> Table:
    """What each phase reads of the forward weights to send errors back."""
    kinds = ("network.rule", "outer_algorithm", "outer_rule")
    told_apart = [name for name in checked.trials[0].varied if name.endswith(kinds)] or ["network.rule"]
    rows: dict[tuple, dict[str, str]] = {}
    for trial in checked.trials:
        settings = flatten(trial.settings)
        rows.setdefault(tuple(str(settings[name]) for name in told_apart), transports(trial.settings))
    title = "weight transport: what of the forward weights is read to send errors back"
    table = Table(title=title, title_justify="left")
    for name in told_apart:
        table.add_column(name.rpartition(".")[2], no_wrap=True)
    for part in next(iter(rows.values())):
        table.add_column(part)
    styles = {"weights": "[red]weights[/]", "signs": "[yellow]signs[/]", "none": "[green]none[/]"}
    for key, row in rows.items():
        table.add_row(*key, *(styles[found] for found in row.values()))
    return table


@app.command()
def status(
    results_folder: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="A results folder, such as results/quickstart.")
    ],
) -> None:
    """Say how far a study is: trials done, diverged, failed and left."""
    try:
        checked = results.read_study(results_folder)
    except results.ResultsError as error:
        _stop(UNUSABLE, f"metafa: {error}")
    statuses = results.statuses(results_folder)
    names = sorted({name for trial in checked.trials for name in trial.varied})
    table = Table("trial", "status", *names, title=checked.name, title_justify="left")
    styles = {"done": "green", "failed": "red", "diverged": "yellow"}
    for trial in checked.trials:
        found = statuses.get(trial.trial_id, "to do")
        shown = f"[{styles[found]}]{found}[/]" if found in styles else found
        table.add_row(trial.trial_id, shown, *(str(trial.varied.get(name, "")) for name in names))
    screen.print(table)
    counts = {name: list(statuses.values()).count(name) for name in styles}
    left = sum(trial.trial_id not in statuses for trial in checked.trials)
    screen.print(", ".join(f"{n} {name}" for name, n in counts.items()) + f", {left} to do")


@app.command()
def tasks() -> None:
    """List the task distributions and the datasets, and whether their data is on this machine."""
    from metafa.tasks import TASK_DISTRIBUTIONS, data_folder
    from metafa.tasks.classification import DATASETS

    for kind, known in (("task distribution", TASK_DISTRIBUTIONS), ("dataset", DATASETS)):
        table = Table(kind, "data", "what it is")
        for name, one in known.items():
            absent = "downloaded on first use" if one.downloads else "not here"
            table.add_row(name, "[green]here[/]" if one.here() else absent, one.description)
        screen.print(table)
    screen.print(f"Data is looked for in {data_folder()}; set METAFA_DATA to look elsewhere.", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
