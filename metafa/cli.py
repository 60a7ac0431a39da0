"""The command `metafa`."""

from __future__ import annotations

import ast
import contextlib
import datetime
import importlib
import json
import os
import random
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from metafa.errors import DataAbsent, DataBroken, DataError, LaunchError, ResultsError, StudyError
from metafa.results import addresses, continuing, damage, files, heartbeat, preparation, tables, upkeep, verification
from metafa.results.addresses import hidden, shown
from metafa.results.columns import CONTINUED
from metafa.results.statuses import ANALYSED, FINAL
from metafa.results.store import Store
from metafa.results.tables import trial_rows
from metafa.running import launch, proposals, screens, stopping
from metafa.studies import alike, study
from metafa.studies import search as searches
from metafa.studies.needs import transports
from metafa.studies.settings import NUMERICS, as_text
from metafa.studies.study import Study
from metafa.tasks import data

DONE, SOME_FAILED, UNUSABLE = 0, 1, 2
STATUSES = {"done": "green", "diverged": "yellow", "stopped": "cyan", "failed": "red"}
SHOWN_TRIALS = 40  # by `metafa status`, all; of more, those that are not done

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
    int | None, typer.Option(min=1, help="Trials at a time.  \\[default: as many as the CPUs and GPUs allow]")
]
ResultsArgument = Annotated[
    str, typer.Argument(metavar="RESULTS", help="Results, such as results/quickstart or s3://BUCKET/FOLDER.")
]


def main() -> None:
    """The entry point."""
    with stopping.said(), screens.forgiving():
        app()


def _stop(status: int, *messages: str) -> NoReturn:
    for message in messages:
        errors.print(message)
    raise typer.Exit(status)


def _read(path: Path) -> Study:
    try:
        return study.read(path if path.exists() else bundled(str(path)) or path)
    except StudyError as error:
        _stop(UNUSABLE, *error.messages)


def bundled(name: str) -> Path | None:
    """The study of that name that comes with metafa, such as ``quickstart`` or ``claims/claim_2_speed``."""
    found = _studies() / f"{name.removeprefix('studies/').removesuffix('.toml')}.toml"
    return found if found.is_file() else None


def _studies() -> Path:
    return _folder("studies")


def _folder(name: str) -> Path:
    """A folder that comes with metafa: in a checkout beside the package, installed within it."""
    package = Path(__file__).parent
    installed = package / "bundled" / name
    return installed if installed.is_dir() else package.parent / name


@contextlib.contextmanager
def _usable(address: str, study_file: Path | None = None) -> Iterator[None]:
    """Stops with what is said of what cannot be used."""
    try:
        yield
    except (ResultsError, LaunchError, DataAbsent, DataBroken) as error:
        _stop(UNUSABLE, f"metafa: {error}")
    except DataError as error:
        _stop(UNUSABLE, *(f"{study_file}: {message}" for message in error.messages))
    except OSError as error:
        # not all that goes wrong goes wrong with the results; what names no path says it in its words, but for stores
        place = os.fsdecode(error.filename) if error.filename else shown(address) if "://" in address else None
        said = hidden(damage.reason(error) if place else str(error), address)
        _stop(UNUSABLE, f"metafa: {place} cannot be used: {said}" if place else f"metafa: {said}")


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


def _count(statuses: Iterable[str]) -> dict[str, int]:
    found = Counter(statuses)
    return {name: found[name] for name in STATUSES}


def _summarise(checked: Study, store: Store) -> None:
    with _usable(store.address):
        counts = _count(tables.statuses(store).values())
    total = max(checked.total, sum(counts.values()))  # it may have grown meanwhile
    said = ", ".join(f"{n} of {total} trials {name}" for name, n in counts.items() if n)
    fewer = f" ({checked.fewer})" if checked.fewer else ""
    screen.print(_named(checked, f": {said}{fewer}; results in {store.address}"), soft_wrap=True)
    if counts["failed"]:
        again = "" if checked.adaptive else ", and the same command tries them again"
        _stop(
            SOME_FAILED,
            f"metafa: {counts['failed']} trials failed; their errors stand in the column `error` of "
            f"{store.address}/trials{again}",
        )


def _named(checked: Study, said: str) -> Text:
    """A line that begins with the study's name."""
    return Text.assemble((checked.name, "bold"), said)


