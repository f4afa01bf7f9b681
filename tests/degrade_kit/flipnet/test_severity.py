"""Each measured strength follows the true strength of a synthetic degradation, and no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.flipnet.severity import measure
from degrade_kit.image import decode_image, encode_jpeg

Pixels = npt.NDArray[np.uint8]
Degrade = Callable[[Pixels, float], Pixels]

SIDES = (64, 256)


def crops(image: Pixels, side: int, count: int = 6) -> list[Pixels]:
    """Cut the same crops each time, none of them flat."""
    rng = np.random.default_rng(side)
    found: list[Pixels] = []
    while len(found) < count:
        top, left = rng.integers(0, image.shape[0] - side + 1, 2)
        crop = np.ascontiguousarray(image[top : top + side, left : left + side])
        if crop.std() > 20:
            found.append(crop)
    return found


def rounded(values: npt.NDArray) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def blur(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def noise(image: Pixels, sigma: float) -> Pixels:
    return rounded(image + np.random.default_rng(3).normal(0, sigma, image.shape))


def jpeg(image: Pixels, quality: float) -> Pixels:
    return decode_image(encode_jpeg(image, int(quality))).pixels


def darken(image: Pixels, factor: float) -> Pixels:
    return rounded(image * factor)


def haze(image: Pixels, weight: float) -> Pixels:
    return rounded(image * (1 - weight) + 230 * weight)


CASES: dict[str, tuple[Degrade, tuple[float, ...]]] = {
    "blur": (blur, (0.5, 0.8, 1.2, 2, 3, 5)),
    "noise": (noise, (1, 2, 4, 8, 16, 25)),
    "blocks": (jpeg, (90, 70, 50, 30, 10)),
    "veil": (haze, (0.1, 0.2, 0.35, 0.5, 0.65)),
    "brightness": (darken, (0.9, 0.7, 0.5, 0.3, 0.15, 0.1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("field", CASES)
def test_a_measure_follows_the_true_strength(astronaut: Pixels, field: str, side: int) -> None:
    degrade, strengths = CASES[field]
    medians = [
        float(np.median([getattr(measure(hq, degrade(hq, strength)), field) for hq in crops(astronaut, side)]))
        for strength in strengths
    ]
    expected = sorted(medians, reverse=field == "brightness")
    assert medians == expected
    assert len(set(medians)) == len(medians)


@pytest.mark.slow
@pytest.mark.parametrize("side", [32, 64, 256])
def test_the_noise_measured_is_the_noise_added(astronaut: Pixels, side: int) -> None:
    bright = astronaut // 2 + 64  # so that nothing is clipped
    for sigma in (2, 5, 10, 20):
        found = np.median([measure(hq, noise(hq, sigma)).noise for hq in crops(bright, side)])
        assert found == pytest.approx(sigma, rel=0.1)


def test_the_darkening_measured_is_the_darkening_made(astronaut: Pixels) -> None:
    for factor in (0.2, 0.5, 0.8):
        assert measure(astronaut, darken(astronaut, factor)).brightness == pytest.approx(factor, abs=0.02)


@pytest.mark.parametrize("side", SIDES)
def test_an_image_against_itself_measures_nothing(astronaut: Pixels, side: int) -> None:
    for hq in crops(astronaut, side):
        severity = measure(hq, hq)
        assert severity.brightness == 1
        assert (severity.veil, severity.noise) == (0, 0)
        assert severity.blur == pytest.approx(0, abs=1e-5)
        assert severity.blocks == pytest.approx(0, abs=1e-5)


def test_one_degradation_is_not_taken_for_another(astronaut: Pixels) -> None:
    blurred, noisy = measure(astronaut, blur(astronaut, 3)), measure(astronaut, noise(astronaut, 16))
    dark, hazy = measure(astronaut, darken(astronaut, 0.2)), measure(astronaut, haze(astronaut, 0.5))
    for severity in (noisy, dark, hazy):
        assert severity.blur < 0.3
    for severity in (blurred, dark, hazy):
        assert severity.noise < 1
    for severity in (blurred, noisy, dark):
        assert severity.veil < 0.05
    for severity in (blurred, noisy, dark, hazy):
        assert severity.blocks < 0.3
    assert min(blurred.brightness, noisy.brightness, hazy.brightness) > 0.98


def test_blur_is_measured_below_noise_and_noise_above_blur(astronaut: Pixels) -> None:
    alone, together = measure(astronaut, blur(astronaut, 2)), measure(astronaut, noise(blur(astronaut, 2), 12))
    assert together.blur == pytest.approx(alone.blur, abs=0.1)
    assert together.noise == pytest.approx(12, rel=0.1)


def test_texture_and_a_soft_partner_count_for_nothing(astronaut: Pixels) -> None:
    grainy = noise(astronaut, 8)
    assert measure(grainy, grainy).noise == 0
    soft = blur(astronaut, 2)
    assert measure(soft, noise(soft, 6)).blur < 0.3


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_measure_nothing_but_noise(level: int) -> None:
    flat = np.full((48, 48, 3), level, np.uint8)
    severity = measure(flat, flat)
    assert dataclasses.astuple(severity) == pytest.approx((1, 0, 0, 0, 0), abs=1e-4)
    if level == 128:
        assert measure(flat, noise(flat, 5)).noise == pytest.approx(5, rel=0.15)


@pytest.mark.parametrize(
    ("hq", "lq"),
    [
        (np.zeros((32, 32, 3), np.float32), np.zeros((32, 32, 3), np.float32)),
        (np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)),
        (np.zeros((32, 32, 3), np.uint8), np.zeros((32, 33, 3), np.uint8)),
        (np.zeros((15, 32, 3), np.uint8), np.zeros((15, 32, 3), np.uint8)),
    ],
)
def test_what_is_no_pair_is_refused(hq: npt.NDArray, lq: npt.NDArray) -> None:
    with pytest.raises(ValueError, match="expected"):
        measure(hq, lq)
