"""The operations of a record: plain numbers that say exactly what is done to one image.

Each class is one step with nothing left to chance but a noise field, which follows from the record's seed and the
step's place. `steps.py` holds their random counterparts, which draw these. Sizes are in pixels of the image that the
step meets, noise levels on the 0..255 scale that papers print, angles in radians.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, cast

import cv2
import numpy as np

from degrade_kit import kernels
from degrade_kit.camera_ops import Aberration, CameraShake, Defocus, Denoise, Isp, Sharpen, Tone
from degrade_kit.canvas import Canvas, Convolution, Separable
from degrade_kit.codec_ops import Avif, Heic, Jpeg, WebP
from degrade_kit.colour_ops import ChannelShift, ChromaSubsampling, Dither, Levels
from degrade_kit.edge_ops import BoxBlur, Halo, Outline
from degrade_kit.errors import ConfigError
from degrade_kit.frame_ops import Frame, Unframe
from degrade_kit.light_ops import LensDistortion, Occlusion, Reflection, UnevenLight, Vignette
from degrade_kit.linear import AxisBlur, AxisDecimate, AxisResize, Filter, Planes
from degrade_kit.network_ops import FlipNetImage, NetworkCall, Segments
from degrade_kit.noise import normals, poisson_noise
from degrade_kit.noise_ops import CorrelatedNoise, PerlinNoise, SpeckleNoise, UniformNoise
from degrade_kit.op_tools import Seat, add_noise_field, luma
from degrade_kit.print_ops import Creases, Dust, Fade, FilmGrain, Halftone, Scratches, Sepia
from degrade_kit.screen_ops import Banding, Interference, Interlace, Palette, Pixelate, ScreenCapture, Watermark
from degrade_kit.upscale_ops import AiUpscale
from degrade_kit.video_ops import Video
from degrade_kit.weather_ops import DepthHaze, Glare, LowLight, Rain, Snow

KernelKind = Literal[
    "iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"
]  # the names of basicsr's `random_mixed_kernels`

MAX_SIDE = 8192
"""Largest side that an operation may ask for, in pixels: a record of somebody else's must not fill the memory."""

