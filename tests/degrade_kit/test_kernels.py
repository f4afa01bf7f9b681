from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from degrade_kit import kernels
from degrade_kit.kernels import Kernel
from degrade_kit.ops import Blur, KernelKind
from tests import naive
from tests.golden.regenerate import KERNEL_SIZES, KERNELS, SINCS

BASICSR = Path(__file__).parents[1] / "golden" / "basicsr.npz"

# SciPy's stubs know one-dimensional covariances only.
normal_density: Any = lambda points, covariance: cast(Any, stats.multivariate_normal).pdf(points, [0, 0], covariance)  # noqa: E731

sizes = st.integers(0, 25).map(lambda half: 2 * half + 1)
sigmas = st.floats(0, 20)
angles = st.floats(-math.pi, math.pi)
betas = st.floats(0.5, 4)

Builder = Callable[[int, float, float, float, float], Kernel]
FAMILY: dict[str, Builder] = {
    "gaussian": lambda size, sigma_x, sigma_y, rotation, _: kernels.gaussian(size, sigma_x, sigma_y, rotation),
    "generalized": kernels.generalized_gaussian,
    "plateau": kernels.plateau,
}


@pytest.mark.parametrize("family", list(FAMILY))
@given(size=sizes, sigma_x=sigmas, sigma_y=sigmas, rotation=angles, beta=betas)
def test_gaussian_family_sums_to_one_and_is_symmetric(
    family: str, size: int, sigma_x: float, sigma_y: float, rotation: float, beta: float
) -> None:
    kernel = FAMILY[family](size, sigma_x, sigma_y, rotation, beta)
    assert kernel.shape == (size, size)
    assert kernel.dtype == np.float64
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert kernel.min() >= 0
    assert kernel.max() == kernel[size // 2, size // 2]
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-15)


@given(size=sizes, cutoff=st.floats(0.05, math.pi))
def test_sinc_sums_to_one_and_is_symmetric(size: int, cutoff: float) -> None:
    kernel = kernels.sinc(size, cutoff)
    assert kernel.shape == (size, size)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    for mirrored in (kernel[::-1], kernel[:, ::-1], kernel.T):
        np.testing.assert_allclose(kernel, mirrored, atol=1e-13)


