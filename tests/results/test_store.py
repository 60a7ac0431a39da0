"""What every kind of store promises, and what folders promise beyond that.

A kind of store is a parameter of the fixture `store`: whatever another kind needs is one more row of `KINDS`."""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import interleaved
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from metafa.results import addresses
from metafa.results.store import BEING_WRITTEN, Store

FOLDERS = ("", "trials", "leases")


def in_a_folder(request: pytest.FixtureRequest, folder: Path) -> Store:
    return addresses.at(folder)


def in_an_object_store(request: pytest.FixtureRequest, folder: Path) -> Store:
    return addresses.at(request.getfixturevalue("object_store").format(folder.name))


def of_fsspec(request: pytest.FixtureRequest, folder: Path) -> Store:
    """As an address opens one that pyarrow does not know: through fsspec, and without a conditional put."""
    filesystem = fs.PyFileSystem(fs.FSSpecHandler(MemoryFileSystem()))
    return Store("memory", filesystem, f"/{folder.name}", "memory")


def of_the_model(request: pytest.FixtureRequest, folder: Path) -> Store:
    """The model that the interleavings are tested in: it has to be a store as others are."""
    files = interleaved.Files()
    files.number({})
    memory = interleaved.Memory(OneAfterAnother(files), atomic_rename=False, aged=False)
    return Store("memory", fs.PyFileSystem(memory), interleaved.ROOT, "memory", memory.exclusively)


class OneAfterAnother(interleaved.Run):
    """Does each operation at once, and remembers none."""

    def __init__(self, files: interleaved.Files):
        self.files, self.number, self.one_at_a_time = files, 0, threading.Lock()

    def perform(self, kind: str, path: str, argument: object = None) -> object:
        with self.one_at_a_time:
            operation = interleaved.Operation(kind, path, argument)
            self.number, answer = self.files.apply(self.number, operation)
            return answer


KINDS: dict[str, Callable[[pytest.FixtureRequest, Path], Store]] = {
    "a folder": in_a_folder,
    "an object store": in_an_object_store,
    "fsspec": of_fsspec,
    "the model": of_the_model,
}
EXCLUSIVE = {"a folder", "an object store", "the model"}
"""The kinds in which exactly one creates a file of several who try at once."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind, empty, with its folders."""
    made = KINDS[kind](request, tmp_path / f"results-{tmp_path.name}")
    made.make_folders(*FOLDERS)
    return made


def all_at_once(number: int, does: Callable[[int], object]) -> list:
    """What ``does`` returns to so many threads that begin together."""
    together = threading.Barrier(number)

    def begins(who: int) -> object:
        together.wait()
        return does(who)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(begins, range(number)))


# Reading and writing


@pytest.mark.parametrize("content", [b"", b"\x00\xff\r\n", bytes(3 * 2**20)], ids=["empty", "any bytes", "megabytes"])
@pytest.mark.parametrize("durable", [False, True])
def test_what_was_put_is_read(store: Store, content: bytes, durable: bool) -> None:
    store.put("trials/a", content, durable=durable)
    assert store.read("trials/a") == content
    assert store.size("trials/a") == len(content)
    assert store.exists("trials/a")


def test_a_file_that_is_put_takes_the_place_of_another_of_any_length(store: Store) -> None:
    for content in (b"first", b"a longer second", b"3"):
        store.put("a", content)
        assert store.read("a") == content
        assert store.sizes("") == {"a": len(content)}


def test_a_part_of_a_file_is_read(store: Store) -> None:
    """As Parquet is: its footer first, and then some of its pages."""
    store.put("a", bytes(range(256)))
    with store.filesystem.open_input_file(store.path("a")) as file:
        assert file.size() == 256
        file.seek(-6, os.SEEK_END)
        assert file.read() == bytes(range(250, 256))
        assert file.read_at(5, 10) == bytes(range(10, 15))
        assert file.read_at(10, 250) == bytes(range(250, 256)), "what there is of it"


