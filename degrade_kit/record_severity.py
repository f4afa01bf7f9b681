"""How badly a record degrades: a number in [0, 1] that follows from the record alone, so that old data sets have it.

Each operation's numbers give a *strength*, and a table turns it into the distance that it moves images from HQ in the
features of `degrade_kit.analysis.features`. `python -m benchmarks.severity` measures the distances on photographs,
writes the table (severity.json beside this file), and says how well distances that it has not seen follow from it. In
a mixture the strongest of all blurs and shrinks counts, since they take the same detail away; the squares of its
distance and of the other kinds' add up to that of the whole, d, which becomes 1 - exp(-d / 1.6): 0 for HQ, 0.7 for a
usual draw of `gfpgan`. Noise behind a blur hides it from the features; here both count.

    severity(record)      of the whole record
    severities(record)    of each kind in it, by the names of steps
    kinds(record)         which kinds those are
    masks(record, size)   where those are that spoil a part of the image alone
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from degrade_kit import kernels, ops
from degrade_kit.canvas import Canvas
from degrade_kit.files import read_json
from degrade_kit.jpeg_tables import parsed
from degrade_kit.linear import Planes
from degrade_kit.op_tools import Seat, to_chroma
from degrade_kit.record import Record
from degrade_kit.step_base import NOMINAL_SIDE

TABLE: Final = Path(__file__).parent / "severity.json"
"""What the distances are, for each kind: written by `benchmarks.severity`."""

_UNIT: Final = 1.6
"""Distance at which the severity is 1 - 1/e."""
_MIX_POWER: Final = 2.0
"""Distances of a record's kinds are added as their powers of this exponent."""
_DETAIL: Final = frozenset(("blur", "sinc_blur", "motion_blur", "camera_shake", "defocus", "resize"))
"""Kinds that take the same fine detail away: of them only the strongest counts."""

Terms = tuple[float, ...]


def kinds(record: Record) -> tuple[str, ...]:
    """List the kinds of degradation in a record, by the names of steps, sorted; what is too weak to be seen is not one.

    >>> from degrade_kit.ops import Gray, Jpeg, Resize
    >>> kinds(Record(seed=0, steps=(Resize(scale=4.0), Jpeg(quality=60), Resize(scale=1.0))))
    ('jpeg', 'resize')
    """
    return tuple(sorted(severities(record)))


def severities(record: Record, side: int = NOMINAL_SIDE) -> dict[str, float]:
    """Compute the severity of each kind in a record, in (0, 1], by the names of steps, as if it were alone.

    What changes the training target alike, such as a shift, is no degradation.

    Args:
        record: What was done.
        side: Shorter side of HQ, pixels: a record may say how many pixels a face has left, and not of how many.
    """
    return {kind: _to_severity(distance) for kind, distance in _distances(record, side).items() if distance > 0.01}


def severity(record: Record, side: int = NOMINAL_SIDE) -> float:
    """Compute the severity of a whole record, in [0, 1]: 0 where LQ is HQ.

    Args:
        record: What was done.
        side: Shorter side of HQ, pixels, as in `severities`.

    >>> from degrade_kit.ops import Jpeg
    >>> severity(Record(seed=0, steps=())), severity(Record(seed=0, steps=(Jpeg(quality=5),))) > 0.2
    (0.0, True)
    """
    found = _distances(record, side)
    parts = [distance for kind, distance in found.items() if kind not in _DETAIL]
    parts.append(max((distance for kind, distance in found.items() if kind in _DETAIL), default=0.0))
    return _to_severity(_added(parts))


def _to_severity(distance: float) -> float:
    return 1 - math.exp(-distance / _UNIT)


def _added(distances: Iterable[float]) -> float:
    return math.pow(sum(distance**_MIX_POWER for distance in distances), 1 / _MIX_POWER)


def _distances(record: Record, side: int) -> dict[str, float]:
    """Distance from HQ of each kind in a record."""
    found: dict[str, list[float]] = {}
    for op, place in _walk(record.steps, _Place(1.0, 1.0, Seat(record.seed, ()), side)):
        if op not in record.target:
            found.setdefault(op_kind(op), []).append(place.share * distance_of(op, place.scale, place.seat))
    return {kind: _added(distances) for kind, distances in found.items()}


