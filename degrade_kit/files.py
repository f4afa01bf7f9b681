"""Files of this toolkit, in one place: written whole or not at all, hashed, and JSON and YAML read without surprises.

A file or folder is written under a scratch name, synced, renamed, and its folder synced: whatever stands under a final
name is whole, also after a kill or a power cut. A scratch name begins with a dot, tells which process it belongs to and
ends in `.tmp`: nothing takes it for an image or a checkpoint, and `sweep_scratch` removes what the dead left, as the
first write of a process to a folder does by itself.

`held` keeps a second run out of a folder, by a lock that the kernel frees with its process.

Files of others are read by `read_json`, `parse_json`, `parse_json_lines` and `parse_yaml` alone: whatever is in them,
they give plain values of bounded size and depth, or one short error, at once.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import fcntl
import functools
import hashlib
import json
import logging
import math
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar, cast

import yaml

from degrade_kit.errors import ConfigError, DegradeKitError, RunError

log = logging.getLogger(__name__)

_Read = TypeVar("_Read")
_SCRATCH_NAME: Final = re.compile(
    r"\.(?P<name>.+)\.(?P<owner>[^.-]+-\d+-[^.-]+-[^.-]+-[^.-]+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)", re.DOTALL
)
MAX_NAME: Final = 255
"""Bytes that a file system takes as a name."""
_MAX_SCRATCH: Final = 143
"""Bytes of a scratch name, at most: those that encrypted file systems take."""
_NO_FOLDER_SYNC: Final = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}
"""What file systems answer that cannot sync a folder: some on FUSE, NFS and SMB."""

MAX_FILE_BYTES: Final = 1 << 28
"""Bytes that are read of a file in one piece, at most."""
_PART: Final = 1 << 24
"""Bytes that room is made for before they come."""
MAX_JSON_BYTES: Final = 1 << 26
_BYTES_PER_VALUE: Final = 16
"""A JSON file may hold a value for so many of its greatest number of bytes: each takes far more in memory."""
MAX_YAML_BYTES: Final = 1 << 22
"""PyYAML reads about 100 kB in a second."""
MAX_DEPTH: Final = 64
"""Lists and mappings inside each other. Python itself gives up at some hundreds, wherever that happens to be."""
_MAX_DIGITS: Final = 20
"""A whole number of 64 bits has so many, with its sign."""
_UNPRINTABLE: Final = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""What no text and no file name can hold: NUL, and halves of pairs of UTF-16, but for those that stand for the bytes
of a name that is no UTF-8; see `utf8`."""
_ESCAPED: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""How JSON may write them; it cannot hold them as they are."""


def expand_home(place: str | os.PathLike[str]) -> str:
    """A place as text, with a `~` at its beginning written out: shells leave `--out=~/out` and `NAME=~/in` as they are.

    >>> expand_home("a/~b")
    'a/~b'
    """
    return os.path.expanduser(os.fspath(place))


def local_path(place: str | os.PathLike[str]) -> Path:
    """A place as a path; see `expand_home`."""
    return Path(expand_home(place))


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
            scratch.write_bytes(utf8(data) if isinstance(data, str) else data)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def write_new(path: Path, data: bytes | str) -> bool:
    """Write a file that is not there yet; False, and nothing changes, where somebody else was faster.

    Raises:
        RunError: If it cannot be written.
    """
    try:
        with whole_file(path) as scratch:
            scratch.write_bytes(utf8(data) if isinstance(data, str) else data)
            _sync(scratch)
            try:
                os.link(scratch, path)  # of two that do so, one fails
            except FileExistsError:
                if scratch.stat().st_nlink == 1:  # else it is there: see `_rename`
                    raise _Taken from None
            except OSError:  # a file system without second names
                if path.exists():
                    raise _Taken from None
    except _Taken:
        return False
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return True


class _Taken(Exception):
    pass


def write_files(folder: Path, files: Mapping[str, bytes | str], *, stale: Collection[str] = ()) -> list[Path]:
    """Write the files of a report into a folder, none of them beside those of an earlier one; returns their paths.

    Args:
        folder: Where to.
        files: By name; the last one appears last.
        stale: See `whole_set`.

    Raises:
        RunError: If one cannot be written; what was there is there still.
    """
    try:
        with whole_set(folder, last=list(files)[-1], stale=stale) as scratch:
            for name, data in files.items():
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                (scratch / name).write_bytes(utf8(data) if isinstance(data, str) else data)
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}") from error
    return [folder / name for name in files]


@contextlib.contextmanager
def whole_set(folder: Path, *, last: str, stale: Collection[str] = ()) -> Generator[Path]:
    """Give a scratch folder whose files take their places in `folder` when the block ends without an error.

    Args:
        folder: What else is in it stays.
        last: Name of the file that says that the others are there: it is removed before the first of them appears, and
            appears after all of them. So it never stands beside files of an earlier set, also after a kill.
        stale: Names of files that an earlier set may have, and which are removed if this one has none.

    Raises:
        OSError: If that fails.
        RunError: If another run holds the folder.
    """
    sweep_scratch(folder)
    scratch = scratch_path(folder / "files")
    try:
        scratch.mkdir(parents=True, exist_ok=True)  # a repeated request finds it made
        yield scratch
        made = sorted(path for path in scratch.rglob("*") if path.is_file())
        for path in made:
            _sync(path)
        with held(folder):  # two sets at once would be mixed
            (folder / last).unlink(missing_ok=True)
            for name in stale:
                if not (scratch / name).exists():
                    (folder / name).unlink(missing_ok=True)
            _sync(folder)
            for path in sorted(made, key=lambda path: path == scratch / last):
                place = folder / path.relative_to(scratch)
                place.parent.mkdir(parents=True, exist_ok=True)
                _move(path, place)
            _sync(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Give a scratch path beside `path` to write a file to; it takes its place when the block ends without an error.

    Raises:
        OSError: If that fails; what was at `path` is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent.absolute(), os.getpid())
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
        scratch.mkdir(parents=True, exist_ok=True)  # a repeated request finds it made
        yield scratch
        _read_as_new_files_are(scratch)
        publish(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _read_as_new_files_are(folder: Path) -> None:
    """Let whoever may read a new file read those of a new folder: safetensors writes its own for their owner alone."""
    wanted = stat.S_IMODE(folder.stat().st_mode) & 0o666  # the umask's, which cannot be asked without being set
    for path in folder.rglob("*"):
        found = path.lstat().st_mode
        if stat.S_ISREG(found) and wanted & ~found:
            with contextlib.suppress(OSError):  # some file systems have no rights
                path.chmod(stat.S_IMODE(found) | wanted)


def temporary_folder() -> Path:
    """Make a folder in the system's place for temporary files; the caller removes it.

    What dead processes left there is swept first, also what was too large to be left there.
    """
    base = Path(tempfile.gettempdir())
    _sweep_once(base, os.getpid())
    folder = scratch_path(base / "degrade-kit")
    folder.mkdir(mode=0o700)
    return folder


def is_abandoned(scratch: Path) -> bool:
    """Whether a path has a scratch name, of a process that is known to be dead."""
    found = _SCRATCH_NAME.fullmatch(scratch.name)
    return found is not None and _is_dead(found["owner"])


def scratch_path(path: Path, most: int = _MAX_SCRATCH) -> Path:
    """A new scratch name of this process, beside `path`; of its own name, as much as fits into `most` bytes."""
    ending = f".{_owner()}.{uuid.uuid4().hex[:8]}.tmp"
    name = os.fsdecode(os.fsencode(path.name)[: max(1, most - len(ending) - 1)])
    return path.with_name(f".{name}{ending}")


def publish(scratch: Path, path: Path) -> None:
    """Put a finished scratch file or folder in its place, durably and at once.

    Raises:
        OSError: If that fails; what was at `path` is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if scratch.is_dir():
            for inner in scratch.rglob("*"):
                _sync(inner)
            _sync(scratch)
            _replace_folder(scratch, path)
        else:
            _sync(scratch)
            _move(scratch, path)
    except FileNotFoundError as error:
        if scratch.exists():
            raise
        text = f"its scratch file {scratch} was removed by somebody else before it was finished"
        raise FileNotFoundError(errno.ENOENT, text) from error
    _sync(path.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that it is never there in part; nothing happens if there is none.

    Raises:
        OSError: If it cannot be renamed.
    """
    scratch = scratch_path(folder)
    with contextlib.suppress(FileNotFoundError):
        _rename(folder, scratch)
        _remove(scratch)


def sweep_scratch(folder: Path) -> None:
    """Remove the scratch files and folders in a folder whose process is gone.

    Those of other machines and containers are left, since their owners may live. A folder that was set aside for a new
    one is put back if the new one never came.
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


@functools.lru_cache(maxsize=4096)
def _sweep_once(folder: Path, pid: int) -> None:
    """Sweep a folder before the first write of a process to it; `pid` tells forks from their parent."""
    del pid
    sweep_scratch(folder)


def _move(scratch: Path, path: Path) -> None:
    """Rename a finished file; where no rename leads out of its folder, such as one with a quota, copy it first."""
    try:
        _rename(scratch, path)
    except OSError as error:
        if error.errno != errno.EXDEV or scratch.parent == path.parent:
            raise
        beside = scratch_path(path)
        try:
            shutil.copyfile(scratch, beside)
            _sync(beside)
            _rename(beside, path)
            scratch.unlink(missing_ok=True)
        finally:
            beside.unlink(missing_ok=True)


def _rename(scratch: Path, path: Path) -> None:
    """Rename a file or folder of this process's own, also over a file.

    A server of network files whose answer is lost is asked again, and then says that nothing is there to be renamed: it
    did it the first time.
    """
    before = scratch.stat()
    try:
        scratch.replace(path)
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            if not os.path.lexists(scratch) and os.path.samestat(before, path.stat()):
                return
        raise


def _replace_folder(scratch: Path, folder: Path) -> None:
    """Rename a folder to a name that may be taken; what was there is removed only when the new one stands.

    On Linux the two change names at once. No system call of other systems replaces a folder that has content: there,
    who is killed between two renames leaves the old one under a name by which `sweep_scratch` puts it back.
    """
    if folder.is_dir() and _exchange(scratch, folder):
        _remove(scratch)
        return
    old = scratch_path(folder, MAX_NAME).with_suffix(".old")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    try:
        _rename(scratch, folder)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            old.rename(folder)
        raise
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names at once; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    return renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # from fcntl.h and linux/fs.h


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # another process sweeps too, or the file is another user's
            path.unlink()


def _sync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut, as far as the file system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        if not path.is_dir() or error.errno not in (errno.EACCES, errno.EINVAL, errno.EISDIR):
            raise
        return  # a folder that may be written to and not read, or a system that opens none
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir() or error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def _owner() -> str:
    """Host, process, its start time, boot and PID namespace, in characters that stand in a file name without dots.

    A process number means something in its namespace alone: containers may share a host name, and not their numbers.
    """
    return f"{_host()}-{os.getpid()}-{_start_time(os.getpid())}-{_boot()}-{_pid_namespace()}"


def _is_dead(owner: str) -> bool:
    """Whether the process that `_owner` described could be seen here, and lives no more."""
    host, pid, start, boot, namespace = owner.split("-")
    here = (host, boot, namespace) == (_host(), _boot(), _pid_namespace())
    return here and _start_time(int(pid)) != start


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:40]


