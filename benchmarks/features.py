"""Time to measure the features of one image, by group, beside plain code: `python -m benchmarks.features`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from benchmarks.harness import Contestant, Table, hq_images, interleave, print_machine, write_json
from degrade_kit.analysis import features
from degrade_kit.analysis.features import FEATURES, GROUPS, NAMES, degradation_features
from degrade_kit.image import Pixels

SIZES = (256, 512)
ALL = "all features"


# What most implementations do: SciPy's filters on float64, and a search for the shape in each fit.


def naive_brisque(luma: npt.NDArray[np.float32]) -> list[float]:
    """Both scales of BRISQUE's 36 features, in the order and on the scale of ours."""
    found: list[float] = []
    half = cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for plane in (luma.astype(np.float64), half.astype(np.float64)):
        smooth = partial(ndimage.gaussian_filter, sigma=7 / 6, truncate=3 / (7 / 6), mode="mirror")
        mean = smooth(plane)
        normal = (plane - mean) / (np.sqrt(np.abs(smooth(plane * plane) - mean * mean)) + 1)
        square = np.mean(normal**2)
        found += [_search_shape(np.mean(np.abs(normal)) ** 2 / square), math.log10(square + 1e-3)]
        pairs = [(normal[:, :-1], normal[:, 1:]), (normal[:-1], normal[1:])]
        pairs += [(normal[:-1, :-1], normal[1:, 1:]), (normal[1:, :-1], normal[:-1, 1:])]
        for first, second in pairs:
            product = first * second
            left, right = (math.sqrt(np.mean(part**2)) for part in (product[product < 0], product[product > 0]))
            ratio = left / right
            correction = (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
            shape = _search_shape(np.mean(np.abs(product)) ** 2 / np.mean(product**2) * correction)
            found += [shape, float(product.mean()), math.log10(left + 1e-2), math.log10(right + 1e-2)]
    return found


def _search_shape(ratio: np.floating) -> float:
    shapes = np.arange(0.2, 10.001, 0.001)
    ratios = special.gamma(2 / shapes) ** 2 / (special.gamma(1 / shapes) * special.gamma(3 / shapes))
    return math.log10(shapes[np.argmin((ratios - ratio) ** 2)])


def naive_deviations(planes: list[npt.NDArray[np.float32]]) -> list[float]:
    """Median absolute high-pass of each plane."""
    second = np.array([1, -2, 1]) / math.sqrt(6)
    details = [ndimage.convolve(plane.astype(np.float64), np.outer(second, second), mode="mirror") for plane in planes]
    return [float(np.median(np.abs(detail))) / 0.6745 for detail in details]


def naive_colour(pixels: Pixels, luma: npt.NDArray[np.float32]) -> list[float]:
    """Quantiles of luma and of the dark channel."""
    dark = ndimage.minimum_filter(pixels.min(axis=2), size=15)
    marks = np.percentile(np.rint(luma), (1, 90, 99)), np.percentile(dark, 10)
    return [*(marks[0] / 255).tolist(), float(marks[1]) / 255]


def naive_spectrum(luma: npt.NDArray[np.float32]) -> list[float]:
    """Mean power in each band, by one mask a band."""
    height, width = luma.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2 / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    edges = features._EDGES
    bands = [power[(radius >= low) & (radius < high)].mean() for low, high in pairwise(edges)]
    levels = np.log10(np.array(bands) + features._FLOOR)
    return (levels[2:] - levels[:2].mean()).tolist()


def compare(images: list[Pixels], samples: int) -> list[Table]:
    """One table of the groups, and one for each part that has plain code to compare with."""
    planes = [features._planes(image) for image in images]

    def turn(measure: Callable[[int], object]) -> Contestant:
        return lambda sample: measure(sample % len(images))

    size = images[0].shape[0]
    groups: dict[str, Contestant] = {ALL: turn(lambda n: degradation_features(images[n]))}
    groups["planes shared by the groups"] = turn(lambda n: features._planes(images[n]))
    for group, (measure, _) in features._TABLE.items():
        groups[group] = turn(lambda n, measure=measure: measure(planes[n]))
    title = f"{len(FEATURES)} features, {size} x {size}"
    tables = [Table(title=title, seconds=interleave(groups, samples), baselines=(ALL,))]

    def six(n: int) -> list[npt.NDArray[np.float32]]:
        return [planes[n].luma, *planes[n].chroma, planes[n].half_luma, *planes[n].half_chroma]

    parts: dict[str, tuple[Callable[[int], list[float]], Callable[[int], list[float]], float]] = {
        "BRISQUE's 36": (lambda n: features._nss(planes[n]), lambda n: naive_brisque(planes[n].luma), 0.05),
        "six medians of the high-pass": (
            lambda n: [features._mad(features._detail(plane)) for plane in six(n)],
            lambda n: naive_deviations(six(n)),
            0.05,
        ),
    }
    # Ours does more than the plain code of these two: saturation, contrast, ...; directions.
    parts["colour, all of it, against four quantiles"] = (
        lambda n: _named(features._colour(planes[n]), "colour", ("luma_01", "luma_90", "luma_99", "dark")),
        lambda n: naive_colour(images[n], planes[n].luma),
        0.01,
    )
    parts["spectrum, all of it, against its bands"] = (
        lambda n: features._spectrum(planes[n])[:10],
        lambda n: naive_spectrum(planes[n].luma),
        0.01,
    )
    for name, (fast, plain, tolerance) in parts.items():
        for n in range(len(images)):
            np.testing.assert_allclose(fast(n), plain(n), atol=tolerance, err_msg=name)
        seconds = interleave({"ours": turn(fast), "plain": turn(plain)}, max(4, samples // 4))
        tables.append(Table(title=f"{name}, {size} x {size}", seconds=seconds, baselines=("ours",)))
    return tables


def _named(values: list[float], group: str, names: tuple[str, ...]) -> list[float]:
    return [values[NAMES.index(f"{group}.{name}") - GROUPS[group].start] for name in names]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("--samples", type=int, default=40, help="timed samples of each comparison (default: 40)")
    parser.add_argument("--hq", type=Path, help="folder of HQ images (default: photographs that packages ship)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()

    print_machine()
    full = list(hq_images(options.hq).values())
    results = []
    for size in SIZES:
        images = [np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8) for image in full]
        for table in compare(images, options.samples):
            print(table.text(), end="\n\n", flush=True)
            results.append({"title": table.title, "rows": table.rows()})
    write_json(options.json, results)


if __name__ == "__main__":
    main()
