from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from degrade_kit import kernels, linear
from degrade_kit.linear import (
    FILTERS,
    LOW_RANK_TOLERANCE,
    OPENCV_FILTERS,
    AxisBlur,
    AxisDecimate,
    AxisOp,
    AxisResize,
    Factor,
    Filter,
    Taps,
    apply_matrices,
    compose,
    compose_terms,
    convolve_fourier,
    mirror,
    separable_terms,
)
from tests import naive

SIDES = (1, 2, 3, 5, 8, 17, 40, 97)
SIZES = ((1, 1), (1, 9), (2, 2), (3, 1), (3, 40), (8, 9), (17, 5), (64, 64), (40, 97), (230, 201))

axis_sizes = st.integers(1, 60)
filters = st.sampled_from(FILTERS)


def some_taps(count: int, seed: int = 0) -> Taps:
    """Taps without any symmetry, some negative."""
    taps = np.random.default_rng(seed).normal(size=count) + 0.5
    return taps / np.abs(taps).sum()


def some_planes(height: int, width: int, seed: int = 0) -> linear.Planes:
    return np.random.default_rng(seed).uniform(0, 255, (3, height, width)).astype(np.float32)


@st.composite
def axis_ops(draw: st.DrawFn) -> AxisOp:
    kind = draw(st.sampled_from(["blur", "resize", "decimate"]))
    if kind == "resize":
        return AxisResize(draw(axis_sizes), draw(filters))
    taps = some_taps(2 * draw(st.integers(0, 30)) + 1, draw(st.integers(0, 99)))
    return AxisBlur(taps) if kind == "blur" else AxisDecimate(taps, draw(st.integers(1, 5)))


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("count", [1, 3, 7, 15, 41, 101])
def test_blur_matrix_is_a_correlation_with_a_mirrored_border(count: int, size: int) -> None:
    taps = some_taps(count)
    expected = ndimage.correlate1d(np.eye(size), taps, axis=0, mode="mirror")
    matrix = AxisBlur(taps).matrix(size)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("filter", "size", "size_out"),
    # An enlarging `area` has a test of its own.
    [case for case in itertools.product(OPENCV_FILTERS, SIDES, SIDES) if case[0] != "area" or case[2] <= case[1]],
)
def test_resize_matrices_are_opencvs(filter: Filter, size: int, size_out: int) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (size, 3 * size)).astype(np.float32)
    expected = cv2.resize(image, (3 * size_out, size_out), interpolation=OPENCV_FILTERS[filter])
    rows, columns = AxisResize(size_out, filter).matrix(size), AxisResize(3 * size_out, filter).matrix(3 * size)
    assert rows.shape == (size_out, size)
    # OpenCV 4.12 and later take eleven bits for the weights of its float linear resize, hence not 1e-4.
    np.testing.assert_allclose(rows @ image @ columns.T, expected, atol=2e-3)


@pytest.mark.slow
def test_enlarging_area_matrices_are_opencvs() -> None:
    wrong: list[tuple[int, int]] = []
    for size, size_out in itertools.product(range(1, 41), range(2, 110)):
        if size < size_out:
            expected = cv2.resize(np.eye(size, dtype=np.float32), (size, size_out), interpolation=cv2.INTER_AREA)
            if np.abs(AxisResize(size_out, "area").matrix(size) - expected).max() > 1e-4:
                wrong.append((size, size_out))
    assert wrong == []


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("size_out", SIDES)
def test_antialiased_cubic_matrix_is_matlabs(size: int, size_out: int) -> None:
    found = AxisResize(size_out, "cubic_aa").matrix(size)
    np.testing.assert_allclose(found, naive.matlab_weights(size, size_out), atol=1e-6)


def test_antialiased_cubic_halves_with_matlabs_known_weights() -> None:
    row = AxisResize(8, "cubic_aa").matrix(16)[4]
    np.testing.assert_allclose(row[5:13], np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256, atol=1e-7)
    assert np.count_nonzero(row) == 8


@pytest.mark.slow
@given(size=axis_sizes, size_out=axis_sizes, filter=filters)
def test_resizes_keep_constants_and_treat_left_as_right(size: int, size_out: int, filter: Filter) -> None:
    matrix = AxisResize(size_out, filter).matrix(size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-5)


@given(size=axis_sizes, filter=filters)
def test_resize_to_the_same_size_is_identity(size: int, filter: Filter) -> None:
    assert np.array_equal(AxisResize(size, filter).matrix(size), np.eye(size))


