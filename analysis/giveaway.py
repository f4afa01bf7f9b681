"""What gives a source away: the features by which a linear classifier tells its images from photographs, in words."""

# scikit-learn has parts without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from degrade_kit.analysis.distances import Features
from degrade_kit.analysis.intervals import roc_auc

_ALIKE = 0.8
"""Features that go together more closely than this within the sets say one thing: the stronger stands for them."""
_CLIP = 8.0
"""In standard deviations: no single odd image may make a feature tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TellingFeature:
    """A feature by which a source is told from photographs."""

    name: str
    """Name of it in `degrade_kit.analysis.features.NAMES`."""
    words: str
    """What it measures."""
    difference: float
    """Mean of the source less that of the photographs, in standard deviations of the photographs."""
    share: float
    """Part of the classifier's mean difference between the sets that comes of this feature."""
    auc: float
    """Area under the ROC curve of this feature alone, at least 0.5."""
    moved_by: str
    """What in a recipe moves it."""


def telling_features(
    source: Features, reference: Features, names: Sequence[str], count: int = 6
) -> list[TellingFeature]:
    """Find the features by which a linear classifier tells a source from photographs, the most telling first.

    The classifier sees all features, in standard deviations, with little freedom. What a feature adds to the mean
    difference of its scores is the feature's weight times its difference. A feature that says the same as one before it
    is left out, and so is one that works against the rest.

    Args:
        source: Features of its images, (n, D), n at least 2.
        reference: Those of photographs, (m, D), m at least 2.
        names: Of the features, as in `degrade_kit.analysis.features.NAMES`.
        count: Most features to list.
    """
    from sklearn.linear_model import LogisticRegression

    if min(len(source), len(reference)) < 2:
        return []
    points = np.concatenate([source, reference])
    labels = np.repeat([1, 0], [len(source), len(reference)])
    spread = points.std(0)
    usable = spread > 1e-9
    scaled = ((points - points.mean(0)) / np.where(usable, spread, 1)).clip(-_CLIP, _CLIP) * usable
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000).fit(scaled, labels)
    centres = scaled[labels == 1].mean(0), scaled[labels == 0].mean(0)
    gaps = np.asarray(model.coef_[0]) * (centres[0] - centres[1])
    inside = scaled - np.where(labels[:, None] == 1, *centres)
    inside /= np.maximum(inside.std(0), 1e-9)
    unit = np.maximum(reference.std(0), 1e-9)
    differences = ((source.mean(0) - reference.mean(0)) / unit).clip(-99, 99)
    total = float(gaps.sum())
    found: list[TellingFeature] = []
    kept: list[int] = []
    for place in map(int, np.argsort(-gaps, kind="stable")):
        if len(found) == count or gaps[place] <= 0:
            break
        if any(abs(float(inside[:, place] @ inside[:, other])) > _ALIKE * len(points) for other in kept):
            continue
        kept.append(place)
        alone = float(roc_auc(reference[:, place], source[:, place])[0])
        found.append(
            TellingFeature(
                name=names[place],
                words=feature_words(names[place]),
                difference=float(differences[place]),
                share=float(gaps[place]) / total,
                auc=max(alone, 1 - alone),
                moved_by=_moved_by(names[place]),
            )
        )
    return found


# --------------------------------------------------------------------------------------------------------------- words

