"""A limit for what must not take long: what hangs fails, and says where it was."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
from collections.abc import Generator
from types import FrameType


class TooLongError(BaseException):
    """Raised in the middle of what takes too long; no handler of errors takes it for one of its own."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """End the block by an error after some seconds; where it cannot be ended, end the process with all its stacks."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TooLongError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()