@pytest.mark.parametrize(
    ("filter", "size", "size_out"),
    [
        (filter, size, size_out)
        for filter, (size, size_out) in itertools.product(FILTERS, [(64, 16), (64, 23), (60, 59), (20, 64), (31, 32)])
        if filter != "area" or size > size_out  # an enlarging `area` repeats pixels: a ramp becomes a staircase
    ],
)
def test_resizes_keep_places(filter: Filter, size: int, size_out: int) -> None:
    """A ramp stays a ramp: each output pixel's weights balance around its own centre."""
    centres = (np.arange(size_out) + 0.5) * size / size_out - 0.5
    found = AxisResize(size_out, filter).matrix(size) @ np.arange(size)
    reach = int(np.ceil(3 * max(size_out / size, 1))) + 1
    # Of these only `linear` has exact ramps; the others are off by this much of an input pixel, to either side alike.
    tolerances = {"linear": 1e-4, "cubic": 0.06, "area": 0.03, "cubic_aa": 0.01}
    np.testing.assert_allclose(found[reach:-reach], centres[reach:-reach], atol=tolerances[filter])
    assert abs((found - centres)[reach:-reach].mean()) < 0.01


@pytest.mark.parametrize("size", [1, 2, 7, 40, 41])
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 50])
def test_decimation_takes_every_nth_row_of_a_blur(factor: int, size: int) -> None:
    taps = some_taps(25)
    op = AxisDecimate(taps, factor)
    matrix = op.matrix(size)
    assert matrix.shape == (op.out_size(size), size)
    assert np.array_equal(matrix, AxisBlur(taps).matrix(size)[::factor])


@given(op=axis_ops(), size=axis_sizes)
def test_out_size_is_that_of_the_matrix(op: AxisOp, size: int) -> None:
    assert op.matrix(size).shape == (op.out_size(size), size)


@given(op=axis_ops(), size=axis_sizes, rows=st.integers(1, 20), seed=st.integers(0, 99))
def test_after_is_the_product(op: AxisOp, size: int, rows: int, seed: int) -> None:
    later = np.random.default_rng(seed).normal(size=(rows, op.out_size(size))).astype(np.float32)
    np.testing.assert_allclose(op.after(later, size), later @ op.matrix(size), atol=2e-5)


@pytest.mark.slow
@given(chain=st.lists(axis_ops(), min_size=1, max_size=5), size=axis_sizes)
def test_compose_is_the_product_in_order(chain: list[AxisOp], size: int) -> None:
    expected = np.eye(size)
    for op in chain:
        expected = op.matrix(expected.shape[0]).astype(np.float64) @ expected
    np.testing.assert_allclose(compose(chain, size), expected, atol=2e-5)
    factor = Factor.of(chain, size)
    assert factor.matrices.shape == (1, *expected.shape)
    np.testing.assert_allclose(factor.matrices[0], expected, atol=2e-5)


