"""How an image is degraded, in a few numbers that say little of what it shows: what an exemplar is to a FlipNet.

    space = read_space(folder)              # of a model that was trained with exemplars
    space.describe(pixels)                  # 11 numbers
    describe_place(space, "photographs")    # those of each photograph

Statistics of small neighbourhoods (coefficients of 8 x 8 blocks, fine detail, edges, tones) are averaged over the
image, and mapped to the directions in which kinds of degradation lie apart and faces do not (Fisher's discriminants, of
equal records on several faces). No picture can be made of the numbers. They are not those that data sets are judged by
(`degrade_kit.analysis.features`). No torch here: a recipe is described without it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.checks import checked, each, fields, number
from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import read_json
from degrade_kit.image import Pixels, decode_image
from degrade_kit.network_ops import DESCRIPTION_LIMIT
from degrade_kit.planes import (
    DCT,
    TO_YCC,
    Plane,
    as_plane,
    block_deviation,
    block_means,
    floored_log,
    grid_step,
    half_plane,
)
from degrade_kit.sources import Sources, display_name, open_sources

SPACE_FILE: Final = "description.json"
"""File of a model's folder: how descriptions are made for it."""
SHIPPED_SPACE: Final = Path(__file__).parent / SPACE_FILE
"""The space that new models are trained with; `python -m benchmarks.flipnet_description --write` fits it."""
MOST_PHOTOGRAPHS: Final = 1000
"""Photographs that a folder of exemplars may have: their numbers become part of the recipe."""

_FORMAT: Final = 1
_SIDE: Final = 48
"""Smaller images are continued by their mirror image up to this side, pixels."""
_MOST_SIDE: Final = 512
"""Side of the middle that counts of larger ones, pixels."""
_CLIP: Final = 8.0

Description = tuple[float, ...]
_Floats = npt.NDArray[np.float64]

_DIAGONALS = tuple(range(1, 15))
_BANDS = ("low", "mid", "high")
STATISTICS: Final = (
    *(f"luma_{diagonal}" for diagonal in _DIAGONALS),
    *(f"zeros_{band}" for band in _BANDS),
    "aligned_mid",
    "aligned_high",
    *(f"chroma_{band}" for band in _BANDS),
    *(f"chroma_zeros_{band}" for band in _BANDS),
    "direction_mid",
    "direction_high",
    "grid_luma_8",
    "grid_chroma_8",
    "grid_chroma_16",
    "noise_luma",
    "noise_chroma",
    "noise_luma_half",
    "noise_chroma_half",
    "tails",
    "flat_05",
    "flat_25",
    "flat_chroma_05",
    "lag_luma_1",
    "lag_luma_2",
    "lag_chroma_1",
    "edge_50",
    "edge_80",
    "edge_half_50",
    "edge_half_80",
    "tone_01",
    "tone_10",
    "tone_50",
    "tone_90",
    "tone_99",
    "black",
    "white",
    "colourfulness",
)
"""Names of the numbers of `statistics`."""


@dataclass(frozen=True, slots=True)
class DescriptionSpace:
    """From statistics to descriptions: z = clip((x - mean) / scale, -8, 8) @ matrix."""

    mean: _Floats
    """Means of `STATISTICS`, (D,)."""
    scale: _Floats
    """Their standard deviations, (D,)."""
    matrix: _Floats
    """Directions of the descriptions, (D, d)."""

    @property
    def size(self) -> int:
        """How many numbers a description has."""
        return int(self.matrix.shape[1])

    def describe(self, pixels: Pixels) -> Description:
        """Describe an image, to a thousandth.

        Args:
            pixels: uint8 RGB, height x width x 3, at the size at which it was degraded: a photograph's own pixels.
        """
        return self.place(statistics(pixels))

    def place(self, measured: _Floats) -> Description:
        """Map statistics, (D,), to a description."""
        point = ((measured - self.mean) / self.scale).clip(-_CLIP, _CLIP) @ self.matrix
        return tuple(round(float(value), 3) for value in point.clip(-DESCRIPTION_LIMIT, DESCRIPTION_LIMIT))

    def to_json(self) -> str:
        """Write the file of this space."""
        plain: dict[str, Any] = {"format": _FORMAT, "statistics": list(STATISTICS)}
        for name in ("mean", "scale", "matrix"):
            values: _Floats = getattr(self, name)
            plain[name] = np.round(values, 6).tolist()
        return json.dumps(plain) + "\n"


