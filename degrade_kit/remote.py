"""Files at URLs: the one place that asks fsspec, with patience for a network and with errors that say what to do.

    remote.list_files("s3://bucket/faces")                  # {"00000.png": 1243011, ...}
    remote.read_range("s3://bucket/faces/00000.png", 0, 1243011)

A call that fails is tried again, unless it would fail each time: a file that is not there, a missing package, no
permission. What is given up is an error of the run and never a fault of the image that was asked for, so that no
image is left out of a data set because a network was down.
"""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Callable
from typing import Any, BinaryIO, Final, TypeVar, cast

from degrade_kit.errors import ConfigError, DegradeKitError, RunError

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hf", "http": "http", "https": "http"}
"""The extra that brings what a scheme needs; fsspec's page says it of the others."""
_CREDENTIALS: Final = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket, FSSPEC_S3_ANON=true",
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "set HF_TOKEN, or run `hf auth login`",
    "http": "an address with a signature may have expired",
}
_WAITS: Final = (0.5, 2.0, 8.0)
"""Seconds before another try; s3fs, gcsfs and huggingface_hub try some times by themselves before."""
_BUFFER: Final = 4 << 20
"""Bytes that are read ahead of a file which is walked through."""
_FINAL: Final = (PermissionError, IsADirectoryError, NotADirectoryError, ValueError, TypeError, NotImplementedError)
_URL: Final = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*::)*[A-Za-z][A-Za-z0-9+.-]*)://")
_LOCAL: Final = re.compile(r"file:(?://)?(?=/)")


def is_url(place: str) -> bool:
    """Tell whether a place is a URL that fsspec is to read, such as `s3://bucket/folder`.

    >>> is_url("s3://bucket/a"), is_url("simplecache::s3://bucket/a"), is_url("file:///a"), is_url("a:b.png")
    (True, True, False, False)
    """
    return _URL.match(place) is not None and _LOCAL.match(place) is None


def without_file_scheme(place: str) -> str:
    """Make a path of a `file:` URL; all else stays.

    >>> without_file_scheme("file:///a"), without_file_scheme("file:/a"), without_file_scheme("s3://a/b")
    ('/a', '/a', 's3://a/b')
    """
    return _LOCAL.sub("", place)


def schemes(url: str) -> list[str]:
    """List the schemes of a URL, which has several where fsspec's are chained.

    >>> schemes("simplecache::S3://bucket/a")
    ['simplecache', 's3']
    """
    found = _URL.match(url)
    return [] if found is None else found[1].lower().split("::")


def is_web(url: str) -> bool:
    """Tell whether a URL is one of the web, where files can be read and folders cannot be listed."""
    return not {"http", "https"}.isdisjoint(schemes(url))


def call(url: str, function: Callable[[Any], _Result], *, fresh: bool = False) -> _Result:
    """Call a function of the file system that a URL is in, again where a network may be to blame.

    Args:
        url: Whose file system.
        function: Is given fsspec's object, and may be called several times.
        fresh: Whether what was listed before is forgotten: other processes may have written since.

    Raises:
        ConfigError: If the scheme is unknown, or its package is missing.
        FileNotFoundError: If there is no such file.
        RunError: If it fails for any other reason, after the last try.
    """
    fs = _open(url)
    for wait in (*_WAITS, None):
        try:
            if fresh:
                fs.invalidate_cache()
            return function(fs)
        except FileNotFoundError as error:
            refused = error.__cause__  # the hub's way to say that a data set is private, or not there
            if isinstance(refused, Exception) and _lacks_access(refused):
                raise RunError(_explain(url, refused)) from error
            raise
        except DegradeKitError:
            raise
        except Exception as error:  # each implementation has errors of its own
            if wait is None or _is_final(error):
                raise RunError(_explain(url, error)) from error
            log.info("%s: %s; trying again in %g s", url, _text(error), wait)
            time.sleep(wait)
    raise AssertionError("unreachable")


def list_files(url: str) -> dict[str, int | None]:
    """List every file below a URL, sorted, as relative names with sizes in bytes, where those are told; empty if none.

    Raises:
        ConfigError: As `call`; or if it is of the web.
        RunError: As `call`.
    """
    if is_web(url):
        raise ConfigError(
            f"{url}: a folder of the web cannot be listed; expected a .tar, a pattern of them with braces, a .zip, a"
            " .txt file of addresses, or an image"
        )
    try:
        root, found = call(url, lambda fs: (fs._strip_protocol(url), fs.find(url, detail=True)), fresh=True)
    except FileNotFoundError:
        return {}
    names = {
        _relative(path, root): info for path, info in found.items() if info["type"] == "file" and not path.endswith("/")
    }
    return {name: names[name]["size"] for name in sorted(names) if name}


