from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from degrade_kit import files
from degrade_kit.errors import RunError
from degrade_kit.files import (
    SCRATCH,
    ensure_home,
    file_sha256,
    held,
    publish,
    read_regular,
    remove_folder,
    scratch_path,
    sha256,
    sweep_scratch,
    temporary_folder,
    whole_file,
    whole_folder,
    whole_set,
    write_files,
    write_new,
    write_whole,
)
from degrade_kit.sources import IMAGE_EXTENSIONS

KILLED = """
import os, signal, sys
from pathlib import Path
from degrade_kit import files
"""


def killed(code: str, folder: Path) -> None:
    """Run code that kills its process, with `folder` as the variable of that name."""
    done = subprocess.run([sys.executable, "-c", f"{KILLED}folder = Path(sys.argv[1])\n{code}", folder], check=False)
    assert done.returncode == -signal.SIGKILL


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_bytes_and_text_are_written_below_new_folders(tmp_path: Path) -> None:
    write_whole(tmp_path / "a/b/one", b"\0")
    write_whole(tmp_path / "a/two", "é\n")
    written = write_files(tmp_path / "c", {"one": b"1", "sub/two": "2"})
    assert written == [tmp_path / "c/one", tmp_path / "c/sub/two"]
    assert content(tmp_path) == {"a/b/one": b"\0", "a/two": "é\n".encode(), "c/one": b"1", "c/sub/two": b"2"}


def test_a_file_that_cannot_be_written_is_a_run_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(RunError, match=r"cannot write .*/file/new: File exists"):
        write_whole(tmp_path / "file/new", "new")
    assert content(tmp_path) == {"file": b"old"}