Jitter = Literal["brightness", "contrast", "saturation", "hue"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Blur:
    """Correlation with a kernel of the Gaussian family; see `degrade_kit.kernels`."""

    name: ClassVar[str] = "blur"
    kernel: KernelKind = "iso"
    size: int = 41
    """Odd side of the kernel."""
    sigma_x: float
    sigma_y: float
    """Equal to `sigma_x` in the isotropic kinds."""
    rotation: float = 0.0
    beta: float = 1.0
    """Shape of the generalised and plateau kinds; 1 and unused in the others."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note the blur on the canvas."""
        del seat
        if self.kernel == "iso":
            axis = AxisBlur(kernels.gaussian_taps(self.size, self.sigma_x))
            canvas.linear(Separable(axis, axis))
        else:
            canvas.linear(Convolution(kernels.trim(self.array())))

    def array(self) -> kernels.Kernel:
        """Compute the kernel itself, shape (size, size)."""
        if self.kernel.startswith("generalized"):
            return kernels.generalized_gaussian(self.size, self.sigma_x, self.sigma_y, self.rotation, self.beta)
        if self.kernel.startswith("plateau"):
            return kernels.plateau(self.size, self.sigma_x, self.sigma_y, self.rotation, self.beta)
        return kernels.gaussian(self.size, self.sigma_x, self.sigma_y, self.rotation)


@dataclass(frozen=True, kw_only=True, slots=True)
class SincBlur:
    """Circular low-pass filter; see `degrade_kit.kernels.sinc`."""

    name: ClassVar[str] = "sinc_blur"
    size: int
    cutoff: float

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note the filter on the canvas."""
        del seat
        canvas.linear(Convolution(kernels.trim(kernels.sinc(self.size, self.cutoff))))


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionBlur:
    """Blur along a straight line; see `degrade_kit.kernels.motion`."""

    name: ClassVar[str] = "motion_blur"
    size: int
    length: float
    angle: float

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note the blur on the canvas."""
        del seat
        canvas.linear(Convolution(kernels.trim(kernels.motion(self.size, self.length, self.angle))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Resize:
    """Resampling to HQ side / scale, rounded down, at least one pixel; scale 1 is the full size."""

    name: ClassVar[str] = "resize"
    scale: float
    filter: Filter = "linear"

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"resize: expected a scale above 0, got {self.scale}")

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note the resize on the canvas."""
        del seat
        height, width = (max(1, int(side // self.scale)) for side in canvas.full_size)
        canvas.linear(Separable(AxisResize(height, self.filter), AxisResize(width, self.filter)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ResizeSide:
    """Resampling to a number of pixels: the shorter side becomes `side`, and the shape stays."""

    name: ClassVar[str] = "resize_side"
    side: int
    filter: Filter = "area"

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note the resize on the canvas."""
        del seat
        _resize_by(canvas, self.side / min(canvas.height, canvas.width), self.filter)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescale:
    """Resampling by a factor of the size that the step meets, rounded."""

    name: ClassVar[str] = "rescale"
    factor: float
    filter: Filter = "cubic"

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note the resize on the canvas."""
        del seat
        if self.factor * max(canvas.height, canvas.width) > MAX_SIDE:
            raise ConfigError(
                f"{canvas.width} x {canvas.height} pixels times {self.factor:g} are above {MAX_SIDE} a side; let "
                "`enlarge` and `repost` enlarge less"
            )
        _resize_by(canvas, self.factor, self.filter)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decimate:
    """Gaussian blur, then every `factor`-th pixel, the kernel shifted by (factor - 1) / 2 so that no pixel moves.

    Source: BSRGAN `degradation_bsrgan`, second branch of `downsample2`.
    """

    name: ClassVar[str] = "decimate"
    factor: int
    sigma: float
    size: int = 25

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Note blur and shrink on the canvas."""
        del seat
        axis = AxisDecimate(_shifted_taps(self.size, self.sigma, (self.factor - 1) / 2), self.factor)
        canvas.linear(Separable(axis, axis))


@dataclass(frozen=True, slots=True)
class Clip:
    """Clip to [0, 255]; for published chains that do so after a filter with negative weights."""

    name: ClassVar[str] = "clip"

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Clip the canvas to [0, 255]."""
        del seat
        planes = canvas.take_planes()
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianNoise:
    """White Gaussian noise, then a clip to [0, 255]."""

    name: ClassVar[str] = "gaussian_noise"
    level: float
    """Standard deviation on the 0..255 scale."""
    gray: bool = False
    """One field for the three channels."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the noise to the canvas."""
        shape = (1 if self.gray else 3, canvas.height, canvas.width)
        add_noise_field(canvas, normals(shape, seat.bits(), self.level))


@dataclass(frozen=True, kw_only=True, slots=True)
class CovarianceNoise:
    """Gaussian noise whose channels are correlated, then a clip to [0, 255].

    Source: BSRGAN `add_Gaussian_noise`, third kind.
    """

    name: ClassVar[str] = "covariance_noise"
    covariance: tuple[float, ...]
    """Nine numbers, row by row, 0..255 scale squared; negative eigenvalues, which the source allows, count as zero."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the noise to the canvas."""
        values, vectors = np.linalg.eigh(np.reshape(self.covariance, (3, 3)))
        mixing = (vectors * np.sqrt(np.clip(values, 0, None))).astype(np.float32)
        fields = normals((3, canvas.height * canvas.width), seat.bits())
        add_noise_field(canvas, (mixing @ fields).reshape(3, canvas.height, canvas.width))


@dataclass(frozen=True, kw_only=True, slots=True)
class PoissonNoise:
    """Shot noise, stronger where it is brighter, then a clip to [0, 255]; see `degrade_kit.noise.poisson_noise`."""

    name: ClassVar[str] = "poisson_noise"
    scale: float
    """Multiple of the natural strength."""
    gray: bool = False

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the noise to the canvas."""
        planes = canvas.take_planes()
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))
        image = luma(planes)[None] if self.gray else planes
        add_noise_field(canvas, poisson_noise(image, seat.bits()) * np.float32(self.scale))


@dataclass(frozen=True, kw_only=True, slots=True)
class ImpulseNoise:
    """Single pixels black or white: dead and hot ones, and errors of transmission.

    Source: Gonzalez and Woods, "Digital Image Processing", 5.2.2, salt-and-pepper noise; as in ImageNet-C.
    """

    name: ClassVar[str] = "impulse_noise"
    share: float
    """Share of the pixels, in [0, 1]."""
    white: float = 0.5
    """Share of these that are white."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Set the pixels; clips to [0, 255]."""
        draws = np.random.Generator(seat.bits()).random((canvas.height, canvas.width))
        planes = canvas.take_planes()
        np.clip(planes, 0, 255, out=planes)
        planes[:, draws < self.share] = 0
        planes[:, draws < self.share * self.white] = 255
        canvas.set_planes(planes)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColorShift:
    """A constant added to each channel, then a clip to [0, 255]. Source: GFPGAN `color_jitter`."""

    name: ClassVar[str] = "color_shift"
    red: float
    green: float
    blue: float

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Shift the colours of the canvas."""
        del seat
        shift = np.array([self.red, self.green, self.blue], np.float32).reshape(3, 1, 1)
        planes = canvas.take_planes()
        planes += shift
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))


@dataclass(frozen=True, kw_only=True, slots=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue in the order given. Source: GFPGAN `color_jitter_pt`, torchvision."""

    name: ClassVar[str] = "color_jitter"
    order: tuple[Jitter, ...]
    """A permutation of brightness, contrast, saturation, hue."""
    brightness: float
    """Factor; 1 changes nothing."""
    contrast: float
    """Factor on the distance from the mean gray; 1 changes nothing."""
    saturation: float
    """Factor on the distance from gray; 1 changes nothing, 0 is gray."""
    hue: float
    """Turn of the hue in [-0.5, 0.5] of the circle."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Adjust one after the other; each clips to [0, 255]."""
        del seat
        planes = canvas.take_planes()
        for part in self.order:
            JITTERS[part](planes, getattr(self, part))
            np.clip(planes, 0, 255, out=planes)
        canvas.set_planes(planes)


@dataclass(frozen=True, slots=True)
class Gray:
    """Three equal channels by BT.601 luma."""

    name: ClassVar[str] = "gray"

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Replace the colours by their luma."""
        del seat
        gray = luma(canvas.planes())
        canvas.set_planes(np.stack([gray, gray, gray]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Haze:
    """Blend towards white: image * alpha + 255 * (1 - alpha). Source: RestoreFormer++ `hazy_prob`."""

    name: ClassVar[str] = "haze"
    alpha: float

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Blend the canvas towards white."""
        del seat
        planes = canvas.take_planes()
        planes *= np.float32(self.alpha)
        planes += np.float32(255 * (1 - self.alpha))
        canvas.set_planes(planes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """Move the picture; what moves in mirrors the edge, its pixel repeated. Source: RestoreFormer++ `shift_prob`."""

    name: ClassVar[str] = "shift"
    right: int
    down: int

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Move the picture on the canvas."""
        del seat
        margins = (
            (0, 0),
            (max(self.down, 0), max(-self.down, 0)),
            (max(self.right, 0), max(-self.right, 0)),
        )
        padded = np.pad(canvas.planes(), margins, mode="symmetric")
        top, left = max(-self.down, 0), max(-self.right, 0)
        canvas.set_planes(np.ascontiguousarray(padded[:, top : top + canvas.height, left : left + canvas.width]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Uneven:
    """A square of the image is degraded by `inside`, the rest by `outside`; each must end at the full size.

    Source: RestoreFormer++ `uneven_prob`. Places are shares of the free room, so that a record fits any image size.
    """

    name: ClassVar[str] = "uneven"
    side: float
    """Side of the square as a share of the image's shorter side."""
    left: float
    top: float
    """Place of the square in [0, 1]: 0 at the left or top edge, 1 at the right or bottom one."""
    inside: tuple[Op, ...]
    outside: tuple[Op, ...]

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Degrade the canvas twice and put the square in."""
        for call in self.segments(canvas, seat):
            call.op.run(canvas, call.seat)

    def segments(self, canvas: Canvas, seat: Seat) -> Segments[None]:
        """Do so with a network that answers calls; see `run_segments`."""
        inner, outer = canvas.fork(), canvas.fork()
        yield from run_segments(self.inside, inner, seat.inner(0))
        yield from run_segments(self.outside, outer, seat.inner(1))
        square = (slice(None), *self.square(canvas.height, canvas.width))
        planes = outer.take_planes()
        planes[square] = inner.planes()[square]
        canvas.set_planes(planes)

    def square(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and the columns of the square in an image of this size."""
        side = max(1, round(self.side * min(height, width)))
        top, left = round(self.top * (height - side)), round(self.left * (width - side))
        return slice(top, top + side), slice(left, left + side)


Op: TypeAlias = (
    Blur
    | SincBlur
    | MotionBlur
    | Resize
    | Decimate
    | Clip
    | GaussianNoise
    | CovarianceNoise
    | PoissonNoise
    | Jpeg
    | WebP
    | ColorShift
    | ColorJitter
    | Gray
    | Haze
    | Shift
    | Uneven
    | ResizeSide
    | Rescale
    | Frame
    | Unframe
    | Avif
    | Heic
    | Video
    | AiUpscale
    | Tone
    | Defocus
    | CameraShake
    | Isp
    | Denoise
    | Sharpen
    | FlipNetImage
    | LowLight
    | Rain
    | Snow
    | DepthHaze
    | Glare
    | Scratches
    | Creases
    | Dust
    | Fade
    | Sepia
    | FilmGrain
    | Halftone
    | ScreenCapture
    | Banding
    | Palette
    | Interlace
    | Watermark
    | Aberration
    | ImpulseNoise
    | Pixelate
    | Interference
    | UniformNoise
    | SpeckleNoise
    | PerlinNoise
    | CorrelatedNoise
    | BoxBlur
    | Halo
    | Outline
    | Levels
    | ChannelShift
    | ChromaSubsampling
    | Dither
    | UnevenLight
    | Vignette
    | Reflection
    | LensDistortion
    | Occlusion
)

OPS: dict[str, type[Op]] = {
    op.name: op
    for op in (
        Blur,
        SincBlur,
        MotionBlur,
        Resize,
        Decimate,
        Clip,
        GaussianNoise,
        CovarianceNoise,
        PoissonNoise,
        Jpeg,
        WebP,
        ColorShift,
        ColorJitter,
        Gray,
        Haze,
        Shift,
        Uneven,
        ResizeSide,
        Rescale,
        Frame,
        Unframe,
        Avif,
        Heic,
        Video,
        AiUpscale,
        Tone,
        Defocus,
        CameraShake,
        Isp,
        Denoise,
        Sharpen,
        FlipNetImage,
        LowLight,
        Rain,
        Snow,
        DepthHaze,
        Glare,
        Scratches,
        Creases,
        Dust,
        Fade,
        Sepia,
        FilmGrain,
        Halftone,
        ScreenCapture,
        Banding,
        Palette,
        Interlace,
        Watermark,
        Aberration,
        ImpulseNoise,
        Pixelate,
        Interference,
        UniformNoise,
        SpeckleNoise,
        PerlinNoise,
        CorrelatedNoise,
        BoxBlur,
        Halo,
        Outline,
        Levels,
        ChannelShift,
        ChromaSubsampling,
        Dither,
        UnevenLight,
        Vignette,
        Reflection,
        LensDistortion,
        Occlusion,
    )
}
"""Every operation by the name that a record gives it."""


def libraries_of(ops: Iterable[Op]) -> dict[str, str]:
    """List the libraries beyond the base's that some operations need, with their versions.

    Raises:
        ConfigError: If one is missing, or lacks a codec.
    """
    found: dict[str, str] = {}
    for op in ops:
        if isinstance(op, (Avif, Heic, Video, AiUpscale)):
            found |= op.libraries()
        elif isinstance(op, Uneven):
            found |= libraries_of((*op.inside, *op.outside))
    return found


def _resize_by(canvas: Canvas, factor: float, chosen: Filter) -> None:
    height, width = (max(1, round(side * factor)) for side in (canvas.height, canvas.width))
    canvas.linear(Separable(AxisResize(height, chosen), AxisResize(width, chosen)))


def run_all(ops: tuple[Op, ...], canvas: Canvas, seat: Seat) -> None:
    """Run `ops` in order, each from its own seat inside `seat`."""
    for index, op in enumerate(ops):
        op.run(canvas, seat.inner(index))


def run_segments(ops: tuple[Op, ...], canvas: Canvas, seat: Seat) -> Segments[None]:
    """Run `ops` as `run_all` does, and stop at each that needs a network, to be sent the image that it makes."""
    for index, op in enumerate(ops):
        place = seat.inner(index)
        if isinstance(op, FlipNetImage):
            canvas.set_pixels((yield NetworkCall(op, canvas.pixels(), place)))
        elif isinstance(op, Uneven):
            yield from op.segments(canvas, place)
        else:
            op.run(canvas, place)


def network_calls(ops: tuple[Op, ...]) -> int:
    """Count how often a network is called by these operations, and those inside them."""
    count = 0
    for op in ops:
        if isinstance(op, FlipNetImage):
            count += 1
        elif isinstance(op, Uneven):
            count += network_calls(op.inside) + network_calls(op.outside)
    return count


# The adjustments work in place; the caller clips.


def _brightness(planes: Planes, factor: float) -> None:
    planes *= np.float32(factor)


def _contrast(planes: Planes, factor: float) -> None:
    mean = float(luma(planes).mean(dtype=np.float64))
    planes *= np.float32(factor)
    planes += np.float32((1 - factor) * mean)


def _saturation(planes: Planes, factor: float) -> None:
    gray = luma(planes)
    gray *= np.float32(1 - factor)
    planes *= np.float32(factor)
    planes += gray


def _hue(planes: Planes, turn: float) -> None:
    # OpenCV's float HSV: hue in degrees, the others in the units of the input, so the scale can stay.
    hue, saturation, value = cv2.split(cv2.cvtColor(cv2.merge([*planes]), cv2.COLOR_RGB2HSV))
    hue += np.float32(360 * turn % 360)
    hue[hue >= 360] -= np.float32(360)
    turned = cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2RGB)
    for channel, plane in enumerate(cv2.split(turned)):
        planes[channel] = plane


JITTERS: dict[Jitter, Callable[[Planes, float], None]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}


@functools.lru_cache(maxsize=8)
def _shifted_taps(size: int, sigma: float, shift: float) -> kernels.Kernel:
    """Gaussian taps moved by `shift` pixels to the right through linear interpolation, as BSRGAN's `shift_pixel`."""
    taps = np.pad(kernels.gaussian_taps(size, sigma), size)
    centre = taps.size // 2
    positions = np.clip(np.arange(size) - size // 2 - shift, -(size // 2), size // 2) + centre
    moved = np.interp(positions, np.arange(taps.size), taps)
    return cast(kernels.Kernel, moved / moved.sum())