def read_space(folder: Path) -> DescriptionSpace:
    """Read how a model's descriptions are made.

    Raises:
        ConfigError: If the model was not trained with exemplars, or its file is damaged or of other statistics.
    """
    path = folder / SPACE_FILE
    if not path.is_file():
        raise ConfigError(
            f"{folder}: this FlipNet cannot degrade like a photograph: it has no {SPACE_FILE}; take `photos`, which "
            "ships, or train it by `degrade-kit train-degrade --config exemplars`"
        )
    data = checked(read_json(path, max_bytes=1 << 20), _CHECK, str(path))
    if data["format"] != _FORMAT or tuple(data["statistics"]) != STATISTICS:
        raise ConfigError(f"{path}: expected descriptions of format {_FORMAT} and of the statistics measured here")
    mean, scale = (np.array(data[name], np.float64) for name in ("mean", "scale"))
    rows = cast("list[list[float]]", data["matrix"])
    size = len(rows[0]) if rows else 0
    counts = {len(mean), len(scale), len(rows)}
    if counts != {len(STATISTICS)} or not 1 <= size <= 24 or any(len(row) != size for row in rows):
        raise ConfigError(f"{path}: expected {len(STATISTICS)} means, scales and rows of 1 to 24 numbers")
    return DescriptionSpace(mean, scale, np.array(rows, np.float64))


_NUMBERS = each(number(-1e6, 1e6))
_CHECK = fields(
    {
        "format": int,
        "statistics": each(str),
        "mean": _NUMBERS,
        "scale": each(number(1e-6, 1e6)),
        "matrix": each(_NUMBERS),
    }
)


def describe_place(space: DescriptionSpace, place: str | os.PathLike[str]) -> tuple[Description, ...]:
    """Describe one photograph, or each of a folder in the order of their names.

    Args:
        space: Of the model.
        place: An image file, or whatever `degrade_kit.sources.open_sources` lists.

    Raises:
        ConfigError: If there is no photograph, there are too many, or one cannot be read.
    """
    sources = open_sources(place if isinstance(place, str) else os.fspath(place))
    if len(sources) > MOST_PHOTOGRAPHS:
        raise ConfigError(
            f"{display_name(os.fspath(place))}: expected at most {MOST_PHOTOGRAPHS:,} photographs, found "
            f"{len(sources):,}; give a folder of some of them"
        )
    return tuple(space.describe(_decoded(sources, index)) for index in range(len(sources)))


def _decoded(sources: Sources, index: int) -> Pixels:
    try:
        return decode_image(sources.read(index), min_side=16).pixels
    except ImageError as error:
        raise ConfigError(f"{display_name(sources.names[index])}: cannot be used as an exemplar: {error}") from error


_ORDER = np.add.outer(np.arange(8), np.arange(8))
_ROW_FIRST = np.subtract.outer(np.arange(8), np.arange(8))
_EDGES = ((1, 3), (4, 7), (8, 14))
_DIAGONAL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
"""High-pass of unit norm that is blind to straight edges (Immerkaer, CVIU 1996)."""


