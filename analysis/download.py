"""Fetch a file that `degrade_kit.analysis.weights` lists from where its authors publish it, whole and checked.

Over https alone, redirects too; no more than a quarter above the known size; compared with the known SHA-256. Where its
authors publish none, the user says which it must be, in FILE.sha256 in the folder that it goes to; without one, nothing
is fetched.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any, Final

from degrade_kit.analysis.weights import (
    NOTE_SUFFIX,
    VARIABLE,
    HashState,
    Weight,
    begins_as_its_kind,
    expected_sha256,
    hash_state,
)
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import sweep_scratch, whole_file
from degrade_kit.progress import OnProgress, Progress, silent

_CHUNK: Final = 1 << 20
_TIMEOUT: Final = 60.0
"""Seconds that a server may stay silent."""
_SCHEME: Final = "https"
_MAX_EXCESS: Final = 1.25
"""A body of more than this times the known size is another file, or one without an end."""


def download_folder(out: Path | None) -> Path:
    """Choose where files go: `out`, or the first folder of DEGRADE_KIT_WEIGHTS.

    Raises:
        ConfigError: If there is neither.
    """
    listed = [entry for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    if out is None and not listed:
        raise ConfigError(f"--download needs a folder: give --out DIR, or set {VARIABLE}")
    return Path(os.path.expanduser(out or listed[0]))  # which leaves a `~` that nobody knows


def download(weight: Weight, folder: Path, progress: OnProgress = silent) -> Path:
    """Fetch a file to `folder`, under its best known name. A file of that name that is not another one is left alone.

    Args:
        weight: What to fetch.
        folder: Where to; made if need be.
        progress: Told of the bytes received.

    Raises:
        ConfigError: If it is not published at a plain address, or no whole hash of it is known.
        RunError: If it cannot be fetched or written, is cut short or too long, has another hash than the published one,
            or is of another kind: nothing is left then. Or if another file of that name is there, which is left.
    """
    if not weight.url:
        raise ConfigError(f"{weight.name}: cannot be downloaded by this command: {weight.by_hand}")
    path = folder / weight.files[0]
    try:
        sweep_scratch(folder)
        if path.exists():
            check_there(weight, path)
            return path
        expected = hash_to_fetch(weight, folder)
        with whole_file(path) as scratch:
            with scratch.open("wb") as file:
                digest = _receive(weight, file, progress)
            if not begins_as_its_kind(scratch, path.suffix):
                raise RunError(
                    f"{weight.url}: what came is no {path.suffix} file, perhaps a page that asks for a login; nothing "
                    f"was kept. Get it in a browser, and put it to {path}"
                )
            if digest != expected:
                raise RunError(
                    f"{weight.url}: not the published file: its SHA-256 is {digest}, expected {expected}; nothing was "
                    "kept"
                )
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def hash_to_fetch(weight: Weight, folder: Path) -> str:
    """Find the SHA-256 that a file must have to be kept.

    Raises:
        ConfigError: If no whole one is known.
    """
    path = folder / weight.files[0]
    expected = expected_sha256(weight, path)
    if len(expected) < 64:
        raise ConfigError(
            f"{weight.name}: no hash of it is published, and nothing is fetched without one: get it in a browser from "
            f"{weight.url} and put it to {path}; or write the SHA-256 that it must have to {path.name}{NOTE_SUFFIX} "
            "there, and run the command again"
        )
    return expected


def check_there(weight: Weight, path: Path) -> HashState:
    """Check a file that is there under a name of `weight`; returns how sure one may be that it is the published one.

    Raises:
        RunError: If it is another file, or cannot be read.
    """
    try:
        state = hash_state(weight, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    if state == "other":
        expected = expected_sha256(weight, path) or "unknown digits"
        raise RunError(
            f"{path}: is there, and is not the published file: expected {weight.size} with a SHA-256 of {expected}, "
            f"found {path.stat().st_size:,} bytes; remove it, and run the command again"
        )
    return state


class _KeepHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects, except to something that anybody on the way can read and change."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.startswith(f"{_SCHEME}://"):
            raise urllib.error.URLError(f"redirected from https to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(weight: Weight, file: IO[bytes], progress: OnProgress) -> str:
    """Copy what an address serves to a file; its SHA-256.

    Raises:
        RunError: If the server says no, stops early, does not stop, or sends a page in place of a file.
        OSError: If the file cannot be written.
    """
    url, most = weight.url, int(weight.num_bytes * _MAX_EXCESS)
    if not url.startswith(f"{_SCHEME}://"):
        raise RunError(f"{url}: cannot be downloaded: expected an address of https, which nobody on the way can change")
    try:
        response: Any = urllib.request.build_opener(_KeepHttps).open(url, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise RunError(f"{url}: cannot be downloaded: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise RunError(f"{url}: cannot be downloaded: {getattr(error, 'reason', error)}") from error
    with response:
        length: str | None = response.headers.get("Content-Length")
        total = int(length) if length is not None and length.isdecimal() else None
        digest, done = hashlib.sha256(), 0
        while done <= most and (total is None or total <= most):
            try:
                chunk: bytes = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise RunError(f"{url}: stopped after {done:,} bytes: {error}; run the command again") from error
            if not chunk:
                break
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(Progress(noun="byte", done=done, total=total))
    if max(done, total or 0) > most:
        found = f"{total:,} bytes" if total is not None else "more and more"
        raise RunError(f"{url}: not the published file: expected about {weight.size}, the server sends {found}")
    if total is not None and done != total:
        raise RunError(f"{url}: cut short: {done:,} of {total:,} bytes; run the command again")
    return digest.hexdigest()
