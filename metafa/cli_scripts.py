"""The command ``metafa analyse``: every script of the folder `analysis` is a command of it."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import typer

from metafa.running import bundled

scripts = typer.Typer(
    help="Run a script that analyses results: [bold]metafa analyse meta_loss RESULTS[/]. Each script explains what it "
    "does: [bold]metafa analyse meta_loss --help[/].",
    no_args_is_help=True,
)


def _add_script(script: Path) -> None:
    """Makes a file of the folder analysis that has a `main` a command, which hands it all of its arguments."""
    parsed = ast.parse(script.read_text("utf-8"))
    if not any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in parsed.body):
        return  # what scripts share
    explained = ast.get_docstring(parsed) or ""

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
    _add_script(_script)