def op_kind(op: ops.Op) -> str:
    """Name the kind of an operation, as recipes do."""
    return "resize" if isinstance(op, _SIZES) else op.name


def distance_of(op: ops.Op, scale: float, seat: Seat) -> float:
    """Read the distance of one operation from the table; 0 for what only moves or prepares.

    Args:
        op: What is done.
        scale: Side of HQ over the side of the image when it is done; of a change of size, the smallest that it was.
        seat: Where it stands in its record: what is drawn from the seed follows from it.
    """
    terms = terms_of(op, scale, seat)
    if terms is None:
        return 0.0
    entry = _table().get(table_key(op))
    if entry is None:
        return 0.0
    strengths, distances = (cast("list[float]", entry[name]) for name in ("strengths", "distances"))
    return float(np.interp(strength(terms, entry), strengths, distances))


def strength(terms: Terms, entry: Mapping[str, Any]) -> float:
    """Weigh an operation's terms into one number: their product of powers, their sum, or the root of their squares'."""
    weights = cast("list[float]", entry["weights"])
    if entry["form"] == "norm":
        return math.sqrt(sum(weight * term**2 for weight, term in zip(weights, terms, strict=True)))
    if entry["form"] == "sum":
        return sum(weight * term for weight, term in zip(weights, terms, strict=True))
    if terms[0] <= 0:
        return -_FAR
    return sum(weight * math.log(max(term, 1e-6)) for weight, term in zip(weights, terms, strict=True))


_FAR: Final = 1e3


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", read_json(TABLE, max_bytes=1 << 20)["kinds"])


_SIZES = (ops.Resize, ops.ResizeSide, ops.Rescale, ops.Frame, ops.Decimate)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an operation is done."""

    scale: float
    share: float
    """Share of the image that it covers."""
    seat: Seat
    side: int


def _walk(steps: tuple[ops.Op, ...], start: _Place) -> Iterator[tuple[ops.Op, _Place]]:
    """Yield what degrades, and where; one operation stands for all changes of size, that of the smallest size."""
    scale = least = start.scale
    for index, op in enumerate(steps):
        seat = start.seat.inner(index)
        place = _Place(scale, start.share, seat, start.side)
        if isinstance(op, ops.Uneven):
            inside = op.side**2
            for part, share, inner in ((op.inside, inside, 0), (op.outside, 1 - inside, 1)):
                yield from _walk(part, _Place(scale, start.share * share, seat.inner(inner), start.side))
        elif isinstance(op, ops.Unframe):
            scale = 1.0
        elif isinstance(op, (ops.Resize, ops.ResizeSide, ops.Frame)):
            scale = op.scale if isinstance(op, ops.Resize) else start.side / op.side
        elif isinstance(op, (ops.Rescale, ops.AiUpscale)):
            scale /= op.factor
        elif isinstance(op, ops.Decimate):
            scale *= op.factor
        least = max(least, scale)
        if isinstance(op, ops.Decimate):
            yield ops.Blur(sigma_x=op.sigma, sigma_y=op.sigma, size=op.size), place
        elif not isinstance(op, (*_SIZES, ops.Unframe, ops.Uneven)):
            yield op, place
    if least > start.scale:
        yield ops.Resize(scale=least), _Place(least, start.share, start.seat, start.side)


# --------------------------------------------------------------------------------------- what the strengths are made of


def table_key(op: ops.Op) -> str:
    """Name the row of the table that an operation has: its kind, or one of several ways to do it."""
    if isinstance(op, ops.Denoise):
        return f"denoise {op.method}"
    if isinstance(op, ops.ChannelShift):
        return f"channel_shift {op.space}"
    if isinstance(op, ops.Video):
        return f"video {op.codec}"
    if isinstance(op, ops.Halftone):
        return f"halftone {op.inks}"
    if isinstance(op, ops.Interlace):
        return f"interlace {op.fields}"
    return op_kind(op)


def terms_of(op: ops.Op, scale: float, seat: Seat) -> Terms | None:
    """Make the terms of an operation's strength, each greater where it degrades more; None for what does not degrade.

    Lengths are in pixels of the full size; see `distance_of`.
    """
    drawn = _DRAWN.get(type(op))
    if drawn is not None:
        return drawn(op, scale, seat)
    make = _TERMS.get(type(op))
    return None if make is None else make(op, scale)


def _blurred(op: ops.Blur) -> float:
    """Extent of a kernel as it is, cut off at its sides; see `_extent`."""
    if op.kernel == "iso":
        taps = kernels.gaussian_taps(op.size, op.sigma_x)
        places = np.arange(taps.size, dtype=np.float64) - taps.size // 2
        return math.sqrt(float(np.sum(taps * places**2)) / float(np.sum(taps)))
    return _extent(op.array())


def _extent(array: kernels.Kernel) -> float:
    """Geometric mean of a kernel's longest and shortest standard deviation, each with 0.3 pixels, which it has not."""
    places = np.arange(array.shape[0], dtype=np.float64) - array.shape[0] // 2
    weights = array / float(np.sum(array))
    across, down = float(np.sum(weights * places**2)), float(np.sum(weights * places[:, None] ** 2))
    both = float(np.sum(weights * places * places[:, None]))
    middle, apart = (across + down) / 2, math.hypot((across - down) / 2, both)
    long, short = (math.sqrt(max(part, 0)) for part in (middle + apart, middle - apart))
    return math.sqrt((0.3 + long) * (0.3 + short)) - 0.3


