"""Handcrafted features of how an image is degraded: 121 numbers, and nothing to download.

They see degradation and not what the image shows as well as such numbers can; `analysis.whitening` takes out most of
the rest. An image is never resized before: that would change what is measured. Percentiles come from
histograms, so that an image of 512 x 512 takes about 25 ms of one core.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.image import Pixels

VERSION: Final = 1
"""Changes whenever the same image gives other numbers; part of the key of cached features."""
MIN_SIZE: Final = 32
"""Shortest side, pixels."""

_Plane = npt.NDArray[np.float32]
_TINY = 1e-6

_BANDS: Final = 16
_ORIENTATIONS: Final = ((0, 1), (1, 0), (1, 1), (1, -1))

_SPECTRUM: Final = (
    *(
        f"band_{band}" for band in range(_BANDS)
    ),  # log power at radius (band + 0.5) / 32 cycles per pixel, less the mean
    "slope",  # of log power over log frequency; about -2 in photographs (Field 1987)
    "bandwidth_95",  # radius below which 95 % of the power lies
    "bandwidth_99",
    *(f"direction_{angle}" for angle in (0, 45, 90, 135)),  # log power of a sector, less the mean: motion blur
)
_SHARPNESS: Final = (
    "laplacian_1",  # log variance of the Laplacian (Pech-Pacheco et al. 2000), at full, half and quarter size
    "laplacian_2",
    "laplacian_4",
    "tenengrad_1",  # log mean squared Sobel gradient (Krotkov 1988), at full and half size
    "tenengrad_2",
    "gradient_sparsity",  # mean over root mean square
    "reblur_1",  # log of the Laplacian's variance after more blur over before (Crete et al. 2007)
    "reblur_2",
    "reblur_4",
    "edge_strength",  # 99.9 % gradient over the image's contrast: how wide edges are
    "gradient_range",  # log of the 99 % over the 50 % gradient
    "busiest_block",  # log variance of the Laplacian in the most structured 16 x 16 block
)
_NOISE: Final = (
    "noise_y",  # log of the median absolute Laplacian difference mask (Immerkaer 1996), luma and chroma
    "noise_cb",
    "noise_cr",
    "flat_y",  # the same in the flattest 5 % of 8 x 8 blocks
    "flat_cb",
    "flat_cr",
    "flat_25_y",
    "lag_1",  # autocorrelation of the fine residual: noise that was enlarged is correlated
    "lag_2",
    "lag_4",
    "lag_1_cb",
    "lag_2_cb",
    "shot",  # log ratio of residual in bright and dark blocks: Poisson against Gaussian noise
    "kurtosis",  # log, of the residual
    "channel_correlation",  # of the residual in red and blue: gray against colour noise
    "coarse",  # log ratio of the mask at half and full size
)
_JPEG: Final = (
    "grid_8_x",  # log ratio of steps on and off the 8-pixel grid (Wang et al. 2002)
    "grid_8_y",
    "grid_16_cb",  # of 4:2:0 chroma blocks
    "zeros_high",  # share of block-cosine coefficients near 0 (Fan & de Queiroz 2003)
    "zeros_middle",
    "zeros_low",
    "period_strength",  # highest autocorrelation of the profile of steps at a lag within 9..64 ...
    "period",  # ... and log2 of that lag: JPEG that was enlarged
    "grid_8_shifted",  # as grid_8, at the strongest phase
    "grid_16",
    "grid_32",
)
_NSS: Final = tuple(  # BRISQUE (Mittal et al. 2012): fits to normalised luma and products of neighbours, at two scales
    f"{name}_{scale}"
    for scale in (1, 2)
    for name in (
        "mscn_shape",
        "mscn_variance",
        *(
            f"pair_{pair}_{part}"
            for pair in ("across", "down", "diagonal", "antidiagonal")
            for part in ("shape", "mean", "left", "right")
        ),
    )
)
_COLOUR: Final = (
    "mean",
    "deviation",
    "skewness",
    *(f"luma_{percent}" for percent in (1, 5, 25, 50, 75, 95, 99)),  # percentiles
    "entropy",  # of the luma histogram, bits
    "gaps",  # share of empty levels of green between its 1 % and its 99 %: brightened dark images
    "black",  # log shares of clipped pixels
    "white",
    "saturation",
    "saturation_deviation",
    "colourfulness",  # Hasler & Suesstrunk 2003
    "cast_blue",
    "cast_red",
    "dark_channel",  # mean, and 99.9 %, of the dark channel (He et al. 2009): haze and airlight
    "airlight",
    "local_contrast",  # mean local deviation over mean luma
    "large_contrast",  # deviation of luma averaged over 64 x 64
)
_PARTS: Final = (
    ("spectrum", _SPECTRUM),
    ("sharpness", _SHARPNESS),
    ("noise", _NOISE),
    ("jpeg", _JPEG),
    ("statistics", _NSS),
    ("colour", _COLOUR),
)
NAMES: Final = tuple(name for _, names in _PARTS for name in names)
"""What each feature is called."""


def _groups() -> dict[str, slice]:
    groups: dict[str, slice] = {}
    start = 0
    for group, names in _PARTS:
        groups[group] = slice(start, start + len(names))
        start += len(names)
    return groups


GROUPS: Final = _groups()
"""Where the features of a group stand."""


def degradation_features(image: Pixels) -> npt.NDArray[np.float64]:
    """Measure one image.

    Args:
        image: uint8, (H, W, 3), RGB; at least 32 pixels on a side.

    Returns:
        Finite numbers in the order of `NAMES`.

    Raises:
        ValueError: If the image is smaller or of another shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected uint8 of shape (H, W, 3), got {image.dtype} of shape {image.shape}")
    if min(image.shape[:2]) < MIN_SIZE:
        raise ValueError(f"expected sides of at least {MIN_SIZE} pixels, got {image.shape[1]} x {image.shape[0]}")
    image = np.ascontiguousarray(image)
    codes = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    luma, red, blue = (plane.astype(np.float32) for plane in codes)
    half = cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    laplacian = cv2.Laplacian(luma, cv2.CV_32F)
    parts = (
        spectrum(luma),
        _sharpness(luma, half, laplacian),
        _noise(image, luma, half, blue, red),
        _jpeg(luma, blue),
        [*_scene(luma), *_scene(half)],
        _colour(image, codes[0], luma, blue, red),
    )
    return np.array([value for part in parts for value in part], np.float64)