def test_no_more_is_read_than_a_file_has_at_most(store: Store) -> None:
    store.put("a", b"x" * 11)
    assert store.read("a", limit=11) == b"x" * 11
    with pytest.raises(OSError, match="it is larger than the 10 bytes that such a file has at most") as caught:
        store.read("a", limit=10)
    assert caught.value.errno == errno.EFBIG


def test_what_is_not_there(store: Store) -> None:
    for name in ("none", "trials/none", "nowhere/none"):
        with pytest.raises(FileNotFoundError):
            store.read(name)
        with pytest.raises(FileNotFoundError):
            store.rename(name, "trials/other")
        assert not store.exists(name)
        assert store.size(name) == store.age(name) == 0
        assert not store.remove_same(name, b"")
        store.remove(name)
    for folder in FOLDERS:
        assert store.names(folder) == []
    assert store.names("nowhere") == []
    assert store.sizes("nowhere") == {}


def test_the_files_of_a_folder_are_listed_with_their_sizes(store: Store) -> None:
    """Hidden ones too; those of other folders are not, whose names begin alike."""
    content = {"trials/b": b"12", "trials/a": b"", "trials/.hidden": b"1", "trials-of-others": b"123", "leases/c": b"1"}
    for name, found in content.items():
        store.put(name, found)
    assert store.names("trials") == [".hidden", "a", "b"]
    assert store.sizes("trials") == {".hidden": 1, "a": 0, "b": 2}
    assert store.names("") == ["trials-of-others"]
    assert store.sizes("") == {"trials-of-others": 3}


@pytest.mark.parametrize("name", ["a b", "é漢", "50%25", "a+b=c&d", "a#b;c", "~a", ".a.0123", "a.b.c", "(a)", "a'b"])
def test_a_file_may_have_any_name(name: str, store: Store) -> None:
    """Somebody's copy of a part has one that metafa gives to none, and it is listed, read and removed by that."""
    assert store.create(f"trials/{name}", b"first")
    assert store.names("trials") == [name]
    assert store.read(f"trials/{name}") == b"first"
    assert not store.create(f"trials/{name}", b"second")
    store.put(f"trials/{name}", b"third!")
    assert store.sizes("trials") == {name: 6}
    store.rename(f"trials/{name}", f"leases/{name}")
    assert store.read(f"leases/{name}") == b"third!"
    store.remove(f"leases/{name}")
    assert store.names("trials") == store.names("leases") == []


def test_an_age_is_counted_from_the_last_time_a_file_was_written(store: Store) -> None:
    store.put("a", b"first")
    assert store.age("a") < 60
    store.put("a", b"second")
    assert 0 <= store.age("a") < 60


# Creating: exactly one does


def test_what_is_there_is_not_created(store: Store) -> None:
    assert store.create("a", b"first")
    assert not store.create("a", b"second")
    assert not store.create("a", b"")
    assert store.read("a") == b"first"
    store.remove("a")
    assert store.create("a", b"third", durable=True)
    assert store.read("a") == b"third"


def test_it_is_told_whether_creating_is_exclusive(kind: str, store: Store) -> None:
    assert store.tells_apart("trying") == (kind in EXCLUSIVE)
    assert store.names("") == [], "what was tried with is gone"


def test_of_many_who_create_a_file_at_once_one_does(kind: str, store: Store) -> None:
    """In a store that does not tell them apart more may, and what stands there is of one of them, whole."""
    for number in range(20):
        created = all_at_once(8, lambda who, name=f"trials/{number}": store.create(name, bytes([who]) * 1000))
        assert created.count(True) == 1 if kind in EXCLUSIVE else created.count(True) >= 1
        assert store.read(f"trials/{number}") in [bytes([who]) * 1000 for who in range(8) if created[who]]
    assert len(store.names("trials")) == 20, "nothing else is left"


