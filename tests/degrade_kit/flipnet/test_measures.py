from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.flipnet.measures import (
    FEATURES,
    colour_stains,
    energy_distance,
    features_of,
    pair_features,
    texture_distance,
)

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def face(astronaut: Pixels) -> Pixels:
    return np.ascontiguousarray(astronaut[:192, 128:320])


def rounded(image: npt.NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def noisy(image: Pixels, level: float, seed: int) -> Pixels:
    return rounded(image + np.random.default_rng(seed).normal(0, level, image.shape))


def blurred(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def test_energy_distance_is_that_of_two_loops() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(5, 3)), rng.normal(1, 2, (7, 3))

    def mean(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], *, same: bool) -> float:
        found = [
            float(np.sqrt(((x - y) ** 2).sum())) for i, x in enumerate(a) for j, y in enumerate(b) if i != j or not same
        ]
        return sum(found) / len(found)

    expected = 2 * mean(first, second, same=False) - mean(first, first, same=True) - mean(second, second, same=True)
    assert energy_distance(first, second) == pytest.approx(expected, rel=1e-12)
    assert energy_distance(second, first) == pytest.approx(expected, rel=1e-12)


def test_energy_distance_is_zero_on_average_for_one_distribution_and_grows_with_a_shift() -> None:
    rng = np.random.default_rng(1)
    found = [
        [energy_distance(rng.normal(size=(30, 4)), rng.normal(shift, 1, (20, 4))) for _ in range(60)]
        for shift in (0.0, 0.5, 1.0)
    ]
    equal, near, far = (float(np.mean(distances)) for distances in found)
    assert abs(equal) < 3 * float(np.std(found[0])) / 60**0.5 + 1e-3
    assert equal < near < far


def test_two_draws_of_one_noise_are_nearer_than_the_clean_image(face: Pixels) -> None:
    between = texture_distance(noisy(face, 20, 0), noisy(face, 20, 1))
    assert between < 0.3 * texture_distance(noisy(face, 20, 0), face)
    assert texture_distance(face, face) == 0


def test_texture_distance_is_symmetric(face: Pixels) -> None:
    first, second = blurred(face, 2), noisy(face, 9, 0)
    assert texture_distance(first, second) == pytest.approx(texture_distance(second, first), rel=1e-6)


@pytest.mark.parametrize("kind", ["noise", "blur", "dark"])
def test_texture_distance_grows_with_strength(face: Pixels, kind: str) -> None:
    weak_to_strong = {
        "noise": [noisy(face, level, 0) for level in (2, 6, 18, 50)],
        "blur": [blurred(face, sigma) for sigma in (0.5, 1, 2, 5)],
        "dark": [rounded(face * factor) for factor in (0.9, 0.7, 0.4, 0.1)],
    }[kind]
    distances = [texture_distance(face, image) for image in weak_to_strong]
    assert distances == sorted(distances)
    assert distances[0] < 0.5 * distances[-1]


def test_an_image_that_is_not_degraded_has_no_features(face: Pixels) -> None:
    features = dict(zip(FEATURES, pair_features(face, face), strict=True))
    assert len(features) == 8
    for name in ("brightness", "veil", "blur", "noise", "contrast", "red_shift", "blue_shift"):
        assert abs(features[name]) < 0.05, name


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("brightness", lambda image: rounded(image * 0.2)),
        ("veil", lambda image: rounded(image * 0.4 + 140)),
        ("blur", lambda image: blurred(image, 3)),
        ("noise", lambda image: noisy(image, 15, 0)),
        ("contrast", lambda image: rounded(image * 0.3 + 80)),
        ("red_shift", lambda image: rounded(image * np.array([1.0, 0.8, 0.8]))),
        ("blue_shift", lambda image: rounded(image * np.array([0.8, 0.8, 1.0]))),
    ],
)
def test_a_degradation_moves_its_own_feature(face: Pixels, name: str, change: Callable[[Pixels], Pixels]) -> None:
    found = pair_features(face, change(face))[FEATURES.index(name)]
    assert abs(found) > 0.15
    assert (found < 0) == (name in ("brightness", "contrast"))


def test_features_of_many_pairs_are_stacked(face: Pixels) -> None:
    pairs = [(face, face), (face, blurred(face, 2))]
    assert np.array_equal(features_of(pairs), [pair_features(*pair) for pair in pairs])


def test_stains_are_what_no_change_of_light_or_colour_explains(face: Pixels) -> None:
    cast = rounded(face * np.array([0.5, 0.4, 0.3], np.float64) + np.array([20.0, 0.0, 40.0]))
    assert colour_stains(face, face) < 0.01
    assert colour_stains(face, cast) < 0.3
    assert colour_stains(face, noisy(face, 8, 0)) < 0.3, "noise is not smooth"
    clouds = cv2.GaussianBlur(np.random.default_rng(0).normal(size=face.shape[:2]), (0, 0), 24)
    reddish = face.astype(np.float64)
    reddish[..., 0] += clouds / clouds.std() * 10
    assert 2 < colour_stains(face, rounded(reddish)) < 10
