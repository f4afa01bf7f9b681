"""What operations of records share: the place that a noise field follows from, noise, codecs and luma."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from degrade_kit.canvas import Canvas
from degrade_kit.linear import Planes
from degrade_kit.noise import bit_stream

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601 weights of red, green and blue, as OpenCV and Pillow make gray."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a step stands: the record's noise seed and the step's position, nested ones having more than one number."""

    seed: int
    position: tuple[int, ...]

    def bits(self) -> np.random.SFC64:
        """Make the bit generator of this step alone."""
        return bit_stream(self.seed, self.position)

    def inner(self, index: int) -> Seat:
        """Return the seat of the `index`-th step inside this one."""
        return Seat(self.seed, (*self.position, index))


def add_noise_field(canvas: Canvas, noise: Planes) -> None:
    """Add a field of shape (3 or 1, height, width) and clip."""
    noisy = np.add(canvas.planes(), noise, out=noise if noise.shape[0] == 3 else None)
    canvas.set_planes(np.clip(noisy, 0, 255, out=noisy))


def luma(planes: Planes) -> Planes:
    """Luma, shape (height, width)."""
    weights = np.array([LUMA], np.float32)
    return (weights @ planes.reshape(3, -1)).reshape(planes.shape[1:])


def to_chroma(planes: Planes) -> Planes:
    """Y, Cb and Cr of red, green and blue, 0..255, the colours about 0; ITU-R BT.601 at full range, as JFIF has it."""
    return (_CHROMA.astype(np.float32) @ planes.reshape(3, -1)).reshape(planes.shape)


def from_chroma(planes: Planes) -> Planes:
    """Red, green and blue of what `to_chroma` gives, not clipped."""
    return (np.linalg.inv(_CHROMA).astype(np.float32) @ planes.reshape(3, -1)).reshape(planes.shape)


_CHROMA = np.array(
    [
        LUMA,
        [-LUMA[0] / 1.772, -LUMA[1] / 1.772, 0.5],
        [0.5, -LUMA[1] / 1.402, -LUMA[2] / 1.402],
    ]
)


def power(planes: Planes, exponent: float) -> Planes:
    """Planes to an exponent, ten times as fast as NumPy; OpenCV would drop an axis of one."""
    return np.asarray(cv2.pow(planes.reshape(3, -1), exponent), np.float32).reshape(planes.shape)


def to_linear(planes: Planes) -> Planes:
    """Linear light in [0, 1] of planes in 0..255, which are clipped. Source: IEC 61966-2-1 (sRGB)."""
    value = np.clip(planes * np.float32(1 / 255), 0, 1)
    curved = power((value + np.float32(0.055)) * np.float32(1 / 1.055), 2.4)
    return np.where(value <= 0.04045, value * np.float32(1 / 12.92), curved).astype(np.float32)


def from_linear(light: Planes) -> Planes:
    """Planes in 0..255 of linear light, which is clipped to [0, 1]."""
    np.clip(light, 0, 1, out=light)
    curved = power(light, 1 / 2.4)
    curved *= np.float32(255 * 1.055)
    curved -= np.float32(255 * 0.055)
    return np.where(light <= 0.0031308, light * np.float32(255 * 12.92), curved).astype(np.float32)
