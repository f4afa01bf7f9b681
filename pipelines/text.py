"""What a run says: numbers for people, and reports that print the same in Python and on the command line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple


class ReportLine(NamedTuple):
    """One line of a report."""

    text: str
    warning: bool = False
    """Whether the command prints it on standard error: something is missing, or wants a look."""


class Report(ABC):
    """What a run found; `print` shows what its command does."""

    __slots__ = ()

    @abstractmethod
    def lines(self) -> list[ReportLine]:
        """Say it in lines."""

    def __str__(self) -> str:
        return "\n".join(line.text for line in self.lines())


def human_time(seconds: float) -> str:
    """Write a time for people.

    >>> human_time(42), human_time(3700)
    ('42 s', '1 h 2 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(counts: Mapping[str, int]) -> str:
    """Counts by name on one line.

    >>> counted({"truncated": 2, "too small": 1})
    '2 truncated, 1 too small'
    """
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
