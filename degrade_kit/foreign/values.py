"""What the readers of foreign files share: values that are looked up once and noted, and the recipe they end in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from degrade_kit.checks import Range, number, span
from degrade_kit.errors import ConfigError
from degrade_kit.files import recipe_yaml
from degrade_kit.linear import Filter
from degrade_kit.recipe import Recipe
from degrade_kit.steps import OneOf, Option, Step

_ANY: Final = 1e9

FILTERS: Final[Mapping[str, Filter]] = {
    "bilinear": "linear",
    "linear": "linear",
    "bicubic": "cubic",
    "cubic": "cubic",
    "cubic_catrom": "cubic_aa",
    "mat_cubic": "cubic_aa",
    "area": "area",
    "box": "area",
}
"""Names that others give to the filters that there are."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A recipe made of somebody else's file."""

    recipe: Recipe
    tool: str
    """Whose file it is."""
    left: tuple[str, ...]
    """What could not be carried over, one line each."""

    def text(self) -> str:
        """Write the recipe as YAML, with what could not be carried over at its top."""
        lines = [f"# not carried over: {' '.join(line.split())}\n" for line in self.left]  # a key may hold a line's end
        return "".join(lines) + recipe_yaml(self.recipe.to_mapping())


class Options:
    """Values of a foreign mapping, which knows what was asked for, and so what was left.

    Args:
        values: Keys with their values.
        where: Starts every message.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where
        self.used = set[str]()

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 (a foreign value)
        """Look a value up; null counts as not given."""
        self.used.add(key)
        found = self.values.get(key)
        return default if found is None else found

    def range(self, key: str, default: Range) -> Range:
        """Look up a number, or two."""
        return span(-_ANY, _ANY)(self.get(key, default), f"{self.where}: {key}")

    def number(self, key: str, default: float) -> float:
        """Look up a number."""
        return number(-_ANY, _ANY)(self.get(key, default), f"{self.where}: {key}")

    def flag(self, key: str) -> bool:
        """Look up true or false."""
        return bool(self.get(key, False))

    def texts(self, key: str, default: Sequence[str] = ()) -> list[str]:
        """Look up a list of texts, or one text."""
        found = self.get(key, default)
        found = [found] if isinstance(found, str) else found
        if not isinstance(found, (list, tuple)) or not all(isinstance(text, str) for text in cast("list[Any]", found)):
            raise ConfigError(f"{self.where}: {key}: expected a list of texts, got {found!r:.200}")
        return list(cast("list[str]", found))

    def numbers(self, key: str, count: int | None, default: Sequence[float]) -> list[float]:
        """Look up a list of so many numbers."""
        found = self.get(key, default)
        if not isinstance(found, (list, tuple)) or (count is not None and len(cast("list[Any]", found)) != count):
            wanted = "numbers" if count is None else f"{count} numbers"
            raise ConfigError(f"{self.where}: {key}: expected a list of {wanted}, got {found!r:.200}")
        return [number(-_ANY, _ANY)(entry, f"{self.where}: {key}") for entry in cast("list[Any]", found)]

    def inside(self, key: str) -> Options:
        """Look up a mapping, empty where it is not given."""
        found = self.get(key, {})
        if not isinstance(found, Mapping):
            raise ConfigError(f"{self.where}: {key}: expected a mapping, got {found!r:.200}")
        return Options(cast("Mapping[str, Any]", found), f"{self.where}: {key}")

    def left(self) -> Iterator[str]:
        """Name what was not asked for, and is not off."""
        for key, value in self.values.items():
            if key not in self.used and value not in (None, False, 0, 0.0, ""):
                yield f"{key}: {value!r:.100}"


def filters_of(names: Sequence[str], weights: Sequence[float] | None, left: list[str], what: str) -> tuple[Filter, ...]:
    """Translate names of filters; those that are not here are left out and named, bilinear where none remains."""
    chances = [weight for weight in weights or () if weight]
    if chances and max(chances) > 1.01 * min(chances):
        left.append(f"{what}: chances of filters, {chances}; equal ones here")
    names = [name for name, weight in zip(names, weights or [1.0] * len(names), strict=True) if weight]
    known: tuple[Filter, ...] = tuple(dict.fromkeys(FILTERS[name] for name in names if name in FILTERS))
    if unknown := [name for name in names if name not in FILTERS]:
        left.append(f"{what}: filters {', '.join(unknown)}")
    return known or ("linear",)


def radians(low: float, high: float) -> Range:
    """Convert a range in degrees, to four digits."""
    return round(math.radians(low), 4), round(math.radians(high), 4)


def sigma_of(sizes: Range) -> Range:
    """Follow OpenCV's rule for a sigma of 0: that of a kernel of so many pixels."""
    low, high = (round(0.3 * ((max(side, 3) - 1) * 0.5 - 1) + 0.8, 4) for side in sizes)
    return low, high


def sometimes(steps: Sequence[Step], prob: float) -> list[Step]:
    """All of the steps with this probability, else none."""
    if not steps or prob == 1:
        return list(steps)
    if len(steps) == 1 and getattr(steps[0], "prob", None) == 1:
        return [replace(cast("Any", steps[0]), prob=prob)]
    return [OneOf(prob=prob, options=(Option(weight=1, steps=tuple(steps)),))]


def one_of(options: Sequence[Option]) -> list[Step]:
    """One of the options that have a chance; steps alone where only one has."""
    able = [option for option in options if option.weight]
    if len(able) < 2:
        return [step for option in able for step in option.steps]
    return [OneOf(options=tuple(able))]


def together(steps: Sequence[Step]) -> Step:
    """Steps as one, which `shuffle` moves as one."""
    return steps[0] if len(steps) == 1 else OneOf(options=(Option(weight=1, steps=tuple(steps)),))
