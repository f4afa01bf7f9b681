"""Where a data set lives: a local folder, or any URL that fsspec reads and writes.

A file appears under its name whole or not at all. Locally it is written beside its place, synced and renamed. Elsewhere
it is spooled to a local file and put in one go, which object stores do atomically, where a stream closed by an error
would publish a part of it.

Names come from files of others: sidecars, tars, lists. So every method refuses one that would lead out of the store,
and what is written or deleted does not follow a link that does.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from degrade_kit import remote
from degrade_kit.errors import ConfigError, RunError, ShardError
from degrade_kit.files import (
    SCRATCH,
    expand_home,
    local_path,
    publish,
    read_regular,
    scratch_path,
    sweep_scratch,
    temporary_folder,
)

# An empty part, `.` or `..`, which absolute names have too, and NUL, which ends a name in C.
_UNSAFE = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)|\0")
# What Windows reads as a drive, a stream or one more slash.
_UNSAFE_ON_WINDOWS = re.compile(rf"{_UNSAFE.pattern}|[\\:]")


def is_safe_name(name: str, *, windows: bool = os.name == "nt") -> bool:
    """Whether a name is one of a file below some folder, wherever that is.

    >>> is_safe_name("nested/a..b.png"), is_safe_name("../a.png"), is_safe_name("/a.png"), is_safe_name("a//b.png")
    (True, False, False, False)
    """
    return (_UNSAFE_ON_WINDOWS if windows else _UNSAFE).search(name) is None


def check_name(name: str, where: str) -> str:
    """Give a name back that is one of a file below `where`.

    Raises:
        ShardError: If it is absolute, empty, or leads out by `..`.
    """
    if not is_safe_name(name):
        raise ShardError(f"{where}: {name!r:.200} is not the name of a file in it: it is empty, absolute or has `..`")
    return name


class Store(Protocol):
    """A flat or nested collection of named files.

    Every method raises a ShardError for a name that leads out of the store.
    """

    @property
    def url(self) -> str:
        """Where it is, as given."""
        ...

    def read(self, name: str) -> bytes:
        """Whole content of a regular file; FileNotFoundError if there is none, OSError if it is something else."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Create or replace a file at once."""
        ...

    def scratch(self, name: str) -> Path:
        """A new local path to write a file to before `publish`."""
        ...

    def publish(self, scratch: Path, name: str) -> None:
        """Move a finished scratch file to its name, durably and at once."""
        ...

    def names(self) -> list[str]:
        """Every file, relative, sorted; scratch files too."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file, None if there is none."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens if there is none."""
        ...

    def local_copy(self, name: str) -> Path:
        """A local path with the file's content, for reading; the file itself where it is local."""
        ...

    def download(self, name: str, path: Path) -> None:
        """Copy a file to a local path; FileNotFoundError if there is none."""
        ...


def open_store(url: str | os.PathLike[str]) -> Store:
    """The store at a local path, where `~` is the home folder, or a URL such as `s3://bucket/folder`."""
    text = expand_home(url)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", text)
    if scheme is None or (os.name == "nt" and len(scheme[1]) == 1):
        return LocalStore(Path(text))
    if scheme[1] == "file":
        return LocalStore(local_path(text.removeprefix("file:").removeprefix("//")))
    # In fsspec's chained URLs, such as simplecache::s3://bucket/folder, each link has a scheme.
    schemes = {link.partition(":")[0].lower() for link in text.split("::")}
    if schemes & {"pipe", "http", "https"} or not text.partition("://")[2].strip("/"):
        raise ConfigError(f"cannot use {text}: expected a local folder, or an fsspec URL such as s3://bucket/folder")
    return RemoteStore(text.rstrip("/"))


_SCRATCH_TRIES: Final = 100


