"""How far apart two sets of feature vectors are, and how much of one the other covers.

All take float64 arrays (n, D) of one feature space, and say nothing of how good the space is. Every number needs its
*null* beside it: what two sets of the same kind give at these sizes (`halves`).
"""

# scikit-learn and scipy have parts without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float64]

NEIGHBOURS = 5
"""k of precision, recall, density and coverage, as Naeem et al. 2020 use."""
_BLOCK = 2048
"""Rows of a distance matrix that are held at a time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Prdc:
    """Shares, and density, which may exceed 1."""

    precision: float
    """Share of the second set inside the first one's neighbourhoods."""
    recall: float
    """Share of the first set inside the second one's neighbourhoods."""
    density: float
    """How many neighbourhoods of the first set a point of the second lies in, over k."""
    coverage: float
    """Share of the first set whose neighbourhood holds a point of the second."""


def kid(first: Features, second: Features) -> Interval:
    """Compute the kernel inception distance: unbiased squared MMD with the kernel (x y / D + 1)^3, of all points.

    Unbiased: 0 on average for equal distributions at any n, so it may be negative. The interval is that of the
    two-sample jackknife.

    Raises:
        ValueError: If a set has fewer than 3 points.

    Source: Binkowski et al. 2018; torch-fidelity 0.4 averages the same estimate over subsets.
    """
    n, m = len(first), len(second)
    if min(n, m) < 3:
        raise ValueError(f"expected at least 3 points in each set, got {n} and {m}")
    rows_xx, rows_yy = _kernel_rows(first, first, own=True), _kernel_rows(second, second, own=True)
    rows_xy, rows_yx = _kernel_rows(first, second), _kernel_rows(second, first)
    xx, yy, xy = rows_xx.sum(), rows_yy.sum(), rows_xy.sum()

    def estimate(xx: Any, yy: Any, xy: Any, n: int, m: int) -> Any:  # noqa: ANN401 (numbers, or arrays of them)
        return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)

    value = float(estimate(xx, yy, xy, n, m))
    without_x = estimate(xx - 2 * rows_xx, yy, xy - rows_xy, n - 1, m)
    without_y = estimate(xx, yy - 2 * rows_yy, xy - rows_yx, n, m - 1)
    variance = (n - 1) * np.var(without_x) + (m - 1) * np.var(without_y)
    margin = 1.96 * float(np.sqrt(variance))
    return Interval(value, value - margin, value + margin)


def _kernel_rows(first: Features, second: Features, *, own: bool = False) -> Features:
    """Sums over rows of the kernel matrix; `own` leaves out each point with itself."""
    dimensions = first.shape[1]
    sums = np.empty(len(first))
    for start in range(0, len(first), _BLOCK):
        block = (first[start : start + _BLOCK] @ second.T / dimensions + 1) ** 3
        sums[start : start + _BLOCK] = block.sum(1)
    return sums - (np.square(first).sum(1) / dimensions + 1) ** 3 if own else sums


def frechet(first: Features, second: Features) -> float:
    """Compute the squared Frechet distance of the Gaussians with these means and covariances.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2). Biased upward by about D / n: compare at equal n alone.

    Raises:
        ValueError: If a set has fewer than 2 points.

    Source: Heusel et al. 2017; equal to clean-fid and torch-fidelity on the same features.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"expected at least 2 points in each set, got {len(first)} and {len(second)}")
    return frechet_of_moments(*moments(first), *moments(second))


def moments(points: Features) -> tuple[Features, Features]:
    """Compute mean (D,) and covariance (D, D)."""
    return points.mean(0), np.atleast_2d(np.cov(points, rowvar=False))


def frechet_of_moments(mean_one: Features, one: Features, mean_two: Features, two: Features) -> float:
    """Compute `frechet` of sets whose means and covariances are known."""
    gap = mean_one - mean_two
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ two @ root).clip(0)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(two) - 2 * cross)


def frechet_matched(first: Features, second: Features, size: int, rng: np.random.Generator, draws: int = 10) -> float:
    """Average `frechet` over random subsets of `size` points of each; of all points if both have that many."""
    if len(first) == len(second) == size:
        return frechet(first, second)
    found = [
        frechet(
            first[rng.choice(len(first), size, replace=False)], second[rng.choice(len(second), size, replace=False)]
        )
        for _ in range(draws)
    ]
    return float(np.mean(found))


def prdc(first: Features, second: Features, neighbours: int = NEIGHBOURS) -> Prdc:
    """Compute precision, recall, density and coverage of the second set, with the first as the reference.

    Raises:
        ValueError: If a set has not more points than `neighbours`.

    Source: Kynkaanniemi et al. 2019 and Naeem et al. 2020; equal to their package `prdc`.
    """
    if min(len(first), len(second)) <= neighbours:
        raise ValueError(f"expected more than {neighbours} points in each set, got {len(first)} and {len(second)}")
    radius_first, radius_second = neighbour_distance(first, neighbours), neighbour_distance(second, neighbours)
    inside = np.zeros(len(second))
    recalled, covered = np.zeros(len(first), bool), np.zeros(len(first), bool)
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        gaps = distances(first[part], second)
        inside += (gaps < radius_first[part, None]).sum(0)
        recalled[part] = (gaps < radius_second[None]).any(1)
        covered[part] = gaps.min(1) < radius_first[part]
    return Prdc(
        precision=float((inside > 0).mean()),
        recall=float(recalled.mean()),
        density=float(inside.mean() / neighbours),
        coverage=float(covered.mean()),
    )


def neighbour_distance(points: Features, neighbours: int) -> Features:
    """Compute for each point the distance to its k-th neighbour in the set, itself not counted; (n,)."""
    found = np.empty(len(points))
    for start in range(0, len(points), _BLOCK):
        gaps = distances(points[start : start + _BLOCK], points)
        found[start : start + _BLOCK] = np.partition(gaps, neighbours, axis=1)[:, neighbours]
    return found


def nearest_points(first: Features, second: Features, count: int = 1) -> tuple[Features, npt.NDArray[np.intp]]:
    """Find for each point of the first set distances and places of its `count` nearest in the second; (n, count)."""
    gaps, places = np.empty((len(first), count)), np.empty((len(first), count), np.intp)
    for start in range(0, len(first), _BLOCK):
        block = distances(first[start : start + _BLOCK], second)
        order = np.argsort(block, axis=1, kind="stable")[:, :count]
        gaps[start : start + _BLOCK] = np.take_along_axis(block, order, 1)
        places[start : start + _BLOCK] = order
    return gaps, places


def distances(first: Features, second: Features) -> Features:
    """Compute Euclidean distances between all points, (n, m)."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(first, second), np.float64)