@functools.lru_cache(maxsize=1)
def _boot() -> str:
    """Begin of the id that this boot of the machine's kernel has, `0` where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return "0"


def _pid_namespace() -> str:
    """Number of this process's PID namespace, `0` where the system does not tell."""
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return "0"


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


# ----------------------------------------------------------------------------------------------------- one run a folder

SCRATCH: Final = ".degrade_kit/tmp"
"""Folder, inside an output, of what is there while a run works: files that are not whole yet, and who holds it."""

_LOCK: Final = "lock"
_ALONE, _SHARED = "alone", "shared"
NO_LOCKS: Final = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What file systems answer that have no locks."""


@dataclass(slots=True)
class _Hold:
    """An output that this process holds: the kernel's lock does not keep a process from itself."""

    lock: int
    """Descriptor of the locked file."""
    note: Path
    """Scratch file that tells others who holds it, and since when."""
    shared: bool
    thread: int
    """Thread that took it, and may take it again."""
    count: int = 1
    """How often it is held in this process."""


_holds: Final = dict[tuple[int, Path], _Hold]()
"""By process, which tells forks apart, and folder."""
_holds_lock: Final = threading.Lock()


@contextlib.contextmanager
def held(folder: Path, *, shared: bool = False) -> Generator[None]:
    """Hold an output folder as long as the block runs, so that no other run writes to it.

    The kernel frees the lock with the process, however it ends. On a file system without locks, the scratch file of
    each holder says whether its process lives.

    Args:
        folder: Made, if it is not there. A thread that holds it may do so again.
        shared: Whether others that share it too may work in it at the same time.

    Raises:
        RunError: If another run holds it; the message says which.
        OSError: If nothing can be written there.
    """
    area, key = folder / SCRATCH, (os.getpid(), folder.absolute())
    with _holds_lock:
        hold = _holds.get(key)
        if hold is None:
            hold = _holds[key] = _hold(folder, area, shared=shared)
        elif hold.thread == threading.get_ident() or (shared and hold.shared):
            hold.count += 1
        else:
            raise RunError(_in_use(folder, area))
    try:
        yield
    finally:
        with _holds_lock:
            hold.count -= 1
            if not hold.count:
                del _holds[key]
                _free(hold, area)


