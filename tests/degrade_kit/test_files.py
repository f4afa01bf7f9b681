from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from degrade_kit import files
from degrade_kit.errors import RunError
from degrade_kit.files import scratch_path, sweep_scratch, whole_file, whole_folder, write_files, write_whole
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
        "rename, calls = Path.rename, []\n"
        "def die(self, target):\n"
        "    if calls:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    calls.append(1)\n    return rename(self, target)\n"
        "Path.rename = die\n"
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
    others = [
        tmp_path / name for name in ("notes.tmp", ".hidden.tmp", f".x.{owner}.tmp", mine.name.replace("-", "-x", 1))
    ]
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
        assert not scratch.name.lower().endswith(tuple(IMAGE_EXTENSIONS))
        write_whole(tmp_path / name, name)
        assert (tmp_path / name).read_text("utf-8") == name


def test_hashes_of_text_bytes_and_files_agree(tmp_path: Path) -> None:
    text = "é" * 1_000_000
    (tmp_path / "file").write_text(text, encoding="utf-8")
    assert files.sha256(text) == files.sha256(text.encode()) == files.file_sha256(tmp_path / "file")