def test_of_many_processes_that_create_a_file_at_once_one_does(address: str) -> None:
    program = """if True:
        import sys
        from metafa.results import addresses
        store = addresses.at(sys.argv[1])
        for number in sys.stdin:
            print(int(store.create(number.strip(), sys.argv[2].encode())), flush=True)
        """
    addresses.at(address).make_folders("")
    ways = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes = [subprocess.Popen([sys.executable, "-c", program, address, str(i)], **ways) for i in range(3)]
    try:
        for number in range(20):
            for process in processes:
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
            created = [process.stdout.readline().strip() for process in processes]
            assert sorted(created) == ["0", "0", "1"]
            assert addresses.at(address).read(str(number)) == str(created.index("1")).encode()
    finally:
        for process in processes:
            process.communicate()


# Renaming and removing


def test_a_renamed_file_has_its_new_name_alone(store: Store) -> None:
    store.put("trials/.a", b"content")
    store.rename("trials/.a", "trials/a")
    assert store.names("trials") == ["a"]
    assert store.read("trials/a") == b"content"
    store.put("trials/b", b"other")
    store.rename("trials/a", "trials/b")
    assert store.names("trials") == ["b"]
    assert store.read("trials/b") == b"content", "it takes the other's place"
    with pytest.raises(FileNotFoundError):
        store.rename("trials/a", "trials/b")
    assert store.read("trials/b") == b"content"


def test_a_removed_file_is_gone_and_its_neighbours_stay(store: Store) -> None:
    for name in ("trials/a", "trials/ab", "a"):
        store.put(name, b"content")
    store.remove("trials/a")
    store.remove("trials/a")
    assert (store.names("trials"), store.names("")) == (["ab"], ["a"])
    store.remove("trials/ab")
    assert store.names("trials") == []
    store.put("trials/c", b"the folder is still there")


def test_a_file_is_removed_only_while_it_has_the_content_that_was_seen(store: Store) -> None:
    store.put("a", b"first")
    assert not store.remove_same("a", b"second")
    assert store.read("a") == b"first"
    assert store.remove_same("a", b"first")
    assert not store.exists("a")
    assert not store.remove_same("a", b"first")
    assert store.names("") == []


# While others are at work, and when one is interrupted


def test_who_reads_while_a_file_is_put_again_and_again_finds_it_whole(store: Store) -> None:
    """As heartbeats are: each of another content and length, one of which is found, and never one from before."""

    def content(number: int) -> bytes:
        return b"%d " % number * (20_000 - 200 * number)

    store.put("trials/a", content(0))
    over, last = threading.Event(), 0

    def puts() -> None:
        try:
            for number in range(1, 50):
                store.put("trials/a", content(number))
        finally:
            over.set()

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(puts)
        while not over.is_set():
            found = store.read("trials/a", 2**20)
            number = int(found.partition(b" ")[0])
            assert found == content(number)
            assert number >= last
            last = number
            assert "a" in store.names("trials")
        writing.result()
    assert store.read("trials/a") == content(49)


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_half(address: str) -> None:
    """What it was writing has its content of before or of after; at most a hidden file tells of it."""
    program = """if True:
        import sys
        from metafa.results import addresses
        store, contents = addresses.at(sys.argv[1]), [b"a" * 8_000_000, b"b" * 8_000_000]
        store.put("trials/a", contents[0])
        print("begun", flush=True)
        for number in range(1_000_000):
            store.put("trials/a", contents[number % 2])
            store.create(f"trials/{number}", contents[0])
            store.remove(f"trials/{number}")
        """
    store, chance = addresses.at(address), random.Random(0)
    store.make_folders(*FOLDERS)
    whole = {b"a" * 8_000_000, b"b" * 8_000_000}
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", program, address], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "begun\n"
            time.sleep(chance.uniform(0, 0.1))  # anywhere
            process.kill()
        assert process.returncode == -signal.SIGKILL
        found = [name for name in store.names("trials") if not BEING_WRITTEN.fullmatch(name)]
        assert "a" in found
        for name in found:
            assert store.read(f"trials/{name}") in whole


