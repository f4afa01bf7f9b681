"""Counts and lists in the words of messages and reports."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5
"""Names that a message lists, at most: enough to see what they have in common."""


def counted_noun(count: int, noun: str) -> str:
    """A count with its noun in the number that fits.

    Args:
        count: How many.
        noun: In the singular; its plural is regular.

    >>> counted_noun(1, "variant"), counted_noun(2000, "variant"), counted_noun(0, "process")
    ('1 variant', '2,000 variants', '0 processes')
    """
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The regular plural of a noun.

    >>> plural("image"), plural("process")
    ('images', 'processes')
    """
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def first_few(texts: Sequence[str], separator: str = ", ") -> str:
    """The first five of many texts, and dots where there are more.

    >>> first_few(["a", "b"]), first_few(list("abcdefg"), "; ")
    ('a, b', 'a; b; c; d; e; ...')
    """
    return separator.join([*texts[:SHOWN], *(["..."] if len(texts) > SHOWN else [])])


def human_bytes(count: float) -> str:
    """Decimal bytes for people.

    >>> human_bytes(1234567)
    '1.2 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
