"""Operations on channels: levels, planes that do not lie on each other, colour with fewer pixels, dithering."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.canvas import Canvas
from degrade_kit.linear import Planes
from degrade_kit.op_tools import Seat, from_chroma, power, to_chroma

ChannelSpace = Literal["rgb", "ycc", "cmyk"]
Enlarging = Literal["nearest", "linear"]
DitherMethod = Literal[
    "floyd_steinberg", "jarvis_judice_ninke", "stucki", "atkinson", "burkes", "sierra", "two_row_sierra",
    "sierra_lite", "ordered", "riemersma",
]  # fmt: skip
_Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """A tone curve between a black that is gray and a white that is not white: low + (high - low) * value ** gamma.

    As the levels of image editors, and as video of 16 to 235 that is shown as if it were 0 to 255 (ITU-R BT.601).
    """

    name: ClassVar[str] = "levels"
    low: float
    """What black becomes, 0..255 scale."""
    high: float
    """What white becomes."""
    gamma: float = 1.0
    """Exponent on values in [0, 1]; above 1 darkens the middle."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Map the values of the canvas, which are clipped first."""
        del seat
        planes = canvas.take_planes()
        np.clip(planes, 0, 255, out=planes)
        if self.gamma != 1.0:
            planes *= np.float32(1 / 255)
            planes = power(planes, self.gamma)
            planes *= np.float32(255)
        planes *= np.float32((self.high - self.low) / 255)
        planes += np.float32(self.low)
        canvas.set_planes(planes)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelShift:
    """Channels that do not lie on each other: plates of a press, layers of film, the colour of analogue video.

    In `cmyk` the three colours have black's part taken out and move, black stays. Source: ISO 12647-2, register; EBU
    Tech 3217, luma and chroma delay; `shift` of WTP Dataset Destroyer, as an idea.
    """

    name: ClassVar[str] = "channel_shift"
    space: ChannelSpace
    """`rgb`, `ycc` (luma, Cb, Cr) or `cmyk`."""
    right: tuple[float, ...]
    """How far each of three channels moves, pixels; what moves in repeats the edge. Clips to [0, 255]."""
    down: tuple[float, ...]

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Shift each channel on the canvas to its place."""
        del seat
        planes = canvas.take_planes()
        np.clip(planes, 0, 255, out=planes)
        if self.space == "rgb":
            moved = self._moved(planes)
        elif self.space == "ycc":
            moved = from_chroma(self._moved(to_chroma(planes)))
        else:
            inks = 255 - planes
            black = inks.min(axis=0)
            moved = 255 - (self._moved(inks - black) + black)
        canvas.set_planes(np.clip(moved, 0, 255, out=moved))

    def _moved(self, planes: Planes) -> Planes:
        height, width = planes.shape[1:]
        for plane, right, down in zip(planes, self.right, self.down, strict=True):
            if right or down:
                matrix = np.array([[1, 0, right], [0, 1, down]], np.float64)
                plane[...] = cv2.warpAffine(plane, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return planes


@dataclass(frozen=True, kw_only=True, slots=True)
class ChromaSubsampling:
    """Colour of fewer pixels than luma, as video and files have it; a mean of the pixels, enlarged again.

    Sources: ITU-R BT.601, 4:2:2; Poynton, "Chroma subsampling notation" (2002); luma and colours as JFIF has them.
    """

    name: ClassVar[str] = "chroma_subsampling"
    across: int
    """Pixels of luma for one of colour along a row: 2 in 4:2:0 and 4:2:2, 4 in 4:1:1."""
    down: int
    """The same along a column: 2 in 4:2:0 and 4:4:0."""
    enlarging: Enlarging = "linear"
    """Filter that brings the colours back."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Take colour from the canvas; clips to [0, 255]."""
        del seat
        planes = to_chroma(canvas.planes())
        height, width = planes.shape[1:]
        size = (math.ceil(width / self.across), math.ceil(height / self.down))
        back = cv2.INTER_LINEAR if self.enlarging == "linear" else cv2.INTER_NEAREST_EXACT
        for plane in planes[1:]:
            few = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)
            cv2.resize(few, (width, height), dst=plane, interpolation=back)
        found = from_chroma(planes)
        canvas.set_planes(np.clip(found, 0, 255, out=found))


