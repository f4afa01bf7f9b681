"""Image files as bytes: what format they are of, whether they are complete, and what of them shows no pixel.

Nothing here decodes pixels. Each walker gives the parts of a file in order, with start and end, until the part that
closes it; it raises if that does not come. Each step moves on by the size of a part's header at least, so that all end,
whatever the bytes say.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator

from degrade_kit.errors import NOT_AN_IMAGE, TRUNCATED, UNREADABLE, UNSUPPORTED, ImageError

# Where the bytes stand, the bytes, and the format that they mark.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpg"),
    (8, b"WEBP", "webp"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
)
_FOREIGN_SIGNATURES = (
    (4, b"ftyp", "AVIF, HEIC or a video"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"II+\0", "BigTIFF"),
    (0, b"MM\0+", "BigTIFF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"P5\n", "PGM"),
    (0, b"P6\n", "PPM"),
)
# "BM" alone begins many a text; the size of the second header makes sure.
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)


def sniff(data: bytes) -> str:
    """Tell the format from the first bytes; the name of a file counts for nothing.

    Raises:
        ImageError: If it is "not an image" or of an "unsupported format".
    """
    for offset, signature, format in _SIGNATURES:
        if data.startswith(signature, offset) and (format != "webp" or data.startswith(b"RIFF")):
            return format
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    for offset, signature, kind in _FOREIGN_SIGNATURES:
        if data.startswith(signature, offset):
            raise ImageError(UNSUPPORTED, f"{kind}; PNG, JPEG, WebP, BMP, TIFF and GIF are read")
    raise ImageError(NOT_AN_IMAGE, f"the data begin with {data[:12]!r}" if data else "the file is empty")


def check_complete(data: bytes, format: str) -> None:
    """Walk to the end of the container, where its format has one, and raise if that does not come."""
    if format in WALKERS:
        for _ in WALKERS[format](data):
            pass


def strip_metadata(data: bytes, format: str) -> bytes:
    """Remove what is not needed to show the pixels: EXIF with its GPS position, XMP, comments, text, dates, thumbnails.

    The compressed pixels are not touched, and the colour profile stays. What is not on a list of parts to keep goes, as
    does all that follows the image (a phone's video clip, a depth map). So does the EXIF orientation: this is for files
    that `decode_image` calls plain.

    Args:
        data: The file's bytes.
        format: "png", "jpg" or "webp".

    Returns:
        The same object where there was nothing to remove.

    Raises:
        ImageError: If the file ends early ("truncated"), or is not of that format.
    """
    if format not in _STRIPPERS:
        raise ValueError(f"format: expected one of {', '.join(_STRIPPERS)}; got {format!r}")
    if sniff(data) != format:
        raise ImageError(NOT_AN_IMAGE, f"expected {format} data, which begin otherwise than {data[:12]!r}")
    stripped = _STRIPPERS[format](data)
    return data if stripped == data else stripped


# -------------------------------------------------------------------------------------------------------------- walkers


def _cut(format: str, position: int) -> ImageError:
    return ImageError(TRUNCATED, f"{format}: ends within the part that begins at byte {position}")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    position, kind = 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise _cut("png", position)
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _cut("png", position)
        yield kind, position, end
        position = end


def png_kinds(data: bytes) -> frozenset[bytes]:
    """List the kinds of the chunks of a PNG file."""
    return frozenset(kind for kind, _, _ in _png_chunks(data))


def png_depth(data: bytes) -> int:
    """Read the bits for each channel of a PNG file."""
    return data[24]  # signature 8, chunk header 8, width 4, height 4


def png_data(data: bytes) -> bytes:
    """Join the compressed pixels of a PNG file from its chunks."""
    return b"".join(data[start + 8 : end - 4] for kind, start, end in _png_chunks(data) if kind == b"IDAT")


def check_png_sums(data: bytes) -> None:
    """Check what Pillow leaves out: the sums of the chunks that hold the pixels."""
    for kind, start, end in _png_chunks(data):
        if kind == b"IDAT" and zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError(UNREADABLE, f"png: wrong checksum at byte {start}")


_SOS, JPEG_END, _COM = 0xDA, 0xD9, 0xFE
# All markers but the restarts, which belong to the scan that they stand in; 0xFF00 and 0xFFFF are none.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_JPEG_BARE_MARKERS = (0x01, 0xD8)  # without a length


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Find the marker, start and end of each segment of a JPEG file, a scan with its data."""
    position = 2
    while found := _JPEG_MARKER.search(data, position):
        start, marker = found.start(), data[found.start() + 1]
        if marker == JPEG_END:
            yield marker, start, start + 2
            return
        position = start + 2
        if marker in _JPEG_BARE_MARKERS:
            continue
        if position + 2 > len(data):
            break
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
        if marker == _SOS:  # its entropy-coded data reach to the next marker
            following = _JPEG_MARKER.search(data, position)
            position = following.start() if following else len(data) + 1
        if position > len(data):
            break
        yield marker, start, position
    raise ImageError(TRUNCATED, "jpg: no end marker")


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    total = 8 + int.from_bytes(data[4:8], "little")
    if total > len(data):
        raise ImageError(TRUNCATED, f"webp: {len(data)} of {total} bytes")
    position = 12
    while position + 8 <= total:
        kind, length = struct.unpack_from("<4sI", data, position)
        if position + 8 + length > total:
            raise _cut("webp", position)
        end = min(total, position + 8 + length + length % 2)
        yield kind, position, end
        position = end


WALKERS: dict[str, Callable[[bytes], Iterator[tuple[object, int, int]]]] = {
    "png": _png_chunks,
    "jpg": jpeg_segments,
    "webp": _webp_chunks,
}
"""Walkers of the formats whose files end with a part that says so."""


# ------------------------------------------------------------------------------------------------------------ strippers

_PNG_ANCILLARY_KEPT = frozenset(
    b"tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD hIST pHYs sPLT acTL fcTL fdAT".split()
)
# Application segments that decoders use, and how each begins: size and density, colour profile, colour transform.
_JPEG_APPLICATION_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_WEBP_KEPT = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_WEBP_METADATA_FLAGS = 0x0C  # EXIF and XMP


def _strip_png(data: bytes) -> bytes:
    # The case of the first letter separates critical chunks, which a decoder needs, from ancillary ones.
    kept = [data[a:b] for kind, a, b in _png_chunks(data) if kind[:1].isupper() or kind in _PNG_ANCILLARY_KEPT]
    return data[:8] + b"".join(kept)


def _strip_jpeg(data: bytes) -> bytes:
    def is_kept(marker: int, start: int) -> bool:
        if 0xE0 <= marker <= 0xEF:
            prefix = _JPEG_APPLICATION_KEPT.get(marker)
            return prefix is not None and data.startswith(prefix, start + 4)
        return marker != _COM

    return data[:2] + b"".join(data[a:b] for marker, a, b in jpeg_segments(data) if is_kept(marker, a))


def _strip_webp(data: bytes) -> bytes:
    body = bytearray(b"WEBP")
    for kind, start, end in _webp_chunks(data):
        if kind in _WEBP_KEPT:
            chunk = bytearray(data[start:end])
            if kind == b"VP8X" and len(chunk) > 8:
                chunk[8] &= ~_WEBP_METADATA_FLAGS & 0xFF
            body += chunk
    return b"RIFF" + struct.pack("<I", len(body)) + bytes(body)


_STRIPPERS: dict[str, Callable[[bytes], bytes]] = {"png": _strip_png, "jpg": _strip_jpeg, "webp": _strip_webp}
