"""Study files are read, in the encodings and under the names that they come in."""

import tomllib
from pathlib import Path

import pytest
from study_bases import EVALUATE, EVALUATED, GRID_LINES
from study_texts import study_with, written

from metafa.errors import StudyError
from metafa.studies import study


@pytest.mark.parametrize("file", ["01_x", "my study", "study.v2", "é"])
def test_a_file_whose_name_is_no_name_is_told_what_to_do(file: str, tmp_path: Path) -> None:
    """And what it is told to write is taken."""
    path = tmp_path / f"{file}.toml"
    path.write_text(study_with(EVALUATED), encoding="utf-8")
    with pytest.raises(StudyError, match="a study is called as its file is: rename it, or write name = ") as caught:
        study.read(path)
    (message,) = caught.value.messages
    name = message.partition("or write ")[2].removesuffix(" at its top")
    path.write_text(f"{name}\n{study_with(EVALUATED)}", encoding="utf-8")
    assert study.read(path).name == tomllib.loads(name)["name"]


@pytest.mark.parametrize(
    ("encoding", "newline"),
    [("utf-8-sig", "\n"), ("utf-8", "\r\n"), ("utf-8-sig", "\r\n")],
    ids=["a byte order mark", "lines as of Windows", "both"],
)
def test_files_as_windows_writes_them_are_read(encoding: str, newline: str, tmp_path: Path) -> None:
    path, plain = tmp_path / "s.toml", study.parse(written(GRID_LINES))
    path.write_text(written(GRID_LINES), encoding=encoding, newline=newline)
    assert study.read(path).trials == plain.trials
    assert study.parse(study.read(path).text).trials == plain.trials
    path.write_text(written(GRID_LINES, seeds="sedes = 4"), encoding=encoding, newline=newline)
    with pytest.raises(StudyError, match=r"s\.toml:2: sedes: unknown key; did you mean 'seeds'"):
        study.read(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(written(GRID_LINES), encoding=encoding)
    with pytest.raises(StudyError, match="UTF-16; a study file is TOML, in UTF-8: save it as that"):
        study.read(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, content, said in [
        (tmp_path / "absent.toml", None, "no such study file"),
        (tmp_path, None, "is a folder; give a study file in it"),
        (tmp_path / "latin.toml", "question = 'é'".encode("latin1"), "not UTF-8 at byte 12"),
        (tmp_path / "huge.toml", b"#" * (2**20 + 1), "at most"),
    ]:
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(StudyError, match=said):
            study.read(path)


def test_texts_may_have_lines() -> None:
    question = 'Why,\n\tand "how"? – 學習'
    text = written(GRID_LINES, question='question = """\nWhy,\n\tand "how"? – 學習"""')
    assert study.parse(text).question == question


def test_a_study_file_may_say_its_phases_in_any_of_tomls_ways() -> None:
    """The studies that tests build are written by a library, otherwise than people write them."""
    (of_tables,) = study.parse(study_with(EVALUATED)).trials
    (inline,) = study.parse('phases = [{ phase = "evaluate", task_distributions = ["glyphs"] }]').trials
    assert of_tables == inline
    assert EVALUATE.items() <= of_tables.settings.phases[0].model_dump().items()


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("studies/**/*.toml")), ids=lambda p: p.name)
def test_the_studies_that_come_with_metafa_are_sound(path: Path) -> None:
    assert study.read(path).total
