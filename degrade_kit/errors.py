"""The errors that a caller can act on.

DegradeKitError          base of all; its message is complete: what was expected, what came, where, what to do
├── ConfigError          an option, recipe or configuration file is wrong; nothing was started (exit status 2)
├── ImageError           one input image cannot be used; counted and reported, the run goes on
├── ShardError           a shard, sidecar or manifest is missing, cut short or altered
└── RunError             a run cannot start or go on: no space, output of another configuration, lost workers
"""

from __future__ import annotations

import difflib
import resource
from collections.abc import Iterable
from typing import Final

# Reasons of an `ImageError`; `degrade_kit.image` and `degrade_kit.sources` say what each means.
TRUNCATED: Final = "truncated"
NOT_AN_IMAGE: Final = "not an image"
UNSUPPORTED: Final = "unsupported format"
TOO_SMALL: Final = "too small"
TOO_LARGE: Final = "too large"
UNREADABLE: Final = "unreadable"
ALPHA: Final = "alpha"


class DegradeKitError(Exception):
    """Base of every error that degrade-kit raises on purpose."""


class ConfigError(DegradeKitError):
    """An option, a recipe or a configuration file does not say what it must."""


class ImageError(DegradeKitError):
    """One input image cannot be used.

    Args:
        reason: Short class of the fault, equal for all images with it: reports count by it.
        detail: What was found in this image.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        """Pickle both parts, since the message alone does not hold them."""
        return type(self), (self.reason, self.detail)


class ShardError(DegradeKitError):
    """A shard, its sidecar or the manifest is missing, incomplete or altered."""


class RunError(DegradeKitError):
    """A run cannot start, or cannot go on."""


_NO_MEMORY: Final = "Cannot allocate memory"
_SHORTAGES: Final = (
    (
        (_NO_MEMORY, "failed to map segment", "Insufficient memory"),
        resource.RLIMIT_AS,
        "bytes of memory (`ulimit -v`): give it more, by its container or job too, or fewer --workers",
    ),
    (("Too many open files",), resource.RLIMIT_NOFILE, "open files (`ulimit -n`): let it have more"),
    (
        ("can't start new thread", "Resource temporarily unavailable"),
        resource.RLIMIT_NPROC,
        "processes and threads (`ulimit -u`): let its user have more",
    ),
)
"""Words of errors at a limit, the limit, and what it counts with what to do. The words are of Python, of OpenCV, and of
the C library, which others hand on as errors of their own."""


def shortage(error: BaseException) -> str:
    """Say what this process has too little of, where an error or one of its causes comes of that, and what to do.

    Such an error is no fault of the file that was read meanwhile. Empty for any other error.

    >>> shortage(OSError(24, "Too many open files")).partition("open files")[2]
    ' (`ulimit -n`): let it have more'
    >>> shortage(FileNotFoundError(2, "No such file or directory"))
    ''
    """
    cause: BaseException | None = error
    while cause is not None:
        said = _NO_MEMORY if isinstance(cause, MemoryError) else str(cause)
        for words, limit, advice in _SHORTAGES:
            if any(word in said for word in words):
                most = resource.getrlimit(limit)[0]
                found = "gets no more" if most == resource.RLIM_INFINITY else f"may have {most:,}"
                return f"this process {found} {advice}"
        cause = cause.__cause__ or cause.__context__
    return ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that `word` may be a slip of, or list all of them."""
    words = list(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else f"known are {', '.join(words)}"
