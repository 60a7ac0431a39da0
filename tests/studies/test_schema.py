"""The JSON schema takes and refuses what the checker does: editors know a mistake before it is run."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from study_bases import GRID, mistakes
from study_texts import study_with

from metafa.studies import study
from metafa.studies.schema import json_schema

STUDIES = sorted((Path(__file__).parents[2] / "studies").rglob("*.toml"))


def refusals(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema())
    return [error.message for error in validator.iter_errors(tomllib.loads(text))]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_schema_takes_every_study(path: Path) -> None:
    assert refusals(path.read_text()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 0}, "0 is not valid under any"),
        ({"network": {"rules": 1}}, "'rules' was unexpected"),
        ({"noise": {"steps": {"choice": [0]}}}, "is not valid under any"),
        ({"noise": {"phase": "noises"}}, "'noises' is not one of"),
        ({"noise": {"learnin_rate": 2e-4}}, "'learnin_rate' was unexpected"),
    ],
)
def test_the_schema_refuses_what_the_checker_refuses(changes: dict[str, Any], said: str) -> None:
    assert refusals(study_with(GRID)) == []
    text = study_with(GRID, **changes)
    assert any(said in message for message in refusals(text)), refusals(text)
    assert mistakes(text)


def test_the_schema_is_printed_for_editors() -> None:
    done = subprocess.run([sys.executable, "-m", "metafa.cli", "schema"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json_schema()


PHASE = '{ phase = "evaluate", task_distributions = ["glyphs"] }'


@pytest.mark.parametrize(
    "text",
    [
        f"phases = {{ choices = [[{PHASE}], [{PHASE}]] }}",
        f"phases = [{{ choices = [{PHASE}] }}]",
        f'phases = [{PHASE}]\nnetwork = {{ choices = [{{ rule = "backprop" }}, {{ hidden = [3] }}] }}',
        f"phases = [{PHASE}]\nmeasure = {{ choices = [{{ points = 3 }}, {{ points = 4 }}] }}",
    ],
)
def test_the_schema_takes_choices_of_whole_tables_and_refuses_mistakes_in_them(text: str) -> None:
    assert study.parse(text).total
    assert refusals(text) == []
    typo = text.replace("task_distributions", "task_distribution", 1)
    assert len(refusals(typo)) == 2, "a key that is none, and one that is missing"
    assert len(refusals(text.replace("choices", "chioces", 1))) >= 1 or "choices" not in text
