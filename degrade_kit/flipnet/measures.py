"""How near made degradations come to real ones, without a model and without looking at the scene.

Everything is relative to the HQ partner, so that a portrait and a street, noisy alike, are alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.flipnet.severity import measure
from degrade_kit.image import Pixels

FloatArray = npt.NDArray[np.float64]

FEATURES = ("brightness", "veil", "blur", "noise", "blocks", "contrast", "red_shift", "blue_shift")
"""Names of the numbers of `pair_features`."""


def pair_features(hq: Pixels, lq: Pixels) -> FloatArray:
    """Measure how `lq` differs from `hq` by eight numbers; see `degrade_kit.flipnet.severity` for the first five.

    Brightness and contrast are natural logarithms of ratios, noise and blocks of 1 + level; the shifts are those of red
    and blue against green, of means on the [0, 1] scale. Each varies by about 1 over what photographs suffer.
    """
    found = measure(hq, lq)
    means = [image.reshape(-1, 3).mean(0) / 255 for image in (hq, lq)]
    shifts = [(image[::2] - image[1]) for image in means]
    spread = [float(image.std()) + 1 for image in (hq, lq)]
    red, blue = 4 * (shifts[1] - shifts[0])
    return np.array(
        [
            np.log(max(found.brightness, 1e-3)),
            4 * found.veil,
            found.blur,
            np.log1p(found.noise),
            np.log1p(found.blocks),
            np.log(spread[1] / spread[0]),
            red,
            blue,
        ],
        np.float64,
    )


def energy_distance(first: FloatArray, second: FloatArray) -> float:
    """Compute the energy distance between two samples of vectors, (n, d) and (m, d).

    2 E|X - Y| - E|X - X'| - E|Y - Y'|, in the unit of the vectors (Szekely & Rizzo 2013). It is unbiased: 0 on average,
    so at times a little less, where both are of one distribution. Defined for any number of vectors, where a Frechet
    distance would need more of them than there are dimensions.
    """

    def mean_distance(a: FloatArray, b: FloatArray, pairs: int) -> float:
        return float(np.linalg.norm(a[:, None] - b[None], axis=-1).sum()) / max(pairs, 1)

    n, m = len(first), len(second)
    within = mean_distance(first, first, n * (n - 1)) + mean_distance(second, second, m * (m - 1))
    return 2 * mean_distance(first, second, n * m) - within


def texture_distance(first: Pixels, second: Pixels) -> float:
    """Measure a distance of two images that forgives where each grain of noise lies, and nothing else.

    The image is parted into octaves; of the coarsest the values count, of each finer one its local strength: the
    logarithm of its root mean square over about 16 x 16 pixels. So two draws of one noise are near each other, and far
    from an image without it. The root of the mean square of all differences, octaves and channels alike.
    """
    total: list[float] = []
    a, b = (image.astype(np.float32) / 255 for image in (first, second))
    for _ in range(3):
        smooth = [np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0)) for image in (a, b)]
        strengths = [_strength(image - low) for image, low in zip((a, b), smooth, strict=True)]
        total.append(float(np.square(strengths[0] - strengths[1]).mean()))
        a, b = (low[::2, ::2] for low in smooth)
    total.append(float(np.square(10 * (cv2.GaussianBlur(a, (0, 0), 1.0) - cv2.GaussianBlur(b, (0, 0), 1.0))).mean()))
    return float(np.mean(total)) ** 0.5


def _strength(band: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    energy = np.asarray(cv2.GaussianBlur(np.square(band), (0, 0), 5.0))
    return np.log(np.sqrt(np.maximum(energy, 0)) + np.float32(0.004))  # a level of rounding is nothing to see


def colour_stains(hq: Pixels, lq: Pixels) -> float:
    """Measure the smooth colour of `lq` that no affine map of the colours of `hq` explains: stains.

    Darkness, a cast and a loss of saturation are such maps, so they count for nothing. What is smooth is seen through a
    Gaussian of a sixteenth of the shorter side.

    Args:
        hq: uint8 RGB, height x width x 3.
        lq: As `hq`, of the same size.

    Returns:
        Standard deviation of what is left in both channels of chroma, levels of 255.
    """
    sigma = min(hq.shape[:2]) / 16
    smooth = [cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma).reshape(-1, 3) for image in (hq, lq)]
    chroma = smooth[1][:, ::2] - smooth[1][:, 1:2]  # of red and blue against green
    known = np.concatenate([smooth[0], np.ones_like(smooth[0][:, :1])], 1)
    left = chroma - known @ np.linalg.lstsq(known, chroma, rcond=None)[0]
    return float(left.std())


def features_of(pairs: Sequence[tuple[Pixels, Pixels]]) -> FloatArray:
    """Compute the `pair_features` of (hq, lq) pairs, shape (n, 8)."""
    return np.stack([pair_features(hq, lq) for hq, lq in pairs])
