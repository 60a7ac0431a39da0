"""The table of ratios, on the screen and as CSV, after the benchmarks have run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))  # the oracles


def wait_policy() -> str:
    """What threads do while they wait, as OpenMP is told: both sides run in this process, with its environment."""
    said = os.environ.get("OMP_WAIT_POLICY")
    return f"OMP_WAIT_POLICY={said}" if said else "OMP_WAIT_POLICY not set"


def pytest_report_header() -> str:
    return wait_policy()


def pytest_addoption(parser) -> None:
    parser.addoption("--device", choices=["cpu", "cuda"], default="cpu", help="where both sides compute")


def pytest_terminal_summary(terminalreporter, config) -> None:
    session = getattr(config, "_benchmarksession", None)
    if not session or not session.benchmarks:
        return
    rows = {}
    for one in session.benchmarks:
        info, seconds = one.extra_info, one.stats.median * one.extra_info["units"]
        row = rows.setdefault(one.group, {"workload": one.group})
        if info["side"] == "metafa":
            row |= {"metafa_seconds": seconds, "goal": info["goal"], "hardware": info["hardware"]}
            row |= {"threads": info["threads"], "wait_policy": wait_policy()}
            row |= {"times_the_limit": seconds / info["limit"] if info["limit"] else None}
        else:
            row |= {"peer": info["side"], "peer_seconds": seconds}
    table = pd.DataFrame(rows.values())
    table.insert(1, "ratio", table["peer_seconds"] / table["metafa_seconds"])
    path = Path(f"results/benchmarks_{config.getoption('device')}.csv")
    path.parent.mkdir(exist_ok=True)
    table.to_csv(path, index=False)
    terminalreporter.section("how many times faster than its peer")
    terminalreporter.write_line(f"both sides in one process, {wait_policy()}")
    for row in table.to_dict("records"):
        goal = f"(to reach {row['goal']:g})" if pd.notna(row["goal"]) else ""
        limit = f"{row['times_the_limit']:.1f} times the limit" if pd.notna(row["times_the_limit"]) else ""
        terminalreporter.write_line(
            f"{row['workload']:<62} {row['metafa_seconds'] * 1e3:9.2f} ms  {row['peer']:<29}"
            f"{row['peer_seconds'] * 1e3:10.1f} ms  ratio {row['ratio']:7.1f} {goal:<14} {limit:<21}"
            f"  threads {row['threads']}"
        )
    terminalreporter.write_line(f"table: {path}")
