"""Masks of thin and small things: scratches, rain, flakes, dust. Drawn finely, then averaged to the image's pixels.

Places and sizes are shares of the image's shorter side, so that one record looks alike on an image of any size. Numbers
come from `np.random.Generator.random` alone, whose stream NumPy keeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.linear import Planes
from degrade_kit.noise import normals

Floats = npt.NDArray[np.float64]

_FINE = 512
"""Least side of what is drawn: thin lines need several pixels across before they are averaged."""
_MOST = 8
_BITS = 4
"""Binary digits behind the point of OpenCV's places."""


@dataclass(frozen=True, slots=True)
class Strokes:
    """Lines through points with round ends, or the areas inside them."""

    points: Floats
    """Shape (strokes, points of each, 2), x first, in shares of the shorter side."""
    widths: Floats
    """Shape (strokes,), shares of the shorter side; 0 fills the area."""
    values: Floats
    """How much each covers, shape (strokes,), in [0, 1]."""


def draw_strokes(parts: Sequence[Strokes], height: int, width: int, soften: float = 0.0) -> Planes:
    """Draw strokes where they lie; where several do, the one that covers most is seen.

    Args:
        parts: In any order.
        height: Of the mask, pixels.
        width: Of the mask, pixels.
        soften: Standard deviation of a blur of all of them, share of the shorter side.

    Returns:
        How much is covered, shape (height, width), in [0, 1].
    """
    side = min(height, width)
    fine = min(max(1, math.ceil(_FINE / side)), _MOST)
    sheet = np.zeros((height * fine, width * fine), np.uint8)
    unit = side * fine
    lines: list[tuple[int, int, npt.NDArray[np.int32]]] = []
    for part in parts:
        places = np.rint((part.points * unit - 0.5) * (1 << _BITS)).astype(np.int32)
        across = part.widths * unit
        # A line is one pixel wide at least, so what is thinner covers less.
        values = np.rint(255 * part.values * np.where(part.widths > 0, np.minimum(across, 1), 1)).astype(int).tolist()
        thick = np.where(part.widths > 0, np.maximum(np.rint(across), 1), 0).astype(int).tolist()
        lines += zip(values, thick, places, strict=True)
    for value, thick, places in sorted(lines, key=_first):
        if value and thick:
            cv2.polylines(sheet, [places], False, value, thick, cv2.LINE_AA, _BITS)
        elif value:
            cv2.fillPoly(sheet, [places], value, cv2.LINE_AA, _BITS)
    mask = np.asarray(cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    mask *= np.float32(1 / 255)
    if soften > 0:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(soften * side, 0.05)), np.float32)
    return mask


def _first(line: tuple[int, int, npt.NDArray[np.int32]]) -> int:
    return line[0]


def walks(rng: np.random.Generator, count: int, steps: int, spread: float) -> Floats:
    """Draw random walks from 0, shape (count, steps); each step is uniform with the standard deviation `spread`."""
    return np.cumsum((rng.random((count, steps)) - 0.5) * (spread * math.sqrt(12)), axis=1)


def smooth_field(height: int, width: int, cells: float, bits: np.random.SFC64) -> Planes:
    """Draw a smooth random field: normals on a grid, between which a cubic filter runs.

    Args:
        height: Of the field, pixels.
        width: Of the field, pixels.
        cells: Grid cells along the shorter side.
        bits: Source of the normals.

    Returns:
        Shape (height, width), mean 0, standard deviation about 0.7.
    """
    step = min(height, width) / cells
    rows, columns = (max(2, math.ceil(side / step)) for side in (height, width))
    coarse = normals((rows, columns), bits)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def grid(height: int, width: int) -> tuple[Planes, Planes]:
    """Places of pixel centres in shares of the shorter side, from the upper left corner: x, y, each (height, width)."""
    side = min(height, width)
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    return np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width))
