"""The image that a degradation works on, with its blurs and resizes held back until they are needed.

Blurs and resizes are linear: a run of them is one matrix per axis, small as soon as the run contains a shrink. So
`Canvas` only notes them, and multiplies when something that is not linear (noise, JPEG, a clip) or the result asks for
pixels. This is exact: the tests hold it within 0.01 of 255 levels of the same operations done one by one with OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from degrade_kit.image import Pixels
from degrade_kit.kernels import Kernel
from degrade_kit.linear import (
    OPENCV_FILTERS,
    AxisBlur,
    AxisOp,
    AxisResize,
    Factor,
    Planes,
    apply_matrices,
    compose_terms,
    convolve_fourier,
    separable_terms,
)


@dataclass(frozen=True)
class Separable:
    """A linear map that treats the axes apart."""

    y: AxisOp
    x: AxisOp


@dataclass(frozen=True)
class Convolution:
    """A kernel that is no outer product."""

    kernel: Kernel


@dataclass(frozen=True, slots=True)
class Encoded:
    """A compressed image file in memory."""

    data: bytes
    extension: str
    """`jpg` or `webp`."""

    def decode(self) -> Pixels:
        """Read the image, shape (height, width, 3)."""
        bgr = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_COLOR)
        assert bgr is not None, "OpenCV reads what it has just written"
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


class Canvas:
    """An RGB image under degradation, on the 0..255 scale.

    Args:
        pixels: uint8, shape (height, width, 3).
        planes: Instead, float32, shape (3, height, width), 0..255.
    """

    def __init__(self, pixels: Pixels | None = None, planes: Planes | None = None) -> None:
        self._pixels = pixels
        self._planes = planes
        self._owned = False  # whether nobody else holds the planes
        self._encoded: Encoded | None = None
        self._pending: list[Separable | Convolution] = []
        if planes is not None:
            self.height, self.width = planes.shape[1:]
        elif pixels is not None:
            self.height, self.width = pixels.shape[:2]
        else:
            raise ValueError("a canvas starts from pixels or from planes")
        self.full_size = (self.height, self.width)
        """Height and width of the HQ image: what a `scale` refers to."""

    def linear(self, op: Separable | Convolution) -> None:
        """Note a linear operation."""
        if isinstance(op, Convolution):
            if any(isinstance(earlier, Convolution) for earlier in self._pending):
                self.planes()
        else:
            self.height, self.width = op.y.out_size(self.height), op.x.out_size(self.width)
        self._pending.append(op)

    def planes(self) -> Planes:
        """Return the current image as float32 planes, 0..255 but not clipped; read only, it may be the canvas's own."""
        if self._planes is None:
            self._planes, self._owned = _to_planes(self._decoded()), True
        if self._pending:
            planes = _apply(self._planes, self._pending)
            self._owned = self._owned or planes is not self._planes
            self._planes, self._pixels, self._encoded, self._pending = planes, None, None, []
        return self._planes

    def take_planes(self) -> Planes:
        """Return `planes` to an operation that overwrites them and hands them back by `set_planes`."""
        planes = self.planes()
        return planes if self._owned else planes.copy()

    def fork(self) -> Canvas:
        """Make a canvas that starts from this one's image and shares its memory until it changes."""
        copy = Canvas(planes=self.planes())
        copy._pixels, self._owned = self._pixels, False
        copy.full_size = self.full_size
        return copy

    def pixels(self) -> Pixels:
        """Return the current image clipped and rounded to uint8, shape (height, width, 3)."""
        if self._encoded is not None and not self._pending:
            return self._decoded()
        if self._pixels is None or self._pending:
            # Clip before the cast: OpenCV's fast one takes the absolute value.
            planes = self.planes()
            clipped: Planes = np.clip(planes, 0, 255, out=planes if self._owned else None)
            self._pixels = np.asarray(
                cv2.merge([cast("Pixels", cv2.convertScaleAbs(plane)) for plane in clipped]), np.uint8
            )
        return self._pixels

    def encoded(self) -> Encoded | None:
        """Return the compressed file that the image has just come from, if nothing happened since."""
        return None if self._pending else self._encoded

    def set_planes(self, planes: Planes) -> None:
        """Replace the image by the outcome of a non-linear operation."""
        self._planes, self._pixels, self._encoded, self._pending = planes, None, None, []
        self._owned = True
        self.height, self.width = planes.shape[1:]

    def set_pixels(self, pixels: Pixels) -> None:
        """Replace the image by an 8-bit one, shape (height, width, 3)."""
        self._planes, self._pixels, self._encoded, self._pending = None, pixels, None, []
        self.height, self.width = pixels.shape[:2]

    def set_encoded(self, encoded: Encoded) -> None:
        """Replace the image by a lossy file of it, of the same size; it is decoded only if anybody looks."""
        self._planes, self._pixels, self._encoded, self._pending = None, None, encoded, []

    def _decoded(self) -> Pixels:
        if self._pixels is None:
            assert self._encoded is not None, "a canvas holds planes, pixels or a file"
            self._pixels = self._encoded.decode()
        return self._pixels


