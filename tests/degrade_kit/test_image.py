from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as pillow
from PIL import ImageCms, ImageFile, ImageOps, PngImagePlugin

from degrade_kit.errors import ImageError
from degrade_kit.image import (
    Decoded,
    Pixels,
    check_image,
    decode_image,
    encode_jpeg,
    encode_png,
    encode_webp,
    read_image,
    to_float,
    to_pixels,
)
from degrade_kit.image_files import strip_metadata
from tests.strategies import images

SECRET = b"52.5163 N 13.3777 E"
ORIENTATION = 0x0112


def photograph(height: int = 40, width: int = 56) -> Pixels:
    """A smooth, coloured, asymmetric picture, as a photograph is to a codec, that ends in no mid-grey."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / 7 + k) * np.cos(columns / (5 + k)) * 90 + 100 + 25 * k for k in range(3)]
    return np.stack(waves, axis=-1).clip(0, 255).astype(np.uint8)


def encoded(pixels: npt.NDArray[Any] | pillow.Image, format: str, **options: object) -> bytes:
    image = pixels if isinstance(pixels, pillow.Image) else pillow.fromarray(pixels)
    with io.BytesIO() as file:
        image.save(file, format, **cast("dict[str, Any]", options))
        return file.getvalue()


def by_pillow(data: bytes) -> Pixels:
    with pillow.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def png(header: tuple[int, int, int, int], data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file from width, height, bit depth and colour type, its unpacked data, and more chunks."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)) + b"".join(chunk(*each) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def deep_png(values: npt.NDArray[np.uint16]) -> bytes:
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png((width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels]), rows)


def assert_refused(data: bytes, reason: str, **limits: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **cast("dict[str, Any]", limits))
    assert caught.value.reason == reason, str(caught.value)
    return caught.value


PLAIN = {
    "png": encoded(photograph(), "PNG"),
    "jpg": encoded(photograph(), "JPEG", quality=90),
    "webp": encoded(photograph(), "WEBP", quality=80),
}
FORMATS = {
    **PLAIN,
    "bmp": encoded(photograph(), "BMP"),
    "tiff": encoded(photograph(), "TIFF", compression="tiff_lzw"),
    "gif": encoded(photograph(), "GIF"),
}


# ---------------------------------------- the contract


def test_to_pixels_rounds_halves_to_even_and_clips() -> None:
    values = np.array([-1e9, -1, -1e-6, 0, 0.5 / 255, 1.5 / 255, 2.5 / 255, 0.5, 1, 1 + 1e-6, 7, 1e9], np.float32)
    near = np.concatenate([values, np.nextafter(values, np.float32(2)), np.nextafter(values, np.float32(-2))])
    expected = np.rint(near.clip(0, 1) * np.float32(255)).astype(np.uint8)
    assert to_pixels(near.reshape(-1, 4, 3)).tobytes() == expected.tobytes()


@given(images(max_side=40), st.floats(0.5, 3))
def test_to_pixels_equals_its_definition(image: npt.NDArray[np.float32], gain: float) -> None:
    image = (image * np.float32(gain)).astype(np.float32)
    for view in (image, image[::-1, ::2], np.asfortranarray(image)):
        pixels = to_pixels(view)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert np.array_equal(pixels, np.rint(view.clip(0, 1) * np.float32(255)))


def test_to_pixels_undoes_to_float_for_every_value() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    image = to_float(pixels)
    check_image(image, "image")
    assert np.array_equal(image, pixels / np.float32(255))
    assert np.array_equal(to_pixels(image), pixels)
    assert to_float(np.asfortranarray(pixels)).flags.c_contiguous


@given(images())
def test_check_image_accepts_every_image(image: npt.NDArray[np.float32]) -> None:
    check_image(image, "hq")


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((4, 4), np.float32), r"shape \(4, 4\)"),
        (np.zeros((3, 4, 4), np.float32), r"shape \(3, 4, 4\)"),
        (np.zeros((0, 4, 3), np.float32), r"shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), "uint8"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 8, 3), np.float32)[:, ::2], "strides"),
        (np.full((4, 4, 3), 1.5, np.float32), "values from 1.5 to 1.5"),
        (np.full((4, 4, 3), -0.5, np.float32), "values from -0.5 to -0.5"),
        (np.full((4, 4, 3), np.nan, np.float32), "values from nan"),
    ],
)
def test_check_image_says_what_it_expected_and_got(image: npt.NDArray[Any], got: str) -> None:
    with pytest.raises(ValueError, match=rf"^lq: expected an RGB image, .*; got .*{got}"):
        check_image(image, "lq")


# ---------------------------------------- decoding


@pytest.mark.parametrize("format", FORMATS)
def test_decoding_agrees_with_pillow_and_tells_the_format_from_the_content(format: str) -> None:
    decoded = decode_image(FORMATS[format])
    assert decoded.format == format
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.c_contiguous
    assert decoded.pixels.flags.writeable
    assert np.array_equal(decoded.pixels, by_pillow(FORMATS[format]))


@pytest.mark.parametrize("format", FORMATS)
def test_only_formats_that_a_data_set_holds_are_plain(format: str) -> None:
    assert decode_image(FORMATS[format]).plain == (format in PLAIN)


@pytest.mark.parametrize(
    "options",
    [{"quality": 95, "subsampling": 0}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}],
    ids=str,
)
def test_any_eight_bit_rgb_jpeg_is_plain(options: dict[str, Any]) -> None:
    data = encoded(photograph(), "JPEG", **options)
    decoded = decode_image(data)
    assert (decoded.plain, decoded.notes) == (True, ())
    assert np.array_equal(decoded.pixels, by_pillow(data))


def test_gamma_and_colour_profile_leave_the_pixels_as_stored() -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in photograph())
    data = png((56, 40, 8, 2), rows, (b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0"))
    assert np.array_equal(decode_image(data).pixels, photograph())
    assert decode_image(data).plain


def test_read_image_gives_floats_whatever_the_extension(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(PLAIN["png"])
    image = read_image(path)
    check_image(image, "image")
    assert np.array_equal(image, to_float(photograph()))


def test_read_image_reports_what_the_system_says(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"^unreadable: No such file or directory$"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match=r"^unreadable: Is a directory$"):
        read_image(tmp_path)


# ---- E3, row 1


@pytest.mark.parametrize("format", PLAIN)
def test_a_file_that_ends_early_is_truncated_wherever_it_was_cut(format: str) -> None:
    data = PLAIN[format]
    for length in range(12, len(data), 7):
        assert_refused(data[:length], "truncated")
    for length in range(len(data) - 12, len(data)):
        assert_refused(data[:length], "truncated")


@pytest.mark.parametrize("format", ["bmp", "tiff", "gif"])
def test_cut_files_of_other_formats_are_refused(format: str) -> None:
    data = FORMATS[format]
    for length in range(len(data) * 9 // 10, len(data) - 2, 5):
        with pytest.raises(ImageError):
            decode_image(data[:length])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("gray", [False, True], ids=["rgb", "gray"])
def test_a_cut_jpeg_is_truncated_even_when_somebody_closed_it(options: dict[str, Any], gray: bool) -> None:
    data = encoded(photograph(64, 64)[..., 0] if gray else photograph(64, 64), "JPEG", quality=95, **options)
    scan = data.index(b"\xff\xda")
    for length in range(scan + 20, scan + (len(data) - scan) * 3 // 4, 3):
        assert_refused(data[:length] + b"\xff\xd9", "truncated")


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"optimize": True}], ids=str
)
@pytest.mark.parametrize("gray", [False, True], ids=["rgb", "gray"])
def test_a_complete_jpeg_may_be_mid_grey(options: dict[str, Any], gray: bool) -> None:
    for pixels in (
        np.full((48, 48, 3), 128, np.uint8),
        np.pad(photograph(16, 16), ((0, 48), (0, 48), (0, 0)), constant_values=128),
    ):
        data = encoded(pixels[..., 0] if gray else pixels, "JPEG", **options)
        assert (decode_image(data).pixels[-1, -1] == 128).all()


@pytest.mark.parametrize("pixels", [photograph(), photograph()[..., 0]], ids=["rgb", "gray"])
def test_a_png_with_damaged_pixels_is_unreadable(pixels: Pixels) -> None:
    data = bytearray(encoded(pixels, "PNG"))
    for position in range(data.index(b"IDAT") + 4, len(data) - 16, 41):
        data[position] ^= 16
        assert_refused(bytes(data), "unreadable")
        data[position] ^= 16


def test_png_pixels_and_errors_are_the_same_without_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imagecodecs")
    data = encoded(photograph(), "PNG")
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 16
    with_it = decode_image(data)
    monkeypatch.setattr("degrade_kit.image._imagecodecs", lambda: None)
    assert np.array_equal(decode_image(data).pixels, with_it.pixels)
    assert_refused(bytes(damaged), "unreadable")


def png_of(rows: bytes, width: int, height: int, *, packed: bytes | None = None, chunk: int = 1 << 20) -> bytes:
    """A PNG file of filtered rows, in chunks of so many bytes."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    stream = zlib.compress(rows, 6) if packed is None else packed
    header = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = [part(b"IDAT", stream[at : at + chunk]) for at in range(0, len(stream), chunk)]
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(parts) + part(b"IEND", b"")


