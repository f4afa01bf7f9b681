"""Operations of screens, of old video, and of pictures with few colours or a stamp on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.camera_ops import demosaic, mosaic
from degrade_kit.canvas import Canvas
from degrade_kit.linear import Planes
from degrade_kit.noise import normals
from degrade_kit.op_tools import Seat, from_linear, to_linear

Fields = Literal["weave", "blend"]

_HARMONICS = 3
MAX_TEXT = 64
"""Letters of a watermark, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScreenCapture:
    """A photograph of a screen: the stripes of its pixels beat with the camera's own, which gives moire.

    Each of the screen's pixels has a red, a green and a blue stripe, and a gap above the next row. A camera that looks
    at them slightly turned, tilted and through a lens that bends lines sees waves whose distance is far larger than a
    pixel's, other ones for each colour, since its sensor takes each colour at other places. The screen's black shines.
    The stripes are taken as the first waves of their Fourier series, weakened by the camera's lens and pixels: what is
    left of them after sampling is the moire.

    Source: Liu, Shu and Wu, "Demoireing of camera-captured screen images using deep convolutional neural network"
    (2018), section 3: stripes, projection, distortion, lens, mosaic, noise, demosaicing.
    """

    name: ClassVar[str] = "screen_capture"
    pitch: float
    """Distance of the screen's pixels, in the camera's pixels; near 1 and 2 the waves are long."""
    contrast: float
    """How much of the stripes the lens lets through, in [0, 1]; 0 where it is out of focus."""
    angle: float = 0.0
    """Turn of the screen, radians."""
    tilt_right: float = 0.0
    """How much smaller the screen's pixels are at the right edge than in the middle, as a share; perspective."""
    tilt_down: float = 0.0
    bend: float = 0.0
    """The same at a corner by the lens, as a share."""
    glow: float = 0.02
    """Light of the screen's black and of what it reflects, share of white in linear light."""
    noise: float = 0.0
    """Standard deviation of the sensor's noise, share of white in linear light."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Photograph the screen that shows the canvas."""
        planes = canvas.take_planes()
        light = to_linear(planes)
        light *= self.stripes(canvas.height, canvas.width)
        light *= np.float32(1 - self.glow)
        for plane, tint in zip(light, (0.9, 1.0, 1.15), strict=True):  # backlights are bluish
            plane += np.float32(tint * self.glow)
        raw = mosaic(light)
        if self.noise:
            raw += normals((1, *raw.shape), seat.bits(), self.noise)[0]
        canvas.set_planes(from_linear(demosaic(raw, "linear")))

    def stripes(self, height: int, width: int) -> Planes:
        """How bright the screen's pixels look at each of the camera's, shape (3, height, width), mean about 1."""
        x = (np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2))[None]
        y = (np.arange(height, dtype=np.float32) - np.float32((height - 1) / 2))[:, None]
        half = np.float32(max(height, width) / 2)
        # The phase is the integral of the frequency, which grows from the middle to the edges.
        grown = 1 + np.float32(self.tilt_right / 2) * x / half + np.float32(self.tilt_down / 2) * y / half
        grown = grown + np.float32(self.bend / 3) * (x**2 + y**2) / (2 * half**2)
        cos, sin = np.float32(math.cos(self.angle) / self.pitch), np.float32(math.sin(self.angle) / self.pitch)
        across = np.asarray((cos * x + sin * y) * grown, np.float32)
        rows = self._waves(np.asarray((cos * y - sin * x) * grown, np.float32), 0.85)
        return np.stack([self._waves(across - np.float32((colour - 1) / 3), 1 / 3) * rows for colour in range(3)])

    def _waves(self, phase: Planes, lit: float) -> Planes:
        """Light of stripes that are lit over a share of each period about its middle; the phase counts periods."""
        light = np.ones_like(phase)
        for harmonic in range(1, _HARMONICS + 1):
            frequency = harmonic / self.pitch
            # Of a stripe's series, of a lens whose blur has a deviation of a third of a pixel, and of a square pixel.
            weight = 2 * _sinc(harmonic * lit) * math.exp(-2 * (math.pi * frequency / 3) ** 2) * _sinc(frequency * 0.7)
            light += np.float32(self.contrast * weight) * np.cos(np.float32(2 * math.pi * harmonic) * phase)
        return np.clip(light, 0, None)


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Banding:
    """Few levels for each channel, so that smooth skin and skies turn into steps.

    Source: Tu et al., "BBAND index: a no-reference banding artifact predictor" (ICASSP 2020), for where it comes from:
    coarse quantisation of smooth areas without dither.
    """

    name: ClassVar[str] = "banding"
    levels: int
    """Levels of each channel, black and white included; 256 change nothing."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Round the canvas to the levels."""
        del seat
        planes = canvas.take_planes()
        np.clip(planes, 0, 255, out=planes)
        planes *= np.float32((self.levels - 1) / 255)
        np.rint(planes, out=planes)
        planes *= np.float32(255 / (self.levels - 1))
        canvas.set_planes(planes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pixelate:
    """Square blocks of one colour each, as faces are made unknown, or enlarged without a filter.

    Source: WTP Dataset Destroyer's `pixelate`, as an idea; the mean of each block, as an area filter takes it.
    """

    name: ClassVar[str] = "pixelate"
    block: float
    """Side of a block, pixels; 1 changes nothing."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Average the canvas over blocks."""
        del seat
        planes = canvas.take_planes()
        height, width = planes.shape[1:]
        size = (max(1, round(width / self.block)), max(1, round(height / self.block)))
        for plane in planes:
            few = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)
            cv2.resize(few, (width, height), dst=plane, interpolation=cv2.INTER_NEAREST_EXACT)
        canvas.set_planes(planes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interference:
    """A wave over the whole picture: hum of the mains in analogue video, a flickering lamp before a rolling shutter.

    Source: Gonzalez and Woods, "Digital Image Processing", 5.2.3, periodic noise: a sinusoid that is added.
    """

    name: ClassVar[str] = "interference"
    level: float
    """Amplitude, 0..255 scale."""
    period: float
    """Length of the wave, pixels."""
    angle: float = 0.0
    """Turn of the stripes from level, radians, counter-clockwise."""
    phase: float = 0.0
    """Radians."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the wave; clips to [0, 255]."""
        del seat
        planes = canvas.take_planes()
        unit = 2 * math.pi / self.period
        x = np.arange(canvas.width, dtype=np.float32) * np.float32(unit * math.sin(self.angle))
        y = np.arange(canvas.height, dtype=np.float32)[:, None] * np.float32(unit * math.cos(self.angle))
        planes += np.float32(self.level) * np.sin(x + y + np.float32(self.phase))
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Palette:
    """A few colours for the whole picture, as GIF files have them, with or without error diffusion.

    Sources: Heckbert, "Color image quantization for frame buffer display" (SIGGRAPH 1982), the median cut that chooses
    the colours; Floyd and Steinberg (1976), the diffusion. By Pillow.
    """

    name: ClassVar[str] = "palette"
    colours: int
    """Number of colours, 2 to 256."""
    dither: bool = True

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Reduce the canvas to its colours."""
        del seat
        from PIL import Image  # here, as in degrade_kit.image: it adds a quarter to the import

        pixels = canvas.pixels()
        # Five bits of each channel choose the colours, as in the source: eight take ten times as long.
        coarse = Image.fromarray((pixels & 0xF8) | (pixels >> 5)).quantize(self.colours, Image.Quantize.MEDIANCUT)
        dither = Image.Dither.FLOYDSTEINBERG if self.dither else Image.Dither.NONE
        reduced = Image.fromarray(pixels).quantize(palette=coarse, dither=dither)
        canvas.set_pixels(np.array(reduced.convert("RGB"), np.uint8))


@dataclass(frozen=True, kw_only=True, slots=True)
class Interlace:
    """Two fields of a moving picture in one: the odd rows were taken a fiftieth of a second after the even ones.

    Source: de Haan and Bellers, "Deinterlacing: an overview" (Proceedings of the IEEE 1998): fields put together line
    by line show combs where something moves, and their mean shows it twice.
    """

    name: ClassVar[str] = "interlace"
    right: float
    """How far the picture moves between the fields, pixels."""
    down: float = 0.0
    fields: Fields = "weave"
    """`weave` keeps the lines of both, `blend` averages them."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Put the two fields together."""
        del seat
        planes = canvas.take_planes()
        height, width = planes.shape[1:]
        matrix = np.array([[1, 0, self.right], [0, 1, self.down]], np.float64)
        for plane in planes:
            moved = cv2.warpAffine(plane, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
            if self.fields == "weave":
                plane[1::2] = moved[1::2]
            else:
                cv2.addWeighted(plane, 0.5, np.asarray(moved, np.float32), 0.5, 0, dst=plane)
        canvas.set_planes(planes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Watermark:
    """A text that a photographer, an agency or an application lays over its pictures, half transparent.

    Source: Dekel et al., "On the effectiveness of visible watermarks" (CVPR 2017), equation 1: (1 - opacity) * image +
    opacity * mark.
    """

    name: ClassVar[str] = "watermark"
    text: str
    """Letters of ASCII; the first 64 are drawn."""
    opacity: float
    size: float
    """Height of a capital letter, share of the image's shorter side."""
    across: float = 0.5
    """Place of the text's middle, share of the width from the left."""
    down: float = 0.5
    """The same, share of the height from the top."""
    angle: float = 0.0
    """Turn, radians, counter-clockwise."""
    tiled: bool = False
    """Repeat it over the whole picture."""
    level: int = 255
    """Gray level of the text."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Lay the text over the canvas."""
        planes = canvas.take_planes()
        cover = self.cover(canvas.height, canvas.width, seat)
        planes *= 1 - cover
        planes += np.float32(self.level) * cover
        canvas.set_planes(planes)

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw how much the text hides, shape (height, width), in [0, 1]."""
        del seat
        side = min(height, width)
        fine = min(max(1, math.ceil(512 / side)), 8)
        stamp = _lettering(self.text[:MAX_TEXT], max(4, round(self.size * side * fine)))
        if self.tiled:
            tall = stamp.shape[0]
            stamp = np.pad(stamp, ((2 * tall, 2 * tall), (tall, tall)))
            pair = np.vstack([stamp, np.roll(stamp, stamp.shape[1] // 2, axis=1)])
            reach = 2 * math.hypot(height, width) * fine
            stamp = np.tile(pair, [min(1 + math.ceil(reach / extent), 41) for extent in pair.shape])
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        middle = np.array([stamp.shape[1], stamp.shape[0]]) / 2
        place = np.array([self.across * width, self.down * height]) * fine
        turn = np.array([[cos, sin], [-sin, cos]])
        matrix = np.column_stack([turn, place - turn @ middle])
        sheet = cv2.warpAffine(stamp, matrix, (width * fine, height * fine))
        mask = np.asarray(cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA), np.float32)
        return mask * np.float32(self.opacity / 255)


def _lettering(text: str, capital: int) -> npt.NDArray[np.uint8]:
    """Draw a line of letters of so many pixels' height, shape (height, width), 0..255."""
    font = cv2.FONT_HERSHEY_DUPLEX
    thickness = max(1, round(capital / 9))
    scale = cv2.getFontScaleFromHeight(font, capital, thickness)
    (width, height), below = cv2.getTextSize(text, font, scale, thickness)
    sheet = np.zeros((height + below + 4 * thickness, max(width, 1) + 4 * thickness), np.uint8)
    cv2.putText(sheet, text, (2 * thickness, height + 2 * thickness), font, scale, 255, thickness, cv2.LINE_AA)
    return sheet
