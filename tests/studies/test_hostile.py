"""Study files that nobody would write: each is a message and exit status 2, in under a second, and creates nothing."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from study_texts import written
from typer.testing import CliRunner

from metafa import cli
from metafa.errors import StudyError
from metafa.studies import mistakes, settings, study

GOOD = {
    "name": 'name = "good"',
    "seeds": "seeds = 2",
    "network": "[network]",
    "hidden": "hidden = [8]",
    "rule": 'rule = { choices = ["feedback_alignment", "backprop"] }',
    "noise": '[[phases]]\nphase = "noise"',
    "steps": "steps = { choices = [0, 100] }",
    "learning_rate": "learning_rate = 1e-3",
    "evaluate": '[[phases]]\nphase = "evaluate"\ntask_distributions = ["glyphs"]',
    "search": '[search]\nmethod = "grid"',
}
keys = st.sampled_from(
    [
        *settings.StudySettings.model_fields,
        "choices",
        "low",
        "high",
        "log",
        "phase",
        "steps",
        "..",
        "__class__",
        "a.b",
        "é",
        "",
    ]
)
scalars = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.text(max_size=30),
    st.sampled_from(["../../etc", "/root", "noise", "tpe", "a" * 300, "\x00", "nan"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def toml_of(value: object) -> str:
    """A value as TOML."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{ " + ", ".join(f"{toml_of(str(k))} = {toml_of(v)}" for k, v in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(toml_of, value)) + "]"
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" if not (c.isalnum() and c.isascii()) else c for c in value) + '"'
        case _:
            return str(value)


@st.composite
def changed(draw) -> bytes:
    """A study file with lines taken out, put elsewhere, cut, or set to other values; sometimes with bytes that are no
    text."""
    lines = written(GOOD).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                lines[place] = lines[place].partition("=")[0] + "= " + toml_of(draw(values))
            case 1:
                lines.insert(place, f"{toml_of(draw(keys))} = {toml_of(draw(values))}")
            case 2:
                lines.insert(place, lines[draw(st.integers(0, len(lines) - 1))])
            case 3:
                lines[place] = lines[place][: draw(st.integers(0, len(lines[place])))]
            case 4:
                lines[place] = draw(st.text(max_size=40))
    content = "\n".join(lines).encode(errors="surrogatepass")
    cut = draw(st.integers(0, len(content)))
    return content[:cut] + draw(st.sampled_from([b"", b"", b"", b"\xff\xfe", b"\x00", b"\xef\xbb\xbf"])) + content[cut:]


SPACES = "".join(f"[[phases]]\nphase = 'noise'\nname = 'n{i}'\nsteps = {{ choices = [1, 2] }}\n" for i in range(40))


def refused(content: bytes, folder: Path) -> bool:
    """Whether a study file is refused, as it should be if it is."""
    path = folder / "study.toml"
    path.write_bytes(content)
    before, began = set(folder.rglob("*")), time.process_time()
    checked, messages = None, []
    try:
        checked = study.read(path)
    except StudyError as error:
        messages = error.messages
    # ten times what the longest takes: what grows with the square of a file's length would take minutes
    assert time.process_time() - began < 10
    if checked is not None:
        assert re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", checked.name)
        return False
    assert 1 <= len(messages) <= mistakes.MAX_MESSAGES + 1
    for message in messages:
        assert message.startswith(str(path))
        assert "\n" not in message
    result = CliRunner().invoke(cli.app, ["run", str(path)])
    assert (result.exit_code, result.stderr.splitlines()) == (2, messages)
    assert set(folder.rglob("*")) == before
    return True


@hypothesis_settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(content=changed() | st.binary(max_size=300))
def test_whatever_a_study_file_holds_it_is_read_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "hostile"
    folder.mkdir(exist_ok=True)
    note(repr(content))
    refused(content, folder)


@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 50_000,
        b"a = " + b"[" * 400 + b"]" * 400,
        b".".join([b"a"] * 50_000) + b" = 1",
        b"[" + b".".join([b"a"] * 5_000) + b"]",
        b'a = "' + b"x" * 2**20 + b'"',
        b"x" * 2**21,
        b"\n".join(b"key%d = 1" % i for i in range(50_000)),
        b"\n".join(b"[[phases]]\nphase = 'noise'\nsteps = 1" for _ in range(10_000)),
        written(GOOD, steps=f"steps = {{ choices = {[0, *range(200_000)]} }}").encode(),
        written(GOOD, seeds="seeds = 1" + "0" * 5000).encode(),
        written(GOOD).encode("utf-16"),
        written(GOOD, name='name = "../escape"').encode(),
        written(GOOD, name='name = "/tmp/escape"').encode(),
        written(GOOD, name='name = ".."').encode(),
        written(GOOD, search=SPACES + GOOD["search"]).encode(),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_huge_deep_and_odd_files_are_refused_at_once(content: bytes, tmp_path: Path) -> None:
    assert refused(content, tmp_path)
