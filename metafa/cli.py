"""The command `metafa`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from metafa.cli_inputs import (
    SOME_FAILED,
    ResultsArgument,
    ResultsOption,
    StudyFile,
    WorkersOption,
    errors,
    read,
    screen,
    stop,
    store_for,
    usable,
)
from metafa.cli_scripts import scripts
from metafa.results import addresses, continuing, damage, files, preparation, tables, upkeep
from metafa.results.addresses import shown
from metafa.results.statuses import FINAL
from metafa.results.store import Store
from metafa.running import bundled, launch, outline, overview, screens, stopping, verifying
from metafa.studies import alike, study
from metafa.studies.study import Study
from metafa.tasks import data

app = typer.Typer(
    help="What does learning from random noise, before any data, do to how fast a network adapts to new tasks? "
    "A study file says what to vary; [bold]metafa run[/] runs it and keeps its results as Parquet files.",
    epilog="To begin: [bold]metafa run quickstart[/], then [bold]metafa report results/quickstart[/]. "
    "Other studies to begin from: [bold]metafa studies[/].",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(scripts, name="analyse")


def main() -> None:
    """The entry point."""
    with stopping.announced(), screens.forgiving():
        app()


@app.command()
def run(
    path: StudyFile,
    results_address: ResultsOption = None,
    workers: WorkersOption = None,
    address: Annotated[
        str | None,
        typer.Option(help="The address of a running Ray cluster, such as 'auto'.  \\[default: this machine]"),
    ] = None,
) -> None:
    """Run a study, or continue one that was stopped. Trials already done are not done again.

    Exit status: 0 done, 1 some trials failed, 2 unusable input, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    checked = read(path)
    store = store_for(checked, results_address)
    for sentence in alike.sentences(checked):
        screen.print(f"note: {sentence}", soft_wrap=True)
    with usable(store.address, path):
        todo = launch.run(checked, store, screen, errors, workers, address)
    _summarise(checked, store)
    if todo:
        screen.print(f"to look at them: metafa report {shlex.quote(store.address)}", soft_wrap=True)


def _named(checked: Study, rest: str) -> Text:
    """A line that begins with the study's name."""
    return Text.assemble((checked.name, "bold"), rest)


def _summarise(checked: Study, store: Store) -> None:
    with usable(store.address):
        counts = overview.counted(tables.statuses(store).values())
    total = max(checked.total, sum(counts.values()))  # it may have grown meanwhile
    ended = ", ".join(f"{n} of {total} trials {name}" for name, n in counts.items() if n)
    fewer = f" ({checked.fewer})" if checked.fewer else ""
    screen.print(_named(checked, f": {ended}{fewer}; results in {store.address}"), soft_wrap=True)
    if counts["failed"]:
        again = "" if checked.adaptive else ", and the same command tries them again"
        stop(
            SOME_FAILED,
            f"metafa: {counts['failed']} trials failed; their errors stand in the column `error` of "
            f"{store.address}/trials{again}",
        )


@app.command()
def check(path: StudyFile, results_address: ResultsOption = None) -> None:
    """Say what a study would run, without running anything."""
    checked = read(path)
    store = store_for(checked, results_address)
    with usable(store.address, path):
        images = data.check(checked.examples, download=False)
        rows = continuing.continued_rows(store)
        continuing.check_images(store, rows, images.digests)
        done = sum(row["status"] in FINAL for row in rows)
        products = outline.products(checked, store)
    screen.print(_named(checked, f": {checked.question}" if checked.question else ""), soft_wrap=True)
    for word, line in outline.lines(checked, store.address, done):
        screen.print(f"{word:9}{line}", soft_wrap=True)
    screen.print(outline.transport_table(checked))
    if products:
        screen.print(f"numbers  {products}", soft_wrap=True)
    for sentence in outline.costs(checked, images.images):
        screen.print(f"cost     {sentence}", soft_wrap=True)
    for sentence in data.overlaps(checked.examples, images):
        screen.print(f"data     {sentence}", soft_wrap=True)
    for name in images.absent:
        screen.print(f"data     {name} is not on this machine; `metafa run` downloads it", soft_wrap=True)


@app.command()
def status(results_address: ResultsArgument) -> None:
    """Say how far a study is, from any machine, while it runs and afterwards: trials done, diverged, failed, left."""
    with usable(results_address), damage.of_a_study(shown(results_address)):
        known = overview.read(addresses.open_store(results_address))
    screen.print(overview.table(known))
    counts = overview.counted(known.statuses.values())
    screen.print(", ".join(f"{n} {name}" for name, n in counts.items()) + f", {known.left} to do")
    if known.earlier:
        said = f"these results are of a version of metafa {known.earlier}: to be read, and not continued"
        screen.print(said, soft_wrap=True)
    if known.study.fewer:
        screen.print(known.study.fewer)
    if known.left > 0:
        for sentence in known.drivers:
            screen.print(sentence, soft_wrap=True)


