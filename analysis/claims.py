"""Which of the paper's claims hold, where, and by how much? A table, and a figure for each, from studies' Parquet.

A study says under [[claims]] what it claims and by which rule that is judged. It reads study.toml and the tables
`trials` and `measurements` of every RESULTS and nothing else, and writes to claims/ beside the first of them (or
--output): claims.csv, and for each claim STUDY_PLACE.png and .svg.
"""

from __future__ import annotations

import pandas as pd
from claim_figures import as_rich, figure, studies_with_claims
from figures import Output, output_folder, parser, script

from metafa.reporting import claims


@script
def main() -> None:
    arguments = parser(__doc__, "results of studies that claim something", "+", "claims/ beside them").parse_args()
    found, drawn = [], {}
    for tables, study in studies_with_claims(arguments.results):
        found.append(claims.judge_all(tables, study.claims).assign(study=study.name))
        for number, claim in enumerate(study.claims, start=1):
            drawn[f"{study.name}_{number}"] = figure(tables, claim)
        beside = output_folder(tables).parents[1]
    table = claims.in_order(pd.concat(found, ignore_index=True)).drop(columns="settings")
    output = Output(arguments.output, beside / "claims")
    output.table("claims", table, as_rich(table))
    for name, one in drawn.items():
        output.figure(name, one)


if __name__ == "__main__":
    main()
