"""Imports run one way, downwards through the folders of the package, and each folder needs no more than it says.

What is held here is read from the folders themselves; docs/architecture.md shows it.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "metafa"

FOLDERS = ("learning", "studies", "tasks", "results", "trials", "reporting", "running")
"""From the lowest to the highest: a file imports its own folder's and those before it."""

HEAVY = {"torch", "ray", "learn2learn", "optuna", "torchvision", "pandas", "pyarrow", "matplotlib", "pydantic"}
CARRIED = {
    "learning": {"torch"},
    "studies": {"pydantic"},
    "tasks": {"pydantic", "matplotlib"},
    "results": {"pydantic", "pyarrow"},
    "trials": {"torch", "pydantic", "pyarrow"},
    "reporting": {"pydantic", "pyarrow", "pandas", "optuna"},
    "running": HEAVY,
}
"""Of the packages that take long to import, or are not wanted everywhere, those that a folder's files bring with them
when they are imported."""


def imported(file: Path) -> Iterator[str]:
    """The modules of metafa that a file imports, wherever in it, by their names."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "metafa")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "metafa":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_folder_has_its_place_and_says_what_it_is_for() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(FOLDERS)
    for folder in FOLDERS:
        lines = (ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text())) or "").splitlines()
        assert len(lines) == 3, f"metafa/{folder}/__init__.py: what is in it, an empty line, what it may import"


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_run_downwards(folder: str) -> None:
    allowed = {"errors", *FOLDERS[: FOLDERS.index(folder) + 1]}
    for file in sorted((PACKAGE / folder).rglob("*.py")):
        above = {name for name in imported(file) if name.split(".")[1] not in allowed}
        assert not above, f"{file.relative_to(PACKAGE)} imports {', '.join(sorted(above))}"


def test_the_core_imports_nothing_else_of_metafa() -> None:
    for file in sorted((PACKAGE / "learning").rglob("*.py")):
        others = {name for name in imported(file) if name.split(".")[1] not in ("learning", "errors")}
        assert not others, f"{file.relative_to(PACKAGE)} imports {', '.join(sorted(others))}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_brings_no_more_packages_than_it_says(folder: str) -> None:
    files = sorted((PACKAGE / folder).rglob("*.py"))
    modules = [".".join(("metafa", *file.relative_to(PACKAGE).with_suffix("").parts)) for file in files]
    code = "; ".join(f"import {module.removesuffix('.__init__')}" for module in modules)
    code += f"; import sys; print(*(set(sys.modules) & {HEAVY - CARRIED[folder]!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""


def test_the_page_names_files_that_exist_and_every_folder() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(metafa/[a-z_/.]*)`", page))
    assert len(named) > 30
    assert not {name for name in named if not (PACKAGE.parent / name).exists()}
    drawn = re.findall(r"^  ([a-z]+)/ ", page, re.MULTILINE)
    assert drawn == list(reversed(FOLDERS)), "from the highest to the lowest"


def test_the_command_starts_without_what_takes_long_to_import() -> None:
    slow = {"torch", "ray", "learn2learn", "optuna", "pandas", "matplotlib"}
    code = f"import metafa.cli, sys; print(*(set(sys.modules) & {slow!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""


def test_no_two_test_files_have_one_name() -> None:
    """Of two, pytest would collect one."""
    names = [file.name for file in Path(__file__).parent.rglob("test_*.py")]
    assert len(set(names)) == len(names)


def test_a_module_has_a_test_file_of_its_name_or_contributing_says_through_which_it_is_tested() -> None:
    tests = Path(__file__).parent
    files = {file.name for file in tests.rglob("test_*.py")}
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [row.split("|")[2:4] for row in page.splitlines() if row.startswith("| ")]
    through = {module: row[1] for row in rows for module in re.findall(r"`(\w+)`", row[0])}
    for file in sorted(PACKAGE.rglob("*.py")):
        folder = tests / file.parent.relative_to(PACKAGE)
        named = any((folder / name).exists() for name in (f"test_{file.stem}.py", f"test_{folder.name}_{file.stem}.py"))
        assert file.stem.startswith("__") or named or file.stem in through, f"{file} has no test file of its name"
    named_files = set(re.findall(r"`(?:tests/)?(test_\w+\.py)`", "".join(through.values())))
    assert named_files
    assert named_files <= files
