"""The documentation does what it says: what is made from the code is as the code is, and examples run."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "studies").rglob("*.toml"))


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_made_from_the_code_are_as_the_code_is() -> None:
    for name, text in generator().pages().items():
        assert (ROOT / "docs" / name).read_text() == text, f"docs/{name} is out of date: make docs"


def python_of(page: str) -> dict[str, str]:
    """The Python of each section of a page, all of it in order."""
    found: dict[str, str] = {}
    for section in re.split(r"^## ", (ROOT / page).read_text(), flags=re.M):
        blocks = re.findall(r"^```python\n(.*?)^```", section, flags=re.M | re.S)
        if blocks:
            found[section.splitlines()[0]] = "\n".join(blocks)
    return found


@pytest.mark.parametrize(
    ("section", "code"), [(s, c) for page in ("docs/extending.md", "README.md") for s, c in python_of(page).items()]
)
def test_examples_run(section: str, code: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_wheel_is_installed_as_a_checkout_is() -> None:
    """What builds learn2learn on a current Python stands in both, since a wheel does not carry it."""
    of_wheel = tomllib.loads((ROOT / "docs" / "uv.toml").read_text())
    assert of_wheel == tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]


def test_every_requirement_has_a_version_that_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    wanted += [one for extra in project["project"]["optional-dependencies"].values() for one in extra]
    pins = (ROOT / "constraints.txt").read_text()
    pinned = re.findall(r"^([a-z0-9-]+)==", pins, flags=re.M)
    assert {re.split(r"[\[=>]", one)[0].lower() for one in wanted} <= set(pinned)
    assert "://" not in pins


@pytest.mark.parametrize(
    ("compiler", "said"),
    [("no-such-compiler", "there is no compiler no-such-compiler"), ("false", "false cannot compile Python.h of ")],
)
def test_make_looks_for_a_compiler_before_it_downloads_anything(tmp_path: Path, compiler: str, said: str) -> None:
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "quickstart", f"PYTHON={sys.executable}"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"CC": compiler}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    sentence, _of_make = done.stderr.splitlines()
    assert sentence.startswith(f"make builds learn2learn, which needs a C compiler and Python's headers, and {said}")
    assert not (tmp_path / ".venv").exists()


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
