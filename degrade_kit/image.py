"""What an image is here, and the only way in from files and out to them.

The contract, which every public function of the toolkit keeps and no other docstring repeats: an *image* is RGB,
height x width x 3, float32 in [0, 1], C-contiguous. *Pixels* are the same in uint8, 0..255; they occur only at the
border with files. Values are as stored in the file (sRGB in nearly all cases): no gamma is undone, and the colour
profile of an RGB file is ignored, as trainers ignore it.

`decode_image` turns bytes into pixels or raises `ImageError` with one of these reasons, and never anything else:

    truncated               the file ends early; never answered with half an image
    not an image            text, an empty file, unknown bytes
    unsupported format      an image, but of a kind that is not read: AVIF, PSD, float TIFF, ...
    too small, too large    outside the limits that the caller gave; found in the header, before any pixel is decoded
    alpha                   transparent pixels, and the caller asked for an error
    unreadable              recognised, but damaged; or the operating system refused to read it

What is beside the pixels costs no image: where a file is unreadable for its text, profile or other metadata, or holds
more of them than a decoder takes, it is read without them, and a note says so. No file of less than 10 MB takes more
than 1 GB of memory or 10 s, unless the user raises the bounds: `MAX_PIXELS`, `MAX_WORKING_BYTES` and the others below,
and those of `degrade_kit.image_files`; see `degrade_kit.image_bounds`.

Pillow reads every header and all unusual files, since it reports a cut JPEG where OpenCV may fill it up with grey.
OpenCV decodes the plain ones, once their container is known to be complete: it checks a PNG's checksums, and of a 1024
x 1024 image it takes 33 ms for an FFHQ original in place of 37, 5.6 ms for a JPEG in place of 6.0, 18 ms for a WebP in
place of 27.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import os
import struct
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.errors import (
    ALPHA,
    TOO_LARGE,
    TOO_SMALL,
    TRUNCATED,
    UNREADABLE,
    UNSUPPORTED,
    ImageError,
    shortage,
)
from degrade_kit.files import local_path
from degrade_kit.image_bounds import HINT, raised
from degrade_kit.image_files import (
    JPEG_END,
    WALKERS,
    Survey,
    check_png_sums,
    jpeg_segments,
    png_data,
    png_depth,
    sniff,
    survey,
    without_metadata,
)

if TYPE_CHECKING:  # at run time Pillow is imported where it is used: it adds a quarter to the import of this module
    import PIL.Image

Image = npt.NDArray[np.float32]
"""RGB, height x width x 3, float32 in [0, 1], C-contiguous."""
Pixels = npt.NDArray[np.uint8]
"""RGB, height x width x 3, uint8, C-contiguous."""
ImageOrPixels = TypeVar("ImageOrPixels", Image, Pixels)
"""What comes in decides what goes out."""
AlphaPolicy = Literal["black", "white", "error"]
"""What becomes of transparent pixels: laid on black, laid on white, or an `ImageError`."""

MAX_PIXELS: Final = 100_000_000
"""Greatest width times height. Pillow itself warns above 89 million and refuses above 179 million, unless more is asked
for here."""
MAX_WORKING_BYTES: Final = 900_000_000
"""Most memory that decoding one image may take, by `WORKING_BYTES`: 16 bits, alpha and animations take more for each
pixel than 8-bit RGB."""
MAX_SCANNED_PIXELS: Final = 1_000_000_000
"""Most pixels times scans of a JPEG file: each scan of a progressive one passes over the whole image."""
WORKING_BYTES: Final = {
    "plain": 7,
    "plain webp": 10,
    "progressive": 13,
    "unusual": 11,
    "deep": 22,
    "animated webp": 20,
}
"""Bytes for each pixel that decoding takes at its peak, measured, by the way of an image through this module."""
UNREAD_METADATA: Final = "unread_metadata"

_PILLOW_NAMES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "tiff": "TIFF", "bmp": "BMP"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decoded:
    """The pixels of a file, and what was done to get them."""

    pixels: Pixels
    """Upright 8-bit RGB, whatever the file held."""
    format: str
    """Told from the content: "png", "jpg", "webp", "bmp", "tiff" or "gif"."""
    notes: tuple[str, ...]
    """Conversions, in the order in which they were made: "unread_metadata", "first_frame", "bit_depth:16", "cmyk",
    "cmyk:icc", "grayscale", "palette", "alpha:black", "alpha:white", "orientation:2" to "orientation:8". Mostly
    empty."""
    plain: bool
    """Whether the file is PNG, JPEG or WebP and its bytes already are an upright, single-frame 8-bit RGB image, so
    that a data set may hold them as they are, after `degrade_kit.image_files.strip_metadata`."""


def to_float(pixels: Pixels) -> Image:
    """Divide by 255; `to_pixels` undoes it exactly."""
    return np.divide(pixels, np.float32(255), dtype=np.float32, order="C")


def to_pixels(image: Image) -> Pixels:
    """Clip to [0, 1], multiply by 255 and round, halves to the even number."""
    # With OpenCV's conversion 0.2 ms for 512 x 512, with NumPy's 0.45 ms, for the same pixels. The absolute value that
    # it takes changes nothing after the clipping.
    return _as_pixels(cv2.convertScaleAbs(image.clip(0, 1), alpha=255.0))


def pixels_of(array: Image | Pixels, name: str) -> Pixels:
    """Take an image or pixels, as pixels.

    Args:
        array: The one or the other.
        name: What the caller calls it, for the message.

    Raises:
        ValueError: If it is neither.
    """
    if array.dtype != np.uint8:
        check_image(array, name)
        return to_pixels(np.asarray(array, np.float32))
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"{name}: expected pixels of shape (height, width, 3), got {array.shape}")
    return np.ascontiguousarray(array, np.uint8)


def of_type(pixels: Pixels, like: ImageOrPixels) -> ImageOrPixels:
    """Return the pixels or, where `like` is an image, the image of them."""
    return cast("ImageOrPixels", pixels if like.dtype == np.uint8 else to_float(pixels))


def check_image(image: npt.NDArray[Any], name: str) -> None:
    """Check that an array keeps the contract of this module.

    Args:
        image: The array.
        name: What the caller calls it, for the message.

    Raises:
        ValueError: If it does not.
    """
    expected = f"{name}: expected an RGB image, height x width x 3, C-contiguous, float32 in [0, 1]; got"
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.float32:
        raise ValueError(f"{expected} shape {image.shape}, {image.dtype}")
    if not image.flags.c_contiguous:
        raise ValueError(f"{expected} strides {image.strides}; call np.ascontiguousarray")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):  # NaN fails both comparisons
        raise ValueError(f"{expected} values from {low} to {high}")


def read_image(path: str | os.PathLike[str], *, min_side: int = 32) -> Image:
    """Read a file as an image; see `decode_image`, which it calls.

    Raises:
        ImageError: If the file cannot be read or decoded.
    """
    try:
        data = local_path(path).read_bytes()
    except OSError as error:
        raise ImageError(UNREADABLE, error.strerror or str(error)) from error
    return to_float(decode_image(data, min_side=min_side).pixels)


def decode_image(
    data: bytes,
    *,
    min_side: int = 32,
    max_pixels: int | None = None,
    max_bytes: int | None = None,
    alpha: AlphaPolicy = "black",
) -> Decoded:
    """Decode a PNG, JPEG, WebP, BMP, TIFF or GIF file to upright 8-bit RGB.

    Animated files give their first frame. 16-bit values are divided by 257 and rounded (by 256 and cut off in TIFF
    files of more than one channel, which Pillow reads so). CMYK goes through the embedded colour profile where there is
    one. The EXIF orientation is applied, once.

    Args:
        data: The file's bytes.
        min_side: Least width and height, in pixels.
        max_pixels: Greatest width times height; `MAX_PIXELS`, or more where the user raised it, where None.
        max_bytes: Most memory that decoding may take, `MAX_WORKING_BYTES` likewise; where it is raised, so is the bound
            on scans, by as much.
        alpha: What becomes of transparent pixels. A fully opaque alpha channel is dropped in any case.

    Raises:
        ImageError: With one of the reasons that the module's docstring lists.
    """
    limits = _Limits(
        min_side,
        raised(MAX_PIXELS) if max_pixels is None else max_pixels,
        raised(MAX_WORKING_BYTES) if max_bytes is None else max_bytes,
        alpha,
    )
    format = sniff(data)
    try:
        return _decode(data, format, limits)
    except ImageError as error:
        if error.reason not in (UNREADABLE, TRUNCATED):
            raise
        with suppress(ImageError):
            for lean in without_metadata(data, format):
                with suppress(ImageError):
                    decoded = _decode(lean, format, limits)
                    return replace(decoded, notes=(UNREAD_METADATA, *decoded.notes), plain=False)
        raise


def image_size(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Read height and width of an image, upright, from its file's header; None where that says none."""
    from PIL import Image as pillow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that a decoder would refuse
        try:
            with pillow.open(path) as image:
                turned = image.getexif().get(_EXIF_ORIENTATION, 1) > 4
                return (image.width, image.height) if turned else (image.height, image.width)
        except Exception:  # Pillow's plugins let nearly any type through: see `_open`
            return None


