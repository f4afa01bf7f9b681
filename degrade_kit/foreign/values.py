"""What the readers of foreign files share: values that are looked up once and noted, and the recipe they end in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from degrade_kit.checks import Range, number, span
from degrade_kit.errors import ConfigError
from degrade_kit.linear import Filter
from degrade_kit.recipe import Recipe

_ANY: Final = 1e9

FILTERS: Final[Mapping[str, Filter]] = {
    "bilinear": "linear",
    "linear": "linear",
    "bicubic": "cubic",
    "cubic": "cubic",
    "cubic_catrom": "cubic",
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


def filters_of(names: Sequence[str], left: list[str], what: str) -> tuple[Filter, ...]:
    """Translate names of filters; those that are not here are left out and named, bilinear where none remains."""
    known: tuple[Filter, ...] = tuple(dict.fromkeys(FILTERS[name] for name in names if name in FILTERS))
    if unknown := [name for name in names if name not in FILTERS]:
        left.append(f"{what}: filters {', '.join(unknown)}")
    return known or ("linear",)
