"""Where HQ faces come from: a folder, list, zip, WebDataset tars or a BasicSR LMDB, or a URL of one, all read alike.

    sources = open_sources("ffhq/images1024x1024")
    sources.names[0]            # "00000/00000.png"
    sources.read(0)             # the file's bytes, for `degrade_kit.image.decode_image`
    sources.select(0, 100)      # what a worker needs, and no more

A *name* is a relative path with forward slashes. It says which image is meant in records and reports, and its random
numbers follow from it, so it depends on neither the machine nor its locale: names are read and sorted as bytes, and
bytes that are not UTF-8 stand as surrogates (`errors="surrogateescape"`). `display_name` makes them fit for people and
JSON.

What a name is relative to: a folder's names, to the folder. A list's, to the list's own folder where all lines are
relative and stay below it; else to the deepest folder that holds every file that the list names, whether they are there
or not. So a list of absolute paths gives the same names wherever the list lies and wherever the tree of images is
mounted; but a part of such a list may have a deeper folder in common, and then names its images otherwise.

What a listing refuses is never dropped in silence: `Sources.skipped` has its name, a reason and the detail. Reasons are
those of `degrade_kit.image` ("unreadable": a dangling link, a loop of links, no permission; "truncated"; "too large";
"unsupported format") and three more: "not a file" (a folder, pipe or device; a link within an archive), "unsafe name"
(absolute or with ".." in an archive) and "duplicate" (another member of a name that an archive has had). What leads to
images that are listed already, a link to a folder or a line that a list repeats, loses none: a warning reports it.
What is never data (thumbnails and bins of a NAS, macOS's doubles: `SERVICE_FOLDERS`, `SERVICE_FILES`; hidden folders)
and images of formats that are not read are left out and counted: `Sources.left_out`. `Sources.summary` counts both.
Nothing is ever extracted to disk, and no read waits for a pipe.

A URL is listed once, in the process that opens it: one request for 1000 files of S3, and an archive is walked through.
Its images are read where they are needed, each by one request. See `degrade_kit.remote` for what a network may do.
"""

from __future__ import annotations

import fnmatch
import glob
import heapq
import logging
import os
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Container, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol

from degrade_kit import lmdb_file, remote
from degrade_kit.errors import (
    TOO_LARGE,
    TRUNCATED,
    UNREADABLE,
    UNSUPPORTED,
    ConfigError,
    ImageError,
    RunError,
    shortage,
)
from degrade_kit.files import expand_home, stale_once
from degrade_kit.image_bounds import HINT, raised
from degrade_kit.store import is_safe_name

log = logging.getLogger(__name__)

