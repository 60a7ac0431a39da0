"""The command `metafa`."""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from metafa.errors import DataAbsent, DataBroken, DataError, LaunchError, ResultsError, StudyError
from metafa.results import addresses, continuing, damage, files, preparation, tables, upkeep
from metafa.results.addresses import hidden, shown
from metafa.results.statuses import FINAL
from metafa.results.store import Store
from metafa.running import bundled, launch, outline, overview, screens, stopping, verifying
from metafa.studies import alike, study
from metafa.studies.study import Study
from metafa.tasks import data

DONE, SOME_FAILED, UNUSABLE = 0, 1, 2


app = typer.Typer(
    help="What does learning from random noise, before any data, do to how fast a network adapts to new tasks? "
    "A study file says what to vary; [bold]metafa run[/] runs it, its results are Parquet.",
    epilog="To begin: [bold]metafa run quickstart[/], then [bold]metafa report results/quickstart[/]. "
    "Other studies to begin from: [bold]metafa studies[/].",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)
screen = screens.console()
errors = screens.console(stderr=True, soft_wrap=True)

StudyFile = Annotated[
    Path,
    typer.Argument(
        metavar="STUDY", help="A study file, or the name of one that comes with metafa, such as quickstart."
    ),
]
ResultsOption = Annotated[
    str | None,
    typer.Option(
        "--results",
        metavar="ADDRESS",
        help="Where results go: a folder or s3://BUCKET/FOLDER.  \\[default: results/NAME]",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="How many trials to run at a time.  \\[default: as many as the CPUs and GPUs allow]"),
]
ResultsArgument = Annotated[
    str, typer.Argument(metavar="RESULTS", help="Results, such as results/quickstart or s3://BUCKET/FOLDER.")
]


def main() -> None:
    """The entry point."""
    with stopping.announced(), screens.forgiving():
        app()


def _stop(status: int, *messages: str) -> NoReturn:
    for message in messages:
        errors.print(message)
    raise typer.Exit(status)


def _read(path: Path) -> Study:
    try:
        return study.read(path if path.exists() else bundled.study_file(str(path)) or path)
    except StudyError as error:
        _stop(UNUSABLE, *error.messages)


@contextlib.contextmanager
def _usable(address: str, study_file: Path | None = None) -> Iterator[None]:
    """Exits with a line on stderr where a study file, its results at ``address`` or its data cannot be used."""
    try:
        yield
    except (ResultsError, LaunchError, DataAbsent, DataBroken) as error:
        _stop(UNUSABLE, f"metafa: {error}")
    except DataError as error:
        _stop(UNUSABLE, *(f"{study_file}: {message}" for message in error.messages))
    except OSError as error:
        # not all that goes wrong goes wrong with the results; what names no path says it in its words, but for stores
        place = os.fsdecode(error.filename) if error.filename else shown(address) if "://" in address else None
        reason = hidden(damage.reason(error) if place else str(error), address)
        _stop(UNUSABLE, f"metafa: {place} cannot be used: {reason}" if place else f"metafa: {reason}")


def _store(checked: Study, chosen: str | None) -> Store:
    address = chosen or f"results/{checked.name}"
    with _usable(address):
        store = addresses.open_store(address)
        preparation.check(store, checked)
        return store


@app.command()
def run(
    path: StudyFile,
    results_address: ResultsOption = None,
    workers: WorkersOption = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster, such as 'auto'.  \\[default: this machine]")
    ] = None,
) -> None:
    """Run a study, or continue one that was stopped. Trials already done are not done again.

    Exit status: 0 done, 1 some trials failed, 2 unusable input, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    checked = _read(path)
    store = _store(checked, results_address)
    for sentence in alike.sentences(checked):
        screen.print(f"note: {sentence}", soft_wrap=True)
    with _usable(store.address, path):
        todo = launch.run(checked, store, screen, errors, workers, address)
    _summarise(checked, store)
    if todo:
        screen.print(f"to look at them: metafa report {shlex.quote(store.address)}", soft_wrap=True)


def _summarise(checked: Study, store: Store) -> None:
    with _usable(store.address):
        counts = overview.counted(tables.statuses(store).values())
    total = max(checked.total, sum(counts.values()))  # it may have grown meanwhile
    ended = ", ".join(f"{n} of {total} trials {name}" for name, n in counts.items() if n)
    fewer = f" ({checked.fewer})" if checked.fewer else ""
    screen.print(_named(checked, f": {ended}{fewer}; results in {store.address}"), soft_wrap=True)
    if counts["failed"]:
        again = "" if checked.adaptive else ", and the same command tries them again"
        _stop(
            SOME_FAILED,
            f"metafa: {counts['failed']} trials failed; their errors stand in the column `error` of "
            f"{store.address}/trials{again}",
        )


def _named(checked: Study, rest: str) -> Text:
    """A line that begins with the study's name."""
    return Text.assemble((checked.name, "bold"), rest)