@dataclass(frozen=True)
class LocalStore:
    """Files below a folder."""

    root: Path

    @property
    def url(self) -> str:
        """The folder as given."""
        return str(self.root)

    def read(self, name: str) -> bytes:
        """See `Store`."""
        return read_regular(self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """See `Store`."""
        scratch = self.scratch(name)
        try:
            scratch.write_bytes(data)
            self.publish(scratch, name)
        finally:
            scratch.unlink(missing_ok=True)

    def scratch(self, name: str) -> Path:
        """See `Store`; all of them are in one folder, so that a later run sweeps in one place what a dead one left."""
        path = scratch_path(self.target(f"{SCRATCH}/{self.target(name).name}"))
        for left in reversed(range(_SCRATCH_TRIES)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.touch()
                break
            except FileNotFoundError:  # until a file is in the folder, another process that sweeps may remove it
                if not left:
                    raise
        return path

    def publish(self, scratch: Path, name: str) -> None:
        """See `Store`."""
        publish(scratch, self.target(name))

    def names(self) -> list[str]:
        """See `Store`."""
        if not self.root.exists():
            return []
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())

    def size(self, name: str) -> int | None:
        """See `Store`."""
        try:
            return self.path(name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def delete(self, name: str) -> None:
        """See `Store`."""
        self.target(name).unlink(missing_ok=True)

    def local_copy(self, name: str) -> Path:
        """See `Store`."""
        return self.path(name)

    def download(self, name: str, path: Path) -> None:
        """See `Store`."""
        shutil.copyfile(self.path(name), path)

    def path(self, name: str) -> Path:
        """Where a file is, or would be, for reading.

        Raises:
            ShardError: If the name leads out of the store.
        """
        return self.root / check_name(name, self.url)

    def target(self, name: str) -> Path:
        """Where a file is to be written or removed: by a linked folder, one that is not this store's would change.

        The store's own folder may be a link, and so may a file, which is replaced and not written through.

        Raises:
            RunError: If a link leads out of the store there.
            ShardError: If the name does.
        """
        path = self.path(name)
        if path.parent != self.root and not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise RunError(f"{path}: cannot be changed, since a link leads out of {self.root} there; remove the link")
        return path

    def sweep(self) -> None:
        """Remove scratch files whose process is gone; those of other machines are left, their owners may live."""
        folder = self.root / SCRATCH
        for each in (self.root, folder.parent, folder):  # in the second, what is written for the first time
            sweep_scratch(each)
        with contextlib.suppress(OSError):  # another owner's file is still in it, or it was never made
            folder.rmdir()


@dataclass(frozen=True)
class RemoteStore:
    """Files below an fsspec URL."""

    url: str
    _copies: list[Path] = field(default_factory=list[Path], init=False, repr=False, compare=False)
    """Folder of the latest local copy."""

    def read(self, name: str) -> bytes:
        """See `Store`."""
        path = self._path(name)
        return remote.call(path, lambda fs: fs.cat_file(path))

    def write(self, name: str, data: bytes) -> None:
        """See `Store`."""
        path = self._path(name)
        remote.call(path, lambda fs: fs.pipe_file(path, data))

    def scratch(self, name: str) -> Path:
        """See `Store`."""
        return temporary_folder() / Path(check_name(name, self.url)).name

    def publish(self, scratch: Path, name: str) -> None:
        """See `Store`."""
        path = self._path(name)
        try:
            remote.call(path, lambda fs: fs.put_file(str(scratch), path))
        finally:
            shutil.rmtree(scratch.parent, ignore_errors=True)

    def names(self) -> list[str]:
        """See `Store`."""
        return list(remote.list_files(self.url))

    def size(self, name: str) -> int | None:
        """See `Store`."""
        path = self._path(name)
        try:
            return int(remote.call(path, lambda fs: fs.info(path)["size"], fresh=True))
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """See `Store`."""
        path = self._path(name)
        if remote.call(path, lambda fs: fs.exists(path), fresh=True):
            remote.call(path, lambda fs: fs.rm_file(path))

    def local_copy(self, name: str) -> Path:
        """See `Store`; the copy is removed by the next call, or with the store: room for one shard is enough."""
        while self._copies:
            shutil.rmtree(self._copies.pop(), ignore_errors=True)
        target = self.scratch(name)
        self._copies.append(target.parent)
        weakref.finalize(self, shutil.rmtree, target.parent, ignore_errors=True)
        self.download(name, target)
        return target

    def download(self, name: str, path: Path) -> None:
        """See `Store`."""
        place = self._path(name)
        remote.call(place, lambda fs: fs.get_file(place, str(path)))

    def _path(self, name: str) -> str:
        return f"{self.url}/{check_name(name, self.url)}"


def check_writable(store: Store) -> None:
    """Stop before any work if the store cannot be written to.

    Raises:
        RunError: With what is wrong and what to do.
    """
    try:
        if not isinstance(store, LocalStore):
            _check_listed(store)
            return
        parent = _nearest(store.root)
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise RunError(f"cannot write to {store.root}: {parent} is not a folder that this user may write to")
    except OSError as error:
        raise RunError(f"cannot write to {store.url}: {error}") from error


def _check_listed(store: Store) -> None:
    try:
        store.names()
    except RunError as error:
        raise RunError(f"cannot write to {error}") from error


def free_bytes(store: Store) -> tuple[int, Path]:
    """Bytes that are free where files are written before they are published, and that folder."""
    folder = _nearest(store.root) if isinstance(store, LocalStore) else Path(tempfile.gettempdir())
    return shutil.disk_usage(folder).free, folder


def _nearest(path: Path) -> Path:
    """The path itself, or the first folder above it that is there.

    Raises:
        RunError: If a link on the way leads to nothing, which no folder can take the place of.
    """
    while not path.exists():
        if path.is_symlink():
            raise RunError(
                f"{path} is a link to {os.readlink(path)}, where nothing is; make that folder or remove the link"
            )
        path = path.parent
    return path
