"""What the scripts share: their arguments, their output, and how matplotlib draws a condition."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from rich import box
from rich.table import Table

from metafa.errors import ResultsError
from metafa.reporting import appearance, conditions
from metafa.reporting.appearance import Line
from metafa.reporting.conditions import Tables
from metafa.results import damage, files
from metafa.running import screens

DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
SCREEN_ROWS = 60  # of a longer table the CSV has the rest
FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # what they begin with; the last ones in Japanese spreadsheets
WIDTH = 160  # letters, where the screen does not say


def parse_arguments(description: str | None) -> argparse.Namespace:
    return parser(description).parse_args()


def parser(description: str | None) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("results", metavar="RESULTS", help="results, such as results/quickstart or s3://BUCKET/FOLDER")
    found.add_argument("--output", metavar="FOLDER", type=Path, help="where to write  [default: RESULTS/analysis]")
    return found


def script(main: Callable[[], None]) -> Callable[[], None]:
    """A script that says in a line what is wrong with the results that it reads, or with the folder that it writes to,
    and stops with status 2."""

    @functools.wraps(main)
    def checked() -> None:
        # what a library warns of would stand before the sentence; where warnings are errors, they still are
        warnings.showwarning = lambda *said, **options: None
        try:
            with damage.of_a_study("the results"):
                main()
        except (ResultsError, OSError) as error:
            screens.stop(2, str(error))

    return checked


def read(address: str) -> Tables:
    """The tables at ``address``. Prints what has to be said beside every number. Raises `ResultsError`."""
    tables = conditions.read(address)
    for sentence in tables.remarks:
        print(screens.printable(f"{tables.store.address}: {sentence}"), file=sys.stderr)
    return tables


def output_folder(tables: Tables) -> Path:
    """Where an analysis goes: into the results, or, where those are not on this machine, beside where they would be."""
    store = tables.store
    return (Path(store.address) if store.local else Path("results") / Path(store.root).name) / "analysis"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says in a line where ``path`` cannot be written, and stops."""
    try:
        yield
    except OSError as error:
        screens.stop(2, f"{path} cannot be written ({error.strerror or error}); choose another folder with --output")


class Output:
    """The folder that an analysis goes to, ``chosen`` or else ``default``, and the screen that says what does. Whoever
    made the results may have put links into it: what is written there takes their place."""

    def __init__(self, chosen: Path | None, default: Path):
        folder = chosen or default
        with writing(folder):
            if chosen is None:
                files.check_folders(default.parent, default.name)
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.screen = screens.console(width=None if sys.stdout.isatty() else WIDTH)

    def table(self, name: str, table: pd.DataFrame, shown: Table | None = None) -> None:
        """Writes ``table`` as CSV, and shows it."""
        if shown is not None:
            with screens.forgiving():
                self.screen.print(shown)
        self.text("table", f"{name}.csv", for_spreadsheets(table).to_csv(index=False, lineterminator="\n"))

    def text(self, kind: str, name: str, text: str) -> None:
        """Writes a text, and says where."""
        path = self.folder / name
        with writing(path):
            files.write(path, text.encode())
        self.say(f"{kind:8} {path}")

    def figure(self, name: str, figure: plt.Figure) -> None:
        """Writes ``figure`` as SVG and PNG."""
        for suffix in ("svg", "png"):
            drawn = io.BytesIO()
            figure.savefig(drawn, dpi=150, format=suffix)
            with writing(path := self.folder / f"{name}.{suffix}"):
                files.write(path, drawn.getvalue())
        plt.close(figure)
        self.say(f"figure   {self.folder / name}.png")

    def say(self, sentence: str) -> None:
        with screens.forgiving():
            self.screen.print(sentence, soft_wrap=True)


def for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with an apostrophe before every text that a spreadsheet would take for a formula, and with no control
    characters, of which one ends a line there; numbers stay as they are."""
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    columns = {name: table[name].map(_no_formula).astype(object) for name in texts}
    return table.assign(**columns).rename(columns=_no_formula)


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith(FORMULAS):
        return screens.printable(value, keep="\n\t")
    with contextlib.suppress(ValueError):
        float(value)
        return value
    return "'" + screens.printable(value, keep="\n\t")


def screen_table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def grid(rows: int, columns: int, share: bool | str = "row") -> tuple[plt.Figure, np.ndarray]:
    return plt.subplots(
        rows,
        columns,
        figsize=(1 + 3.4 * columns, 0.8 + 2.9 * rows),
        squeeze=False,
        sharey=share,
        layout="constrained",
    )


def panels(names: Sequence, share: bool | str = "row") -> tuple[plt.Figure, Iterator[tuple[Any, plt.Axes]]]:
    """A panel for each of ``names``, four in a row at most."""
    columns = min(4, len(names))
    figure, axes = grid(math.ceil(len(names) / columns), columns, share)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    return figure, zip(names, axes.flat[: len(names)], strict=True)


def draw(axis: plt.Axes, x: pd.Index, y: pd.Series, bounds: Iterable, colour: str, style: str = "o-") -> None:
    """A line with its interval as a band."""
    axis.plot(x, y, style, markersize=4, color=colour)
    axis.fill_between(x, *bounds, color=colour, alpha=0.2, linewidth=0)


def draw_line(axis: plt.Axes, line: Line, curve: pd.DataFrame, x: str = "step") -> None:
    """A condition's ``curve``, with its columns value, low and high, against ``x``."""
    draw(axis, curve[x], curve["value"], (curve["low"], curve["high"]), line.colour, "o" + DASHES[line.dash])


def label(axis: plt.Axes, title: str, x: str, y: str) -> None:
    axis.set_title(appearance.wrapped(title), fontsize=10)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.spines[["top", "right"]].set_visible(False)
    axis.yaxis.set_tick_params(labelleft=True)


def by_steps(axis: plt.Axes, steps: pd.Series) -> None:
    """An axis of training steps from 0, evenly spaced in the logarithm beyond the first."""
    first = steps[steps > 0].min()
    if np.isfinite(first) and steps.max() / first > 20:
        axis.set_xscale("symlog", linthresh=first)
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_xlim(left=0)


def of_losses(axis: plt.Axes) -> None:
    """A logarithmic axis of losses, which span less than a decade more often than not."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=appearance.LOSSES))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def legend(figure: plt.Figure, lines: Iterable[Line], excerpt: str = "") -> None:
    """A legend of ``lines`` below the figure, as many columns as there is room for."""
    lines = list(lines)
    handles = [Line2D([], [], color=one.colour, linestyle=DASHES[one.dash], label=one.words) for one in lines]
    letters = max((len(one.words) for one in lines), default=1) + 8
    columns = max(1, min(4, int(figure.get_figwidth() * 13 / letters)))
    title = f"shown: {excerpt}" if excerpt else None
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(lines) / columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9, title=title)


def handles_with_and_without(rules: list[str], most: int) -> list[Line2D]:
    """For a legend of lines that are a rule's by colour, dashed without noise and solid with the most."""
    handles = [Line2D([], [], color=appearance.rule_colour(rule), label=rule) for rule in rules]
    handles += [Line2D([], [], color="grey", linestyle="--", label="no noise")]
    return handles + ([Line2D([], [], color="grey", label=f"{most} noise steps")] if most else [])