def _jpeg_steps(op: ops.Jpeg) -> float:
    """How coarse the quantisation is, 1 being the standard's tables as they are, of quality 50."""
    quality = max(op.quality, 1)
    factor = 50 / quality if quality < 50 else 2 - quality / 50
    # Of luma's sixteen lowest frequencies; the standard's have a mean of 14.4.
    coarse = sum(parsed(op.tables)[:16]) / 16 / 30.0 if op.tables else 1.0
    return max(coarse * factor, 1 / 64)


def _video_crf(op: ops.Video) -> float:
    return op.crf if not op.bitrate else min(max(23 - 6 * math.log2(op.bitrate / 0.1), 0), 51)


def _signed(value: float) -> Terms:
    """A number's size where it is above 0, and where it is below."""
    return max(value, 0.0), max(-value, 0.0)


def _colours(op: ops.ColorShift) -> Terms:
    """How much lighter, darker, bluer, yellower, redder and greener it becomes; luma and chroma as JPEG has them."""
    gray = 0.299 * op.red + 0.587 * op.green + 0.114 * op.blue
    return *_signed(gray), *_signed(op.blue - gray), *_signed(op.red - gray)


def _toned(op: ops.Tone | ops.ColorJitter) -> Terms:
    """What an operation makes of a range of skin, hair, gray and cool colours.

    How much lighter and darker they are on average, 1 for 64 levels; and by the logarithm of a factor, more and less
    contrasted, more and less colourful; and how much their Cb and Cr move up and down.
    """
    canvas = Canvas(planes=_COLOURS.copy())
    op.run(canvas, Seat(0, ()))
    before, after = _impression(_COLOURS), _impression(canvas.planes())
    changes = [now - then for now, then in zip(after, before, strict=True)]
    return tuple(part for change in changes for part in _signed(change))


def _impression(planes: Planes) -> tuple[float, ...]:
    light, *colours = to_chroma(planes)
    spread, colourful = float(light.std()), float(np.hypot(*colours).mean())
    places = (float(plane.mean()) / 64 for plane in colours)
    return float(light.mean()) / 64, math.log(max(spread, 1)), math.log(max(colourful, 1)), *places


def _colours_of_faces() -> Planes:
    """Colours of skin, twice, gray, cool light and lips, from dark to light, shape (3, 120, 1)."""
    kinds = np.array([[1.12, 0.95, 0.85], [1.12, 0.95, 0.85], [1, 1, 1], [0.85, 0.97, 1.1], [1.2, 0.8, 0.75]])
    values = np.linspace(0.03, 0.97, 24)
    found = np.clip(kinds[:, None] * values[:, None], 0, 1).reshape(-1, 3)
    return np.ascontiguousarray(255 * found.T[..., None], np.float32)


