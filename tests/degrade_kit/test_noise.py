from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from degrade_kit import noise, ops
from degrade_kit.noise import bit_stream, normals, poisson_noise
from tests.golden.regenerate import POISSON_LEVELS, poisson_image

BASICSR = Path(__file__).parents[1] / "golden" / "basicsr.npz"

seeds = st.integers(0, 2**48 - 1)
positions = st.lists(st.integers(0, 50), min_size=1, max_size=4).map(tuple)
shapes = st.sampled_from([(1,), (5,), (3, 4, 7), (1, 9, 9), (3, 160, 150)])


@given(seed=seeds, position=positions, shape=shapes)
def test_the_same_seed_and_position_give_the_same_field(
    seed: int, position: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    field = normals(shape, bit_stream(seed, position))
    assert field.shape == shape
    assert field.dtype == np.float32
    assert np.array_equal(field, normals(shape, bit_stream(seed, position)))


# No zero at the end: NumPy ignores those, and no step that makes noise holds another one.
places = st.tuples(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 50), max_size=2), st.integers(1, 50))


@given(one=places, other=places)
def test_other_steps_and_other_seeds_have_other_noise(
    one: tuple[int, list[int], int], other: tuple[int, list[int], int]
) -> None:
    first, second = (normals((64,), bit_stream(seed, (*outer, last))) for seed, outer, last in (one, other))
    assert np.array_equal(first, second) == (one == other)


def test_fields_are_pinned() -> None:
    """Other values make other pixels of every stored record: a breaking change."""
    field = normals((2, 3), bit_stream(7, (2, 0)), 10.0)
    pinned = [1.738506, 6.868649, 1.836056, -5.802013, 9.733212, 12.949913]
    np.testing.assert_allclose(field.ravel(), pinned, rtol=2e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 65_536, 65_537, 70_000])
def test_a_longer_field_begins_with_the_shorter_one(count: int) -> None:
    long = normals((70_001,), bit_stream(3, (1,)), 2.5)
    np.testing.assert_allclose(normals((count,), bit_stream(3, (1,)), 2.5), long[:count], rtol=1e-6)


@given(seed=seeds, scale=st.floats(0, 255))
def test_scale_multiplies(seed: int, scale: float) -> None:
    for shape in ((9,), (3, 160, 150)):  # either side of the number from which the table is scaled instead
        expected = normals(shape, bit_stream(seed, (0,))) * np.float32(scale)
        np.testing.assert_allclose(normals(shape, bit_stream(seed, (0,)), scale), expected, rtol=1e-6)


def test_scale_zero_is_silence() -> None:
    assert (normals((3, 200, 200), bit_stream(1, (0,)), 0.0) == 0).all()


