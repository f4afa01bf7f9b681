"""Metadata costs no image: what is beside the pixels may be large or damaged, and what cannot be used is not stored."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from degrade_kit.errors import ImageError
from degrade_kit.hq import HqConfig, prepare
from degrade_kit.image import Pixels, decode_image
from degrade_kit.image_files import profile_fault, strip_metadata

SIDE = 64
FACE: Pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(format: str, **options: object) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(FACE).save(file, format, **options)
        return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*extra: bytes) -> bytes:
    """A PNG file with chunks behind its header."""
    whole = saved("PNG")
    return whole[:33] + b"".join(extra) + whole[33:]


def profile_chunk(profile: bytes, *, name: bytes = b"p", cut: int = 0) -> bytes:
    packed = zlib.compress(profile)
    return chunk(b"iCCP", name + b"\0\0" + packed[: len(packed) - cut])


def wrong_sum(part: bytes) -> bytes:
    return part[:-4] + bytes(4)


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


TEXT = zlib.compress(b"x" * 1_200_000)
UPRIGHT = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"
"""An EXIF block that says: turn by 180 degrees."""
LARGE_OR_DAMAGED = {
    "zTXt": png(chunk(b"zTXt", b"w\0\0" + TEXT)),
    "iTXt": png(chunk(b"iTXt", b"w\0\1\0\0\0" + TEXT)),
    "iCCP": png(profile_chunk(bytes(1_100_000))),
    "many zTXt": png(*[chunk(b"zTXt", b"w\0\0" + zlib.compress(b"x" * 1_000_000))] * 80),
    "tEXt with a wrong sum": png(wrong_sum(chunk(b"tEXt", b"a\0b"))),
    "iCCP with a wrong sum": png(wrong_sum(profile_chunk(SRGB))),
    "pHYs of no length": png(chunk(b"pHYs", b"")),
}


@pytest.mark.parametrize("case", LARGE_OR_DAMAGED)
def test_pixels_of_a_png_are_read_without_metadata_that_is_large_or_damaged(case: str) -> None:
    decoded = decode_image(LARGE_OR_DAMAGED[case])
    assert np.array_equal(decoded.pixels, FACE)
    assert decoded.notes in ((), ("unread_metadata",))
    assert decoded.plain == (not decoded.notes)
    stored = prepare(LARGE_OR_DAMAGED[case], HqConfig(size=SIDE))
    assert np.array_equal(stored.pixels, FACE)
    assert stored.changes, "what was done is on record"
    with Image.open(io.BytesIO(stored.data)) as image:  # by a reader that is stricter than OpenCV
        assert np.array_equal(np.asarray(image), FACE)
        assert set(image.info) <= {"icc_profile"}


def test_the_orientation_holds_where_other_metadata_is_not_read() -> None:
    decoded = decode_image(png(chunk(b"eXIf", UPRIGHT), chunk(b"zTXt", b"w\0\0" + TEXT)))
    assert decoded.notes == ("unread_metadata", "orientation:3")
    assert np.array_equal(decoded.pixels, FACE[::-1, ::-1])


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF"])
def test_large_metadata_of_other_formats_costs_no_image(format: str) -> None:
    options: dict[str, Any] = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}.get(format, {})
    plain = decode_image(saved(format, **options)).pixels
    exif = Image.Exif()
    exif[0x0112] = 3
    large = saved(format, **options, icc_profile=SRGB + bytes(1_500_000), xmp=b"x" * 60_000, exif=exif)
    decoded = decode_image(large)
    assert decoded.notes in (("orientation:3",), ())  # Pillow turns a TIFF itself
    assert np.array_equal(decoded.pixels, plain[::-1, ::-1])


def test_damaged_metadata_of_a_jpeg_costs_no_image() -> None:
    whole = saved("JPEG", quality=98)
    for junk in (
        segment(0xE2, b"MPF\0" + b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40),
        segment(0xE1, b"Exif\0\0" + b"\xff" * 30),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
        segment(0xE0, b"JFIF"),
        segment(0xEE, b"Adobe"),
    ):
        assert np.array_equal(decode_image(whole[:2] + junk + whole[2:]).pixels, decode_image(whole).pixels)


def overlapping(count: int, size: int) -> bytes:
    """Tags that all hold the same bytes, as an EXIF block or TIFF file has them."""
    tags = b"".join(struct.pack(">HHII", 40_000 + number, 1, size, 0) for number in range(count))
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", count) + tags + bytes(4)


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff"])
def test_tags_that_lie_one_over_the_other_are_not_read(format: str) -> None:
    exif = overlapping(5000, 60_000)
    if format == "png":
        data = png(chunk(b"eXIf", exif))
    elif format == "jpg":
        whole = saved("JPEG", quality=98)
        data = whole[:2] + segment(0xE1, b"Exif\0\0" + exif) + whole[2:]
    elif format == "webp":
        data = saved("WEBP", lossless=True, exif=b"Exif\0\0" + exif)
    else:
        whole = bytearray(saved("TIFF"))
        start = struct.unpack_from("<I", whole, 4)[0]
        count = struct.unpack_from("<H", whole, start)[0]
        entries = bytes(whole[start + 2 : start + 2 + 12 * count])
        more = b"".join(struct.pack("<HHII", 40_000 + number, 1, 10_000, 8) for number in range(2000))
        struct.pack_into("<I", whole, 4, len(whole))
        data = bytes(whole) + struct.pack("<H", count + 2000) + entries + more + bytes(4)
    decoded = decode_image(data)
    assert decoded.notes == ("unread_metadata",)
    assert np.array_equal(decoded.pixels, decode_image(saved("JPEG", quality=98)).pixels if format == "jpg" else FACE)


# ---------------------------------------- colour profiles that cannot be used

DAMAGED_PROFILES = {
    "wrong checksum": wrong_sum(profile_chunk(SRGB)),
    "damaged header": profile_chunk(SRGB, name=b""),
    "damaged data": chunk(b"iCCP", b"p\0\0" + b"\x78\x9c" + b"\xff" * 200),
    "cut, or with more behind it": profile_chunk(SRGB, cut=20),
    "more than 1000000 bytes": profile_chunk(SRGB + bytes(1_000_000)),
    "no profile": profile_chunk(bytes(600)),
    "of another length than it says": profile_chunk(SRGB + bytes(4)),
    "for other colours": profile_chunk(SRGB[:16] + b"GRAY" + SRGB[20:]),
}


@pytest.mark.parametrize("fault", DAMAGED_PROFILES)
def test_a_damaged_profile_is_cut_from_what_is_stored_and_the_record_says_so(
    fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = png(DAMAGED_PROFILES[fault])
    assert profile_fault(data, "png") == fault
    stored = prepare(data, HqConfig(size=SIDE))
    assert b"iCCP" not in stored.data
    assert np.array_equal(stored.pixels, FACE)
    notes = [change["note"] for change in stored.changes if "note" in change]
    assert notes in ([f"colour profile: {fault}"], ["unread_metadata"])
    capfd.readouterr()
    read = cv2.imdecode(np.frombuffer(stored.data, np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    assert np.array_equal(read[..., ::-1], FACE)
    assert capfd.readouterr().err == "", "libpng has nothing to warn of at later reads"


def test_other_chunks_with_a_wrong_sum_are_cut_too() -> None:
    phys = chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))
    assert b"pHYs" in strip_metadata(png(phys), "png")
    assert strip_metadata(png(wrong_sum(phys)), "png") == png()


GOOD = [
    ("png", saved("PNG", icc_profile=SRGB)),
    ("jpg", saved("JPEG", icc_profile=SRGB)),
    ("jpg", saved("JPEG", icc_profile=SRGB + bytes(150_000))),  # several segments, and longer than it says
    ("webp", saved("WEBP", icc_profile=SRGB)),
]


@pytest.mark.parametrize(("format", "data"), GOOD, ids=["png", "jpg", "jpg, long", "webp"])
def test_files_with_a_good_profile_are_stored_as_they_are(format: str, data: bytes) -> None:
    assert profile_fault(data, format) is None
    assert strip_metadata(data, format) is data


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_what_is_no_profile_is_cut_from_other_formats(format: str) -> None:
    data = saved({"jpg": "JPEG", "webp": "WEBP"}[format], icc_profile=b"no profile" * 30)
    stripped = strip_metadata(data, format)
    assert profile_fault(data, format) == "no profile"
    assert b"no profile" not in stripped
    assert np.array_equal(decode_image(stripped).pixels, decode_image(data).pixels)
    assert strip_metadata(stripped, format) is stripped


def test_a_file_that_is_damaged_in_its_pixels_is_still_refused() -> None:
    data = bytearray(png(chunk(b"zTXt", b"w\0\0" + TEXT)))
    data[-100] ^= 1
    with pytest.raises(ImageError, match="unreadable"):
        decode_image(bytes(data))