@app.command()
def check(path: StudyFile, results_address: ResultsOption = None) -> None:
    """Say what a study would run, without running anything."""
    checked = _read(path)
    store = _store(checked, results_address)
    with _usable(store.address, path):
        found = data.check(checked.examples, download=False)
        rows = continuing.continued_rows(store)
        continuing.check_images(store, rows, found.digests)
        done = sum(row["status"] in FINAL for row in rows)
    settings = checked.examples[0]

    screen.print(_named(checked, f": {checked.question}" if checked.question else ""), soft_wrap=True)
    screen.print(f"phases   {' → '.join(phase.name for phase in settings.phases)}")
    screen.print(
        f"trials   {checked.total} of {launch.seeds(checked)} seeds, {done} of them done, in {store.address}",
        soft_wrap=True,
    )
    if checked.fewer:
        screen.print(f"         {checked.fewer}")
    if checked.adaptive:
        aims = [" ".join(aim) for aim in zip(checked.search.sought, checked.search.objectives, strict=True)]
        at_random = min(searches.at_random(checked.search, len(checked.spaces)), checked.total)
        drawn = f"{at_random} of {checked.total} points are drawn at random before it learns from any"
        screen.print(f"search   {checked.search.method}, to {' and '.join(aims)}; {drawn}", soft_wrap=True)
    elif checked.search.method != "grid":
        screen.print(f"search   {checked.search.method}")
    if checked.by_timing:
        screen.print("         which trials are tried or run to their end depends on timing")
    for name, space in checked.spaces.items():
        values = (
            ", ".join(map(as_text, space["choices"])) if "choices" in space else f"{space['low']} to {space['high']}"
        )
        values += ", logarithmic" * space.get("log", False) + f", in steps of {space.get('step')}" * ("step" in space)
        screen.print(f"varies   {name}: {values}", soft_wrap=True)
    for sentence in alike.sentences(checked):
        screen.print(f"same     {sentence}", soft_wrap=True)
    screen.print(_transports(checked))
    for sentence in data.overlaps(checked.examples, found):
        screen.print(f"data     {sentence}", soft_wrap=True)
    for name in found.absent:
        screen.print(f"data     {name} is not on this machine; `metafa run` downloads it")


def _transports(checked: Study) -> Table:
    """What each phase reads of the forward weights to send errors back."""
    kinds = ("network.rule", "outer_algorithm", "outer_rule")
    told_apart = [name for name in checked.spaces if name.endswith(kinds)] or ["network.rule"]
    rows: dict[tuple, dict[str, str]] = {}
    for one in (trial.settings for trial in checked.trials) if checked.trials else checked.examples:
        tables = {"network": one.network} | {phase.name: phase for phase in one.phases}
        places = (name.rpartition(".") for name in told_apart)
        key = tuple(str(getattr(tables[table], name)) for table, _, name in places)
        if key not in rows:
            rows[key] = transports(one)
    title = "weight transport: what of the forward weights is read to send errors back"
    table = Table(title=title, title_justify="left")
    for name in told_apart:
        table.add_column(name.rpartition(".")[2], no_wrap=True)
    for part in next(iter(rows.values())):
        table.add_column(part)
    styles = {"weights": "red", "signs": "yellow", "none": "green"}
    for key, row in rows.items():
        table.add_row(*key, *(Text(found, styles[found]) for found in row.values()))
    return table


