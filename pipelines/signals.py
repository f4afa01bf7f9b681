"""What Ctrl-C and SIGTERM do: both end a command with status 130, and neither breaks off what cannot be broken off."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any

from degrade_kit.errors import DegradeKitError

log = logging.getLogger(__name__)


class Interrupted(DegradeKitError):
    """The user stopped the run; what was finished stays."""


class Interrupt:
    """Counts Ctrl-C: the first sets `requested`, the second raises KeyboardInterrupt.

    Args:
        what: What is waited for after the first, for the message.
        terminates: Whether SIGTERM sets `requested` too, of what has something to save. A scheduler may send it more
            than once: it never breaks that off.
    """

    def __init__(self, what: str = "the shards in work are finished", *, terminates: bool = False) -> None:
        self.requested = False
        self._what = what
        self._numbers = (signal.SIGINT, signal.SIGTERM) if terminates else (signal.SIGINT,)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in self._numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before or signal.SIG_DFL)  # None: one that Python did not set

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.requested = True
        log.warning("stopping when %s; press Ctrl-C again to stop at once", self._what)

    def check(self) -> None:
        """Raise `Interrupted` if it was requested."""
        if self.requested:
            raise Interrupted("stopped; run the same command again to go on")


@contextlib.contextmanager
def terminable() -> Generator[None]:
    """Make SIGTERM a KeyboardInterrupt inside the block: what is half done is cleared away, and the status is 130."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextlib.contextmanager
def patient() -> Generator[None]:
    """Let SIGTERM wait until the block ends, and raise KeyboardInterrupt there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
    if asked:
        raise KeyboardInterrupt