@pytest.mark.slow
@settings(max_examples=40)
@given(
    width=st.sampled_from([32, 33, 141, 145, 160]),
    height=st.sampled_from([32, 47, 155, 160]),
    level=st.integers(0, 9),
    chunk=st.sampled_from([1, 977, 1 << 20]),
    seed=st.integers(0, 9),
)
def test_every_filter_and_packing_of_a_png_gives_the_pixels_of_opencv(
    width: int, height: int, level: int, chunk: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (height, 1 + 3 * width), np.uint8)
    rows[:, 0] = rng.integers(0, 5, height)
    if seed % 2:
        rows[:, 1 + width :] = 0
    data = png_of(b"", width, height, packed=zlib.compress(rows.tobytes(), level), chunk=chunk)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert expected is not None
    first = decode_image(data).pixels
    assert np.array_equal(first, expected)
    decode_image(png_of(bytes(48 * 145), 48, 48))  # the buffers are used again; the pixels before are not in them
    assert np.array_equal(first, expected)


def test_an_interlaced_png_is_decoded() -> None:
    pixels = photograph(40, 40)
    done, data = cv2.imencode(".png", pixels[..., ::-1])
    assert done
    # Each of the seven passes is an image of its own; all rows have the filter 0.
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx])
    interlaced = bytearray(png_of(rows, 40, 40))
    interlaced[28] = 1
    interlaced[29:33] = struct.pack(">I", zlib.crc32(interlaced[12:29]))
    assert np.array_equal(decode_image(bytes(interlaced)).pixels, decode_image(data.tobytes()).pixels)


