"""Results folders that no metafa wrote: each is shown as it is, or a sentence and exit status 2; nothing is written
elsewhere, nothing waits, and memory is bounded."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import made
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from metafa.errors import PartError, ResultsError, StoreError
from metafa.results import addresses, files, parts, sealing, tables
from metafa.results.columns import MEASUREMENTS, TABLES
from metafa.results.rows import ROW
from metafa.results.sealing import DIGEST_BYTES
from metafa.running import screens
from metafa.studies.trial import Trial
from metafa.trials import checkpoints

TRIAL = "0123456789abcdef"


def measurements(rows: int = 3, **columns: object) -> pa.Table:
    """Measurements with ``columns`` in place of some."""
    known = {
        "trial_id": [TRIAL] * rows,
        "seed": list(range(rows)),
        "learning_rate": [None] * rows,
        "phase": ["evaluate"] * rows,
        "step": [5] * rows,
        "metric": ["meta_loss"] * rows,
        "layer": [None] * rows,
        "component": [None] * rows,
        "inputs": ["glyphs"] * rows,
        "shift": [None] * rows,
        "strength": [None] * rows,
        "value": [0.5] * rows,
    }
    types = {field.name: field.type for field in MEASUREMENTS}
    given = {name: value for name, value in (known | columns).items() if value is not Ellipsis}
    return pa.table(
        {
            name: pa.array(value, types[name]) if name not in columns else pa.array(value)
            for name, value in given.items()
        }
    )


def trials(rows: int = 1, **columns: object) -> pa.Table:
    known: dict[str, object] = {
        "trial_id": [f"{i:016x}" for i in range(rows)],
        "status": ["done"] * rows,
        "point": ["{}"] * rows,
        "phases": [["noise", "evaluate"]] * rows,
    }
    given = {name: value for name, value in (known | columns).items() if value is not Ellipsis}
    return pa.table({name: pa.array(value) for name, value in given.items()})


def parquet(table: pa.Table, **options: object) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, **({"compression": "zstd"} | options))
    return content.getvalue()


def test_a_part_is_read_as_it_was_written() -> None:
    found = parts.decode(parts.encode(measurements()), "measurements")
    assert found.equals(measurements().cast(MEASUREMENTS))
    assert parts.decode(parquet(trials(2)), "trials").to_pylist() == trials(2).to_pylist()
    some = parts.decode(parquet(trials(2)), "trials", ["status", "numerics", "trial_id"])
    assert some.column_names == ["status", "trial_id"]


def test_parts_of_earlier_versions_and_of_other_software_are_read() -> None:
    """Without the columns that there were not yet; and as pandas and Polars write them again."""
    early = measurements().drop_columns(["learning_rate", "component"])
    assert parts.decode(parquet(early), "measurements").equals(measurements().cast(MEASUREMENTS))
    again = pa.Table.from_pandas(measurements(layer=[1.0, None, 2.0]).to_pandas())
    found = parts.decode(parquet(again, compression="snappy"), "measurements")
    assert found["layer"].to_pylist() == [1, None, 2]
    assert found.schema.equals(MEASUREMENTS, check_metadata=True)  # nothing that steers pandas
    large = measurements().set_column(5, "metric", pa.array(["loss"] * 3, pa.large_string()))
    assert parts.decode(parquet(large), "measurements").schema == MEASUREMENTS


ODD_MEASUREMENTS = {
    "a seed in words": ({"seed": ["a", "b", "c"]}, "has the column 'seed' as string, where it is int64"),
    "half a step": ({"step": [0.5, 1.0, 2.0]}, "truncated"),
    "no value": ({"value": ...}, "lacks the column 'value'"),
    "another trial_id": ({"trial_id": ["../../escape"] * 3}, "has '../../escape' in the column 'trial_id'"),
    "no trial_id": ({"trial_id": pa.array([TRIAL, None, TRIAL])}, "has a null in the column 'trial_id'"),
    "a metric that moves the cursor": ({"metric": ["\x1b[2J"] * 3}, r"has '\x1b[2J' in the column 'metric'"),
    "inputs of mathematics": ({"inputs": ["$\\frac$"] * 3}, r"has '$\\frac$' in the column 'inputs'"),
    "lists": ({"value": [[0.5]] * 3}, "has the column 'value' as list"),
    "a dictionary": ({"metric": pa.array(["loss"] * 3).dictionary_encode()}, "has the column 'metric' as dictionary"),
    "an extension": ({"metric": pa.array(["1"] * 3, pa.json_())}, "has the column 'metric' as extension"),
    "whole numbers too large": ({"step": pa.array([2**64 - 1] * 3, pa.uint64())}, "is no Parquet that can be read"),
}
ODD_TRIALS = {
    "a status": ({"status": ["fine"]}, "has the status 'fine'; it is one of diverged, done, failed, stopped"),
    "no status": ({"status": ...}, "lacks the column 'status'"),
    "a point that is a list": ({"point": ["[1]"]}, "has '[1]' in the column 'point', which is no mapping"),
    "a point that is no JSON": ({"point": ["{"]}, "has '{' in the column 'point', which is no JSON"),
    "a deep point": ({"point": ["[" * 100_000]}, "which is no JSON"),
    "a long number": ({"point": ['{"a": ' + "1" * 10_000 + "}"]}, "which is no JSON"),
    "a point without number": ({"point": ['{"a": NaN}']}, "which is no JSON"),
    "data that names no images": ({"data": ['{"a": "b"}']}, "has 'a' in the column 'data', which names no images"),
    "a structure": ({"noise.steps": [{"a": 1}]}, "has the column 'noise.steps' as struct"),
    "lists of lists": ({"network.hidden": [[[1]]]}, "has the column 'network.hidden' as list"),
    "a name that moves the cursor": ({"\x1b[2J": [1]}, r"has the column '\x1b[2J', which is no setting's name"),
    "a start in the year 300,000": (
        {"started": pa.array([2**63 - 1], pa.timestamp("us", tz="UTC"))},
        "has a value in the column 'started' that no study has",
    ),
    "a trial of no time": ({"seconds": [float("nan")]}, "has a value in the column 'seconds' that no study has"),
    "an objective of none": ({"objectives": [[None, 1.0]]}, "has a value in the column 'objectives' that is no number"),
}


@pytest.mark.parametrize(("columns", "said"), ODD_MEASUREMENTS.values(), ids=ODD_MEASUREMENTS)
def test_measurements_that_no_study_makes_are_refused(columns: dict, said: str) -> None:
    with pytest.raises(PartError) as caught:
        parts.decode(parquet(measurements(**columns)), "measurements")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("columns", "said"), ODD_TRIALS.values(), ids=ODD_TRIALS)
def test_trials_that_no_study_makes_are_refused(columns: dict, said: str) -> None:
    with pytest.raises(PartError) as caught:
        parts.decode(parquet(trials(**columns)), "trials")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_texts_that_are_no_utf8_are_refused() -> None:
    as_text = pa.Array.from_buffers(pa.string(), 3, pa.array([b"\xff\xfe"] * 3).buffers())
    content = parquet(measurements().set_column(5, "metric", as_text))
    with pytest.raises(PartError):
        parts.decode(content, "measurements")


ID = "0123456789abcdef"
CARRIED = {
    "types": {"trial_id": "string", "status": "string", "point": "string", "started": "timestamp[us, tz=UTC]"}
    | {"objectives": "list<item: double>", "noise.steps": "int64", "numerics": "int64"},
    "values": {"trial_id": ID, "status": "done", "point": "{}", "started": "2026-01-02T03:04:05+00:00"}
    | {"objectives": [0.5], "noise.steps": 3, "numerics": 5},
}
ODD_ROWS = {
    "no JSON": b"{",
    "not UTF-8": b'{"types": {}, "values": {"status": "\xff"}}',
    "nested deeply": b"[" * 100_000,
    "a list": b"[]",
    "nothing": b"{}",
    "no types": {"types": None},
    "an unknown type": {"types": CARRIED["types"] | {"noise.steps": "map<string, int64>"}},
    "another trial's": {"values": CARRIED["values"] | {"trial_id": "f" * 16}},
    "no trial's": {"values": CARRIED["values"] | {"trial_id": "../../../x"}},
    "an unknown status": {"values": CARRIED["values"] | {"status": "fine"}},
    "a number as a text": {"values": CARRIED["values"] | {"status": 5}},
    "a text as a number": {"values": CARRIED["values"] | {"noise.steps": "many"}},
    "a number that fits no column": {"values": CARRIED["values"] | {"noise.steps": 2**64}},
    "a point that is none": {"values": CARRIED["values"] | {"point": "[1]"}},
    "a start that is none": {"values": CARRIED["values"] | {"started": "yesterday"}},
    "a setting that is none": {"types": CARRIED["types"] | {"\x1b[31m": "int64"}},
    "an infinite objective": {"values": CARRIED["values"] | {"objectives": [float("inf")]}},
}


def carrying(folder: Path, row: bytes) -> Path:
    """Results of one trial whose part of `measurements` carries ``row``."""
    table = measurements(1).replace_schema_metadata({ROW: row})
    table = table.set_column(0, "trial_id", [[ID]])
    for name in TABLES:
        (folder / name).mkdir(parents=True)
    (folder / "study.toml").write_text(STUDY)
    (folder / "measurements" / f"{ID}.parquet").write_bytes(parts.encode(table))
    return folder


def test_a_row_that_a_part_carries_is_read(tmp_path: Path) -> None:
    found = tables.load(carrying(tmp_path / "made", json.dumps(CARRIED).encode()))
    assert found.trials["noise.steps"].tolist() == [3]
    assert str(found.trials["started"][0]) == "2026-01-02 03:04:05+00:00"
    assert found.measurements["trial_id"].tolist() == [ID]


@pytest.mark.parametrize("odd", ODD_ROWS.values(), ids=ODD_ROWS)
def test_a_row_that_no_study_has_is_refused_in_a_sentence(odd: bytes | dict, tmp_path: Path) -> None:
    row = odd if isinstance(odd, bytes) else json.dumps(CARRIED | odd).encode()
    with pytest.raises(ResultsError, match=f"measurements/{ID}.parquet") as caught:
        tables.load(carrying(tmp_path / "made", row))
    assert str(caught.value).isprintable()


def varint(value: int, length: int | None = None) -> bytes:
    """A whole number as Thrift's compact protocol has it, in as many bytes as are asked for."""
    value, found = value << 1, []
    while value or not found or len(found) < (length or 0):
        found.append(value & 127 | 128)
        value >>= 7
    return bytes(found[:-1]) + bytes([found[-1] & 127])


