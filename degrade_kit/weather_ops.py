"""Operations of weather and of light: darkness, rain, snow, haze by depth, glare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from degrade_kit.canvas import Canvas
from degrade_kit.linear import Planes
from degrade_kit.op_tools import Seat, from_linear, luma, to_linear
from degrade_kit.strokes import Floats, Strokes, draw_strokes, grid, smooth_field

_FARTHEST = 4.0
"""Distance of the last drops and flakes that are seen one by one, where the nearest are at 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LowLight:
    """Too little light: luma becomes beta * (alpha * luma) ** gamma, so that what was dark is black.

    Source: Lv, Li and Lu, "Attention guided low-light image enhancement with a large scale low-light simulation
    dataset" (IJCV 2021). There each channel has the curve, which turns skin red; here they keep their proportions, as
    they do where there is less light.
    """

    name: ClassVar[str] = "low_light"
    gamma: float
    """Exponent, 1 and more."""
    alpha: float = 1.0
    beta: float = 1.0
    """Factors behind and in front of the exponent, in [0, 1]."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Darken the canvas; clips to [0, 255]."""
        del seat
        planes = canvas.take_planes()
        np.clip(planes, 0, 255, out=planes)
        # The curve over its argument: beta * alpha ** gamma * luma ** (gamma - 1).
        gain = np.asarray(cv2.pow(luma(planes) * np.float32(1 / 255), self.gamma - 1), np.float32)
        gain *= np.float32(self.beta * self.alpha**self.gamma)
        planes *= gain.reshape(planes.shape[1:])
        canvas.set_planes(planes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rain:
    """Streaks of falling drops, and the veil of those too far to be seen one by one.

    A drop that is twice as far is half as long, half as wide and half as bright, and there are more of them. Sources:
    Garg and Nayar, "Vision and rain" (IJCV 2007), for what a drop looks like; Yang et al., "Deep joint rain detection
    and removal from a single image" (CVPR 2017), equation 5: transmission * (image + streaks) + (1 - transmission) *
    light of the air.
    """

    name: ClassVar[str] = "rain"
    drops: int
    """Streaks in a square of the image's shorter side."""
    length: float
    """Length of the nearest drop's streak, share of the shorter side."""
    angle: float
    """Turn of the streaks from straight down, radians, counter-clockwise."""
    brightness: float
    """What the nearest drop adds, share of white."""
    veil: float
    """Share of the air's light, which is a bright gray."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the streaks and the veil; clips to [0, 255]."""
        planes = canvas.take_planes()
        cover = self.cover(canvas.height, canvas.width, seat)
        planes += np.float32(255) * cover
        planes *= np.float32(1 - self.veil)
        planes += np.float32(255 * 0.75 * self.veil)
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw what the streaks add, shape (height, width), share of white."""
        places, distances, turns = _particles(np.random.Generator(seat.bits()), self.drops, height, width)
        lines = _lines(places, self.length / distances, self.angle + 0.06 * turns)
        return draw_strokes(
            [Strokes(lines, 0.006 / distances, self.brightness / distances)], height, width, soften=0.0012
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Snow:
    """Falling flakes, out of focus where they are near, and the white veil of those that are far.

    Source: Liu et al., "DesnowNet: context-aware deep network for snow removal" (TIP 2018), equation 1: flakes cover
    the image by a translucent mask, of several sizes.
    """

    name: ClassVar[str] = "snow"
    flakes: int
    """Flakes in a square of the image's shorter side."""
    radius: float
    """Radius of the nearest flake, share of the shorter side."""
    fall: float
    """Length of the nearest flake's path while the shutter is open, share of the shorter side."""
    angle: float
    """Turn of the paths from straight down, radians, counter-clockwise."""
    opacity: float
    """How much the flakes hide, in [0, 1]."""
    veil: float
    """Share of white that the far snow adds."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Hide the canvas behind the flakes."""
        planes = canvas.take_planes()
        planes *= np.float32(1 - self.veil)
        planes += np.float32(255 * 0.9 * self.veil)
        cover = self.cover(canvas.height, canvas.width, seat)
        planes *= 1 - cover
        planes += np.float32(248) * cover
        canvas.set_planes(planes)

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw how much the flakes hide, shape (height, width), in [0, 1]."""
        places, distances, turns = _particles(np.random.Generator(seat.bits()), self.flakes, height, width)
        lines = _lines(places, self.fall / distances, self.angle + 0.25 * turns)
        widths, values = 2 * self.radius / distances, self.opacity * (0.65 + 0.35 / distances)
        near = distances < 2
        flakes = (Strokes(lines[here], widths[here], values[here]) for here in (near, ~near))
        blurred, sharp = (
            draw_strokes([part], height, width, soften=self.radius * share)
            for part, share in zip(flakes, (0.6, 0.15), strict=True)
        )
        return np.maximum(blurred, sharp)


def _particles(rng: np.random.Generator, count: int, height: int, width: int) -> tuple[Floats, Floats, Floats]:
    """Place particles evenly in the space in front of the camera.

    Returns:
        Their places, shape (particles, 2), in shares of the shorter side; their distances; and numbers in [-1, 1].
    """
    extent = np.array([width, height]) / min(height, width)
    draws = rng.random((round(count * extent[0] * extent[1]), 4))
    # Of equally many in each cubic metre, those between z and z + dz grow with z squared.
    distances = (1 + (_FARTHEST**3 - 1) * draws[:, 2]) ** (1 / 3)
    return (1.2 * draws[:, :2] - 0.1) * extent, distances, 2 * draws[:, 3] - 1


def _lines(middles: Floats, lengths: Floats, angles: Floats) -> Floats:
    """Straight lines about their middles, turned counter-clockwise from straight down, shape (lines, 2, 2)."""
    half = 0.5 * lengths[:, None] * np.column_stack([np.sin(angles), np.cos(angles)])
    return np.stack([middles - half, middles + half], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthHaze:
    """Haze that grows with distance: image * t + light * (1 - t), with t = exp(-density * distance).

    The distance is not measured: it is that of a portrait, where head and shoulders are near and what is round them is
    far, as aligned faces are framed, and the air is thicker here and thinner there. Sources: Koschmieder's law, 1924,
    as in RESIDE (Li et al., TIP 2019), which draws a density of 0.6 to 1.8 and a light of 0.7 to 1; Zhang et al.,
    "Towards simulating foggy and hazy images and evaluating their authenticity" (ICONIP 2017), for uneven air.
    """

    name: ClassVar[str] = "depth_haze"
    density: float
    """Density of the air, for the distance of what is farthest, 1."""
    near: float
    """Distance of the face in [0, 1]."""
    light: float
    """Light of the air, share of white."""
    warmth: float = 0.0
    """How much redder it is than blue, share of white; haze is bluish, smog yellowish."""
    patches: float = 0.0
    """Standard deviation of the air's density from place to place, as a share."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Put the haze before the picture."""
        planes = canvas.take_planes()
        hidden = self.cover(canvas.height, canvas.width, seat)
        planes *= 1 - hidden
        for plane, tint in zip(planes, (0.5, 0.0, -0.5), strict=True):
            plane += np.float32(255 * min(max(self.light + tint * self.warmth, 0.0), 1.0)) * hidden
        canvas.set_planes(planes)

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw the share of the air's light, shape (height, width), in [0, 1]."""
        thickness = np.float32(self.near) + np.float32(1 - self.near) * _background(height, width)
        air = smooth_field(height, width, 4, seat.bits()) * np.float32(self.patches)
        return 1 - np.exp(np.float32(-self.density) * thickness * np.clip(1 + air, 0.2, None))


def _background(height: int, width: int) -> Planes:
    """How far behind the person it is, 0 to 1: an ellipse for the head, wider below for the shoulders."""
    x, y = grid(height, width)
    side = min(height, width)
    across, down = x - np.float32(0.5 * width / side), y - np.float32(0.5 * height / side)
    half = np.float32(0.36) + np.clip(down - np.float32(0.18), 0, None) * np.float32(1.1)
    # Below the chin the body goes on to the edge.
    along = np.where(down < 0, down / np.float32(0.52), down * np.float32(0.2))
    distance = np.sqrt((across / half) ** 2 + along**2)
    rise = np.clip((distance - np.float32(0.85)) / np.float32(0.3), 0, 1)
    return np.asarray(rise * rise * (3 - 2 * rise), np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Glare:
    """A lamp or the sun in or beside the picture: its glow, the star of the aperture and the veil over all of it.

    It adds in linear light. Sources: Spencer et al., "Physically-based glare effects for digital images" (SIGGRAPH
    1995), for a glow that falls with the square of the distance; Wu et al., "How to train neural networks for flare
    removal" (ICCV 2021), for scattering flare by addition.
    """

    name: ClassVar[str] = "glare"
    strength: float
    """Light of the glow at its middle, share of white."""
    across: float
    """Place of the light, share of the width from the left; below 0 and above 1 it is outside."""
    down: float
    """The same, share of the height from the top."""
    spread: float
    """Distance at which the glow is half as strong, share of the shorter side."""
    rays: int = 0
    """Points of the star; 0 for none."""
    turn: float = 0.0
    """Turn of the star, radians."""
    warmth: float = 0.0
    """How much redder than white the light is, in [-1, 1]."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the light; clips to [0, 255]."""
        planes = canvas.take_planes()
        light = to_linear(planes)
        glow = self.cover(canvas.height, canvas.width, seat)
        for plane, tint in zip(light, (1 + 0.3 * self.warmth, 1.0, 1 - 0.5 * self.warmth), strict=True):
            plane += np.float32(tint) * glow
        canvas.set_planes(from_linear(light))

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw the light that is added, shape (height, width), share of white."""
        del seat
        x, y = grid(height, width)
        side = min(height, width)
        right, below = x - np.float32(self.across * width / side), y - np.float32(self.down * height / side)
        distance = np.sqrt(right**2 + below**2) * np.float32(1 / self.spread)
        glow = 1 / (1 + distance**2)
        if self.rays:
            # Half a turn of cosine for each point: narrow spikes that fade as the glow does.
            angle = np.asarray(cv2.phase(np.ascontiguousarray(right), np.ascontiguousarray(below)), np.float32)
            spikes = np.abs(np.cos((angle.reshape(height, width) - np.float32(self.turn)) * np.float32(self.rays / 2)))
            glow += np.float32(0.6) * spikes**40 / (1 + distance)
        return np.asarray(np.float32(self.strength) * glow, np.float32)
