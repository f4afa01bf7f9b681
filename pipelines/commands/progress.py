"""Progress on standard error: one line that updates on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from degrade_kit.pipelines.commands.options import human_bytes, human_time

if TYPE_CHECKING:
    from degrade_kit.pipelines.synth.shard import ShardReport

_QUIET_SECONDS = 30.0


class Progress:
    """Counts shards and inputs; call it with each report.

    Args:
        shards: Shards to make.
        sources: Inputs in them.
    """

    def __init__(self, shards: int, sources: int) -> None:
        self._shards, self._sources = shards, sources
        self._done = self._inputs = self._failures = self._bytes = 0
        self._start = self._printed = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, report: ShardReport) -> None:
        """Count one shard."""
        self._done += 1
        self._inputs += report.sources
        self._failures += report.failures
        self._bytes += report.bytes
        now = time.monotonic()
        last = self._done == self._shards
        if self._live:
            click.echo(f"\r\x1b[K{self._line(now)}", nl=last, err=True)
        elif last or now - self._printed >= _QUIET_SECONDS:
            self._printed = now
            click.echo(self._line(now), err=True)

    def _line(self, now: float) -> str:
        rate = self._inputs / max(now - self._start, 1e-6)
        left = max(self._sources - self._inputs, 0) / max(rate, 1e-6)
        failed = f", {self._failures:,} not usable" if self._failures else ""
        return (
            f"{self._done}/{self._shards} shards, {self._inputs:,}/{self._sources:,} images{failed}, "
            f"{human_bytes(self._bytes)}, {rate:.1f} images/s, {human_time(left)} left"
        )


def progress_line(noun: str) -> Callable[[int, int], None]:
    """A function that takes how many of how many are done, and says so: often on a terminal, now and then elsewhere."""
    start = printed = time.monotonic()
    live = sys.stderr.isatty()

    def show(done: int, total: int) -> None:
        nonlocal printed
        now, last = time.monotonic(), done == total
        if not last and now - printed < (0.2 if live else _QUIET_SECONDS):
            return
        printed = now
        rate = done / max(now - start, 1e-6)
        line = f"{done:,}/{total:,} {noun}, {rate:.1f} {noun}/s, {human_time((total - done) / rate)} left"
        click.echo(f"\r\x1b[K{line}" if live else line, nl=last or not live, err=True)

    return show


class ImageProgress:
    """A line for each set of images."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._printed = time.monotonic()

    def __call__(self, name: str, done: int, total: int) -> None:
        """Tell of a set's images that are done."""
        now = time.monotonic()
        line = f"{name}: {done:,}/{total:,} images measured"
        if self._live:
            click.echo(f"\r\x1b[K{line}", nl=done == total, err=True)
        elif done == total or now - self._printed >= _QUIET_SECONDS:
            self._printed = now
            click.echo(line, err=True)