@pytest.mark.parametrize("how", ["put", "create"])
def test_who_cannot_write_has_changed_nothing(how: str, tmp_path: Path) -> None:
    """Of a disk that is full after a thousand bytes, which a limit to the sizes of files stands for."""
    program = """if True:
        import resource, sys
        from metafa.results import addresses
        store = addresses.at(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            getattr(store, sys.argv[2])(sys.argv[3], b"x" * 2000)
        except OSError as error:
            print(error.filename, error.strerror)
        """
    store = addresses.at(tmp_path)
    store.put("there", b"before")
    name = {"put": "there", "create": "new"}[how]
    command = [sys.executable, "-c", program, tmp_path, how, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"{tmp_path / name} File too large\n", "")
    assert store.names("") == ["there"]
    assert store.read("there") == b"before"


def test_a_store_that_does_not_answer_is_not_taken_for_an_empty_one(unavailable: str) -> None:
    store = addresses.at(unavailable)
    asked = {
        "exists": lambda: store.exists("a"),
        "read": lambda: store.read("a"),
        "read at once": lambda: store.read("a", 100),
        "names": lambda: store.names("trials"),
        "size": lambda: store.size("a"),
        "put": lambda: store.put("a", b""),
        "create": lambda: store.create("a", b""),
        "rename": lambda: store.rename("a", "b"),
        "remove": lambda: store.remove("a"),
    }
    with ThreadPoolExecutor(len(asked)) as pool:  # each tries for seconds
        ended = {name: pool.submit(does) for name, does in asked.items()}
    for name, one in ended.items():
        assert isinstance(one.exception(), OSError), name
        assert not isinstance(one.exception(), FileNotFoundError), name
        assert re.search("503|SLOW_DOWN", str(one.exception())), name


# Folders alone


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return addresses.at(tmp_path)


@pytest.mark.parametrize("how", ["put", "create"])
def test_what_is_durable_is_on_the_disk_before_it_has_its_name(
    how: str, folder: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's content before it can be found, and the folder's entry before the call returns."""
    synced, fsync = [], os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((path == str(tmp_path), (tmp_path / "part").exists()))

    monkeypatch.setattr(os, "fsync", watched)
    getattr(folder, how)("part", b"content")
    assert synced == []
    folder.remove("part")
    getattr(folder, how)("part", b"content", durable=True)
    assert synced == [(False, False), (True, True)]


def test_a_filesystem_without_links_is_told(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(old: str, new: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", old)

    monkeypatch.setattr(os, "link", link)
    assert not folder.tells_apart("trying")
    assert folder.create("a", b"first")
    assert not folder.create("a", b"second")
    assert folder.names("") == ["a"]
    assert folder.read("a") == b"first"


def test_a_part_that_is_cleared_away_while_it_is_written_is_written_again(
    folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who clears up cannot know whose it is, and that its process only was slow."""
    link, times = os.link, itertools.count()

    def cleared(old: str, new: str) -> None:
        if next(times) == 0:
            os.unlink(old)
        link(old, new)

    monkeypatch.setattr(os, "link", cleared)
    assert folder.create("a", b"content")
    assert folder.read("a") == b"content"
    assert folder.names("") == ["a"]


def test_what_took_a_file_s_place_while_it_was_removed_stays(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def overtaken(old: str, new: str) -> None:
        if posixpath.basename(old) == "a":
            Path(old).write_bytes(b"another's")
        rename(old, new)

    folder.put("a", b"first")
    monkeypatch.setattr(os, "rename", overtaken)
    assert not folder.remove_same("a", b"first")
    assert folder.names("") == ["a"]
    assert folder.read("a") == b"another's"


def test_nothing_is_changed_in_a_folder_that_is_a_link(folder: Store, tmp_path: Path) -> None:
    """Which would change what stands outside the results."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (tmp_path / "trials").symlink_to(outside)
    for change in (
        lambda: folder.put("trials/file", b"theirs"),
        lambda: folder.create("trials/new", b"theirs"),
        lambda: folder.rename("trials/file", "file"),
        lambda: folder.remove("trials/file"),
    ):
        with pytest.raises(OSError, match="it is a link, to "):
            change()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": "mine"}