@pytest.mark.parametrize("count", [9, 100_000])
def test_both_ways_of_looking_up_give_the_same(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fields: list[npt.NDArray[np.float32]] = []
    for wide in (True, False):
        if wide and not noise._has_wide_lut():
            continue
        monkeypatch.setattr(noise, "_has_wide_lut", lambda wide=wide: wide)
        fields.append(normals((count,), bit_stream(1, (0,)), 3.0))
    assert all(np.array_equal(field, fields[0]) for field in fields)


@pytest.mark.slow
def test_fields_are_normal() -> None:
    field = normals((3, 600, 600), bit_stream(11, (4,))).ravel().astype(np.float64)
    error = 1 / np.sqrt(field.size)
    assert abs(field.mean()) < 4 * error
    assert abs(field.var() - 1) < 4 * np.sqrt(2) * error
    assert abs((field**3).mean()) < 4 * np.sqrt(15) * error
    assert abs((field**4).mean() - 2.999) < 4 * np.sqrt(96) * error
    assert 4 < np.abs(field).max() < 4.4
    assert stats.kstest(field, "norm").pvalue > 1e-3


def test_the_quantiles_have_mean_zero_and_variance_one() -> None:
    table = noise._normal_quantiles().astype(np.float64)
    assert table.size == 65_536
    assert (np.diff(table) > 0).all()
    assert table.mean() == pytest.approx(0, abs=1e-8)
    assert table.var() == pytest.approx(1, abs=1e-6)
    expected = stats.norm.ppf((np.arange(65_536) + 0.5) / 65_536)
    np.testing.assert_allclose(table, expected / expected.std(), atol=2e-6)


def test_neighbours_and_channels_are_independent() -> None:
    """Four values come of each 64-bit word: any of them could be tied to the next."""
    field = normals((3, 500, 500), bit_stream(2, (0,))).astype(np.float64)
    flat = field.ravel()
    bound = 5 / np.sqrt(flat.size / 3)
    for lag in (*range(1, 9), 500, 250_000):
        assert abs(np.corrcoef(flat[:-lag], flat[lag:])[0, 1]) < bound, lag
        assert abs(np.corrcoef(flat[:-lag] ** 2, flat[lag:] ** 2)[0, 1]) < bound, lag


def test_steps_of_one_record_are_independent() -> None:
    fields = np.stack([normals((100_000,), ops.Seat(5, ()).inner(step).bits()) for step in range(6)])
    off_diagonal = np.asarray(np.corrcoef(fields))[np.triu_indices(6, 1)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(100_000)


def all_levels(count: int) -> npt.NDArray[np.float32]:
    """An image with `count` distinct values, each as frequent as the others."""
    values = np.rint(np.linspace(0, 255, count)).astype(np.float32) if count > 1 else np.array([100], np.float32)
    return np.resize(values, (3, 256, 256)).astype(np.float32)


@pytest.mark.parametrize(("distinct", "photons"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (129, 256), (256, 256)])
def test_shot_noise_has_no_mean_and_a_variance_that_grows_with_the_level(distinct: int, photons: int) -> None:
    image = all_levels(distinct)
    field = poisson_noise(image, bit_stream(1, (0,))).astype(np.float64)
    assert field.shape == image.shape
    for level in np.unique(image)[:: max(1, distinct // 8)]:
        sample = field[image == level]
        expected = level / 255 * photons
        variance = expected * (255 / photons) ** 2
        assert abs(sample.mean()) <= 5 * np.sqrt(variance / sample.size)
        # The variance of a sample's variance follows from the kurtosis, 3 + 1 / expected.
        assert abs(sample.var() - variance) <= 5 * variance * np.sqrt((2 + 1 / max(expected, 1e-9)) / sample.size)


def test_shot_noise_counts_rounded_levels_within_range() -> None:
    image = np.full((3, 8, 8), -20, np.float32)
    assert (poisson_noise(image, bit_stream(1, (0,))) == 0).all()
    near = np.full((3, 64, 64), 99.6, np.float32)
    counts = (poisson_noise(near, bit_stream(1, (0,))) + 100) / 255
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-5)


def test_shot_noise_leaves_its_image_alone() -> None:
    image = all_levels(17) + np.float32(0.3)
    before = image.copy()
    poisson_noise(image, bit_stream(1, (0,)))
    assert np.array_equal(image, before)


class Expectation:
    """Stands in for a generator whose counts are their expectation, rounded: golden/regenerate.py does so too."""

    def __init__(self, bits: object) -> None:
        del bits

    def poisson(self, expected: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.floor(expected + 0.5)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("levels", POISSON_LEVELS)
def test_photons_to_a_level_are_basicsrs(levels: int, gray: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(BASICSR) as golden:
        hq, expected = golden["hq"], golden[f"poisson_{levels}_{'gray' if gray else 'colour'}"]
    planes = poisson_image(hq, levels).transpose(2, 0, 1) * np.float32(255)
    monkeypatch.setattr(np.random, "Generator", Expectation)
    image = ops.luma(planes)[None] if gray else planes
    found = np.broadcast_to(poisson_noise(image, bit_stream(0, (0,))), planes.shape).transpose(1, 2, 0)
    # A photon more or less where an expectation is a half but for the last bit.
    assert (np.abs(found - expected) < 1e-3).mean() > 0.99
