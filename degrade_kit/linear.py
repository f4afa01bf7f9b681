"""Blurs and resizes of one axis as matrices, their products, and a fast exact way to apply them to an image.

A blur or a resize treats every row alike and every column alike, so a chain of them is one matrix per axis: with rows
`Y` (out, in) and columns `X`, the result is `Y @ image @ X.T`. The product of a 512-pixel blur and a shrink to 64
pixels is a 64 x 512 matrix, and applying it costs a fraction of the blur alone. A kernel that does not factor (a
rotated Gaussian, a sinc) is a sum of a few factoring ones, by its singular value decomposition, or is applied by a
Fourier transform.

Pixels here are planes, float32 of shape (3, height, width): a matrix product then needs no transposition.
Borders mirror without repeating the edge pixel (OpenCV's REFLECT_101), as in every published face recipe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.kernels import Kernel

Planes = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]
Stack = npt.NDArray[np.float32]
"""Matrices of equal shape, one for each term of a sum."""
Taps = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

Filter = Literal["linear", "cubic", "area", "cubic_aa"]
FILTERS: tuple[Filter, ...] = ("linear", "cubic", "area", "cubic_aa")
"""`linear`, `cubic` and `area` are OpenCV's; only `area` guards against aliasing when it shrinks. `cubic_aa` is
MATLAB's `imresize`: a cubic whose support grows with the shrink."""

OPENCV_FILTERS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}

LOW_RANK_TOLERANCE = 4e-6
"""Largest sum of absolute differences between a kernel and its separable terms: 0.001 of 255 levels on any image."""


class AxisOp(Protocol):
    """A linear map along one axis."""

    def out_size(self, size: int) -> int:
        """Count the pixels that come out where `size` go in."""
        ...

    def matrix(self, size: int) -> Matrix:
        """Write the map as a matrix of shape (out_size(size), size)."""
        ...

    def after(self, later: Matrix, size: int) -> Matrix:
        """Multiply `later @ self.matrix(size)`, without building the second factor where that is slower."""
        ...


@dataclass(frozen=True, eq=False)
class AxisBlur:
    """Correlation with `taps` (odd number of them) at full resolution."""

    taps: Taps

    def out_size(self, size: int) -> int:
        """Return `size`: a blur keeps it."""
        return size

    def matrix(self, size: int) -> Matrix:
        """Write the diagonal band, its ends folded back at the borders."""
        radius = self.taps.size // 2
        padded = np.zeros((size, size + 2 * radius), np.float32)
        step_row, step_column = padded.strides
        band = np.lib.stride_tricks.as_strided(padded, (size, self.taps.size), (step_row + step_column, step_column))
        band[:] = self.taps
        return _fold(padded, radius)

    def after(self, later: Matrix, size: int) -> Matrix:
        """Filter the rows of `later` and fold their ends: cheap where `later` has few rows."""
        radius = self.taps.size // 2
        padded = cv2.copyMakeBorder(later, 0, 0, radius, radius, cv2.BORDER_CONSTANT)
        taps = np.ascontiguousarray(self.taps[::-1], np.float32)
        rows = cv2.sepFilter2D(padded, -1, taps, np.ones(1, np.float32), borderType=cv2.BORDER_CONSTANT)
        return _fold(np.asarray(rows, np.float32), radius)


@dataclass(frozen=True)
class AxisResize:
    """Resampling to `size_out` pixels; pixel centres keep their place (half-pixel convention)."""

    size_out: int
    filter: Filter

    def out_size(self, size: int) -> int:
        """Return `size_out`, whatever goes in."""
        del size
        return self.size_out

    def matrix(self, size: int) -> Matrix:
        """Write in each row the weights of one output pixel, which sum to 1."""
        if size == self.size_out:
            return np.eye(size, dtype=np.float32)
        if self.filter == "area" and size > self.size_out:
            return _box_matrix(size, self.size_out)
        indices, weights = _TAP_TABLES[self.filter](size, self.size_out)
        return _dense(indices, weights, size)

    def after(self, later: Matrix, size: int) -> Matrix:
        """Multiply the two matrices plainly."""
        return later @ self.matrix(size)


