"""Operations of video: the image becomes the last frame of a short clip, and what a decoder shows of it.

By PyAV, the extra `video`, whose wheels bring FFmpeg with x264, x265, libvpx, SVT-AV1 and dav1d. Every codec runs on
one thread: some give other bytes on more.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.canvas import Canvas
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels
from degrade_kit.op_tools import LUMA, Seat

VideoCodec = Literal["h264", "h265", "mpeg2", "mpeg4", "vp9", "av1"]

CRF: Final = (0, 51)
"""Finest and coarsest quality, on H.264's scale."""
GOP: Final = 50
"""Frames from key frame to key frame of the stream that a bit rate is reckoned for: two seconds."""
MAX_BEFORE: Final = 30
"""Most frames in front of the one that is kept: each costs its encoding."""

_BLOCK: Final = 16
"""Frames are padded to a multiple of it, as encoders want them."""
_LEAST: Final = 64
"""Least side of a frame: SVT-AV1 takes no smaller one."""
_RATE: Final = 25

_ENCODERS: Final[Mapping[VideoCodec, tuple[str, str, Mapping[str, str]]]] = {
    "h264": (
        "libx264",
        "h264",
        {
            "preset": "veryfast",
            "x264-params": "threads=1:lookahead-threads=1:rc-lookahead=0:sync-lookahead=0:mbtree=0:scenecut=0:log=-1",
        },
    ),
    "h265": (
        "libx265",
        "hevc",
        {
            "preset": "ultrafast",
            "x265-params": "pools=none:frame-threads=1:wpp=0:rc-lookahead=0:lookahead-slices=0:bframes=0:scenecut=0:"
            "ctu=32:info=0:log-level=none",
        },
    ),
    "mpeg2": ("mpeg2video", "mpeg2video", {}),
    "mpeg4": ("mpeg4", "mpeg4", {}),
    "vp9": (
        "libvpx-vp9",
        "vp9",
        {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0", "row-mt": "0"},
    ),
    "av1": ("libsvtav1", "libdav1d", {"preset": "11", "svtav1-params": "lp=1:pred-struct=1:lookahead=0:scd=0"}),
}
"""Encoder, decoder and options of each codec: frames that are predicted from earlier ones alone, at a fast preset, as
phones and live platforms encode."""
VIDEO_CODECS: Final[tuple[VideoCodec, ...]] = tuple(_ENCODERS)

_Planes = list[Pixels]
_Stream = tuple[list[Any], bytes | None]
"""Packets, and what a decoder must know in front of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """The last frame of a clip in which the picture moves evenly; its first frame is a key frame.

    The picture comes to where the image is, so that LQ and HQ stay registered; what moves in mirrors the edge. Colour
    is 4:2:0 of limited range by ITU-R BT.601, as most video is.
    """

    name: ClassVar[str] = "video"
    codec: VideoCodec
    crf: int = 0
    """Quality on H.264's scale of 0..51, 6 for half of the detail; `quantiser` says what other codecs get. It is used
    where `bitrate` is 0."""
    bitrate: float = 0.0
    """Bits for each pixel and frame of a stream with a key frame every `GOP` frames: the finest crf is searched for
    whose frames take no more, or 51 where none does. So the clip is encoded about six times."""
    before: int = 0
    """Frames from the key frame to the one that is kept: 0 keeps the key frame itself."""
    right: float = 0.0
    """Movement from frame to frame, in pixels, and `down`."""
    down: float = 0.0
    zoom: float = 1.0
    """Factor by which the picture grows from frame to frame, about its centre."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Replace the image by what the video keeps of it."""
        del seat
        pixels = canvas.pixels()
        # A bit rate needs a frame that is predicted, also where the key frame is kept.
        last = max(self.before, 1) if self.bitrate else self.before
        clip = [_to_yuv(_padded(self._moved(pixels, at - self.before))) for at in range(last + 1)]
        shown = _decoded(self.codec, *self._encoded(clip))[self.before]
        canvas.set_pixels(np.ascontiguousarray(_to_rgb(shown)[: pixels.shape[0], : pixels.shape[1]]))

    def libraries(self) -> dict[str, str]:
        """List PyAV and its codecs' library with their versions; see `video_libraries`."""
        return video_libraries(self.codec)

    def _moved(self, pixels: Pixels, frames: int) -> Pixels:
        """The picture so many frames later, or earlier where negative."""
        if not frames or (self.right == self.down == 0.0 and self.zoom == 1.0):
            return pixels
        height, width = pixels.shape[:2]
        scale = self.zoom**frames
        move = np.array([width - 1, height - 1]) / 2 * (1 - scale) + np.array([self.right, self.down]) * frames
        matrix = np.array([[scale, 0, move[0]], [0, scale, move[1]]])
        border = cv2.BORDER_REFLECT_101 if min(height, width) > 1 else cv2.BORDER_REPLICATE
        return np.asarray(
            cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border), np.uint8
        )

    def _encoded(self, clip: Sequence[_Planes]) -> _Stream:
        if not self.bitrate:
            return _encode(self.codec, clip, self.crf)
        fine, coarse = CRF
        best = _encode(self.codec, clip, coarse)
        while fine < coarse:  # the best so far is of `coarse`
            middle = (fine + coarse) // 2
            tried = _encode(self.codec, clip, middle)
            if _bits(tried) <= self.bitrate * clip[0][0].size:
                best, coarse = tried, middle
            else:
                fine = middle + 1
        return best


