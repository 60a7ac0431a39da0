"""Imports run one way: the numerical core runs anywhere torch does."""

import subprocess
import sys

import pytest

CORE = [
    "streams",
    "memory",
    "products",
    "networks",
    "credit",
    "feedback",
    "measures",
    "optimizers",
    "episodes",
    "training",
    "noise",
    "supervised",
    "shifts",
    "adaptation",
    "meta",
]


@pytest.mark.parametrize(
    ("modules", "barred"),
    [
        (CORE, {"ray", "learn2learn", "optuna", "torchvision", "pydantic", "pandas", "pyarrow", "metafa.tasks"}),
        (
            [
                "transport",
                "settings",
                "search",
                "study",
                "store",
                "results",
                "proposals",
                "provenance",
                "cli",
                "progress",
                "data",
                "launch",
            ],
            {"torch", "ray", "learn2learn", "optuna", "pandas", "matplotlib"},
        ),
        (["tasks"], {"torch", "ray", "learn2learn", "torchvision", "optuna", "metafa.networks", "metafa.study"}),
        (
            ["statistics", "conditions", "appearance", "comparison", "claims", "objectives"],
            {"torch", "ray", "learn2learn", "optuna", "matplotlib", "metafa.trial", "metafa.sweep"},
        ),
        (["importance"], {"torch", "ray", "learn2learn", "matplotlib", "metafa.trial", "metafa.sweep"}),
        (["trial", "checkpoints"], {"ray", "learn2learn", "optuna", "metafa.results", "metafa.sweep"}),
    ],
    ids=["core", "studies and the command", "task distributions", "analysis", "importance", "trial"],
)
def test_a_layer_imports_nothing_above_it(modules: list[str], barred: set[str]) -> None:
    imports = "; ".join(f"import metafa.{module}" for module in modules)
    code = f"{imports}; import sys; print(*(set(sys.modules) & {barred!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""