def _hold(folder: Path, area: Path, *, shared: bool) -> _Hold:
    """Lock an output, and note who did."""
    path, note = area / _LOCK, scratch_path(area / (_SHARED if shared else _ALONE))
    while True:
        area.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            continue  # who held it before has just removed the folder
        try:
            locked = _lock(lock, shared=shared)
            if not locked:
                note.touch()
                if any(found.name.startswith(f".{_ALONE}.") or not shared for found in _notes(area) if found != note):
                    note.unlink(missing_ok=True)
                    raise RunError(_in_use(folder, area))
            if _is_at(lock, path):
                sweep_scratch(area)  # of a holder that was killed
                if locked:
                    _tell_of_others(folder, area, shared=shared)
                note.touch()
                return _Hold(lock, note, shared, threading.get_ident())
            os.close(lock)  # it was removed before it was locked
        except FileNotFoundError:  # the folder was removed again
            os.close(lock)
        except OSError as error:
            os.close(lock)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise RunError(_in_use(folder, area)) from error
        except RunError:
            os.close(lock)
            raise


def _tell_of_others(folder: Path, area: Path, *, shared: bool) -> None:
    """Warn of a run elsewhere that noted that it holds an output whose lock is free.

    It was killed, or the locks of the file system hold nobody on another machine: from here nobody can tell.
    """
    for path in _notes(area):
        if not shared or path.name.startswith(f".{_ALONE}."):
            who = _holder(path)
            log.warning("%s: %s; if it lives, stop one of the two, and if not, remove that file", folder, who)


