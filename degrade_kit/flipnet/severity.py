"""How strongly an LQ image is degraded, measured against its registered HQ image; no model, about 3 ms at 256 px.

Every measure asks what LQ has *beyond or short of* its HQ partner, so that texture, a soft lens or the grain of the HQ
image count for nothing. The measures depend on each other as little as can be: blur is read off the cross-spectrum,
which noise does not touch and which a loss of contrast scales as a whole; noise is what LQ holds that no gain of HQ
explains.

Typical values are medians over crops of photographs, from 32 to 256 px alike:

    blur     Gaussian sigma 0.5 / 0.8 / 1.2 / 2 / 3 / 5 px: 0.3 / 0.8 / 1.2 / 1.7 / 2.1 / 2.8
    noise    equal to the standard deviation of white noise up to 25 (0..255 scale); at 40, clipping leaves 37
    blocks   JPEG quality 80 / 50 / 30 / 10: 0.8 / 1.9 / 2.9 / 5.4 at 256 px, a tenth less at 64 px
    veil     airlight 0.9 mixed in with weight 0.2 / 0.5 / 0.8: 0.15 / 0.39 / 0.64
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.image import Pixels

MIN_SIDE = 16
"""Least side of an image that can be measured, pixels."""

_Plane = npt.NDArray[np.float32]

_MAX_BANDS = 4
_QUANTIZATION = 0.25
"""Mean square of LQ detail, in levels of 1/255, below which rounding to 8 bit hides whether it is there."""
_DIAGONAL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
"""Unit norm, blind to straight edges (Immerkaer, "Fast Noise Variance Estimation", CVIU 1996)."""
_MAX_SAMPLES = 1 << 14
"""Values that a median is taken of: enough for one percent, in a tenth of the time."""


@dataclass(frozen=True, slots=True)
class Severity:
    """Measured strengths; 0 means none, except for `brightness`."""

    brightness: float
    """Mean luma of LQ over that of HQ: 1 unchanged, below 1 darker."""
    veil: float
    """Rise of the dark parts' lowest channel, [0, 1] scale, where contrast fell too: haze lightens blacks (the dark
    channel of He et al., CVPR 2009, at a sixteenth of the image)."""
    blur: float
    """Octaves of detail lost, 0 to 4, the finest four counted."""
    noise: float
    """Standard deviation per channel, 0..255 scale; coarse-grained noise counts by its grain averaged over 2 x 2 or
    4 x 4 pixels."""
    blocks: float
    """Height of steps at every eighth row and column over those between, 0..255 scale."""


def measure(hq: Pixels, lq: Pixels) -> Severity:
    """Measure the degradation of `lq`.

    Args:
        hq: uint8 RGB, height x width x 3, both sides at least `MIN_SIDE`.
        lq: As `hq`, of the same size, registered to it within a pixel.

    Raises:
        ValueError: If a shape or type is another.
    """
    for name, pixels in (("hq", hq), ("lq", lq)):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"{name}: expected uint8, height x width x 3; got {pixels.dtype}, shape {pixels.shape}")
    if hq.shape != lq.shape or min(hq.shape[:2]) < MIN_SIDE:
        raise ValueError(f"expected two images of one size from {MIN_SIDE} px on; got {hq.shape} and {lq.shape}")
    hq_luma, lq_luma = _luma(hq), _luma(lq)
    gain, kept = _transfer(hq_luma, lq_luma)
    grain = _grain(hq, lq, contrast=min(max(gain, 0.0), 1.0))
    blocks = _blocks(hq_luma, lq_luma, gain * kept[0], grain)
    return Severity(
        brightness=(float(lq_luma.mean()) + 1) / (float(hq_luma.mean()) + 1),
        veil=_veil(hq, lq) if gain < 0.95 else 0.0,
        blur=_MAX_BANDS * (1 - sum(kept) / len(kept)),
        # The ringing of JPEG passes for noise with a standard deviation of 0.4 block steps.
        noise=max(grain**2 - (0.4 * blocks) ** 2, 0.0) ** 0.5,
        blocks=blocks,
    )


def _luma(pixels: Pixels) -> _Plane:
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _transfer(hq: _Plane, lq: _Plane) -> tuple[float, list[float]]:
    """Contrast of the coarsest content, LQ over HQ; and of each finer octave what is left beyond that, 0 to 1.

    Both are projections of LQ on HQ, which noise in LQ changes little, since it is not correlated with HQ.
    """
    bands: list[tuple[float, float]] = []
    while len(bands) < _MAX_BANDS and min(hq.shape) >= 8:
        hq_smooth, lq_smooth = _smooth(hq), _smooth(lq)
        detail = hq - hq_smooth
        bands.append((_mean(detail * detail), _mean(detail * (lq - lq_smooth))))
        hq, lq = hq_smooth[::2, ::2], lq_smooth[::2, ::2]
    coarse = hq - np.float32(hq.mean())
    gain = _mean(coarse * lq) / max(_mean(coarse * coarse), 1e-3)
    if gain <= 0:  # nothing of HQ is to be seen in LQ, or HQ is flat: no statement about its detail
        return gain, [1.0] * len(bands)
    kept = [(gain * cross + _QUANTIZATION) / (gain**2 * energy + _QUANTIZATION) for energy, cross in bands]
    return gain, [min(max(value, 0.0), 1.0) for value in kept]


def _smooth(plane: _Plane) -> _Plane:
    return _as_float(cv2.GaussianBlur(plane, (0, 0), 1.0, borderType=cv2.BORDER_REFLECT_101))


def _mean(values: npt.NDArray[np.floating[Any]]) -> float:
    return float(values.mean())


def _grain(hq: Pixels, lq: Pixels, contrast: float) -> float:
    """Standard deviation of the noise that LQ has over HQ: the largest of three scales, each half of the one before.

    Of two estimates the lower counts: the part of LQ that no gain of HQ explains, which holds misplaced edges of motion
    blur too, and what LQ has more than HQ, which texture covers.
    """
    hq_now, lq_now, found = hq.astype(np.float32), lq.astype(np.float32), 0.0
    for _ in range(3):
        hq_detail = _as_float(cv2.filter2D(hq_now, -1, _DIAGONAL))[1:-1, 1:-1]
        lq_detail = _as_float(cv2.filter2D(lq_now, -1, _DIAGONAL))[1:-1, 1:-1]
        gain = float((hq_detail * lq_detail).sum()) / max(float((hq_detail * hq_detail).sum()), 1e-3)
        unexplained = _deviation(lq_detail - np.float32(gain) * hq_detail)
        more = _deviation(lq_detail) ** 2 - (contrast * _deviation(hq_detail)) ** 2
        found = max(found, min(unexplained, max(more, 0.0) ** 0.5))
        half = (hq_now.shape[1] // 2, hq_now.shape[0] // 2)
        if min(half) < MIN_SIDE:
            break
        hq_now = cv2.resize(hq_now[: half[1] * 2, : half[0] * 2], half, interpolation=cv2.INTER_AREA)
        lq_now = cv2.resize(lq_now[: half[1] * 2, : half[0] * 2], half, interpolation=cv2.INTER_AREA)
    return found


def _deviation(values: npt.NDArray[np.floating[Any]]) -> float:
    """Standard deviation by the median of absolute values, which a few edges do not move."""
    flat = np.abs(values.ravel())
    return float(np.median(flat[:: max(1, flat.size // _MAX_SAMPLES)])) / 0.6745


def _blocks(hq: _Plane, lq: _Plane, gain: float, grain: float) -> float:
    """Height of the steps on the strongest 8-px grid of LQ, less what HQ has there and what noise makes by chance.

    The weaker of both directions counts, since JPEG steps in both, and an edge of the scene in one.
    """
    found: list[float] = []
    for axis in (0, 1):
        steps = _steps_by_phase(lq, axis)
        phase = int(steps.argmax())
        found.append(_peak(steps, phase) - min(max(gain, 0.0), 1.0) * max(_peak(_steps_by_phase(hq, axis), phase), 0.0))
    # The peak of eight means of `side / 8` noisy lines; the factor is measured.
    return max(min(found) - 1.8 * grain / min(hq.shape), 0.0)


def _steps_by_phase(plane: _Plane, axis: int) -> npt.NDArray[np.float64]:
    """Mean excess of a step between neighbouring lines over the steps beside it, for each position modulo 8."""
    lines = plane if axis else plane.T
    step = cv2.absdiff(lines[:, 1:], lines[:, :-1])
    excess = (step[:, 1:-1] - 0.5 * (step[:, :-2] + step[:, 2:])).mean(axis=0, dtype=np.float64)
    phases = np.arange(excess.size, dtype=np.int64) % 8
    return np.bincount(phases, excess, minlength=8) / np.bincount(phases, minlength=8)


def _peak(steps: npt.NDArray[np.float64], phase: int) -> float:
    others = np.delete(steps, [(phase - 1) % 8, phase, (phase + 1) % 8])  # the neighbours of a step are lowered by it
    return float(steps[phase] - others.mean())


def _veil(hq: Pixels, lq: Pixels) -> float:
    """Rise of the dark tenth, as far as it is not the blur's, which levels the darkness but keeps its mean."""
    hq_dark, lq_dark = _dark_channel(hq), _dark_channel(lq)
    rise = float(np.percentile(lq_dark, 10)) - float(np.percentile(hq_dark, 10))
    mean_rise = float(lq_dark.mean()) - float(hq_dark.mean())
    return max(min(rise, 4 * mean_rise), 0.0) / 255


def _dark_channel(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Lowest channel of a 16 x 16 thumbnail."""
    return np.asarray(cv2.resize(pixels, (16, 16), interpolation=cv2.INTER_AREA), np.uint8).min(axis=2)


def _as_float(array: npt.NDArray[Any]) -> _Plane:
    """Narrow what OpenCV's stubs call any array."""
    return cast("_Plane", array)
