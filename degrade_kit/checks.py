"""Checks for fields of files: each gives the stored value of what a user or another program wrote, or refuses it.

A check is a function of (value, key). The messages name the key and the allowed range; whoever reads a file puts the
place in the file in front: `checked` does, of a file that no user writes.

>>> described = {"name": "lpips", "values": [0.25, "a"]}
>>> checked(described, fields({"name": str, "values": each(number(0, 1))}), "metrics.json")
Traceback (most recent call last):
degrade_kit.errors.ConfigError: damaged: metrics.json: field values[1]: expected a number within [0, 1], got 'a'
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from degrade_kit.errors import ConfigError, DegradeKitError

Range = tuple[float, float]
"""Both ends of a uniform draw; equal ends for a fixed value."""

Sizes = tuple[float, ...]
"""Sides in pixels: the two ends of a log-uniform draw, or three and more equally spaced quantiles."""

_T = TypeVar("_T")
Check = Callable[[Any, str], _T]
Schema = dict[str, Any]
"""A JSON Schema, of the draft of 2020-12."""


def telling(check: Check[_T], schema: Schema) -> Check[_T]:
    """Note on a check of a user's value what it accepts, for `schema_of`; returns the check."""
    check.__dict__["schema"] = schema
    return check


def schema_of(check: Check[Any]) -> Schema:
    """Look up what a check of a user's value accepts, as far as a JSON Schema can say it.

    Raises:
        KeyError: If the check never told.
    """
    return check.__dict__["schema"]


FROM_FILE: Schema = {
    "type": "object",
    "properties": {"from": {"type": "string"}},
    "required": ["from"],
    "additionalProperties": False,
}
"""`{from: FILE}`, a file that `degrade-kit align` wrote."""


SOME_WEIGHT: Schema = {
    "type": "object",
    "additionalProperties": {"type": "number", "minimum": 0},
    "not": {"additionalProperties": {"const": 0}},
}
"""Names with weights, of which at least one has a chance."""


def one_or_several(schema: Schema, least: int = 1) -> Schema:
    """Make the schema of a value or a list of at least so many of them."""
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": least}]}


def _within(low: float, high: float, kind: str = "number") -> Schema:
    return {"type": kind, "minimum": low, "maximum": high}


def _ends(low: float, high: float) -> Schema:
    return {"type": "array", "items": _within(low, high), "minItems": 2, "maxItems": 2}


def span(low: float, high: float) -> Check[Range]:
    """Check of a range inside [low, high], given as two numbers or as one for both ends."""

    def check(value: Any, key: str) -> Range:  # noqa: ANN401 (user input)
        expected = f"expected a number or [min, max] within [{low:g}, {high:g}]"
        ends = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else (value, value)
        if len(ends) != 2 or not all(_is_number(end) for end in ends):
            raise ConfigError(f"{key}: {expected}, got {value!r:.200}")
        start, stop = float(ends[0]), float(ends[1])
        if start > stop:
            raise ConfigError(f"{key}: {expected} with min <= max, got {value!r:.200}")
        if start < low or stop > high:
            raise ConfigError(f"{key}: {expected}, got {value!r:.200}")
        return start, stop

    return telling(check, {"anyOf": [_within(low, high), _ends(low, high)]})


def whole_span(low: int, high: int) -> Check[Range]:
    """Check of a range from which whole numbers are drawn: as `span`, with at least one of them inside."""

    def check(value: Any, key: str) -> Range:  # noqa: ANN401 (user input)
        start, stop = span(low, high)(value, key)
        if math.ceil(start) > math.floor(stop):
            raise ConfigError(f"{key}: expected a range that holds a whole number, got {value!r:.200}")
        return start, stop

    return telling(check, {"anyOf": [_within(low, high, "integer"), _ends(low, high)]})


def sizes(low: int, high: int) -> Check[Sizes]:
    """Check of sides in pixels: one, [min, max] of a log-uniform draw, or three and more quantiles in order.

    The quantiles are equally spaced, the first the smallest side and the last the largest: so a list of measured sizes,
    sorted, draws as they are distributed.
    """

    def check(value: Any, key: str) -> Sizes:  # noqa: ANN401 (user input)
        if not isinstance(value, (list, tuple)):
            value = (value, value)
        sides = cast("Sequence[Any]", value)
        wanted = f"expected pixels, [min, max], or three and more sizes in order, within [{low}, {high}]"
        if len(sides) < 2 or not all(_is_number(side) and low <= side <= high for side in sides):
            raise ConfigError(f"{key}: {wanted}, got {value!r}")
        if any(after < before for before, after in itertools.pairwise(sides)):
            raise ConfigError(f"{key}: {wanted}, got {value!r}")
        return tuple(float(side) for side in sides)

    return telling(check, one_or_several(_within(low, high), 2))