def _lock(lock: int, *, shared: bool) -> bool:
    """Lock an open file; False where the file system has no locks, OSError where another process has it."""
    try:
        # Of the process and not of the descriptor, as one by `flock` is, which lives on in forks.
        fcntl.lockf(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    return True


def _free(hold: _Hold, area: Path) -> None:
    """Unlock an output; the file goes with the last who holds it."""
    hold.note.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others share it still
        # Without locks, the notes of others tell.
        alone = not hold.shared or _lock(hold.lock, shared=False) or not _notes(area)
        if alone and _is_at(hold.lock, area / _LOCK):
            (area / _LOCK).unlink(missing_ok=True)
    os.close(hold.lock)
    for emptied in (area, area.parent):
        with contextlib.suppress(OSError):  # something else is in it
            emptied.rmdir()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _notes(area: Path) -> list[Path]:
    """Notes of the processes that hold an output and may live."""
    found = (
        (path, _SCRATCH_NAME.fullmatch(path.name)) for kind in (_ALONE, _SHARED) for path in area.glob(f".{kind}.*")
    )
    return [path for path, match in found if match is not None and not _is_dead(match["owner"])]


def _holder(note: Path) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(note.stat().st_mtime))
    host, pid, *_ = note.name.split(".")[2].split("-")
    return f"process {pid} on {host}, since {since}, which {note} stands for"


