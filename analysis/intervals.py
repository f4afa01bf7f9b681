"""Confidence intervals where images depend on each other: whole groups are drawn again, not images.

The variants of a face, and the photographs of a person, tell less than as many images of others would. So a group is
drawn with all its images: `group_weights` counts how often in each draw, and every statistic here takes such counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from degrade_kit.analysis.distances import Features, Interval, distances, neighbour_distance

DRAWS = 200
"""Bootstrap draws of an interval: its ends are then known to about a tenth of its width."""
_BLOCK = 1024
"""Rows of a kernel matrix that are held at a time."""


def group_weights(groups: Sequence[str], rng: np.random.Generator, draws: int = DRAWS) -> Features:
    """Draw groups with replacement, as many as there are, and count how often each image is there.

    Args:
        groups: What each of n images shows.
        rng: Draws the groups.
        draws: How many times all are drawn.

    Returns:
        Counts, (draws, n).
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return counts[:, codes].astype(np.float64)


def interval_of(value: float, replicates: Features, low: float = -np.inf, high: float = np.inf) -> Interval:
    """Give the 95 % interval of an estimate from its bootstrap replicates.

    The replicates are moved so that their mean is the estimate: drawing with replacement leaves some groups out, which
    alone lowers coverage and raises distances.

    Args:
        value: The estimate.
        replicates: The same statistic of each draw.
        low: Least value that the statistic can have.
        high: Greatest one.
    """
    ends = value + np.quantile(replicates - replicates.mean(), (0.025, 0.975))
    first, last = np.clip(ends, low, high).tolist()
    return Interval(value, first, last)


def kid_replicates(first: Features, second: Features, first_weights: Features, second_weights: Features) -> Features:
    """Compute `degrade_kit.analysis.distances.kid` of each bootstrap draw; an image is never compared with itself.

    Args:
        first: (n, D).
        second: (m, D).
        first_weights: From `group_weights`, (draws, n).
        second_weights: The same of the second set, (draws, m).

    Returns:
        One distance for each draw.
    """
    own_first, pairs_first = _own_sums(first, first_weights)
    own_second, pairs_second = _own_sums(second, second_weights)
    cross = _kernel_sums(first, second, first_weights, second_weights)
    counts = first_weights.sum(1) * second_weights.sum(1)
    return own_first / pairs_first + own_second / pairs_second - 2 * cross / counts


def _own_sums(points: Features, weights: Features) -> tuple[Features, Features]:
    """Weighted sum of the kernel over pairs of different images, and the number of such pairs; of each draw."""
    squares = np.square(weights)
    with_itself = (np.square(points).sum(1) / points.shape[1] + 1) ** 3
    sums = _kernel_sums(points, points, weights, weights) - squares @ with_itself
    # A draw of one group of one image alone has no pairs: its sum is 0 too.
    return sums, np.maximum(weights.sum(1) ** 2 - squares.sum(1), 1.0)


def _kernel_sums(first: Features, second: Features, first_weights: Features, second_weights: Features) -> Features:
    total = np.zeros(len(first_weights))
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        kernel = (first[part] @ second.T / first.shape[1] + 1) ** 3
        total += ((first_weights[:, part] @ kernel) * second_weights).sum(1)
    return total


def coverage_replicates(
    source: Features, reference: Features, source_weights: Features, reference_weights: Features, neighbours: int
) -> Features:
    """Compute coverage of each bootstrap draw: the weighted share of the reference that has a drawn image near it.

    Near is as in `degrade_kit.analysis.distances.prdc`; the distances within the reference are those of all of it.

    Args:
        source: (n, D).
        reference: (m, D), m greater than `neighbours`.
        source_weights: From `group_weights`, (draws, n).
        reference_weights: The same of the reference, (draws, m).
        neighbours: Which neighbour within the reference says what near is.

    Returns:
        One share for each draw.
    """
    near = distances(reference, source) < neighbour_distance(reference, neighbours)[:, None]
    covered = near.astype(np.float32) @ (source_weights > 0).T.astype(np.float32) > 0  # (m, draws)
    total = np.maximum(reference_weights.sum(1), 1.0)  # a draw may leave a small part of the reference out
    return (reference_weights.T * covered).sum(0) / total


def roc_auc(
    first: Features, second: Features, first_weights: Features | None = None, second_weights: Features | None = None
) -> Features:
    """Compute the area under the ROC curve: how often a score of the second set is above one of the first.

    Args:
        first: Scores, (n,).
        second: Scores, (m,).
        first_weights: From `group_weights`, (draws, n); each image once where None.
        second_weights: The same of the second set, (draws, m).

    Returns:
        One area for each draw; ties count half.

    >>> roc_auc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    array([0.875])
    """
    one = np.ones((1, len(first))) if first_weights is None else first_weights
    two = np.ones((1, len(second))) if second_weights is None else second_weights
    scores = np.concatenate([first, second])
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))
    empty_one, empty_two = np.zeros((len(two), len(first))), np.zeros((len(one), len(second)))
    lower = np.add.reduceat(np.hstack([one, empty_two])[:, order], starts, axis=1)
    upper = np.add.reduceat(np.hstack([empty_one, two])[:, order], starts, axis=1)
    below = np.cumsum(lower, axis=1) - lower / 2
    return (upper * below).sum(1) / (one.sum(1) * two.sum(1))


def auc_interval(
    first: Features,
    second: Features,
    first_groups: Sequence[str],
    second_groups: Sequence[str],
    rng: np.random.Generator,
) -> Interval:
    """Compute `roc_auc` of two sets of scores with its interval, the images of a group taken as dependent.

    Args:
        first: Scores, (n,).
        second: Scores, (m,), expected to be the greater ones.
        first_groups: What each image of the first set shows.
        second_groups: The same of the second.
        rng: Draws the groups.
    """
    replicates = roc_auc(first, second, group_weights(first_groups, rng), group_weights(second_groups, rng))
    return interval_of(float(roc_auc(first, second)[0]), replicates, 0.0, 1.0)