_COLOURS: Final = _colours_of_faces()


def _dark(op: ops.LowLight) -> float:
    """How much darker middle gray becomes, in stops of its value."""
    return -math.log2(max(op.beta * op.alpha**op.gamma * 0.45 ** (op.gamma - 1), 1e-6))


def _lit(op: ops.Glare) -> float:
    return float(np.minimum(op.cover(16, 16, Seat(0, ())), 1).mean())


def _moire(op: ops.ScreenCapture) -> float:
    """Height of the stripes' first wave behind lens and pixels; see `ops.ScreenCapture`."""
    return 0.05 + op.contrast * math.exp(-2 * (math.pi / op.pitch / 3) ** 2) * float(np.sinc(0.7 / op.pitch))


def _apart(op: ops.ChannelShift, scale: float) -> Terms:
    """How far three channels lie from their mean place, root of the mean square; or Cb and Cr each from luma.

    Colours that lie apart hardly move the features, and a bilinear shift by half a pixel softens them as much: for Cb
    and Cr there are the shifts' logarithms, and what a shift by parts of a pixel softens.
    """
    if op.space == "ycc":
        right, down = (np.subtract(moves[1:], moves[0]) for moves in (op.right, op.down))
        apart = np.log1p(scale * np.hypot(right, down))
        parts = np.mod([op.right[1:], op.down[1:]], 1)
        soft = (parts * (1 - parts)).sum(0)
        return tuple(map(float, (*apart, *soft)))
    return (scale * math.sqrt(float(np.var(op.right) + np.var(op.down))),)


def _dotted(op: ops.Halftone, scale: float) -> Terms:
    """What dots add and the scanner's blur takes away: any print, the dots that are left, fine ones, blur without dots.

    Between the two an image is nearest to HQ: its dots are as strong as the detail that went with them.
    """
    left = math.exp(-2 * (math.pi * op.blur / op.period) ** 2)
    return 1.0, left, left / (op.period * scale), (1 - left) ** 2 * op.blur * scale


def _snowed(op: ops.Snow, cover: float) -> Terms:
    return op.veil, math.sqrt(cover), cover, op.opacity * math.sqrt(op.flakes) / 30


def _covered(op: Any, seat: Seat) -> float:  # noqa: ANN401 (any operation that draws shapes)
    """Share of the image that shapes cover."""
    return float(op.cover(64, 64, seat).mean()) + 1e-6


def _shaken(op: ops.CameraShake, scale: float, seat: Seat) -> float:
    """How much middle frequencies of the full size lose: the mean of minus their logarithms behind the kernel."""
    path = kernels.path(op.length, op.curl, np.random.Generator(seat.bits()))
    side = 128
    left = np.abs(np.fft.fft2(path, (side, side)))
    along = np.abs(np.fft.fftfreq(side))
    radii = np.hypot(along[:, None], along)
    ring = (radii >= min(0.05 * scale, 0.25)) & (radii <= min(0.25 * scale, 0.5))
    return -float(np.log(left[ring] + 1e-3).mean())


def _blended(op: ops.Interlace, scale: float) -> float:
    """The same of low frequencies, of two pictures that lie apart."""
    apart = min(math.hypot(op.right, op.down) * scale, 4.1)
    left = np.abs(np.cos(math.pi * apart * np.linspace(0.02, 0.12, 11)))
    return -float(np.log(left + 1e-3).mean())