@app.command()
def check(path: StudyFile, results_address: ResultsOption = None) -> None:
    """Say what a study would run, without running anything."""
    checked = _read(path)
    store = _store(checked, results_address)
    with _usable(store.address, path):
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
    for sentence in data.overlaps(checked.examples, images):
        screen.print(f"data     {sentence}", soft_wrap=True)
    for name in images.absent:
        screen.print(f"data     {name} is not on this machine; `metafa run` downloads it")


@app.command()
def status(results_address: ResultsArgument) -> None:
    """Say how far a study is, while it runs, from any machine, and after: trials done, diverged, failed and left."""
    with _usable(results_address), damage.of_a_study(shown(results_address)):
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
    """Make one HTML file of a study: answer, figures, tables, study file and provenance; of a running one, so far.

    It needs no network, and opens in any browser.
    """
    from metafa.reporting import report as reports

    with _usable(results_address):
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


scripts = typer.Typer(
    help="Run a script that reads results: [bold]metafa analyse meta_loss RESULTS[/]. Each explains itself: "
    "[bold]metafa analyse meta_loss --help[/].",
    no_args_is_help=True,
)
app.add_typer(scripts, name="analyse")


def _add_script(script: Path) -> None:
    """Makes a script of the folder analysis a command, which hands it all of its arguments."""
    explained = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""

    @scripts.command(
        script.stem,
        help=" ".join(explained.partition("\n\n")[0].split()),
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def run_script(context: typer.Context) -> None:
        sys.argv = [f"metafa analyse {script.stem}", *context.args]
        sys.path.insert(0, str(script.parent))  # scripts share a module there
        importlib.import_module(script.stem).main()


for _script in sorted(bundled.folder("analysis").glob("*.py")):
    if _script.stem != "figures":  # what they share
        _add_script(_script)


@app.command()
def compact(results_address: ResultsArgument) -> None:
    """Put the small files of finished trials together into larger ones, which are read faster."""
    with _usable(results_address):
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
    with _usable(results_address):
        store = addresses.open_store(results_address)
    with _usable(store.address, Path(store.address) / "study.toml"):
        differences = verifying.verify(store, trials, screen, workers)
    for trial_id, difference in differences.items():
        outcome = (difference, "red") if difference else ("equal, to the bit", "green")
        screen.print(Text.assemble(f"{trial_id}  ", outcome), soft_wrap=True)
    if differing := sum(map(bool, differences.values())):
        _stop(SOME_FAILED, f"metafa: {differing} of {len(differences)} trials differ from their results")


@app.command()
def tensorboard(
    results_address: ResultsArgument,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to write event files: a folder for each trial.")
    ],
) -> None:
    """Write the trials that have ended as TensorBoard's event files; call it again for those that end later."""
    from metafa.results import tensorboard

    with _usable(results_address):
        store = addresses.open_store(results_address)
        preparation.read_study(store)
        with damage.of_a_study(store.address):
            written = tensorboard.write(store, folder)
    screen.print(f"{written} trials written; to look at them: tensorboard --logdir {folder}", soft_wrap=True)


@app.command()
def studies() -> None:
    """List the studies that come with metafa, to run or to begin one's own from."""
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
    from metafa.tasks import TASK_DISTRIBUTIONS, data_folder
    from metafa.tasks.classification import DATASETS

    with _usable("METAFA_DATA"):
        for kind, known in (("task distribution", TASK_DISTRIBUTIONS), ("dataset", DATASETS)):
            table = Table(kind, "data", "what it is")
            for name, source in known.items():
                absent = "downloaded on first use" if source.downloads else "not here"
                table.add_row(name, Text("here", "green") if source.here() else absent, source.description)
            screen.print(table)
        screen.print(f"Data is looked for in {data_folder()}; set METAFA_DATA to look elsewhere.", soft_wrap=True)


if __name__ == "__main__":
    main()