def _in_use(folder: Path, area: Path) -> str:
    who = ""
    for note in _notes(area):
        with contextlib.suppress(OSError):  # it has just ended
            who = f": {_holder(note)}"
    return f"{folder} is in use by another run{who}. Wait for it or stop it, or give another folder"


def user_cache() -> Path | None:
    """Find the folder of this user's caches, or None where nothing says what the user's home is."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return folder if folder.is_absolute() else None


@functools.lru_cache(maxsize=1)
def ensure_home() -> None:
    """Give libraries a home folder where nothing says what the user's is; some look into it when they are imported.

    An account that a container runs under may have no name, and no HOME.
    """
    if os.path.expanduser("~") == "~":
        folder = temporary_folder()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["HOME"] = str(folder)


# --------------------------------------------------------------------------------------------------------------- hashes


def utf8(text: str) -> bytes:
    r"""Encode text, which may hold names of files: bytes of them that are no UTF-8 become escapes, as JSON has them.

    >>> utf8("caf\udce9.png")
    b'caf\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace")


def sha256(data: bytes | str) -> str:
    """Hexadecimal SHA-256; of text, that of its UTF-8."""
    return hashlib.sha256(utf8(data) if isinstance(data, str) else data).hexdigest()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a regular file, read piece by piece."""
    return stale_once(lambda: _sha256_of(path))


def _sha256_of(path: Path) -> str:
    total = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


# ----------------------------------------------------------------------------------------------------- read from others


def regular_descriptor(path: Path) -> int:
    """Open a regular file for reading; a pipe or a device in its place is refused, and never waited for.

    Raises:
        OSError: If it is missing, cannot be read, or is something else; its `strerror` says what.
    """
    descriptor, mode = stale_once(lambda: _descriptor_and_mode(path))
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        found = next((name for is_one, name in _OTHER_KINDS if is_one(mode)), "something else")
        raise OSError(errno.EINVAL, f"expected a regular file, found {found}", str(path))
    return descriptor


def _descriptor_and_mode(path: Path) -> tuple[int, int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return descriptor, os.fstat(descriptor).st_mode
    except OSError:
        os.close(descriptor)
        raise


_OTHER_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; errors as `regular_descriptor`."""
    return os.fdopen(regular_descriptor(path), "rb")


