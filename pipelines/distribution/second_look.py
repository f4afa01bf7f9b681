"""Second looks at sets that were measured: by a classifier on patches, and in learned spaces, neither of which chose.

Both look at fewer images than the features do: they take longer, and a few hundred tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from degrade_kit.analysis.comparison import IDEAL, SMALL, Comparison, ImageSet, SpaceNumbers, compare_all
from degrade_kit.analysis.distances import group_halves
from degrade_kit.analysis.patches import (
    PAIR_SECONDS,
    JudgedImages,
    PatchComparison,
    PatchConfig,
    compare_patches,
    has_torch,
    show_high_passed,
)
from degrade_kit.analysis.whitening import Scaler
from degrade_kit.image import Pixels
from degrade_kit.pipelines.distribution.features import MeasuredSet, Row, Task, pick, read_images, stack
from degrade_kit.pipelines.text import human_time
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.wording import counted_noun

IMAGES: Final = PatchConfig().max_images
"""Most images of a source that are looked at again; of a real set twice as many, so that its halves are as large."""
AUTO_SECONDS: Final = 600.0
"""The patches are looked at without being asked for where that takes no longer than this."""
SHOWN: Final = 6
"""Patches of each set that are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TellingPatch:
    """A patch that the network took for synthesized, or for real, most surely."""

    label: str
    """Name of the image."""
    left: int
    top: int
    side: int
    """Place and size in the image, pixels."""
    log_odds: float
    """That it is synthesized."""
    pixels: Pixels
    detail: Pixels
    """What the network saw of it, as `degrade_kit.analysis.patches.show_high_passed` draws it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldApart:
    """How patches tell a source from a real set."""

    source: str
    reference: str
    comparison: PatchComparison
    synthesized: tuple[TellingPatch, ...]
    """Patches of the source that were most surely taken for synthesized."""
    real: tuple[TellingPatch, ...]
    """Patches of photographs that were most surely taken for real."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rereader:
    """A measured set whose images can be read again."""

    measured: MeasuredSet
    tasks: Sequence[Task]
    """Those that read the images that are looked at again."""

    def read(self) -> tuple[list[str], list[Pixels], list[str]]:
        """Read labels, images and groups."""
        groups = {row.label: row.group for row in self.measured.rows}
        found = [(label, pixels) for label, pixels in read_images(self.tasks) if label in groups]
        return [label for label, _ in found], [pixels for _, pixels in found], [groups[label] for label, _ in found]


def chosen_places(places: Sequence[int], real: bool, seed: int) -> list[int]:
    """Choose the images of a set that are looked at again, out of those that are measured."""
    drawn = pick(len(places), 2 * IMAGES if real else IMAGES, np.random.default_rng([seed, 5]))
    return [places[place] for place in drawn]


def patch_pairs(sources: int, references: int) -> int:
    """Count the pairs that the classifier on patches is trained for: each source, and a half of each real set."""
    return (sources + 1) * references


def decide_patches(wanted: bool | None, sources: int, references: int, fewest: int) -> tuple[bool, str]:
    """Decide whether patches are looked at where that was left open, and say why not.

    Args:
        wanted: What the user says; None leaves it open.
        sources: Sets that are compared with each real one.
        references: Real sets.
        fewest: Images of the smallest set.

    Returns:
        Whether, and a sentence for the report where they are not.
    """
    if wanted is not None:
        return wanted, "" if wanted else "The classifier on patches was turned off."
    if not has_torch():
        return False, "The classifier on patches was not asked: it needs PyTorch, pip install 'degrade-kit[metrics]'."
    if fewest < SMALL:
        return (
            False,
            f"The classifier on patches was not asked: below {SMALL} images it says little; --patches asks.",
        )
    seconds = PAIR_SECONDS * patch_pairs(sources, references)
    if seconds > AUTO_SECONDS:
        pairs = counted_noun(patch_pairs(sources, references), "pair")
        return False, (
            f"The classifier on patches was not asked: {pairs} of sets take about {human_time(seconds)} on two cores; "
            "--patches asks it."
        )
    return True, ""


def look_at_patches(
    sources: Sequence[Rereader],
    references: Sequence[Rereader],
    seed: int,
    progress: OnProgress = silent,
    config: PatchConfig | None = None,
) -> list[ToldApart]:
    """Train a classifier on patches for each source against each real set, and for the halves of each real set.

    Args:
        sources: Whose images are held in memory one set at a time.
        references: Real sets.
        seed: Of all draws.
        progress: Told of the training, pair by pair.
        config: How it is trained; the usual way where None.

    Returns:
        What was found, the ideal of each real set first; a pair with too few different faces or people is left out.
    """
    config = replace(config or PatchConfig(), seed=seed)
    found: list[ToldApart] = []
    for reference in references:
        name = reference.measured.name
        labels, images, groups = reference.read()
        halves = next(group_halves(groups, np.random.default_rng([seed, 6]), 1), None)
        if halves is not None:
            first, second = (_Images(labels, images, groups).only(half.tolist()) for half in halves)
            _look(first, second, IDEAL, name, config, progress, found.append)
        for source in sources:
            other, own = _Images(*source.read()), _Images(labels, images, groups)
            _look(other, own, source.measured.name, name, config, progress, found.append)
    return found