@given(size=sizes, share=st.floats(0, 1), angle=angles)
def test_motion_sums_to_one_and_is_symmetric(size: int, share: float, angle: float) -> None:
    kernel = kernels.motion(size, share * size, angle)
    assert kernel.shape == (size, size)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert kernel.min() >= 0
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 41])
@pytest.mark.parametrize(
    "build",
    [
        lambda size: kernels.gaussian(size, 0, 0, 0.3),
        lambda size: kernels.generalized_gaussian(size, 0, 0, 0, 0.5),
        lambda size: kernels.motion(size, 0, 1.0),
        lambda size: kernels.motion(size, 1, 1.0),
    ],
)
def test_no_width_is_a_single_element(size: int, build: Callable[[int], Kernel]) -> None:
    expected = np.zeros((size, size))
    expected[size // 2, size // 2] = 1
    np.testing.assert_allclose(build(size), expected, atol=1e-12)


def test_zero_sigma_makes_one_tap() -> None:
    assert kernels.gaussian_taps(41, 0.0).tolist() == [1.0]


@given(size=sizes, sigma_x=st.floats(0.3, 20), sigma_y=st.floats(0.3, 20), rotation=angles)
def test_gaussian_is_the_normal_density(size: int, sigma_x: float, sigma_y: float, rotation: float) -> None:
    turn = np.array([[math.cos(rotation), -math.sin(rotation)], [math.sin(rotation), math.cos(rotation)]])
    covariance = turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T
    offsets = np.arange(size) - size // 2
    points = np.stack(np.meshgrid(offsets, offsets), axis=-1)  # x first
    density = np.reshape(normal_density(points, covariance), (size, size))
    np.testing.assert_allclose(
        kernels.gaussian(size, sigma_x, sigma_y, rotation), density / density.sum(), rtol=1e-7, atol=1e-12
    )


def test_rotation_turns_x_towards_y() -> None:
    long_in_x = kernels.gaussian(21, 5, 1)
    assert long_in_x[10, 15] > 100 * long_in_x[15, 10]
    diagonal = kernels.gaussian(21, 5, 1, math.pi / 4)
    assert diagonal[13, 13] > 100 * diagonal[13, 7]


@given(size=sizes, sigma_x=st.floats(0.2, 8), sigma_y=st.floats(0.2, 8), rotation=angles, beta=betas)
def test_generalized_and_plateau_follow_their_formulas(
    size: int, sigma_x: float, sigma_y: float, rotation: float, beta: float
) -> None:
    distance = naive.squared_distance(size, sigma_x, sigma_y, rotation)
    bell = np.exp(-0.5 * distance**beta)
    plateau = 1 / (1 + distance**beta)
    found = kernels.generalized_gaussian(size, sigma_x, sigma_y, rotation, beta)
    np.testing.assert_allclose(found, bell / bell.sum(), rtol=1e-7, atol=1e-12)
    found = kernels.plateau(size, sigma_x, sigma_y, rotation, beta)
    np.testing.assert_allclose(found, plateau / plateau.sum(), rtol=1e-7, atol=1e-12)


@given(size=sizes, sigma=st.floats(0.1, 10))
def test_generalized_with_beta_one_is_a_gaussian(size: int, sigma: float) -> None:
    np.testing.assert_allclose(
        kernels.generalized_gaussian(size, sigma, sigma, 0, 1), kernels.gaussian(size, sigma, sigma), atol=1e-15
    )


@given(size=sizes, cutoff=st.floats(0.05, math.pi))
def test_sinc_is_the_formula_with_scipys_bessel_function(size: int, cutoff: float) -> None:
    np.testing.assert_allclose(kernels.sinc(size, cutoff), naive.sinc(size, cutoff), rtol=1e-9, atol=1e-12)


@given(size=sizes, share=st.floats(0, 1), angle=angles)
def test_motion_is_a_path_of_points(size: int, share: float, angle: float) -> None:
    np.testing.assert_allclose(
        kernels.motion(size, share * size, angle), naive.motion(size, share * size, angle), atol=1e-12
    )


def test_motion_along_x_is_one_even_row() -> None:
    kernel = kernels.motion(11, 9, 0.0)
    assert (kernel[np.arange(11) != 5] == 0).all()
    np.testing.assert_allclose(kernel[5, 2:9], 1 / 8, rtol=0.02)  # nine pixels, the outer two half covered
    np.testing.assert_allclose(kernel, kernels.motion(11, 9, math.pi / 2).T, atol=1e-12)


@given(size=sizes, sigma=sigmas)
def test_taps_are_the_factor_of_an_isotropic_gaussian(size: int, sigma: float) -> None:
    taps = kernels.gaussian_taps(size, sigma)
    assert taps.size % 2 == 1
    assert taps.size <= size
    padded = np.pad(taps, (size - taps.size) // 2)
    np.testing.assert_allclose(np.outer(padded, padded), kernels.gaussian(size, sigma, sigma), atol=2e-9)


@given(x=st.lists(st.floats(0, 600), min_size=1, max_size=50))
def test_bessel_function_equals_scipys(x: list[float]) -> None:
    values = np.array(x)
    np.testing.assert_allclose(kernels.bessel_j1(values), special.j1(values), atol=1e-13)


@pytest.mark.slow
def test_largest_sinc_that_a_recipe_may_ask_for_equals_scipys() -> None:
    np.testing.assert_allclose(kernels.sinc(255, math.pi), naive.sinc(255, math.pi), atol=1e-9)


@pytest.mark.parametrize(
    ("nominal", "effective"),
    [(8, 7.7), (10, 8.9), (12, 9.7), (15, 10.4)],  # notes on the published recipes
)
def test_cutting_at_41_narrows_a_wide_gaussian(nominal: float, effective: float) -> None:
    taps = kernels.gaussian_taps(41, nominal)
    offsets = np.arange(taps.size) - taps.size // 2
    assert math.sqrt((taps * offsets**2).sum()) == pytest.approx(effective, abs=0.05)


@given(sigma=st.floats(0.1, 30))
def test_full_size_holds_the_mass_of_a_gaussian(sigma: float) -> None:
    size = kernels.full_size(sigma)
    assert size % 2 == 1
    assert 2 * stats.norm.sf((size // 2) / sigma) <= 6.4e-5
    assert size <= 8 * sigma + 3


@given(
    size=sizes,
    sigma_x=st.floats(0, 6),
    sigma_y=st.floats(0, 6),
    rotation=angles,
    family=st.sampled_from(list(FAMILY)),
)
def test_trim_changes_nothing_that_can_be_seen(
    size: int, sigma_x: float, sigma_y: float, rotation: float, family: str
) -> None:
    kernel = FAMILY[family](size, sigma_x, sigma_y, rotation, 1.0)
    trimmed = kernels.trim(kernel)
    assert trimmed.shape[0] == trimmed.shape[1] <= size
    assert trimmed.shape[0] % 2 == 1
    back = np.pad(trimmed, (size - trimmed.shape[0]) // 2)
    assert np.abs(back - kernel).sum() < 1e-6 / 255 * 100
    used = np.abs(trimmed)[np.abs(trimmed) > 0]
    assert used.min() > 1e-9 * used.max()


def test_trim_keeps_a_kernel_off_centre_and_negative_elements() -> None:
    kernel = np.zeros((9, 9))
    kernel[4, 4], kernel[4, 6] = 1.2, -0.2
    trimmed = kernels.trim(kernel)
    assert trimmed.shape == (5, 5)
    assert trimmed[2, 4] == -0.2


@pytest.mark.parametrize("size", [7, 15, 25])
@pytest.mark.parametrize("eigenvalues", [(6.0, 1.5), (0.4, 8.0)])
@pytest.mark.parametrize("theta", [0.0, 0.8, 2.5])
def test_gaussian_is_bsrgans_with_eigenvalues_for_variances(
    size: int, eigenvalues: tuple[float, float], theta: float
) -> None:
    # `anisotropic_Gaussian`: the eigenvectors are (cos, sin) and (sin, -cos).
    vectors = np.array([[math.cos(theta), math.sin(theta)], [math.sin(theta), -math.cos(theta)]])
    covariance = vectors @ np.diag(eigenvalues) @ np.linalg.inv(vectors)
    expected = np.array(
        [[normal_density([x - size // 2, y - size // 2], covariance) for x in range(size)] for y in range(size)]
    )
    found = kernels.gaussian(size, math.sqrt(eigenvalues[0]), math.sqrt(eigenvalues[1]), theta)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-12)


@pytest.mark.parametrize("size", KERNEL_SIZES)
@pytest.mark.parametrize("name", list(KERNELS))
def test_kernels_equal_basicsrs(name: str, size: int) -> None:
    kind, sigma_x, sigma_y, rotation, beta = KERNELS[name]
    kernel = cast("KernelKind", kind)
    blur = Blur(kernel=kernel, size=size, sigma_x=sigma_x, sigma_y=sigma_y, rotation=rotation, beta=beta)
    with np.load(BASICSR) as golden:
        np.testing.assert_allclose(blur.array(), golden[f"kernel_{name}_{size}"], atol=1e-6)


@pytest.mark.parametrize("index", range(len(SINCS)))
def test_sincs_equal_basicsrs(index: int) -> None:
    with np.load(BASICSR) as golden:
        np.testing.assert_allclose(kernels.sinc(*SINCS[index]), golden[f"sinc_{index}"], atol=1e-6)


@pytest.mark.parametrize("size", [0, -3, 2, 40])
@pytest.mark.parametrize(
    "build",
    [
        lambda size: kernels.gaussian(size, 1, 1),
        lambda size: kernels.gaussian_taps(size, 1),
        lambda size: kernels.sinc(size, 1),
    ],
)
def test_a_size_that_is_not_odd_is_an_error(size: int, build: Callable[[int], object]) -> None:
    with pytest.raises(ValueError, match=f"odd and positive, got {size}"):
        build(size)


def test_a_negative_sigma_is_an_error() -> None:
    with pytest.raises(ValueError, match="sigma must be >= 0, got 1 and -2"):
        kernels.gaussian(5, 1, -2)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, 3.2, math.nan])
def test_a_cutoff_that_no_pixel_grid_has_is_an_error(cutoff: float) -> None:
    with pytest.raises(ValueError, match="cutoff must be in"):
        kernels.sinc(7, cutoff)


@pytest.mark.parametrize("length", [-0.1, 7.1])
def test_a_path_that_leaves_the_kernel_is_an_error(length: float) -> None:
    with pytest.raises(ValueError, match="length must be in"):
        kernels.motion(7, length, 0)
