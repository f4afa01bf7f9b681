"""Operations that add noise of other kinds than white Gaussian noise: even, multiplied, in clouds, apart in colour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from degrade_kit import kernels
from degrade_kit.canvas import Canvas
from degrade_kit.linear import Planes
from degrade_kit.noise import normals, uniforms
from degrade_kit.op_tools import Seat, add_noise_field, from_chroma


@dataclass(frozen=True, kw_only=True, slots=True)
class UniformNoise:
    """White noise whose values are equally likely within a range, as an even quantiser leaves it; clips to [0, 255].

    Source: Widrow, Kollar and Liu, "Statistical theory of quantization" (IEEE TIM 1996).
    """

    name: ClassVar[str] = "uniform_noise"
    level: float
    """Largest change, 0..255 scale; the standard deviation is this over the root of 3."""
    gray: bool = False
    """One field for the three channels."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the noise to the canvas."""
        shape = (1 if self.gray else 3, canvas.height, canvas.width)
        add_noise_field(canvas, uniforms(shape, seat.bits(), self.level))


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeckleNoise:
    """Noise that multiplies: the image times 1 + n, with n normal; clips to [0, 255].

    Source: Jain, "Fundamentals of digital image processing" (1989), 8.13, speckle of coherent light; the `speckle` of
    ImageNet-C, Hendrycks and Dietterich (ICLR 2019).
    """

    name: ClassVar[str] = "speckle_noise"
    level: float
    """Standard deviation of n."""
    gray: bool = False
    """One n for the three channels of a pixel."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the noise to the canvas, as factors."""
        planes = canvas.take_planes()
        np.clip(planes, 0, 255, out=planes)
        factors = normals((1 if self.gray else 3, canvas.height, canvas.width), seat.bits(), self.level)
        factors += 1
        planes *= factors
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))


@dataclass(frozen=True, kw_only=True, slots=True)
class PerlinNoise:
    """Clouds of gradient noise in several octaves: stains, smoke, uneven paper and development; clips to [0, 255].

    Sources: Perlin, "An image synthesizer" (SIGGRAPH 1985) and "Improving noise" (SIGGRAPH 2002), its fifth-order fade.
    """

    name: ClassVar[str] = "perlin_noise"
    level: float
    """Standard deviation far from the grid's period, 0..255 scale."""
    period: float
    """Side of a cell of the coarsest octave, share of the image's shorter side."""
    octaves: int = 1
    """Each further one has half the period and `persistence` times the height."""
    persistence: float = 0.5
    gray: bool = True
    """One field for the three channels."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the clouds to the canvas."""
        add_noise_field(canvas, self.field(canvas.height, canvas.width, seat) * np.float32(self.level))

    def field(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw the clouds, shape (1 or 3, height, width), of standard deviation 1."""
        rng = np.random.Generator(seat.bits())
        side = min(height, width) * self.period
        heights = [self.persistence**octave for octave in range(self.octaves)]
        unit = _GRADIENT_DEVIATION * math.sqrt(sum(value**2 for value in heights))
        found = np.zeros((1 if self.gray else 3, height, width), np.float32)
        for plane in found:
            for octave, value in enumerate(heights):
                plane += np.float32(value / unit) * _gradient_noise(height, width, max(side / 2**octave, 1.0), rng)
        return found


_GRADIENT_DEVIATION = 0.215
"""Standard deviation of gradient noise of unit gradients, over many cells."""


def _gradient_noise(height: int, width: int, period: float, rng: np.random.Generator) -> Planes:
    """Draw one octave, shape (height, width); only the numbers of `rng.random`, whose stream NumPy keeps."""
    (down, steep_y), (right, steep_x) = (_corners(side, period) for side in (height, width))
    angles = rng.random((down.shape[1], right.shape[1])) * (2 * math.pi)
    # Each pixel is the sum of its cell's four slopes, weighted along both axes: a product of matrices.
    along_x = down @ np.cos(angles).astype(np.float32) @ steep_x.T
    along_y = steep_y @ np.sin(angles).astype(np.float32) @ right.T
    return np.asarray(along_x + along_y, np.float32)


def _corners(side: int, period: float) -> tuple[Planes, Planes]:
    """Weights of an axis' grid points for each pixel, and the same times the pixel's distance from them."""
    places = (np.arange(side) + 0.5) / period
    cells = places.astype(np.intp)
    inside = (places - cells).astype(np.float32)
    fade = inside**3 * (inside * (inside * 6 - 15) + 10)
    weights, slopes = (np.zeros((side, int(cells[-1]) + 2), np.float32) for _ in range(2))
    for next_, weight in enumerate((1 - fade, fade)):
        weights[np.arange(side), cells + next_] = weight
        slopes[np.arange(side), cells + next_] = weight * (inside - next_)
    return weights, slopes


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrelatedNoise:
    """Noise of luma and of colour apart, in grains of several pixels or in streaks; clips to [0, 255].

    So is what demosaicing, denoising and chroma subsampling leave of a sensor's noise: blotches of colour, larger than
    the grain of luma. Sources: Nam et al., "A holistic approach to cross-channel image noise modeling" (CVPR 2016); as
    `y_noise`, `uv_noise`, `scale` and `motion` of WTP Dataset Destroyer and RealRestorer's granular noise.
    """

    name: ClassVar[str] = "correlated_noise"
    luma: float
    """Standard deviation of luma, 0..255 scale."""
    chroma: float
    """The same of Cb and Cr each."""
    size: float = 0.0
    """Standard deviation of a grain's shape, pixels."""
    length: float = 0.0
    """Length of streaks, pixels."""
    angle: float = 0.0
    """Direction of the streaks, radians."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the noise to the canvas."""
        fields = normals((3, canvas.height, canvas.width), seat.bits())
        grain = self.grain()
        if grain.size > 1:
            fields = np.stack([np.asarray(cv2.filter2D(one, -1, grain), np.float32) for one in fields])
        fields[0] *= np.float32(self.luma)
        fields[1:] *= np.float32(self.chroma)
        add_noise_field(canvas, from_chroma(fields))

    def grain(self) -> kernels.Kernel:
        """Make the shape of a grain, whose squares sum to 1, so that the noise keeps its deviation."""
        streak = kernels.motion(2 * math.ceil(self.length / 2) + 1, self.length, self.angle)
        radius = math.ceil(3 * self.size) if self.size > 0.2 else 0
        grain = np.pad(streak, radius)
        if radius:
            taps = kernels.gaussian_taps(2 * radius + 1, self.size)
            grain = np.asarray(cv2.sepFilter2D(grain, -1, taps, taps, borderType=cv2.BORDER_CONSTANT), np.float64)
        return grain / math.sqrt(float((grain**2).sum()))