@pytest.mark.parametrize("damage", ["short", "long", "sum", "stream"])
def test_a_png_of_odd_data_is_what_it_is_without_a_short_cut(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.zeros((40, 121), np.uint8)
    rows[:, 1:] = photograph(40, 40).reshape(40, 120)
    packed = bytearray(zlib.compress(rows.tobytes()[: -121 if damage == "short" else None]))
    if damage == "long":
        packed = bytearray(zlib.compress(rows.tobytes() + bytes(50)))
    elif damage == "sum":
        packed[-1] ^= 1
    elif damage == "stream":
        packed[len(packed) // 2] ^= 64
    data = png_of(b"", 40, 40, packed=bytes(packed))

    def outcome() -> Any:  # noqa: ANN401
        try:
            return decode_image(data).pixels.tobytes()
        except ImageError as error:
            return str(error)

    short_cut = outcome()
    monkeypatch.setattr("degrade_kit.image._inflated_png", lambda codecs, data: None)
    assert outcome() == short_cut


# ---- row 2


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_is_divided_by_257_and_rounded(channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (40, 40, channels)).astype(np.uint16)
    values[0, :8, :] = np.array([0, 128, 129, 257, 385, 386, 65406, 65535])[:, None]
    if channels in (2, 4):
        values[..., -1] = 65535
    decoded = decode_image(deep_png(values))
    colours = values[..., :1] if channels <= 2 else values[..., :3]
    assert np.array_equal(decoded.pixels, np.broadcast_to(np.rint(colours / 257), (40, 40, 3)))
    assert "bit_depth:16" in decoded.notes
    assert not decoded.plain


def test_sixteen_bit_tiff_is_scaled_not_clipped() -> None:
    values = (np.arange(40 * 40).reshape(40, 40) * 40).astype(np.uint16)
    decoded = decode_image(encoded(values, "TIFF"))
    assert np.array_equal(decoded.pixels[..., 0], np.rint(values / 257))
    assert decoded.notes == ("bit_depth:16", "grayscale")


def test_a_cut_sixteen_bit_png_is_truncated() -> None:
    data = deep_png(np.random.default_rng(0).integers(0, 65536, (40, 40, 3)).astype(np.uint16))
    assert_refused(data[: len(data) // 2], "truncated")


# ---- row 3


def cmyk_profile() -> bytes:
    """A colour profile of odd inks: the first, cyan elsewhere, is red; the last is black; the others show nothing."""
    white, red, black = (255, 128, 128), (135, 208, 195), (0, 128, 128)  # 8-bit Lab
    colours = [black if k & 1 else red if k & 8 else white for k in range(16)]
    ramp, identity = bytes(range(256)), struct.pack(">9i", *(65536 if k % 4 == 0 else 0 for k in range(9)))
    table = b"mft1" + bytes([0, 0, 0, 0, 4, 3, 2, 0]) + identity + ramp * 4 + b"".join(map(bytes, colours)) + ramp * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(table))
    header = struct.pack(">I4sI4s4s4s12x4s", 144 + len(table), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    illuminant = struct.pack(">28x3i48x", 63190, 65536, 54061)
    return header + illuminant + tags + table


def cmyk_jpeg(**options: object) -> bytes:
    return encoded(pillow.new("CMYK", (40, 40), (200, 30, 30, 10)), "JPEG", quality=95, **options)


def test_cmyk_without_a_profile_is_converted_plainly() -> None:
    decoded = decode_image(cmyk_jpeg())
    assert decoded.notes == ("cmyk",)
    assert not decoded.plain
    assert np.abs(decoded.pixels.astype(int) - (53, 216, 216)).max() <= 6


def test_cmyk_goes_through_its_embedded_profile() -> None:
    decoded = decode_image(cmyk_jpeg(icc_profile=cmyk_profile()))
    assert decoded.notes == ("cmyk:icc",)
    red, green, blue = decoded.pixels[20, 20].tolist()
    assert red > 200
    assert max(green, blue) < 120


@pytest.mark.parametrize("profile", [b"nonsense", cmyk_profile()[:200]], ids=["nonsense", "cut"])
def test_an_unusable_cmyk_profile_is_left_aside(profile: bytes) -> None:
    decoded = decode_image(cmyk_jpeg(icc_profile=profile))
    assert decoded.notes == ("cmyk",)
    assert np.array_equal(decoded.pixels, decode_image(cmyk_jpeg()).pixels)


def test_ycck_is_decoded() -> None:
    data = bytearray(cmyk_jpeg())
    data[data.index(b"Adobe") + 11] = 2  # says that the inks were turned to luminance and chrominance
    assert decode_image(bytes(data)).notes == ("cmyk",)


# ---- row 4


def rotated(format: str, orientation: int, pixels: Pixels) -> bytes:
    exif = pillow.Exif()
    exif[ORIENTATION] = orientation
    return encoded(pixels, format, exif=exif)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(format: str, orientation: int) -> None:
    data = rotated(format, orientation, photograph())
    decoded = decode_image(data)
    with pillow.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert expected.shape == ((40, 56, 3) if orientation < 5 else (56, 40, 3))
    assert np.array_equal(decoded.pixels, expected)
    assert decoded.pixels.flags.c_contiguous
    assert decoded.plain == (orientation == 1 and format != "TIFF")
    if format != "TIFF":  # which Pillow itself turns
        assert decoded.notes == (() if orientation == 1 else (f"orientation:{orientation}",))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_without_meaning_is_ignored(orientation: int) -> None:
    decoded = decode_image(rotated("JPEG", orientation, photograph()))
    assert decoded.plain
    assert decoded.pixels.shape == (40, 56, 3)


def test_damaged_exif_does_not_harm_the_pixels() -> None:
    data = encoded(photograph(), "JPEG", quality=90, exif=b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff junk")
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):  # Pillow's own, which is let through
        decoded = decode_image(data)
    assert np.array_equal(decoded.pixels, decode_image(PLAIN["jpg"]).pixels)


# ---- row 5


@pytest.mark.parametrize(("policy", "background"), [("black", 0), ("white", 255)])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_are_laid_on_the_background(
    policy: Literal["black", "white"], background: int, format: str
) -> None:
    pixels = np.dstack([photograph(), np.full((40, 56), 255, np.uint8)])
    pixels[:20, :, 3], pixels[20:30, :, 3] = 0, 128
    decoded = decode_image(encoded(pixels, format, **({"lossless": True} if format == "WEBP" else {})), alpha=policy)
    assert decoded.notes == (f"alpha:{policy}",)
    assert (decoded.pixels[:20] == background).all()
    assert np.array_equal(decoded.pixels[30:], photograph()[30:])
    half = photograph()[20:30] * (128 / 255) + background * (127 / 255)
    assert np.abs(decoded.pixels[20:30] - half).max() <= 1


def test_an_opaque_alpha_channel_is_dropped_under_any_policy() -> None:
    data = encoded(np.dstack([photograph(), np.full((40, 56), 255, np.uint8)]), "PNG")
    for policy in ("black", "white", "error"):
        decoded = decode_image(data, alpha=policy)
        assert np.array_equal(decoded.pixels, photograph())
        assert (decoded.notes, decoded.plain) == ((), False)


def test_transparency_is_refused_on_demand() -> None:
    assert_refused(encoded(np.zeros((40, 40, 4), np.uint8), "PNG"), "alpha", alpha="error")


def test_a_transparent_colour_counts_as_alpha() -> None:
    pixels = photograph()
    pixels[:10] = (1, 2, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    decoded = decode_image(png((56, 40, 8, 2), rows, (b"tRNS", struct.pack(">HHH", 1, 2, 3))), alpha="white")
    assert decoded.notes == ("alpha:white",)
    assert (decoded.pixels[:10] == 255).all()
    assert np.array_equal(decoded.pixels[10:], pixels[10:])


# ---- rows 6 to 8


def test_grey_and_one_bit_images_get_three_equal_channels() -> None:
    grey = photograph()[..., 0]
    for data in (encoded(grey, "PNG"), encoded(grey, "JPEG", quality=90), encoded(pillow.fromarray(grey > 99), "PNG")):
        decoded = decode_image(data)
        assert (decoded.notes, decoded.plain) == (("grayscale",), False)
        assert np.array_equal(decoded.pixels, by_pillow(data))
        assert (decoded.pixels == decoded.pixels[..., :1]).all()


def test_a_palette_becomes_rgb_and_its_transparent_entries_follow_the_alpha_policy() -> None:
    palette = pillow.fromarray(photograph()).quantize(32)
    opaque = decode_image(encoded(palette, "PNG"))
    assert opaque.notes == ("palette",)
    assert np.array_equal(opaque.pixels, np.asarray(palette.convert("RGB")))
    for transparency in (0, bytes([0, *[255] * 31])):
        decoded = decode_image(encoded(palette, "PNG", transparency=transparency), alpha="white")
        assert decoded.notes == ("palette", "alpha:white")
        assert (decoded.pixels[np.asarray(palette) == 0] == 255).all()
        assert np.array_equal(decoded.pixels[np.asarray(palette) > 0], opaque.pixels[np.asarray(palette) > 0])


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("MPO", {})])
def test_of_several_frames_the_first_is_taken(format: str, options: dict[str, Any]) -> None:
    first, second = (np.full((40, 40, 3), value, np.uint8) for value in (60, 200))
    data = encoded(first, format, save_all=True, append_images=[pillow.fromarray(second)], **options)
    decoded = decode_image(data)
    assert decoded.notes[0] == "first_frame"
    assert not decoded.plain
    assert np.abs(decoded.pixels.astype(int) - 60).max() <= 1
    assert decoded.format == {"MPO": "jpg"}.get(format, format.lower())


# ---- rows 9 to 11


def test_small_and_large_images_are_refused_by_their_header() -> None:
    assert "31 x 64" in str(assert_refused(encode_png(np.zeros((64, 31, 3), np.uint8)), "too small"))
    assert_refused(encode_png(np.zeros((1, 1, 3), np.uint8)), "too small")
    assert decode_image(encode_png(np.zeros((1, 1, 3), np.uint8)), min_side=1).pixels.shape == (1, 1, 3)
    assert_refused(encode_png(np.zeros((64, 65, 3), np.uint8)), "too large", max_pixels=64 * 64)


def one_bit_bomb(side: int) -> bytes:
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    data = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    whole = png((side, side, 1, 0), b"")
    start = whole.index(b"IDAT") - 4
    return whole[:start] + struct.pack(">I", len(data)) + b"IDAT" + data + bytes(4) + whole[-12:]


@pytest.mark.slow
def test_a_decompression_bomb_is_refused_without_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(one_bit_bomb(20_000))
    assert bomb.stat().st_size < 60_000
    program = f"""
import resource, sys
from PIL import Image
from degrade_kit.errors import ImageError
from degrade_kit.image import decode_image
data = open({str(bomb)!r}, "rb").read()
Image.init()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(data)
except ImageError as error:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    sys.exit(0 if error.reason == "too large" and grown < 8_000 else f"{{error}}: {{grown}} kB")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_header_that_promises_too_much_is_refused() -> None:
    for format, position, size in (("png", 16, ">II"), ("jpg", PLAIN["jpg"].index(b"\xff\xc0") + 5, ">HH")):
        data = bytearray(PLAIN[format])
        struct.pack_into(size, data, position, 60_000, 60_000)
        if format == "png":
            struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
        assert_refused(bytes(data), "too large")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"<!DOCTYPE html><html>404</html>", "not an image"),
        (b"BMW is not a bitmap, though it begins like one", "not an image"),
        (bytes(1000), "not an image"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not an image"),
        (b"\0\0\0 ftypavif\0\0\0\0avifmif1", "unsupported format"),
        (b"8BPS\0\1" + bytes(100), "unsupported format"),
        (encoded(pillow.new("F", (40, 40)), "TIFF"), "unsupported format"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"II*\0" + bytes(100), "unreadable"),
    ],
    ids=["empty", "html", "text", "zeros", "sound", "avif", "psd", "float", "signature", "tiff"],
)
def test_what_is_no_image_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert_refused(data, reason)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_damaged_files_give_an_image_or_an_image_error(format: str, data: st.DataObject) -> None:
    damaged = bytearray(FORMATS[format])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    first, second = (outcome(bytes(damaged)) for _ in range(2))
    assert first == second


def outcome(data: bytes) -> bytes | str:
    try:
        decoded = decode_image(data, max_pixels=100_000)
    except ImageError as error:
        return str(error)
    assert isinstance(decoded, Decoded)
    return decoded.pixels.tobytes()


def test_pillows_settings_are_left_alone() -> None:
    before = ImageFile.LOAD_TRUNCATED_IMAGES, pillow.MAX_IMAGE_PIXELS
    for data in FORMATS.values():
        decode_image(data)
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, pillow.MAX_IMAGE_PIXELS) == before == (False, pillow.MAX_IMAGE_PIXELS)


@pytest.mark.slow
def test_importing_the_module_does_not_import_pillow() -> None:
    program = "import sys, degrade_kit.image; sys.exit('PIL' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


# ---------------------------------------- encoding


@settings(max_examples=50)
@given(images(max_side=40), st.integers(0, 9))
def test_lossless_formats_give_the_pixels_back(image: npt.NDArray[np.float32], level: int) -> None:
    pixels = to_pixels(image)
    for data in (encode_png(pixels, level), encode_webp(pixels, None)):
        decoded = decode_image(data, min_side=1)
        assert np.array_equal(decoded.pixels, pixels)
        assert (decoded.plain, decoded.notes) == (True, ())
        assert strip_metadata(data, decoded.format) is data


def test_encoding_keeps_red_red_and_repeats_byte_for_byte() -> None:
    red = np.full((48, 48, 3), (230, 20, 40), np.uint8)
    for encode in (
        encode_png,
        lambda p: encode_jpeg(p, 90),
        lambda p: encode_webp(p, 90),
        lambda p: encode_webp(p, None),
    ):
        data = encode(red)
        assert data == encode(red.copy()) == encode(np.repeat(red, 2, axis=1)[:, ::2])
        assert np.abs(decode_image(data).pixels.astype(int) - red).max() <= 3


@pytest.mark.parametrize(("subsampling", "factor"), [("420", 0x22), ("444", 0x11)])
def test_subsampling_is_what_was_asked_for(subsampling: Literal["420", "444"], factor: int) -> None:
    data = encode_jpeg(photograph(), 90, subsampling=subsampling)
    assert data[data.index(b"\xff\xc0") + 11] == factor


def test_quality_and_level_trade_size() -> None:
    sizes = [len(encode_jpeg(photograph(), quality)) for quality in (0, 10, 50, 90, 100)]
    assert sizes == sorted(sizes)
    assert len(encode_webp(photograph(), 10)) < len(encode_webp(photograph(), 90))
    assert len(encode_png(photograph(), 9)) < len(encode_png(photograph(), 0))


def test_encoders_refuse_what_they_cannot_hold() -> None:
    with pytest.raises(ValueError, match="quality: expected 0 to 100, got 101"):
        encode_jpeg(photograph(), 101)
    with pytest.raises(ValueError, match="quality: expected 1 to 100, got 0"):
        encode_webp(photograph(), 0)
    with pytest.raises(ValueError, match="level: expected 0 to 9, got 10"):
        encode_png(photograph(), 10)
    with pytest.raises(ValueError, match="subsampling"):
        encode_jpeg(photograph(), 90, subsampling=cast("Any", "422"))
    with pytest.raises(ValueError, match="float32"):
        encode_png(cast("Any", to_float(photograph())))
    with pytest.raises(ValueError, match=r"\(40, 56\)"):
        encode_png(photograph()[..., 0])
    with pytest.raises(ValueError, match="16384 x 1"):
        encode_webp(np.zeros((1, 16384, 3), np.uint8), None)
    with pytest.raises(ValueError, match="0 x 8"):
        encode_png(np.zeros((8, 0, 3), np.uint8))


# ---------------------------------------- metadata


def exif_with_secret() -> pillow.Exif:
    exif = pillow.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[0x001B] = SECRET
    return exif


def profile_for(format: str) -> bytes:
    """A colour profile that stays: of a PNG file, one for RGB, since libpng warns of any other."""
    if format == "png":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return cmyk_profile()


def with_metadata(format: str) -> bytes:
    """A file with all that carries metadata, and a colour profile."""
    exif, profile, xmp = exif_with_secret(), profile_for(format), b"<x:xmpmeta>" + SECRET
    if format == "jpg":
        data = encoded(photograph(), "JPEG", quality=90, exif=exif, icc_profile=profile, xmp=xmp, comment=SECRET)
        iptc = b"\xff\xed" + struct.pack(">H", 2 + 14 + len(SECRET)) + b"Photoshop 3.0\0" + SECRET
        thumbnail = b"\xff\xe0" + struct.pack(">H", 2 + 6 + len(SECRET)) + b"JFXX\0\x10" + SECRET
        return data[:2] + iptc + thumbnail + data[2:] + SECRET
    if format == "webp":
        return encoded(photograph(), "WEBP", quality=80, exif=exif, icc_profile=profile, xmp=xmp) + SECRET
    text = PngImagePlugin.PngInfo()
    text.add_text("GPS", SECRET.decode())
    text.add_text("Comment", SECRET.decode(), zip=True)
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    text.add(b"tIME", bytes(7))
    text.add(b"prVt", SECRET)
    return encoded(photograph(), "PNG", pnginfo=text, exif=exif, icc_profile=profile) + SECRET


@pytest.mark.parametrize("format", PLAIN)
def test_stripping_removes_all_metadata_and_keeps_pixels_and_profile(format: str) -> None:
    data = with_metadata(format)
    stripped = strip_metadata(data, format)
    assert data.count(SECRET) >= 3
    assert SECRET not in stripped
    with pillow.open(io.BytesIO(stripped)) as image:
        image.load()
        assert image.info["icc_profile"] == profile_for(format)
        assert set(image.info) <= {
            "icc_profile",
            "jfif",
            "jfif_version",
            "jfif_unit",
            "jfif_density",
            "loop",
            "background",
        } | {"timestamp", "duration"}
        assert not dict(image.getexif())
    assert np.array_equal(by_pillow(stripped), by_pillow(data))
    assert np.array_equal(decode_image(stripped).pixels, decode_image(data).pixels)
    assert strip_metadata(stripped, format) is stripped


@pytest.mark.parametrize("format", PLAIN)
def test_stripping_returns_the_same_object_when_there_is_nothing_to_remove(format: str) -> None:
    assert strip_metadata(PLAIN[format], format) is PLAIN[format]


def test_stripping_clears_the_flags_of_what_it_removed_from_webp() -> None:
    data, stripped = (edit(with_metadata("webp")) for edit in (bytes, lambda data: strip_metadata(data, "webp")))
    assert data[20] & 0x0C == 0x0C
    assert stripped[20] == data[20] & ~0x0C
    assert len(stripped) == 8 + int.from_bytes(stripped[4:8], "little")


def test_stripping_keeps_the_colour_transform_of_a_jpeg() -> None:
    data = cmyk_jpeg(comment=SECRET)
    stripped = strip_metadata(data, "jpg")
    assert b"Adobe" in stripped
    assert np.array_equal(decode_image(stripped).pixels, decode_image(data).pixels)


def test_stripping_drops_the_further_pictures_of_an_mpo() -> None:
    data = encoded(photograph(), "MPO", save_all=True, append_images=[pillow.fromarray(photograph())])
    decoded = decode_image(strip_metadata(data, "jpg"))
    assert decoded.plain
    assert np.array_equal(decoded.pixels, decode_image(data).pixels)


@pytest.mark.parametrize("format", PLAIN)
def test_stripping_a_cut_file_says_truncated(format: str) -> None:
    data = PLAIN[format]
    for length in range(12, len(data) - 1, 11):
        with pytest.raises(ImageError, match=r"^truncated"):
            strip_metadata(data[:length], format)


@given(st.sampled_from(sorted(PLAIN)), st.binary(max_size=200))
def test_stripping_ends_whatever_the_bytes(format: str, junk: bytes) -> None:
    start = {"png": PLAIN["png"][:33], "jpg": PLAIN["jpg"][:20], "webp": b"RIFF\x80\0\0\0WEBP"}[format]
    try:
        stripped = strip_metadata(start + junk, format)
    except ImageError:
        with pytest.raises(ImageError, match=r"^truncated"):
            strip_metadata(start + junk, format)
    else:
        assert strip_metadata(stripped, format) is stripped


def test_stripping_takes_a_webp_whose_header_chunk_is_empty() -> None:
    data = b"RIFF" + struct.pack("<I", 12) + b"WEBPVP8X" + bytes(4)
    assert strip_metadata(data, "webp") is data


def test_stripping_wants_the_format_that_the_data_have() -> None:
    with pytest.raises(ImageError, match=r"^not an image: expected jpg"):
        strip_metadata(PLAIN["png"], "jpg")
    with pytest.raises(ValueError, match="png, jpg, webp"):
        strip_metadata(FORMATS["bmp"], "bmp")
