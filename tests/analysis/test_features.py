from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.features import GROUPS, MIN_SIZE, NAMES, degradation_features
from degrade_kit.image import Pixels, decode_image, encode_jpeg


def value(image: Pixels, name: str) -> float:
    return float(degradation_features(np.ascontiguousarray(image))[NAMES.index(name)])


@pytest.fixture(scope="module")
def face(astronaut: npt.NDArray[np.uint8]) -> Pixels:
    return np.ascontiguousarray(astronaut[:256, 90:346])


def noisy(image: Pixels, level: float, seed: int = 0) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, level, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def blurred(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def test_names_are_unique_and_groups_share_them_out() -> None:
    assert len(NAMES) == len(set(NAMES)) == 121
    covered = [place for group in GROUPS.values() for place in range(group.start, group.stop)]
    assert covered == list(range(121))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(MIN_SIZE, 90),
    st.integers(MIN_SIZE, 90),
    st.sampled_from(["black", "white", "grey", "noise", "stripes", "one pixel"]),
    st.integers(0, 99),
)
def test_every_image_gives_finite_numbers(height: int, width: int, kind: str, seed: int) -> None:
    image = np.full((height, width, 3), {"black": 0, "white": 255}.get(kind, 127), np.uint8)
    if kind == "noise":
        image = np.random.default_rng(seed).integers(0, 256, image.shape, np.uint8)
    elif kind == "stripes":
        image[:, ::2] = 255
    elif kind == "one pixel":
        image[seed % height, seed % width] = 255
    features = degradation_features(image)
    assert features.shape == (len(NAMES),)
    assert np.isfinite(features).all(), [NAMES[place] for place in np.flatnonzero(~np.isfinite(features))]
    assert np.abs(features).max() < 1000


def test_the_same_image_gives_the_same_numbers(face: Pixels) -> None:
    for offset in range(1, 9):  # wherever it lies in memory
        room = np.empty(face.size + 16, np.uint8)
        copy = room[offset : offset + face.size].reshape(face.shape)
        copy[:] = face
        assert (degradation_features(face) == degradation_features(copy)).all()
    assert (degradation_features(face) == degradation_features(np.asfortranarray(face))).all()


def test_a_mirror_image_changes_little(face: Pixels) -> None:
    one, two = degradation_features(face), degradation_features(np.ascontiguousarray(face[:, ::-1]))
    names = [name for name in NAMES if not name.startswith(("direction_", "pair_diag", "pair_anti"))]
    places = [NAMES.index(name) for name in names]
    assert np.abs(one - two)[places] == pytest.approx(0, abs=0.15)


@pytest.mark.parametrize(
    ("name", "sign"), [("laplacian_1", -1), ("bandwidth_99", -1), ("reblur_1", 1), ("edge_strength", -1)]
)
def test_blur_moves_what_measures_sharpness(name: str, sign: int, face: Pixels) -> None:
    values = [value(blurred(face, sigma), name) for sigma in (0.6, 1.2, 2.4)]
    assert (np.diff(values) * sign > 0).all(), values


def test_noise_is_found_at_its_strength(face: Pixels) -> None:
    smooth = blurred(face, 3)
    found = [np.exp(value(noisy(smooth, level), "noise_y")) for level in (4, 8, 16)]
    # The median absolute value of the mask's response: 0.67 deviations of luma, itself 0.66 of a channel's noise.
    assert found == pytest.approx([0.445 * level for level in (4, 8, 16)], rel=0.15)


def test_enlarged_noise_is_correlated(face: Pixels) -> None:
    small = np.asarray(cv2.resize(blurred(face, 3), (64, 64)), np.uint8)
    enlarged = np.asarray(cv2.resize(noisy(small, 15), (256, 256), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert value(enlarged, "lag_1") > 0.5 > 0.2 > value(noisy(blurred(face, 3), 15), "lag_1")


def test_gray_noise_is_correlated_between_channels(face: Pixels) -> None:
    smooth = blurred(face, 3)
    gray = np.random.default_rng(0).normal(0, 12, (256, 256, 1))
    grayed = np.clip(smooth + gray, 0, 255).astype(np.uint8)
    assert value(grayed, "channel_correlation") > 0.9
    assert value(noisy(smooth, 12), "channel_correlation") < 0.3


@pytest.mark.parametrize("quality", [15, 40])
def test_the_grid_of_jpeg_is_found_where_it_is(quality: int, face: Pixels) -> None:
    coded = decode_image(encode_jpeg(face, quality)).pixels
    assert value(coded, "grid_8_x") > value(face, "grid_8_x") + 0.3
    assert value(coded, "zeros_high") > value(face, "zeros_high")
    cut = np.ascontiguousarray(coded[3:, 3:])
    assert value(cut, "grid_8_x") < value(coded, "grid_8_x") - 0.3
    assert value(cut, "grid_8_shifted") == pytest.approx(value(coded, "grid_8_shifted"), abs=0.35)


def test_the_grid_of_an_enlarged_jpeg_is_found_at_its_period(face: Pixels) -> None:
    small = np.asarray(cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA), np.uint8)
    coded = decode_image(encode_jpeg(small, 10)).pixels
    enlarged = np.asarray(cv2.resize(coded, (512, 512), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert value(enlarged, "period") == pytest.approx(5, abs=0.05)  # 32 = 8 * 4 pixels


def test_darkness_haze_and_gaps_are_seen(face: Pixels) -> None:
    dark = (face * 0.3).astype(np.uint8)
    assert value(dark, "mean") == pytest.approx(0.3 * value(face, "mean"), abs=0.01)
    stretched = np.clip(dark.astype(np.int64) * 3, 0, 255).astype(np.uint8)
    assert value(stretched, "gaps") > 0.4 > value(face, "gaps")
    hazy = (face * 0.4 + 150).astype(np.uint8)
    assert value(hazy, "dark_channel") > value(face, "dark_channel") + 0.3
    assert value(hazy, "local_contrast") < value(face, "local_contrast")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((31, 64, 3), np.uint8), "expected sides of at least 32 pixels, got 64 x 31"),
        (np.zeros((64, 64), np.uint8), r"expected uint8 of shape \(H, W, 3\), got uint8 of shape \(64, 64\)"),
        (np.zeros((64, 64, 3), np.float32), "got float32"),
    ],
)
def test_what_cannot_be_measured_is_refused(image: Pixels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        degradation_features(image)