@dataclass(frozen=True, slots=True)
class _Images:
    labels: list[str]
    pixels: list[Pixels]
    groups: list[str]

    def only(self, places: Sequence[int]) -> _Images:
        """Take some of them."""
        return _Images(
            [self.labels[place] for place in places],
            [self.pixels[place] for place in places],
            [self.groups[place] for place in places],
        )


def _look(
    source: _Images,
    reference: _Images,
    name: str,
    reference_name: str,
    config: PatchConfig,
    progress: OnProgress,
    keep: Callable[[ToldApart], None],
) -> None:
    what = f"patches of {name} and {reference_name}"

    def told(done: int, total: int) -> None:
        progress(Progress(noun="step", done=done, total=total, of=what))

    if min(len(set(source.groups)), len(set(reference.groups))) < config.folds:
        return
    found = compare_patches(source.pixels, reference.pixels, source.groups, reference.groups, config, told)
    keep(
        ToldApart(
            source=name,
            reference=reference_name,
            comparison=found,
            synthesized=_most_telling(source, found.synth, found.side, 1),
            real=_most_telling(reference, found.real, found.side, -1),
        )
    )


def _most_telling(images: _Images, judged: JudgedImages, side: int, sign: int) -> tuple[TellingPatch, ...]:
    """Cut out the patch of each face that tells most, of the faces that tell most."""
    best = (sign * judged.patch_scores).argmax(1)
    scores = judged.patch_scores[np.arange(len(best)), best]
    found: list[TellingPatch] = []
    seen: set[str] = set()
    for row in np.argsort(-sign * scores, kind="stable").tolist():
        place = int(judged.places[row])
        if len(found) == SHOWN or images.groups[place] in seen:
            continue
        seen.add(images.groups[place])
        top, left = judged.corners[row, best[row]].tolist()
        cut = np.s_[top : top + side, left : left + side]
        pixels = images.pixels[place]
        found.append(
            TellingPatch(
                label=images.labels[place],
                left=left,
                top=top,
                side=side,
                log_odds=float(scores[row]),
                pixels=np.ascontiguousarray(pixels[cut]),
                detail=np.ascontiguousarray(show_high_passed(pixels)[cut]),
            )
        )
    return tuple(found)


def with_patches(comparisons: Sequence[Comparison], told: Sequence[ToldApart]) -> list[Comparison]:
    """Put the AUCs of the classifier on patches beside the other numbers; the ideal's is the null of its real set."""
    found = {(entry.source, entry.reference): entry.comparison.auc for entry in told}
    return [
        replace(
            entry,
            numbers=replace(entry.numbers, patches=found.get((entry.source, entry.reference))),
            null=replace(entry.null, patches=found.get((IDEAL, entry.reference))),
        )
        for entry in comparisons
    ]


def with_space(
    comparisons: Sequence[Comparison],
    title: str,
    sets: Sequence[MeasuredSet],
    rows: Mapping[str, Sequence[Row]],
    seed: int,
) -> list[Comparison]:
    """Compare the sets in a learned space, and put the numbers beside the others.

    Args:
        comparisons: What is known.
        title: Name of the space, for people.
        sets: The sets, with the groups of their images.
        rows: Features of some images of each set, by name.
        seed: Of folds and draws.
    """
    scaler = Scaler.fit(np.concatenate([stack(rows[entry.name]) for entry in sets if entry.kind == "real"]))
    points: list[ImageSet] = []
    for entry in sets:
        groups = {row.label: row.group for row in entry.rows}
        kept = sorted((row for row in rows[entry.name] if row.label in groups), key=lambda row: (row.label, row.key))
        points.append(
            ImageSet(
                name=entry.name,
                kind=entry.kind,
                points=scaler(stack(kept)),
                labels=tuple(row.label for row in kept),
                groups=tuple(groups[row.label] for row in kept),
            )
        )
    found = {(entry.source, entry.reference): entry for entry in compare_all(points, seed)}
    return [
        replace(entry, spaces=(*entry.spaces, _as_space(title, found[entry.source, entry.reference])))
        for entry in comparisons
    ]


def _as_space(title: str, entry: Comparison) -> SpaceNumbers:
    return SpaceNumbers(
        space=title,
        num_source=entry.num_source,
        num_reference=entry.num_reference,
        numbers=entry.numbers,
        null=entry.null,
    )
