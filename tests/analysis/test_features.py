"""Features are finite for any image, follow the severity of a degradation, and tell kinds of degradation apart."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

import degrade_kit as dk
from degrade_kit import kernels
from degrade_kit.analysis.features import FEATURES, GROUPS, MIN_SIZE, NAMES, degradation_features
from degrade_kit.image import decode_image, encode_jpeg, to_float, to_pixels
from tests.strategies import Image, images

Pixels = npt.NDArray[np.uint8]
Rng = np.random.Generator
Draw = Callable[[Pixels, Rng], Pixels]
Degrade = Callable[[Pixels, float], Pixels]

SIDE = 256


def rounded(values: npt.NDArray) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def resized(image: Pixels, side: int, filter: int) -> Pixels:
    return np.asarray(cv2.resize(image, (side, side), interpolation=filter), np.uint8)


def shrunk(image: Pixels, scale: float) -> Pixels:
    return resized(image, round(image.shape[0] / scale), cv2.INTER_AREA)


def enlarged(image: Pixels) -> Pixels:
    return resized(image, SIDE, cv2.INTER_CUBIC)


def blur(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def motion(image: Pixels, length: float, angle: float) -> Pixels:
    kernel = kernels.motion(31, length, angle)
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.uint8)


def noise(image: Pixels, sigma: float, rng: Rng | None = None) -> Pixels:
    return rounded(image + (rng or np.random.default_rng(3)).normal(0, 1, image.shape) * sigma)


def jpeg(image: Pixels, quality: float) -> Pixels:
    return decode_image(encode_jpeg(image, int(quality)), min_side=8).pixels


def haze(image: Pixels, weight: float, airlight: float = 230) -> Pixels:
    return rounded(image * (1 - weight) + airlight * weight)


def darken(image: Pixels, gain: float, gamma: float = 1.0) -> Pixels:
    return rounded((image / 255) ** gamma * 255 * gain)


def ratio(rng: Rng, low: float, high: float) -> float:
    """Uniform on the logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def preset(name: str) -> Draw:
    return lambda image, rng: to_pixels(dk.apply(dk.preset(name).draw(rng), to_float(image)))


KINDS: dict[str, Draw] = {
    "clean": lambda image, rng: image,
    "gaussian blur": lambda image, rng: blur(image, ratio(rng, 1, 5)),
    "motion blur": lambda image, rng: motion(image, rng.uniform(7, 25), rng.uniform(0, np.pi)),
    "noise": lambda image, rng: noise(image, ratio(rng, 5, 40), rng),
    "jpeg": lambda image, rng: jpeg(image, rng.uniform(8, 60)),
    "low resolution": lambda image, rng: enlarged(shrunk(image, ratio(rng, 2, 8))),
    "low resolution, jpeg": lambda image, rng: enlarged(jpeg(shrunk(image, ratio(rng, 2, 6)), rng.uniform(15, 70))),
    "low light": lambda image, rng: noise(
        darken(image, rng.uniform(0.1, 0.4), rng.uniform(1, 1.6)), rng.uniform(0, 3), rng
    ),
    "haze": lambda image, rng: haze(image, rng.uniform(0.3, 0.75), rng.uniform(180, 250)),
    "noise, enlarged": lambda image, rng: enlarged(noise(shrunk(image, ratio(rng, 1.7, 4)), ratio(rng, 6, 40), rng)),
    "gfpgan": preset("gfpgan"),
    "real-esrgan": preset("real-esrgan"),
}
SEVERITIES: dict[str, tuple[Degrade, tuple[float, ...]]] = {
    "blur": (blur, (0.6, 1, 1.5, 2.2, 3.3, 5)),
    "noise": (noise, (3, 6, 10, 16, 25, 40)),
    "jpeg": (jpeg, (90, 75, 55, 35, 20, 8)),
    "haze": (haze, (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)),
    "low light": (darken, (0.85, 0.7, 0.5, 0.35, 0.2, 0.1)),
}


def feature(image: Pixels, name: str) -> float:
    return float(degradation_features(image)[NAMES.index(name)])


# ---------------------------------------------------------------------------------------------------------------- shape


def test_every_feature_has_one_name_a_group_and_a_source() -> None:
    assert len(NAMES) == len(set(NAMES)) == len(FEATURES)
    assert all(feature.source for feature in FEATURES)
    covered = [index for group in GROUPS.values() for index in range(*group.indices(len(NAMES)))]
    assert covered == list(range(len(NAMES)))
    assert all(name.startswith(f"{group}.") for group, part in GROUPS.items() for name in NAMES[part])


@pytest.mark.slow
@given(images(min_side=MIN_SIZE, max_side=80))
def test_any_image_gives_finite_features_and_the_same_ones_again(image: Image) -> None:
    pixels = to_pixels(image)
    before = pixels.copy()
    features = degradation_features(pixels)
    assert features.shape == (len(NAMES),)
    assert features.dtype == np.float64
    assert [name for name, value in zip(NAMES, features, strict=True) if not np.isfinite(value)] == []
    np.testing.assert_array_equal(degradation_features(pixels), features)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (300, 512), (32, 1100), (2100, 33)])