def _bits(stream: _Stream) -> float:
    """Bits of a frame on average, where a key frame begins `GOP` of them."""
    key, *others = (8 * packet.size for packet in stream[0])
    return (key + (GOP - 1) * sum(others) / len(others)) / GOP


def quantiser(codec: VideoCodec, crf: int) -> int:
    """Convert a quality on H.264's scale to the codec's own number.

    H.265 has the same scale. MPEG-2 and MPEG-4 get the quantiser scale, 1 to 31, of the same step: H.264's step is
    0.625 * 2**(crf / 6), theirs twice the number. VP9 and AV1 get the same share of their range of 1 to 63.
    """
    if codec in ("h264", "h265"):
        return crf
    if codec in ("mpeg2", "mpeg4"):
        return min(max(round(0.3125 * 2 ** (crf / 6)), 1), 31)
    return max(round(crf * 63 / CRF[1]), 1)  # to SVT-AV1, 0 is not given


def crf_of(codec: VideoCodec, number: float) -> int:
    """Convert a codec's own number to the quality on H.264's scale that `quantiser` makes it of, or nearly so.

    >>> [crf_of(codec, number) for codec, number in (("h265", 20), ("mpeg2", 2), ("mpeg4", 20), ("vp9", 35))]
    [20, 16, 36, 28]
    """
    if codec in ("h264", "h265"):
        return round(number)
    if codec in ("mpeg2", "mpeg4"):
        return max(round(6 * math.log2(max(number, 1) / 0.3125)), 0)
    return round(number * CRF[1] / 63)


@functools.cache
def _pyav() -> Any:  # noqa: ANN401 (an extra)
    try:
        import av  # pyright: ignore[reportMissingImports] (an extra)
    except ImportError as error:
        raise ConfigError("the step `video` needs PyAV: pip install 'degrade-kit[video]'") from error
    os.environ.setdefault("SVT_LOG", "0")  # or SVT-AV1 writes a page to the terminal for every clip
    return av


@functools.cache  # a bank asks for each of its records
def video_libraries(codec: VideoCodec) -> dict[str, str]:
    """List the versions of PyAV and of its codecs' library, which decide what `Video` makes.

    Raises:
        ConfigError: If PyAV is missing, or lacks the codec.
    """
    av = _pyav()
    _context(_ENCODERS[codec][0], "w", codec)
    _context(_ENCODERS[codec][1], "r", codec)
    return {"av": av.__version__, "libavcodec": ".".join(map(str, av.library_versions["libavcodec"]))}


def _context(name: str, mode: Literal["r", "w"], codec: VideoCodec) -> Any:  # noqa: ANN401 (a context of PyAV)
    av = _pyav()
    try:
        context = av.CodecContext.create(name, mode)
    except ValueError as error:  # PyAV's UnknownCodecError is one
        kind = "encoder" if mode == "w" else "decoder"
        raise ConfigError(
            f"video: {codec} needs the {kind} {name}, which the FFmpeg of this PyAV {av.__version__} lacks; wheels of "
            "the package `av` have it: pip install --force-reinstall --only-binary av 'degrade-kit[video]'"
        ) from error
    context.thread_count = 1
    return context