def number(low: float, high: float) -> Check[float]:
    """Check of one number in [low, high]."""

    def check(value: Any, key: str) -> float:  # noqa: ANN401 (user input)
        if not _is_number(value) or not low <= value <= high:
            raise ConfigError(f"{key}: expected a number within [{low:g}, {high:g}], got {value!r:.200}")
        return float(value)

    return telling(check, _within(low, high))


def whole(low: int, high: int) -> Check[int]:
    """Check of one whole number in [low, high]."""

    def check(value: Any, key: str) -> int:  # noqa: ANN401 (user input)
        if not _is_number(value) or value != int(value) or not low <= value <= high:
            raise ConfigError(f"{key}: expected a whole number within [{low}, {high}], got {value!r:.200}")
        return int(value)

    return telling(check, _within(low, high, "integer"))


def choice(known: Sequence[_T]) -> Check[_T]:
    """Check of one known name."""

    def check(value: Any, key: str) -> _T:  # noqa: ANN401 (user input)
        if value not in known:
            raise ConfigError(f"{key}: expected one of {_listed(known)}, got {value!r:.200}")
        return value

    return telling(check, {"enum": list(known)})


def probability(value: Any, key: str) -> float:  # noqa: ANN401 (user input)
    """Check of a number in [0, 1]."""
    return number(0, 1)(value, key)


def text(value: Any, key: str) -> str:  # noqa: ANN401 (user input)
    """Check that a value is text."""
    if not isinstance(value, str):
        raise ConfigError(f"{key}: expected text, got {value!r}")
    return value


def named_or_file(known: Sequence[str], suffix: str) -> Check[str]:
    """Check of text that is a known name or a file with this suffix; who reads it refuses what is neither."""

    def check(value: Any, key: str) -> str:  # noqa: ANN401 (user input)
        return text(value, key)

    pattern = f"{re.escape(suffix)}$"
    return telling(check, {"anyOf": [{"enum": list(known)}, {"type": "string", "pattern": pattern}]})


def hexadecimal(value: Any, key: str) -> str:  # noqa: ANN401 (user input)
    """Check of text that is a hash, or empty; who knows what it is of compares it."""
    return text(value, key)


