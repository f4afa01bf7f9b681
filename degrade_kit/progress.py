"""How far a long run is: the one thing that every long run tells, to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """So much of so much is done.

    A run tells it after each piece of work, and in the end with `done` equal to `total`.
    """

    noun: str
    """What is counted, in the singular: `image`, `photo`, `pair`, `sample`, `shard`, `byte`."""
    done: int
    total: int | None
    """None where it is not known, as of some downloads."""
    kept: int = 0
    """How many of `done` were there before this run, and say nothing of its speed."""
    of: str = ""
    """Which part of the run, where several are counted for themselves, such as the name of a set of images."""
    note: str = ""
    """What else there is to say by now, such as how many images could not be used."""


OnProgress = Callable[[Progress], None]
"""What a long run calls; it must be quick, and an error in it ends the run."""


def silent(progress: Progress) -> None:
    """Say nothing: the default of every run."""
    del progress
