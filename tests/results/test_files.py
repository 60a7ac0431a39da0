"""Files that somebody else may have put there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metafa.results import files


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
