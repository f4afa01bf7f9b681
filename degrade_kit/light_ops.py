"""Operations of light and lens: side light, dark corners, reflections in a pane, bent lines, and things in the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from degrade_kit.canvas import Canvas
from degrade_kit.linear import Planes
from degrade_kit.op_tools import Seat, from_linear, to_linear
from degrade_kit.strokes import Floats, Strokes, draw_strokes, grid, smooth_field


@dataclass(frozen=True, kw_only=True, slots=True)
class UnevenLight:
    """Light from one side: the other lies in shadow, in linear light.

    Source: ISO/IEC 29794-5:2025, 7.3.3, illumination uniformity; as in ofiq-syngen, a ramp to the power of 1.5.
    """

    name: ClassVar[str] = "uneven_light"
    strength: float
    """Share of the light that the darkest place lacks."""
    angle: float
    """Where the shadow lies, radians from the right, counter-clockwise."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Shade the canvas; clips to [0, 255]."""
        _dim(canvas, 1 - self.cover(canvas.height, canvas.width, seat))

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """How much light is missing, shape (height, width), in [0, 1]."""
        del seat
        x, y = grid(height, width)
        along = x * np.float32(math.cos(self.angle)) - y * np.float32(math.sin(self.angle))
        low, high = along.min(), along.max()
        ramp = (along - low) / max(high - low, np.float32(1e-6))
        return np.float32(self.strength) * ramp * np.sqrt(ramp)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vignette:
    """Dark corners of a lens: light falls as the fourth power of the cosine of its angle to the axis.

    Source: Goldman, "Vignette and exposure calibration and compensation" (PAMI 2010), the cosine law; any strength.
    """

    name: ClassVar[str] = "vignette"
    strength: float
    """Share of the light that a corner lacks, in [0, 1)."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Darken the corners; clips to [0, 255]."""
        _dim(canvas, 1 - self.cover(canvas.height, canvas.width, seat))

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """How much light is missing, shape (height, width), in [0, 1]."""
        del seat
        x, y = _about(height, width)
        slope = 1 / math.sqrt(1 - min(self.strength, 0.9999)) - 1
        return np.asarray(1 - 1 / (1 + slope * (x**2 + y**2)) ** 2, np.float32)


def _about(height: int, width: int) -> tuple[Floats, Floats]:
    """Places about the middle, in half diagonals: x of shape (1, width), y of shape (height, 1)."""
    half = math.hypot(height, width) / 2
    x, y = ((np.arange(side, dtype=np.float64) - (side - 1) / 2) / half for side in (width, height))
    return x[None], y[:, None]


