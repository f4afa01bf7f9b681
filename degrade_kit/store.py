"""Where a data set lives: a local folder, or any URL that fsspec reads and writes.

A file appears under its name whole or not at all. Locally it is written beside its place, synced and renamed. Elsewhere
it is spooled to a local file and put in one go, which object stores do atomically, where a stream closed by an error
would publish a part of it.
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
from typing import Any, Protocol, cast

from degrade_kit.errors import ConfigError, DegradeKitError, RunError
from degrade_kit.files import SCRATCH, publish, scratch_path, sweep_scratch, temporary_folder


class Store(Protocol):
    """A flat or nested collection of named files."""

    @property
    def url(self) -> str:
        """Where it is, as given."""
        ...

    def read(self, name: str) -> bytes:
        """Whole content of a file; FileNotFoundError if there is none."""
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
    """The store at a local path or a URL such as `s3://bucket/folder`."""
    text = os.fspath(url)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", text)
    if scheme is None or (os.name == "nt" and len(scheme[1]) == 1):
        return LocalStore(Path(text))
    if scheme[1] == "file":
        return LocalStore(Path(text.removeprefix("file:").removeprefix("//")))
    # In fsspec's chained URLs, such as simplecache::s3://bucket/folder, each link has a scheme.
    schemes = {link.partition(":")[0].lower() for link in text.split("::")}
    if schemes & {"pipe", "http", "https"} or not text.partition("://")[2].strip("/"):
        raise ConfigError(f"cannot use {text}: expected a local folder, or an fsspec URL such as s3://bucket/folder")
    return RemoteStore(text.rstrip("/"))


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
        return (self.root / name).read_bytes()

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
        path = scratch_path(self.root / SCRATCH / Path(name).name)
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Until a file is in the folder, another process that sweeps may remove it.
            with contextlib.suppress(FileNotFoundError):
                path.touch()
                return path

    def publish(self, scratch: Path, name: str) -> None:
        """See `Store`."""
        publish(scratch, self.root / name)

    def names(self) -> list[str]:
        """See `Store`."""
        if not self.root.exists():
            return []
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())

    def size(self, name: str) -> int | None:
        """See `Store`."""
        try:
            return (self.root / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def delete(self, name: str) -> None:
        """See `Store`."""
        (self.root / name).unlink(missing_ok=True)

    def local_copy(self, name: str) -> Path:
        """See `Store`."""
        return self.root / name

    def download(self, name: str, path: Path) -> None:
        """See `Store`."""
        shutil.copyfile(self.root / name, path)

    def sweep(self) -> None:
        """Remove scratch files whose process is gone; those of other machines are left, their owners may live."""
        sweep_scratch(self.root)
        sweep_scratch(self.root / SCRATCH)
        with contextlib.suppress(OSError):  # another owner's file is still in it, or it was never made
            (self.root / SCRATCH).rmdir()


@dataclass(frozen=True)
class RemoteStore:
    """Files below an fsspec URL."""

    url: str
    _copies: list[Path] = field(default_factory=list[Path], init=False, repr=False, compare=False)
    """Folder of the latest local copy."""

    def read(self, name: str) -> bytes:
        """See `Store`."""
        return self._fs().cat_file(self._path(name))

    def write(self, name: str, data: bytes) -> None:
        """See `Store`."""
        self._fs().pipe_file(self._path(name), data)

    def scratch(self, name: str) -> Path:
        """See `Store`."""
        return temporary_folder() / Path(name).name

    def publish(self, scratch: Path, name: str) -> None:
        """See `Store`."""
        try:
            self._fs().put_file(str(scratch), self._path(name))
        finally:
            shutil.rmtree(scratch.parent, ignore_errors=True)

    def names(self) -> list[str]:
        """See `Store`."""
        fs = self._fs()
        root = self._path("").rstrip("/")
        try:
            found: list[str] = fs.find(root)
        except FileNotFoundError:
            return []
        prefix = root.split("://", 1)[-1].lstrip("/")
        return sorted(path.lstrip("/").removeprefix(prefix).lstrip("/") for path in found)

    def size(self, name: str) -> int | None:
        """See `Store`."""
        try:
            return int(self._fs().info(self._path(name))["size"])
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """See `Store`."""
        fs = self._fs()
        if fs.exists(self._path(name)):
            fs.rm_file(self._path(name))

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
        self._fs().get_file(self._path(name), str(path))

    def _fs(self) -> Any:  # noqa: ANN401 (fsspec has no types)
        from fsspec import core

        try:
            return cast("Any", core).url_to_fs(self.url)[0]
        except (ImportError, ValueError) as error:
            raise ConfigError(f"cannot open {self.url}: {error}") from error

    def _path(self, name: str) -> str:
        return f"{self.url}/{name}"


def check_writable(store: Store) -> None:
    """Stop before any work if the store cannot be written to.

    Raises:
        RunError: With what is wrong and what to do.
    """
    try:
        if not isinstance(store, LocalStore):
            store.names()
            return
        parent = _nearest(store.root)
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise RunError(f"cannot write to {store.root}: {parent} is not a folder that this user may write to")
    except DegradeKitError:
        raise
    except Exception as error:  # each implementation of fsspec has errors of its own
        raise RunError(f"cannot write to {store.url}: {error}") from error


def free_bytes(store: Store) -> tuple[int, Path]:
    """Bytes that are free where files are written before they are published, and that folder."""
    folder = _nearest(store.root) if isinstance(store, LocalStore) else Path(tempfile.gettempdir())
    return shutil.disk_usage(folder).free, folder


def _nearest(path: Path) -> Path:
    """The path itself, or the first folder above it that is there."""
    while not path.exists():
        path = path.parent
    return path
