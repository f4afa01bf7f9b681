"""Numbers of one restored image, with its reference or alone, that need no network: PSNR, SSIM, NIQE.

Images are pixels (see `degrade_kit.image`): RGB, HWC, uint8. All arithmetic is in float64.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.analysis.protocols import Protocol
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels

Plane = npt.NDArray[np.float64]

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW: Final = 11
_BLOCK: Final = 96
"""Side of NIQE's blocks, pixels."""


def psnr(restored: Pixels, reference: Pixels, protocol: Protocol) -> float:
    """Measure the peak signal-to-noise ratio, dB; infinite for equal images where the protocol has no floor.

    Args:
        restored: See `degrade_kit.image`.
        reference: Of the same size.
        protocol: What is cropped, matched and added.

    Raises:
        ValueError: If the sizes differ.

    Source: BasicSR 1.4.2 `calculate_psnr`.
    """
    one, two = _prepared(restored, reference, protocol)
    error = float(np.square(one - two).mean()) / 255**2 + protocol.psnr_floor
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(restored: Pixels, reference: Pixels, protocol: Protocol) -> float:
    """Measure the structural similarity, at most 1.

    Args:
        restored: See `degrade_kit.image`.
        reference: Of the same size.
        protocol: What is cropped and matched.

    Raises:
        ValueError: If the sizes differ, or are below the window once cropped.

    Source: BasicSR 1.4.2 `calculate_ssim`; equal to scikit-image's `structural_similarity` with
    `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.
    """
    one, two = _prepared(restored, reference, protocol)
    if min(one.shape[:2]) < _WINDOW:
        raise ValueError(f"expected at least {_WINDOW} pixels of each side for SSIM, got {one.shape[:2]}")
    return _ssim(one, two)


def _prepared(restored: Pixels, reference: Pixels, protocol: Protocol) -> tuple[Plane, Plane]:
    """Match and crop as the protocol says, 0..255."""
    if restored.shape != reference.shape:
        raise ValueError(f"expected images of one size, got {restored.shape} and {reference.shape}")
    one, two = restored.astype(np.float64), reference.astype(np.float64)
    if protocol.match_moments:
        one = _match_moments(one, two)
    if protocol.crop:
        inner = slice(protocol.crop, -protocol.crop)
        one, two = one[inner, inner], two[inner, inner]
    return one, two


def _match_moments(image: Plane, reference: Plane) -> Plane:
    """Mean and deviation of each channel as in the reference, twice over, as VQFR's script has it."""
    mean, spread = reference.mean((0, 1)), reference.std((0, 1))
    for _ in range(2):
        image = image - image.mean((0, 1)) + mean
        # The script scales about zero, not about the mean; a flat image has nothing to scale.
        own = image.std((0, 1))
        image = image / np.where(own > 0, own, 1) * np.where(own > 0, spread, 1)
    return image


def _ssim(one: Plane, two: Plane) -> float:
    window = cv2.getGaussianKernel(_WINDOW, 1.5)
    edge = _WINDOW // 2

    def smooth(plane: Plane) -> Plane:
        return np.asarray(cv2.sepFilter2D(plane, -1, window, window)[edge:-edge, edge:-edge], np.float64)

    mean_one, mean_two = smooth(one), smooth(two)
    square_one, square_two, product = mean_one**2, mean_two**2, mean_one * mean_two
    var_one, var_two = smooth(one**2) - square_one, smooth(two**2) - square_two
    covariance = smooth(one * two) - product
    top = (2 * product + _C1) * (2 * covariance + _C2)
    return float((top / ((square_one + square_two + _C1) * (var_one + var_two + _C2))).mean())


# ----------------------------------------------------------------------------------------------------------------- NIQE


@dataclass(frozen=True, slots=True)
class NiqeModel:
    """How natural images are distributed, from the file that BasicSR ships as `niqe_pris_params.npz`."""

    mean: Plane
    """(36,)"""
    covariance: Plane
    """(36, 36)"""
    window: Plane
    """(7, 7) weights of the local mean."""