class _Limits(NamedTuple):
    min_side: int
    max_pixels: int
    max_bytes: int
    alpha: AlphaPolicy


def _decode(data: bytes, format: str, limits: _Limits) -> Decoded:
    found = survey(data, format)
    if found.fault is not None and found.fault.reason != TRUNCATED:
        raise found.fault
    with _open(data, format, found, limits.max_pixels) as image:
        width, height = image.size
        if min(width, height) < limits.min_side:
            raise ImageError(TOO_SMALL, f"{width} x {height}; the least side is {limits.min_side}")
        if width * height > limits.max_pixels:
            raise ImageError(TOO_LARGE, f"{width} x {height}; at most {limits.max_pixels} pixels are decoded{HINT}")
        if found.fault is not None:
            raise found.fault
        plain = _is_plain(image, data, format, found)
        _check_effort(image, data, format, found, plain, limits)
        if plain:
            return Decoded(pixels=_decode_plain(data, format), format=format, notes=(), plain=True)
        return _decode_unusual(image, data, format, found, limits.alpha)


def _check_effort(
    image: PIL.Image.Image, data: bytes, format: str, found: Survey, plain: bool, limits: _Limits
) -> None:
    """Refuse what would take too much memory or time, before any pixel is decoded."""
    pixels = image.size[0] * image.size[1]
    way = "plain" if plain else "unusual"
    if format == "jpg" and (found.scans > 1 or found.parts[_JPEG_PROGRESSIVE]):
        way = "progressive" if plain else "deep"
    elif format == "webp":
        way = "plain webp" if plain else "animated webp"
    elif (format == "png" and png_depth(data) == 16) or image.mode.startswith("I;16"):
        way = "deep"
    if (needed := pixels * WORKING_BYTES[way]) > limits.max_bytes:
        size = f"{image.size[0]} x {image.size[1]}"
        most = limits.max_bytes // 10**6
        raise ImageError(TOO_LARGE, f"{size}; to decode it takes about {needed // 10**6} MB, more than {most}{HINT}")
    most = MAX_SCANNED_PIXELS * max(1, limits.max_bytes / MAX_WORKING_BYTES)
    if pixels * found.scans > most:
        raise ImageError(TOO_LARGE, f"{found.scans} scans of {pixels} pixels; at most {most:.0f} are scanned{HINT}")