# ------------------------------------------------------------------------------------------------------------- spectrum


def spectrum(luma: _Plane) -> list[float]:
    """Power by radius and direction, of the luma under a Hann window."""
    import scipy.fft

    height, width = luma.shape
    window, radii, sectors, counts, frequencies = _spectrum_plan(height, width)
    transformed: Any = scipy.fft.rfft2((luma - luma.mean()) * window)
    power = np.square(transformed.real) + np.square(transformed.imag) + np.float32(1e-3)
    flat = power.ravel()
    bands = np.bincount(radii, flat, _BANDS + 1)[:_BANDS] / counts
    logs = np.log(bands)
    levels = logs - logs.mean()
    slope = float(np.polyfit(frequencies[1:], logs[1:], 1)[0])
    share = np.cumsum(bands * counts)
    share /= share[-1]
    widths = [float(np.interp(part, share, np.arange(1, _BANDS + 1) / 32)) for part in (0.95, 0.99)]
    directions = np.log(np.bincount(sectors, flat, 5)[:4] + _TINY)
    return [*levels.tolist(), slope, *widths, *(directions - directions.mean()).tolist()]


@functools.lru_cache(maxsize=4)
def _spectrum_plan(height: int, width: int) -> tuple[_Plane, Any, Any, Any, Any]:
    """Window, band and sector of each coefficient, coefficients in a band, log frequency of a band."""
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    radius = np.hypot(down, across)
    bands = np.minimum((radius * 32).astype(np.intp), _BANDS).ravel()
    counts = np.maximum(np.bincount(bands, minlength=_BANDS + 1)[:_BANDS], 1)
    angle = np.rad2deg(np.arctan2(down, across))  # within [-90, 90]
    sector = np.round(angle / 45).astype(np.intp) % 4
    sector[(radius < 0.06) | (radius > 0.4)] = 4
    frequencies = np.log((np.arange(_BANDS) + 0.5) / 32)
    return window, bands, sector.ravel(), counts, frequencies


