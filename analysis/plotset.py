"""Sets of images as the pictures of a report show them, and the colours and markers that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_REAL = 5
MAX_SYNTHETIC = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlotSet:
    """One set of images, each a point in the plane."""

    name: str
    """The user's name for it. Like `labels`, text from outside that may hold anything."""
    real: bool
    """Photographs, or else synthesized."""
    points: NDArray[np.float64]
    """Where the images lie; shape (N, 2), N >= 1, finite."""
    labels: Sequence[str]
    """One text per point: the file name."""
    thumbnails: Sequence[bytes]
    """One JPEG file per point, or none at all."""

    def __post_init__(self) -> None:
        where = f"set {self.name!r}"
        if self.points.ndim != 2 or self.points.shape[1] != 2 or not len(self.points):
            raise ValueError(f"{where}: expected points of shape (N, 2), N >= 1; got {self.points.shape}")
        if not np.isfinite(self.points).all():
            raise ValueError(f"{where}: some points are not finite")
        if len(self.labels) != len(self.points):
            raise ValueError(f"{where}: expected {len(self.points)} labels, one per point; got {len(self.labels)}")
        if len(self.thumbnails) not in (0, len(self.points)):
            count = len(self.thumbnails)
            raise ValueError(f"{where}: expected {len(self.points)} thumbnails, one per point, or none; got {count}")


@dataclass(frozen=True, slots=True)
class Style:
    """How the points of a set are drawn."""

    color: str
    marker: str
    """Matplotlib's name of the marker."""
    bokeh_marker: str
    """Bokeh's name of the same marker."""


# The eight colours of Okabe and Ito (jfly.uni-koeln.de/color, 2008), distinct with any common colour blindness. Three
# real sets and five sources, the most that reports usually have, share no colour; beyond them, the marker differs.
_BLACK, _ORANGE, _SKY, _GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
_YELLOW, _BLUE, _VERMILION, _PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"

_REAL = (
    Style(_VERMILION, "*", "star"),
    Style(_BLUE, "d", "diamond"),
    Style(_YELLOW, "^", "triangle"),
    Style(_GREEN, "s", "square"),
    Style(_PURPLE, "h", "hex"),
)
_SYNTHETIC = (
    *(Style(color, "o", "circle") for color in (_SKY, _ORANGE, _GREEN, _PURPLE, _BLACK)),
    *(Style(color, "v", "inverted_triangle") for color in (_BLUE, _VERMILION, _YELLOW)),
)


def styles(sets: Sequence[PlotSet]) -> list[Style]:
    """Give each set its colour and marker, in the order in which the sets come.

    Raises:
        ValueError: If there is no synthesized set, or more sets than markers: 5 real and 8 synthesized.
    """
    real = sum(each.real for each in sets)
    synthetic = len(sets) - real
    if not 1 <= synthetic <= MAX_SYNTHETIC or real > MAX_REAL:
        raise ValueError(
            f"expected 1 to {MAX_SYNTHETIC} synthesized sets and at most {MAX_REAL} real ones to draw; "
            f"got {synthetic} and {real}"
        )
    tables = {True: iter(_REAL), False: iter(_SYNTHETIC)}
    return [next(tables[each.real]) for each in sets]


def cut_middle(text: str, letters: int) -> str:
    """Cut the middle out of a text of more than so many letters: names of files often differ at the end.

    >>> cut_middle("validation_00000017.png", 16)
    'validati…017.png'
    """
    if len(text) <= letters:
        return text
    tail = (letters - 1) // 2
    return f"{text[: letters - 1 - tail]}…{text[len(text) - tail :]}"