def _to_planes(pixels: Pixels) -> Planes:
    planes = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel, plane in enumerate(cv2.split(pixels)):
        planes[channel] = plane
    return planes


def _apply(planes: Planes, ops: Sequence[Separable | Convolution]) -> Planes:
    """Run pending operations; at most one of them is a convolution."""
    at = next((i for i, op in enumerate(ops) if isinstance(op, Convolution)), None)
    if at is None:
        return _apply_separable(planes, [op for op in ops if isinstance(op, Separable)])
    before = [op for op in ops[:at] if isinstance(op, Separable)]
    after = [op for op in ops[at + 1 :] if isinstance(op, Separable)]
    convolution = ops[at]
    assert isinstance(convolution, Convolution)
    planes = _apply_separable(planes, before)
    return _convolve(planes, convolution.kernel, after)


# Costs in nanoseconds on one core of a 2020s server, used only to choose between ways that give the same pixels.
_NS_PER_FLOP = 1 / 50
_NS_PER_TAP = 0.25
_NS_PER_RESIZED = 0.4
_NS_PER_FOURIER = 11.0
_NS_PER_MATRIX = 250_000.0


def _apply_separable(planes: Planes, ops: Sequence[Separable]) -> Planes:
    if not ops:
        return planes
    height, width = planes.shape[1:]
    if _direct_cost(ops, height, width) <= _matrix_cost(ops, height, width):
        for op in ops:
            planes = _apply_directly(planes, op)
        return planes
    rows = Factor.of([op.y for op in ops], height)
    same = height == width and all(op.y is op.x or op.y == op.x for op in ops)
    columns = rows if same else Factor.of([op.x for op in ops], width)
    return apply_matrices(planes, rows, columns)


def _convolve(planes: Planes, kernel: Kernel, after: Sequence[Separable]) -> Planes:
    """Convolve, then `after`; as a sum of separable products where few and small ones do, else by Fourier transform."""
    height, width = planes.shape[1:]
    fourier = _NS_PER_FOURIER * planes.size + _direct_cost(after, height, width)
    if _matrix_cost(after, height, width, taps=kernel.shape[0], terms=2) < fourier:
        taps_y, taps_x = separable_terms(kernel)
        if _matrix_cost(after, height, width, taps=kernel.shape[0], terms=taps_y.shape[0]) < fourier:
            rows = compose_terms(taps_y, [op.y for op in after], height)
            columns = compose_terms(taps_x, [op.x for op in after], width)
            return apply_matrices(planes, rows, columns)
    return _apply_separable(convolve_fourier(planes, kernel), after)


def _apply_directly(planes: Planes, op: Separable) -> Planes:
    """Run one operation by OpenCV's own function for it."""
    if isinstance(op.y, AxisBlur) and isinstance(op.x, AxisBlur):
        out = np.empty_like(planes)
        for channel, plane in enumerate(planes):
            cv2.sepFilter2D(plane, -1, op.x.taps, op.y.taps, dst=out[channel])
        return out
    assert isinstance(op.y, AxisResize)
    assert isinstance(op.x, AxisResize)
    size = (op.x.size_out, op.y.size_out)
    if size == (planes.shape[2], planes.shape[1]):
        return planes
    out = np.empty((3, size[1], size[0]), np.float32)
    for channel, plane in enumerate(planes):
        cv2.resize(plane, size, dst=out[channel], interpolation=OPENCV_FILTERS[op.y.filter])
    return out


def _direct_cost(ops: Sequence[Separable], height: int, width: int) -> float:
    """Estimate the nanoseconds of running `ops` one by one; infinite where OpenCV has no function for one."""
    cost = 0.0
    for op in ops:
        if isinstance(op.y, AxisBlur) and isinstance(op.x, AxisBlur):
            cost += _NS_PER_TAP * 3 * height * width * max(op.y.taps.size, op.x.taps.size, 3)
        elif isinstance(op.y, AxisResize) and isinstance(op.x, AxisResize) and op.y.filter in OPENCV_FILTERS:
            inside = height * width if op.y.filter == "area" else 0
            cost += _NS_PER_RESIZED * 3 * (op.y.size_out * op.x.size_out + inside)
        else:
            return float("inf")
        height, width = op.y.out_size(height), op.x.out_size(width)
    return cost


def _matrix_cost(ops: Sequence[Separable], height: int, width: int, *, taps: int = 0, terms: int = 1) -> float:
    """Estimate the nanoseconds of building and multiplying the matrices of `ops` after a blur of `terms` terms."""
    band = float(taps)
    out_height, out_width = height, width
    for op in ops:
        if isinstance(op.x, AxisBlur):
            band += op.x.taps.size * width / out_width
        out_height, out_width = op.y.out_size(out_height), op.x.out_size(out_width)
        band += 2 * width / out_width
    touched = min(width, band + 48)
    flops = 2 * 3 * out_height * touched * (width + out_width)
    building = _NS_PER_MATRIX * (1 + out_width / 512) * (1 + terms / 4)
    return _NS_PER_FLOP * flops * terms + building