_AVERAGE = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG] if hasattr(cv2, "IMWRITE_PNG_FILTER") else []
"""Option of OpenCV from 4.12 on."""


def encode_png(pixels: Pixels, level: int = 1) -> bytes:
    """Encode as PNG; the same pixels and level give the same bytes.

    Args:
        pixels: See this module.
        level: 0 (stored) to 9 (slow). Levels 1 to 3 are one, which compresses runs only (zlib's Z_RLE) and predicts all
            rows by PNG's filter "average": for photographs it takes a seventh of the time of level 6, is no larger, and
            is read faster. From 4 on, a filter for each row and zlib's ordinary search, which gain on very smooth
            images and on graphics.
    """
    if not 0 <= level <= 9:
        raise ValueError(f"level: expected 0 to 9, got {level}")
    if level > 3:
        options = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
    else:
        options = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, *_AVERAGE]
    return _encode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, level, *options])


def encode_jpeg(pixels: Pixels, quality: int, *, subsampling: Literal["420", "444"] = "420") -> bytes:
    """Encode as baseline JPEG with libjpeg's standard tables; `quality` is 0 to 100, as libjpeg counts."""
    _check_quality(quality)
    factors = {"420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}
    if subsampling not in factors:
        raise ValueError(f'subsampling: expected "420" or "444", got {subsampling!r}')
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors[subsampling]]
    return _encode(".jpg", pixels, options)


