"""All numbers between sets of images in one feature space, each beside its null."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from degrade_kit.analysis.distances import (
    NEIGHBOURS,
    Features,
    Interval,
    classifier_auc,
    frechet,
    halves,
    kid,
    nearest_points,
    neighbour_distance,
    prdc,
)

Kind = Literal["synth", "real", "hq"]
SMALL = 50
"""Below this many images a number shows a direction at most, and the report says so."""
_DRAWS = 10
_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """Images of one origin, as points."""

    name: str
    kind: Kind
    points: Features
    """(n, d)."""
    labels: tuple[str, ...]
    """What each image is called."""
    groups: tuple[str, ...]
    """What each image shows: the variants of a face are one group."""

    def __len__(self) -> int:
        """Count the images of the set."""
        return len(self.points)


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """What depends on the number of images: means over random subsets of `size` images of each set."""

    size: int
    frechet: float
    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """How one set compares with a reference; None where there are too few images."""

    kid: Interval | None
    matched: Matched | None
    auc: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A set beside a reference."""

    source: str
    source_kind: Kind
    reference: str
    num_source: int
    num_reference: int
    numbers: Numbers
    null: Numbers
    """The same of two random halves of the reference, at the same sizes."""
    nearest: tuple[float, float, float] | None
    """Quantiles 0.1, 0.5, 0.9 over the reference of the distance to the nearest image of the source, in units of the
    median distance between nearest neighbours within the reference."""

    @property
    def small(self) -> bool:
        """Whether there are too few images for more than a direction."""
        return min(self.num_source, self.num_reference) < SMALL


def compare_all(sets: Sequence[ImageSet], seed: int) -> list[Comparison]:
    """Compare each set with each real set; real with real among them."""
    references = [reference for reference in sets if reference.kind == "real"]
    return [
        compare_sets(source, reference, seed) for reference in references for source in sets if source is not reference
    ]


