from __future__ import annotations

import io
import json
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import sha256
from degrade_kit.hq import HQ_FORMATS, HqConfig, HqFormat, likely_format, prepare, to_json, versions
from degrade_kit.image import Decoded, Pixels, decode_image, encode_jpeg, encode_png, encode_webp, to_pixels
from tests.strategies import images


def encoded(pixels: Pixels, format: HqFormat) -> bytes:
    return {"png": encode_png, "jpg": lambda p: encode_jpeg(p, 90), "webp": lambda p: encode_webp(p, 90)}[format](
        pixels
    )


def ops_of(changes: list[dict[str, Any]]) -> list[str]:
    return [change["op"] for change in changes]


@pytest.fixture
def face(astronaut: npt.NDArray[np.uint8]) -> Pixels:
    return np.ascontiguousarray(astronaut[0:200:2, 150:350:2])


@pytest.mark.parametrize("format", HQ_FORMATS)
def test_files_that_fit_are_passed_through_byte_by_byte(face: Pixels, format: HqFormat) -> None:
    raw = encoded(face, format)
    for size in (100, 0):
        hq = prepare(raw, HqConfig(size=size, format=format))
        assert hq.data is raw
        assert hq.changes == []
        assert not hq.enlarged
        assert np.array_equal(hq.pixels, decode_image(raw).pixels)


def test_metadata_are_cut_out_of_a_file_that_is_passed_through(face: Pixels) -> None:
    with io.BytesIO() as file:
        Image.fromarray(face).save(file, "JPEG", quality=90, comment=b"at home")
        raw = file.getvalue()
    hq = prepare(raw, HqConfig(size=100, format="jpg"))
    assert hq.changes == [{"op": "strip_metadata"}]
    assert b"at home" not in hq.data
    assert len(raw) - 20 <= len(hq.data) < len(raw)
    assert np.array_equal(hq.pixels, decode_image(raw).pixels)


@pytest.mark.parametrize("format", HQ_FORMATS)
@pytest.mark.parametrize("kind", HQ_FORMATS)
def test_other_formats_are_encoded_once_and_that_is_on_record(face: Pixels, kind: HqFormat, format: HqFormat) -> None:
    raw = encoded(face, kind)
    hq = prepare(raw, HqConfig(size=100, format=format))
    assert ops_of(hq.changes) == ([] if kind == format else ["encode"])
    assert decode_image(hq.data).format == format
    if kind != format:
        assert hq.changes[0]["format"] == format
        assert hq.changes[0]["library"] == f"opencv {cv2.__version__}"
    if format != "jpg":
        assert np.array_equal(hq.pixels, decode_image(raw).pixels)


@pytest.mark.slow
@given(images(min_side=16, max_side=90), st.sampled_from(HQ_FORMATS), st.sampled_from([0, 16, 40]))
def test_the_pixels_are_what_a_reader_decodes(image: npt.NDArray[np.float32], format: HqFormat, size: int) -> None:
    config = HqConfig(size=size, format=format, min_side=1)
    hq = prepare(encode_png(to_pixels(image)), config)
    assert np.array_equal(hq.pixels, decode_image(hq.data, min_side=1).pixels)
    assert hq.pixels.shape == ((size, size, 3) if size else image.shape)
    assert hq.pixels.flags.c_contiguous
    assert hq.enlarged == (min(image.shape[:2]) < size)
    assert prepare(encode_png(to_pixels(image)), config).data == hq.data


@pytest.mark.parametrize(("shape", "left", "top"), [((60, 101), 20, 0), ((101, 60), 0, 20), ((60, 61), 0, 0)])
def test_the_central_square_is_taken(face: Pixels, shape: tuple[int, int], left: int, top: int) -> None:
    pixels = np.resize(face, (*shape, 3))
    hq = prepare(encode_png(pixels), HqConfig(size=60))
    assert hq.changes[0] == {"op": "crop", "left": left, "top": top, "side": 60}
    assert ops_of(hq.changes) == ["crop", "encode"]
    assert np.array_equal(hq.pixels, pixels[top : top + 60, left : left + 60])


def test_images_that_are_not_square_can_be_refused(face: Pixels) -> None:
    with pytest.raises(ImageError, match="100 x 60 pixels") as caught:
        prepare(encode_png(face[:60]), HqConfig(size=60, crop="error"))
    assert caught.value.reason == "not square"
    assert prepare(encode_png(face[:60]), HqConfig(size=0, crop="error")).changes == []