def encode_webp(pixels: Pixels, quality: int | None) -> bytes:
    """Encode as WebP with `quality` 1 to 100, or lossless where it is None."""
    if quality is not None:
        _check_quality(quality, least=1)
    # OpenCV takes any quality above 100 to mean lossless.
    return _encode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 101 if quality is None else quality])


# ------------------------------------------------------------------------------------------------------------- decoding


@contextmanager
def _open(data: bytes, format: str, found: Survey, max_pixels: int) -> Generator[PIL.Image.Image, None, None]:
    """Open with Pillow; whatever it raises on damaged data, here or in the body, leaves as an `ImageError`."""
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    if pillow.MAX_IMAGE_PIXELS is not None and max_pixels > max(MAX_PIXELS, pillow.MAX_IMAGE_PIXELS):
        pillow.MAX_IMAGE_PIXELS = max_pixels  # more is wanted than Pillow would open
    try:
        with closing(pillow.open(io.BytesIO(data), formats=(_PILLOW_NAMES[format],))) as image:
            yield image
    except ImageError:
        raise
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise ImageError(TOO_LARGE, str(error)) from error
    # Pillow's plugins let nearly any type through: struct.error, KeyError, OverflowError, ...
    except Exception as error:
        if shortage(error):
            raise  # it is no fault of the image
        if found.fault is not None:
            raise found.fault from error
        reason = TRUNCATED if "truncated" in str(error).lower() else UNREADABLE
        # The message of UnidentifiedImageError holds an address, which would make reports differ from run to run.
        detail = "damaged header" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
        raise ImageError(reason, f"{format}: {detail}") from error


def _is_plain(image: PIL.Image.Image, data: bytes, format: str, found: Survey) -> bool:
    if format not in WALKERS or image.mode != "RGB" or getattr(image, "is_animated", False):
        return False
    if format == "png" and (png_depth(data) != 8 or found.parts[b"tRNS"] or found.parts[b"acTL"]):
        return False
    return _orientation(image, format, found) == 1


def _decode_plain(data: bytes, format: str) -> Pixels:
    pixels = _decode_png(data) if format == "png" else _decode_with_opencv(data)
    if pixels is None:
        raise ImageError(UNREADABLE, f"{format}: damaged data")
    if format == "jpg":
        _check_jpeg_filled(data, pixels)
    return pixels


def _decode_png(data: bytes) -> Pixels | None:
    """Decode by libdeflate and libspng where imagecodecs is installed: the same pixels in 60% of OpenCV's time."""
    codecs = _imagecodecs()
    if codecs is None:
        return _decode_with_opencv(data)
    check_png_sums(data)  # which imagecodecs leaves out
    try:
        return _as_pixels(codecs.spng_decode(_inflated_png(codecs, data) or data))
    except RuntimeError:
        return None


_MAX_INFLATED = 1 << 24
_STORED_BLOCK = (1 << 16) - 1
_scratch = threading.local()
"""Two buffers for each thread, used again and again: the pages of new ones would cost as much as half the inflating."""


