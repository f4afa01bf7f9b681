"""Checks for fields of recipes and configurations: each gives the stored value of what a user wrote, or refuses it.

A check is a function of (value, key). The messages name the key and the allowed range; whoever reads a file puts the
place in the file in front.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from degrade_kit.errors import ConfigError

Range = tuple[float, float]
"""Both ends of a uniform draw; equal ends for a fixed value."""

_T = TypeVar("_T")
Check = Callable[[Any, str], _T]


def span(low: float, high: float) -> Check[Range]:
    """Check of a range inside [low, high], given as two numbers or as one for both ends."""

    def check(value: Any, key: str) -> Range:  # noqa: ANN401 (user input)
        expected = f"expected a number or [min, max] within [{low:g}, {high:g}]"
        ends = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else (value, value)
        if len(ends) != 2 or not all(_is_number(end) for end in ends):
            raise ConfigError(f"{key}: {expected}, got {value!r}")
        start, stop = float(ends[0]), float(ends[1])
        if start > stop:
            raise ConfigError(f"{key}: {expected} with min <= max, got {value!r}")
        if start < low or stop > high:
            raise ConfigError(f"{key}: {expected}, got {value!r}")
        return start, stop

    return check


def whole_span(low: int, high: int) -> Check[Range]:
    """Check of a range from which whole numbers are drawn: as `span`, with at least one of them inside."""

    def check(value: Any, key: str) -> Range:  # noqa: ANN401 (user input)
        start, stop = span(low, high)(value, key)
        if math.ceil(start) > math.floor(stop):
            raise ConfigError(f"{key}: expected a range that holds a whole number, got {value!r}")
        return start, stop

    return check


def number(low: float, high: float) -> Check[float]:
    """Check of one number in [low, high]."""

    def check(value: Any, key: str) -> float:  # noqa: ANN401 (user input)
        if not _is_number(value) or not low <= value <= high:
            raise ConfigError(f"{key}: expected a number within [{low:g}, {high:g}], got {value!r}")
        return float(value)

    return check


def whole(low: int, high: int) -> Check[int]:
    """Check of one whole number in [low, high]."""

    def check(value: Any, key: str) -> int:  # noqa: ANN401 (user input)
        if not _is_number(value) or value != int(value) or not low <= value <= high:
            raise ConfigError(f"{key}: expected a whole number within [{low}, {high}], got {value!r}")
        return int(value)

    return check


def choice(known: Sequence[_T]) -> Check[_T]:
    """Check of one known name."""

    def check(value: Any, key: str) -> _T:  # noqa: ANN401 (user input)
        if value not in known:
            raise ConfigError(f"{key}: expected one of {_listed(known)}, got {value!r}")
        return value

    return check


def probability(value: Any, key: str) -> float:  # noqa: ANN401 (user input)
    """Check of a number in [0, 1]."""
    return number(0, 1)(value, key)


def flag(value: Any, key: str) -> bool:  # noqa: ANN401 (user input)
    """Check of true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{key}: expected true or false, got {value!r}")
    return value


def optional(check: Check[_T]) -> Check[_T | None]:
    """Make a check that accepts None too."""
    return lambda value, key: None if value is None else check(value, key)


def names(known: Sequence[_T]) -> Check[tuple[_T, ...]]:
    """Check of one name or a list of names, all of them known."""

    def check(value: Any, key: str) -> tuple[_T, ...]:  # noqa: ANN401 (user input)
        chosen = tuple(cast("Sequence[_T]", value)) if isinstance(value, (list, tuple)) else (cast("_T", value),)
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise ConfigError(f"{key}: expected one or more of {_listed(known)}, got {value!r}")
        return chosen

    return check


def numbers_of(known: Sequence[_T]) -> Check[dict[_T, float]]:
    """Check of known names with their weights; a single name or a list of names stands for equal weights.

    The weights are kept in the order of `known`: a draw goes through them in turn, and equal ones are to draw the same.
    """

    def check(value: Any, key: str) -> dict[_T, float]:  # noqa: ANN401 (user input)
        if not isinstance(value, Mapping):
            value = dict.fromkeys(names(known)(value, key), 1.0)
        weights = {name: number(0, 1e6)(weight, f"{key}.{name}") for name, weight in cast("Any", value).items()}
        names(known)(list(weights), key)
        if sum(weights.values()) <= 0:
            raise ConfigError(f"{key}: expected a positive weight for at least one of them, got {value!r}")
        return {name: weights[name] for name in known if name in weights}

    return check


def kernel_size(*, full: bool) -> Check[int | str | tuple[int, ...]]:
    """Check of the side of a kernel: odd, several odd ones to choose from, or, where `full`, the word `full`."""

    def check(value: Any, key: str) -> int | str | tuple[int, ...]:  # noqa: ANN401 (user input)
        if full and value == "full":
            return "full"
        sizes = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else (value,)
        odd = [isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= 255 and size % 2 for size in sizes]
        if not odd or not all(odd):
            wanted = "an odd number within [1, 255], several in a list" + (", or `full`" if full else "")
            raise ConfigError(f"{key}: expected {wanted}, got {value!r}")
        return tuple(cast("Sequence[int]", sizes)) if len(sizes) > 1 else sizes[0]

    return check


def positions(value: Any, key: str) -> tuple[int, ...]:  # noqa: ANN401 (user input)
    """Check of a list of positions, from 0."""
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{key}: expected a list of positions, got {value!r}")
    return tuple(whole(0, 1000)(position, key) for position in cast("Sequence[Any]", value))


def _is_number(value: Any) -> bool:  # noqa: ANN401 (user input)
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _listed(known: Sequence[object]) -> str:
    return ", ".join(str(name) for name in known)
