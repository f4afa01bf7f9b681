"""Intervals take the images of one face as dependent."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from degrade_kit.analysis.distances import Features, group_folds, group_halves, halves, kid, prdc
from degrade_kit.analysis.intervals import (
    auc_interval,
    coverage_replicates,
    group_weights,
    interval_of,
    kid_replicates,
    roc_auc,
)


def names(count: int, each: int = 1) -> list[str]:
    return [str(number) for number in range(count) for _ in range(each)]


def points(count: int, each: int = 1, spread: float = 0.0, seed: int = 0) -> Features:
    """Groups of `each` points, `spread` apart."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.normal(size=(count, 4)), each, axis=0) + spread * rng.normal(size=(count * each, 4))


def test_groups_are_drawn_whole() -> None:
    weights = group_weights(names(20, 3), np.random.default_rng(0), 50)
    assert weights.shape == (50, 60)
    assert (weights.reshape(50, 20, 3) == weights.reshape(50, 20, 3)[:, :, :1]).all()
    assert (weights.sum(1) == 60).all()


def test_with_every_image_once_replicates_are_the_numbers_themselves() -> None:
    first, second = points(30), points(40, seed=1) + 0.5
    once = np.ones((1, 30)), np.ones((1, 40))
    assert kid_replicates(first, second, *once)[0] == pytest.approx(kid(first, second).value)
    assert coverage_replicates(first, second, *once, 5)[0] == pytest.approx(prdc(second, first).coverage)
    scores = np.round(first[:, 0], 1), np.round(second[:, 0], 1)  # with ties
    assert roc_auc(*scores)[0] == pytest.approx(roc_auc_score(np.repeat([0, 1], [30, 40]), np.concatenate(scores)))


def test_a_weight_is_a_repeated_image() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=10).round(1), rng.normal(size=12).round(1)
    twice = np.ones((1, 10))
    twice[0, 4] = 3
    repeated = np.concatenate([first, first[[4, 4]]])
    assert roc_auc(first, second, twice, np.ones((1, 12)))[0] == pytest.approx(roc_auc(repeated, second)[0])


def test_copies_of_an_image_make_no_interval_narrower() -> None:
    """Four equal copies of each image say no more than one, and by image they would seem to say twice as much."""
    first, second = points(40)[:, 0], points(40, seed=1)[:, 0] + 0.5

    def width(groups: list[str]) -> float:
        found = auc_interval(np.repeat(first, 4), np.repeat(second, 4), groups, groups, np.random.default_rng(0))
        return found.high - found.low

    alone = auc_interval(first, second, names(40), names(40), np.random.default_rng(0))
    grouped, by_image = width(names(40, 4)), width(names(160))
    assert grouped == pytest.approx(alone.high - alone.low)
    assert by_image < 0.65 * grouped


@pytest.mark.slow
def test_an_interval_of_kid_holds_the_truth() -> None:
    """Of 40 pairs of equal distributions, about 38 intervals should hold 0, with three variants of each face."""
    held = 0
    for seed in range(40):
        first = points(30, 3, 0.3, seed=2 * seed)
        second = points(90, 1, 0.0, seed=2 * seed + 1) * np.sqrt(1 + 0.09)
        rng = np.random.default_rng(seed)
        weights = group_weights(names(30, 3), rng), group_weights(names(90), rng)
        found = interval_of(kid(first, second).value, kid_replicates(first, second, *weights))
        held += found.low <= 0 <= found.high
    assert held >= 35


def test_halves_and_folds_cut_no_group() -> None:
    groups = [name for number, name in enumerate(names(15)) for _ in range(1 + number % 3)]
    for one, two in group_halves(groups, np.random.default_rng(0), 5):
        assert len(one) == len(two) >= 10
        assert not {groups[place] for place in one} & {groups[place] for place in two}
    assert not list(group_halves(["a"] * 6, np.random.default_rng(0), 3))
    folds = group_folds(groups, names(9, 2), folds=3, seed=0)
    every = [*groups, *names(9, 2)]
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(every)))
    seen = [{every[place] for place in fold} for fold in folds]
    assert len(set.union(*seen)) == sum(map(len, seen))


def test_where_nothing_shows_the_same_halves_are_as_they_were() -> None:
    labels = [f"{number:03}" for number in range(31)]
    ours = group_halves(labels, np.random.default_rng(5), 3)
    for (one, two), (first, second) in zip(ours, halves(31, np.random.default_rng(5), 3), strict=True):
        assert sorted(one) == sorted(first)
        assert len(two) == len(second)