@app.command()
def status(results_address: ResultsArgument) -> None:
    """Say how far a study is, while it runs, from any machine, and after: trials done, diverged, failed and left."""
    with _usable(results_address), damage.of_a_study(shown(results_address)):
        store = addresses.open_store(results_address)
        checked = preparation.read_study(store)
        rows = trial_rows(store, CONTINUED)
        checked = checked.over(checked.digests | continuing.digests_of(rows))
        ended = proposals.known_trials(rows)
        drivers, now = heartbeat.look(store), datetime.datetime.now(datetime.UTC)
    statuses = {trial_id: one.status for trial_id, one in ended.items()}
    known = {trial_id: one.point for trial_id, one in ended.items()}
    of_before = any(row["numerics"] != NUMERICS for row in rows)  # whose trials this version knows by other ids
    known |= {} if of_before else {trial.trial_id: trial.varied for trial in checked.trials}
    running = {trial_id: (part, beat) for beat, alive in drivers if alive for trial_id, part in beat.running.items()}
    names = list(checked.spaces)
    table = Table("trial", "status", *names, title=checked.name, title_justify="left")
    listed = known if len(known) <= SHOWN_TRIALS else [i for i in known if i in running or statuses.get(i) == "failed"]
    for trial_id in listed:
        found = statuses.get(trial_id, "to do")
        if trial_id in running and trial_id not in statuses:
            part, beat = running[trial_id]
            found = f"running, {part:.0%}, {beat.host}" + (f" job {beat.job}" if beat.job else "")
        table.add_row(
            trial_id, Text(found, STATUSES.get(found, "")), *(str(known[trial_id].get(name, "")) for name in names)
        )
    screen.print(table)
    counts = _count(statuses.values())
    left = checked.total - len(statuses)
    screen.print(", ".join(f"{n} {name}" for name, n in counts.items()) + f", {left} to do")
    if of_before:
        screen.print("these results are of a version of metafa with other numerics: to be read, and not continued")
    if checked.fewer:
        screen.print(checked.fewer)
    if left > 0:
        for sentence in heartbeat.sentences(drivers, now):
            screen.print(sentence, soft_wrap=True)


@app.command()
def report(
    results_address: ResultsArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where it goes.  \\[default: RESULTS/report.html, or NAME.html of an object store]"
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


for _script in sorted(_folder("analysis").glob("*.py")):
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
    trials: Annotated[int, typer.Option(min=1, help="How many, drawn at random.")] = 3,
    workers: WorkersOption = None,
) -> None:
    """Run some of a study's trials again, on this machine, and compare every measurement, to the bit.

    Exit status: 0 all are equal, 1 some differ, 2 unusable input.
    """
    with _usable(results_address):
        store = addresses.open_store(results_address)
        checked = preparation.read_study(store)
        preparation.check(store, checked)
        rows = continuing.continued_rows(store)
        known = proposals.known_trials(rows)
    whole = sorted(trial_id for trial_id, one in known.items() if one.status in ANALYSED)
    if not whole:
        _stop(UNUSABLE, f"metafa: {store.address}: no trial is done yet")
    chosen = sorted(random.Random(checked.fingerprint).sample(whole, min(trials, len(whole))))
    listed = {trial.trial_id: trial for trial in checked.trials}  # in a grid that has grown a point says less than now
    with _usable(store.address), damage.of_a_study(store.address):
        again = checked.of_trials([listed.get(one) or checked.trial(known[one].point) for one in chosen])
    with _usable(store.address, Path(store.address) / "study.toml"):
        found = data.check([trial.settings for trial in again.trials], download=True)
        continuing.check_images(store, rows, found.digests)
    with tempfile.TemporaryDirectory(prefix="metafa-") as folder:
        other = addresses.open_store(f"{folder}/again")
        with _usable(store.address):
            launch.sweep(again.over(found.digests), other, {}, screen, workers, None, found.images)
            differences = verification.differences(store, other, chosen)
    for trial_id in chosen:
        said = differences.get(trial_id)
        outcome = (said, "red") if said else ("equal, to the bit", "green")
        screen.print(Text.assemble(f"{trial_id}  ", outcome), soft_wrap=True)
    if differences:
        _stop(SOME_FAILED, f"metafa: {len(differences)} of {len(chosen)} trials came out otherwise")


@app.command()
def tensorboard(
    results_address: ResultsArgument,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where event files go, a folder a trial.")],
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
    for path in sorted(_studies().rglob("*.toml")):
        name = path.relative_to(_studies()).with_suffix("").as_posix()
        table.add_row(name, study.read(path).question)
    screen.print(table)
    screen.print(f"They stand in {_studies()}; to change one, copy it and run the copy.", soft_wrap=True)


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
            for name, one in known.items():
                absent = "downloaded on first use" if one.downloads else "not here"
                table.add_row(name, Text("here", "green") if one.here() else absent, one.description)
            screen.print(table)
        screen.print(f"Data is looked for in {data_folder()}; set METAFA_DATA to look elsewhere.", soft_wrap=True)


if __name__ == "__main__":
    main()
