"""Distances: against the reference implementations, and what they must say of sets whose relation is known."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from degrade_kit.analysis.distances import (
    Features,
    classifier_auc,
    distances,
    frechet,
    frechet_matched,
    halves,
    kid,
    nearest_points,
    neighbour_distance,
    prdc,
)


def points(seed: int, count: int, size: int = 8, shift: float = 0.0) -> Features:
    return np.random.default_rng(seed).standard_normal((count, size)) + shift


@pytest.mark.parametrize(("n", "m"), [(60, 60), (40, 90), (90, 40)])
def test_prdc_equals_its_authors_package(n: int, m: int) -> None:
    package = pytest.importorskip("prdc")
    real, fake = points(0, n), points(1, m, shift=0.4)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = package.compute_prdc(real_features=real, fake_features=fake, nearest_k=5)
    found = prdc(real, fake)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-12), name


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_frechet_equals_torch_fidelity(shift: float) -> None:
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    torch = pytest.importorskip("torch")
    one, two = points(0, 80), points(1, 120, shift=shift) * np.linspace(0.5, 2, 8)
    statistics = [fid.fid_features_to_statistics(torch.as_tensor(each)) for each in (one, two)]
    expected = fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet(one, two) == pytest.approx(expected, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_frechet_is_the_formula_with_a_matrix_root(shift: float) -> None:
    one, two = points(0, 80), points(1, 120, shift=shift) * np.linspace(0.5, 2, 8)
    first, second = np.cov(one.T), np.cov(two.T)
    gap = one.mean(0) - two.mean(0)
    root = np.real(linalg.sqrtm(first @ second))
    assert frechet(one, two) == pytest.approx(gap @ gap + np.trace(first + second - 2 * root), abs=1e-8)


def test_kid_equals_torch_fidelity_on_all_points() -> None:
    module = pytest.importorskip("torch_fidelity.metric_kid")
    torch = pytest.importorskip("torch")
    one, two = points(0, 70), points(1, 70, shift=0.3)
    expected = module.kid_features_to_metric(
        torch.as_tensor(one), torch.as_tensor(two), kid_subsets=1, kid_subset_size=70, verbose=False
    )["kernel_inception_distance_mean"]
    assert kid(one, two).value == pytest.approx(expected, rel=1e-9)


def test_kid_of_unequal_sizes_is_the_formula() -> None:
    one, two = points(0, 20), points(1, 35, shift=0.3)

    def kernel(x: Features, y: Features) -> float:
        return float((x @ y / 8 + 1) ** 3)

    xx = np.mean([kernel(a, b) for i, a in enumerate(one) for j, b in enumerate(one) if i != j])
    yy = np.mean([kernel(a, b) for i, a in enumerate(two) for j, b in enumerate(two) if i != j])
    xy = np.mean([kernel(a, b) for a in one for b in two])
    assert kid(one, two).value == pytest.approx(xx + yy - 2 * xy, rel=1e-9)


@pytest.mark.long
def test_the_interval_of_kid_holds_the_truth_about_as_often_as_it_says() -> None:
    """The truth at a shift, from a large sample; 200 small ones around it."""
    truth = kid(points(1000, 4000, 4), points(1001, 4000, 4, shift=0.7)).value
    intervals = [kid(points(seed, 40, 4), points(seed + 500, 60, 4, shift=0.7)) for seed in range(200)]
    held = np.mean([entry.low <= truth <= entry.high for entry in intervals])
    assert 0.85 < held <= 1


def test_kid_of_equal_distributions_is_zero_on_average() -> None:
    values = [kid(points(seed, 30), points(seed + 300, 50)).value for seed in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(8, 30), st.integers(8, 30))
def test_distances_are_symmetric_and_zero_to_themselves(seed: int, n: int, m: int) -> None:
    one, two = points(seed, n, 3), points(seed + 1, m, 3, shift=0.2)
    assert kid(one, two).value == pytest.approx(kid(two, one).value, abs=1e-9)
    assert frechet(one, two) == pytest.approx(frechet(two, one), abs=1e-9)
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)
    assert prdc(one, one).coverage == 1
    forward, backward = prdc(one, two), prdc(two, one)
    assert forward.precision == backward.recall
    assert distances(one, two) == pytest.approx(distances(two, one).T)


def test_matched_frechet_does_not_depend_on_how_many_there_are() -> None:
    one, many = points(0, 2000), points(1, 200)
    full = frechet_matched(one, many, 100, np.random.default_rng(0))
    few = frechet_matched(one[:300], many, 100, np.random.default_rng(0))
    assert full == pytest.approx(few, rel=0.2)
    assert frechet(one[:100], many[:100]) > 2 * frechet(one, points(2, 2000)), "the bias that matching is for"


@pytest.mark.slow
def test_a_classifier_that_knows_faces_gains_nothing_from_them() -> None:
    """Both sets show the same faces, whose features differ far more than the sets do."""
    rng = np.random.default_rng(0)
    faces = rng.standard_normal((20, 6)) * 5
    names = [f"face{number}" for number in range(20)] * 3
    one = np.tile(faces, (3, 1)) + rng.standard_normal((60, 6)) * 0.1
    two = np.tile(faces, (3, 1)) + rng.standard_normal((60, 6)) * 0.1
    assert 0.3 < classifier_auc(one, two, names, names) < 0.7
    assert classifier_auc(one, two + 20, names, names) > 0.95


def test_neighbours_are_those_of_a_full_sort() -> None:
    one, two = points(0, 30), points(1, 40)
    gaps, places = nearest_points(one, two, 3)
    full = distances(one, two)
    assert (places == np.argsort(full, axis=1)[:, :3]).all()
    assert gaps == pytest.approx(np.sort(full, axis=1)[:, :3])
    assert neighbour_distance(one, 1) == pytest.approx(np.sort(distances(one, one), axis=1)[:, 1])


def test_halves_are_disjoint_and_equal() -> None:
    for first, second in halves(11, np.random.default_rng(0), 3):
        assert len(first) == len(second) == 5
        assert not set(first) & set(second)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: kid(points(0, 2), points(1, 5)), "expected at least 3 points in each set, got 2 and 5"),
        (lambda: frechet(points(0, 1), points(1, 5)), "expected at least 2 points in each set, got 1 and 5"),
        (lambda: prdc(points(0, 5), points(1, 9)), "expected more than 5 points in each set, got 5 and 9"),
        (
            lambda: classifier_auc(points(0, 9), points(1, 9), ["a"] * 9, list("abcdefghi")),
            "expected at least 5 different source images in each set, got 1, 9",
        ),
    ],
)
def test_too_few_points_are_refused(function: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()
