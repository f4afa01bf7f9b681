"""A reader of shards within the limits of its process."""

from __future__ import annotations

import errno
import io
import itertools
import os
import resource
import tarfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from degrade_kit.errors import ShardError
from degrade_kit.image import encode_png
from degrade_kit.reader import PairReader, _most_open

SHARDS = 60


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many plain tars of one pair."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(SHARDS):
        with tarfile.open(folder / f"{number:06}.tar", "w") as tar:
            for side in ("hq", "lq"):
                data = encode_png(np.full((8, 8, 3), number, np.uint8))
                entry = tarfile.TarInfo(f"{number:04}.{side}.png")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return folder


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_open(number: int) -> bool:
    """Whether a file has this number; not so that of the folder in which it was listed."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@contextmanager
def at_most(more: int) -> Generator[None]:
    """Let this process open so many files more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {number for number in map(int, os.listdir("/proc/self/fd")) if is_open(number)}
    free = (number for number in range(len(taken) + more + 1) if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, more, None)), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def levels(reader: PairReader) -> list[int]:
    return [int(reader.decode_hq(reader.read(number, 0))[0, 0, 0]) for number in range(len(reader))]


def test_more_shards_than_files_may_be_open_are_read(shards: Path) -> None:
    reader = PairReader(shards)
    with at_most(30):
        assert levels(reader) == list(range(SHARDS))
        assert len(reader._open) <= _most_open()


def test_a_process_that_has_many_files_open_is_left_its_share(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degrade_kit.reader._most_open", lambda: SHARDS)
    reader = PairReader(shards)
    with at_most(12):
        assert levels(reader) == list(range(SHARDS))


def test_a_process_without_a_single_file_left_is_told(shards: Path) -> None:
    reader = PairReader(shards)
    with at_most(0), pytest.raises(ShardError, match=r"000000\.tar: sample 0000: cannot be read: Too many open files"):
        reader.read(0, 0)


@pytest.mark.parametrize(
    ("limit", "most"), [(256, 64), (1024, 256), (1 << 20, 256), (resource.RLIM_INFINITY, 256), (3, 1)]
)
def test_a_quarter_of_the_files_is_taken(limit: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert _most_open() == most


def test_files_are_closed_with_the_reader(shards: Path) -> None:
    before = open_files()
    reader = PairReader(shards)
    levels(reader)
    assert open_files() == before + min(SHARDS, _most_open())
    del reader
    assert open_files() == before


def test_threads_that_drive_each_other_out_read_what_they_want(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degrade_kit.reader._most_open", lambda: 1)
    reader, found = PairReader(shards), dict[int, list[int]]()

    def read(number: int) -> None:
        found[number] = levels(reader)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: list(range(SHARDS)) for number in range(4)}


def test_a_shard_that_cannot_be_read_is_named(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    reader = PairReader(shards)
    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(ShardError, match=r"000003\.tar: sample 0003: cannot be read: Input/output error"):
        reader.read(3, 0)