def lying(content: bytes, told: int, instead: int) -> bytes:
    """A file whose footer says ``instead`` wherever it said ``told``."""
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    said = varint(told)
    assert said in content[footer:]
    return content[:footer] + content[footer:].replace(said, varint(instead, len(said)))


def chunk(content: bytes, path: str) -> object:
    group = pq.read_metadata(pa.BufferReader(content)).row_group(0)
    return next(group.column(j) for j in range(group.num_columns) if group.column(j).path_in_schema == path)


@functools.cache
def bombs() -> dict[str, tuple[str, bytes]]:
    """Parts of some kilobytes that would be gigabytes: of which table, and the content."""
    rows = 2**20
    plain = measurements(rows, seed=np.zeros(rows, int)).drop_columns(["learning_rate", "layer", "component"])
    many = io.BytesIO()
    with pq.ParquetWriter(many, plain.schema, compression="zstd") as writer:
        for _ in range(8):
            writer.write_table(plain)
    one_text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 2**20]))
    texts = parquet(plain.set_column(plain.column_names.index("inputs"), "inputs", one_text), store_schema=False)
    growing = measurements(4000, metric=["a" * i for i in range(4000)])
    error = parquet(trials(error=["x" * 2**28]), use_dictionary=False, write_statistics=False)
    layers = pa.ListArray.from_arrays(pa.array([0, 2**24], pa.int32()), pa.array(np.zeros(2**24, np.int64)))
    long = parquet(trials().append_column("network.hidden", layers))
    return {
        "rows": ("measurements", many.getvalue()),
        "texts": ("measurements", texts),
        "texts and a footer that lies": (
            "measurements",
            lying(texts, chunk(texts, "inputs").total_uncompressed_size, 100),
        ),
        "texts that grow": (
            "measurements",
            parquet(growing, use_dictionary=False, column_encoding={"metric": "DELTA_BYTE_ARRAY"}),
        ),
        "an error": ("trials", error),
        "an error and a footer that lies": ("trials", lying(error, chunk(error, "error").total_uncompressed_size, 100)),
        "a list": ("trials", long),
        "a list and a footer that lies": ("trials", lying(long, 2**24, 1)),
    }