@app.command()
def report(
    results_address: ResultsArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write the report.  \\[default: RESULTS/report.html, or NAME.html of an object store]",
        ),
    ] = None,
) -> None:
    """Write a report of a study as one HTML file: answer, figures, tables, study file and provenance.

    The report opens in any browser and needs no network. While a study runs, its report shows the results so far.
    """
    from metafa.reporting import report as reports

    with usable(results_address):
        store = addresses.open_store(results_address)
        with damage.of_a_study(store.address):
            text = reports.render(store)
        if output is None:
            path = Path(store.address) / "report.html" if store.local else Path(f"{Path(store.root).name}.html")
            files.write(path, text.encode())  # over a link, not through it: it may be of whoever made the results
        else:
            path = output
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    screen.print(f"report   {path}  ({len(text) / 1e6:.1f} MB; open it in a browser)", soft_wrap=True)


@app.command()
def compact(results_address: ResultsArgument) -> None:
    """Put the small files of finished trials together into larger ones, which are read faster."""
    with usable(results_address):
        store = addresses.open_store(results_address)
        preparation.read_study(store)
        screen.print(f"{upkeep.compact(store)} files of each table put together")


@app.command()
def verify(
    results_address: ResultsArgument,
    trials: Annotated[int, typer.Option(min=1, help="How many trials to run again; they are drawn at random.")] = 3,
    workers: WorkersOption = None,
) -> None:
    """Run some of a study's trials again, on this machine, and compare every measurement, to the bit.

    Exit status: 0 all are equal, 1 some differ, 2 unusable input.
    """
    with usable(results_address):
        store = addresses.open_store(results_address)
    with usable(store.address, Path(store.address) / "study.toml"):
        differences = verifying.verify(store, trials, screen, workers)
    for trial_id, difference in differences.items():
        outcome = (difference, "red") if difference else ("equal, to the bit", "green")
        screen.print(Text.assemble(f"{trial_id}  ", outcome), soft_wrap=True)
    if differing := sum(map(bool, differences.values())):
        stop(SOME_FAILED, f"metafa: {differing} of {len(differences)} trials differ from their results")


@app.command()
def tensorboard(
    results_address: ResultsArgument,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to write event files: a folder for each trial.")
    ],
) -> None:
    """Write finished trials as TensorBoard event files. Call it again to add trials that finish later."""
    from metafa.results import tensorboard

    with usable(results_address):
        store = addresses.open_store(results_address)
        preparation.read_study(store)
        with damage.of_a_study(store.address):
            written = tensorboard.write(store, folder)
    screen.print(f"{written} trials written; to look at them: tensorboard --logdir {folder}", soft_wrap=True)


@app.command()
def studies() -> None:
    """List the studies that come with metafa: run one, or copy it as the start of your own."""
    table = Table("study", "what it asks")
    table.columns[0].no_wrap = True
    for name, path in bundled.study_files().items():
        table.add_row(name, study.read(path).question)
    screen.print(table)
    screen.print(f"They stand in {bundled.folder('studies')}; to change one, copy it and run the copy.", soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON schema of study files, with which editors complete, explain and check them."""
    from metafa.studies.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=1, ensure_ascii=False))


@app.command()
def tasks() -> None:
    """List the task distributions and the datasets, and whether their data is on this machine."""
    from metafa.tasks import DATASETS, PARTS, SPLITS, TASK_DISTRIBUTIONS, data_folder

    kinds = (("task distribution", TASK_DISTRIBUTIONS, SPLITS), ("dataset", DATASETS, PARTS))
    with usable("METAFA_DATA"):
        for kind, known, parts in kinds:
            table = Table(kind, "data", "what it is")
            for name, source in known.items():
                parts_here = [part for part in parts if source.here(part)]
                said = "here" if len(parts_here) == len(parts) else f"{' and '.join(parts_here)} here"
                absent = "downloaded on first use" if source.downloads else "not here"
                table.add_row(name, Text(said, "green") if parts_here else absent, source.description)
            screen.print(table)
        screen.print(f"Data is looked for in {data_folder()}; set METAFA_DATA to look elsewhere.", soft_wrap=True)


if __name__ == "__main__":
    main()