IMAGE_EXTENSIONS: Final = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""Which files are listed; case does not matter. What a file is, its content decides."""
MAX_BYTES: Final = 256 * 2**20
"""Greatest size of one image file or member, so that a wrong file does not fill the memory."""

SERVICE_FOLDERS: Final = (
    *("@eaDir", "#recycle", "#snapshot"),  # of a Synology NAS: thumbnails, deleted files, old states
    *("@Recycle", "@Recently-Snapshot"),  # of a QNAP NAS
    *("$RECYCLE.BIN", "System Volume Information"),  # of Windows
    *("__MACOSX", ".AppleDouble", "Network Trash Folder"),  # of macOS, in archives and on file servers
    "lost+found",  # of file systems
)
"""Folders that machines make for themselves, whatever images are in them; case does not matter."""
SERVICE_FILES: Final = ("Thumbs.db", "ehthumbs.db", "desktop.ini", ".DS_Store")
"""Files of that kind; and those that begin with `._`, macOS's doubles of others, which have an image's ending."""
UNREAD_EXTENSIONS: Final = (
    *(".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".psd", ".exr", ".hdr", ".ppm", ".pgm", ".tga"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
"""Images that are not read, so that a folder of them is not taken for one without images."""
HIDDEN_FOLDER: Final = "hidden folder"
_DOUBLES: Final = "._ file"
_SERVICE: Final = {name.lower(): name for name in (*SERVICE_FOLDERS, *SERVICE_FILES)}
_OWN_FOLDER: Final = ".degrade_kit"

NOT_A_FILE: Final = "not a file"
UNSAFE_NAME: Final = "unsafe name"
DUPLICATE: Final = "duplicate"

_ACCEPTED = (
    "a folder of images, an image, a .txt or .lst file with one path per line, a .zip, a .tar (not compressed), a"
    " folder or a pattern of .tar files (shard-*.tar, shard-{000000..000009}.tar), or a BasicSR folder NAME.lmdb; all"
    " but the last may be URLs (s3://, gs://, hf://, https://)"
)


@dataclass(frozen=True, slots=True)
class Sources:
    """A sorted list of images and the means to read them. Small to pickle: it holds places, no open files."""

    names: tuple[str, ...]
    """Unique, sorted by their bytes."""
    skipped: tuple[tuple[str, str, str], ...]
    """Name, reason and detail of what the listing refused; empty in a selection, so that it is counted once."""
    left_out: tuple[tuple[str, int], ...]
    """What is never data, as cause and count, sorted: folders, not what is in them. Empty in a selection too."""
    _reader: _Reader = field(repr=False)

    def __len__(self) -> int:
        """Count the names of the images."""
        return len(self.names)

    def read(self, index: int) -> bytes:
        """Read the bytes of an image.

        Raises:
            ImageError: If it cannot be read ("unreadable" with the system's words, "truncated") or is "too large".
        """
        return self._reader.read(self.names[index])

    def summary(self) -> dict[str, int]:
        """Count what the listing did not take, by cause: first what it refused, the most frequent cause first."""
        refused = Counter(reason for _, reason, _ in self.skipped)
        return dict([*sorted(refused.items(), key=lambda entry: (-entry[1], entry[0])), *self.left_out])

    def select(self, start: int, stop: int) -> Sources:
        """Take `names[start:stop]` with what their reading needs."""
        return self.only(self.names[start:stop])

    def only(self, names: Iterable[str]) -> Sources:
        """Take the images with these names, in the order of this listing."""
        wanted = set(names)
        kept = tuple(name for name in self.names if name in wanted)
        return Sources(kept, (), (), self._reader.narrow(kept))


def open_sources(spec: str | Path, *, include: str | None = None) -> Sources:
    """List the images that `spec` names.

    A folder is listed with all below it but hidden folders and what is `never_data`. Links are followed, and each real
    folder is listed once. Where it holds .tar files and no images, or is a data set of this toolkit, the members of the
    tars are the images.

    Args:
        spec: A folder of images, an image, a list (.txt or .lst, one path per line, absolute or relative to the list's
            folder), a .zip, a .tar, a folder or a glob or brace pattern of .tar files, or an .lmdb folder in BasicSR's
            layout. Members of a tar are named `TAR/MEMBER`. All but the last may be URLs that fsspec reads, such as
            `s3://bucket/faces`; those of the web are files, since a folder of the web cannot be listed.
        include: Glob that the whole name must match, such as `*.hq.png`; `*` matches slashes too.

    Raises:
        ConfigError: If `spec` is none of these, no image is found, or a URL's package is not installed.
        RunError: If a URL cannot be reached.
    """
    given = remote.without_file_scheme(expand_home(spec))
    listing = _Listing(include)
    reader = _list(given, listing)
    if not listing.names:
        raise ConfigError(f"{display_name(given)}: {listing.explain_nothing()}")
    listing.warn_of_repeated()
    names = sorted(listing.names, key=_to_bytes)
    skipped = sorted(listing.skipped, key=lambda skip: _to_bytes(skip[0]))
    return Sources(tuple(names), tuple(skipped), listing.left_out(), reader)


def display_name(name: str) -> str:
    r"""Write a name so that JSON and terminals take it: bytes that are not UTF-8 become percent signs and two digits.

    >>> display_name("caf\udce9.png")
    'caf%E9.png'
    """
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", name)


def never_data(name: str, *, folder: bool = False) -> str | None:
    """Name what makes a file or folder one that is never data, by its name alone; None where it may be data.

    >>> never_data("@EADIR", folder=True), never_data("._00000.png"), never_data("00000.png")
    ('@eaDir', '._ file', None)
    """
    known = _SERVICE.get(name.lower())
    if known is not None and (known in SERVICE_FOLDERS) == folder:
        return known
    if folder:
        return HIDDEN_FOLDER if name.startswith(".") else None
    return _DOUBLES if name.startswith("._") else None


def data_files(root: Path, pattern: str = "**/*") -> list[Path]:
    """List the files below a folder that match, sorted, without those of services; hidden folders count."""

    def is_data(path: Path) -> bool:
        *folders, file = path.relative_to(root).parts
        return not never_data(file) and all(never_data(each, folder=True) in (None, HIDDEN_FOLDER) for each in folders)

    return sorted(path for path in root.glob(pattern) if path.is_file() and is_data(path))


# -------------------------------------------------------------------------------------------------------------- listing


class _Listing:
    """What a listing has found so far."""

    def __init__(self, include: str | None) -> None:
        self.names: list[str] = []
        self.skipped: list[tuple[str, str, str]] = []
        self._repeated: list[tuple[str, str]] = []
        self._include = include
        self._matches = None if include is None else re.compile(fnmatch.translate(include)).match
        self._excluded = 0
        self._others: Counter[str] = Counter()
        self._left_out: dict[str, set[str]] = {}

    def wants(self, name: str) -> bool:
        """Tell whether a file's name makes it a source; count it if not."""
        if not _is_image_name(name):
            extension = posixpath.splitext(name)[1].lower()
            self._others[extension or "without extension"] += 1
            if extension in UNREAD_EXTENSIONS and self.includes(name):
                self.leave_out(name, extension)
            return False
        return self.includes(name)

    def is_data(self, name: str, *, hidden: bool = True) -> bool:
        """Tell whether no part of a name is one of a service; count what it lies in if so.

        Args:
            name: Relative to the source.
            hidden: Whether hidden folders are left out too; our own without a word.
        """
        *folders, file = name.split("/")
        for depth, folder in enumerate(folders, start=1):
            cause = never_data(folder, folder=True)
            if cause == HIDDEN_FOLDER and (not hidden or folder == ".."):
                continue
            if cause is not None:
                self.leave_out("/".join(folders[:depth]), cause)
                return False
        cause = never_data(file)
        if cause is not None:
            self.leave_out(name, cause)
        return cause is None

    def leave_out(self, name: str, cause: str) -> None:
        """Note what is never data; a name counts once."""
        if posixpath.basename(name) != _OWN_FOLDER:
            self._left_out.setdefault(cause, set()).add(name)

    def left_out(self) -> tuple[tuple[str, int], ...]:
        return tuple(sorted((cause, len(names)) for cause, names in self._left_out.items()))

    def includes(self, name: str) -> bool:
        if self._matches is None or self._matches(name):
            return True
        self._excluded += 1
        return False

    def skip(self, name: str, reason: str, detail: str) -> None:
        self.skipped.append((name, reason, detail))

    def repeat(self, name: str, detail: str) -> None:
        """Note what names nothing new."""
        self._repeated.append((name, detail))

    def warn_of_repeated(self) -> None:
        if self._repeated:
            name, detail = min(self._repeated)
            text = "%d links or lines lead to what is listed already, which counts once; the first: %s (%s)"
            log.warning(text, len(self._repeated), display_name(name), detail)

    def explain_nothing(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self._others.most_common(5))
        parts = [f"no image found; looked for {', '.join(IMAGE_EXTENSIONS)}"]
        parts.append(f"saw {self._others.total()} other files" + (f" ({kinds})" if kinds else ""))
        if self._excluded:
            parts.append(f"{self._excluded} images do not match {self._include!r}")
        if self._left_out:
            parts.append("left out " + ", ".join(f"{count} {cause}" for cause, count in self.left_out()))
        if self.skipped:
            name, reason, detail = self.skipped[0]
            parts.append(f"refused {len(self.skipped)}, the first: {display_name(name)}: {reason}, {detail}")
        return "; ".join(parts)


def _list(spec: str, listing: _Listing) -> _Reader:
    """Find out what `spec` names, and list it."""
    if remote.is_url(spec):
        return _list_url(spec, listing)
    try:
        mode = os.stat(spec).st_mode
    except (OSError, ValueError) as error:
        return _list_tars(*_expand(spec, error), listing)
    path = os.path.abspath(spec)
    if stat.S_ISDIR(mode):
        return _list_lmdb(path, listing) if path.lower().endswith(".lmdb") else _list_folder(path, listing)
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{display_name(spec)}: {_kind(mode)}; expected {_ACCEPTED}")
    if path.lower().endswith((".txt", ".lst")):
        return _list_lines(path, listing)
    if path.lower().endswith(".zip"):
        return _list_zip(path, listing)
    if path.lower().endswith(".tar"):
        return _list_tars(os.path.dirname(path), [path], listing)
    if _is_image_name(path):
        listing.names.append(_name(os.path.basename(path)))
        return _Files(os.path.dirname(path))
    raise ConfigError(f"{display_name(spec)}: expected {_ACCEPTED}")


def _expand(pattern: str, error: Exception) -> tuple[str, list[str]]:
    """Expand a pattern of tars to the folder that their names are relative to, and their paths."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", pattern):
        raise ConfigError(f"{display_name(pattern)}: no URL that is read; expected {_ACCEPTED}") from error
    wild = re.search(r"[*?\[{]", pattern)
    if wild is None:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{display_name(pattern)}: {reason}; expected {_ACCEPTED}") from error
    patterns = _expand_braces(pattern)
    paths = {os.path.abspath(path): None for each in patterns for path in sorted(glob.glob(each, recursive=True))}
    tars = [path for path in paths if _is_tar(os.path.basename(path))]
    missing = [each for each in patterns if not glob.has_magic(each) and not os.path.exists(each)]
    if missing or not tars:
        found = f"{len(missing)} files are missing, the first: {missing[0]}" if missing else "no .tar file matches"
        raise ConfigError(f"{display_name(pattern)}: {display_name(found)}") from error
    return os.path.abspath(os.path.dirname(pattern[: wild.start()])), tars


def _expand_braces(pattern: str) -> list[str]:
    from braceexpand import braceexpand

    try:
        return list(braceexpand(pattern)) if "{" in pattern else [pattern]
    except ValueError as unbalanced:
        raise ConfigError(f"{display_name(pattern)}: {unbalanced}") from unbalanced


def _list_folder(root: str, listing: _Listing) -> _Reader:
    try:
        with os.scandir(root) as entries:
            tars = sorted(entry.path for entry in entries if _is_tar(entry.name) and entry.is_file())
    except OSError as error:
        raise ConfigError(f"{display_name(root)}: {_text(error)}") from error
    if tars and os.path.isdir(os.path.join(root, ".degrade_kit")):
        return _list_tars(root, tars, listing)
    _walk(os.fsencode(root), listing)
    _check_either(root, tars, listing)
    return _list_tars(root, tars, listing) if tars else _Files(root)


def _check_either(root: str, tars: Collection[str], listing: _Listing) -> None:
    """Refuse a folder of both tars and images."""
    if tars and listing.names:
        raise ConfigError(
            f"{display_name(root)}: holds {len(tars)} .tar files and {len(listing.names)} images; expected one or the"
            f" other. For the tars, name {display_name(root)}/*.tar; for the images, a list of them or a folder below"
        )


def _walk(root: bytes, listing: _Listing) -> None:
    """List the files below a folder, real folders before linked ones, so that the names do not depend on chance."""
    folders, links, seen = [b""], list[bytes](), set[tuple[int, int]]()
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)
        path = os.path.join(root, folder)
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                listing.repeat(_name(folder), "a link to a folder")
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                for entry in entries:
                    _sort_entry(entry, folder + b"/" * bool(folder) + entry.name, folders, links, listing)
        except OSError as error:
            listing.skip(_name(folder) or ".", UNREADABLE, _text(error))


def _sort_entry(
    entry: os.DirEntry[bytes], path: bytes, folders: list[bytes], links: list[bytes], listing: _Listing
) -> None:
    """Put an entry of a folder where it belongs; `path` is relative to the root."""
    name = _name(path)
    try:
        # For a plain file the folder's own entry says enough; a system call for each would double the time.
        mode = stat.S_IFREG if entry.is_file(follow_symlinks=False) else entry.stat().st_mode
    except OSError as error:  # a dangling link or a loop
        if never_data(_name(entry.name)) is None and listing.wants(name):
            listing.skip(name, UNREADABLE, _text(error))
        return
    cause = never_data(_name(entry.name), folder=stat.S_ISDIR(mode))
    if cause is not None:
        listing.leave_out(name, cause)
        return
    if stat.S_ISDIR(mode):
        if entry.is_symlink():
            heapq.heappush(links, path)
        else:
            folders.append(path)
        if not _is_image_name(name):
            return
    if not listing.wants(name):
        return
    if stat.S_ISREG(mode):
        listing.names.append(name)
    else:
        listing.skip(name, NOT_A_FILE, _kind(mode))


def _list_lines(path: str, listing: _Listing) -> _Reader:
    """List what the lines of a file name; an explicit list needs no image extensions."""
    lines = {number: line for number, line in enumerate(_read_lines(path), start=1) if line.strip()}
    if any(remote.is_url(_name(line)) for line in lines.values()):
        return _list_addresses(path, lines, listing)
    folder = os.fsencode(os.path.dirname(path))
    targets = {number: os.path.normpath(os.path.join(folder, line)) for number, line in lines.items()}
    root = _list_root(folder, lines.values(), targets.values())
    if root == b"/" != folder:
        text = (
            "%s: its paths have no folder in common but /, so names, and the random numbers that follow from them, hold"
            " where the images lie on this machine"
        )
        log.warning(text, display_name(path))
    top, names = os.path.join(root, b""), set[str]()
    for number, target in targets.items():
        name = _name(target.removeprefix(top))
        if not listing.includes(name) or not listing.is_data(name, hidden=False):
            continue
        try:
            mode = os.stat(target).st_mode
        except (OSError, ValueError) as error:
            listing.skip(name, UNREADABLE, _text(error))
            continue
        if name in names:
            listing.repeat(name, f"line {number}")
        elif not stat.S_ISREG(mode):
            listing.skip(name, NOT_A_FILE, _kind(mode))
        else:
            names.add(name)
    listing.names.extend(names)
    return _Files(os.fsdecode(root))


def _list_root(folder: bytes, lines: Iterable[bytes], targets: Collection[bytes]) -> bytes:
    """Return the folder that a list's names are relative to; the text of the list and its place alone decide.

    Args:
        folder: The list's own.
        lines: As they stand in the list.
        targets: The same as absolute paths without `..`.
    """
    top = os.path.join(folder, b"")
    if all(target.startswith(top) for target in targets) and not any(os.path.isabs(line) for line in lines):
        return folder
    return os.path.commonpath([os.path.dirname(target) for target in targets])


def _read_lines(path: str) -> list[bytes]:
    try:
        data = _read_place(path)
    except ImageError as error:
        raise ConfigError(f"{display_name(path)}: {error.detail}; expected a file with one name per line") from error
    return [line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


def _list_zip(path: str, listing: _Listing) -> _Reader:
    members: dict[str, _Member] = {}
    try:
        with _open_place(path) as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                name = None if info.is_dir() else _admit("", info.filename, info.file_size, members, listing)
                fault = _zip_fault(info)
                if name is not None and fault is not None:
                    listing.skip(name, *fault)
                elif name is not None:
                    members[name] = _ZipMember(path, info.header_offset, info.compress_size, info.file_size, info.CRC)
    except RunError:
        raise
    except Exception as error:  # on crafted files zipfile lets struct.error, NotImplementedError and others through
        raise ConfigError(f"{display_name(path)}: not a zip file that can be read: {error}") from error
    listing.names.extend(members)
    return _Members(members)


def _zip_fault(info: zipfile.ZipInfo) -> tuple[str, str] | None:
    if stat.S_ISLNK(info.external_attr >> 16):
        return NOT_A_FILE, "link"
    if info.flag_bits & 1:
        return UNSUPPORTED, "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return UNSUPPORTED, f"zip compression method {info.compress_type}; 0 (stored) and 8 (deflate) are read"
    return None


def _list_tars(root: str, paths: Iterable[str], listing: _Listing) -> _Reader:
    """List the images in tars. Their names begin with the tar's own path from `root`."""
    members: dict[str, _Member] = {}
    for path in paths:
        tar = _name(os.path.relpath(path, root) if not remote.is_url(path) else _below(path, root))
        try:
            _list_tar(path, tar, members, listing)
        except ImageError as error:
            listing.skip(tar, error.reason, error.detail)
        except RunError:
            raise
        except Exception as error:  # on crafted headers tarfile lets OverflowError, RecursionError and others through
            reason = TRUNCATED if "end of data" in str(error) else UNREADABLE
            listing.skip(tar, reason, f"{_text(error)}; a .tar that is not compressed is expected")
    listing.names.extend(members)
    return _Members(members)


def _list_tar(path: str, tar: str, members: dict[str, _Member], listing: _Listing) -> None:
    with (
        _open_place(path) as file,
        tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as archive,
    ):
        for info in archive:
            if info.size < 0:  # would send tarfile back, for ever (CVE-2025-8194)
                raise tarfile.ReadError(f"negative size at byte {info.offset}")
            name = None if info.isdir() else _admit(f"{tar}/", info.name, info.size, members, listing)
            if name is not None and (not info.isreg() or info.issparse()):
                listing.skip(name, NOT_A_FILE, "a link, device or sparse file within the tar")
            elif name is not None:
                members[name] = _TarMember(path, info.offset_data, info.size)
        # tarfile ends in silence at a damaged header, and where a tar was cut between two members.
        file.seek(archive.offset)
        if file.read(512) != bytes(512):
            listing.skip(tar, TRUNCATED, f"neither a member nor the end mark at byte {archive.offset}")


def _admit(prefix: str, member: str, size: int, members: Container[str], listing: _Listing) -> str | None:
    """Check the name and size of an archive's member, and return what the source will be called."""
    name = prefix + posixpath.normpath(member)
    if not listing.is_data(name) or not listing.wants(name):
        return None
    if member.startswith("/") or ".." in member.split("/") or "\0" in member:
        listing.skip(prefix + member, UNSAFE_NAME, "absolute, with '..' or with a zero byte")
    elif name in members:
        listing.skip(name, DUPLICATE, "the first member of that name is taken")
    elif size > (most := raised(MAX_BYTES)):
        listing.skip(name, TOO_LARGE, f"{size} bytes; at most {most} are read{HINT}")
    else:
        return name
    return None


def _list_url(url: str, listing: _Listing) -> _Reader:
    """Find out what a URL names by its ending, and list it."""
    path = _path_of(url)
    name, folder = posixpath.basename(path), url[: path.rindex("/")]
    if re.search(r"[*?\[{]", path):
        return _list_tars(*_expand_url(url, path), listing)
    if name.lower().endswith((".txt", ".lst", ".zip", ".tar", *IMAGE_EXTENSIONS)):
        size = _size_at(url)
        if name.lower().endswith((".txt", ".lst")):
            lines = {number: line for number, line in enumerate(_read_lines(url), start=1) if line.strip()}
            return _list_addresses(url, lines, listing)
        if name.lower().endswith(".zip"):
            return _list_zip(url, listing)
        if name.lower().endswith(".tar"):
            return _list_tars(folder, [url], listing)
        listing.names.append(name)
        return _Members({name: _UrlFile(url, size)})
    if url.rstrip("/").lower().endswith(".lmdb"):
        raise ConfigError(f"{display_name(url)}: an LMDB is read from a local folder alone; copy it there")
    return _list_url_folder(url.rstrip("/"), listing)


def _size_at(url: str) -> int | None:
    try:
        return remote.size(url)
    except FileNotFoundError as error:
        raise ConfigError(f"{display_name(url)}: no such file; expected {_ACCEPTED}") from error


def _path_of(url: str) -> str:
    """A URL without what a web server is told behind its path."""
    return re.split("[?#]", url, maxsplit=1)[0] if remote.is_web(url) else url


def _below(url: str, root: str) -> str:
    return _path_of(url).removeprefix(root).lstrip("/")


def _expand_url(url: str, path: str) -> tuple[str, list[str]]:
    """Expand a pattern of tars to the URL of the folder that their names are relative to, and their URLs."""
    wild = re.search(r"[*?\[{]", path)
    folder = path[: path.rindex("/", 0, None if wild is None else wild.start())]
    places = list[str]()
    for each in _expand_braces(url):
        if not glob.has_magic(_path_of(each)):
            _size_at(each)
            places.append(each)
        elif remote.is_web(url):
            raise ConfigError(f"{display_name(url)}: a folder of the web cannot be listed; expected braces alone")
        else:
            places += remote.glob(folder, each.removeprefix(f"{folder}/"))
    tars = [place for place in dict.fromkeys(places) if _is_tar(posixpath.basename(_path_of(place)))]
    if not tars:
        raise ConfigError(f"{display_name(url)}: no .tar file matches")
    return folder, tars


def _list_url_folder(root: str, listing: _Listing) -> _Reader:
    found = remote.list_files(root)
    if not found:
        raise ConfigError(f"{display_name(root)}: nothing is there; expected {_ACCEPTED}")
    tars = [f"{root}/{name}" for name in found if "/" not in name and _is_tar(name)]
    if tars and any(name.startswith(f"{_OWN_FOLDER}/") for name in found):
        return _list_tars(root, tars, listing)
    members: dict[str, _Member] = {}
    for name, size in found.items():
        if not listing.is_data(name) or not listing.wants(name):
            continue
        if is_safe_name(name):
            members[name] = _UrlFile(f"{root}/{name}", size)
        else:
            listing.skip(name, UNSAFE_NAME, "with an empty part, '..' or a zero byte")
    listing.names.extend(members)
    _check_either(root, tars, listing)
    return _list_tars(root, tars, listing) if tars else _Members(members)


def _list_addresses(place: str, lines: Mapping[int, bytes], listing: _Listing) -> _Reader:
    """List what the lines of a list name that is at a URL, or that names URLs.

    None of them is looked at before it is read. Names are those of `_list_lines`: relative to the list's folder, or to
    the deepest folder that all addresses have in common.
    """
    folder = _path_of(place).rpartition("/")[0] if remote.is_url(place) else None
    urls = {number: _address(place, number, _name(line), folder) for number, line in lines.items()}
    relative = folder is not None and not any(remote.is_url(_name(line)) for line in lines.values())
    if len({remote.schemes(url)[-1] for url in urls.values()}) > 1:
        raise ConfigError(f"{display_name(place)}: expected addresses of one scheme, got those of several")
    paths = {number: "/" + _path_of(url).partition("://")[2] for number, url in urls.items()}
    root = "/" + (folder or "").partition("://")[2]
    if not (relative and all(path.startswith(f"{root}/") for path in paths.values())):
        root = posixpath.commonpath([posixpath.dirname(path) for path in paths.values()])
    members: dict[str, _Member] = {}
    for number, url in urls.items():
        name = posixpath.relpath(paths[number], root)
        if not listing.includes(name) or not listing.is_data(name, hidden=False):
            continue
        if name in members:
            listing.repeat(name, f"line {number}")
        else:
            members[name] = _UrlFile(url, None)
    listing.names.extend(members)
    return _Members(members)


def _address(place: str, number: int, line: str, folder: str | None) -> str:
    """The URL that a line of a list means."""
    if remote.is_url(line):
        return line
    if folder is None or line.startswith("/"):
        raise ConfigError(f"{display_name(place)}: line {number}: expected a URL, as in other lines, got {line!r:.200}")
    scheme, _, path = folder.partition("://")
    return f"{scheme}://{posixpath.normpath(f'{path}/{line}')}"


_META_INFO: Final = re.compile(r" \(\d{1,9},\d{1,9},\d{1,9}\) \d{1,9}$")
"""What stands behind a name in a BasicSR database, as in `00000.png (512,512,3) 1`."""


def _list_lmdb(path: str, listing: _Listing) -> _Reader:
    names = set[str]()
    for line in filter(None, _read_lines(os.path.join(path, "meta_info.txt"))):
        member = _META_INFO.sub("", _name(line))
        if posixpath.normpath(member) in names:
            listing.repeat(member, "in meta_info.txt")
        elif (name := _admit("", member, 0, names, listing)) is not None:
            names.add(name)
    listing.names.extend(names)
    return _Lmdb(path)


# -------------------------------------------------------------------------------------------------------------- reading


class _Reader(Protocol):
    def read(self, name: str) -> bytes: ...

    def narrow(self, names: tuple[str, ...]) -> _Reader:
        """Keep what these names need."""
        ...


class _Member(Protocol):
    def read(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Files:
    root: str

    def read(self, name: str) -> bytes:
        with _reported():
            return stale_once(lambda: _read_whole(os.path.join(os.fsencode(self.root), _to_bytes(name))))

    def narrow(self, names: tuple[str, ...]) -> _Reader:
        return self


@dataclass(frozen=True, slots=True)
class _Members:
    """Members of archives by name.

    Each read opens the archive anew, which takes 20 us: so no handle is pickled, shared after a fork or left open.
    """

    members: dict[str, _Member]

    def read(self, name: str) -> bytes:
        with _reported():
            return stale_once(self.members[name].read)

    def narrow(self, names: tuple[str, ...]) -> _Reader:
        return _Members({name: self.members[name] for name in names})


class _TarMember(NamedTuple):
    path: str
    offset: int
    size: int

    def read(self) -> bytes:
        return _read_part(self.path, self.offset, self.size)


_ZIP_HEADER: Final = struct.Struct("<4s4xH16xHH")


class _ZipMember(NamedTuple):
    """Read without `zipfile`, which would parse the whole directory again in every worker."""

    path: str
    offset: int
    packed_size: int
    size: int
    checksum: int

    def read(self) -> bytes:
        header = _read_part(self.path, self.offset, _ZIP_HEADER.size)
        signature, method, name_size, extra_size = _ZIP_HEADER.unpack(header)
        if signature != b"PK\3\4":
            raise ImageError(UNREADABLE, f"no member of the zip at byte {self.offset}")
        data = _read_part(self.path, self.offset + len(header) + name_size + extra_size, self.packed_size)
        if method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.size + 1)
        if len(data) != self.size or zlib.crc32(data) != self.checksum:
            raise ImageError(UNREADABLE, "wrong checksum in the zip")
        return data


class _UrlFile(NamedTuple):
    url: str
    size: int | None
    """None where the listing did not tell."""

    def read(self) -> bytes:
        if self.size is not None:
            return _read_part(self.url, 0, self.size)
        data = remote.read_start(self.url, raised(MAX_BYTES) + 1)
        _check_size(len(data))
        return data


@dataclass(frozen=True, slots=True)
class _Lmdb:
    path: str

    def read(self, name: str) -> bytes:
        key = _to_bytes(posixpath.splitext(name)[0])
        with _reported():
            value = stale_once(lambda: self._value(key))
        if value is None:
            raise ImageError(UNREADABLE, f"the database has no key {key!r}")
        return value

    def _value(self, key: bytes) -> bytes | None:
        with _open_regular(os.path.join(os.fsencode(self.path), b"data.mdb")) as file:
            return lmdb_file.read_value(file, key, raised(MAX_BYTES))

    def narrow(self, names: tuple[str, ...]) -> _Reader:
        return self


@contextmanager
def _reported() -> Generator[None, None, None]:
    try:
        yield
    except (OSError, ValueError, zlib.error) as error:
        raise ImageError(UNREADABLE, _text(error)) from error


@contextmanager
def _open_regular(path: bytes) -> Generator[BinaryIO, None, None]:
    """Open a regular file, and nothing else: a pipe would be waited for."""
    with stale_once(lambda: _opened(path)) as file:
        yield file


def _opened(path: bytes) -> BinaryIO:
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)))
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise ImageError(UNREADABLE, _kind(mode))
        stack.pop_all()  # it stays open
        return file