def classifier_auc(
    first: Features,
    second: Features,
    first_groups: Sequence[str],
    second_groups: Sequence[str],
    *,
    seed: int = 0,
    folds: int = 5,
) -> float:
    """Measure how well a logistic regression separates the sets: area under its ROC curve, 0.5 if it cannot.

    Args:
        first: Features of the first set.
        second: Features of the second.
        first_groups: As for `classifier_scores`.
        second_groups: The same of the second.
        seed: Of the assignment to folds.
        folds: How many.

    Raises:
        ValueError: If a set has fewer groups than there are folds.

    Source: Lopez-Paz & Oquab 2017, classifier two-sample tests.
    """
    from sklearn.metrics import roc_auc_score

    scores = classifier_scores(first, second, first_groups, second_groups, seed=seed, folds=folds)
    return float(roc_auc_score(np.repeat([0, 1], [len(first), len(second)]), np.concatenate(scores)))


def classifier_scores(
    first: Features,
    second: Features,
    first_groups: Sequence[str],
    second_groups: Sequence[str],
    *,
    seed: int = 0,
    folds: int = 5,
) -> tuple[Features, Features]:
    """Let a logistic regression say of each image how far it is on the second set's side.

    Cross-validated, images of one group (a source face) always in one fold: otherwise the classifier may know the
    face. The features are standardised within each training part.

    Args:
        first: Features of the first set.
        second: Features of the second.
        first_groups: What each image of the first set shows, such as the name of its HQ image.
        second_groups: The same of the second.
        seed: Of the assignment to folds.
        folds: How many.

    Returns:
        Log odds for the images of the first set, (n,), and of the second, (m,).

    Raises:
        ValueError: If a set has fewer groups than there are folds.
    """
    from sklearn.linear_model import LogisticRegression

    points = np.concatenate([first, second])
    labels = np.repeat([0, 1], [len(first), len(second)])
    scores = np.empty(len(points))
    for test in group_folds(first_groups, second_groups, folds=folds, seed=seed):
        train = np.setdiff1d(np.arange(len(points)), test)
        centre, spread = points[train].mean(0), points[train].std(0) + 1e-9
        model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
        model.fit((points[train] - centre) / spread, labels[train])
        scores[test] = model.decision_function((points[test] - centre) / spread)
    return scores[: len(first)], scores[len(first) :]


def group_folds(
    first_groups: Sequence[str], second_groups: Sequence[str], *, folds: int, seed: int
) -> list[npt.NDArray[np.intp]]:
    """Cut two sets, one behind the other, into folds that share no group and hold like parts of both sets.

    Args:
        first_groups: What each image of the first set shows.
        second_groups: The same of the second.
        folds: How many.
        seed: Of the assignment to folds.

    Returns:
        Places of the images of each fold; those of the second set are counted on from the first.

    Raises:
        ValueError: If a set has fewer groups than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    counts = len(set(first_groups)), len(set(second_groups))
    if min(counts) < folds:
        raise ValueError(f"expected at least {folds} different source images in each set, got {counts[0]}, {counts[1]}")
    groups = np.array([*first_groups, *second_groups])
    labels = np.repeat([0, 1], [len(first_groups), len(second_groups)])
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [test for _, test in splitter.split(labels[:, None], labels, groups)]


def group_halves(
    groups: Sequence[str], rng: np.random.Generator, draws: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Draw random halves of a set that share no group, disjoint and of equal size, `draws` times.

    Args:
        groups: What each image shows. Where all differ, the halves are those of `halves`.
        rng: Draws the halves.
        draws: How many pairs.

    Yields:
        Places of the images of both halves; none where there is one group alone.
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    for _ in range(draws):
        rank = np.empty(len(names), np.int64)
        rank[rng.permutation(len(names))] = np.arange(len(names))
        order = np.argsort(rank[codes], kind="stable")
        ends = np.cumsum(np.bincount(rank[codes], minlength=len(names)))[:-1]
        if not len(ends):
            return
        # A group must not be cut: the end of a group that is nearest to the middle.
        cut = int(ends[np.abs(2 * ends - len(order)).argmin()])
        size = min(cut, len(order) - cut)
        yield order[:size], order[cut : cut + size]


def halves(
    count: int, rng: np.random.Generator, draws: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Draw random halves of a set of `count` points, disjoint and of equal size, `draws` times."""
    for _ in range(draws):
        order = rng.permutation(count)
        yield order[: count // 2], order[count // 2 : 2 * (count // 2)]