def flag(value: Any, key: str) -> bool:  # noqa: ANN401 (user input)
    """Check of true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{key}: expected true or false, got {value!r:.200}")
    return value


def optional(check: Check[_T]) -> Check[_T | None]:
    """Make a check that accepts None too."""

    def check_it(value: Any, key: str) -> _T | None:  # noqa: ANN401 (user input)
        return None if value is None else check(value, key)

    # Checks of what no user writes tell nothing.
    schema = check.__dict__.get("schema")
    return check_it if schema is None else telling(check_it, {"anyOf": [schema, {"type": "null"}]})


def names(known: Sequence[_T]) -> Check[tuple[_T, ...]]:
    """Check of one name or a list of names, all of them known."""

    def check(value: Any, key: str) -> tuple[_T, ...]:  # noqa: ANN401 (user input)
        chosen = tuple(cast("Sequence[_T]", value)) if isinstance(value, (list, tuple)) else (cast("_T", value),)
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise ConfigError(f"{key}: expected one or more of {_listed(known)}, got {value!r:.200}")
        return chosen

    return telling(check, one_or_several({"enum": list(known)}))


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
            raise ConfigError(f"{key}: expected a positive weight for at least one of them, got {value!r:.200}")
        return {name: weights[name] for name in known if name in weights}

    weights: Schema = {
        "type": "object",
        "properties": {str(name): _within(0, 1e6) for name in known},
        "additionalProperties": False,
        "not": {"additionalProperties": {"const": 0}},
    }
    return telling(check, {"anyOf": [*schema_of(names(known))["anyOf"], weights]})


def kernel_size(*, full: bool) -> Check[int | str | tuple[int, ...]]:
    """Check of the side of a kernel: odd, several odd ones to choose from, or, where `full`, the word `full`."""

    def check(value: Any, key: str) -> int | str | tuple[int, ...]:  # noqa: ANN401 (user input)
        if full and value == "full":
            return "full"
        sizes = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else (value,)
        odd = [isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= 255 and size % 2 for size in sizes]
        if not odd or not all(odd):
            wanted = "an odd number within [1, 255], several in a list" + (", or `full`" if full else "")
            raise ConfigError(f"{key}: expected {wanted}, got {value!r:.200}")
        return tuple(cast("Sequence[int]", sizes)) if len(sizes) > 1 else sizes[0]

    odd: Schema = {**_within(1, 255, "integer"), "not": {"multipleOf": 2}}
    return telling(check, {"anyOf": [*one_or_several(odd)["anyOf"], *([{"const": "full"}] if full else [])]})


def positions(value: Any, key: str) -> tuple[int, ...]:  # noqa: ANN401 (user input)
    """Check of a list of positions, from 0."""
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{key}: expected a list of positions, got {value!r:.200}")
    return tuple(whole(0, 1000)(position, key) for position in cast("Sequence[Any]", value))


telling(probability, _within(0, 1))
telling(text, {"type": "string"})
telling(hexadecimal, {"type": "string", "pattern": "^([0-9a-f]{12})?$"})
telling(flag, {"type": "boolean"})
telling(positions, {"type": "array", "items": _within(0, 1000, "integer")})


Kind = type | range | Callable[[Any, str], Any]
"""What a field must be: of a type exactly, a whole number of a range, or what a check accepts."""

COUNT = range(1 << 48)
"""Bytes, samples, seeds: whole numbers that JSON readers with doubles keep, and sums of which fit into 64 bits."""


def fields(kinds: Mapping[str, Kind], may: Mapping[str, Kind] | None = None) -> Check[dict[str, Any]]:
    """Check of an object that has these fields; those in `may` are checked where they are there, and others stay."""

    def check(value: Any, key: str) -> dict[str, Any]:  # noqa: ANN401 (parsed JSON)
        if not isinstance(value, dict):
            raise ConfigError(f"{key or 'all of it'}: expected an object with fields, got {value!r:.80}")
        found = cast("dict[str, Any]", value)
        known = kinds if may is None else {**kinds, **{name: may[name] for name in may if name in found}}
        for name, kind in known.items():
            entry = found.get(name)
            # In the order of what is most frequent: a data set's samples are checked one by one.
            if type(entry) is kind or (isinstance(kind, range) and type(entry) is int and entry in kind):
                continue
            where = f"{key}.{name}" if key else f"field {name}"
            if name not in found and isinstance(kind, (type, range)):
                raise ConfigError(f"{where}: expected {_described(kind)}, found no such field")
            of_kind(kind)(entry, where)
            if name not in found:
                raise ConfigError(f"{where}: expected it, or null in its place, found no such field")
        return found

    return check


def each(kind: Kind) -> Check[list[Any]]:
    """Check of a list of such values."""
    check = of_kind(kind)

    def check_all(value: Any, key: str) -> list[Any]:  # noqa: ANN401 (parsed JSON)
        if not isinstance(value, list):
            raise ConfigError(f"{key}: expected a list, got {value!r:.80}")
        return [check(entry, f"{key}[{place}]") for place, entry in enumerate(cast("list[Any]", value))]

    return check_all


def by_name(kind: Kind) -> Check[dict[str, Any]]:
    """Check of an object whose fields may have any name, and have such values."""
    check = of_kind(kind)

    def check_all(value: Any, key: str) -> dict[str, Any]:  # noqa: ANN401 (parsed JSON)
        if not isinstance(value, dict):
            raise ConfigError(f"{key or 'all of it'}: expected an object with fields, got {value!r:.80}")
        return {name: check(entry, f"{key}.{name!s:.40}") for name, entry in cast("dict[str, Any]", value).items()}

    return check_all


def of_kind(kind: Kind) -> Check[Any]:
    """The check of a type, a range or a check, which it is already."""
    if not isinstance(kind, (type, range)):
        return kind

    def check(value: Any, key: str) -> Any:  # noqa: ANN401 (parsed JSON)
        if type(value) is not (int if isinstance(kind, range) else kind):
            raise ConfigError(f"{key or 'all of it'}: expected {_described(kind)}, got {value!r:.80}")
        if isinstance(kind, range) and value not in kind:
            raise ConfigError(f"{key}: expected {_described(kind)}, got {value!r:.80}")
        return value

    return check


def checked(value: Any, check: Check[_T], where: str, error: type[DegradeKitError] = ConfigError) -> _T:  # noqa: ANN401 (parsed JSON)
    """Check the content of a file.

    Args:
        value: What was parsed.
        check: What it must be.
        where: The file, for the message, which begins with `damaged`.
        error: Raised if it is anything else.
    """
    try:
        return check(value, "")
    except ConfigError as fault:
        raise error(f"damaged: {where}: {fault}") from fault


_KINDS: Mapping[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "an object with fields",
}


def _described(kind: Kind) -> str:
    if isinstance(kind, range):
        return f"a whole number within [{kind[0]}, {kind[-1]}]"
    return _KINDS.get(kind, kind.__name__) if isinstance(kind, type) else "a value"


def _is_number(value: Any) -> bool:  # noqa: ANN401 (user input)
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _listed(known: Sequence[object]) -> str:
    return ", ".join(str(name) for name in known)
