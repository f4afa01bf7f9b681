"""Both images of a pair get the same crop, and the crop is what was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.flipnet.crops import Crop, CropPolicy, apply_crop, draw_crop, read_pair
from degrade_kit.flipnet.pairs import Pair
from degrade_kit.image import encode_png

Pixels = npt.NDArray[np.uint8]
policies = st.builds(
    CropPolicy,
    native=st.sampled_from([0.0, 0.5, 1.0]),
    scale=st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1.0)),
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    grid=st.sampled_from([1, 8]),
)
sides = st.integers(32, 160)
sizes = st.sampled_from([16, 32, 64, 128])
seeds = st.integers(0, 2**32)


def coordinates(height: int, width: int) -> Pixels:
    """An image whose pixels tell where they are."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(height)[:, None], np.arange(width)[None, :]
    return image


@given(sides, sides, sizes, policies, seeds)
def test_both_images_of_a_pair_are_cut_alike(height: int, width: int, size: int, policy: CropPolicy, seed: int) -> None:
    hq = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    lq = 255 - hq
    crop = draw_crop(height, width, size, policy, np.random.default_rng(seed))
    hq_cut, lq_cut = apply_crop(crop, hq), apply_crop(crop, lq)
    assert hq_cut.shape == lq_cut.shape == (size, size, 3)
    assert hq_cut.dtype == np.uint8
    assert hq_cut.flags.c_contiguous
    # Scaling is linear but for rounding, and for the clipping of what cubic interpolation overshoots.
    inner = (hq_cut > 0) & (hq_cut < 255) & (lq_cut > 0) & (lq_cut < 255)
    assert np.all(np.abs(hq_cut.astype(int) + lq_cut - 255)[inner] <= 1)


@given(sides, sides, sizes, policies, seeds)
def test_a_crop_lies_within_its_image(height: int, width: int, size: int, policy: CropPolicy, seed: int) -> None:
    crop = draw_crop(height, width, size, policy, np.random.default_rng(seed))
    assert min(crop.top, crop.left) >= 0
    assert crop.top + crop.side <= height
    assert crop.left + crop.side <= width
    assert crop == draw_crop(height, width, size, policy, np.random.default_rng(seed))
    assert (crop.size, crop.enlarged) == (size, crop.side < size)


@given(sides, sides, seeds, st.booleans())
def test_a_native_crop_keeps_pixels_and_the_jpeg_grid(height: int, width: int, seed: int, flip: bool) -> None:
    policy = CropPolicy(native=1.0, flip=float(flip))
    crop = draw_crop(height, width, 32, policy, np.random.default_rng(seed))
    cut = apply_crop(crop, coordinates(height, width))
    assert (crop.top % 8, crop.left % 8, crop.side) == (0, 0, 32)
    columns = np.arange(crop.left, crop.left + 32)
    assert np.array_equal(cut[..., 1], np.broadcast_to(columns[::-1] if flip else columns, (32, 32)))
    assert np.array_equal(cut[..., 0], np.broadcast_to(np.arange(crop.top, crop.top + 32)[:, None], (32, 32)))


def test_an_image_smaller_than_the_crop_gives_its_largest_square_enlarged() -> None:
    for native in (0.0, 1.0):
        policy = CropPolicy(native=native, scale=(1.0, 1.0))
        crop = draw_crop(40, 60, 128, policy, np.random.default_rng(0))
        assert (crop.side, crop.enlarged, crop.top) == (40, True, 0)
        assert apply_crop(crop, coordinates(40, 60)).shape == (128, 128, 3)


def test_a_face_of_the_size_asked_for_stays_whole() -> None:
    image = coordinates(64, 64)
    crop = draw_crop(64, 64, 64, CropPolicy(native=1.0, flip=0.0), np.random.default_rng(1))
    assert np.array_equal(apply_crop(crop, image), image)


def test_the_policys_probabilities_and_range_hold() -> None:
    policy, rng = CropPolicy(native=0.3, scale=(0.25, 1.0), flip=0.2), np.random.default_rng(0)
    crops = [draw_crop(200, 200, 64, policy, rng) for _ in range(4000)]
    native = [crop for crop in crops if crop.side == 64]
    resized = np.array([crop.side for crop in crops if crop.side != 64])
    assert len(native) / 4000 == pytest.approx(0.3, abs=0.03)
    assert np.mean([crop.flip for crop in crops]) == pytest.approx(0.2, abs=0.03)
    assert (resized.min(), resized.max()) == (100, 200)
    assert np.mean(resized**2) / 200**2 == pytest.approx(0.625, abs=0.02)
    assert {crop.top for crop in native} == set(range(0, 137, 8))


def test_a_crop_outside_of_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="to lie within 40 x 40 pixels"):
        apply_crop(Crop(top=10, left=0, side=32, size=32, flip=False), coordinates(40, 40))


@pytest.mark.parametrize(
    "fields",
    [{"native": 1.5}, {"native": 0.5, "flip": -1}, {"native": 0.5, "scale": (0.5, 0.2)}, {"native": 0, "grid": 0}],
)
def test_a_policy_that_makes_no_sense_is_refused(fields: dict) -> None:
    with pytest.raises(ConfigError, match="crops: expected"):
        CropPolicy(**fields)


def test_pairs_are_read_or_refused_with_the_files_name(tmp_path: Path) -> None:
    def put(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    image = coordinates(40, 50)
    good, other, text = put("a.png", encode_png(image)), put("b.png", encode_png(image[:38])), put("c.png", b"text")
    hq, lq = read_pair(Pair("haze", "a", good, good, "train"))
    assert np.array_equal(hq, image)
    assert np.array_equal(lq, image)
    for lq_path, match in (
        (other, "sizes differ: a: HQ has 50 x 40 pixels, LQ has 50 x 38"),
        (text, r"not an image: .*c\.png"),
        (tmp_path / "missing.png", r"unreadable: .*missing\.png"),
    ):
        with pytest.raises(ImageError, match=match):
            read_pair(Pair("haze", "a", good, lq_path, "train"))


def test_a_small_image_is_continued_by_its_mirror_and_keeps_its_pixels() -> None:
    policy = CropPolicy(native=1.0, flip=0.0, mirror=True)
    image = coordinates(40, 60)

    crop = draw_crop(40, 60, 96, policy, np.random.default_rng(0))
    cut = apply_crop(crop, image)

    assert (crop.top, crop.left, crop.side, crop.size, crop.enlarged) == (0, 0, 96, 96, False)
    assert np.array_equal(cut[:40, :60], image)
    assert np.array_equal(cut[40:79, :60], image[38::-1])
    assert np.array_equal(cut[:40, 60:96], image[:, 58:22:-1])
    large = draw_crop(128, 136, 96, policy, np.random.default_rng(1))
    assert not large.mirror
    assert large == draw_crop(128, 136, 96, CropPolicy(native=1.0, flip=0.0), np.random.default_rng(1))
