"""Files of this toolkit, in one place: written whole or not at all, hashed, and YAML without surprises.

A file or folder is written under a scratch name, synced, renamed, and its folder synced: whatever stands under a final
name is whole, also after a kill or a power cut. A scratch name begins with a dot, tells which process it belongs to and
ends in `.tmp`: nothing takes it for an image or a checkpoint, and `sweep_scratch` removes what the dead left.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import yaml

from degrade_kit.errors import ConfigError, RunError

_SCRATCH_NAME: Final = re.compile(
    r"\.(?P<name>.+)\.(?P<owner>[^.]+-\d+-[^.]+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)", re.DOTALL
)
_MAX_NAME: Final = 255
"""Bytes that a file system takes as a name."""
_NO_FOLDER_SYNC: Final = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}
"""What file systems answer that cannot sync a folder: some on FUSE, NFS and SMB."""


# ------------------------------------------------------------------------------------------ written whole or not at all


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file, with the folders above it, so that it is there whole or as it was before.

    Args:
        path: Where to; what is there is replaced.
        data: Its content; text is written as UTF-8.

    Raises:
        RunError: If it cannot be written.
    """
    try:
        with whole_file(path) as scratch:
            scratch.write_bytes(data.encode() if isinstance(data, str) else data)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> list[Path]:
    """Write files into a folder in this order, each whole; returns their paths.

    Raises:
        RunError: If one cannot be written; those before it are there.
    """
    sweep_scratch(folder)
    for name, data in files.items():
        write_whole(folder / name, data)
    return [folder / name for name in files]


@contextlib.contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Give a scratch path beside `path` to write a file to; it takes its place when the block ends without an error.

    Raises:
        OSError: If that fails; what was at `path` is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_path(path)
    try:
        yield scratch
        publish(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Generator[Path]:
    """Give a scratch folder beside `folder`; it takes its place as a whole when the block ends without an error.

    Raises:
        OSError: If that fails; what was at `folder` is there still.
    """
    sweep_scratch(folder.parent)
    scratch = scratch_path(folder)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        publish(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def scratch_path(path: Path) -> Path:
    """A new scratch name of this process, beside `path`."""
    ending = f".{_owner()}.{uuid.uuid4().hex[:8]}.tmp"
    name = os.fsdecode(os.fsencode(path.name)[: _MAX_NAME - len(ending) - 1])
    return path.with_name(f".{name}{ending}")


def publish(scratch: Path, path: Path) -> None:
    """Put a finished scratch file or folder in its place, durably and at once.

    Raises:
        OSError: If that fails; what was at `path` is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if scratch.is_dir():
        for inner in scratch.rglob("*"):
            _sync(inner)
        _sync(scratch)
        _replace_folder(scratch, path)
    else:
        _sync(scratch)
        scratch.replace(path)
    _sync(path.parent)


def sweep_scratch(folder: Path) -> None:
    """Remove the scratch files and folders in a folder whose process is gone.

    Those of other machines are left, since their owners may live. A folder that was set aside for a new one is put back
    if the new one never came.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        found = _SCRATCH_NAME.fullmatch(name)
        if found is None or not _is_dead(found["owner"]):
            continue
        place = folder / found["name"]
        if found["kind"] == "old" and not place.exists():
            with contextlib.suppress(OSError):  # another process sweeps too
                (folder / name).rename(place)
        else:
            _remove(folder / name)


def _replace_folder(scratch: Path, folder: Path) -> None:
    """Rename a folder to a name that may be taken; what was there is removed only when the new one stands.

    No system call of Python replaces a folder that has content. Who is killed between the two renames leaves the old
    one under a name by which `sweep_scratch` puts it back.
    """
    old = scratch_path(folder).with_suffix(".old")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    try:
        scratch.rename(folder)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            old.rename(folder)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut, as far as the file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir() or error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def _owner() -> str:
    """Host, process and start time of this process, in characters that stand in a file name without dots."""
    return f"{_host()}-{os.getpid()}-{_start_time(os.getpid())}"


def _is_dead(owner: str) -> bool:
    """Whether the process that `_owner` described lived on this machine and lives no more."""
    host, pid, start = owner.rsplit("-", 2)
    return host == _host() and _start_time(int(pid)) != start


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())


def _start_time(pid: int) -> str:
    """Start time of a process in clock ticks since boot, `0` where it is gone or the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "0" if not _exists(pid) else "unknown"
    return stat.rpartition(")")[2].split()[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# --------------------------------------------------------------------------------------------------------------- hashes


def sha256(data: bytes | str) -> str:
    """Hexadecimal SHA-256; of text, that of its UTF-8."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read piece by piece."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


# ----------------------------------------------------------------------------------------------------------------- YAML


def parse_yaml(text: str, where: str) -> Any:  # noqa: ANN401 (parsed YAML)
    """Parse YAML without tags, aliases or Python objects: a configuration needs none, and they can do harm."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ConfigError(f"{where}: YAML aliases (*name) are not allowed here")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:  # the last two: of numbers and dates
        raise ConfigError(f"{where}: not plain YAML: {error}") from error


def plain_yaml(data: Mapping[str, Any]) -> str:
    """YAML without aliases, which recipe files may not have."""
    return cast("Any", yaml).dump(data, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=110)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 (as PyYAML has it)
        return True