def _inflated_png(codecs: Any, data: bytes) -> memoryview | None:  # noqa: ANN401 (it has no types)
    """Write the same image as a PNG file whose pixels are filtered but not compressed.

    libspng inflates by zlib, which takes two thirds of its time, and libdeflate takes half of zlib's. So libdeflate
    inflates, and libspng only copies and undoes the filters. Of a 512 x 512 photograph that is 3.4 ms in place of 4.4.

    Args:
        codecs: The module imagecodecs.
        data: A complete PNG file of 8-bit RGB without transparency.

    Returns:
        None for what is large, interlaced or in any way odd: libspng is the judge of that. Else a buffer that the next
        call in this thread fills anew.
    """
    width, height = struct.unpack_from(">II", data, 16)
    size = height * (1 + 3 * width)  # each row begins with the number of its filter
    if size > _MAX_INFLATED or data[28] != 0 or not codecs.DEFLATE.available:
        return None
    packed = png_data(data)
    rows = _buffer("rows", size)
    try:
        if len(codecs.deflate_decode(packed, out=rows)) != size:
            return None
    except codecs.DeflateError:
        return None
    starts = range(0, size, _STORED_BLOCK)
    length = 2 + 5 * len(starts) + size + 4
    file = _buffer("file", 41 + length + 16)
    # The sums of chunks, which imagecodecs does not look at, are left as they are.
    file[:33] = data[:33]
    struct.pack_into(">I4sH", file, 33, length, b"IDAT", 0x7801)
    at = 43
    for start in starts:
        block = rows[start : start + _STORED_BLOCK]
        struct.pack_into("<BHH", file, at, start == starts[-1], len(block), len(block) ^ 0xFFFF)
        file[at + 5 : at + 5 + len(block)] = block
        at += 5 + len(block)
    file[at : at + 4] = packed[-4:]  # the checksum of the rows, which libdeflate has compared
    struct.pack_into(">I4s", file, at + 8, 0, b"IEND")
    return file


def _buffer(name: str, size: int) -> memoryview:
    """Return the first bytes of this thread's buffer of that name."""
    buffer: bytearray = getattr(_scratch, name, bytearray())
    if len(buffer) < size:
        buffer = bytearray(size)
        setattr(_scratch, name, buffer)
    return memoryview(buffer)[:size]


@functools.cache
def _imagecodecs() -> Any:  # noqa: ANN401 (it has no types)
    try:
        return importlib.import_module("imagecodecs")
    except ImportError:
        return None


def _decode_with_opencv(data: bytes) -> Pixels | None:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if decoded is None else _as_pixels(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded))


# Entropy-coded bytes, which start with the 0 that completes a stuffed 0xFF; again after each restart marker.
_JPEG_MORE = b"".join([bytes(range(64)), *(bytes([0xFF, 0xD0 + n, *range(64)]) for n in range(8))])


def _check_jpeg_filled(data: bytes, pixels: Pixels) -> None:
    """Find a JPEG that was cut and then closed with an end marker, which decoders fill up with mid-grey in silence.

    Where the last pixel is mid-grey, decode again with more data before the end marker. A complete image ignores them;
    one that lacks data takes them for pixels. A cut in a later scan of a progressive JPEG, which lowers its quality
    only, is not found.
    """
    if (pixels[-1, -1] != 128).any():
        return
    end = next(start for marker, start, _ in jpeg_segments(data) if marker == JPEG_END)
    # Only their hashes are kept, since both and the image itself would take three times its memory.
    first, second = (_hash_decoded(each) for each in (data, data[:end] + _JPEG_MORE + b"\xff\xd9"))
    if first is None or first != second:
        raise ImageError(TRUNCATED, "jpg: less data than the header promises")


def _hash_decoded(data: bytes) -> str | None:
    pixels = _decode_with_opencv(data)
    return None if pixels is None else pixel_hash(pixels)


