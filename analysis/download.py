"""Fetch a file that `degrade_kit.analysis.weights` lists from where its authors publish it, whole and checked."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any, Final

from degrade_kit.analysis.weights import VARIABLE, Weight
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import sweep_scratch, whole_file
from degrade_kit.progress import OnProgress, Progress, silent

_CHUNK: Final = 1 << 20
_TIMEOUT: Final = 60.0
"""Seconds that a server may stay silent."""


def download_folder(out: Path | None) -> Path:
    """Choose where files go: `out`, or the first folder of DEGRADE_KIT_WEIGHTS.

    Raises:
        ConfigError: If there is neither.
    """
    listed = [entry for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    if out is None and not listed:
        raise ConfigError(f"--download needs a folder: give --out DIR, or set {VARIABLE}")
    return (out or Path(listed[0])).expanduser()


def download(weight: Weight, folder: Path, progress: OnProgress = silent) -> Path:
    """Fetch a file to `folder`, under its best known name. A file of that name is left alone.

    Args:
        weight: What to fetch.
        folder: Where to; made if need be.
        progress: Told of the bytes received.

    Raises:
        ConfigError: If it is not published at a plain address.
        RunError: If it cannot be fetched or written, is cut short, or has another hash than the published one. Nothing
            is left then.
    """
    if not weight.url:
        raise ConfigError(f"{weight.name}: cannot be downloaded by this command: {weight.by_hand}")
    path = folder / weight.files[0]
    if path.exists():
        return path
    try:
        sweep_scratch(folder)
        with whole_file(path) as scratch:
            with scratch.open("wb") as file:
                digest = _receive(weight.url, file, progress)
            if not digest.startswith(weight.sha256):
                raise RunError(
                    f"{weight.url}: not the published file: its SHA-256 is {digest}, expected {weight.sha256}"
                    f"{'...' if len(weight.sha256) < len(digest) else ''}; nothing was kept"
                )
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


class _KeepHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects, except from https to something that anybody on the way can read and change."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.startswith("https://"):
            raise urllib.error.URLError(f"redirected from https to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(url: str, file: IO[bytes], progress: OnProgress) -> str:
    """Copy what an address serves to a file; its SHA-256.

    Raises:
        RunError: If the server says no, or stops early.
        OSError: If the file cannot be written.
    """
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
        while True:
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
    if total is not None and done != total:
        raise RunError(f"{url}: cut short: {done:,} of {total:,} bytes; run the command again")
    return digest.hexdigest()
