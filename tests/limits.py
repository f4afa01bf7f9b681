"""A limit for what must not take long: what hangs fails, and says where it was."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
from collections.abc import Generator
from types import FrameType


class TooLongError(BaseException):
    """Raised in the middle of what takes too long; no handler of errors takes it for one of its own."""


WAITING = 20
"""Seconds by the clock for each second of work: a machine may have much else to do, and what waits does no work."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """End the block by an error after some seconds of work; where it cannot be, end the process with all its stacks.

    A loop without an end is found by the processor's time, and what waits without an end, as for a pipe, by the clock.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise TooLongError(f"took more than {seconds:g} s, or waited {WAITING} times as long")

    limits = {signal.SIGPROF: (signal.ITIMER_PROF, seconds), signal.SIGALRM: (signal.ITIMER_REAL, WAITING * seconds)}
    before = {number: signal.signal(number, end) for number in limits}
    for timer, most in limits.values():
        signal.setitimer(timer, most)
    faulthandler.dump_traceback_later(3 * WAITING * seconds, exit=True)
    try:
        yield
    finally:
        for number, (timer, _) in limits.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
        faulthandler.cancel_dump_traceback_later()
