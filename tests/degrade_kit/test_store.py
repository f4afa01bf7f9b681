from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar, cast

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import degrade_kit.files
from degrade_kit import remote
from degrade_kit.errors import ConfigError, RunError, ShardError
from degrade_kit.store import (
    SCRATCH,
    LocalStore,
    RemoteStore,
    Store,
    check_writable,
    free_bytes,
    is_safe_name,
    open_store,
)

numbers = itertools.count()


@pytest.fixture(params=["local", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind; nothing of it is there yet."""
    urls = {
        "local": str(tmp_path / "out"),
        "file": f"file://{tmp_path}/out",
        "memory": f"memory://m{next(numbers)}/out",
    }
    return open_store(urls[request.param])


def fill(store: Store, name: str, data: bytes) -> Path:
    scratch = store.scratch(name)
    scratch.write_bytes(data)
    return scratch


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.names() == []
    assert store.size("a") is None
    store.delete("a")
    for missing in ("a", "b/c"):
        with pytest.raises(FileNotFoundError):
            store.read(missing)
    check_writable(store)
    assert store.names() == []


def test_what_is_written_is_read_again(store: Store) -> None:
    store.write("b/c.json", b"old")
    store.write("b/c.json", b"new")
    store.write("a.tar", bytes(1000))
    store.write("é ü.txt", b"")
    assert store.names() == ["a.tar", "b/c.json", "é ü.txt"]
    assert store.read("b/c.json") == b"new"
    assert [store.size(name) for name in store.names()] == [1000, 3, 0]
    assert open_store(store.url).read("a.tar") == bytes(1000)
    store.delete("b/c.json")
    assert store.names() == ["a.tar", "é ü.txt"]


def test_a_scratch_file_appears_under_its_name_when_it_is_published(store: Store) -> None:
    scratch = fill(store, "a/b.tar", b"whole")
    assert store.size("a/b.tar") is None
    assert all(name.startswith(SCRATCH) for name in store.names())
    store.publish(scratch, "a/b.tar")
    assert store.names() == ["a/b.tar"]
    assert store.read("a/b.tar") == b"whole"
    assert not scratch.exists()
    assert fill(store, "a/b.tar", b"") != fill(store, "a/b.tar", b"")


def test_a_local_copy_has_the_content(store: Store) -> None:
    store.write("a/b.tar", b"content")
    assert store.local_copy("a/b.tar").read_bytes() == b"content"
    assert store.names() == ["a/b.tar"]


def test_a_write_that_fails_leaves_the_old_file_and_no_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.write("a", b"old")

    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(degrade_kit.files, "_sync", fail)
    with pytest.raises(OSError, match="No space"):
        store.write("a", b"new")
    assert store.read("a") == b"old"
    assert store.names() == ["a"]


def test_file_and_folder_are_synced_before_and_after_the_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = LocalStore(tmp_path), list[tuple[Path, bool]]()
    scratch = fill(store, "b/a", b"data")
    monkeypatch.setattr(degrade_kit.files, "_sync", lambda path: seen.append((path, (tmp_path / "b/a").exists())))
    store.publish(scratch, "b/a")
    assert seen == [(scratch, False), (tmp_path / "b", True)]


def test_a_writer_that_is_killed_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
import degrade_kit.files
from degrade_kit.store import LocalStore
degrade_kit.files._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
LocalStore(Path(sys.argv[1])).write("a.tar", b"data")
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert done.returncode == -9
    store = LocalStore(tmp_path)
    assert store.size("a.tar") is None
    assert len(store.names()) == 1
    store.sweep()
    assert list(tmp_path.rglob("*")) == [tmp_path / ".degrade_kit"]


SCRATCH_AND = """
import sys
from pathlib import Path
from degrade_kit.store import LocalStore
print(LocalStore(Path(sys.argv[1])).scratch("shard-000001.tar"), flush=True)
"""


@pytest.mark.slow
def test_sweep_removes_what_dead_processes_of_this_machine_left_and_nothing_else(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    mine = store.scratch("shard-000000.tar")
    alive = subprocess.Popen(
        [sys.executable, "-c", f"{SCRATCH_AND}sys.stdin.read()", tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert alive.stdin is not None
    assert alive.stdout is not None
    living = Path(alive.stdout.readline().strip())
    dead = subprocess.run([sys.executable, "-c", SCRATCH_AND, tmp_path], capture_output=True, text=True, check=True)
    left = Path(dead.stdout.strip())
    name, owner, random, ending = mine.name.rsplit(".", 3)
    host, pid, start, space = owner.split("-", 3)
    elsewhere = mine.with_name(f"{name}.other{host}-{left.name.split('-')[-4]}-1-{space}.{random}.{ending}")
    # The number of a process is used again.
    reused = mine.with_name(f"{name}.{host}-{pid}-{int(start) - 1}-{space}.{random}.{ending}")
    foreign = [mine.with_name(odd) for odd in ("notes.txt", "a.b.c", f".x.{host}-abc-1-{space}.{random}.{ending}")]
    beside = mine.parent.with_name(left.name)  # of a file that is never written again
    for path in (elsewhere, reused, beside, *foreign):
        path.touch()
    assert left.exists()
    store.sweep()
    assert not beside.exists()
    assert set(mine.parent.iterdir()) == {mine, living, elsewhere, *foreign}
    alive.communicate("")
    store.sweep()
    assert set(mine.parent.iterdir()) == {mine, elsewhere, *foreign}
    for path in (mine, elsewhere, *foreign):
        path.unlink()
    store.sweep()
    assert not mine.parent.exists()
    store.sweep()


@pytest.mark.slow
def test_scratch_files_survive_other_processes_that_sweep(tmp_path: Path) -> None:
    store, stop = LocalStore(tmp_path), threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            store.sweep()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for number in range(100):
            store.write(f"{number % 3}", b"data")
    finally:
        stop.set()
        sweeper.join()
    assert store.names() == ["0", "1", "2"]


@pytest.mark.parametrize("url", ["out", "./a:b", "/a/b:c/d", "a b/ü", "-x"])
def test_paths_are_local(url: str) -> None:
    store = open_store(url)
    assert isinstance(store, LocalStore)
    assert store.root == Path(url)


@pytest.mark.parametrize("url", ["file:///a/b", "file:/a/b"])
def test_file_urls_are_local(url: str) -> None:
    assert open_store(url) == LocalStore(Path("/a/b"))


@pytest.mark.parametrize("url", ["s3://bucket/folder", "s3://bucket/folder/", "memory://a/b", "gs://b"])
def test_urls_are_remote(url: str) -> None:
    store = open_store(url)
    assert isinstance(store, RemoteStore)
    assert store.url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        *("pipe:cat", "pipe://cat", "http://x/y", "https://x/y", "HTTPS://x/y", "simplecache::http://x/y"),
        *("s3://", "memory://", "memory:///", "s3:bucket", "ab:c"),
    ],
)
def test_what_cannot_be_written_to_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="expected a local folder, or an fsspec URL"):
        open_store(url)


def test_an_unknown_kind_of_url_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        check_writable(open_store("nosuch://a/b"))


class Refusing(MemoryFileSystem):
    """A file system whose server lets nobody in."""

    protocol: ClassVar[Any] = "refusing"  # pyrefly: ignore[bad-override] (fsspec asks for it on the class)

    def find(self, *args: object, **kwargs: object) -> Any:  # noqa: ANN401 (as fsspec has it)
        raise RuntimeError("403 Forbidden")


def test_a_server_that_refuses_is_found_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    cast("Any", fsspec).register_implementation("refusing", Refusing, clobber=True)
    monkeypatch.setattr(remote, "_WAITS", (0.0,))
    with pytest.raises(RunError, match=r"cannot write to refusing://bucket/x: 403 Forbidden"):
        check_writable(open_store("refusing://bucket/x"))


@pytest.mark.parametrize("kind", ["file", "below a file", "long"])
def test_a_place_that_cannot_be_a_folder_is_found_before_any_work(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    file.touch()
    root = {"file": file, "below a file": file / "out", "long": tmp_path / ("x" * 300)}[kind]
    with pytest.raises(RunError, match="cannot write to"):
        check_writable(LocalStore(root))


def test_missing_folders_are_no_obstacle(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "a" / "b" / "c")
    check_writable(store)
    assert not (tmp_path / "a").exists()
    store.write("d/e", b"data")
    assert (tmp_path / "a/b/c/d/e").read_bytes() == b"data"


def test_free_bytes_are_counted_where_scratch_files_lie(tmp_path: Path) -> None:
    free, folder = free_bytes(LocalStore(tmp_path / "not" / "yet"))
    assert folder == tmp_path
    assert 0 < free <= os.statvfs(tmp_path).f_frsize * os.statvfs(tmp_path).f_blocks
    scratch = open_store("memory://x/y").scratch("a")
    scratch.parent.rmdir()
    assert free_bytes(open_store("memory://x/y"))[1] in scratch.parents


@pytest.mark.slow
def test_copies_of_remote_files_are_removed_with_the_next_one_and_with_the_store() -> None:
    store = open_store(f"memory://m{next(numbers)}")
    store.write("a", b"first")
    store.write("b", b"second")
    first = store.local_copy("a")
    assert first.read_bytes() == b"first"
    second = store.local_copy("b")
    assert not first.parent.exists()
    assert second.read_bytes() == b"second"
    del store
    gc.collect()
    assert not second.parent.exists()


def test_a_remote_scratch_is_removed_when_publishing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"memory://m{next(numbers)}")
    scratch = fill(store, "a", b"data")

    def fail(self: object, *args: object, **kwargs: object) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(MemoryFileSystem, "put_file", fail)
    monkeypatch.setattr(remote, "_WAITS", (0.0,))
    with pytest.raises(RunError, match=rf"{store.url}/a: no connection"):
        store.publish(scratch, "a")
    assert not scratch.parent.exists()
    assert store.names() == []


def test_stores_with_one_name_in_front_of_the_other_are_apart() -> None:
    name = f"m{next(numbers)}"
    one, other = open_store(f"memory://{name}/a"), open_store(f"memory://{name}/ab")
    other.write("x", b"data")
    assert one.names() == []
    assert other.names() == ["x"]


# ---------------------------------------------------------------------------------------------------------------- names

UNSAFE = ["", "/", "/etc/passwd", "..", "../a", "a/..", "a/../b", "./a", "a/./b", "a//b", "a/", "a\0b"]
METHODS: dict[str, Any] = {
    "read": lambda store, name, path: store.read(name),
    "write": lambda store, name, path: store.write(name, b"evil"),
    "scratch": lambda store, name, path: store.scratch(name),
    "publish": lambda store, name, path: store.publish(path, name),
    "size": lambda store, name, path: store.size(name),
    "delete": lambda store, name, path: store.delete(name),
    "local_copy": lambda store, name, path: store.local_copy(name),
    "download": lambda store, name, path: store.download(name, path),
}


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("method", METHODS)
def test_no_method_takes_a_name_that_leads_out(store: Store, method: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "mine" / "scratch").mkdir(parents=True)
    place = tmp_path / "mine/scratch/file"
    place.write_bytes(b"mine")
    with pytest.raises(ShardError, match="is not the name of a file in it"):
        METHODS[method](store, name, place)
    assert store.names() == []
    assert place.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["a..b", "..a", "a..", "...", "a\\b", "C:", "a\nb", " ", "~", "-rf"])
def test_names_that_look_strange_are_names(store: Store, name: str) -> None:
    store.write(name, b"data")
    assert store.names() == [name]
    assert store.read(name) == b"data"
    store.delete(name)
    assert store.names() == []


@pytest.mark.parametrize("name", ["C:", "C:/a", "a\\..\\b", "\\a", "a:b"])
def test_what_windows_reads_as_a_drive_or_a_slash_is_refused_there(name: str) -> None:
    assert is_safe_name(name, windows=False)
    assert not is_safe_name(name, windows=True)


def test_a_linked_folder_is_read_and_not_written(tmp_path: Path) -> None:
    outside, store = tmp_path / "outside", LocalStore(tmp_path / "out")
    outside.mkdir()
    (outside / "a").write_bytes(b"mine")
    store.write("real/b", b"data")
    (store.root / "linked").symlink_to(outside)
    (store.root / "inner").symlink_to(store.root / "real")
    assert store.read("linked/a") == b"mine"
    for change in (lambda: store.write("linked/a", b"evil"), lambda: store.delete("linked/a")):
        with pytest.raises(RunError, match="a link leads out"):
            change()
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"a": b"mine"}
    store.write("inner/b", b"new")
    assert store.read("real/b") == b"new"


def test_a_store_may_be_a_link_and_a_file_that_is_one_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    (tmp_path / "mine").write_bytes(b"mine")
    store = LocalStore(tmp_path / "out")
    (store.root / "a").symlink_to(tmp_path / "mine")
    store.write("a", b"new")
    store.write("sub/a", b"new")
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert [(tmp_path / "real" / name).read_bytes() for name in ("a", "sub/a")] == [b"new", b"new"]


def test_a_dangling_link_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "gone")
    for root in (tmp_path / "out", tmp_path / "out/below"):
        with pytest.raises(RunError, match=r"out is a link to .*gone, where nothing is; make that folder or remove"):
            check_writable(LocalStore(root))


def test_the_home_folder_is_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in ("~/out", Path("~/out"), "file:~/out"):
        assert open_store(place) == LocalStore(tmp_path / "out")
    assert open_store("./~") == LocalStore(Path("~"))
    assert open_store("memory://a/~/b").url == "memory://a/~/b"