def read_regular(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Content of a regular file.

    Raises:
        OSError: As `regular_descriptor`, or if it has more than `max_bytes`.
    """
    data = stale_once(lambda: _read(path, max_bytes + 1))
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"expected at most {max_bytes:,} bytes", str(path))
    return data


def _read(path: Path, size: int) -> bytes:
    """At most so many bytes: in parts, since Python makes room for all that may come."""
    parts: list[bytes] = []
    with open_regular(path) as file:
        while size and (part := file.read(min(size, _PART))):
            parts.append(part)
            size -= len(part)
    return b"".join(parts)


def stale_once(read: Callable[[], _Read]) -> _Read:
    """Read a file by its name, and once more where a network file system lost what that name was when it was opened.

    Args:
        read: Opens the file, and reads it.

    Raises:
        OSError: As `read`.
    """
    try:
        return read()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return read()


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:  # noqa: ANN401 (parsed JSON)
    """Read a JSON file; see `parse_json`.

    Raises:
        ConfigError: If it is missing, no regular file, cannot be read, or is not JSON.
    """
    try:
        data = read_regular(path, max_bytes)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse_json(data, str(path), max_bytes=max_bytes)


def parse_json(
    data: bytes | str, where: str, error: type[DegradeKitError] = ConfigError, *, max_bytes: int = MAX_JSON_BYTES
) -> Any:  # noqa: ANN401 (parsed JSON)
    """Parse JSON of others: UTF-8, finite numbers of 64 bits, no field twice, no NUL, no lone surrogate, not too deep.

    Args:
        data: The JSON.
        where: What messages call it.
        error: Raised where it is damaged.
        max_bytes: More are refused, and more values than fit into so many.
    """
    try:
        return decode_json(data, max_bytes)
    except (ValueError, RecursionError) as fault:
        reason = f"deeper than {MAX_DEPTH} levels" if isinstance(fault, RecursionError) else str(fault)
        raise error(f"damaged: {where}: not JSON: {reason}") from fault


def parse_json_lines(
    data: bytes, where: str, error: type[DegradeKitError] = ConfigError
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and object of each line of JSONL that is not blank; errors as `parse_json`, naming the line."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            found = parse_json(line, f"{where}, line {number}", error)
            if not isinstance(found, dict):
                raise error(f"damaged: {where}, line {number}: expected a JSON object, got {found!r:.80}")
            yield number, cast("dict[str, Any]", found)


def decode_json(data: bytes | str, max_bytes: int = MAX_JSON_BYTES, *, finite: bool = True) -> Any:  # noqa: ANN401 (parsed JSON)
    """Parse JSON as `parse_json` does.

    Args:
        data: The JSON.
        max_bytes: See `parse_json`.
        finite: Whether to refuse NaN and Infinity, which Python writes and JSON does not have.

    Raises:
        ValueError: If it is damaged.
        RecursionError: If it is far too deep.
    """
    if len(data) > max_bytes:
        raise ValueError(f"{len(data):,} bytes; the most is {max_bytes:,}")
    text = data if isinstance(data, str) else data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    opened = text.count("[") + text.count("{")
    if opened + text.count(",") > max_bytes // _BYTES_PER_VALUE:
        raise ValueError(f"more values than the {max_bytes // _BYTES_PER_VALUE:,} that are read")
    found = (_DECODER if finite else _LOOSE_DECODER).decode(text)
    if opened > MAX_DEPTH:
        _check_depth(found)
    if _ESCAPED.search(text):
        _check_texts(found)
    return found


def _check_depth(value: Any) -> None:  # noqa: ANN401 (parsed JSON)
    level: list[Any] = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, (dict, list))]
        if not level:
            return
    raise ValueError(f"deeper than {MAX_DEPTH} levels")


def _inside(value: Any) -> Iterable[Any]:  # noqa: ANN401 (parsed JSON)
    return cast("dict[str, Any]", value).values() if isinstance(value, dict) else cast("list[Any]", value)


def _check_texts(value: Any) -> None:  # noqa: ANN401 (parsed JSON)
    if isinstance(value, str):
        if found := _UNPRINTABLE.search(value):
            raise ValueError(f"text with the character {found[0]!a}: {value!a:.80}")
    elif isinstance(value, (dict, list)):
        if isinstance(value, dict):
            for key in cast("dict[str, Any]", value):
                _check_texts(key)
        for inner in _inside(value):
            _check_texts(inner)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = set[str]()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the field {twice!r:.80} is there twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits; the most is {_MAX_DIGITS}")
    return int(digits)


def _real(digits: str) -> float:
    found = float(digits)
    if math.isinf(found):
        raise ValueError(f"{digits:.40} is beyond all numbers")
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_whole, parse_float=_real, parse_constant=_constant
)
_LOOSE_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)


def read_yaml(path: Path) -> Any:  # noqa: ANN401 (parsed YAML)
    """Read a YAML file; see `parse_yaml`.

    Raises:
        ConfigError: If it is missing, no regular file, cannot be read, or is not plain YAML.
    """
    try:
        data = read_regular(path, MAX_YAML_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse_yaml(data, str(path))


def parse_yaml(text: str | bytes, where: str) -> Any:  # noqa: ANN401 (parsed YAML)
    """Parse YAML of lists, mappings, text, finite numbers, true, false and null.

    A configuration needs no tags, aliases, dates or Python objects, and they can do harm; a key that is there twice is
    a slip; and what is nested without end would take forever.

    Raises:
        ConfigError: If it is anything else, naming the line.
    """
    if len(text) > MAX_YAML_BYTES:
        raise ConfigError(f"{where}: not plain YAML: {len(text):,} bytes; the most is {MAX_YAML_BYTES:,}")
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return cast("Any", yaml).load(plain, Loader=_PlainLoader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:  # the last two: of numbers
        raise ConfigError(f"{where}: not plain YAML: {error}") from error


def plain_yaml(data: Mapping[str, Any]) -> str:
    """YAML without aliases, which recipe files may not have."""
    return cast("Any", yaml).dump(data, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=110)


def recipe_yaml(data: Mapping[str, Any]) -> str:
    """YAML of a recipe for people to read and change: a range in one line, and whole numbers as such."""
    dumped = cast("Any", yaml).dump(
        data, Dumper=_RecipeDumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return cast("str", dumped)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 (as PyYAML has it)
        return True


class _RecipeDumper(_PlainDumper):
    def represent_float(self, data: float) -> Any:  # noqa: ANN401 (as PyYAML has it)
        if data.is_integer() and abs(data) < 1e15:
            return self.represent_int(int(data))
        return super().represent_float(data)  # pyright: ignore[reportUnknownMemberType] (its data has no type)


_RecipeDumper.add_representer(float, _RecipeDumper.represent_float)


class _PlainLoader(yaml.SafeLoader):
    """Gives plain values alone, and stops at the first line that is too deep: PyYAML's time grows with its square."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: ANN401 (as PyYAML has it)
        """See PyYAML: at `[` and `{`."""
        self._check_depth(self.flow_level)
        cast("Any", super()).fetch_flow_collection_start(TokenClass)

    def add_indent(self, column: int) -> bool:
        """See PyYAML: where a list or mapping without brackets begins."""
        self._check_depth(len(self.indents))
        return cast("Any", super()).add_indent(column)

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 (as PyYAML has it)
        """See PyYAML: for each value."""
        if self.check_event(yaml.AliasEvent):
            raise _at(cast("Any", self).peek_event(), "YAML aliases (*name) are not allowed here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: ANN401 (as PyYAML has it)
        """See PyYAML: it keeps the last of the values of one key."""
        seen = set[Hashable]()
        for key_node, _ in node.value:
            key = (
                cast("Any", self).construct_object(key_node, deep=True)
                if isinstance(key_node, yaml.ScalarNode)
                else None
            )
            if isinstance(key_node, yaml.ScalarNode) and key in seen:
                raise _at(key_node, f"the key `{key!s:.80}` is there twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def _check_depth(self, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise yaml.YAMLError(f"line {self.line + 1}: deeper than {MAX_DEPTH} levels")


def _at(node: Any, problem: str) -> yaml.YAMLError:  # noqa: ANN401 (a node or event of PyYAML)
    return yaml.YAMLError(f"line {node.start_mark.line + 1}: {problem}")


def _yaml_text(loader: Any, node: Any) -> str:  # noqa: ANN401 (PyYAML has no types)
    value: str = loader.construct_scalar(node)
    if found := _UNPRINTABLE.search(value):
        raise _at(node, f"text with the character {found[0]!a}")
    return value


def _yaml_whole(loader: Any, node: Any) -> int:  # noqa: ANN401 (PyYAML has no types)
    # Binary digits are the longest way to write a number of 64 bits.
    value = loader.construct_yaml_int(node) if len(node.value) <= 3 * _MAX_DIGITS + 8 else 1 << 64
    if abs(value) >= 1 << 64:
        raise _at(node, f"a whole number beyond 64 bits: {node.value:.40}")
    return value


def _yaml_real(loader: Any, node: Any) -> float:  # noqa: ANN401 (PyYAML has no types)
    value: float = loader.construct_yaml_float(node)
    if not math.isfinite(value):
        raise _at(node, f"expected a finite number, got {node.value:.40}")
    return value


def _yaml_other(loader: Any, node: Any) -> None:  # noqa: ANN401 (PyYAML has no types)
    del loader
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    raise _at(node, f"expected a list, a mapping, text or a number, got a {kind}; put text in quotes")


cast("Any", _PlainLoader).yaml_constructors = {
    **{
        f"tag:yaml.org,2002:{kind}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]
        for kind in ("null", "bool", "seq", "map")
    },
    "tag:yaml.org,2002:str": _yaml_text,
    "tag:yaml.org,2002:int": _yaml_whole,
    "tag:yaml.org,2002:float": _yaml_real,
    None: _yaml_other,
}