# ------------------------------------------------------------------------------------------------------------ sharpness


def _sharpness(luma: _Plane, half: _Plane, laplacian: _Plane) -> list[float]:
    quarter = cv2.resize(half, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    variance = _variance(laplacian)
    variances = [variance, _variance(cv2.Laplacian(half, cv2.CV_32F)), _variance(cv2.Laplacian(quarter, cv2.CV_32F))]
    gradients = [_gradient(luma), _gradient(half)]
    energies = [_mean_square(gradient) for gradient in gradients]
    reblurred = [_variance(cv2.Laplacian(cv2.GaussianBlur(luma, (0, 0), sigma), cv2.CV_32F)) for sigma in (1, 2, 4)]
    middle, high, top = _quantiles(gradients[0], (0.5, 0.99, 0.999), 1500.0)
    contrast = math.sqrt(_variance(luma))
    blocks = cv2.resize(
        np.square(laplacian), (laplacian.shape[1] // 16, laplacian.shape[0] // 16), interpolation=cv2.INTER_AREA
    )
    return [
        *(math.log(value + 0.01) for value in variances),
        *(math.log(value + 0.01) for value in energies),
        float(gradients[0].mean(dtype=np.float64)) / (math.sqrt(energies[0]) + 0.1),
        *(math.log((value + 0.001) / (variance + 0.01)) for value in reblurred),
        math.log((top + 1) / (contrast + 1)),
        math.log((high + 1) / (middle + 1)),
        math.log(float(blocks.max()) + 0.01),
    ]


def _gradient(plane: _Plane) -> _Plane:
    across, down = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    return np.sqrt(np.square(across) + np.square(down))


# ---------------------------------------------------------------------------------------------------------------- noise

_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
"""Unit response to white noise of deviation 1, none to planes and edges along the axes (Immerkaer 1996)."""


def _noise(image: Pixels, luma: _Plane, half: _Plane, blue: _Plane, red: _Plane) -> list[float]:
    masked = [np.abs(cv2.filter2D(plane, cv2.CV_32F, _MASK)) for plane in (luma, blue, red)]
    medians = [_quantiles(plane, (0.5,), 64.0)[0] for plane in masked]
    blocks = [_block_means(plane, 8) for plane in masked]
    flattest = [float(np.quantile(block, 0.05)) for block in blocks]
    coarse = _quantiles(np.abs(cv2.filter2D(half, cv2.CV_32F, _MASK)), (0.5,), 64.0)[0]

    fine = luma - cv2.GaussianBlur(luma, (0, 0), 2)
    # Where the image is flat, the residual is noise and not structure.
    flat = blocks[0] <= np.quantile(blocks[0], 0.4)
    fine_blue = blue - cv2.GaussianBlur(blue, (0, 0), 2)
    levels = _block_means(luma, 8)[flat]
    amounts = blocks[0][flat]
    bright = levels >= np.median(levels)
    shot = (
        math.log((float(amounts[bright].mean()) + 0.1) / (float(amounts[~bright].mean()) + 0.1))
        if (~bright).any()
        else 0.0
    )
    square = _mean_square(fine)
    fourth = _mean_square(np.square(fine))
    residual = [plane - cv2.GaussianBlur(plane, (0, 0), 1) for plane in _planes(image)]
    return [
        *(math.log(value + 0.05) for value in medians),
        *(math.log(value + 0.05) for value in flattest),
        math.log(float(np.quantile(blocks[0], 0.25)) + 0.05),
        *(_lag(fine, lag, flat) for lag in (1, 2, 4)),
        *(_lag(fine_blue, lag, flat) for lag in (1, 2)),
        shot,
        math.log((fourth + 0.1) / (square * square + 0.1)),
        _correlation(residual[0], residual[1]),
        math.log((coarse + 0.05) / (medians[0] + 0.05)),
    ]


def _planes(image: Pixels) -> list[_Plane]:
    """Red and blue."""
    return [np.asarray(cv2.extractChannel(image, channel), np.float32) for channel in (0, 2)]


def _lag(plane: _Plane, lag: int, flat: npt.NDArray[np.bool_]) -> float:
    """Autocorrelation at a distance, across and down alike, in flat blocks."""
    products = np.zeros_like(plane)
    products[:, lag:] = plane[:, lag:] * plane[:, :-lag]
    products[lag:] += plane[lag:] * plane[:-lag]
    total = float(_block_means(np.square(plane), 8)[flat].mean())
    return float(_block_means(products, 8)[flat].mean()) / (2 * total + 0.01)


def _block_means(plane: _Plane, side: int) -> _Plane:
    height, width = (length // side for length in plane.shape)
    return cv2.resize(plane[: height * side, : width * side], (width, height), interpolation=cv2.INTER_AREA)  # pyright: ignore[reportReturnType]


def _correlation(first: _Plane, second: _Plane) -> float:
    shared = float(np.multiply(first, second).mean(dtype=np.float64))
    return shared / (math.sqrt(_mean_square(first) * _mean_square(second)) + 1e-3)


# ----------------------------------------------------------------------------------------------------------------- JPEG


def _jpeg(luma: _Plane, blue: _Plane) -> list[float]:
    # Second differences across a step: a ramp has none.
    across, down = _steps(luma, 1), _steps(luma, 0)
    grids = [_grid(profile, 8) for profile in (across, down)]
    chroma = (_steps(blue, 1), _steps(blue, 0))
    strengths, periods = zip(*(_period(profile) for profile in (across, down)), strict=True)
    best = int(np.argmax(strengths))
    return [
        *grids,
        sum(_grid(profile, 16) for profile in chroma) / 2,
        *_zeros(luma),
        strengths[best],
        periods[best],
        max(max(_grid(profile, 8, phase) for phase in range(8)) for profile in (across, down)),
        sum(_grid(profile, 16) for profile in (across, down)) / 2,
        sum(_grid(profile, 32) for profile in (across, down)) / 2,
    ]


def _steps(plane: _Plane, axis: int) -> npt.NDArray[np.float64]:
    """Mean height of the step between neighbours, less that of the ramp around it; entry i is between i and i + 1."""
    first = plane if axis else cv2.transpose(plane)
    step = np.abs(np.diff(first, axis=1))
    sums = cv2.reduce(step, 0, cv2.REDUCE_AVG)[0].astype(np.float64)
    padded = np.pad(sums, 1, mode="edge")
    return sums - 0.5 * (padded[:-2] + padded[2:])


def _grid(profile: npt.NDArray[np.float64], side: int, phase: int = 0) -> float:
    """How much higher steps on the grid are, in deviations of those off it."""
    on = profile[(side - 1 + phase) % side :: side]
    mask = np.ones(len(profile), bool)
    mask[(side - 1 + phase) % side :: side] = False
    spread = float(np.sqrt(np.mean(np.square(profile[mask])))) + 0.05
    return math.asinh((float(on.mean()) if len(on) else 0.0) / spread)


def _period(profile: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Highest autocorrelation within lags 9..64, and log2 of its lag; (0, 3) where there is no room."""
    centred = np.clip(profile - profile.mean(), -4, 4)
    longest = min(64, len(centred) // 3)
    if longest < 10:
        return 0.0, 3.0
    power = np.correlate(centred, centred, "full")[len(centred) - 1 :]
    values = power[9 : longest + 1] / (power[0] + 0.05 * len(centred))
    place = int(np.argmax(values))
    return float(values[place]), math.log2(9 + place)


def _zeros(luma: _Plane) -> list[float]:
    """Shares of small coefficients in three bands, log of the odds."""
    height, width = (side // 8 for side in luma.shape)
    blocks = luma[: height * 8, : width * 8].reshape(height, 8, width, 8).transpose(0, 2, 1, 3)
    basis = _cosines()
    coefficients = np.abs(basis @ blocks @ basis.T)
    shares: list[float] = []
    order = np.add.outer(np.arange(8), np.arange(8))
    small = (coefficients < 0.7).mean((0, 1))
    for low, high in ((8, 15), (4, 8), (1, 4)):
        share = float(small[(order >= low) & (order < high)].mean())
        shares.append(math.log((share + 0.01) / (1.01 - share)))
    return shares


@functools.lru_cache(maxsize=1)
def _cosines() -> _Plane:
    place = np.arange(8)
    basis = np.cos(np.pi / 8 * (place[None] + 0.5) * place[:, None]) / 2
    basis[0] /= math.sqrt(2)
    return basis.astype(np.float32)


# ---------------------------------------------------------------------------------------------------- scene statistics


def _scene(luma: _Plane) -> list[float]:
    """18 numbers of one scale."""
    mean = cv2.GaussianBlur(luma, (7, 7), 7 / 6)
    variance = cv2.GaussianBlur(np.square(luma), (7, 7), 7 / 6) - np.square(mean)
    normal = (luma - mean) / (np.sqrt(np.abs(variance)) + 1)
    square, absolute = _mean_square(normal), float(np.abs(normal).mean())
    shape = _shape_of_ratio(absolute * absolute / (square + _TINY))
    found = [shape, square]
    for down, across in _ORIENTATIONS:
        shifted = _shift(normal, down, across)
        found += _asymmetric(shifted[0] * shifted[1])
    return found


def _shift(plane: _Plane, down: int, across: int) -> tuple[_Plane, _Plane]:
    height, width = plane.shape
    if across < 0:
        return plane[:-1, 1:], plane[1:, :-1]
    return plane[: height - down, : width - across], plane[down:, across:]


def _asymmetric(products: _Plane) -> list[float]:
    """Shape, mean, left and right variance of an asymmetric generalised Gaussian (Lasmar et al. 2009)."""
    negative = np.minimum(products, 0)
    size = products.size
    square, below = _mean_square(products) * size, _mean_square(negative) * size
    count = int(np.count_nonzero(negative))
    left = math.sqrt(below / max(count, 1))
    right = math.sqrt(max(square - below, 0.0) / max(size - count, 1))
    absolute = float(products.sum(dtype=np.float64)) - 2 * float(negative.sum(dtype=np.float64))
    ratio = absolute**2 / size / (square + _TINY)
    balance = left / (right + _TINY) if right > _TINY else 1.0
    adjusted = ratio * (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
    shape = _shape_of_ratio(adjusted)
    first, second, third = (math.lgamma(order / shape) for order in (1, 2, 3))
    mean = (right - left) * math.exp(second - first) * math.exp((first - third) / 2)
    return [shape, mean, left * left, right * right]


def _shape_of_ratio(ratio: float) -> float:
    """The shape a of a generalised Gaussian with E|x|^2 / E x^2 = G(2/a)^2 / (G(1/a) G(3/a)), from a table."""
    shapes, ratios = _shapes()
    return float(np.interp(ratio, ratios, shapes))


@functools.lru_cache(maxsize=1)
def _shapes() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    shapes = np.arange(0.2, 10.001, 0.01)
    ratios = np.array([math.exp(2 * math.lgamma(2 / a) - math.lgamma(1 / a) - math.lgamma(3 / a)) for a in shapes])
    return shapes, ratios


# --------------------------------------------------------------------------------------------------------------- colour


def _colour(image: Pixels, code: Any, luma: _Plane, blue: _Plane, red: _Plane) -> list[float]:  # noqa: ANN401 (uint8 luma)
    histogram = np.bincount(code.ravel(), minlength=256) / code.size
    values = np.arange(256)
    mean = float(histogram @ values)
    deviation = math.sqrt(float(histogram @ np.square(values - mean)))
    skewness = float(histogram @ (values - mean) ** 3) / (deviation**3 + 1)
    cumulative = np.cumsum(histogram)
    percentiles = [float(np.searchsorted(cumulative, part)) for part in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)]
    used = histogram[histogram > 0]
    # Of green: luma mixes three channels, and has no gaps.
    green = np.bincount(image[..., 1].ravel(), minlength=256)
    ends = np.searchsorted(np.cumsum(green), (0.01 * code.size, 0.99 * code.size))
    inside = green[ends[0] : ends[1] + 1]

    channels = cv2.split(image)
    lowest = cv2.min(cv2.min(channels[0], channels[1]), channels[2])
    highest = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
    saturation = _mean_deviation(cv2.subtract(highest, lowest))
    # Opponent colours from chroma: R - G and (R + G) / 2 - B.
    opponent = _mean_deviation(1.4 * (red - 128) + 0.71 * (red - 128) + 0.34 * (blue - 128))
    yellow = _mean_deviation(-1.6 * (blue - 128) + 0.34 * (red - 128))
    colourfulness = math.hypot(opponent[1], yellow[1]) + 0.3 * math.hypot(opponent[0], yellow[0])
    side = max(3, min(image.shape[:2]) // 34 | 1)
    dark = cv2.erode(lowest, np.ones((side, side), np.uint8))
    darkness = np.cumsum(np.bincount(np.asarray(dark).ravel(), minlength=256) / dark.size)
    local = cv2.boxFilter(np.square(luma), -1, (15, 15)) - np.square(cv2.boxFilter(luma, -1, (15, 15)))
    large = cv2.resize(luma, (max(1, luma.shape[1] // 64), max(1, luma.shape[0] // 64)), interpolation=cv2.INTER_AREA)
    return [
        mean / 255,
        deviation / 255,
        skewness,
        *(value / 255 for value in percentiles),
        -float(used @ np.log2(used)),
        float((inside == 0).mean()),
        math.log(float(histogram[:3].sum()) + 1e-4),
        math.log(float(histogram[253:].sum()) + 1e-4),
        saturation[0] / 255,
        saturation[1] / 255,
        colourfulness / 255,
        float(blue.mean() - 128) / 255,
        float(red.mean() - 128) / 255,
        float(np.asarray(dark).mean()) / 255,
        float(np.searchsorted(darkness, 0.999)) / 255,
        float(np.sqrt(np.maximum(local, 0)).mean()) / (mean + 4),
        float(large.std()) / 255,
    ]


def _mean_deviation(plane: Any) -> tuple[float, float]:  # noqa: ANN401 (any type of number)
    mean, deviation = cv2.meanStdDev(plane)
    return float(mean[0, 0]), float(deviation[0, 0])


# -------------------------------------------------------------------------------------------------------------- helpers


def _variance(plane: Any) -> float:  # noqa: ANN401 (OpenCV's array)
    return _mean_deviation(plane)[1] ** 2


def _mean_square(plane: Any) -> float:  # noqa: ANN401 (OpenCV's array)
    # Not a dot product or a norm: BLAS and OpenCV round by where an array lies in memory.
    return float(np.square(plane).mean(dtype=np.float64))


def _quantiles(plane: Any, parts: tuple[float, ...], highest: float) -> list[float]:  # noqa: ANN401 (OpenCV's array)
    """Quantiles of numbers within [0, highest], to a 2048th of it; a sort of a quarter million would take 15 ms."""
    bins = 2048
    histogram = cv2.calcHist([plane], [0], None, [bins], [0, highest + 1e-3]).ravel().astype(np.float64)
    cumulative = np.cumsum(histogram)
    total = plane.size  # what lies above the range counts as its end
    edges = np.arange(1, bins + 1) * (highest / bins)
    return [float(edges[min(int(np.searchsorted(cumulative, part * total)), bins - 1)]) for part in parts]
