"""Operations on detail and edges: a mean over squares, bright fringes, drawn outlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from degrade_kit import kernels
from degrade_kit.canvas import Canvas, Separable
from degrade_kit.linear import AxisBlur, Planes
from degrade_kit.op_tools import Seat, luma


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxBlur:
    """Mean over a square, pixels at its edge counted in part; see `degrade_kit.kernels.box_taps`.

    With `busy`, only where there is most detail, as a denoiser smears texture; RealRestorer's averaging by density.
    """

    name: ClassVar[str] = "box_blur"
    side: float
    """Side of the square, pixels, 1 and more."""
    busy: float = 0.0
    """Above 0: only where luma's variance in the square is above this multiple of its mean over the image."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note the blur on the canvas, or blur its busy places."""
        del seat
        taps = kernels.box_taps(self.side)
        if not self.busy:
            axis = AxisBlur(taps)
            canvas.linear(Separable(axis, axis))
            return
        planes = canvas.take_planes()
        gray = luma(planes)
        variance = _mean(gray**2, taps) - _mean(gray, taps) ** 2
        dense = variance > np.float32(self.busy) * variance.mean(dtype=np.float64)
        for plane in planes:
            np.copyto(plane, _mean(plane, taps), where=dense)
        canvas.set_planes(planes)


def _mean(plane: Planes, taps: kernels.Kernel) -> Planes:
    return np.asarray(cv2.sepFilter2D(plane, -1, taps, taps), np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Halo:
    """Bright fringes along edges, and no dark ones: luma gains what it is brighter than its blur; clips to [0, 255].

    So do sharpeners of video players and scanners. Source: `unsharp_gray` and `unsharp_halo` of WTP Dataset Destroyer,
    as ideas; unsharp masking as in Gonzalez and Woods, 3.6.3.
    """

    name: ClassVar[str] = "halo"
    amount: float
    radius: float
    """Standard deviation of the blur, pixels."""
    threshold: float = 0.0
    """Differences of luma below it count nothing, and it is taken off the others; 0..255 scale."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Brighten the edges on the canvas."""
        del seat
        planes = canvas.take_planes()
        gray = luma(planes)
        gray -= np.asarray(cv2.GaussianBlur(gray, (0, 0), self.radius), np.float32).reshape(gray.shape)
        gray -= np.float32(self.threshold)
        np.clip(gray, 0, None, out=gray)
        planes += np.float32(self.amount) * gray
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """Lines where there are edges, as of bad conversions to drawings. Source: Canny (PAMI 1986), by OpenCV.

    The idea is WTP Dataset Destroyer's `canny`.
    """

    name: ClassVar[str] = "outline"
    low: float
    """Gradient above which an edge goes on, 0..255 scale over Sobel's filter of 3 pixels; less draws more lines."""
    high: float
    """Gradient above which one begins."""
    width: int = 1
    """Pixels across a line."""
    level: int = 0
    """Gray level of the lines: 0 or 255."""
    opacity: float = 1.0
    """How much the lines hide, in [0, 1]."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Draw the lines over the canvas."""
        planes = canvas.take_planes()
        gray = np.clip(np.rint(luma(planes)), 0, 255).astype(np.uint8)
        edges = np.asarray(cv2.Canny(gray, self.low, self.high, L2gradient=True), np.uint8)
        if self.width > 1:
            edges = np.asarray(cv2.dilate(edges, np.ones((self.width, self.width), np.uint8)), np.uint8)
        cover = edges.astype(np.float32) * np.float32(self.opacity / 255)
        planes *= 1 - cover
        planes += np.float32(self.level) * cover
        canvas.set_planes(planes)