def test_parts_that_would_be_gigabytes_are_refused_before_they_are(tmp_path: Path) -> None:
    for number, (table, content) in enumerate(bombs().values()):
        assert len(content) < 2**22
        (tmp_path / f"{number}.{table}").write_bytes(content)
    code = """if True:
        import pathlib, resource, sys
        from metafa.errors import PartError
        from metafa.results import parts
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
            try:
                print(len(parts.decode(path.read_bytes(), path.suffix[1:])), "rows of", path.name)
            except PartError:
                print("refused")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60)
    *said, kilobytes = done.stdout.splitlines()
    assert (done.stderr, said) == ("", ["refused"] * len(said))
    assert len(said) == len(list(tmp_path.iterdir()))
    assert int(kilobytes) < 2**18


def test_what_diverged_compresses_well_and_is_read() -> None:
    """Nothing but NaN, of a trial of a million measurements: the most that a byte of a study stands for."""
    rows = 2**20
    content = parquet(measurements(rows, seed=np.arange(rows) % 64, value=np.full(rows, np.nan)))
    assert rows / len(content) > 10
    assert len(parts.decode(content, "measurements")) == rows


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_a_part_of_which_bytes_are_others_is_read_or_refused(data: st.DataObject) -> None:
    """Whoever changes bytes can put the right digest beside them."""
    table = data.draw(st.sampled_from(TABLES))
    content = bytearray(parquet(measurements(20) if table == "measurements" else trials(2)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                content[place] = data.draw(st.integers(0, 255))
            case 1:
                del content[place : place + data.draw(st.integers(1, 40))]
            case 2:
                content[place:place] = data.draw(st.binary(min_size=1, max_size=20))
    began = time.process_time()
    with contextlib.suppress(PartError):
        found = parts.decode(bytes(content), table)
        found.to_pandas()
        found.to_pylist()
        assert found.nbytes < 2**20
    assert time.process_time() - began < 5


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "large").write_bytes(b"x" * 11)
    (tmp_path / "good").write_bytes(b"x" * 10)
    (tmp_path / "link").symlink_to("good")
    assert files.read(tmp_path / "link", 10) == b"x" * 10
    for name, said in [
        ("pipe", "it is no file but a pipe"),
        ("zero", "it is no file but a pipe, a socket or a device"),
        ("large", "it is larger than the 10 bytes"),
        (".", "Is a directory"),
        ("loop", "symbolic links"),
        ("none", "No such file"),
    ]:
        with pytest.raises(OSError, match=said):
            files.read(tmp_path / name, 10)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "file").write_text("mine")
    (inside / "file").symlink_to(outside / "file")
    (inside / "folder").symlink_to(outside)
    (inside / "dangling").symlink_to(outside / "new")
    files.check_folders(inside, "plain/file")
    for name in ("folder/file", "file", "dangling"):
        with pytest.raises(OSError, match="it is a link, to "):
            files.check_folders(inside, name)
    for name in ("file", "dangling"):
        files.write(inside / name, b"theirs")
        assert (inside / name).read_bytes() == b"theirs"
        assert not (inside / name).is_symlink()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": "mine"}
    assert sorted(path.name for path in inside.iterdir()) == ["dangling", "file", "folder"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("results/a@b", "results/a@b"),
        ("gs://SECRET@bucket/a@b", "gs://bucket/a@b"),
        ("s3://KEY:SEC/RET@bucket/folder", "s3://bucket/folder"),
        ("s3://KEY:SEC@RET/SEC@bucket", "s3://bucket"),
        ("s3://KEY:SEC?RET#SEC@bucket/folder", "s3://***"),
        ("s3://KEY:SEC%2FRET@bucket/folder", "s3://bucket/folder"),
        ("gs://SECRET@bucket/folder", "gs://bucket/folder"),
        (
            "s3://bucket/folder?region=eu&secret_key=SECRET&session_token=SEC/RET@SEC&scheme=http",
            "s3://bucket/folder?region=eu&secret_key=***&session_token=***&scheme=http",
        ),
        ("s3://bucket?endpoint_override=KEY:SECRET@host:90", "s3://bucket?endpoint_override=host:90"),
        ("az://box/folder?sas=SECRET;token=SECRET#key=SECRET", "az://box/folder?sas=***;token=***#key=***"),
    ],
)
def test_an_address_is_shown_without_anybodys_keys(address: str, shown: str) -> None:
    assert addresses.shown(address) == shown


@pytest.mark.parametrize(
    "address",
    ["s3://KEYKEY:SECRET/SECRET@bucket", "nowhere://KEYKEY:SECRET@host", "s3://bucket?secret_kye=SECRET&other=KEYKEY"],
)
def test_what_a_library_says_of_an_address_is_shown_without_its_keys(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        addresses.at(address)
    assert "SECRET" not in str(caught.value)
    assert "KEYKEY" not in str(caught.value)
    said = f"cannot read {address}: SECRET refused"
    assert "SECRET" not in addresses.hidden(said, address)


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    key=st.text("ABC", min_size=4, max_size=9),
    secret=st.text("ABC/@:?#&=;%", min_size=1, max_size=20).map(lambda text: f"XYZ{text}XYZ"),
)
def test_no_secret_is_shown_whatever_letters_it_has(key: str, secret: str) -> None:
    said = addresses.shown(f"s3://{key}:{secret}@bucket/folder")
    assert "XYZ" not in said


STEERS = "".join(map(chr, [*range(32), *range(127, 160), 0x61C, *range(0x200E, 0x2010), *range(0x2028, 0x202F)]))
STEERS += "".join(map(chr, [*range(0x2060, 0x2065), *range(0x2066, 0x2070), 0xFEFF, 0xAD, 0xD800, 0xE0001]))


@given(text=st.text(st.sampled_from(STEERS + "ab[/]°é·")))
def test_a_text_steers_no_terminal(text: str) -> None:
    """Neither as a line, nor styled, nor in a table, nor in a live line; and reads as Python would write it."""
    for shown in (text, Text(text, "red"), table_of(text), Padding(Text(text.replace("\n", "")), 1)):
        screen = screens.console(file=io.StringIO(), force_terminal=True, width=10_000, color_system=None)
        screen.print(shown)
        lines = screen.file.getvalue().split("\n")
        assert all(letter not in STEERS for line in lines for letter in line)
        assert len(lines) == (6 if isinstance(shown, Table) else 4 if isinstance(shown, Padding) else 2)
    escaped = screens.printable(text)
    assert escaped.isprintable()
    assert ast.literal_eval(f'"{escaped}"') == text


def table_of(text: str) -> Table:
    table = Table(text)
    table.add_row(text)
    return table


def test_what_languages_are_written_with_is_printed_as_it_is() -> None:
    for text in ("é → 漢字 עברית", "می\u200cخواهم", "👩\u200d🔬"):
        assert screens.printable(text) == text


def checkpoint(**changes: object) -> bytes:
    """A checkpoint whose text has ``changes`` in it, with the right digest."""
    row = {"seed": 0, "learning_rate": None, "phase": "noise", "step": 0, "metric": "loss", "layer": None}
    row |= {"component": None, "inputs": None, "shift": None, "strength": None, "value": float("nan")}
    diverged = {"seed": 0, "learning_rate": None, "phase": "noise", "step": 0, "metric": "loss"}
    text = {"phase": 0, "step": 4, "moments": [["noise", 0]], "rows": [row], "divergences": {"0": diverged}}
    text["judged"] = [["noise", 0, 0.1]]
    content = safetensors.torch.save({"weights": torch.ones(2)}, {"metafa": json.dumps(text | changes)})
    return content + sealing.digest(content)


def test_a_checkpoint_is_read_or_taken_for_none() -> None:
    found = checkpoints.decode(checkpoint())
    assert found is not None
    assert checkpoints.encode(found) == checkpoint()
    for changes in (
        {"phase": "noise"},
        {"phase": -1},
        {"step": None},
        {"moments": [["noise"]]},
        {"rows": [{"seed": 0}]},
        {"rows": 3},
        {"divergences": {"first": {}}},
        {"divergences": {"0": {"seed": 0, "odd": 1}}},
        {"judged": [[0]]},
    ):
        assert checkpoints.decode(checkpoint(**changes)) is None
    deep = safetensors.torch.save({}, {"metafa": "[" * 100_000})
    for content in (b"", b"\xff" * 40, json.dumps({}).encode(), deep, (2**63).to_bytes(8, "little") + b"{}"):
        assert checkpoints.decode(content + sealing.digest(content)) is None


@hypothesis_settings(max_examples=200, deadline=None, derandomize=True)
@given(place=st.integers(0, 2000), instead=st.binary(max_size=20))
def test_a_checkpoint_of_which_bytes_are_others_is_read_or_taken_for_none(place: int, instead: bytes) -> None:
    content = checkpoint()[:-DIGEST_BYTES]
    content = content[: place % len(content)] + instead + content[place % len(content) + len(instead) :]
    checkpoints.decode(content + sealing.digest(content))


STUDY = """\
name = "made"
seeds = 4
[network]
rule = { choices = ["backprop", "feedback_alignment"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 100] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
[[claims]]
claim = 1
statement = "Noise costs nothing: $\\\\frac"
phase = "evaluate"
metric = "meta_loss"
compare = "noise"
expect = "lower"
"""
SCRIPTS = sorted(path.stem for path in made.ANALYSIS.glob("*.py") if path.stem != "figures")
SERVER = """if True:
    import importlib, io, json, os, resource, signal, sys, tempfile, time
    from metafa import __main__, cli
    from metafa.reporting import report
    from metafa.results import tensorboard
    from metafa.running import bundled, stopping
    sys.path.insert(0, bundled.folder("analysis").as_posix())
    for script in json.loads(sys.argv[1]):
        importlib.import_module(script)
    import tensorboardX
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        sys.argv = ["metafa", *json.loads(line)]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            if not (child := os.fork()):
                os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
                signal.alarm(60)
                status = 1
                try:
                    __main__.main()
                except SystemExit as error:
                    status = error.code or 0
                except BaseException:
                    import traceback
                    traceback.print_exc()
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(status)
            _, status, used = os.wait4(child, 0)
            said = [file.seek(0) or file.read().decode() for file in (out, err)]
        answers.write(json.dumps([os.waitstatus_to_exitcode(status), *said, used.ru_maxrss]) + chr(10))
        answers.flush()
"""


class Said(NamedTuple):
    """What a command came to: its exit status, what it printed, and the memory that it took, in kilobytes."""

    status: int
    out: str
    err: str
    kilobytes: int


@pytest.fixture(scope="module")
def metafa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Said]]:
    """The command, each call in a process of its own, which is a copy of one that has imported everything already."""
    command = [sys.executable, "-c", SERVER, json.dumps(SCRIPTS)]
    folder = tmp_path_factory.mktemp("elsewhere")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as server:

        def call(*arguments: object) -> Said:
            server.stdin.write(json.dumps([*map(str, arguments)]) + "\n")
            server.stdin.flush()
            said = Said(*json.loads(server.stdout.readline()))
            assert not list(folder.iterdir()), "written where nobody asked for it"
            return said

        yield call
        server.stdin.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results as metafa writes them."""
    folder = tmp_path_factory.mktemp("sound") / "made"

    def measure(trial: Trial) -> list[dict[str, object]]:
        return [
            {"seed": seed, "phase": "evaluate", "step": step, "metric": metric, "inputs": "glyphs", "value": seed + 0.5}
            for seed in range(4)
            for step in (0, 5)
            for metric in ("meta_loss", "meta_accuracy")
        ]

    made.results_of(folder, STUDY, measure)
    return folder


def sane(said: Said) -> Said:
    """Checks what holds whatever was read."""
    assert "Traceback" not in said.err + said.out
    assert said.status in (0, 1, 2), said
    assert said.kilobytes < 1.5 * 2**20
    for line in (said.out + said.err).split("\n"):
        assert screens.printable(line) == line
    if said.status == 2:
        assert said.err.count("\n") == 1, said.err
    return said


def commands(folder: Path) -> list[tuple[object, ...]]:
    """What reads results, but for `verify`, which computes."""
    (folder.parent / "study.toml").write_text(STUDY)
    return [
        ("status", folder),
        ("report", folder),
        ("tensorboard", folder, folder.parent / "events"),
        ("compact", folder),
        ("check", folder.parent / "study.toml", "--results", folder),
        *(("analyse", script, folder) for script in SCRIPTS),
    ]


def a_part(folder: Path, table: str) -> Path:
    return min((folder / table).glob("*.parquet"))


def with_rows(table: str, **columns: object) -> Callable[[Path], None]:
    """Puts ``columns`` into a part, sealed as metafa does."""

    def attack(folder: Path) -> None:
        path = a_part(folder, table)
        rows = pq.read_table(path)
        for name, value in columns.items():
            if value is Ellipsis:
                rows = rows.drop_columns([name])
                continue
            values = value if isinstance(value, pa.Array) else pa.array([value] * len(rows))
            place = rows.column_names.index(name) if name in rows.column_names else len(rows.column_names)
            rows = (
                rows.set_column(place, name, values) if place < rows.num_columns else rows.append_column(name, values)
            )
        path.write_bytes(parts.encode(rows))

    return attack


def with_file(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def with_pipe(name: str) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return attack


def with_link(name: str, to: str) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return attack


def with_bomb(name: str) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        table, content = bombs()[name]
        a_part(folder, table).write_bytes(sealing.seal(content))

    return attack


STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold]:bug:[/bold]\nmetafa: all is well"
ATTACKS = {
    "a trial_id that climbs": with_rows("trials", trial_id="../../escape"),
    "a trial_id that climbs, of measurements": with_rows("measurements", trial_id="../../escape"),
    "a status that steers": with_rows("trials", status=STEERING),
    "a point that is none": with_rows("trials", point="[1]"),
    "a part of rows": with_bomb("rows"),
    "a part of texts": with_bomb("texts"),
    "a part that is no Parquet": lambda folder: a_part(folder, "measurements").write_bytes(b"PAR1" * 100) and None,
    "an empty part": lambda folder: a_part(folder, "trials").write_bytes(b"") and None,
    "a part without values": with_rows("measurements", value=...),
    "values in words": with_rows("measurements", value="much"),
    "a metric that steers": with_rows("measurements", metric=STEERING),
    "a study that is a pipe": with_pipe("study.toml"),
    "a study that never ends": with_link("study.toml", "/dev/zero"),
    "a study that steers": with_file("study.toml", f'"{STEERING}" = 1'.encode()),
    "a study that is deep": with_file("study.toml", b"a = " + b"[" * 50_000),
    "a study that is no text": with_file("study.toml", b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_every_command_ends_well_over_results_that_no_study_has(
    attack: Callable[[Path], None], sound: Path, tmp_path: Path, metafa: Callable[..., Said]
) -> None:
    found = []
    for number in range(len(commands(sound))):
        folder = tmp_path / str(number) / "made"
        shutil.copytree(sound, folder)
        attack(folder)
        found.append(sane(metafa(*commands(folder)[number])))
        assert not (tmp_path / "escape").exists()
        assert {path.name for path in folder.parent.iterdir()} <= {"made", "study.toml", "events", "claims"}
    assert {said.status for said in found} & {2}


CONTENT = {
    "a last word that steers": with_file(
        "progress.json",
        json.dumps(
            {"written": "2026-01-01T00:00:00Z", "host": STEERING, "summary": STEERING, "running": {STEERING: 0.5}}
        ).encode(),
    ),
    "a last word of the year 1": with_file(
        "progress.json",
        b'{"written": "0001-01-01T00:00:00+23:59", "host": "a", "summary": "b", "running": {}}',
    ),
    "a last word that is deep": with_file("progress.json", b"[" * 100_000),
    "a last word that is a pipe": with_pipe("progress.json"),
    "images that are a list": with_file("images.json", b"[1, 2]"),
    "images that are deep": with_file("images.json", b"[" * 100_000),
    "images that are numbers": with_file("images.json", b'{"tasks/glyphs/test": [1]}'),
    "images that are a pipe": with_pipe("images.json"),
    "a plan that is deep": with_file(".compacting.json", b"[" * 100_000),
    "a plan that climbs": with_file(".compacting.json", b'{"old": ["../../outside"], "new": ["../x"]}'),
    "a part that is a pipe": with_pipe("trials/0123456789abcdef.parquet"),
    "a name that steers": with_file("trials/\x1b[2J\n.parquet", b"PAR1"),
    "an error that steers": with_rows("trials", error=STEERING, host=STEERING, device=STEERING, status="failed"),
}


@pytest.mark.parametrize("attack", CONTENT.values(), ids=CONTENT)
def test_what_is_shown_of_somebody_elses_results_steers_no_terminal(
    attack: Callable[[Path], None], sound: Path, tmp_path: Path, metafa: Callable[..., Said]
) -> None:
    folder = tmp_path / "made"
    shutil.copytree(sound, folder)
    (tmp_path / "outside").write_text("mine")
    attack(folder)
    for command in commands(folder)[:3]:
        sane(metafa(*command))
    assert (tmp_path / "outside").read_text() == "mine"


def test_reports_and_analyses_are_written_through_no_link(
    sound: Path, tmp_path: Path, metafa: Callable[..., Said]
) -> None:
    folder, outside = tmp_path / "made", tmp_path / "outside"
    shutil.copytree(sound, folder)
    outside.mkdir()
    (outside / "file").write_text("mine")
    (folder / "report.html").symlink_to(outside / "file")
    (folder / "analysis").symlink_to(outside)
    assert sane(metafa("report", folder)).status == 0
    assert "<html" in (folder / "report.html").read_text()
    said = sane(metafa("analyse", "adaptation", folder))
    assert (said.status, said.err) == (
        2,
        f"{folder}/analysis cannot be written (it is a link, to {outside}, through which nothing is written); choose "
        "another folder with --output\n",
    )
    (folder / "analysis").unlink()
    (folder / "analysis").mkdir()
    (folder / "analysis" / "adaptation.csv").symlink_to(outside / "file")
    (folder / "analysis" / "adaptation.png").symlink_to(outside / "new")
    assert sane(metafa("analyse", "adaptation", folder)).status == 0
    assert len(pd.read_csv(folder / "analysis" / "adaptation.csv")) == 4 * 2 * 2
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": "mine"}
    # what the user names is theirs
    (tmp_path / "named.html").symlink_to(outside / "named")
    assert sane(metafa("report", folder, "--output", tmp_path / "named.html")).status == 0
    assert "<html" in (outside / "named").read_text()


def test_no_text_of_a_csv_is_a_formula() -> None:
    figures = runpy.run_path(str(made.ANALYSIS / "figures.py"))
    texts = [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "＝1",
        "a=1",
        "",
        None,
        "-0.5",
        "-inf",
        "1e-3",
    ]
    table = pd.DataFrame({"=text": texts, "number": np.linspace(-1, 1, len(texts))})
    read = pd.read_csv(
        io.StringIO(figures["for_spreadsheets"](table).to_csv(index=False)), keep_default_na=False, dtype=str
    )
    assert read["'=text"].tolist() == [
        *("'" + text for text in texts[:5]),
        "'\\r=1",
        "'＝1",
        "a=1",
        "",
        "",
        "-0.5",
        "-inf",
        "1e-3",
    ]
    assert read["number"].astype(float).tolist() == table["number"].tolist()


whole = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 2**62])
words = st.sampled_from(
    ["", "noise", "x" * 300, "[1]", "{}", "\x1b[2J", "$\\frac$", "<script>", "=1", '{"noise.steps": "x"}']
)
of_any_kind = st.one_of(
    whole,
    st.floats(),
    words,
    st.none(),
    st.booleans(),
    *(st.lists(one, max_size=3) for one in (words, whole, st.floats())),
)
TRIALS = "point phases network.rule network.hidden noise.steps noise.inputs noise.learning_rate divergences seconds"
TRIALS += " diverged_seeds diverged_phase started numerics data error objectives seeds other.inputs other.steps"
changes = st.one_of(
    st.tuples(st.just("trials"), st.sampled_from(TRIALS.split()), of_any_kind | st.just(...)),
    st.tuples(st.just("trials"), st.just("status"), st.sampled_from(["diverged", "failed", "stopped"])),
    st.tuples(st.just("measurements"), st.sampled_from(MEASUREMENTS.names[1:]), of_any_kind),
)
readers = st.sampled_from([("report",), ("status",), *(("analyse", script) for script in SCRIPTS)])


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(changes=st.lists(changes, min_size=1, max_size=3), command=readers)
def test_columns_that_do_not_fit_each_other_are_shown_or_refused(
    changes: list[tuple[str, str, object]],
    command: tuple[str, ...],
    sound: Path,
    tmp_path_factory: pytest.TempPathFactory,
    metafa: Callable[..., Said],
) -> None:
    folder = tmp_path_factory.mktemp("changed") / "made"
    shutil.copytree(sound, folder)
    for table, name, value in changes:
        with contextlib.suppress(pa.ArrowException, OverflowError, KeyError):  # what no Parquet can hold
            with_rows(table, **{name: value})(folder)
    said = metafa(*command, folder)
    *remarks, last = said.err.splitlines(keepends=True) or [""]  # what stands beside every number is said first
    assert all(line.startswith(f"{folder}: ") for line in remarks)
    sane(said._replace(err=last))
