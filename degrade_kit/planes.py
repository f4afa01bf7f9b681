"""Planes of an image, and what is measured on them: what the features that judge and descriptions share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, cast

import cv2
import numpy as np
import numpy.typing as npt

Plane: TypeAlias = npt.NDArray[np.float32]
"""Shape (height, width)."""

TO_YCC: Final = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
"""From RGB to luma and both chromas by BT.601, which JPEG uses."""
DCT: Final = np.cos(np.pi / 8 * np.outer(np.arange(8), np.arange(8) + 0.5)).astype(np.float32) / 2
"""The orthonormal cosine transform of JPEG's blocks, a row for each frequency."""
DCT[0] /= np.float32(math.sqrt(2))


def as_plane(array: npt.NDArray[Any]) -> Plane:
    """Narrow what OpenCV's stubs call any array."""
    return cast("Plane", array)


def half_plane(plane: Plane) -> Plane:
    """Average 2 x 2 pixels; an odd last row or column is left out."""
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    even = plane[: height * 2, : width * 2]  # else the phase of the grain would drift over the image
    return as_plane(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))


def block_means(plane: npt.NDArray[Any]) -> Plane:
    """Average the whole blocks of 8 x 8 pixels."""
    height, width = plane.shape[0] // 8, plane.shape[1] // 8
    return as_plane(cv2.resize(plane[: height * 8, : width * 8], (width, height), interpolation=cv2.INTER_AREA))


def floored_log(value: float, offset: float) -> float:
    """Compute the logarithm of base 10, which levels off below `offset`, where the measure means nothing."""
    return math.log10(max(value, 0.0) + offset)


def block_deviation(detail: Plane) -> Plane:
    """Compute the root of the mean square of each whole block of 8 x 8 pixels."""
    return np.sqrt(block_means(detail * detail))


def grid_step(profiles: Sequence[npt.NDArray[np.float64]], period: int) -> float:
    """Compare second differences beside block borders with those elsewhere, as a logarithm (Wang et al., ICIP 2002).

    Args:
        profiles: Mean second difference at each place of a line but its ends, (n,) each, one for each direction.
        period: Side of the blocks, pixels.
    """
    ratios: list[float] = []
    for profile in profiles:
        position = (np.arange(profile.size) + 1) % period
        border = (position == 0) | (position == period - 1)
        beside, elsewhere = float(profile[border].mean()), float(profile[~border].mean())
        ratios.append(floored_log(beside, 0.05) - floored_log(elsewhere, 0.05))
    return sum(ratios) / len(ratios)