@dataclass(frozen=True, kw_only=True, slots=True)
class Dither:
    """Few levels for each channel, their errors handed on to neighbours, or spread by a pattern.

    Sources: Floyd and Steinberg (1976); Jarvis, Judice and Ninke (1976); Stucki (1981); Burkes (1988); Sierra (1989);
    Atkinson's of the early Macintosh; Bayer (1973) for `ordered`, 8 x 8; Riemersma, "A balanced dithering technique"
    (C/C++ Users Journal 1998), here along Hilbert's curve in squares of 32 pixels, each for itself.
    """

    name: ClassVar[str] = "dither"
    levels: int
    """How many each channel has, 2 to 256."""
    method: DitherMethod = "floyd_steinberg"

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Reduce the canvas to its levels."""
        del seat
        steps = self.levels - 1
        values = np.clip(canvas.planes(), 0, 255).transpose(1, 2, 0) * np.float32(steps / 255)
        if self.method == "ordered":
            height, width = values.shape[:2]
            pattern = np.tile(_bayer(), (-(-height // 8), -(-width // 8)))[:height, :width, None]
            few = np.clip(np.floor(values + pattern), 0, steps)
        elif self.method == "riemersma":
            few = _riemersma(values, steps)
        else:
            few = _diffused(values, steps, DIFFUSIONS[self.method])
        canvas.set_planes(np.ascontiguousarray(few.transpose(2, 0, 1)) * np.float32(255 / steps))


Diffusion = tuple[tuple[tuple[int, int, int], ...], int]
"""Rows down, pixels right and weight of each neighbour, and what the weights are divided by."""


def _rows(first: int, divisor: int, *rows: tuple[int, ...]) -> Diffusion:
    """Weights as papers print them: those to the right, then whole rows about the pixel; `first` pixels to the left."""
    taps = [(0, 1 + place, weight) for place, weight in enumerate(rows[0])]
    taps += [(down, place - first, weight) for down, row in enumerate(rows[1:], 1) for place, weight in enumerate(row)]
    return tuple(tap for tap in taps if tap[2]), divisor


DIFFUSIONS: dict[DitherMethod, Diffusion] = {
    "floyd_steinberg": _rows(1, 16, (7,), (3, 5, 1)),
    "jarvis_judice_ninke": _rows(2, 48, (7, 5), (3, 5, 7, 5, 3), (1, 3, 5, 3, 1)),
    "stucki": _rows(2, 42, (8, 4), (2, 4, 8, 4, 2), (1, 2, 4, 2, 1)),
    "atkinson": _rows(1, 8, (1, 1), (1, 1, 1), (0, 1, 0)),
    "burkes": _rows(2, 32, (8, 4), (2, 4, 8, 4, 2)),
    "sierra": _rows(2, 32, (5, 3), (2, 4, 5, 4, 2), (0, 2, 3, 2, 0)),
    "two_row_sierra": _rows(2, 16, (4, 3), (1, 2, 3, 2, 1)),
    "sierra_lite": _rows(1, 4, (2,), (1, 1, 0)),
}
"""Which neighbours get how much of a pixel's error."""


def _diffused(values: Planes, steps: int, diffusion: Diffusion) -> Planes:
    """Hand errors on, pixel after pixel and row after row; shape (height, width, 3), values in steps.

    A row may go on as soon as the one above it is some pixels ahead, so pixels on a slanted line are done together.
    """
    taps, divisor = diffusion
    lag = 1 + max(1, *(-right for _, right, _ in taps))
    height, width = values.shape[:2]
    reach = lag * 2 + 2
    # Place along the slant first: the pixel of row y and column x stands at x + lag * y.
    slanted = np.zeros((width + lag * (height - 1) + reach, height, 3), np.float32)
    rows = np.arange(height, dtype=np.intp)
    places = np.arange(width, dtype=np.intp) + lag * rows[:, None]
    slanted[places, rows[:, None]] = values
    weights = [(right + lag * down, down, np.float32(weight / divisor)) for down, right, weight in taps]
    for place in range(width + lag * (height - 1)):
        # The rows of whose pixels one stands here.
        low, high = max(0, -(-(place - width + 1) // lag)), min(height, place // lag + 1)
        here = slanted[place, low:high]
        few = _nearest(here, steps)
        error = here - few
        slanted[place, low:high] = few
        for ahead, down, weight in weights:
            later = slanted[place + ahead, low + down : high + down]
            later += weight * error[: later.shape[0]]
    return slanted[places, rows[:, None]]


def _nearest(values: Planes, steps: int) -> Planes:
    found = np.rint(values)
    np.minimum(found, steps, out=found)
    return np.maximum(found, 0, out=found)


_BLOCK = 32
_MEMORY = 16
"""Errors that are remembered, and how much less the oldest counts than the newest, as the source has it."""


def _riemersma(values: Planes, steps: int) -> Planes:
    height, width = values.shape[:2]
    tall, wide = (-(-side // _BLOCK) for side in (height, width))
    padded = np.pad(values, ((0, tall * _BLOCK - height), (0, wide * _BLOCK - width), (0, 0)), mode="edge")
    blocks = padded.reshape(tall, _BLOCK, wide, _BLOCK, 3).transpose(1, 3, 0, 2, 4).reshape(_BLOCK * _BLOCK, -1)
    fading = np.float32((1 / _MEMORY) ** (1 / (_MEMORY - 1)))
    faded = np.float32(fading**_MEMORY)
    memory = np.zeros((_MEMORY, blocks.shape[1]), np.float32)
    carried = np.zeros(blocks.shape[1], np.float32)
    few = np.empty_like(blocks)
    for turn, place in enumerate(_hilbert().tolist()):
        few[place] = _nearest(blocks[place] + carried, steps)
        # The newest error counts whole, each older one less by the same factor, and one of too long ago not at all.
        error = memory[turn % _MEMORY]
        carried *= fading
        carried -= faded * error
        np.subtract(blocks[place], few[place], out=error)
        carried += error
    squares = few.reshape(_BLOCK, _BLOCK, tall, wide, 3).transpose(2, 0, 3, 1, 4)
    return squares.reshape(tall * _BLOCK, wide * _BLOCK, 3)[:height, :width]


@functools.cache
def _hilbert() -> _Indices:
    """Places of a block's pixels along Hilbert's curve."""
    places = np.zeros(1, np.intp), np.zeros(1, np.intp)
    side = 1
    while side < _BLOCK:
        x, y = places
        places = (
            np.concatenate([y, x, x + side, 2 * side - 1 - y]),
            np.concatenate([x, y + side, y + side, side - 1 - x]),
        )
        side *= 2
    return places[1] * _BLOCK + places[0]


@functools.cache
def _bayer() -> Planes:
    """Thresholds of 8 x 8 pixels, in (0, 1)."""
    found = np.zeros((1, 1), np.float32)
    grow: Callable[[Planes], Planes] = lambda part: np.block([[4 * part, 4 * part + 2], [4 * part + 3, 4 * part + 1]])  # noqa: E731
    for _ in range(3):
        found = grow(found)
    return np.asarray((found + 0.5) / 64, np.float32)