@contextlib.contextmanager
def _same_scheduling() -> Generator[None, None, None]:
    """Give this thread its scheduling back: run by root, SVT-AV1 makes its caller real-time, which starves all else."""
    if not hasattr(os, "sched_getscheduler"):  # not on Linux
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, priority)


@_same_scheduling()
def _encode(codec: VideoCodec, clip: Sequence[_Planes], crf: int) -> _Stream:
    av = _pyav()
    encoder, _, options = _ENCODERS[codec]
    context, number = _context(encoder, "w", codec), quantiser(codec, crf)
    height, width = clip[0][0].shape
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, _RATE), _RATE
    context.max_b_frames, context.gop_size = 0, GOP
    if codec in ("mpeg2", "mpeg4"):
        context.qmin = context.qmax = number
        context.options = {**options, "flags": "+qscale", "global_quality": str(118 * number)}  # FF_QP2LAMBDA
    else:
        context.bit_rate = 0
        context.options = {**options, "crf": str(number)}
    packets: list[Any] = []
    for at, planes in enumerate(clip):
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.zeros((plane.height, plane.line_size), np.uint8)
            rows[:, : plane.width] = values
            plane.update(rows)
        frame.pts, frame.time_base = at, Fraction(1, _RATE)
        packets += context.encode(frame)
    packets += context.encode(None)
    return packets, context.extradata


def _decoded(codec: VideoCodec, packets: Sequence[Any], extradata: bytes | None) -> list[_Planes]:
    """The frames that a decoder shows."""
    context = _context(_ENCODERS[codec][1], "r", codec)
    if extradata:
        context.extradata = extradata
    frames = [frame for packet in [*packets, None] for frame in context.decode(packet)]
    return [[_values(plane) for plane in frame.planes] for frame in frames]


def _values(plane: Any) -> Pixels:  # noqa: ANN401 (a plane of PyAV)
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return np.asarray(rows[:, : plane.width], np.uint8)


def _padded(pixels: Pixels) -> Pixels:
    """The picture with mirrored edges at the right and below, so that its size is one that encoders take."""
    margins = [max(_LEAST, _BLOCK * math.ceil(side / _BLOCK)) - side for side in pixels.shape[:2]]
    if not any(margins):
        return pixels
    border = cv2.BORDER_REFLECT if min(pixels.shape[:2]) > 1 else cv2.BORDER_REPLICATE
    return np.asarray(cv2.copyMakeBorder(pixels, 0, margins[0], 0, margins[1], border), np.uint8)


def _matrix() -> npt.NDArray[np.float64]:
    """From R, G, B in 0..255 and 1 to Y in 16..235 and Cb, Cr in 16..240, shape (4, 4). Source: ITU-R BT.601."""
    red, green, blue = LUMA
    rows = [
        [red * 219, green * 219, blue * 219, 16 * 255],
        [-red * 112 / (1 - blue), -green * 112 / (1 - blue), 112, 128 * 255],
        [112, -green * 112 / (1 - red), -blue * 112 / (1 - red), 128 * 255],
        [0, 0, 0, 255],
    ]
    return np.array(rows) / 255


_TO_YUV: Final = _matrix()[:3]
_TO_RGB: Final = np.linalg.inv(_matrix())[:3]


def _to_yuv(pixels: Pixels) -> _Planes:
    """Y, Cb and Cr, the latter two of half the size both ways."""
    y, cb, cr = cv2.split(cv2.transform(pixels, _TO_YUV))
    half = (pixels.shape[1] // 2, pixels.shape[0] // 2)
    return [np.asarray(y, np.uint8), *(_resized(c, half, cv2.INTER_AREA) for c in (cb, cr))]


def _to_rgb(planes: _Planes) -> Pixels:
    """Pixels of the shape (height, width, 3)."""
    size = (planes[0].shape[1], planes[0].shape[0])
    whole = [planes[0], *(_resized(c, size, cv2.INTER_LINEAR) for c in planes[1:])]
    return np.asarray(cv2.transform(cv2.merge(whole), _TO_RGB), np.uint8)


def _resized(plane: Any, size: tuple[int, int], filter: int) -> Pixels:  # noqa: ANN401 (an image of OpenCV)
    return np.asarray(cv2.resize(plane, size, interpolation=filter), np.uint8)
