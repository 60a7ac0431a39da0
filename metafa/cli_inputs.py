"""What the commands of `cli` share: their arguments, what they read, and how they end where something is unusable."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from metafa.errors import DataAbsent, DataBroken, DataError, LaunchError, ResultsError, StudyError
from metafa.results import addresses, damage, preparation
from metafa.results.addresses import hidden, shown
from metafa.results.store import Store
from metafa.running import bundled, screens
from metafa.studies import study
from metafa.studies.study import Study

DONE, SOME_FAILED, UNUSABLE = 0, 1, 2

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
        help="Where to write the results: a folder, or s3://BUCKET/FOLDER. NAME is the study's name.  "
        "\\[default: results/NAME]",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="How many trials to run at a time.  \\[default: as many as the CPUs and GPUs allow]"),
]
ResultsArgument = Annotated[
    str,
    typer.Argument(metavar="RESULTS", help="The results of a study, such as results/quickstart or s3://BUCKET/FOLDER."),
]


def stop(status: int, *messages: str) -> NoReturn:
    """Ends the command with this exit status, and prints the messages on stderr."""
    for message in messages:
        errors.print(message)
    raise typer.Exit(status)


def read(path: Path) -> Study:
    """The study at ``path``, or the one of that name that comes with metafa. Ends the command where it has mistakes."""
    try:
        return study.read(path if path.exists() else bundled.study_file(str(path)) or path)
    except StudyError as error:
        stop(UNUSABLE, *error.messages)


@contextlib.contextmanager
def usable(address: str, study_file: Path | None = None) -> Iterator[None]:
    """Ends the command with a line on stderr where, within it, a study file, its results at ``address`` or its data
    turn out to be unusable."""
    try:
        yield
    except (ResultsError, LaunchError, DataAbsent, DataBroken) as error:
        stop(UNUSABLE, f"metafa: {error}")
    except DataError as error:
        stop(UNUSABLE, *(f"{study_file}: {message}" for message in error.messages))
    except OSError as error:
        # an error that names no path need not be about the results, and is then shown in its own words; but where the
        # results are in an object store, it is about them
        place = os.fsdecode(error.filename) if error.filename else shown(address) if "://" in address else None
        reason = hidden(damage.reason(error) if place else str(error), address)
        stop(UNUSABLE, f"metafa: {place} cannot be used: {reason}" if place else f"metafa: {reason}")


def store_for(checked: Study, chosen: str | None) -> Store:
    """The store of a study's results, at the ``chosen`` address or the usual one. Ends the command where it cannot be
    used."""
    address = chosen or f"results/{checked.name}"
    with usable(address):
        store = addresses.open_store(address)
        preparation.check(store, checked)
        return store
