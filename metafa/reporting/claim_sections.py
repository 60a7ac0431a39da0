"""The sections that judge claims: the paper's figures in its order, each with its claims, then metafa's own claims."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from metafa.reporting import grids, statistics
from metafa.reporting.grids import Grid
from metafa.reporting.sections import Section, Table, table_of
from metafa.studies.claims import ClaimSettings
from metafa.studies.paper import FIGURES, PaperFigure

OWN = "metafa's own"  # the heading of claims that are of none of the paper's figures
PLAIN = "Claims"  # that of a study that has no others
JUDGED = "Judged by the rules that stand in the study file, written before it ran."
TESTS = (
    "Intervals are of 95%, over networks, paired by seed. Beside them stand the p-values of the t-test and of "
    "Wilcoxon's signed-rank test of the same differences, neither corrected for their number; verdicts go by the "
    "intervals. Conditions that differ only in phases after the one that a claim is about are one condition."
)
NotJudged = Mapping[str, Sequence[tuple[str, str]]]
"""By figure, statements of claims that are not judged, each with what is said of it instead of a verdict."""
SHOWN = ["statement", "study", "compared", "conditions", "with_noise", "against", "backprop"]
SHOWN += ["difference", "difference_low", "difference_high", "seeds", "p_t_test", "p_wilcoxon", "expected", "verdict"]
NAMED = {"statement": "claim", "with_noise": "mean", "seeds": "networks"}


def sections(judged: pd.DataFrame, not_judged: NotJudged | None = None, *, every_figure: bool = False) -> list[Section]:
    """A section a figure, in the paper's order, then one of the claims that are of none.

    judged: what `claims.judge_all` has of a study, or of several with their names as `study`.
    not_judged: by figure, the statements of other claims, each with what is to be said of it.
    every_figure: whether figures that have no claim here have their section as well.
    """
    left = not_judged or {}
    by_figure: dict[str, list[Grid]] = {name: [] for name in [*FIGURES, ""]}
    for grid in grids.of_claims(judged):
        by_figure[grid.figure].append(grid)
    own, found = by_figure.pop(""), []
    for name, of_figure in by_figure.items():
        if of_figure or left.get(name) or every_figure:
            of_paper = FIGURES[name]
            found.append(_section(id_of(name), of_paper.title, _about(of_paper), of_figure, left.get(name, ())))
    if own or left.get(""):
        found.append(_section(id_of(""), OWN if found else PLAIN, (), own, left.get("", ())))
    first, *rest = found
    return [replace(first, sentences=(JUDGED, TESTS, *first.sentences)), *rest]


def of_figures(not_judged: Iterable[tuple[ClaimSettings, str]]) -> NotJudged:
    """The claims that cannot be judged yet by figure, each with why it cannot."""
    found = defaultdict(list)
    for claim, why in not_judged:
        found[claim.figure or ""].append((claim.statement, f"not judged yet: {why}"))
    return found


def id_of(figure: str) -> str:
    """The section of claims of a figure, or, where that is empty, of those of none."""
    return figure.replace("_", "-") or "claims"


def _about(figure: PaperFigure) -> tuple[str, ...]:
    """What the paper says there."""
    test = f" Statistics there: {figure.test}." if figure.test else ""
    return (f"{figure.reported} Source: {figure.source}.{test}",)


def _section(
    id_: str, title: str, about: tuple[str, ...], of_figure: Sequence[Grid], left: Sequence[tuple[str, str]]
) -> Section:
    if not of_figure:
        return Section(id_, title, (*about, "Not among these results."), tables=_verdicts((), left))
    rows = pd.concat([grid.rows for grid in of_figure])
    conditions = rows[[name for name in SHOWN if name in rows]].rename(columns=NAMED)
    conditions = conditions[[name for name in conditions if name in ("claim", "verdict") or _says(conditions[name])]]
    heats = [(grid.statement, heat) for grid in of_figure if len(heat := grid.heat)]
    return Section(
        id_,
        title,
        (*about, *too_few(rows)),
        tables=(
            *_verdicts(of_figure, left),
            table_of(conditions, "Condition by condition"),
            *(table_of(heat, f"Where: {statement}") for statement, heat in heats),
        ),
    )


def _verdicts(of_figure: Sequence[Grid], left: Sequence[tuple[str, str]]) -> tuple[Table, ...]:
    """Each claim with its verdict over all conditions, then those that are ``left``."""
    told = [*((grid.statement, grid.verdict) for grid in of_figure), *left]
    return (table_of(pd.DataFrame(told, columns=["claim", "over all conditions"])),) if told else ()


def too_few(judged: pd.DataFrame) -> tuple[str, ...]:
    """Whether Wilcoxon's test has too few networks ever to find anything, in a sentence."""
    least = statistics.seeds_needed(1)
    if (short := int((judged["seeds"] < least).sum())) == 0:
        return ()
    return (
        f"With fewer than {least} networks, as in {short} of {len(judged)} conditions, the p-value of Wilcoxon's test "
        "is never below 0.05, whatever the differences.",
    )


def _says(column: pd.Series) -> bool:
    """Whether any cell says something."""
    return bool((column.notna() & (column != "")).any())