@dataclass(frozen=True, eq=False)
class AxisDecimate:
    """Every `factor`-th pixel, from the first, of a correlation with `taps` (BSRGAN's `downsample2`)."""

    taps: Taps
    factor: int

    def out_size(self, size: int) -> int:
        """Divide by the factor and round up."""
        return -(-size // self.factor)

    def matrix(self, size: int) -> Matrix:
        """Take every `factor`-th row of the blur's matrix."""
        return np.ascontiguousarray(AxisBlur(self.taps).matrix(size)[:: self.factor])

    def after(self, later: Matrix, size: int) -> Matrix:
        """Multiply the two matrices plainly."""
        return later @ self.matrix(size)


def compose(ops: Sequence[AxisOp], size: int) -> Matrix:
    """Multiply the matrices of all `ops` in order, for an axis of `size` pixels.

    Built from the last op back to the first: the last one usually leaves few rows, and every product stays that small.
    """
    sizes = [size]
    for op in ops:
        sizes.append(op.out_size(sizes[-1]))
    matrix = ops[-1].matrix(sizes[len(ops) - 1])
    for op, size_in in zip(reversed(ops[:-1]), reversed(sizes[: len(ops) - 1]), strict=True):
        matrix = op.after(matrix, size_in)
    return matrix


@dataclass(frozen=True, eq=False)
class Factor:
    """One axis of a sum of separable maps."""

    matrices: Stack
    """Shape (terms, out, in)."""
    first: Indices
    """First column of each row that is not zero in all terms."""
    last: Indices
    """One past the last such column."""

    @classmethod
    def of(cls, ops: Sequence[AxisOp], size: int) -> Factor:
        """Make one term: the product of `ops` for an axis of `size` pixels."""
        head, *rest = ops
        if isinstance(head, AxisBlur) and rest:
            return compose_terms(head.taps[None], rest, size)
        matrix = compose(ops, size)
        return cls(matrix[None], *_bands(matrix))


def compose_terms(taps: Taps, ops: Sequence[AxisOp], size: int) -> Factor:
    """Compose for each row of `taps` the matrix of a blur with it followed by `ops`.

    Args:
        taps: Shape (terms, odd number).
        ops: What follows, usually a resize.
        size: Pixels of the axis.
    """
    later = compose(ops, size) if ops else np.eye(size, dtype=np.float32)
    first, last = _bands(later)
    terms, count = taps.shape
    radius = count // 2
    reach = int((last - first).max())
    low, high = np.maximum(first - radius, 0), np.minimum(last + radius, size)
    if reach > _SHORT_REACH or radius >= size:
        matrices = np.stack([AxisBlur(row).after(later, size) for row in taps])
        return Factor(matrices, *(_bands(np.abs(matrices).max(axis=0)) if radius >= size else (low, high)))
    # Few inputs to an output: its taps, for all terms at once, are written into a row that sticks out at both ends.
    rows = np.arange(later.shape[0])
    combined = np.zeros((terms, rows.size, count + reach - 1), np.float32)
    for offset in range(reach):
        weights = later[rows, np.minimum(first + offset, size - 1)] * (first + offset < last)
        combined[:, :, offset : offset + count] += weights[:, None] * taps[:, None, :]
    padded = np.zeros((terms, rows.size, size + 2 * radius + reach), np.float32)
    for row, start in enumerate(first.tolist()):
        padded[:, row, start : start + count + reach - 1] = combined[:, row]
    matrices = padded[:, :, radius : radius + size]
    if radius:
        matrices[:, :, 1 : radius + 1] += padded[:, :, radius - 1 :: -1][:, :, :radius]
        matrices[:, :, size - 1 - radius : size - 1] += padded[:, :, size + radius : size + 2 * radius][:, :, ::-1]
    return Factor(matrices, low, high)


def apply_matrices(planes: Planes, rows: Factor, columns: Factor) -> Planes:
    """Sum over the terms of rows[term] @ planes @ columns[term].T.

    Args:
        planes: Float32, shape (3, height, width).
        rows: Matrices of shape (height out, height); with `columns` they must leave a constant image as it is.
        columns: As many matrices of shape (width out, width).

    Returns:
        Float32, shape (3, height out, width out).
    """
    terms, height_out, _ = rows.matrices.shape
    width, width_out = planes.shape[2], columns.matrices.shape[1]
    # Around mid-grey the sums are smaller, and so are their rounding errors: fewer pixels of a long chain end up in
    # another 8-bit level, or another coefficient of a JPEG, than by plain float32.
    centred = planes - _MID_GREY
    half = np.empty((3, height_out, terms, width), np.float32)
    for block, span in _blocks(rows):
        # All terms of a few rows in one product: tall enough to run at full speed.
        stacked = rows.matrices[:, block, span].transpose(1, 0, 2).reshape(-1, span.stop - span.start)
        for channel in range(3):
            np.matmul(stacked, centred[channel, span], out=half[channel, block].reshape(-1, width))
    out = np.empty((3 * height_out, width_out), np.float32)
    half = half.reshape(3 * height_out, terms, width)
    for block, span in _blocks(columns):
        # One product sums over pixels and terms together.
        factor = columns.matrices[:, block, span].transpose(1, 0, 2).reshape(block.stop - block.start, -1)
        np.matmul(half[:, :, span].reshape(3 * height_out, -1), factor.T, out=out[:, block])
    out += _MID_GREY
    return out.reshape(3, height_out, width_out)


def separable_terms(kernel: Kernel, tolerance: float = LOW_RANK_TOLERANCE) -> tuple[Taps, Taps]:
    """Find taps along y and x, each of shape (terms, size), whose outer products sum to `kernel`.

    Args:
        kernel: Shape (size, size).
        tolerance: Bound on the sum of absolute differences, which bounds the error of any pixel in units of the range.
    """
    left, strengths, right = np.linalg.svd(kernel)
    rank = strengths.size
    for terms in range(1, strengths.size):
        rest = (left[:, terms:] * strengths[terms:]) @ right[terms:]
        if np.abs(rest).sum() <= tolerance:
            rank = terms
            break
    return np.ascontiguousarray((left[:, :rank] * strengths[:rank]).T), right[:rank]


def convolve_fourier(planes: Planes, kernel: Kernel) -> Planes:
    """Correlate every plane with a large `kernel` by OpenCV's real Fourier transform, same size out.

    For kernels above some 11 pixels this beats `filter2D`, which transforms tile by tile and the kernel with each.
    """
    radius = kernel.shape[0] // 2
    _, height, width = planes.shape
    if min(height, width) < _SMALLEST_FOURIER:
        return np.stack([np.asarray(cv2.filter2D(plane, -1, kernel), np.float32) for plane in planes])
    fft_height = cv2.getOptimalDFTSize(height + 2 * radius)
    fft_width = cv2.getOptimalDFTSize(width + 2 * radius)
    padded_kernel = np.zeros((fft_height, fft_width), np.float32)
    padded_kernel[: kernel.shape[0], : kernel.shape[1]] = kernel
    spectrum = cv2.dft(padded_kernel, nonzeroRows=kernel.shape[0])
    out = np.empty_like(planes)
    for channel in range(3):
        bottom, right = fft_height - height - radius, fft_width - width - radius
        margins = (radius, bottom, radius, right)
        padded = np.asarray(cv2.copyMakeBorder(planes[channel], *margins, cv2.BORDER_REFLECT_101), np.float32)
        # A product with the conjugate is a correlation; what wraps around lies outside the part that is kept.
        product = cv2.mulSpectrums(cv2.dft(padded, dst=padded), spectrum, 0, conjB=True)
        inverse = cv2.dft(product, dst=product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE, nonzeroRows=height)
        out[channel] = inverse[:height, :width]
    return out


_SMALLEST_FOURIER = 8
"""Side of an image below which the plain filter is used; OpenCV's transform fails on a single column."""

_MID_GREY = np.float32(128)

_SPAN = 96
"""Input pixels that a block of outputs moves over, beside its band: small blocks skip more zeros, large ones multiply
faster; half of it is best where the band is narrow or the terms are many. Measured on 512-pixel images."""

_SHORT_REACH = 16
"""Inputs to one output up to which `compose_terms` writes taps directly: any resize but a strong `area` one."""


def _blocks(factor: Factor) -> list[tuple[slice, slice]]:
    """Groups of consecutive rows with the columns that any of them touches, in any term."""
    terms, size_out, size_in = factor.matrices.shape
    first, last = factor.first, factor.last
    band = int((last - first).max())
    if size_in <= 2 * _SPAN or band > size_in // 2:
        return [(slice(0, size_out), slice(0, size_in))]
    span = _SPAN // 2 if terms > 1 or band < _SPAN // 4 else _SPAN
    step = min(max(8, span * size_out // size_in), size_out)
    starts = range(0, size_out, step)
    return [
        (slice(start, stop), slice(int(first[start:stop].min()), int(last[start:stop].max())))
        for start, stop in ((start, min(start + step, size_out)) for start in starts)
    ]


def _bands(matrix: Matrix) -> tuple[Indices, Indices]:
    """Index of the first nonzero element of each row, and one past the last."""
    nonzero = matrix != 0
    return nonzero.argmax(axis=1), matrix.shape[1] - nonzero[:, ::-1].argmax(axis=1)


def _fold(padded: Matrix, radius: int) -> Matrix:
    """Add the `radius` columns that stick out at either side to the pixels that they mirror (REFLECT_101)."""
    size = padded.shape[1] - 2 * radius
    if radius < size:
        folded = padded[:, radius : radius + size].copy()
        if radius:
            folded[:, 1 : radius + 1] += padded[:, radius - 1 :: -1]
            folded[:, size - 1 - radius : size - 1] += padded[:, : radius + size - 1 : -1]
        return folded
    folded = np.zeros((padded.shape[0], size), np.float32)
    np.add.at(folded.T, mirror(np.arange(-radius, size + radius, dtype=np.intp), size), padded.T)
    return folded


def mirror(indices: Indices, size: int) -> Indices:
    """Find the pixel that each index, inside or outside of 0..size-1, stands for when the border mirrors.

    >>> mirror(np.array([-2, -1, 0, 3, 4, 5]), 4).tolist()
    [2, 1, 0, 3, 2, 1]
    """
    if size == 1:
        return np.zeros_like(indices)
    period = 2 * (size - 1)
    wrapped: Indices = np.abs(indices) % period
    return np.minimum(wrapped, period - wrapped)


def _dense(indices: Indices, weights: Taps, size: int) -> Matrix:
    """Matrix with `weights` (out, k) at columns `indices` (out, k)."""
    matrix = np.zeros((indices.shape[0], size), np.float32)
    rows = np.arange(len(indices))
    for tap in range(indices.shape[1]):
        matrix[rows, indices[:, tap]] += weights[:, tap].astype(np.float32)
    return matrix


def _centres(size: int, size_out: int) -> Taps:
    """Position of every output pixel's centre, in input pixels."""
    return (np.arange(size_out, dtype=np.float64) + 0.5) * (size / size_out) - 0.5


def _linear_taps(size: int, size_out: int) -> tuple[Indices, Taps]:
    position = np.clip(_centres(size, size_out), 0, size - 1)
    left = np.floor(position).astype(int)
    share = position - left
    return np.stack([left, np.minimum(left + 1, size - 1)], 1), np.stack([1 - share, share], 1)


def _cubic_taps(size: int, size_out: int) -> tuple[Indices, Taps]:
    """Keys' cubic with a = -0.75, as OpenCV and torch use it, whether it enlarges or shrinks."""
    position = _centres(size, size_out)
    left = np.floor(position).astype(int)
    offsets = np.arange(-1, 3)
    weights = _cubic(position[:, None] - left[:, None] - offsets, a=-0.75)
    return np.clip(left[:, None] + offsets, 0, size - 1), weights


def _area_enlarge_taps(size: int, size_out: int) -> tuple[Indices, Taps]:
    """Enlarge as OpenCV's INTER_AREA does: nearest inside a source pixel, linear across its right edge."""
    inverse = size_out / size
    # Its own roundings: they decide where a boundary falls on a pixel.
    left = np.floor(np.arange(size_out) * (1.0 / inverse)).astype(int)
    share = (np.arange(1, size_out + 1) - (left + 1) * inverse).astype(np.float32).astype(np.float64)
    share = np.where(share <= 0, 0.0, share - np.floor(share))
    share[left >= size - 1] = 0.0
    return np.stack([left, np.minimum(left + 1, size - 1)], 1), np.stack([1 - share, share], 1)


def _cubic_aa_taps(size: int, size_out: int) -> tuple[Indices, Taps]:
    """MATLAB's `imresize`: Keys' cubic with a = -0.5, stretched when it shrinks; the border repeats the edge pixel."""
    stretch = max(size / size_out, 1.0)
    position = _centres(size, size_out)
    count = math.ceil(4 * stretch) + 2
    left = np.floor(position - 2 * stretch).astype(int)
    indices = left[:, None] + np.arange(count)
    weights = _cubic((position[:, None] - indices) / stretch, a=-0.5)
    weights /= weights.sum(axis=1, keepdims=True)
    wrapped = indices % (2 * size)
    return np.minimum(wrapped, 2 * size - 1 - wrapped), weights


def _cubic(distance: Taps, a: float) -> Taps:
    """Keys' cubic convolution kernel (IEEE TASSP 1981), 0 beyond a distance of 2."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _box_matrix(size: int, size_out: int) -> Matrix:
    """Share of each input pixel in the box of each output pixel."""
    ratio = size / size_out
    edges = np.arange(size_out + 1) * ratio
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(overlap / ratio, 0, None).astype(np.float32)


_TAP_TABLES = {
    "linear": _linear_taps,
    "cubic": _cubic_taps,
    "area": _area_enlarge_taps,
    "cubic_aa": _cubic_aa_taps,
}
