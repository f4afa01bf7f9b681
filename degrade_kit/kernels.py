"""Blur kernels from explicit numbers; nothing here is random.

A kernel is a float64 array of shape (size, size), size odd, that sums to 1; the first axis is y, the second x, and the
centre is the middle element. Formulas follow basicsr 1.4.2 `basicsr/data/degradations.py`, to which the tests compare.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Kernel = npt.NDArray[np.float64]

_MIN_SIGMA = 1e-3
"""Below it a Gaussian is a single element in double precision; the floor keeps the covariance invertible at sigma 0."""

_NEGLIGIBLE = 1e-9
"""Elements below this share of the largest one change a pixel by less than 1e-6 of a level: `trim` drops them."""


def full_size(sigma: float) -> int:
    """Choose the odd size that holds all but 6e-5 of a Gaussian's mass along one axis: 2 * ceil(4 sigma) + 1.

    Published face recipes cut every kernel at 41, where a nominal sigma of 15 acts like 10.4; this is the other choice.

    >>> full_size(1.0), full_size(15.0)
    (9, 121)
    """
    return 2 * math.ceil(4 * sigma) + 1


def gaussian(size: int, sigma_x: float, sigma_y: float, rotation: float = 0.0) -> Kernel:
    """Sample a Gaussian with standard deviations along its own axes, turned by `rotation`.

    Args:
        size: Odd side of the square in pixels; what lies outside is cut off before normalising.
        sigma_x: Standard deviation along the first axis of the Gaussian, pixels, >= 0.
        sigma_y: The same along the second axis.
        rotation: Angle of the first axis against x, radians.

    Raises:
        ValueError: If `size` is even or a sigma is negative.

    Source: basicsr `bivariate_Gaussian`.
    """
    return _normalise(np.exp(-0.5 * _mahalanobis(size, sigma_x, sigma_y, rotation)))


def generalized_gaussian(size: int, sigma_x: float, sigma_y: float, rotation: float, beta: float) -> Kernel:
    """Sample exp(-d^beta / 2) of the squared distance d: peaked for `beta` < 1, a Gaussian at 1, flat-topped above.

    Source: basicsr `bivariate_generalized_Gaussian`, after Pascal et al., "Parameter estimation for multivariate
    generalized Gaussian distributions" (2013).
    """
    return _normalise(np.exp(-0.5 * _mahalanobis(size, sigma_x, sigma_y, rotation) ** beta))


def plateau(size: int, sigma_x: float, sigma_y: float, rotation: float, beta: float) -> Kernel:
    """Sample 1 / (1 + d^beta) of the squared distance d: a plateau with heavy tails.

    Source: basicsr `bivariate_plateau`.
    """
    return _normalise(1.0 / (1.0 + _mahalanobis(size, sigma_x, sigma_y, rotation) ** beta))


def sinc(size: int, cutoff: float) -> Kernel:
    """Make a circular low-pass filter, which rings and overshoots as sharpened or over-compressed photos do.

    Args:
        size: Odd side in pixels.
        cutoff: Cut-off frequency, radians per pixel, in (0, pi].

    Source: basicsr `circular_lowpass_kernel`; Real-ESRGAN (Wang et al., ICCVW 2021), section 3.3.
    """
    if not 0 < cutoff <= math.pi:
        raise ValueError(f"cutoff must be in (0, pi], got {cutoff}")
    x, y = _grid(size)
    radius = np.hypot(x, y)
    centre = size // 2
    radius[centre, centre] = 1.0  # keeps the division finite; its limit is set below
    kernel = cutoff * bessel_j1(cutoff * radius) / (2 * np.pi * radius)
    kernel[centre, centre] = cutoff**2 / (4 * np.pi)
    return _normalise(kernel)


def motion(size: int, length: float, angle: float) -> Kernel:
    """Average along a straight line, as a hand does that moves while the shutter is open.

    Args:
        size: Odd side in pixels, at least `length`.
        length: Length of the path in pixels, >= 0.
        angle: Direction of the path against x, radians.
    """
    if length < 0 or length > size:
        raise ValueError(f"length must be in [0, size {size}], got {length}")
    x, y = _grid(size)
    # Points along the path, 16 to the pixel, each shared out to its four neighbours by bilinear weights.
    offsets = np.linspace(-0.5, 0.5, 16 * math.ceil(length) + 1) * max(length - 1.0, 0.0)
    path_x, path_y = offsets * math.cos(angle), offsets * math.sin(angle)
    weights_x = np.clip(1 - np.abs(x[0][:, None] - path_x), 0, None)
    weights_y = np.clip(1 - np.abs(y[:, 0][:, None] - path_y), 0, None)
    return _normalise(weights_y @ weights_x.T)


def disk(radius: float) -> Kernel:
    """Sample the blur of a lens out of focus: a disk whose edge falls off over one pixel.

    Args:
        radius: In pixels, >= 0.

    >>> disk(0.0).shape
    (1, 1)
    >>> bool(np.isclose(disk(3.3).sum(), 1))
    True
    """
    if radius < 0:
        raise ValueError(f"radius must be >= 0, got {radius}")
    x, y = _grid(2 * math.ceil(radius) + 1)
    return _normalise(np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def box_taps(side: float) -> npt.NDArray[np.float64]:
    """Sample the one-dimensional factor of a mean over a square of any side, pixels at its edge counted in part.

    Args:
        side: In pixels, >= 1.

    >>> box_taps(2.0).tolist()
    [0.25, 0.5, 0.25]
    """
    if side < 1:
        raise ValueError(f"side must be >= 1, got {side}")
    radius = math.ceil((side - 1) / 2)
    offsets = np.abs(np.arange(-radius, radius + 1))
    taps = np.clip((side + 1) / 2 - offsets, 0, 1)
    return taps / taps.sum()


def path(length: float, curl: float, rng: np.random.Generator) -> Kernel:
    """Draw the blur of a hand that shakes: a path with inertia, as a kernel centred at its mean.

    Args:
        length: Of the path in pixels, >= 0.
        curl: 0 for a straight line of a random direction; 1 turns all the time.
        rng: Draws the direction and the impulses.

    Source: Boracchi and Foi (IEEE TIP 2012), their random motion with impulses, with the path's length fixed.
    """
    if length < 0 or not 0 <= curl <= 1:
        raise ValueError(f"expected a length >= 0 and a curl in [0, 1], got {length} and {curl}")
    count = 16 * math.ceil(length) + 1
    # Uniform numbers alone, whose stream NumPy keeps. The direction walks, and now and then it jumps.
    draws = rng.random((3, count))
    steps = (draws[0] - 0.5) * math.sqrt(12) * curl * math.pi / math.sqrt(count)
    jumps = np.where(draws[1] < 2 * curl / count, (draws[2] - 0.5) * 2 * math.pi, 0.0)
    directions = 2 * math.pi * float(rng.random()) + np.cumsum(2 * steps + jumps)
    stride = length / max(count - 1, 1)
    x, y = np.cumsum(stride * np.cos(directions)), np.cumsum(stride * np.sin(directions))
    x, y = x - x.mean(), y - y.mean()
    size = 2 * math.ceil(float(max(np.abs(x).max(), np.abs(y).max()))) + 1
    grid = np.arange(size) - size // 2
    weights_x = np.clip(1 - np.abs(grid[:, None] - x), 0, None)
    weights_y = np.clip(1 - np.abs(grid[:, None] - y), 0, None)
    return _normalise(weights_y @ weights_x.T)


def trim(kernel: Kernel) -> Kernel:
    """Drop negligible elements and cut the kernel to the smallest centred square that holds the rest.

    Small elements cost time for nothing, and denormal ones slow a matrix product down many times.

    >>> trim(gaussian(41, 1.0, 1.0)).shape
    (13, 13)
    """
    significant = np.abs(kernel) > _NEGLIGIBLE * np.abs(kernel).max()
    centre = kernel.shape[0] // 2
    rows, columns = np.nonzero(significant)
    radius = int(max(np.abs(rows - centre).max(), np.abs(columns - centre).max()))
    window = slice(centre - radius, centre + radius + 1)
    return np.where(significant, kernel, 0.0)[window, window]


def gaussian_taps(size: int, sigma: float) -> npt.NDArray[np.float64]:
    """Sample the one-dimensional factor of an isotropic `gaussian`, trimmed: `np.outer(taps, taps)` is the kernel.

    >>> taps = gaussian_taps(41, 3.0)
    >>> padded = np.pad(taps, (41 - taps.size) // 2)
    >>> bool(np.allclose(np.outer(padded, padded), gaussian(41, 3.0, 3.0), atol=1e-9))
    True
    """
    _check_size(size)
    offsets = np.arange(size) - size // 2
    taps = np.exp(-0.5 * (offsets / max(sigma, _MIN_SIGMA)) ** 2)
    taps = taps[taps > _NEGLIGIBLE]
    return taps / taps.sum()


def bessel_j1(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the Bessel function of the first kind of order one.

    Bessel's integral over a full period by the trapezoidal rule, which converges geometrically for a periodic integrand
    once there are more points than twice the argument. The tests compare with SciPy, which would be the only use of a
    140 MB dependency in the base install.
    """
    distinct, where = np.unique(x, return_inverse=True)  # a square kernel has about six elements to each distance
    count = 256 + 2 * math.ceil(float(np.abs(distinct).max()))
    angles = np.arange(count) * (2 * np.pi / count)
    values = np.cos(angles - distinct[:, None] * np.sin(angles)).mean(axis=1)
    return values[where].reshape(x.shape)


def _mahalanobis(size: int, sigma_x: float, sigma_y: float, rotation: float) -> Kernel:
    """Squared distance from the centre in units of the rotated standard deviations, shape (size, size)."""
    if sigma_x < 0 or sigma_y < 0:
        raise ValueError(f"sigma must be >= 0, got {sigma_x} and {sigma_y}")
    x, y = _grid(size)
    cosine, sine = math.cos(rotation), math.sin(rotation)
    along, across = cosine * x + sine * y, -sine * x + cosine * y
    return (along / max(sigma_x, _MIN_SIGMA)) ** 2 + (across / max(sigma_y, _MIN_SIGMA)) ** 2


def _grid(size: int) -> tuple[Kernel, Kernel]:
    _check_size(size)
    offsets = np.arange(size, dtype=np.float64) - size // 2
    x, y = np.meshgrid(offsets, offsets)
    return x, y


def _check_size(size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"kernel size must be odd and positive, got {size}")


def _normalise(kernel: Kernel) -> Kernel:
    return kernel / kernel.sum()
