"""All numbers between sets of images in one feature space, each beside its null."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from degrade_kit.analysis.distances import (
    NEIGHBOURS,
    Features,
    Interval,
    classifier_scores,
    frechet,
    group_halves,
    kid,
    nearest_points,
    neighbour_distance,
    prdc,
)
from degrade_kit.analysis.intervals import (
    auc_interval,
    coverage_replicates,
    group_weights,
    interval_of,
    kid_replicates,
)

Kind = Literal["synth", "real", "hq", "ideal"]
IDEAL: Final = "ideal"
"""Name of the source that is one half of the reference itself, beside the other half."""
SMALL = 50
"""Below this many images a number shows a direction at most, and the report says so."""
_DRAWS = 10
_CLASSIFIED = 5
"""Halves that the classifier is asked to tell apart."""
_LEAST_KID = 3
"""Images of a set that KID needs."""
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
    auc_interval: Interval | None = None
    """AUC with its interval."""
    coverage: Interval | None = None
    """Coverage with its interval; the value is that of `matched`."""
    patches: Interval | None = None
    """AUC of the classifier on patches, `degrade_kit.analysis.patches`; None where it was not asked too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceNumbers:
    """The same two sets in another feature space."""

    space: str
    """Name of the space, for people."""
    num_source: int
    num_reference: int
    numbers: Numbers
    null: Numbers


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
    spaces: tuple[SpaceNumbers, ...] = ()
    """The numbers in learned spaces that chose nothing."""

    @property
    def small(self) -> bool:
        """Whether there are too few images for more than a direction."""
        return min(self.num_source, self.num_reference) < SMALL


def compare_all(sets: Sequence[ImageSet], seed: int) -> list[Comparison]:
    """Compare each set with each real set; real with real among them, and each real set with itself: the ideal."""
    found: list[Comparison] = []
    for reference in sets:
        if reference.kind == "real":
            halves = Halves.of(reference, seed)
            found.append(halves.as_comparison())
            found += [_compare(source, halves, seed) for source in sets if source is not reference]
    return found


def compare_sets(source: ImageSet, reference: ImageSet, seed: int) -> Comparison:
    """Compare one set with one reference; equal sets and seed give equal numbers."""
    return _compare(source, Halves.of(reference, seed), seed)


def _compare(source: ImageSet, halves: Halves, seed: int) -> Comparison:
    reference = halves.reference
    rng = np.random.default_rng([seed, len(source), len(reference)])
    size = min(len(source), len(reference) // 2)
    weights = _weights(source, seed), _weights(reference, seed)
    matched, coverage = _matched(source.points, reference.points, size, rng, weights)
    auc = _auc(source, reference, seed)
    return Comparison(
        source=source.name,
        source_kind=source.kind,
        reference=reference.name,
        num_source=len(source),
        num_reference=len(reference),
        numbers=Numbers(
            kid=_kid(source.points, reference.points, weights),
            matched=matched,
            auc=None if auc is None else auc.value,
            auc_interval=auc,
            coverage=coverage,
        ),
        null=halves.numbers(size),
        nearest=_nearest(source.points, reference.points),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Halves:
    """A real set against itself: what its halves, which share no person, give for each other."""

    reference: ImageSet
    pairs: tuple[tuple[Features, Features], ...]
    kids: tuple[float, ...]
    """One for each pair, as far as there are enough images."""
    aucs: tuple[float, ...]

    @classmethod
    def of(cls, reference: ImageSet, seed: int) -> Halves:
        """Split a set ten times, at random; equal sets and seeds give equal halves."""
        rng = np.random.default_rng([seed, len(reference)])
        pairs: list[tuple[Features, Features]] = []
        kids: list[float] = []
        aucs: list[float] = []
        for first, second in group_halves(reference.groups, rng, _DRAWS):
            one, two = (_subset(reference, half) for half in (first, second))
            pairs.append((one.points, two.points))
            if len(one) >= _LEAST_KID:
                kids.append(kid(one.points, two.points).value)
            # The classifier is slow; a few halves say what chance gives.
            if len(aucs) < _CLASSIFIED and (auc := _auc(one, two, seed)) is not None:
                aucs.append(auc.value)
        return cls(reference=reference, pairs=tuple(pairs), kids=tuple(kids), aucs=tuple(aucs))

    def numbers(self, size: int) -> Numbers:
        """Average over the splits; intervals hold 95 % of them.

        Args:
            size: Images of each half that count where numbers depend on it.
        """
        size = min(size, min((len(one) for one, _ in self.pairs), default=0))
        found = [_measure(one[:size], two[:size]) for one, two in self.pairs] if size > NEIGHBOURS else []
        auc = _spread(self.aucs)
        return Numbers(
            kid=_spread(self.kids),
            matched=_mean(found),
            auc=None if auc is None else auc.value,
            auc_interval=auc,
            coverage=_spread([entry.coverage for entry in found]),
        )

    def as_comparison(self) -> Comparison:
        """Put the ideal beside the sources: no source can be nearer to a set than its own other half."""
        size = min((len(one) for one, _ in self.pairs), default=0)
        numbers = self.numbers(size)
        return Comparison(
            source=IDEAL,
            source_kind="ideal",
            reference=self.reference.name,
            num_source=size,
            num_reference=size,
            numbers=numbers,
            null=numbers,
            nearest=_nearest(*self.pairs[0]) if self.pairs else None,
        )


def _subset(entry: ImageSet, places: npt.NDArray[np.int64]) -> ImageSet:
    return ImageSet(
        name=entry.name,
        kind=entry.kind,
        points=entry.points[places],
        labels=tuple(entry.labels[place] for place in map(int, places)),
        groups=tuple(entry.groups[place] for place in map(int, places)),
    )


def _spread(values: Sequence[float]) -> Interval | None:
    if not values:
        return None
    low, high = np.quantile(values, (0.025, 0.975)).tolist()
    return Interval(float(np.mean(values)), low, high)


_Weights = tuple[Features, Features]
"""Bootstrap weights of the source's images and of the reference's."""


def _weights(entry: ImageSet, seed: int) -> Features:
    return group_weights(entry.groups, np.random.default_rng([seed, 2, len(entry)]))


def _kid(first: Features, second: Features, weights: _Weights) -> Interval | None:
    if min(len(first), len(second)) < _LEAST_KID:
        return None
    return interval_of(kid(first, second).value, kid_replicates(first, second, *weights))


def _auc(first: ImageSet, second: ImageSet, seed: int) -> Interval | None:
    try:
        scores = classifier_scores(first.points, second.points, first.groups, second.groups, seed=seed)
    except ValueError:  # too few
        return None
    return auc_interval(*scores, first.groups, second.groups, np.random.default_rng([seed, 3]))


def _matched(
    source: Features, reference: Features, size: int, rng: np.random.Generator, weights: _Weights
) -> tuple[Matched | None, Interval | None]:
    if size <= NEIGHBOURS:
        return None, None
    measured: list[Matched] = []
    replicates: list[Features] = []
    for _ in range(_DRAWS):
        first = rng.choice(len(source), size, replace=False)
        second = rng.choice(len(reference), size, replace=False)
        measured.append(_measure(source[first], reference[second]))
        drawn = weights[0][:, first], weights[1][:, second]
        replicates.append(coverage_replicates(source[first], reference[second], *drawn, NEIGHBOURS))
    found = _mean(measured)
    assert found is not None
    return found, interval_of(found.coverage, np.mean(replicates, axis=0), 0.0, 1.0)


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