def compare_sets(source: ImageSet, reference: ImageSet, seed: int) -> Comparison:
    """Compare one set with one reference; equal sets and seed give equal numbers."""
    rng = np.random.default_rng([seed, len(source), len(reference)])
    size = min(len(source), len(reference) // 2)
    return Comparison(
        source=source.name,
        source_kind=source.kind,
        reference=reference.name,
        num_source=len(source),
        num_reference=len(reference),
        numbers=Numbers(
            kid=_kid(source.points, reference.points),
            matched=_matched(source.points, reference.points, size, rng),
            auc=_auc(source, reference, seed),
        ),
        null=_null(reference, size, seed),
        nearest=_nearest(source.points, reference.points),
    )


def _null(reference: ImageSet, size: int, seed: int) -> Numbers:
    rng = np.random.default_rng([seed, len(reference)])
    points = reference.points
    found: list[tuple[Interval | None, Matched | None, float | None]] = []
    for first, second in halves(len(reference), rng, _DRAWS):
        one, two = points[first], points[second]
        labels, groups = np.array(reference.labels), np.array(reference.groups)
        matched = _measure(one[:size], two[:size]) if size > NEIGHBOURS else None
        sets = [
            ImageSet(
                name="",
                kind="real",
                points=points[half],
                labels=tuple(labels[half].tolist()),
                groups=tuple(groups[half].tolist()),
            )
            for half in (first, second)
        ]
        # The classifier is slow; a few halves say what chance gives.
        auc = _auc(sets[0], sets[1], seed) if len(found) < 3 else None
        found.append((_kid(one, two), matched, auc))
    kids = [entry.value for entry, _, _ in found if entry is not None]
    aucs = [auc for _, _, auc in found if auc is not None]
    return Numbers(
        kid=Interval(float(np.mean(kids)), float(np.quantile(kids, 0.025)), float(np.quantile(kids, 0.975)))
        if kids
        else None,
        matched=_mean([matched for _, matched, _ in found if matched is not None]),
        auc=float(np.mean(aucs)) if aucs else None,
    )


def _kid(first: Features, second: Features) -> Interval | None:
    return kid(first, second) if min(len(first), len(second)) >= 3 else None


def _auc(first: ImageSet, second: ImageSet, seed: int) -> float | None:
    try:
        return classifier_auc(first.points, second.points, first.groups, second.groups, seed=seed)
    except ValueError:  # too few
        return None


def _matched(source: Features, reference: Features, size: int, rng: np.random.Generator) -> Matched | None:
    if size <= NEIGHBOURS:
        return None
    return _mean(
        [
            _measure(
                source[rng.choice(len(source), size, replace=False)],
                reference[rng.choice(len(reference), size, replace=False)],
            )
            for _ in range(_DRAWS)
        ]
    )


def _measure(source: Features, reference: Features) -> Matched:
    shares = prdc(reference, source)
    return Matched(
        size=len(source),
        frechet=frechet(source, reference),
        precision=shares.precision,
        recall=shares.recall,
        density=shares.density,
        coverage=shares.coverage,
    )


def _mean(found: Sequence[Matched]) -> Matched | None:
    if not found:
        return None

    def mean(of: Callable[[Matched], float]) -> float:
        return math.fsum(map(of, found)) / len(found)

    return Matched(
        size=found[0].size,
        frechet=mean(lambda entry: entry.frechet),
        precision=mean(lambda entry: entry.precision),
        recall=mean(lambda entry: entry.recall),
        density=mean(lambda entry: entry.density),
        coverage=mean(lambda entry: entry.coverage),
    )


def _nearest(source: Features, reference: Features) -> tuple[float, float, float] | None:
    if len(source) < 1 or len(reference) < 2:
        return None
    gaps = nearest_points(reference, source)[0][:, 0]
    unit = float(np.median(neighbour_distance(reference, 1))) or 1.0
    low, middle, high = np.quantile(gaps, _QUANTILES) / unit
    return float(low), float(middle), float(high)


@dataclass(frozen=True, slots=True)
class LeastCovered:
    """A real image that no synthesized one is near."""

    place: int
    """Place of the image in its set."""
    distance: float
    """Distance to the nearest synthesized image, in units of the median within the real set."""
    neighbours: tuple[tuple[str, tuple[int, ...]], ...]
    """Each source, nearest first, with the places of its images that are nearest to this one, nearest first."""


def least_covered(
    reference: ImageSet, sources: Sequence[ImageSet], count: int, neighbours: int = 1
) -> list[LeastCovered]:
    """Find the real images farthest from all synthesized ones, farthest first.

    Args:
        reference: The real images.
        sources: The synthesized ones.
        count: How many real images to find at most.
        neighbours: How many images of each source to name beside each at most.
    """
    filled = [source for source in sources if len(source)]
    if not filled or len(reference) < 2:
        return []
    gaps = np.empty((len(filled), len(reference)))
    places: list[npt.NDArray[np.intp]] = []
    for row, source in enumerate(filled):
        found, place = nearest_points(reference.points, source.points, min(neighbours, len(source)))
        gaps[row] = found[:, 0]
        places.append(place)
    unit = float(np.median(neighbour_distance(reference.points, 1))) or 1.0
    return [
        LeastCovered(
            index,
            float(gaps[:, index].min() / unit),
            tuple((filled[row].name, tuple(places[row][index].tolist())) for row in _order(gaps[:, index])),
        )
        for index in _order(-gaps.min(0))[:count]
    ]


def _order(numbers: Features) -> list[int]:
    """Places from the least on; of equal numbers, the first first."""
    return [int(place) for place in np.argsort(numbers, kind="stable")]


def neighbours_of(reference: ImageSet, source: ImageSet, count: int = 1) -> npt.NDArray[np.intp]:
    """Find the places in the source of the nearest image to each of the reference; (n, count)."""
    return nearest_points(reference.points, source.points, min(count, len(source)))[1]
