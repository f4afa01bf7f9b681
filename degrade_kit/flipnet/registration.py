"""Whether both images of a pair show the same thing at the same place; NumPy and OpenCV only.

A network that is trained on displaced pairs learns to displace. Each of two measures alone is wrong on some registered
pairs: phase correlation finds a shift of up to 5 px in pairs with long motion blur, where it follows the path of the
camera, and any shift at all on flat walls; the shift of best correlation jumps along the blur by up to 9 px too. So a
pair is refused only where both find a shift and correlation gains by it.

Measured: of 162 registered sample pairs (haze, low light, noise, blur; 32 of them Levin's, aligned) none is refused; of
Levin's 32 pairs as they come, displaced by up to 6 px, 27 are. With LQ moved by 2 px, 126 of 130 pairs are refused, by
1 px 120.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.errors import ImageError
from degrade_kit.flipnet.crops import read_pair
from degrade_kit.flipnet.pairs import Pair
from degrade_kit.image import Pixels
from degrade_kit.progress import OnProgress, Progress, silent

NOT_REGISTERED: Final = "not registered"
MAX_PHASE_SHIFT: Final = 1.0
"""Pixels that the phase correlation of a registered pair may show."""
MIN_GAIN: Final = 0.02
"""Rise of the normalised correlation, by whole pixels of shift, from which the shift counts."""
SEARCH: Final = 10
"""Greatest shift that is tried, pixels in each direction."""
WINDOW: Final = 768
"""Side of the central square that is looked at, pixels."""
_MIN_SIDE: Final = 3 * SEARCH
_CONTRAST_SIGMA: Final = 8.0
"""Scale in pixels over which luminance is brought to zero mean and unit contrast, so that haze, darkness and shading do
not count."""

_Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Registration:
    """How far the two images of a pair are shifted against each other."""

    phase_shift: float
    """Length of the shift by phase correlation, pixels."""
    best_shift: float
    """Length of the whole-pixel shift with the highest normalised correlation."""
    correlation: float
    """Normalised correlation of the pair as it is, -1 to 1."""
    best_correlation: float
    """That after the best shift."""

    @property
    def aligned(self) -> bool:
        """Whether the pair may be used."""
        gain = self.best_correlation - self.correlation
        return self.phase_shift <= MAX_PHASE_SHIFT or self.best_shift < 1 or gain <= MIN_GAIN

    def __str__(self) -> str:
        return (
            f"shifted by {self.phase_shift:.1f} px by phase correlation and {self.best_shift:.1f} px by normalised "
            f"correlation, which the shift raises from {self.correlation:.2f} to {self.best_correlation:.2f}"
        )


def register_pair(hq: Pixels, lq: Pixels) -> Registration:
    """Measure how far `lq` is displaced against `hq`; 3 ms at 256 px.

    Args:
        hq: uint8 RGB, height x width x 3, both sides at least 30 px.
        lq: As `hq`, of the same size.

    Raises:
        ValueError: If the sizes differ or are too small.
    """
    if hq.shape != lq.shape or min(hq.shape[:2]) < _MIN_SIDE:
        raise ValueError(f"expected two images of one size from {_MIN_SIDE} px on; got {hq.shape} and {lq.shape}")
    hq_flat, lq_flat = _flatten(_centre(hq)), _flatten(_centre(lq))
    window = cv2.createHanningWindow((hq_flat.shape[1], hq_flat.shape[0]), cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(hq_flat, lq_flat, window)
    inner = hq_flat[SEARCH:-SEARCH, SEARCH:-SEARCH]
    scores = np.asarray(cv2.matchTemplate(lq_flat, inner, cv2.TM_CCOEFF_NORMED))
    best_row, best_column = np.unravel_index(int(scores.argmax()), scores.shape)
    return Registration(
        phase_shift=float(np.hypot(right, down)),
        best_shift=float(np.hypot(int(best_row) - SEARCH, int(best_column) - SEARCH)),
        correlation=float(scores[SEARCH, SEARCH]),
        best_correlation=float(scores.max()),
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pair that cannot be trained on."""

    pair: Pair
    reason: str
    """A reason of `degrade_kit.image`, "sizes differ" or "not registered"."""
    detail: str


def check_pairs(
    pairs: Sequence[Pair], *, registration: bool = True, progress: OnProgress = silent
) -> tuple[list[Pair], list[Refusal]]:
    """Read every pair once, and part those that can be trained on from those that cannot.

    Tiles are judged by the images that they are of, once for all of them: one that shows a bare wall tells no shift.

    Args:
        pairs: Of any kinds.
        registration: Whether to refuse pairs that are not registered; without it, pairs of other sizes and unreadable
            files alone are refused.
        progress: Told of the pairs checked.
    """
    kept: list[Pair] = []
    refused: list[Refusal] = []
    found: dict[tuple[Path, Path], tuple[str, str] | None] = {}
    for number, pair in enumerate(pairs, start=1):
        files = pair.hq_path, pair.lq_path
        if files not in found:
            found[files] = _fault(pair, registration)
        fault = found[files]
        if fault is None:
            kept.append(pair)
        else:
            refused.append(Refusal(pair, *fault))
        progress(Progress(noun="pair", done=number, total=len(pairs)))
    return kept, refused


def _fault(pair: Pair, registration: bool) -> tuple[str, str] | None:
    """Why the files of a pair cannot be trained on, as reason and detail; None where they can."""
    try:
        hq, lq = read_pair(replace(pair, tile=None))
    except ImageError as error:
        return error.reason, error.detail
    found = register_pair(hq, lq) if registration else None
    return None if found is None or found.aligned else (NOT_REGISTERED, str(found))


def _centre(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    top, left = max(height - WINDOW, 0) // 2, max(width - WINDOW, 0) // 2
    return pixels[top : top + WINDOW, left : left + WINDOW]


def _flatten(pixels: Pixels) -> _Plane:
    """Luminance with local mean 0 and local contrast 1."""
    luma = _blur(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32), 1.0)
    detail = luma - _blur(luma, _CONTRAST_SIGMA)
    variance = _blur(detail * detail, _CONTRAST_SIGMA)
    return cast("_Plane", detail / np.sqrt(variance + np.float32(1)))


def _blur(plane: npt.NDArray[Any], sigma: float) -> _Plane:
    return cast("_Plane", cv2.GaussianBlur(plane, (0, 0), sigma))