def test_a_block_that_fails_leaves_the_old_file_or_folder_and_no_scratch(tmp_path: Path) -> None:
    write_files(tmp_path, {"file": "old", "folder/a": "old"})
    with contextlib.suppress(KeyError), whole_file(tmp_path / "file") as scratch:
        scratch.write_text("half")
        raise KeyError
    with contextlib.suppress(KeyError), whole_folder(tmp_path / "folder") as scratch:
        (scratch / "a").write_text("half")
        raise KeyError
    assert content(tmp_path) == {"file": b"old", "folder/a": b"old"}
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_who_is_killed_before_the_renaming_leaves_the_old_file_and_a_scratch_that_is_swept(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "old")
    killed(
        "files._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)\nfiles.write_whole(folder / 'file', 'new')",
        tmp_path,
    )
    assert (tmp_path / "file").read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    sweep_scratch(tmp_path)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_of_a_new_folder_have_the_rights_of_new_files(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with whole_folder(tmp_path / "model") as scratch:
            (scratch / "unet").mkdir()
            for name in ("weights", "unet/weights"):
                os.close(os.open(scratch / name, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
            (scratch / "script").touch(mode=0o755)
    finally:
        os.umask(before)
    found = {name: stat.S_IMODE((tmp_path / "model" / name).stat().st_mode) for name in ("weights", "unet/weights")}
    assert set(found.values()) == {0o666 & ~umask}
    assert (tmp_path / "model/script").stat().st_mode & 0o100, "what can be run can be run"


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_files(tmp_path / "model", {"a": "old", "only-old": "old"})
    with whole_folder(tmp_path / "model") as scratch:
        write_files(scratch, {"a": "new", "sub/b": "new"})
        assert content(tmp_path / "model") == {"a": b"old", "only-old": b"old"}
    assert content(tmp_path / "model") == {"a": b"new", "sub/b": b"new"}
    assert os.listdir(tmp_path) == ["model"]


def test_who_is_killed_while_a_folder_is_filled_leaves_the_old_one(tmp_path: Path) -> None:
    write_whole(tmp_path / "model/a", "old")
    killed(
        "with files.whole_folder(folder / 'model') as scratch:\n    (scratch / 'a').write_text('new')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)",
        tmp_path,
    )
    assert len(os.listdir(tmp_path)) == 2
    sweep_scratch(tmp_path)
    assert content(tmp_path) == {"model/a": b"old"}


def test_who_is_killed_between_the_two_renames_of_a_folder_leaves_one_that_is_put_back(tmp_path: Path) -> None:
    write_whole(tmp_path / "model/a", "old")
    killed(
        "files._exchange = lambda one, other: False\n"  # as on systems that cannot
        "files._rename = lambda one, other: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with files.whole_folder(folder / 'model') as scratch:\n    (scratch / 'a').write_text('new')",
        tmp_path,
    )
    assert not (tmp_path / "model").exists()
    sweep_scratch(tmp_path)
    assert content(tmp_path) == {"model/a": b"old"}
    assert os.listdir(tmp_path) == ["model"]


def test_the_next_writer_of_a_folder_sweeps_what_a_dead_one_left(tmp_path: Path) -> None:
    killed(
        "with files.whole_folder(folder / 'step-00000001'):\n    os.kill(os.getpid(), signal.SIGKILL)",
        tmp_path,
    )
    with whole_folder(tmp_path / "step-00000002"):
        pass
    assert os.listdir(tmp_path) == ["step-00000002"]


def test_scratch_of_the_living_and_files_of_others_are_not_swept(tmp_path: Path) -> None:
    mine = scratch_path(tmp_path / "file")
    owner = mine.name.split(".")[2]
    host, _, start, boot, namespace = owner.split("-")
    dead = f"{host}-4194305-{start}-{boot}-{namespace}"  # one more than the most that Linux counts to
    elsewhere = [
        dead.replace(host, f"{host}x", 1),
        dead.replace(boot, "00000000", 1),
        dead.replace(namespace, "1", 1),
    ]
    others = [
        tmp_path / name
        for name in (
            *("notes.tmp", ".hidden.tmp", f".x.{owner}.tmp", mine.name.replace("-", "-x", 1)),
            *(mine.name.replace(owner, other) for other in elsewhere),
        )
    ]
    (tmp_path / mine.name.replace(owner, dead)).touch()
    for path in (mine, *others):
        path.touch()
    sweep_scratch(tmp_path)
    assert set(tmp_path.iterdir()) == {mine, *others}
    sweep_scratch(tmp_path / "missing")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sync, refused = os.fsync, list[int]()

    def refuse(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            refused.append(descriptor)
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_files(tmp_path / "a", {"file": "data"})
    with whole_folder(tmp_path / "b") as scratch:
        (scratch / "file").write_text("data")
    assert refused
    assert content(tmp_path) == {"a/file": b"data", "b/file": b"data"}


def test_a_full_disk_is_told_by_the_sync_of_a_file_and_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_whole(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        write_whole(tmp_path / "file", "new")
    with pytest.raises(OSError, match="No space left"), whole_folder(tmp_path / "folder"):
        pass
    assert content(tmp_path) == {"file": b"old"}


def test_a_scratch_name_is_no_image_and_fits_whatever_the_name(tmp_path: Path) -> None:
    for name in ("face.png", "é" * 127, "x" * 251 + ".png"):
        scratch = scratch_path(tmp_path / name)
        scratch.touch()
        assert scratch.name.startswith(".")
        assert len(os.fsencode(scratch.name)) <= 143, "what an encrypted file system takes"
        assert not scratch.name.lower().endswith(tuple(IMAGE_EXTENSIONS))
        write_whole(tmp_path / name, name)
        assert (tmp_path / name).read_text("utf-8") == name


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="needs /proc to see namespaces")
def test_a_process_of_another_pid_namespace_is_not_taken_for_dead(tmp_path: Path) -> None:
    code = "import os; from pathlib import Path; from degrade_kit.files import *; scratch_path(Path('x/file')).touch()"
    (tmp_path / "x").mkdir()
    apart = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    done = subprocess.run(apart, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets nobody make a PID namespace: {done.stderr.strip()}")
    sweep_scratch(tmp_path / "x")
    assert len(os.listdir(tmp_path / "x")) == 1


def test_who_loses_its_scratch_file_is_told_which(tmp_path: Path) -> None:
    scratch = scratch_path(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match=r"its scratch file .*\.file\..*\.tmp was removed by somebody else"):
        publish(scratch, tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_a_folder_and_its_successor_change_places_at_once(tmp_path: Path) -> None:
    write_whole(tmp_path / "model/a", "old")
    killed(
        "renames = []\n"
        "def die(path):\n    assert not renames\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.rename = lambda *paths: renames.append(paths)\n"
        "files._remove = die\n"  # the first that is done behind the exchange
        "with files.whole_folder(folder / 'model') as scratch:\n    (scratch / 'a').write_text('new')",
        tmp_path,
    )
    assert (tmp_path / "model/a").read_text() == "new"
    sweep_scratch(tmp_path)
    assert content(tmp_path) == {"model/a": b"new"}


def test_the_first_write_to_a_folder_sweeps_what_a_dead_process_left(tmp_path: Path) -> None:
    code = "files._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)\nfiles.write_whole(folder / 'file', 'new')"
    killed(code, tmp_path)
    assert len(os.listdir(tmp_path)) == 1
    write_whole(tmp_path / "other", "data")
    assert os.listdir(tmp_path) == ["other"]


@pytest.mark.slow
def test_the_last_file_of_a_set_never_stands_beside_files_of_another_one(tmp_path: Path) -> None:
    old = {"a": "old", "b": "old", "picture": "old", "numbers": "old"}
    write_files(tmp_path / "out", old)
    for operation in range(1, 20):
        # Killed before each of the renames and removals in turn.
        killed(
            "count = 0\n"
            "def hook(event, arguments):\n"
            "    global count\n"
            "    if event in ('os.rename', 'os.remove'):\n"
            "        count += 1\n"
            f"        if count == {operation}:\n            os.kill(os.getpid(), signal.SIGKILL)\n"
            "sys.addaudithook(hook)\n"
            "new = {'a': 'new', 'b': 'new', 'numbers': 'new'}\n"
            "files.write_files(folder / 'out', new, stale=['picture'])\n"
            "os.kill(os.getpid(), signal.SIGKILL)",
            tmp_path,
        )
        found = {name: data for name, data in content(tmp_path / "out").items() if "/" not in name}
        if "numbers" in found:
            assert len(set(found.values())) == 1, (operation, found)
        if found == {"a": b"new", "b": b"new", "numbers": b"new"}:
            break
        write_files(tmp_path / "out", old)
    else:
        pytest.fail("the set was never finished")


def test_a_set_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "old", "numbers": "old"})
    with contextlib.suppress(KeyError), whole_set(tmp_path, last="numbers") as scratch:
        (scratch / "a").write_text("new")
        raise KeyError
    assert content(tmp_path) == {"a": b"old", "numbers": b"old"}


def test_a_folder_is_removed_as_a_whole(tmp_path: Path) -> None:
    write_files(tmp_path / "step", {"a": "1", "b": "2"})
    killed("files.shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
           "files.remove_folder(folder / 'step')", tmp_path)  # fmt: skip
    assert not (tmp_path / "step").exists()
    sweep_scratch(tmp_path)
    assert os.listdir(tmp_path) == []
    remove_folder(tmp_path / "step")


def test_of_two_that_write_a_new_file_the_first_has_it(tmp_path: Path) -> None:
    assert write_new(tmp_path / "a/file", "first")
    assert not write_new(tmp_path / "a/file", "second")
    assert content(tmp_path) == {"a/file": b"first"}


def test_a_temporary_folder_of_a_dead_process_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed(
        "files.tempfile.tempdir = str(folder)\n(files.temporary_folder() / 'x').touch()\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
        tmp_path,
    )
    assert len(os.listdir(tmp_path)) == 1
    mine = temporary_folder()
    assert list(tmp_path.iterdir()) == [mine]
    assert mine.stat().st_mode & 0o777 == 0o700


# ----------------------------------------------------------------------------------------------------- one run a folder

HOLDS = "with files.held(folder, shared={shared}):\n    print('in', flush=True)\n    sys.stdin.read()"


@contextlib.contextmanager
def holder(folder: Path, *, shared: bool = False, before: str = "") -> Generator[subprocess.Popen[str]]:
    """A process that holds a folder until the block ends."""
    code = f"{KILLED}folder = Path(sys.argv[1])\n{before}\n{HOLDS.format(shared=shared)}"
    words = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        yield process
        process.communicate()


NO_LOCKS = """
def no_locks(*_):
    raise OSError(files.errno.ENOLCK, "No locks available")
files.fcntl.lockf = no_locks
"""


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_a_second_run_is_told_who_holds_the_folder(
    locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if not locks:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.lockf", refuse)
    with holder(out, before="" if locks else NO_LOCKS) as process:
        for shared in (False, True):
            told = rf"out is in use by another run: process {process.pid} on .*, since 20"
            with pytest.raises(RunError, match=told), held(out, shared=shared):
                pass
    assert not (out / SCRATCH).exists()
    told = f"process {os.getpid()} on "
    with held(out), held(out), ThreadPoolExecutor(1) as pool, pytest.raises(RunError, match=told):
        pool.submit(held(out).__enter__).result()
    assert os.listdir(out) == []


def test_a_set_of_files_is_not_put_where_another_run_works(tmp_path: Path) -> None:
    with holder(tmp_path), pytest.raises(RunError, match="is in use by another run"):
        write_files(tmp_path, {"a": "mine"})
    assert content(tmp_path) == {}
    with held(tmp_path):
        write_files(tmp_path, {"a": "mine"})
    assert content(tmp_path) == {"a": b"mine"}


def test_runs_that_share_a_folder_work_side_by_side(tmp_path: Path) -> None:
    with holder(tmp_path, shared=True), held(tmp_path, shared=True):
        with held(tmp_path, shared=True):
            pass
        assert (tmp_path / SCRATCH / "lock").exists()
        with ThreadPoolExecutor(1) as pool, pytest.raises(RunError, match="is in use"):
            pool.submit(held(tmp_path).__enter__).result()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_a_folder_whose_holder_was_killed_is_free(locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with holder(tmp_path, before="" if locks else NO_LOCKS) as process:
        process.kill()
    if not locks:
        monkeypatch.setattr("fcntl.lockf", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks")))
    assert (tmp_path / SCRATCH / "lock").exists()
    with held(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_fork_of_a_killed_holder_does_not_keep_the_folder(tmp_path: Path) -> None:
    fork = (
        "pid = os.fork()\n    if not pid:\n        sys.stdin.read()\n        os._exit(0)\n    "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    code = f"{KILLED}folder = Path(sys.argv[1])\nwith files.held(folder):\n    {fork}"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE) as process:
        assert process.wait() == -signal.SIGKILL
        with held(tmp_path):  # its fork reads on
            pass


def test_a_home_is_made_where_nothing_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/as/it/was")
    ensure_home.__wrapped__()
    assert os.environ["HOME"] == "/as/it/was"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without HOME and an entry of the user
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ensure_home.__wrapped__()
    home = Path(os.environ["HOME"])
    assert home.parent == tmp_path
    assert home.is_dir()


def test_a_file_is_copied_where_no_rename_leads_out_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace

    def quota(source: str, target: str) -> None:
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "replace", quota)
    (tmp_path / "area").mkdir()
    (tmp_path / "area/made").write_bytes(b"whole")
    publish(tmp_path / "area/made", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["area", "file"]


def answered_late(call: Callable[..., None]) -> Callable[..., None]:
    """A call as of a network file system that did it, lost the answer, and asked again."""

    def twice(*words: Any, **options: Any) -> None:  # noqa: ANN401 (whatever the call takes)
        call(*words, **options)
        call(*words, **options)

    return twice


def test_an_answer_that_a_network_lost_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("replace", "link", "mkdir"):
        monkeypatch.setattr(os, name, answered_late(getattr(os, name)))
    for text in ("one", "two"):
        write_whole(tmp_path / "file", text)
        with whole_folder(tmp_path / "folder") as scratch:
            (scratch / "inner").write_text(text)
    assert write_new(tmp_path / "new", "first")
    assert not write_new(tmp_path / "new", "second")
    assert content(tmp_path) == {"file": b"two", "folder/inner": b"two", "new": b"first"}


def test_a_rename_that_did_nothing_is_an_error_also_where_something_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(source: Path, target: Path) -> None:
        os.unlink(source)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    write_whole(tmp_path / "file", "old")
    monkeypatch.setattr(os, "replace", lost)
    with pytest.raises(RunError, match="was removed by somebody else"):
        write_whole(tmp_path / "file", "new")
    assert content(tmp_path) == {"file": b"old"}


def test_a_handle_that_went_stale_is_read_once_more_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"whole")
    status, left = os.fstat, [1]

    def stale(descriptor: int) -> os.stat_result:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return status(descriptor)

    monkeypatch.setattr(os, "fstat", stale)
    assert read_regular(tmp_path / "file") == b"whole"
    left[0] = 1
    assert file_sha256(tmp_path / "file") == sha256(b"whole")
    left[0] = 4  # at each of two openings, for each of two readings
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        read_regular(tmp_path / "file")


def test_a_run_elsewhere_whose_lock_is_free_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It was killed on another machine, or the locks there hold nobody here: Lustre's `localflock`, NFS's `nolock`."""
    note = tmp_path / SCRATCH / ".alone.node7-41-5-0a1b2c3d-4026531836.0123abcd.tmp"
    note.parent.mkdir(parents=True)
    note.touch()
    with held(tmp_path):
        pass
    [said] = caplog.messages
    assert said.startswith(f"{tmp_path}: process 41 on node7, since 2")
    assert said.endswith(f"which {note} stands for; if it lives, stop one of the two, and if not, remove that file")
    note.rename(note.with_name(note.name.replace("alone", "shared")))
    caplog.clear()
    with held(tmp_path, shared=True):
        pass
    assert not caplog.messages, "members of a job array work side by side"


def test_without_locks_a_run_does_not_warn_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "_lock", lambda *_, **options: False)
    with held(tmp_path):
        pass
    assert not caplog.messages


def test_a_folder_that_may_not_be_read_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def closed(path: str, flags: int, *mode: int) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", closed)
    write_whole(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_hashes_of_text_bytes_and_files_agree(tmp_path: Path) -> None:
    text = "é" * 1_000_000
    (tmp_path / "file").write_text(text, encoding="utf-8")
    assert files.sha256(text) == files.sha256(text.encode()) == files.file_sha256(tmp_path / "file")