def statistics(pixels: Pixels) -> _Floats:
    """Measure an image; the values stand in the order of `STATISTICS`. About 4 ms at 128 x 128 pixels.

    Args:
        pixels: uint8 RGB, height x width x 3.

    Raises:
        ValueError: If the shape or type is another.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"pixels: expected uint8 RGB, height x width x 3; got {pixels.dtype}, shape {pixels.shape}")
    luma, *chroma = _planes(pixels)
    detail, *chroma_detail = (_detail(plane) for plane in (luma, *chroma))
    half = [half_plane(plane) for plane in (luma, *chroma)]
    noise = [_mad(detail), (_mad(chroma_detail[0]) + _mad(chroma_detail[1])) / 2]
    coarse = [_mad(_detail(plane)) for plane in half]
    flat, flat_chroma = (
        block_deviation(detail),
        block_deviation(chroma_detail[0]) + block_deviation(chroma_detail[1]),
    )
    found = [
        *_spectrum(luma, chroma),
        *_grid(luma, chroma),
        *(floored_log(value, 0.1) for value in (*noise, coarse[0], (coarse[1] + coarse[2]) / 2)),
        floored_log(float(np.square(detail).mean()), 0.01) - 2 * floored_log(noise[0], 0.1),
        *(floored_log(float(np.quantile(flat, share)), 0.1) for share in (0.05, 0.25)),
        floored_log(float(np.quantile(flat_chroma, 0.05)), 0.1),
        *_lags(luma, (1, 2)),
        sum(_lags(plane, (1,))[0] for plane in chroma) / 2,
        *_edges(luma),
        *_edges(half[0]),
        *(np.quantile(luma, (0.01, 0.1, 0.5, 0.9, 0.99)) / 255).tolist(),
        floored_log(float((luma <= 2).mean()), 0.01),
        floored_log(float((luma >= 253).mean()), 0.01),
        floored_log(float(np.hypot(chroma[0], chroma[1]).mean()), 1.0),
    ]
    values = np.array(found, np.float64)
    assert values.shape == (len(STATISTICS),), f"{len(STATISTICS)} names for {values.shape} values"
    return values


def _planes(pixels: Pixels) -> tuple[Plane, Plane, Plane]:
    """Luma and both chromas of the middle, which begins at a whole block, on the 0..255 scale."""
    height, width = pixels.shape[:2]
    top, left = (max(0, (side - _MOST_SIDE) // 2) // 8 * 8 for side in (height, width))
    middle = np.ascontiguousarray(pixels[top : top + _MOST_SIDE, left : left + _MOST_SIDE])
    while min(middle.shape[:2]) < _SIDE:
        more = [min(max(0, _SIDE - side), side - 1) if side > 1 else _SIDE - 1 for side in middle.shape[:2]]
        border = cv2.BORDER_REFLECT_101 if min(middle.shape[:2]) > 1 else cv2.BORDER_REPLICATE
        middle = np.asarray(cv2.copyMakeBorder(middle, 0, more[0], 0, more[1], border), np.uint8)
    luma, blue, red = cv2.split(cv2.transform(middle.astype(np.float32), TO_YCC))
    return as_plane(luma), as_plane(blue), as_plane(red)


def _blocks(plane: Plane) -> Plane:
    """Coefficients of the whole 8 x 8 blocks, (blocks, 8, 8)."""
    height, width = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane[: height * 8, : width * 8].reshape(height, 8, width, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    return as_plane(np.einsum("vy,byx,ux->bvu", DCT, blocks, DCT, optimize=True))


def _spectrum(luma: Plane, chroma: Sequence[Plane]) -> list[float]:
    size, shifted = np.abs(_blocks(luma)), np.abs(_blocks(luma[4:, 4:]))
    colour = np.concatenate([np.abs(_blocks(plane)) for plane in chroma])
    means, chroma_means = size.mean(0), colour.mean(0)
    bands = [(low <= _ORDER) & (high >= _ORDER) for low, high in _EDGES]
    zeros, shifted_zeros, chroma_zeros = (
        [float((values[:, band] < 0.7).mean()) for band in bands] for values in (size, shifted, colour)
    )
    upright, level = (
        [float(means[band & side].mean()) for band in bands[1:]] for side in (_ROW_FIRST > 0, _ROW_FIRST < 0)
    )
    return [
        *(floored_log(float(means[diagonal == _ORDER].mean()), 0.05) for diagonal in _DIAGONALS),
        *zeros,
        *(a - b for a, b in zip(zeros[1:], shifted_zeros[1:], strict=True)),
        *(floored_log(float(chroma_means[band].mean()), 0.05) for band in bands),
        *chroma_zeros,
        *(abs(floored_log(a, 0.05) - floored_log(b, 0.05)) for a, b in zip(upright, level, strict=True)),
    ]


def _grid(luma: Plane, chroma: Sequence[Plane]) -> list[float]:
    """Second differences beside block borders over those elsewhere."""
    profiles = [_curvature(luma, axis) for axis in (0, 1)]
    chroma_profiles = [_curvature(chroma[0], axis) + _curvature(chroma[1], axis) for axis in (0, 1)]
    return [grid_step(profiles, 8), grid_step(chroma_profiles, 8), grid_step(chroma_profiles, 16)]


def _curvature(plane: Plane, axis: int) -> _Floats:
    lines = plane if axis else plane.T
    return np.abs(lines[:, 2:] + lines[:, :-2] - 2 * lines[:, 1:-1]).mean(axis=0, dtype=np.float64)


def _lags(plane: Plane, lags: Sequence[int]) -> list[float]:
    """Autocorrelation of the grain in the flattest third of the blocks: 0 for white noise, positive if enlarged."""
    height, width = plane.shape[0] // 8 * 8, plane.shape[1] // 8 * 8
    grain = plane[:height, :width] - _blurred(plane, 3.0)[:height, :width]
    energies = block_means(grain * grain)
    flat = energies <= np.quantile(energies, 1 / 3)
    grain = grain * np.kron(flat, np.ones((8, 8), np.float32))
    total = float(np.square(grain).mean()) + 1e-2
    return [
        float((grain[:, lag:] * grain[:, :-lag]).mean() + (grain[lag:] * grain[:-lag]).mean()) / 2 / total
        for lag in lags
    ]


def _edges(luma: Plane) -> list[float]:
    """Quantiles over the strongest edges of what a blur leaves of the gradient: near 1 where the edge was wide."""
    gradient, smooth = _gradient(luma), _gradient(_blurred(luma, 1.5))
    edges = smooth > max(float(np.quantile(smooth, 0.9)), 0.25)
    if not edges.any():
        return [0.0, 0.0]
    ratios = (gradient[edges] + np.float32(0.1)) / (smooth[edges] + np.float32(0.1))
    return [math.log10(value) for value in np.quantile(ratios, (0.5, 0.8)).tolist()]


def _gradient(plane: Plane) -> Plane:
    across, along = (cv2.Sobel(plane, cv2.CV_32F, *axes, scale=0.125) for axes in ((1, 0), (0, 1)))
    return as_plane(np.sqrt(across * across + along * along))


def _detail(plane: Plane) -> Plane:
    return as_plane(cv2.filter2D(plane, -1, _DIAGONAL))[1:-1, 1:-1]


def _mad(detail: Plane) -> float:
    """Standard deviation by the median of absolute values."""
    return float(np.median(np.abs(detail))) / 0.6745


def _blurred(plane: Plane, sigma: float) -> Plane:
    return as_plane(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))
