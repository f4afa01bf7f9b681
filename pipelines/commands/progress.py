"""Progress on standard error: one line that updates on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Final

import click

from degrade_kit.pipelines.text import human_time
from degrade_kit.progress import Progress
from degrade_kit.wording import human_bytes, plural

_LIVE_SECONDS: Final = 0.2
_QUIET_SECONDS: Final = 30.0
"""Between two lines, on a terminal and elsewhere."""


class ProgressLine:
    """Shows how far a run is; the last line of each part is always shown, also of one that ended early.

    with ProgressLine() as progress:
        restore(plan, executor, progress=progress)
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._told = self._shown = time.monotonic()
        self._begun: dict[str, float] = {}
        """When each part of the run began."""
        self._open: dict[str, str] = {}
        """The latest line of each part that is not finished."""

    def __enter__(self) -> ProgressLine:
        """Begin."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Show the last line of what was not finished."""
        for line in self._open.values():
            self._show(line, last=True)

    def __call__(self, progress: Progress) -> None:
        """Show progress, unless a line was shown a moment ago."""
        now = time.monotonic()
        begun = self._begun.setdefault(progress.of, self._told)  # a part begins where another was told of last
        self._told = now
        line = progress_text(progress, now - begun)
        if progress.done == progress.total:
            self._open.pop(progress.of, None)
            self._show(line, last=True)
            return
        self._open[progress.of] = line
        if now - self._shown >= (_LIVE_SECONDS if self._live else _QUIET_SECONDS):
            self._shown = now
            self._show(line, last=False)

    def _show(self, line: str, *, last: bool) -> None:
        click.echo(f"\r\x1b[K{line}" if self._live else line, nl=last or not self._live, err=True)


def progress_text(progress: Progress, seconds: float) -> str:
    """Say how much is done, how fast, and what time is left.

    Args:
        progress: So much of so much.
        seconds: Since this run began.

    >>> progress_text(Progress(noun="image", done=30, total=100, kept=10), 4.0)
    '30/100 images, 5.0 images/s, 14 s left'
    >>> progress_text(Progress(noun="image", done=2, total=2, of="faces", note="1 not usable"), 50.0)
    'faces: 2/2 images, 25 s/image, in 50 s, 1 not usable'
    """
    parts = [_count(progress)]
    fresh = progress.done - progress.kept
    if fresh > 0 and seconds > 0:
        rate = fresh / seconds
        parts.append(_rate(progress.noun, rate))
        if progress.done == progress.total:
            parts.append(f"in {human_time(seconds)}")
        elif progress.total is not None:
            parts.append(f"{human_time((progress.total - progress.done) / rate)} left")
    parts += [progress.note] if progress.note else []
    return (f"{progress.of}: " if progress.of else "") + ", ".join(parts)


def _count(progress: Progress) -> str:
    if progress.noun == "byte":
        return human_bytes(progress.done) + (f" of {human_bytes(progress.total)}" if progress.total is not None else "")
    whole = f"/{progress.total:,}" if progress.total is not None else ""
    return f"{progress.done:,}{whole} {plural(progress.noun)}"


def _rate(noun: str, rate: float) -> str:
    if noun == "byte":
        return f"{human_bytes(rate)}/s"
    return f"{rate:.1f} {plural(noun)}/s" if rate >= 0.1 else f"{1 / rate:.0f} s/{noun}"
