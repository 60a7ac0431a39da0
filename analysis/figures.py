"""What the scripts share: their arguments, their output, and how matplotlib draws a condition."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import math
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from rich import box
from rich.table import Table

from metafa.errors import ResultsError
from metafa.reporting import appearance, conditions
from metafa.reporting.appearance import Line
from metafa.reporting.conditions import Tables
from metafa.reporting.figures import Axis, Figure, Panel, Series
from metafa.results import damage, files
from metafa.running import screens

DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
SCREEN_ROWS = 60  # of a longer table the CSV has the rest
FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # what they begin with; the last ones in Japanese spreadsheets
WIDTH = 160  # letters, where the screen does not say
TICKS_ACROSS = 30  # letters of the labels of an x axis that stand side by side


def parse_arguments(description: str | None) -> argparse.Namespace:
    return parser(description).parse_args()


ONE_RESULTS = "results, such as results/quickstart or s3://BUCKET/FOLDER"


def parser(
    description: str | None, results: str = ONE_RESULTS, nargs: str | None = None, default: str = "RESULTS/analysis"
) -> argparse.ArgumentParser:
    """What a script is told: the results that it reads, one or, by ``nargs``, several, and where it writes."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("results", metavar="RESULTS", nargs=nargs, help=results)
    found.add_argument("--output", metavar="FOLDER", type=Path, help=f"where to write  [default: {default}]")
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

    def figure(self, name: str, figure: plt.Figure) -> bytes:
        """Writes ``figure`` as SVG and PNG, and returns the SVG."""
        drawn = {suffix: io.BytesIO() for suffix in ("svg", "png")}
        for suffix, image in drawn.items():
            figure.savefig(image, dpi=150, format=suffix)
            with writing(path := self.folder / f"{name}.{suffix}"):
                files.write(path, image.getvalue())
        plt.close(figure)
        self.say(f"figure   {self.folder / name}.png")
        return drawn["svg"].getvalue()

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
    size = 1 + 3.4 * columns, 0.8 + 2.9 * rows
    return plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=share, layout="constrained")


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


def label(axis: plt.Axes, title: str, x: str, y: str) -> None:
    axis.set_title(appearance.wrapped(title), fontsize=10)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.spines[["top", "right"]].set_visible(False)
    axis.yaxis.set_tick_params(labelleft=True)


def drawn(figure: Figure, columns: int = 4, share: bool | str | None = None) -> plt.Figure:
    """The panels of a figure of the package, as many in a row as it says, ``columns`` at most; ``share``, given, says
    instead of the figure which panels have one y axis."""
    columns = min(columns, max(1, figure.columns))
    share = ("row" if figure.share_y else False) if share is None else share
    plot, axes = grid(math.ceil(len(figure.panels) / columns), columns, share)
    for axis in axes.flat[len(figure.panels) :]:
        axis.set_visible(False)
    for panel, axis in zip(figure.panels, axes.flat, strict=False):
        draw_panel(axis, panel)
    return plot


def draw_panel(axis: plt.Axes, panel: Panel) -> None:
    """A panel's series and axes."""
    bars = [series for series in panel.series if series.kind == "bars"]
    for series in panel.series:
        if series.kind == "bars":
            offset = 0.27 * (bars.index(series) - (len(bars) - 1) / 2)
            axis.barh(series.y + offset, series.x, 0.25, color=series.colour, label=series.words)
        else:
            draw_series(axis, series, panel)
    for axis_of, of_panel in (("x", panel.x), ("y", panel.y)):
        draw_axis(axis_of, axis, of_panel, panel.series)
    if panel.note:
        axis.set_title(panel.note, loc="right", fontsize=7, color="#666666")
    label(axis, "\n".join(panel.title), panel.x.label, panel.y.label)


def draw_series(axis: plt.Axes, series: Series, panel: Panel) -> None:
    """A series that is no bars."""
    x, y, colour, ends = series.x, series.y, series.colour, (series.low, series.high)
    if series.kind == "curve":
        draw(axis, x, y, ends, colour, "o" + DASHES[series.dash])
    elif series.kind == "profile":
        axis.plot(x, y, DASHES[series.dash], color=colour)
        axis.fill_between(x, *ends, color=colour, alpha=0.12, linewidth=0)
    elif series.kind == "interval":
        axis.errorbar(x, y, xerr=[x - series.low, series.high - x], fmt="o", color=colour, markersize=4)
    elif series.kind == "front":
        axis.plot(x, y, "o-", color=colour, markersize=5, label=series.words)
    else:
        if panel.x.choices:  # beside each other
            x = x + np.random.default_rng(0).uniform(-0.15, 0.15, len(x))
        axis.scatter(x, y, c=colour, s=14, alpha=series.opacity, linewidth=0, label=series.words)


def draw_axis(axis_of: str, axis: plt.Axes, of_panel: Axis, series: Sequence[Series] = ()) -> None:
    """The scale, ticks and limits of the x or the y axis."""
    if of_panel.scale == "steps":
        by_steps(axis, pd.Series(np.concatenate([[], *(one.x for one in series)])))
    elif of_panel.scale == "whole":
        axis.xaxis.get_major_locator().set_params(integer=True)
    elif of_panel.scale == "log" and not of_panel.ticks:
        of_losses(axis)
    elif of_panel.scale == "log":
        getattr(axis, f"set_{axis_of}scale")("log")
        getattr(axis, f"{axis_of}axis").set_minor_formatter(NullFormatter())
    if of_panel.ticks:
        small = {} if of_panel.scale == "log" else {"fontsize": 8}
        texts = [appearance.wrapped(text, 34) for text in of_panel.tick_labels]
        getattr(axis, f"set_{axis_of}ticks")(of_panel.ticks, texts, **small)
        if axis_of == "x" and sum(len(text) + 1 for text in texts) > TICKS_ACROSS:
            slanted(axis)
    if of_panel.limits:
        getattr(axis, f"set_{axis_of}lim")(*of_panel.limits)


def slanted(axis: plt.Axes) -> None:
    """Labels of the x axis that side by side would stand on each other."""
    for text in axis.get_xticklabels():
        text.set(rotation=25, ha="right", rotation_mode="anchor")


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
    """A legend of ``lines`` below the figure."""
    handles = [Line2D([], [], color=one.colour, linestyle=DASHES[one.dash], label=one.words) for one in lines]
    legend_of(figure, handles, title=f"shown: {excerpt}" if excerpt else None)


def legend_of(figure: plt.Figure, handles: Sequence[Artist], side: str = "lower", title: str | None = None) -> None:
    """A legend beside the figure, which grows by it, as many columns as there is room for, and long words broken."""
    room = int(figure.get_figwidth() * 13)
    words = [textwrap.fill(str(one.get_label()), room - 8) for one in handles]
    letters = max(map(len, "\n".join(words).split("\n"))) + 8
    columns = max(1, min(4, room // letters))
    height = max((label.count("\n") + 1 for label in words), default=1)
    figure.set_figheight(figure.get_figheight() + 0.2 * height * math.ceil(len(words) / columns))
    look = dict(loc=f"outside {side} center", ncols=columns, frameon=False, fontsize=9, title=title)
    figure.legend(handles=handles, labels=words, **look)