def _read_whole(path: bytes) -> bytes:
    with _open_regular(path) as file:
        return _read_exactly(file, os.fstat(file.fileno()).st_size)


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    _check_size(size)
    return _check_whole(file.read(size), size)


def _check_size(size: int) -> int:
    if size > (most := raised(MAX_BYTES)):
        raise ImageError(TOO_LARGE, f"{size} bytes; at most {most} are read{HINT}")
    return size


def _check_whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ImageError(TRUNCATED, f"{len(data)} of {size} bytes")
    return data


def _open_place(place: str) -> AbstractContextManager[BinaryIO]:
    """Open a file, or one at a URL, to walk through."""
    return remote.open_file(place) if remote.is_url(place) else _open_regular(os.fsencode(place))


def _read_place(place: str) -> bytes:
    """Read a file, or one at a URL."""
    with _reported():
        return _UrlFile(place, remote.size(place)).read() if remote.is_url(place) else _read_whole(os.fsencode(place))


def _read_part(place: str, offset: int, size: int) -> bytes:
    """Read bytes from the middle of a file, or of one at a URL."""
    if remote.is_url(place):
        return _check_whole(remote.read_range(place, offset, _check_size(size)), size)
    with _open_regular(os.fsencode(place)) as file:
        file.seek(offset)
        return _read_exactly(file, size)


# ---------------------------------------------------------------------------------------------------------------- names


def _to_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _name(path: str | bytes) -> str:
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar") and never_data(_name(name)) is None


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _text(error: Exception) -> str:
    """What is wrong with a file that cannot be read.

    Raises:
        RunError: If that is not the file's fault, but this process has too little of something.
    """
    if lack := shortage(error):
        raise RunError(f"{error}; {lack}") from error
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