def _decode_unusual(image: PIL.Image.Image, data: bytes, format: str, found: Survey, alpha: AlphaPolicy) -> Decoded:
    image.load()
    if format == "png":
        check_png_sums(data)
    notes = ["first_frame"] if getattr(image, "is_animated", False) else []
    orientation = _orientation(image, format, found)
    pixels = _to_rgb(_to_eight_bits(image, data, format, notes), alpha, notes)
    if format == "jpg":
        _check_jpeg_filled(data, pixels)
    if orientation != 1:
        notes.append(f"orientation:{orientation}")
        pixels = np.ascontiguousarray(_UPRIGHT[orientation](pixels))
    return Decoded(pixels=pixels, format=format, notes=tuple(notes), plain=False)


_EXIF_ORIENTATION = 0x0112
# What makes an image upright, for each value of the EXIF tag but 1.
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: np.rot90(pixels)[::-1],
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels)[:, ::-1],
    8: lambda pixels: np.rot90(pixels),
}


def _orientation(image: PIL.Image.Image, format: str, found: Survey) -> int:
    """Read the EXIF orientation, 1 if there is none. A TIFF must be loaded, since Pillow may apply it then."""
    # For a PNG without EXIF, Pillow would decode the whole image to look behind it.
    if format == "png" and not found.parts[b"eXIf"]:
        return 1
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # a damaged EXIF block says nothing; the pixels are unharmed
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _to_eight_bits(image: PIL.Image.Image, data: bytes, format: str, notes: list[str]) -> PIL.Image.Image:
    """Scale 16-bit values to 8 bits; return other images as they are."""
    from PIL import Image as pillow

    if format == "png" and png_depth(data) == 16:
        values = _decode_deep_png(data)
    elif image.mode.startswith("I;16"):
        values = _scaled_by_257(np.asarray(image))
    else:
        bits = cast("tuple[int, ...]", getattr(image, "tag_v2", {}).get(_TIFF_BITS, ()))
        notes.extend(["bit_depth:16"] if 16 in bits else [])
        return image
    notes.append("bit_depth:16")
    return pillow.fromarray(values)


