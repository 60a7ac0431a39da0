"""The folder of Ray's temporary files: nobody's goes but one whose run is gone."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from metafa.running import scratch

if scratch.fcntl is None:
    pytest.skip("there are no locks on folders here", allow_module_level=True)

HOLD = """\
import sys
from metafa.running import scratch
print(scratch.make().path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as name:
        monkeypatch.setenv("RAY_TMPDIR", name)
        yield Path(name)


def test_a_folder_goes_when_its_run_is_gone_and_not_before(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=-1, stdout=-1, text=True) as other:
        theirs = Path(other.stdout.readline().strip())
        (theirs / "session" / "logs").mkdir(parents=True)
        ours = scratch.make()
        assert {path.name for path in root.iterdir()} == {theirs.name, Path(ours.path).name}
        other.send_signal(signal.SIGKILL)
    again = scratch.make()
    assert {path.name for path in root.iterdir()} == {Path(one.path).name for one in (ours, again)}
    for one in (ours, again):
        scratch.remove(one)
    assert list(root.iterdir()) == []


def test_nobody_elses_files_are_touched(root: Path, tmp_path: Path) -> None:
    name = f"{scratch._prefix()}0000"
    assert scratch.NAME.fullmatch(name)
    another_machines = f"metafa_{int(name[7:], 16) ^ 0x10000000:08x}"
    kept = ["ray", "metafa_", f"{name}1", f"x{name}", f"metafa-{name[7:]}", another_machines]
    for one in kept:
        (root / one / "inside").mkdir(parents=True)
    (tmp_path / "theirs").touch()
    (root / name).symlink_to(tmp_path)
    (root / f"{name[:-1]}1").touch()
    (root / f"{name[:-1]}2").mkdir()
    (root / f"{name[:-1]}2" / "link").symlink_to(tmp_path)
    scratch.remove(scratch.make())
    assert {path.name for path in root.iterdir()} == {*kept, name, f"{name[:-1]}1"}
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_where_names_would_be_too_long_for_sockets_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 40)))
    assert scratch.make() is None


def test_a_folder_is_short_enough_for_the_longest_socket(root: Path) -> None:
    folder = scratch.make()
    longest = os.path.join(folder.path, "session_2026-01-01_00-00-00_000000_4194304", "sockets", "plasma_store")
    assert len(longest) - len(folder.path) == 64
    assert len(os.path.basename(folder.path)) == scratch.NAME_BYTES
    scratch.remove(folder)
