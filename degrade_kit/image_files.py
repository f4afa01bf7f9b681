"""Image files as bytes: what format they are of, whether they are complete, and what of them shows no pixel.

Nothing here decodes pixels. Each walker gives the parts of a file in order, with start and end, until the part that
closes it; it raises if that does not come. Each step moves on by the size of a part's header at least, so that all end,
whatever the bytes say.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from degrade_kit.errors import NOT_AN_IMAGE, TOO_LARGE, TRUNCATED, UNREADABLE, UNSUPPORTED, ImageError
from degrade_kit.image_bounds import HINT, raised

MAX_PARTS: Final = 1 << 17
"""Most chunks or segments of a file, and strips or tiles of a TIFF file: who reads them takes time for each. The PNG
files of FFHQ have 160."""
MAX_PROFILE_BYTES: Final = 1_000_000
"""Most bytes of a colour profile in a PNG file, inflated: Pillow refuses a file with more."""

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


class Survey(NamedTuple):
    """What one walk through a file finds."""

    parts: Counter[object]
    """How many there are of each kind of chunk, or of each marker; empty for formats without a walker."""
    fault: ImageError | None
    """What is wrong with the container: the part that closes it does not come, or there are too many."""

    @property
    def scans(self) -> int:
        """Scans of a JPEG file, each of which passes over the whole image."""
        return self.parts[_SOS]


def survey(data: bytes, format: str) -> Survey:
    """Walk to the end of the container, where its format has one."""
    parts, count, exif, most = Counter[object](), 0, list[bytes](), raised(MAX_PARTS)
    if format == "tiff":
        return Survey(parts, _tiff_fault(data))
    try:
        for kind, start, end in WALKERS[format](data) if format in WALKERS else ():
            parts[kind] += 1
            count += 1
            if count > most:
                raise ImageError(TOO_LARGE, f"{format}: more than {most} parts{HINT}")
            if _is_exif(data, kind, start):
                exif.append(data[start + (4 if format == "jpg" else 8) : end].removeprefix(_EXIF))
    except ImageError as error:
        return Survey(parts, error)
    if exif and not _tags_fit(b"".join(exif)):
        return Survey(parts, ImageError(UNREADABLE, f"{format}: its EXIF block holds more bytes than it has"))
    return Survey(parts, None)


def without_metadata(data: bytes, format: str) -> Iterator[bytes]:
    """Yield files with the same pixels and less and less beside them, for a decoder that fails at what is beside them.

    First all but the EXIF block goes, whose orientation belongs to the picture, then that too, and last what says how
    the pixels are meant.

    Raises:
        ImageError: If the file ends early.
    """
    if format == "tiff":
        yield from (lean for lean in [_lean_tiff(data)] if lean != data)
    if format not in _STRIPPERS:
        return
    exif = next((data[start:end] for kind, start, end in WALKERS[format](data) if _is_exif(data, kind, start)), b"")
    bare = _STRIPPERS[format](data)
    if exif and (lean := _with_exif(bare, exif, format)) != data:
        yield lean
    if bare != data:
        yield bare
    if format == "png":
        kept = (data[a:b] for kind, a, b in _png_chunks(data) if kind[:1].isupper() or kind == b"tRNS")
        yield data[:8] + b"".join(kept)


def strip_metadata(data: bytes, format: str) -> bytes:
    """Remove what is not needed to show the pixels: EXIF with its GPS position, XMP, comments, text, dates, thumbnails.

    The compressed pixels are not touched, and the colour profile stays unless `profile_fault` finds it damaged, as does
    any other chunk of a PNG file whose sum is right. What is not on a list of parts to keep goes, as does all that
    follows the image (a phone's video clip, a depth map). So does the EXIF orientation: this is for files that
    `decode_image` calls plain.

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


def png_depth(data: bytes) -> int:
    """Read the bits for each channel of a PNG file."""
    return data[24]  # signature 8, chunk header 8, width 4, height 4


def png_data(data: bytes) -> bytes:
    """Join the compressed pixels of a PNG file from its chunks."""
    return b"".join(data[start + 8 : end - 4] for kind, start, end in _png_chunks(data) if kind == b"IDAT")


def check_png_sums(data: bytes) -> None:
    """Check what Pillow leaves out: the sums of the chunks that hold the pixels."""
    for kind, start, end in _png_chunks(data):
        if kind == b"IDAT" and not _sum_is_right(data, start, end):
            raise ImageError(UNREADABLE, f"png: wrong checksum at byte {start}")


def _sum_is_right(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(memoryview(data)[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")


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


# ----------------------------------------------------------------------------------------------------------------- TIFF

_TIFF_TYPE_SIZES = dict(zip(range(1, 14), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), strict=True))
_TIFF_STRIPS, _TIFF_TILES = 273, 324
# Tags without which the pixels are others: layout, compression, colours, orientation, tables of codecs.
_TIFF_KEPT = frozenset((262, 266, 273, 274, 301, 317, 320, 32997, 32998)).union(
    range(254, 260),
    range(277, 285),
    range(290, 294),
    range(322, 326),
    range(330, 348),
    range(512, 522),
    range(529, 533),
)


class _Tag(NamedTuple):
    number: int
    values: int
    size: int
    """Bytes of its values."""
    entry: bytes


def _tiff_tags(data: bytes) -> tuple[int, list[_Tag]] | None:
    """Where the first list of tags begins, and the tags; None where there is none within the data."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return None
    (offset,) = struct.unpack_from(f"{order}I", data, 4)
    if offset + 2 > len(data):
        return None
    (num_tags,) = struct.unpack_from(f"{order}H", data, offset)
    if offset + 2 + 12 * num_tags > len(data):
        return None
    tags: list[_Tag] = []
    for start in range(offset + 2, offset + 2 + 12 * num_tags, 12):
        number, kind, count = struct.unpack_from(f"{order}HHI", data, start)
        tags.append(_Tag(number, count, _TIFF_TYPE_SIZES.get(kind, 0) * count, data[start : start + 12]))
    return offset, tags


def _tiff_fault(data: bytes) -> ImageError | None:
    """Find tags that make a reader take more memory or time than the file's size explains."""
    found = _tiff_tags(data)
    if found is None:
        return None
    _, tags = found
    if not _tags_fit(data):
        return ImageError(UNREADABLE, "tiff: its tags hold more bytes than the file")
    most = raised(MAX_PARTS)
    if any(tag.number in (_TIFF_STRIPS, _TIFF_TILES) and tag.values > most for tag in tags):
        return ImageError(TOO_LARGE, f"tiff: more than {most} strips or tiles{HINT}")
    return None


def _tags_fit(data: bytes) -> bool:
    """Whether the tags of a TIFF file or EXIF block hold no more bytes than it: else they lie one over the other."""
    found = _tiff_tags(data)
    return found is None or sum(tag.size for tag in found[1] if tag.size > 4) <= len(data)


def _lean_tiff(data: bytes) -> bytes:
    """The same file with the tags that its pixels need, and no more."""
    found = _tiff_tags(data)
    if found is None:
        return data
    offset, tags = found
    kept = [tag.entry for tag in tags if tag.number in _TIFF_KEPT]
    following = data[offset + 2 + 12 * len(tags) :][:4]
    head = struct.pack("<H" if data[:2] == b"II" else ">H", len(kept))
    lean = bytearray(data)
    lean[offset : offset + 2 + 12 * len(kept) + len(following)] = head + b"".join(kept) + following
    return bytes(lean)


# ------------------------------------------------------------------------------------------------------------- profiles


def profile_fault(data: bytes, format: str) -> str | None:
    """Say what is wrong with the colour profile of a file, None where it has none or a good one.

    Args:
        data: The file's bytes.
        format: "png", "jpg" or "webp".
    """
    if format == "png":
        faults = (_png_profile_fault(data, start, end) for kind, start, end in _png_chunks(data) if kind == b"iCCP")
        return next(filter(None, faults), None)
    if format == "webp":
        parts = [data[start + 8 : end] for kind, start, end in _webp_chunks(data) if kind == b"ICCP"]
    else:
        return _jpeg_profile_fault(data, jpeg_segments(data))
    return _header_fault(b"".join(parts)) if parts else None


def _jpeg_profile_fault(data: bytes, segments: Iterable[tuple[int, int, int]]) -> str | None:
    found = (data[start + 4 : end] for marker, start, end in segments if marker == _APP2)
    parts = sorted(part[len(_JPEG_PROFILE) :] for part in found if part.startswith(_JPEG_PROFILE))  # by their numbers
    return _header_fault(b"".join(part[2:] for part in parts)) if parts else None


def _png_profile_fault(data: bytes, start: int, end: int) -> str | None:
    """What libpng would warn of at every later read, or Pillow refuse the whole file for."""
    if not _sum_is_right(data, start, end):
        return "wrong checksum"
    name, _, packed = data[start + 8 : end - 4].partition(b"\0")
    if not 1 <= len(name) <= 79 or packed[:1] != b"\0":
        return "damaged header"
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed[1:], MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return "damaged data"
    if len(profile) > MAX_PROFILE_BYTES:
        return f"more than {MAX_PROFILE_BYTES} bytes"
    if not inflater.eof or inflater.unused_data:
        return "cut, or with more behind it"
    if fault := _header_fault(profile):
        return fault
    tags = int.from_bytes(profile[128:132], "big")
    if len(profile) != int.from_bytes(profile[:4], "big") or len(profile) % 4 or 132 + 12 * tags > len(profile):
        return "of another length than it says"
    gray = data[25] in (0, 4)  # the colour type
    if profile[16:20] != (b"GRAY" if gray else b"RGB ") or profile[12:16] in (b"abst", b"link"):
        return "for other colours"
    return None


def _header_fault(profile: bytes) -> str | None:
    return None if len(profile) >= 132 and profile[36:40] == b"acsp" else "no profile"


# ------------------------------------------------------------------------------------------------------------ strippers

_PNG_ANCILLARY_KEPT = frozenset(
    b"tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD hIST pHYs sPLT acTL fcTL fdAT".split()
)
# Application segments that decoders use, how each begins and its least size: size and density, colour profile, colour
# transform.
_APP1, _APP2 = 0xE1, 0xE2
_JPEG_PROFILE = b"ICC_PROFILE\0"
_JPEG_APPLICATION_KEPT = {0xE0: (b"JFIF\0", 14), _APP2: (_JPEG_PROFILE, 14), 0xEE: (b"Adobe", 12)}
_EXIF = b"Exif\0\0"
_EXIF_KINDS = frozenset((_APP1, b"eXIf", b"EXIF"))
_WEBP_KEPT = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_WEBP_METADATA_FLAGS, _WEBP_EXIF_FLAG, _WEBP_PROFILE_FLAG = 0x0C, 0x08, 0x20  # the first: EXIF and XMP


def _strip_png(data: bytes) -> bytes:
    def is_kept(kind: bytes, start: int, end: int) -> bool:
        if kind[:1].isupper():  # critical: a decoder needs it
            return True
        if kind == b"iCCP":
            return _png_profile_fault(data, start, end) is None
        # Without the first the pixels would be others, and the second are as large as the image.
        return kind in _PNG_ANCILLARY_KEPT and (kind in (b"tRNS", b"fdAT") or _sum_is_right(data, start, end))

    return data[:8] + b"".join(data[start:end] for kind, start, end in _png_chunks(data) if is_kept(kind, start, end))


def _strip_jpeg(data: bytes) -> bytes:
    segments = list(jpeg_segments(data))
    damaged = _jpeg_profile_fault(data, segments) is not None

    def is_kept(marker: int, start: int, end: int) -> bool:
        if marker == _APP2 and damaged:
            return False
        if 0xE0 <= marker <= 0xEF:
            prefix, least = _JPEG_APPLICATION_KEPT.get(marker, (b"", 1 << 16))
            return end - start - 4 >= least and data.startswith(prefix, start + 4)
        return marker != _COM

    return data[:2] + b"".join(data[a:b] for marker, a, b in segments if is_kept(marker, a, b))


def _strip_webp(data: bytes) -> bytes:
    body = bytearray(b"WEBP")
    damaged = profile_fault(data, "webp") is not None
    for kind, start, end in _webp_chunks(data):
        if kind in _WEBP_KEPT and not (damaged and kind == b"ICCP"):
            chunk = bytearray(data[start:end])
            if kind == b"VP8X" and len(chunk) > 8:
                chunk[8] &= ~(_WEBP_METADATA_FLAGS | _WEBP_PROFILE_FLAG * damaged) & 0xFF
            body += chunk
    return b"RIFF" + struct.pack("<I", len(body)) + bytes(body)


_STRIPPERS: dict[str, Callable[[bytes], bytes]] = {"png": _strip_png, "jpg": _strip_jpeg, "webp": _strip_webp}


def _is_exif(data: bytes, kind: object, start: int) -> bool:
    return kind in _EXIF_KINDS and (kind != _APP1 or data.startswith(_EXIF, start + 4))


def _with_exif(bare: bytes, exif: bytes, format: str) -> bytes:
    """A file that was stripped, with its EXIF block again."""
    if format == "png":
        return bare[:33] + exif + bare[33:]  # behind the header
    if format == "jpg":
        return bare[:2] + exif + bare[2:]
    body = bytearray(bare[8:] + exif)
    if body.startswith(b"VP8X", 4) and len(body) > 12:
        body[12] |= _WEBP_EXIF_FLAG
    return b"RIFF" + struct.pack("<I", len(body)) + bytes(body)