_TIFF_BITS = 0x0102
_JPEG_PROGRESSIVE = 0xC2
_AT_ONCE = 1 << 22
"""Pixels that are converted in one go: whole images would take several times their memory."""


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """First row, and one past the last, of the parts in which an image is converted."""
    rows = max(1, _AT_ONCE // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _scaled_by_257(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Divide 16-bit values by 257 and round."""
    scaled = np.empty(values.shape, np.uint8)
    for top, bottom in _bands(*values.shape[:2]):
        scaled[top:bottom] = (values[top:bottom].astype(np.uint32) + 128) // 257
    return scaled


def _decode_deep_png(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode with OpenCV, since Pillow drops the low bytes. The result is grey, RGB or RGBA."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise ImageError(UNREADABLE, "png: damaged 16-bit data")
    scaled = _scaled_by_257(values)
    if scaled.ndim == 3:
        scaled = cv2.cvtColor(scaled, cv2.COLOR_BGRA2RGBA if scaled.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return _as_pixels(scaled)


_Convert = Callable[["PIL.Image.Image"], "PIL.Image.Image"]


def _to_rgb(image: PIL.Image.Image, alpha: AlphaPolicy, notes: list[str]) -> Pixels:
    """Convert any 8-bit mode to RGB, band by band."""
    convert = _rgb_converter(image, alpha, notes)
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top, bottom in _bands(height, width):
        pixels[top:bottom] = np.asarray(convert(image.crop((0, top, width, bottom))))
    return pixels


def _rgb_converter(image: PIL.Image.Image, alpha: AlphaPolicy, notes: list[str]) -> _Convert:
    """Choose what converts a part of an image to RGB."""
    if image.mode == "CMYK":
        return _cmyk_converter(image, notes)
    if image.mode in ("1", "L", "LA"):
        notes.append("grayscale")
    elif image.mode in ("P", "PA"):
        notes.append("palette")
    elif image.mode not in ("RGB", "RGBA", "RGBa", "RGBX", "YCbCr"):
        raise ImageError(UNSUPPORTED, f"pixels of Pillow's mode {image.mode}")
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "RGBa"):
        return _alpha_converter(image, alpha, notes)
    return lambda part: part.convert("RGB")


def _alpha_converter(image: PIL.Image.Image, alpha: AlphaPolicy, notes: list[str]) -> _Convert:
    from PIL import Image as pillow

    def lowest(top: int, bottom: int) -> int:
        part = image.crop((0, top, image.width, bottom)).convert("RGBA")
        return cast("tuple[int, int]", part.getchannel("A").getextrema())[0]

    if all(lowest(top, bottom) == 255 for top, bottom in _bands(image.height, image.width)):
        return lambda part: part.convert("RGBA").convert("RGB")
    if alpha == "error":
        raise ImageError(ALPHA, "some pixels are transparent")
    notes.append(f"alpha:{alpha}")

    def convert(part: PIL.Image.Image) -> PIL.Image.Image:
        return pillow.alpha_composite(pillow.new("RGBA", part.size, alpha), part.convert("RGBA")).convert("RGB")

    return convert


def _cmyk_converter(image: PIL.Image.Image, notes: list[str]) -> _Convert:
    """Convert through the embedded profile; without a usable one, by the plain formula."""
    from PIL import Image as pillow
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = cast("Any", ImageCms).createProfile("sRGB")  # untyped
            transform = ImageCms.buildTransform(source, srgb, "CMYK", "RGB")
            ImageCms.applyTransform(pillow.new("CMYK", (1, 1)), transform)
        except (ImageCms.PyCMSError, OSError, ValueError):  # no profile, or one for other channels
            transform = None
        if transform is not None:
            notes.append("cmyk:icc")
            return functools.partial(_transformed, transform)
    notes.append("cmyk")
    return lambda part: part.convert("RGB")


def _transformed(transform: Any, part: PIL.Image.Image) -> PIL.Image.Image:  # noqa: ANN401 (it has no types)
    from PIL import ImageCms

    converted = ImageCms.applyTransform(part, transform)
    assert converted is not None, "only a conversion in place returns none"
    return converted


# ------------------------------------------------------------------------------------------------------------- encoding

# Greatest width and height: of WebP by its format, of JPEG by libjpeg's.
_MAX_SIDES = {".png": 1_000_000, ".jpg": 65_500, ".webp": 16_383}


def _encode(extension: str, pixels: Pixels, options: Sequence[int]) -> bytes:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels: expected RGB, height x width x 3, uint8; got shape {pixels.shape}, {pixels.dtype}")
    height, width = pixels.shape[:2]
    if not 1 <= min(height, width) <= max(height, width) <= _MAX_SIDES[extension]:
        raise ValueError(f"pixels: {extension} holds sides of 1 to {_MAX_SIDES[extension]}; got {width} x {height}")
    done, encoded = cv2.imencode(extension, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    assert done, f"OpenCV did not encode {width} x {height} pixels as {extension}"
    return encoded.tobytes()


def _check_quality(quality: int, least: int = 0) -> None:
    if not least <= quality <= 100:
        raise ValueError(f"quality: expected {least} to 100, got {quality}")


def _as_pixels(array: npt.NDArray[Any]) -> Pixels:
    """Narrow what OpenCV's stubs call any array."""
    return cast("Pixels", array)


def pixel_hash(pixels: Pixels) -> str:
    """Hash what an image shows, whatever file it came from: hexadecimal SHA-256."""
    total = hashlib.sha256(f"{pixels.shape}".encode())
    total.update(np.ascontiguousarray(pixels).data)  # which is no copy, as `tobytes` is
    return total.hexdigest()


def scaled(pixels: Pixels, size: int) -> Pixels:
    """Scale an image to a shorter side of `size` pixels; 0 keeps it."""
    height, width = pixels.shape[:2]
    if not size or min(height, width) == size:
        return pixels
    factor = size / min(height, width)
    target = max(size, round(width * factor)), max(size, round(height * factor))
    how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return np.ascontiguousarray(cv2.resize(pixels, target, interpolation=how), np.uint8)