_DRAWN: Final[Mapping[type[ops.Op], Callable[[Any, float, Seat], Terms]]] = {
    ops.CameraShake: lambda op, scale, seat: (max(_shaken(op, scale, seat), 0),),
    ops.Rain: lambda op, scale, seat: (_covered(op, seat), op.veil),
    ops.Snow: lambda op, scale, seat: _snowed(op, _covered(op, seat)),
    ops.Scratches: lambda op, scale, seat: (_covered(op, seat), 0.0005 + op.width),
    ops.Creases: lambda op, scale, seat: (_covered(op, seat), 0.1 + op.depth, 0.001 + op.width),
    ops.Dust: lambda op, scale, seat: (_covered(op, seat), 0.0005 + op.size),
    ops.Watermark: lambda op, scale, seat: (_covered(op, seat), op.size, 0.05 + op.opacity),
    ops.Glare: lambda op, scale, seat: (_lit(op),),
    ops.Reflection: lambda op, scale, seat: (_covered(op, seat), 0.002 + op.blur),
    ops.Occlusion: lambda op, scale, seat: (_covered(op, seat), max(op.count, 1)),
}
"""Terms of what is drawn from the seed."""

_TERMS: Final[Mapping[type[ops.Op], Callable[[Any, float], Terms]]] = {
    ops.Blur: lambda op, scale: (_blurred(op) * scale,),
    ops.SincBlur: lambda op, scale: (scale / op.cutoff,),
    ops.MotionBlur: lambda op, scale: (op.length * scale,),
    ops.Resize: lambda op, scale: (max(scale, 1.0) - 1,),
    ops.GaussianNoise: lambda op, scale: (op.level, math.e if op.gray else 1.0),
    ops.CovarianceNoise: lambda op, scale: (math.sqrt(max(sum(op.covariance[::4]) / 3, 0)),),
    ops.PoissonNoise: lambda op, scale: (op.scale, math.e if op.gray else 1.0),
    ops.Jpeg: lambda op, scale: (_jpeg_steps(op),),
    ops.WebP: lambda op, scale: (101.0 - op.quality,),
    ops.Avif: lambda op, scale: (101.0 - op.quality,),
    ops.Heic: lambda op, scale: (101.0 - op.quality,),
    ops.Video: lambda op, scale: (1.0 + _video_crf(op), 1.0 + math.hypot(op.right, op.down) * op.before),
    ops.AiUpscale: lambda op, scale: (1.0,),
    ops.FlipNetImage: lambda op, scale: (1.0,),
    ops.ColorShift: lambda op, scale: _colours(op),
    ops.ColorJitter: lambda op, scale: _toned(op),
    ops.Gray: lambda op, scale: (1.0,),
    ops.Haze: lambda op, scale: (1 - op.alpha,),
    ops.Tone: lambda op, scale: _toned(op),
    ops.Defocus: lambda op, scale: (op.radius * scale,),
    ops.Isp: lambda op, scale: (op.shot, op.read, math.e if op.demosaic == "edge" else 1.0, op.red * op.blue),
    ops.Denoise: lambda op, scale: (op.strength, op.radius),
    ops.Sharpen: lambda op, scale: (op.amount, op.radius),
    ops.LowLight: lambda op, scale: (_dark(op),),
    ops.DepthHaze: lambda op, scale: (1 - math.exp(-op.density * (0.55 * op.near + 0.45)), 1 + op.light),
    ops.Fade: lambda op, scale: (op.cyan, op.magenta, op.yellow, op.stain),
    ops.Sepia: lambda op, scale: (op.amount,),
    ops.FilmGrain: lambda op, scale: (op.level, 0.3 + op.size, 1 + op.colour),
    ops.Halftone: lambda op, scale: _dotted(op, scale),
    ops.ScreenCapture: lambda op, scale: (_moire(op), 0.001 + op.noise, 0.01 + op.glow, op.pitch),
    ops.Aberration: lambda op, scale: (abs(op.red), abs(op.blue)),
    ops.ImpulseNoise: lambda op, scale: (op.share,),
    ops.Pixelate: lambda op, scale: (op.block * scale - 0.99,),
    ops.Interference: lambda op, scale: (op.level, op.period),
    ops.UniformNoise: lambda op, scale: (op.level, math.e if op.gray else 1.0),
    ops.SpeckleNoise: lambda op, scale: (op.level, math.e if op.gray else 1.0),
    ops.PerlinNoise: lambda op, scale: (
        op.level,
        op.period,
        op.octaves,
        0.1 + op.persistence,
        math.e if op.gray else 1.0,
    ),
    ops.CorrelatedNoise: lambda op, scale: (math.hypot(op.luma, 0.3 * op.chroma), 0.3 + op.size, 1 + op.length),
    ops.BoxBlur: lambda op, scale: ((op.side - 1) * scale, 1 + op.busy),
    ops.Halo: lambda op, scale: (op.amount, op.radius, 1 + op.threshold),
    ops.Outline: lambda op, scale: (op.opacity, 20 + op.low, 20 + op.high, op.width, 1 + op.level / 100),
    ops.Levels: lambda op, scale: (
        op.low / 255,
        1 - op.high / 255,
        *_signed(math.log(op.gamma)),
    ),
    ops.ChannelShift: lambda op, scale: _apart(op, scale),
    ops.ChromaSubsampling: lambda op, scale: (
        op.across * scale - 1,
        op.down * scale - 1,
        float(op.enlarging == "linear"),
    ),
    ops.Dither: lambda op, scale: (1 / op.levels,),
    ops.UnevenLight: lambda op, scale: (op.strength,),
    ops.Vignette: lambda op, scale: (op.strength,),
    ops.LensDistortion: lambda op, scale: _signed(op.bend),
    ops.Banding: lambda op, scale: (1 / op.levels,),
    ops.Palette: lambda op, scale: (1 / op.colours, math.e if op.dither else 1.0),
    ops.Interlace: lambda op, scale: (_blended(op, scale) if op.fields == "blend" else math.hypot(op.right, op.down),),
}

