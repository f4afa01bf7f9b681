"""What the steps of recipes share: checked fields, a probability to happen, and how numbers are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import ClassVar, TypeVar

import numpy as np

from degrade_kit import ops
from degrade_kit.checks import Range, Sizes
from degrade_kit.kernels import full_size

Rng = np.random.Generator

NOMINAL_SIDE = 512
"""Pixels of the HQ side that a scale is reckoned for where a step draws pixels: what the field trains at."""


@dataclass
class Drawn:
    """Operations drawn so far."""

    steps: list[ops.Op] = field(default_factory=list[ops.Op])
    target: list[ops.Op] = field(default_factory=list[ops.Op])
    scale: float = 1.0
    """HQ side / side of the image after the steps so far."""
    caption: str | None = None
    """Caption of the HQ image, where it is known."""


class BaseStep:
    """Common to all steps: checked fields, and a probability to happen at all."""

    __slots__ = ()
    name: ClassVar[str]
    alternatives: ClassVar[tuple[str, ...]] = ()
    """Fields of which exactly one is to be given."""

    def __post_init__(self) -> None:
        for item in fields(self):  # pyright: ignore[reportArgumentType] (every subclass is a dataclass)
            checked = item.metadata["check"](getattr(self, item.name), f"{self.name}.{item.name}")
            object.__setattr__(self, item.name, checked)

    def draw(self, rng: Rng, drawn: Drawn) -> None:
        """Append what this step comes to this time, perhaps nothing."""
        prob: float = getattr(self, "prob", 1.0)
        # No number is spent on what is certain: a recipe without probabilities draws the same as before it had them.
        if prob < 1.0 and rng.random() >= prob:
            return
        self._draw(rng, drawn)

    def libraries(self) -> dict[str, str]:
        """List the libraries that this step alone needs, beyond the base's, with their versions.

        Raises:
            ConfigError: If one is missing, or lacks a codec.
        """
        return {}

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        raise NotImplementedError


def merged(libraries: Iterable[dict[str, str]]) -> dict[str, str]:
    """All libraries of some steps or operations, in the order of their names."""
    return dict(sorted(item for found in libraries for item in found.items()))


def uniform(rng: Rng, ends: Range) -> float:
    """One number in [low, high)."""
    low, high = ends
    return low + (high - low) * rng.random()


def draw_whole(rng: Rng, ends: tuple[float, float]) -> int:
    """One whole number, both ends included."""
    low, high = math.ceil(ends[0]), math.floor(ends[1])
    return low + int(rng.random() * (high - low + 1))


def draw_log_whole(rng: Rng, ends: Range) -> int:
    """One whole number, drawn log-uniformly, both ends included."""
    low, high = math.log(math.ceil(ends[0]) - 0.499), math.log(math.floor(ends[1]) + 0.499)
    return round(math.exp(uniform(rng, (low, high))))


def draw_side(rng: Rng, wanted: Sizes) -> int:
    """Pixels of a side: log-uniform between two ends, else by the quantiles that are given."""
    if len(wanted) == 2:
        low, high = math.log(wanted[0]), math.log(wanted[1])
        return round(math.exp(low + (high - low) * rng.random()))
    return round(float(np.interp(rng.random(), np.linspace(0, 1, len(wanted)), wanted)))


def normal(rng: Rng) -> float:
    """One normal number, of two uniform ones (Box and Muller), whose stream NumPy keeps."""
    return math.sqrt(-2 * math.log(1 - rng.random())) * math.cos(2 * math.pi * rng.random())


def happens(rng: Rng, prob: float) -> bool:
    """Whether something of this probability happens; no number is spent on what is impossible."""
    return prob > 0 and rng.random() < prob


_K = TypeVar("_K")


def draw_weighted(rng: Rng, weights: dict[_K, float]) -> _K:
    """One key, with a chance in proportion to its weight."""
    at = rng.random() * sum(weights.values())
    for key, weight in weights.items():
        at -= weight
        if at < 0:
            return key
    return next(key for key in reversed(weights) if weights[key] > 0)  # rounding may leave a last crumb


def permutation(rng: Rng, count: int) -> list[int]:
    """All of 0..count-1 in random order."""
    return [int(i) for i in np.argsort(rng.random(count), kind="stable")]


def draw_size(rng: Rng, support: int | str | tuple[int, ...], sigma: float) -> int:
    """Odd kernel size for a `support`."""
    if isinstance(support, int):
        return support
    if isinstance(support, str):
        return full_size(sigma)
    return support[draw_whole(rng, (0, len(support) - 1))]