@pytest.mark.parametrize("size", [40, 250])
@pytest.mark.parametrize("filter", ["lanczos", "bicubic", "area"])
def test_resizing_is_what_its_record_says(face: Pixels, filter: Any, size: int) -> None:  # noqa: ANN401
    hq = prepare(encode_png(face), HqConfig(size=size, filter=filter))
    change = hq.changes[0]
    assert (change["op"], change["from"], change["to"]) == ("resize", 100, size)
    assert hq.enlarged == (size > 100)
    used = "bicubic" if filter == "area" and size > 100 else filter
    assert change["filter"] == used
    if used == "area":
        expected = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)
        assert change["library"].startswith("opencv ")
    else:
        chosen = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}[used]
        expected = np.asarray(Image.fromarray(face).resize((size, size), chosen))
        assert change["library"].startswith("pillow ")
    assert np.array_equal(hq.pixels, expected)


def test_conversions_are_on_record_in_their_order(face: Pixels) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    with io.BytesIO() as file:
        Image.fromarray(face[:80]).convert("L").save(file, "PNG", exif=exif)
        hq = prepare(file.getvalue(), HqConfig(size=40))
    assert ops_of(hq.changes) == ["decode", "decode", "crop", "resize", "encode"]
    assert [change.get("note") for change in hq.changes[:2]] == ["grayscale", "orientation:3"]
    assert json.loads(to_json(hq.changes)) == hq.changes


def test_a_grey_file_is_encoded_anew_even_where_size_and_format_fit(face: Pixels) -> None:
    with io.BytesIO() as file:
        Image.fromarray(face).convert("L").save(file, "PNG")
        hq = prepare(file.getvalue(), HqConfig(size=100))
    assert ops_of(hq.changes) == ["decode", "encode"]
    assert decode_image(hq.data).plain


def test_too_small_images_and_transparent_ones_are_refused_if_asked(face: Pixels) -> None:
    with pytest.raises(ImageError, match="too small"):
        prepare(encode_png(face[:20, :20]), HqConfig(size=64, min_side=21))
    assert prepare(encode_png(face[:20, :20]), HqConfig(size=64, min_side=20)).enlarged
    with io.BytesIO() as file:
        Image.fromarray(np.dstack([face, face[:, :, 0]])).save(file, "PNG")
        transparent = file.getvalue()
    with pytest.raises(ImageError, match="alpha"):
        prepare(transparent, HqConfig(size=100, alpha="error"))
    white, black = (prepare(transparent, HqConfig(size=100, alpha=alpha)).pixels for alpha in ("white", "black"))
    assert (white >= black).all()
    assert (white != black).any()


@pytest.mark.parametrize("format", HQ_FORMATS)
def test_images_longer_than_recipes_can_take_are_refused_at_their_own_size(format: HqFormat) -> None:
    raw, longest = (encode_png(np.zeros((32, width, 3), np.uint8)) for width in (16_384, 16_383))
    with pytest.raises(ImageError, match="16384 x 32 pixels") as caught:
        prepare(raw, HqConfig(size=0, format=format))
    assert caught.value.reason == "too large"
    assert prepare(longest, HqConfig(size=0, format=format)).pixels.shape == (32, 16_383, 3)
    assert prepare(raw, HqConfig(size=32, format=format)).pixels.shape == (32, 32, 3)


@pytest.mark.parametrize("size", [-1, 1, 15, 4097])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=r"\[16, 4096\]"):
        HqConfig(size=size)
    assert HqConfig(size=16).size == 16
    assert HqConfig(size=0).size == 0


def header(format: str, height: int, width: int, *, plain: bool = True) -> Decoded:
    return Decoded(pixels=np.zeros((height, width, 3), np.uint8), format=format, notes=(), plain=plain)


@pytest.mark.parametrize(
    ("headers", "size", "expected"),
    [
        ([header("jpg", 64, 64)] * 2, 64, "jpg"),
        ([header("webp", 64, 64), None], 64, "webp"),
        ([header("jpg", 64, 64), header("png", 64, 64)], 64, "png"),
        ([header("jpg", 64, 64), header("jpg", 65, 65)], 64, "png"),
        ([header("jpg", 64, 65)], 64, "png"),
        ([header("jpg", 64, 65)], 0, "jpg"),
        ([header("jpg", 64, 64), header("jpg", 64, 64, plain=False)], 64, "png"),
        ([header("bmp", 64, 64)], 64, "png"),
        ([None], 64, "png"),
        ([], 64, "png"),
    ],
)
def test_the_format_of_a_data_set_is_its_sources_if_all_can_be_passed_through(
    headers: list[Decoded | None], size: int, expected: str
) -> None:
    assert likely_format(headers, size) == expected


def test_versions_and_hashes_are_those_of_what_may_change_a_pixel() -> None:
    assert versions()["numpy"] == np.__version__
    assert versions()["opencv"] == cv2.__version__
    assert {"degrade_kit", "pillow"} <= versions().keys()
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
