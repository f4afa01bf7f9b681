"""What can be said of many numbers: their mean with its interval, or the distance between two sets of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from degrade_kit.analysis.distances import Features, frechet_of_moments, halves, kid, moments
from degrade_kit.analysis.whitening import Scaler

DRAWS: Final = 2000
"""Resamples of the bootstrap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricSummary:
    """What is said of a metric."""

    value: float | None
    """Mean over images, or the number of the set; None where it was not measured."""
    low: float | None = None
    """95 % interval: bootstrap over images; of KID, jackknife."""
    high: float | None = None
    images: int = 0
    """That are in it."""
    infinite: int = 0
    """Images equal to their references, which have no finite PSNR and are not in the mean."""
    undefined: int = 0
    """Images of which the metric says nothing, such as NIQE of a flat one; not in the mean."""
    left_out: int = 0
    """Images that the protocol leaves out."""
    near_identical: int = 0
    """Pairs of faces with less than one degree between them."""
    against: str = ""
    """What a number of sets compares with."""
    against_sha256: str = ""
    null: float | None = None
    """What random halves of the other set give, each beside the other."""
    status: str = "ok"
    """Or why there is no number."""


def summarise(values: Sequence[float], left_out: npt.NDArray[np.bool_] | None = None, seed: int = 0) -> MetricSummary:
    """Take the mean of the numbers of images, with its interval.

    Args:
        values: Of each image.
        left_out: Which of them are counted and not in the mean; none where None.
        seed: Of the bootstrap.
    """
    array = np.array(values, np.float64)
    infinite, undefined = np.isinf(array), np.isnan(array)
    skipped = np.zeros(len(array), bool) if left_out is None else left_out
    kept = array[~infinite & ~undefined & ~skipped]
    counted = MetricSummary(
        value=None,
        images=len(kept),
        infinite=int(infinite.sum()),
        undefined=int(undefined.sum()),
        left_out=int(skipped.sum()),
        status="no image has a finite number",
    )
    if not len(kept):
        return counted
    low, high = bootstrap(kept, seed)
    return replace(counted, value=float(kept.mean()), low=low, high=high, status="ok")


def bootstrap(values: npt.NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Estimate the 95 % interval of the mean: quantiles of the means of `DRAWS` resamples."""
    rng = np.random.default_rng(seed)
    means = [float(values[rng.integers(0, len(values), len(values))].mean()) for _ in range(DRAWS)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def kid_between(restored: Features, other: Features) -> MetricSummary:
    """Measure KID with its interval and its null, in a space that is scaled by the other set."""
    if min(len(restored), len(other)) < 3:
        return _too_few(restored, 3)
    space = Scaler.fit(other)
    one, two = space(restored), space(other)
    found = kid(one, two)
    parts = halves(len(two), np.random.default_rng(0), 10) if len(two) >= 6 else ()
    apart = [kid(two[first], two[second]).value for first, second in parts]
    null = float(np.mean(apart)) if apart else None
    return MetricSummary(value=found.value, low=found.low, high=found.high, images=len(restored), null=null)


def frechet_between(restored: Features, other: Features) -> MetricSummary:
    """Measure the Frechet distance in a space that is scaled by the other set."""
    if min(len(restored), len(other)) < 3:
        return _too_few(restored, 3)
    space = Scaler.fit(other)
    return frechet_to_moments(space(restored), moments(space(other)))


def frechet_to_moments(restored: Features, other: tuple[Features, Features]) -> MetricSummary:
    """Measure the Frechet distance to a set of which mean and covariance are known, such as FID."""
    if len(restored) < 2:
        return _too_few(restored, 2)
    return MetricSummary(value=frechet_of_moments(*moments(restored), *other), images=len(restored))


def _too_few(restored: Features, least: int) -> MetricSummary:
    return MetricSummary(value=None, images=len(restored), status=f"needs at least {least} images in each set")


def finite(value: float) -> float | None:
    """Give None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None
