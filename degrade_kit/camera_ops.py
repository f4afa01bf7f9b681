"""Operations of cameras and of what is done to their photographs: light, focus, shake, noise, sharpening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np

from degrade_kit import kernels
from degrade_kit.canvas import Canvas, Convolution
from degrade_kit.linear import Planes
from degrade_kit.noise import normals
from degrade_kit.op_tools import Seat, from_linear, luma, power, to_linear

DenoiseMethod = Literal["bilateral", "nlm", "median"]
Demosaic = Literal["linear", "edge"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tone:
    """How a photograph is lit and developed: exposure, gamma, contrast, white balance and saturation, in this order.

    People in the wild are lit otherwise than in portraits, and this is a large part of what tells them apart.
    """

    name: ClassVar[str] = "tone"
    exposure: float = 0.0
    """Stops: the light is multiplied by 2**exposure, in linear light of a gamma of 2.2."""
    gamma: float = 1.0
    """Exponent on values in [0, 1]; above 1 darkens the middle."""
    contrast: float = 1.0
    """Factor on the distance from the middle gray, 0.5."""
    red: float = 1.0
    """Factor of the red channel, of the white balance."""
    blue: float = 1.0
    saturation: float = 1.0
    """Factor on the distance from luma."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Develop the canvas; clips to [0, 255]."""
        del seat
        planes = canvas.take_planes()
        planes *= np.float32(1 / 255)
        np.clip(planes, 0, 1, out=planes)
        gain = 2.0 ** (self.exposure / 2.2)
        if self.gamma != 1.0:
            planes = power(planes, self.gamma)
        gain **= self.gamma
        # Contrast about the middle, then the channels' factors: one affine map for each channel.
        for plane, factor in zip(planes, (self.red, 1.0, self.blue), strict=True):
            plane *= np.float32(255 * gain * self.contrast * factor)
            plane += np.float32(255 * 0.5 * (1 - self.contrast) * factor)
        if self.saturation != 1.0:
            gray = luma(planes)
            gray *= np.float32(1 - self.saturation)
            planes *= np.float32(self.saturation)
            planes += gray
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Defocus:
    """Blur of a lens out of focus: a disk whose edge is smoothed by half a pixel. See `degrade_kit.kernels.disk`."""

    name: ClassVar[str] = "defocus"
    radius: float
    """Radius of the circle of confusion, in pixels."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note the blur on the canvas."""
        del seat
        canvas.linear(Convolution(kernels.trim(kernels.disk(self.radius))))


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraShake:
    """Blur along the path of a hand that moves while the shutter is open; the path follows from the seed.

    Source: Boracchi and Foi, "Modeling the performance of image restoration from motion blur" (IEEE TIP 2012): a path
    with inertia, a pull back to where it began, and random impulses.
    """

    name: ClassVar[str] = "camera_shake"
    length: float
    """Length of the path, in pixels."""
    curl: float = 0.5
    """0 for a straight path, 1 for one that turns all the time."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note the blur on the canvas."""
        canvas.linear(Convolution(kernels.trim(kernels.path(self.length, self.curl, np.random.Generator(seat.bits())))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Aberration:
    """Colour fringes of a lens that enlarges red, green and blue by different factors, the more the farther out.

    Source: Kang, "Automatic removal of chromatic aberration from a single image" (CVPR 2007), lateral aberration.
    """

    name: ClassVar[str] = "aberration"
    red: float
    """How far the red picture reaches beyond the green one at a corner, share of the half diagonal."""
    blue: float

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Enlarge red and blue about the middle."""
        del seat
        planes = canvas.take_planes()
        height, width = planes.shape[1:]
        middle = np.array([width - 1, height - 1]) / 2
        for plane, reach in ((planes[0], self.red), (planes[2], self.blue)):
            if reach:
                matrix = np.column_stack([np.eye(2) * (1 + reach), -reach * middle])
                plane[...] = cv2.warpAffine(plane, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        canvas.set_planes(planes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Isp:
    """What a camera's sensor and its processor do: shot and read noise on the mosaic of colour filters, demosaicing.

    The image is taken back to linear light and to the sensor's own colours, sampled as a Bayer mosaic, made noisy in
    proportion to its light, and developed again. So the noise is stronger where it is bright in linear light, larger in
    red and blue, and correlated between neighbours, as in photographs.

    Source: Brooks et al., "Unprocessing images for learned raw denoising" (CVPR 2019), its noise model.
    """

    name: ClassVar[str] = "isp"
    shot: float
    """Variance of the noise for each unit of light, light being in [0, 1]; cameras: 0.0001 (bright) to 0.012 (dark)."""
    read: float
    """Variance of the noise where there is no light."""
    red: float = 2.0
    """Gain of the white balance for red."""
    blue: float = 1.7
    demosaic: Demosaic = "linear"
    """`edge` follows edges, as most cameras do."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Take the picture on the canvas again; clips to [0, 255]."""
        planes = canvas.take_planes()
        light = to_linear(planes)
        light[0] /= np.float32(self.red)
        light[2] /= np.float32(self.blue)
        raw = mosaic(light)
        noise = normals((1, *raw.shape), seat.bits())[0]
        raw += noise * np.sqrt(np.float32(self.shot) * raw + np.float32(self.read))
        colours = demosaic(raw, self.demosaic)
        colours[0] *= np.float32(self.red)
        colours[2] *= np.float32(self.blue)
        canvas.set_planes(from_linear(colours))


@dataclass(frozen=True, kw_only=True, slots=True)
class Denoise:
    """A denoiser as cameras, phones and platforms run one: it takes texture away with the noise."""

    name: ClassVar[str] = "denoise"
    method: DenoiseMethod
    """`bilateral`, `nlm` (non-local means) or `median`."""
    strength: float
    """Bilateral: how different levels may be that are averaged; non-local means: its h. Both on the 0..255 scale.
    Median: side of its square, made odd."""
    radius: float = 2.0
    """Bilateral: standard deviation in pixels of the weight by distance; no other method uses it."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Take noise and texture from the canvas."""
        del seat
        pixels = canvas.pixels()
        if self.method == "bilateral":
            done = cv2.bilateralFilter(pixels, 2 * round(1.5 * self.radius) + 1, self.strength, self.radius)
        elif self.method == "median":
            done = cv2.medianBlur(pixels, 2 * round((self.strength - 1) / 2) + 1) if self.strength > 1 else pixels
        else:
            done = cv2.fastNlMeansDenoisingColored(pixels, None, self.strength, self.strength, 5, 13)
        canvas.set_pixels(np.asarray(done, np.uint8))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharpen:
    """Unsharp masking: the image plus `amount` times what a Gaussian blur of `radius` takes away; clips to [0, 255].

    A small radius sharpens as cameras do, a large one draws halos round edges.
    """

    name: ClassVar[str] = "sharpen"
    amount: float
    radius: float
    """Standard deviation of the blur, in pixels."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Sharpen the image on the canvas."""
        del seat
        planes = canvas.take_planes()
        for plane in planes:
            blurred = np.asarray(cv2.GaussianBlur(plane, (0, 0), self.radius), np.float32)
            cv2.addWeighted(plane, 1 + self.amount, blurred, -self.amount, 0, dst=plane)
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))


def mosaic(light: Planes) -> Planes:
    """What a sensor with the filters R G / G B sees, shape (height, width)."""
    raw = light[1].copy()
    raw[0::2, 0::2] = light[0, 0::2, 0::2]
    raw[1::2, 1::2] = light[2, 1::2, 1::2]
    return raw


def demosaic(raw: Planes, method: Demosaic) -> Planes:
    """Colours of each pixel from its neighbours, shape (3, height, width)."""
    # OpenCV names a pattern by the second row's pixels: BG is R G / G B. Its edge-aware method needs 8 or 16 bits; the
    # margin keeps what noise took below black or above white.
    code = cv2.COLOR_BayerBG2RGB_EA if method == "edge" else cv2.COLOR_BayerBG2RGB
    margin = 4
    padded = cv2.copyMakeBorder(raw, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    whole = np.clip(padded * np.float32(52000) + np.float32(6500.5), 0, 65535).astype(np.uint16)
    colours = np.asarray(cv2.cvtColor(whole, code), np.float32)[margin:-margin, margin:-margin]
    return np.ascontiguousarray((colours - np.float32(6500)) / np.float32(52000)).transpose(2, 0, 1).copy()
