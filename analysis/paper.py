"""What of the paper reproduces? A page with its figures in its order, each with its claims, verdicts and drawings.

A claim says under [[claims]] of which `figure` it is; those of none are metafa's own. It reads study.toml and the
tables `trials` and `measurements` of every RESULTS and nothing else, and writes to paper/ beside the first of them (or
--output): paper.html, which needs nothing else, claims.csv, and each drawing as FIGURE_STUDY_WHAT.png and .svg.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import pandas as pd
from claim_figures import studies_with_claims
from figures import Output, output_folder, parser, screen_table, script
from paper_figures import drawings
from rich.table import Table

from metafa.reporting import claim_sections, claims, grids
from metafa.reporting.conditions import Tables
from metafa.reporting.report import page
from metafa.reporting.sections import Image
from metafa.results.statuses import ANALYSED
from metafa.running import bundled
from metafa.studies.claims import ClaimSettings
from metafa.studies.study import Study

QUESTION = "Which of the paper's results hold here, figure by figure, in which conditions, and by how much?"


@script
def main() -> None:
    arguments = parser(__doc__, "results of studies of the paper's figures", "+", "paper/ beside them").parse_args()
    studies = named(studies_with_claims(arguments.results))
    judged, waiting = [], []
    for name, (tables, study) in studies.items():
        rows, others = claims.judge_measured(tables, study.claims)
        judged.append(rows.assign(study=name))
        waiting += others
    table = claims.in_order(pd.concat(judged, ignore_index=True))
    tables, _ = next(iter(studies.values()))
    output = Output(arguments.output, output_folder(tables).parents[1] / "paper")
    output.table("claims", table.drop(columns="settings"), as_grids(table))
    images = drawn(output, studies)
    sections = [
        replace(section, images=tuple(images[section.id]))
        for section in claim_sections.sections(table, not_judged(table, waiting), every_figure=True)
    ]
    remarks = [
        f"{name}: {remark}"
        for name, (tables, study) in studies.items()
        for remark in (*not_done(tables, study), *tables.remarks)
    ]
    answer = grids.summary(table)
    output.text("page", "paper.html", page("The paper, figure by figure", QUESTION, answer, sections, warnings=remarks))


def named(studies: Iterable[tuple[Tables, Study]]) -> dict[str, tuple[Tables, Study]]:
    """The studies by name, with a number where several have one."""
    found: dict[str, tuple[Tables, Study]] = {}
    for tables, study in studies:
        number = sum(1 for _, other in found.values() if other.name == study.name)
        found[f"{study.name}_{number + 1}" if number else study.name] = tables, study
    return found


def not_done(tables: Tables, study: Study) -> list[str]:
    """How many of a study's trials are done, and what became of others, in a sentence; none where all are done."""
    done, total = len(tables.ended), max(study.total, len(tables.trials))
    counts = tables.trials["status"].value_counts().drop([*ANALYSED], errors="ignore")
    others = "".join(f"; {number} {status}" for status, number in counts.items())
    return [f"{done} of {total} trials {'is' if done == 1 else 'are'} done{others}"] if done < total else []


def drawn(output: Output, studies: dict[str, tuple[Tables, Study]]) -> dict[str, list[Image]]:
    """Draws every study's claims, and writes it; the images by section."""
    found = defaultdict(list)
    for name, (tables, study) in studies.items():
        measured = [claim for claim in study.claims if len(claims.of_claim(tables, claim))]
        for figure in dict.fromkeys(claim.figure or "" for claim in measured):
            of_figure = [claim for claim in measured if (claim.figure or "") == figure]
            section = claim_sections.id_of(figure)
            for drawing, plot in drawings(tables, of_figure, figure):
                svg = output.figure(f"{section.replace('-', '_')}_{name}_{drawing.name}", plot)
                found[section].append(Image(f"{drawing.title}, of {name}", svg))
    return found


def not_judged(judged: pd.DataFrame, waiting: list[tuple[ClaimSettings, str]]) -> claim_sections.NotJudged:
    """By figure, the claims that these results do not judge: those ``waiting`` for more of them, each with why, and
    those of the studies that come with metafa, each with the command that measures it."""
    found = defaultdict(list, claim_sections.of_figures(waiting))
    present = set(zip(judged["figure"], judged["statement"], strict=True))
    present |= {(claim.figure or "", claim.statement) for claim, _ in waiting}
    for name, path in bundled.study_files().items():
        for claim in tomllib.loads(path.read_text("utf-8")).get("claims", []) if name.startswith("paper/") else []:
            key = claim.get("figure", ""), claim["statement"]
            if all(key) and key not in present:
                present.add(key)
                found[key[0]].append((key[1], f"not among these results; `metafa run {name}` measures it"))
    return found


def as_grids(table: pd.DataFrame) -> Table:
    """The verdicts over all conditions, for a screen."""
    shown = screen_table("each claim over all conditions")
    for column in ("of", "claim", "verdict"):
        shown.add_column(column)
    for grid in grids.of_claims(table):
        shown.add_row(grid.figure or claim_sections.OWN, grid.statement, grid.verdict)
    return shown


if __name__ == "__main__":
    main()