def glob(folder: str, pattern: str) -> list[str]:
    """List the files below a URL whose relative names match a pattern, as URLs, sorted.

    Raises:
        ConfigError: As `call`.
        RunError: As `call`.
    """

    def find(fs: Any) -> list[str]:  # noqa: ANN401 (fsspec has no types)
        root = fs._strip_protocol(folder)
        return sorted(f"{folder}/{_relative(path, root)}" for path in fs.glob(f"{folder}/{pattern}"))

    return call(folder, find, fresh=True)


def size(url: str) -> int | None:
    """Ask for the bytes of a file; None where the server does not say.

    Raises:
        FileNotFoundError: If there is none, or it is a folder.
        ConfigError: As `call`.
        RunError: As `call`.
    """
    info: dict[str, Any] = call(url, lambda fs: fs.info(url))
    if info["type"] == "directory":
        raise FileNotFoundError(f"{url}: a folder")
    return info["size"]


def read_range(url: str, start: int, length: int) -> bytes:
    """Read bytes of a file, fewer where it ends before.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: As `call`.
        RunError: As `call`; or if it is in the memory of another process, or the server gives whole files alone.
    """
    if not length:
        return b""
    try:
        data = call(url, lambda fs: cast("bytes", fs.cat_file(url, start=start, end=start + length)))
    except FileNotFoundError as error:
        if "memory" in schemes(url):
            raise RunError(f"{url}: not in the memory of this process; give --workers 0, or another place") from error
        raise
    if len(data) > length:
        raise RunError(f"{url}: the server does not give parts of files; download it, and name the file")
    return data


def read_start(url: str, most: int) -> bytes:
    """Read a file of unknown size, and no more of it than `most` bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: As `call`.
        RunError: As `call`.
    """

    def read(fs: Any) -> bytes:  # noqa: ANN401 (fsspec has no types)
        with fs.open(url, "rb") as file:
            return file.read(most)

    return call(url, read)


def open_file(url: str) -> BinaryIO:
    """Open a file to walk through, by parts that are read ahead.

    Raises:
        FileNotFoundError: If there is none.
        ConfigError: As `call`.
        RunError: As `call`; reading raises it, too.
    """
    length = size(url)
    if length is None:
        raise RunError(f"{url}: the server does not say how long the file is; download it, and name the file")
    return io.BufferedReader(_Parts(url, length), _BUFFER)


class _Parts(io.RawIOBase):
    """A file that is read by ranges."""

    def __init__(self, url: str, length: int) -> None:
        super().__init__()
        self._url, self._length, self._place = url, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._length}[whence])
        return self._place

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (as io has it)
        data = read_range(self._url, self._place, max(0, min(len(buffer), self._length - self._place)))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def _relative(path: str, root: str) -> str:
    return path.lstrip("/").removeprefix(root.strip("/")).lstrip("/")


def _open(url: str) -> Any:  # noqa: ANN401 (fsspec has no types)
    from fsspec import core

    try:
        return cast("Any", core).url_to_fs(url)[0]
    except ImportError as error:
        extra = next((EXTRAS[scheme] for scheme in schemes(url) if scheme in EXTRAS), None)
        how = str(error) if extra is None else f"pip install 'degrade-kit[{extra}]' ({_text(error)})"
        raise ConfigError(f"cannot open {url}: {how}") from error
    except ValueError as error:
        raise ConfigError(f"cannot open {url}: {error}") from error
    except Exception as error:  # some look for credentials at once
        raise RunError(_explain(url, error)) from error


def _status(error: Exception) -> int | None:
    """The HTTP status that an error tells of."""
    status: Any = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _lacks_access(error: Exception) -> bool:
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    return isinstance(error, PermissionError) or "Credential" in kinds or _status(error) in (401, 403)


def _is_final(error: Exception) -> bool:
    status = _status(error)
    refused = status is not None and 400 <= status < 500 and status not in (408, 425, 429)
    return refused or isinstance(error, _FINAL) or _lacks_access(error)


def _explain(url: str, error: Exception) -> str:
    text = f"{url}: {_text(error)}"
    if not _lacks_access(error):
        return text
    hints = [_CREDENTIALS[EXTRAS[scheme]] for scheme in schemes(url) if scheme in EXTRAS]
    return f"{text}: no access. {hints[0][0].upper()}{hints[0][1:]}" if hints else f"{text}: no access"


def _text(error: Exception) -> str:
    told = (error.strerror if isinstance(error, OSError) else None) or str(error).strip() or type(error).__name__
    return told.splitlines()[0][:300]