def _dim(canvas: Canvas, gains: Planes) -> None:
    """Multiply the light of the canvas."""
    light = to_linear(canvas.planes())
    light *= gains
    canvas.set_planes(from_linear(light))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reflection:
    """What a pane in front of the scene shows of the room behind the camera: windows and lamps, soft, and doubled.

    The pane's two faces show it twice, a little apart. Light adds up. Sources: Shih et al., "Reflection removal using
    ghosting cues" (CVPR 2015), equation 1; Fan et al., "A generic deep architecture for single image reflection removal
    and image smoothing" (ICCV 2017), blurred reflections. The room is drawn from the seed: no second picture is needed.
    """

    name: ClassVar[str] = "reflection"
    strength: float
    """Light of the brightest window in the pane, share of white in linear light."""
    blur: float
    """Standard deviation of the room's blur, share of the image's shorter side."""
    right: float = 0.0
    """How far the second image lies from the first, share of the shorter side."""
    down: float = 0.0
    warmth: float = 0.0
    """-1 for daylight, blue, to 1 for lamps, yellow."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the room's light; clips to [0, 255]."""
        light = to_linear(canvas.planes())
        tint = (1 + 0.3 * self.warmth, 1.0, 1 - 0.4 * self.warmth)
        cover = self.cover(canvas.height, canvas.width, seat)
        for plane, factor in zip(light, tint, strict=True):
            plane += np.float32(factor) * cover
        canvas.set_planes(from_linear(light))

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw the light that is added, shape (height, width), share of white in linear light."""
        rng = np.random.Generator(seat.bits())
        wide, tall = width / min(height, width), height / min(height, width)
        windows = self._windows(rng, wide, tall)
        soften = max(self.blur, 0.002)
        panes = draw_strokes([windows], height, width, soften)
        room = np.clip(0.5 + 0.5 * smooth_field(height, width, 3.0, seat.inner(0).bits()), 0, 1)
        first = 0.8 * panes + 0.2 * room.astype(np.float32)
        side = min(height, width)
        matrix = np.array([[1, 0, self.right * side], [0, 1, self.down * side]], np.float64)
        second = cv2.warpAffine(first, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        both = cv2.addWeighted(first, 0.6, np.asarray(second, np.float32), 0.4, 0)
        return np.asarray(both, np.float32).reshape(height, width) * np.float32(self.strength)

    @staticmethod
    def _windows(rng: np.random.Generator, wide: float, tall: float) -> Strokes:
        """Up to three windows of two panes each, leaning a little."""
        places = rng.random((3, 7))
        corners, values = list[Floats](), list[float]()
        for x, y, half, high, lean, light, there in places:
            if corners and there < 0.4:
                continue
            half, high = 0.06 + 0.14 * half, 0.12 + 0.25 * high
            turn = np.array([1.0, 0.25 * (lean - 0.5)]), np.array([0.0, 1.0])
            for left, right in ((-1.0, -0.06), (0.06, 1.0)):
                square = [
                    np.array([x * wide, y * tall]) + half * across * turn[0] + high * down * turn[1]
                    for across, down in ((left, -1.0), (right, -1.0), (right, 1.0), (left, 1.0))
                ]
                corners.append(np.stack(square))
                values.append(0.5 + 0.5 * float(light))
        return Strokes(np.stack(corners), np.zeros(len(corners)), np.array(values))


@dataclass(frozen=True, kw_only=True, slots=True)
class LensDistortion:
    """Straight lines that a lens bends: radii grow by the factor 1 + bend r^2, r = 1 at a corner.

    The picture is enlarged or reduced so that it just fills its frame.

    Source: Brown, "Decentering distortion of lenses" (Photogrammetric Engineering 1966), its first radial term.
    """

    name: ClassVar[str] = "lens_distortion"
    bend: float
    """Above 0 a barrel, whose corners stay; below 0 a pincushion, whose nearest edges do."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Warp the canvas, edges kept inside."""
        del seat
        planes = canvas.take_planes()
        height, width = planes.shape[1:]
        x, y = _about(height, width)
        factors = (1 + self.bend * (x**2 + y**2)) / self._fitting(height, width)
        half = math.hypot(height, width) / 2
        across = (x * factors * half + (width - 1) / 2).astype(np.float32)
        down = (y * factors * half + (height - 1) / 2).astype(np.float32)
        for plane in planes:
            plane[...] = cv2.remap(plane, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        canvas.set_planes(planes)

    def _fitting(self, height: int, width: int) -> float:
        nearest = min(height, width) / math.hypot(height, width)
        return 1 + self.bend * (1.0 if self.bend > 0 else nearest**2)

    def moved(self, x: float, y: float, height: int, width: int) -> tuple[float, float]:
        """Say where a point of the image comes to lie, pixels."""
        half = math.hypot(height, width) / 2
        across, down = (x - (width - 1) / 2) / half, (y - (height - 1) / 2) / half
        wanted, fitting = math.hypot(across, down), self._fitting(height, width)
        radius = wanted
        for _ in range(20):  # Newton's method, on a function that grows
            error = radius * (1 + self.bend * radius**2) - wanted * fitting
            radius -= error / (1 + 3 * self.bend * radius**2)
        factor = radius / wanted if wanted else 1.0
        return across * factor * half + (width - 1) / 2, down * factor * half + (height - 1) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Occlusion:
    """Patches that hide the picture: a hand, a sticker, a torn corner, all of one colour each.

    Sources: Zhong et al., "Random erasing data augmentation" (AAAI 2020); ISO/IEC 29794-5:2025, 7.4.7, face occlusion.
    """

    name: ClassVar[str] = "occlusion"
    count: int
    """Patches."""
    size: float
    """Side of the largest one, share of the image's shorter side; the others have half of it and more."""
    ellipses: bool = False
    """In place of rectangles."""
    opacity: float = 1.0
    """How much they hide, in [0, 1]."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Hide parts of the canvas."""
        planes = canvas.take_planes()
        height, width = canvas.height, canvas.width
        patches, colours = self._patches(seat, height, width)
        for points, colour in zip(patches, colours, strict=True):
            cover = self._drawn(points[None], height, width)
            planes *= 1 - cover
            planes += colour.astype(np.float32).reshape(3, 1, 1) * cover
        canvas.set_planes(planes)

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw what is hidden, shape (height, width), in [0, 1]."""
        return self._drawn(self._patches(seat, height, width)[0], height, width)

    def _drawn(self, patches: Floats, height: int, width: int) -> Planes:
        areas = Strokes(patches, np.zeros(len(patches)), np.full(len(patches), self.opacity))
        return draw_strokes([areas], height, width)

    def _patches(self, seat: Seat, height: int, width: int) -> tuple[Floats, Floats]:
        """Outlines, shape (count, 32, 2), in shares of the shorter side, and colours, shape (count, 3), 0..255."""
        draws = np.random.Generator(seat.bits()).random((self.count, 8))
        side = min(height, width)
        middles = draws[:, :2] * np.array([width / side, height / side])
        halves = self.size / 2 * (0.5 + 0.5 * draws[:, 2:4])
        turns = 2 * math.pi * draws[:, 4]
        angles = np.arange(32) * (2 * math.pi / 32)
        unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if not self.ellipses:  # out to the square about the circle
            unit = unit / np.abs(unit).max(axis=1, keepdims=True)
        flat = unit[None] * halves[:, None]
        cos, sin = np.cos(turns)[:, None], np.sin(turns)[:, None]
        turned = np.stack([flat[..., 0] * cos - flat[..., 1] * sin, flat[..., 0] * sin + flat[..., 1] * cos], axis=2)
        return turned + middles[:, None], 255 * draws[:, 5:]
