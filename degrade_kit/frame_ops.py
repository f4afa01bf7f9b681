"""Operations of geometry: a face stands in a photograph, turned and small, and an aligner turns and enlarges it again.

`Frame` puts the image into the photograph, whatever follows degrades the photograph in its own pixels, and `Unframe`
cuts the face out again, so that LQ and HQ stay registered. Both hold the same numbers and agree on one affine map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.canvas import Canvas, Separable
from degrade_kit.errors import ConfigError
from degrade_kit.linear import AxisResize, Planes
from degrade_kit.op_tools import Seat

WARP_FILTERS = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
WarpFilter = Literal["linear", "cubic", "lanczos"]

BLOCK = 8
"""The photograph's sides are multiples of it, as codecs and autoencoders want them."""

MAX_FRAME = 4096
"""Largest side of a photograph, in pixels: a record of somebody else's must not fill the memory."""

_Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """The image becomes part of a photograph: shrunk to `side` pixels, turned, and moved.

    Around it the photograph shows the image mirrored. Its sides are multiples of 8, just large enough that the whole
    square is in it.
    """

    name: ClassVar[str] = "frame"
    side: int
    """Pixels of the image's shorter side in the photograph."""
    angle: float
    """Turn in radians, counter-clockwise."""
    right: float
    """Place of the image's centre, in pixels of the photograph from the photograph's centre; so a codec's blocks lie
    anywhere on the face."""
    down: float

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Replace the image on the canvas by the photograph."""
        del seat
        height, width = frame_size(canvas.full_size, self.side, self.angle, self.right, self.down)
        # Twice as large first, for the cubic filter of the turn does not guard against aliasing, and averages of four
        # pixels hide what it blurs.
        shrink = 2 * self.side / min(canvas.height, canvas.width)
        if shrink < 1:
            size = [max(1, round(side * shrink)) for side in (canvas.height, canvas.width)]
            canvas.linear(Separable(AxisResize(size[0], "area"), AxisResize(size[1], "area")))
        planes = canvas.planes()
        matrix = _scaled(
            frame_matrix(canvas.full_size, (height, width), self.side, self.angle, self.right, self.down),
            before=(canvas.full_size[0] / planes.shape[1], canvas.full_size[1] / planes.shape[2]),
            after=(2.0, 2.0),
        )
        large = _warp(planes, matrix, (2 * height, 2 * width), cv2.INTER_CUBIC)
        canvas.set_planes(large)
        canvas.linear(Separable(AxisResize(height, "area"), AxisResize(width, "area")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Unframe:
    """Cuts the image out of its photograph and enlarges it to the full size, as an aligner does.

    What is now a photograph may have been resized since `Frame` made it; it is taken to show the same.
    """

    name: ClassVar[str] = "unframe"
    side: int
    angle: float
    right: float
    down: float
    filter: WarpFilter = "cubic"

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Replace the photograph on the canvas by the image."""
        del seat
        frame = frame_size(canvas.full_size, self.side, self.angle, self.right, self.down)
        matrix = _scaled(
            frame_matrix(canvas.full_size, frame, self.side, self.angle, self.right, self.down),
            before=(1.0, 1.0),
            after=(canvas.height / frame[0], canvas.width / frame[1]),
        )
        canvas.set_planes(
            _warp(canvas.planes(), matrix, canvas.full_size, WARP_FILTERS[self.filter] | cv2.WARP_INVERSE_MAP)
        )


def frame_size(full: tuple[int, int], side: int, angle: float, right: float, down: float) -> tuple[int, int]:
    """Height and width of the photograph that holds an image of the size `full`.

    Raises:
        ConfigError: If one is above `MAX_FRAME`.
    """
    height, width = (side * extent / min(full) for extent in full)
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    rows, columns = height * cos + width * sin + 2 * abs(down), height * sin + width * cos + 2 * abs(right)
    if max(rows, columns) > MAX_FRAME:
        raise ConfigError(f"`photo_frame`: {columns:.0f} x {rows:.0f} pixels are above {MAX_FRAME} a side")
    return BLOCK * math.ceil(rows / BLOCK - 1e-9), BLOCK * math.ceil(columns / BLOCK - 1e-9)


def frame_matrix(
    full: tuple[int, int], frame: tuple[int, int], side: int, angle: float, right: float, down: float
) -> _Matrix:
    """The map from pixels of the image to pixels of the photograph, shape (2, 3); x comes first, as in OpenCV."""
    scale = side / min(full)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    centre = np.array([full[1] - 1, full[0] - 1]) / 2
    place = np.array([frame[1] - 1, frame[0] - 1]) / 2 + [right, down]
    return np.column_stack([turn, place - turn @ centre])


def _scaled(matrix: _Matrix, before: tuple[float, float], after: tuple[float, float]) -> _Matrix:
    """The same map where a pixel that goes in is `before` (rows, columns) large, and one that comes out 1 / `after`.

    Pixel centres lie at whole numbers: x' = k x + (k - 1) / 2 where there are k times as many.
    """
    out = np.vstack([matrix, [0, 0, 1]])
    grow = np.diag([after[1], after[0], 1.0])
    grow[:2, 2] = [(after[1] - 1) / 2, (after[0] - 1) / 2]
    enter = np.diag([before[1], before[0], 1.0])
    enter[:2, 2] = [(before[1] - 1) / 2, (before[0] - 1) / 2]
    return (grow @ out @ enter)[:2]


def _warp(planes: Planes, matrix: _Matrix, size: tuple[int, int], flags: int) -> Planes:
    """Warp planes to `size` (height, width); what comes from outside mirrors the edge."""
    # OpenCV 5.0 never ends where it should mirror a single row or column.
    border = cv2.BORDER_REFLECT_101 if min(planes.shape[1:]) > 1 else cv2.BORDER_REPLICATE
    out = np.empty((3, *size), np.float32)
    for channel, plane in enumerate(planes):
        cv2.warpAffine(plane, matrix, (size[1], size[0]), dst=out[channel], flags=flags, borderMode=border)
    return out