@pytest.mark.parametrize("level", [0, 9, 255])
def test_constant_images_of_any_size_give_finite_features(shape: tuple[int, int], level: int) -> None:
    assert np.isfinite(degradation_features(np.full((*shape, 3), level, np.uint8))).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((31, 64, 3), np.uint8),
        np.zeros((64, 31, 3), np.uint8),
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
    ],
)
def test_other_arrays_are_refused_with_what_was_expected_and_found(image: npt.NDArray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 RGB, .* at least 32; got (uint8|float32), shape \("):
        degradation_features(image)


def test_a_view_gives_the_features_of_its_copy(astronaut: Pixels) -> None:
    view = astronaut[10:110, 5:205:2]
    np.testing.assert_array_equal(degradation_features(view), degradation_features(view.copy()))


# ---------------------------------------------------------------------------------------------------------- invariances


def scale_of(features: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.std(features, axis=0) + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clean", "motion blur", "jpeg", "noise, enlarged"])
def test_mirroring_changes_features_little(astronaut: Pixels, kind: str) -> None:
    rng = np.random.default_rng(1)
    spread = scale_of([degradation_features(draw(enlarged(astronaut), rng)) for draw in KINDS.values()])
    image = KINDS[kind](enlarged(astronaut), rng)
    features, mirrored = degradation_features(image), degradation_features(np.ascontiguousarray(image[:, ::-1]))
    # Products along the two diagonals change places.
    order = [NAMES.index(_other_diagonal(name)) for name in NAMES]
    apart = np.abs(features - mirrored[order]) / spread
    assert np.median(apart) < 0.01
    assert apart.max() < 0.35, NAMES[int(apart.argmax())]


def _other_diagonal(name: str) -> str:
    return name.replace("falling", "r").replace("rising", "falling").replace(".r_", ".rising_")


def test_exposure_moves_the_shape_of_the_spectrum_little(astronaut: Pixels) -> None:
    image = enlarged(astronaut)
    spread = scale_of([degradation_features(blur(image, sigma)) for sigma in (0.5, 1, 2, 4)])[GROUPS["spectrum"]]
    change = (degradation_features(darken(image, 0.7)) - degradation_features(image))[GROUPS["spectrum"]]
    assert (np.abs(change) / spread).max() < 0.5


# ------------------------------------------------------------------------------------------------------------- severity


@pytest.mark.parametrize(
    ("kind", "name", "sign"),
    [
        ("blur", "sharpness.laplacian_full", -1),
        ("blur", "sharpness.reblur_min", 1),
        ("blur", "sharpness.edge_50_half", -1),
        ("blur", "spectrum.width_90", -1),
        ("noise", "noise.luma_full", 1),
        ("noise", "noise.block_05", 1),
        ("noise", "nss.shape_full", 1),
        ("jpeg", "jpeg.grid_luma_8", 1),
        ("jpeg", "jpeg.zeros_mid", 1),
        ("haze", "colour.dark", 1),
        ("haze", "colour.contrast", -1),
        ("low light", "colour.luma_90", -1),
        ("low light", "colour.range_98", -1),
    ],
)
def test_features_follow_the_severity(astronaut: Pixels, kind: str, name: str, sign: int) -> None:
    degrade, levels = SEVERITIES[kind]
    values = [feature(degrade(enlarged(astronaut), level), name) for level in levels]
    assert (np.diff(values) * sign > 0).all(), values


def test_noise_is_measured_in_levels() -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    for sigma in (2, 8, 20):
        # Luma weighs three independent channels.
        luma = sigma * float(np.linalg.norm((0.299, 0.587, 0.114)))
        assert 10 ** feature(noise(grey, sigma), "noise.luma_full") - 0.1 == pytest.approx(luma, rel=0.06)


def test_enlarged_noise_shows_in_its_autocorrelation(astronaut: Pixels) -> None:
    fine = noise(enlarged(astronaut), 20)
    coarse = enlarged(noise(shrunk(enlarged(astronaut), 2), 20))
    assert abs(feature(fine, "noise.luma_lag_1")) < 0.15
    assert feature(coarse, "noise.luma_lag_1") > 0.5


def test_the_grid_of_an_enlarged_jpeg_is_found(astronaut: Pixels) -> None:
    small = shrunk(enlarged(astronaut), 2)
    with_grid, without = enlarged(jpeg(small, 20)), enlarged(small)
    assert feature(with_grid, "jpeg.low_peak") > feature(without, "jpeg.low_peak") + 0.3


def test_motion_blur_shows_as_direction(astronaut: Pixels) -> None:
    image = enlarged(astronaut)
    for angle in (0.0, 0.7, 2.0):
        moved = feature(motion(image, 15, angle), "spectrum.direction_1")
        assert moved > 2 * feature(blur(image, 3), "spectrum.direction_1")