def load_niqe(path: Path) -> NiqeModel:
    """Read the parameters of NIQE.

    Raises:
        ConfigError: If the file holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = ("mu_pris_param", "cov_pris_param", "gaussian_window")
            mean, covariance, window = (np.asarray(file[key], np.float64) for key in keys)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: not NIQE's parameters (niqe_pris_params.npz of BasicSR): {error}") from error
    if (mean.size, covariance.shape, window.shape) != (36, (36, 36), (7, 7)):
        raise ConfigError(f"{path}: expected NIQE's 36 parameters, found {mean.size}")
    return NiqeModel(mean.reshape(-1), covariance, window)


def niqe(image: Pixels, model: NiqeModel) -> float:
    """Compute the natural image quality evaluator of the luma; lower is more natural.

    Blocks of 96 pixels beside each other; what is over at the right and bottom is left out. An image of fewer than two
    blocks has no covariance, and a flat one no shape: both give NaN.

    Source: Mittal et al. 2013; as BasicSR 1.4.2 `calculate_niqe` with the luma of MATLAB's YCbCr.
    """
    # 16 to 235, rounded as MATLAB's rgb2ycbcr does for 8-bit images.
    luma = np.round(image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255 + 16)
    height, width = (side // _BLOCK for side in luma.shape)
    if height * width < 2:
        return math.nan
    plane = luma[: height * _BLOCK, : width * _BLOCK]
    parts: list[Plane] = []
    for side in (_BLOCK, _BLOCK // 2):
        normal = _normalised(plane, model.window)
        blocks = normal.reshape(height, side, width, side).transpose(0, 2, 1, 3).reshape(-1, side, side)
        parts.append(np.array([_block_features(block) for block in blocks]))
        plane = _halved(plane)
    features = np.concatenate(parts, axis=1)
    whole = features[~np.isnan(features).any(1)]
    if len(whole) < 2:
        return math.nan
    gap = model.mean - np.nanmean(features, axis=0)
    inverse = np.linalg.pinv((model.covariance + np.cov(whole, rowvar=False)) / 2)
    return float(np.sqrt(gap @ inverse @ gap))


def _normalised(plane: Plane, window: Plane) -> Plane:
    """Rounded to float32 where BasicSR's is: in flat regions it decides which values are just below 0, and counted."""
    single = plane.astype(np.float32)
    mean, square = (
        cv2.filter2D(each.astype(np.float64), -1, window, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
        for each in (single, np.square(single))
    )
    return np.asarray((single - mean) / (np.sqrt(np.abs(square - np.square(mean))) + np.float32(1)), np.float64)


def _halved(plane: Plane) -> Plane:
    """Half the size by MATLAB's antialiased bicubic filter, borders mirrored."""
    places = np.abs(np.arange(-3.5, 4) / 2)
    near, far = 1.5 * places**3 - 2.5 * places**2 + 1, -0.5 * places**3 + 2.5 * places**2 - 4 * places + 2
    weights = np.where(places <= 1, near, far)
    weights /= weights.sum()
    for axis in (0, 1):
        margin = [(3, 3) if each == axis else (0, 0) for each in (0, 1)]
        padded = np.moveaxis(np.pad(plane, margin, mode="symmetric"), axis, 0)
        count = plane.shape[axis] // 2
        plane = np.moveaxis(
            sum((weights[tap] * padded[tap : tap + 2 * count : 2] for tap in range(8)), np.zeros(())), 0, axis
        )
    return np.ascontiguousarray(plane)


def _block_features(block: Plane) -> list[float]:
    shape, left, right = _asymmetric(block)
    found = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = _asymmetric(block * np.roll(block, shift, axis=(0, 1)))
        mean = (right - left) * math.exp(math.lgamma(2 / shape) - math.lgamma(1 / shape)) if shape else math.nan
        found += [shape or math.nan, mean, left, right]
    return found


def _asymmetric(values: Plane) -> tuple[float, float, float]:
    """Shape, left and right scale of an asymmetric generalised Gaussian; NaN, with shape 0, of one-sided values."""
    below, above = values[values < 0], values[values > 0]
    if not below.size or not above.size:
        return 0.0, math.nan, math.nan
    left, right = math.sqrt(np.square(below).mean()), math.sqrt(np.square(above).mean())
    balance = left / right
    ratio = float(np.abs(values).mean()) ** 2 / float(np.square(values).mean())
    wanted = ratio * (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
    shapes, ratios = _ratios()
    shape = float(shapes[np.argmin(np.square(ratios - wanted))])
    scale = math.exp((math.lgamma(1 / shape) - math.lgamma(3 / shape)) / 2)
    return shape, left * scale, right * scale


@functools.lru_cache(maxsize=1)
def _ratios() -> tuple[Plane, Plane]:
    """Shapes from 0.2 to 10, and of each the squared mean magnitude over the mean square."""
    shapes = np.arange(0.2, 10.001, 0.001)
    logs = [2 * math.lgamma(2 / shape) - math.lgamma(1 / shape) - math.lgamma(3 / shape) for shape in shapes]
    return shapes, np.exp(logs)