_WORDS: Final = {
    "spectrum.slope": "how steeply detail falls off with frequency (higher: less steeply)",
    "spectrum.curvature": "how abruptly detail ends at high frequencies",
    "spectrum.width_50": "frequency below which half of the detail lies",
    "spectrum.width_90": "frequency below which 90 % of the detail lies",
    "spectrum.width_99": "frequency below which 99 % of the detail lies",
    "sharpness.edge_50_full": "sharpness of a usual edge",
    "sharpness.edge_80_full": "sharpness of the sharpest edges",
    "sharpness.edge_50_half": "sharpness of a usual edge at half size",
    "sharpness.edge_80_half": "sharpness of the sharpest edges at half size",
    "sharpness.sparse": "how far detail is confined to few edges",
    "sharpness.laplacian_full": "fine detail",
    "sharpness.laplacian_half": "fine detail at half size",
    "sharpness.tenengrad_full": "strength of edges",
    "sharpness.tenengrad_half": "strength of edges at half size",
    "sharpness.laplacian_ratio": "finest detail beside that at half size",
    "sharpness.reblur_min": "blur in the sharper direction",
    "sharpness.reblur_max": "blur in the more blurred direction",
    "noise.luma_full": "noise in brightness",
    "noise.chroma_full": "noise in colour",
    "noise.luma_half": "noise in brightness at half size",
    "noise.chroma_half": "noise in colour at half size",
    "noise.luma_quarter": "noise in brightness at a quarter of the size",
    "noise.luma_over_chroma": "noise in brightness beside that in colour",
    "noise.luma_octave": "coarse grain in brightness beside fine",
    "noise.chroma_octave": "coarse grain in colour beside fine",
    "noise.tails": "strong fine detail beside the usual noise",
    "noise.block_05": "noise in the flattest blocks of 8 pixels",
    "noise.block_25": "noise in flat blocks of 8 pixels",
    "noise.block_75": "fine detail in busy blocks of 8 pixels",
    "noise.chroma_block_05": "colour noise in the flattest blocks of 8 pixels",
    "noise.brightness_slope": "noise in bright parts beside that in dark ones",
    "noise.luma_lag_1": "likeness of grain at 1 pixel: soft, enlarged grain",
    "noise.luma_lag_2": "likeness of grain at 2 pixels: soft, enlarged grain",
    "noise.luma_lag_4": "likeness of grain at 4 pixels: soft, enlarged grain",
    "noise.chroma_lag_1": "likeness of colour grain at 1 pixel",
    "noise.chroma_lag_2": "likeness of colour grain at 2 pixels",
    "jpeg.grid_luma_8": "steps in brightness on a grid of 8 pixels",
    "jpeg.grid_chroma_8": "steps in colour on a grid of 8 pixels",
    "jpeg.grid_chroma_16": "steps in colour on a grid of 16 pixels (halved colour)",
    "jpeg.eighths": "a period of 8 pixels",
    "jpeg.low_peak": "a period of more than 8 pixels: blocks that were enlarged",
    "jpeg.high_peak": "a period of less than 8 pixels: resampling",
    "jpeg.chroma_low_peak": "a period of more than 8 pixels in colour: blocks that were enlarged",
    "jpeg.chroma_high_peak": "a period of less than 8 pixels in colour: resampling",
    "jpeg.zeros_low": "coarse detail that JPEG would set to zero",
    "jpeg.zeros_mid": "middle detail that JPEG would set to zero",
    "jpeg.zeros_high": "fine detail that JPEG would set to zero",
    "jpeg.aligned_mid": "middle detail set to zero on the grid of 8 pixels and not beside it",
    "jpeg.aligned_high": "fine detail set to zero on the grid of 8 pixels and not beside it",
    "jpeg.comb": "detail in JPEG's quantised steps",
    "jpeg.comb_step": "size of JPEG's quantised steps",
    "jpeg.chroma_detail": "finest colour detail beside coarser: low where colour was halved",
    "colour.luma_01": "the darkest brightness",
    "colour.luma_90": "bright parts' brightness",
    "colour.luma_99": "the greatest brightness",
    "colour.range_80": "range of brightness",
    "colour.range_98": "whole range of brightness",
    "colour.black": "share of black pixels",
    "colour.white": "share of white pixels",
    "colour.gaps": "gaps in the histogram: levels that were stretched or rounded",
    "colour.entropy": "evenness of the histogram",
    "colour.saturation_spread": "differences of saturation within an image",
    "colour.colourful": "colourfulness",
    "colour.dark": "darkest colours' brightness: haze",
    "colour.dark_log": "darkest colours' brightness: haze",
    "colour.airlight": "colour of the haze",
    "colour.contrast": "contrast within blocks of 8 pixels",
    "colour.relative_contrast": "contrast within blocks of 8 pixels beside brightness",
    "colour.large_contrast": "contrast between parts of the image",
}
_EDGES: Final = (0.09, 0.125, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, math.sqrt(0.5))
_BANDS: Final = {f"spectrum.power_{start:.3f}": (start, end) for start, end in itertools.pairwise(_EDGES)}
"""Where the bands of the spectrum begin and end, cycles a pixel."""
_RINGS: Final = ("coarse", "middle", "fine")
_PAIRS: Final = {
    "across": "neighbours across",
    "along": "neighbours above each other",
    "falling": "neighbours on a falling diagonal",
    "rising": "neighbours on a rising diagonal",
}
_OF_PAIR: Final = {
    "shape": "how peaked products of {pair} are",
    "mean": "likeness of {pair}",
    "left": "how far {pair} differ",
    "right": "how far {pair} go together",
}

_MOVED_BY: Final = {
    "spectrum": "native size, blur, sharpening, enlarging filter",
    "sharpness": "native size, blur, sharpening, enlarging filter",
    "noise": "noise, denoising, JPEG",
    "jpeg": "JPEG: quality, halved colour, native size",
    "nss": "blur, noise and sharpening together",
    "colour": "tone: exposure, contrast, saturation",
}
_MOVED_MORE: Final = {
    "spectrum.direction": "motion blur, shake, enlarging filter",
    "spectrum.contrast": "motion blur, shake, enlarging filter",
    "jpeg.low_peak": "native size, enlarging filter",
    "jpeg.high_peak": "native size, photo frame, enlarging filter",
    "jpeg.chroma_low_peak": "native size, enlarging filter",
    "jpeg.chroma_high_peak": "native size, photo frame, enlarging filter",
    "colour.gaps": "tone, and how often levels are rounded",
    "colour.dark": "haze, tone",
    "colour.airlight": "haze, tone",
}


def feature_words(name: str) -> str:
    """Say in words what a feature measures.

    Args:
        name: As in `degrade_kit.analysis.features.NAMES`.

    >>> feature_words("spectrum.power_0.250"), feature_words("nss.across_mean_half")
    ('detail at 0.25 to 0.30 cycles a pixel', 'likeness of neighbours across at half size')
    """
    if name in _WORDS:
        return _WORDS[name]
    if name in _BANDS:
        start, end = _BANDS[name]
        return f"detail at {start:.2f} to {end:.2f} cycles a pixel"
    if ring := re.fullmatch(r"spectrum\.(direction|contrast)_(\d)", name):
        what = "one direction of" if ring[1] == "direction" else "differences between directions of"
        return f"{what} {_RINGS[int(ring[2])]} detail"
    group, _, rest = name.partition(".")
    half = " at half size" if rest.endswith("_half") else ""
    rest = re.sub("_(full|half)$", "", rest)
    if group == "nss" and rest in ("shape", "square"):
        return ("how peaked local contrast is" if rest == "shape" else "local contrast beside its surroundings") + half
    pair, _, what = rest.partition("_")
    if group == "nss" and pair in _PAIRS and what in _OF_PAIR:
        return _OF_PAIR[what].format(pair=_PAIRS[pair]) + half
    return name


def _moved_by(name: str) -> str:
    most = max((start for start in _MOVED_MORE if name.startswith(start)), key=len, default="")
    return _MOVED_MORE.get(most) or _MOVED_BY.get(name.partition(".")[0], "")
