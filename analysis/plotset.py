"""Sets of images as the pictures of a report show them, and the colours and markers that all pictures share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
_COLORS = (_SKY, _ORANGE, _GREEN, _PURPLE, _BLACK, _BLUE, _VERMILION, _YELLOW)
_SHAPES = (("o", "circle"), ("v", "inverted_triangle"), ("s", "square"), ("D", "diamond"))
"""Markers of sources; those of real sets have a black rim."""
_SYNTHETIC = (
    *(Style(color, *_SHAPES[0]) for color in _COLORS[:5]),
    *(Style(color, *_SHAPES[1]) for color in (*_COLORS[5:], *_COLORS[:5])),
    *(Style(color, *shape) for shape in _SHAPES[2:] for color in _COLORS),
    *(Style(color, *_SHAPES[0]) for color in _COLORS[5:]),
)


def styles(sets: Sequence[PlotSet]) -> list[Style]:
    """Give each set its colour and marker, in the order in which the sets come.

    The first 5 real sets and 32 sources have looks of their own; those after them begin again, since each source has a
    panel of its own too.

    Raises:
        ValueError: If there is no synthesized set.
    """
    if all(each.real for each in sets):
        raise ValueError(f"expected at least one synthesized set to draw, got {len(sets)} real ones")
    tables = {True: itertools.cycle(_REAL), False: itertools.cycle(_SYNTHETIC)}
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