@pytest.mark.slow
@given(
    chain=st.lists(axis_ops(), max_size=3),
    size=axis_sizes,
    radius=st.integers(0, 30),
    terms=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_compose_terms_gives_each_blur_and_what_follows(
    chain: list[AxisOp], size: int, radius: int, terms: int, seed: int
) -> None:
    taps = np.stack([some_taps(2 * radius + 1, seed + term) for term in range(terms)])
    factor = compose_terms(taps, chain, size)
    expected = np.stack([compose([AxisBlur(row), *chain], size) for row in taps])
    np.testing.assert_allclose(factor.matrices, expected, atol=2e-5)
    columns = np.arange(size)
    outside = (columns < factor.first[:, None]) | (columns >= factor.last[:, None])
    assert (np.abs(factor.matrices).max(axis=0)[outside] == 0).all(), "what `_blocks` leaves out is zero"


@pytest.mark.parametrize("size_out", [4, 64, 230, 400])
@pytest.mark.parametrize("filter", FILTERS)
def test_compose_terms_is_right_for_short_and_long_reaches(filter: Filter, size_out: int) -> None:
    taps = np.stack([some_taps(41, term) for term in range(3)])
    factor = compose_terms(taps, [AxisResize(size_out, filter)], 230)
    resize = AxisResize(size_out, filter).matrix(230)
    for term, row in enumerate(taps):
        blur = ndimage.correlate1d(np.eye(230), row, axis=0, mode="mirror")
        np.testing.assert_allclose(factor.matrices[term], resize @ blur, atol=2e-5)


def random_factor(terms: int, size_out: int, size: int, band: int, share: float, rng: np.random.Generator) -> Factor:
    """Matrices with a diagonal band of nonzero elements, whose rows each sum to `share`."""
    first = np.round(np.linspace(0, size - band, size_out)).astype(np.intp)
    matrices = np.zeros((terms, size_out, size), np.float32)
    for row, start in enumerate(first):
        weights = rng.uniform(-0.5, 1.5, (terms, band)) + 0.5
        matrices[:, row, start : start + band] = share * weights / weights.sum(axis=1, keepdims=True)
    return Factor(matrices, first, first + band)


@pytest.mark.parametrize("terms", [1, 3])
@pytest.mark.parametrize("band", [1, 4, 30, 190])
@pytest.mark.parametrize(("height_out", "width_out"), [(1, 1), (50, 7), (7, 50), (300, 11), (260, 270)])
def test_products_skip_nothing_but_zeros(terms: int, band: int, height_out: int, width_out: int) -> None:
    rng = np.random.default_rng(1)
    planes = some_planes(230, 201)
    rows = random_factor(terms, height_out, 230, band, 1, rng)
    columns = random_factor(terms, width_out, 201, band, 1 / terms, rng)  # together they keep a constant as it is
    expected = sum(row @ planes @ column.T for row, column in zip(rows.matrices, columns.matrices, strict=True))
    found = apply_matrices(planes, rows, columns)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_products_are_right_at_any_size(height: int, width: int) -> None:
    planes = some_planes(height, width)
    chain = [AxisBlur(kernels.gaussian_taps(9, 2)), AxisResize(5, "linear")]
    rows, columns = Factor.of(chain, height), Factor.of(chain, width)
    expected = rows.matrices[0] @ planes @ columns.matrices[0].T
    np.testing.assert_allclose(apply_matrices(planes, rows, columns), expected, atol=1e-3)


def asymmetric_kernel(size: int) -> kernels.Kernel:
    """No two rows or columns alike: a flip or a transposition shows."""
    kernel = np.random.default_rng(3).uniform(size=(size, size)) ** 3
    return kernel / kernel.sum()


@pytest.mark.parametrize(
    ("kernel", "most"),
    [
        (kernels.gaussian(41, 3, 3), 1),
        (kernels.gaussian(41, 6, 1), 1),
        (kernels.gaussian(41, 9, 2, 0.8), 26),
        (kernels.sinc(21, 2.0), 21),
        (kernels.plateau(21, 2, 1, 0.5, 1.5), 21),
        (asymmetric_kernel(9), 9),
        (np.ones((1, 1)), 1),
    ],
)
def test_separable_terms_sum_to_the_kernel(kernel: kernels.Kernel, most: int) -> None:
    taps_y, taps_x = separable_terms(kernel)
    assert taps_y.shape == taps_x.shape
    assert 1 <= taps_y.shape[0] <= most
    assert np.abs(taps_y.T @ taps_x - kernel).sum() <= LOW_RANK_TOLERANCE
    if taps_y.shape[0] > 1:
        assert np.abs(taps_y[:-1].T @ taps_x[:-1] - kernel).sum() > LOW_RANK_TOLERANCE, "no term is wasted"


@pytest.mark.parametrize("size", [1, 3, 7, 21, 41])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_fourier_convolution_is_opencvs_correlation(
    size: int, height: int, width: int, request: pytest.FixtureRequest
) -> None:
    kernel, planes = asymmetric_kernel(size), some_planes(height, width)
    before = planes.copy()
    found = convolve_fourier(planes, kernel)
    assert found.dtype == np.float32
    for plane, filtered in zip(planes, found, strict=True):
        np.testing.assert_allclose(filtered, cv2.filter2D(plane, -1, kernel), atol=2e-3)
    assert np.array_equal(planes, before)


@given(size=st.integers(1, 30), margin=st.integers(0, 100))
def test_mirror_is_numpys_reflection(size: int, margin: int) -> None:
    expected: npt.NDArray[np.int_] = np.pad(np.arange(size), margin, mode="reflect" if size > 1 else "edge")
    assert np.array_equal(mirror(np.arange(-margin, size + margin), size), expected)