SUMS: Final = (
    "color_shift",
    "rain",
    "fade",
    "levels",
    "lens_distortion",
    "chroma_subsampling",
    "aberration",
    "channel_shift ycc",
    "halftone cmyk",
    "halftone black",
)
"""Kinds whose terms are alternatives and add up; the others' are factors of one strength."""
NORMS: Final = ("color_jitter", "tone", "snow")
"""Kinds whose terms change different features: their squares add up."""


# ------------------------------------------------------------------------------------------------------------- masks


def masks(record: Record, size: tuple[int, int]) -> dict[str, Planes]:
    """Draw where a record spoils a part of the image alone: scratches, rain, a watermark, a square, and so on.

    Args:
        record: Whose LQ images are masked.
        size: Height and width of HQ.

    Returns:
        For each such kind how much it covers each pixel of LQ as a reader returns it, shape (height, width), float32 in
        [0, 1], moved and resized as the image is; none for kinds that change all of the image alike.
    """
    found: dict[str, Planes] = {}
    places = [place for place, op in enumerate(record.steps) if isinstance(op, (*_LOCAL, ops.Uneven))]
    for place in places:
        op = record.steps[place]
        canvas = Canvas(planes=np.zeros((3, *size), np.float32))
        for before in record.steps[:place]:
            if isinstance(before, _MOVES):
                before.run(canvas, Seat(0, ()))
        cover = _cover(op, canvas.height, canvas.width, Seat(record.seed, (place,)))
        canvas.set_planes(np.repeat(255 * np.clip(cover, 0, 1)[None], 3, axis=0).astype(np.float32))
        for after in record.steps[place + 1 :]:
            if isinstance(after, _MOVES):
                after.run(canvas, Seat(0, ()))
        mask = np.clip(canvas.planes()[0] / 255, 0, 1).astype(np.float32)
        found[op.name] = np.maximum(found[op.name], mask) if op.name in found else mask
    return found


_LOCAL = (
    *(ops.Rain, ops.Snow, ops.DepthHaze, ops.Glare, ops.Scratches, ops.Creases, ops.Dust, ops.Watermark),
    *(ops.UnevenLight, ops.Vignette, ops.Reflection, ops.Occlusion),
)
_MOVES = (*_SIZES, ops.Unframe, ops.Shift, ops.LensDistortion)


def _cover(op: ops.Op, height: int, width: int, seat: Seat) -> Planes:
    if isinstance(op, ops.Uneven):
        cover = np.zeros((height, width), np.float32)
        cover[op.square(height, width)] = 1
        return cover
    assert isinstance(op, _LOCAL)
    return op.cover(height, width, seat)
