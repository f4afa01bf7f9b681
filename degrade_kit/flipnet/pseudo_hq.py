"""Pairs from photographs alone: a face as it is in its photo is LQ, and what a restorer makes of it is its pseudo-HQ.

A photo of the wild has no HQ partner. But a restorer's image of it, brought back to the photo's own size, is sharp and
clean at that size, and the photo is what became of it: trained from HQ to LQ, a network learns what blur, noise and
compression photographs have. Errors of the restorer count for less than in its own use: at the native size most of what
it invents is averaged away, and pairs whose two sides disagree are refused, see `disagreement`.

Source: ReDegNet (Li et al., ECCV 2022), which takes GPEN's restorations so; FlipNet (ICCV 2025) for the two modes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.align import Detector, Landmarks, Quad
from degrade_kit.flipnet.registration import NOT_REGISTERED, register_pair
from degrade_kit.image import Pixels

GRID: Final = 8
"""Side of JPEG's blocks, pixels: cuts begin and end between them, so that a network sees blocks as files have them."""
MIN_CUT: Final = 40
"""Least side of a cut, pixels: on fewer nothing of a restored face can be trusted."""

TOO_SMALL: Final = "face too small"
NO_FACE_LEFT: Final = "landmarks cannot be compared"
LANDMARKS_MOVED: Final = "landmarks moved"
COLOURS_CHANGED: Final = "colours changed"
CONTENT_CHANGED: Final = "content changed"

# Set by 38 faces of LFW, the web and crowds, 40 to 128 pixels, that Real-ESRGAN restored, and by wrong pairs of them:
# 566 of two people, 30 with another person's mouth. None of the 38 is refused, and all of the others are.
MAX_LANDMARK_SHIFT: Final = 0.1
"""Greatest mean shift of the five landmarks that is accepted, in distances between the eyes. Found were 0.01 to 0.08:
the detector is not surer."""
MAX_COLOUR_SHIFT: Final = 6.0
"""Greatest change of coarse colour that is accepted, levels of 255: root of the mean square over what is left of both
images after a blur of a sixteenth of the side. Found were 1.3 to 4.3."""
MIN_CORRELATION: Final = 0.95
"""Least correlation of both images' luminance between a blur of an eighth and one of a fortieth of the side: of what a
face is told by. Found were 0.98 to 1.00, whatever blur, noise and JPEG a photo had; another mouth lowers it."""
_LOOK: Final = 256
"""Side to which small images are enlarged for the detector, which misses faces below 20 pixels."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A rectangle of a photo, pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, pixels: Pixels, times: int = 1) -> Pixels:
        """Cut it out of an image that is `times` as large as the photo; a copy, C-contiguous."""
        rows = slice(self.top * times, (self.top + self.height) * times)
        columns = slice(self.left * times, (self.left + self.width) * times)
        return np.ascontiguousarray(pixels[rows, columns])


def cut_face(
    quad: Quad, height: int, width: int, *, most: int, origin: tuple[int, int] = (0, 0), grid: int = GRID
) -> Cut | None:
    """Choose the part of a photo that shows a face, along its rows and columns, so that its pixels stay as they are.

    Args:
        quad: FFHQ's square for the face, from `degrade_kit.align.ffhq_quad`; its turn is left alone.
        height: Height of the photo, pixels.
        width: Width of the photo, pixels.
        most: Greatest side; of a larger face its middle is taken.
        origin: Row and column, below `grid`, at which a block of the photo's JPEG grid begins.
        grid: The cut begins and ends at multiples of it, counted from `origin`.

    Returns:
        The cut, of sides that are multiples of `grid`; None where less than `MIN_CUT` is in the photo.
    """
    side = min(float(np.hypot(*(quad[3] - quad[0]))), float(most))
    sides: list[tuple[int, int]] = []
    for centre, size, first in zip(quad.mean(axis=0)[::-1] + 0.5, (height, width), origin, strict=True):
        blocks = (size - first) // grid
        count = min(max(round(side / grid), 1), blocks)
        start = min(max(round((float(centre) - first) / grid - count / 2), 0), blocks - count)
        # Of a face that reaches out of the photo only what is in it.
        low, high = (centre - side / 2 - first) / grid, (centre + side / 2 - first) / grid
        start, stop = max(start, round(max(low, 0))), min(start + count, round(min(high, blocks)))
        sides.append((first + start * grid, max(stop - start, 0) * grid))
    (top, rows), (left, columns) = sides
    if min(rows, columns) < MIN_CUT:
        return None
    return Cut(top, left, rows, columns)


def jpeg_origin(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Find where the blocks of a JPEG file lie once its EXIF orientation was applied.

    Args:
        height: Height of the upright photo, pixels.
        width: Width of the upright photo, pixels.
        orientation: EXIF's number, 1 to 8; 1 is upright.

    Returns:
        Row and column, 0 to 7, at which a block begins. A mirrored or turned file has its unfilled blocks first.

    >>> jpeg_origin(250, 250, 1), jpeg_origin(250, 300, 3), jpeg_origin(300, 250, 6)
    ((0, 0), (2, 4), (0, 2))
    """
    from_below, from_right = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return height % GRID if from_below else 0, width % GRID if from_right else 0


def reduce_to(restored: Pixels, height: int, width: int) -> Pixels:
    """Bring a restored image to its photo's size by averaging areas.

    Raises:
        ValueError: If its sides are to each other as those of another image, or it is smaller than the photo.
    """
    rows, columns = restored.shape[:2]
    if rows < height or columns < width or abs(rows * width - columns * height) > 1.5 * max(rows, columns):
        raise ValueError(
            f"expected an image of {width} x {height} pixels, or larger in both ways alike; got {columns} x {rows}"
        )
    return np.asarray(cv2.resize(restored, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def disagreement(hq: Pixels, lq: Pixels, detector: Detector | None) -> tuple[str, str] | None:
    """Say why a photo's face and its pseudo-HQ are no pair.

    Args:
        hq: The restored image at the photo's size, uint8 RGB, both sides at least `MIN_CUT`.
        lq: The photo's own pixels, of the same size.
        detector: Finds the landmarks of both; None compares none, nor are they where it finds no face in either.

    Returns:
        A reason and a detail with numbers, of the first test that fails: registration, content, colours, landmarks.
        None where all agree.
    """
    found = register_pair(hq, lq)
    if not found.aligned:
        return NOT_REGISTERED, str(found)
    correlation = structure_correlation(hq, lq)
    if correlation < MIN_CORRELATION:
        return CONTENT_CHANGED, f"features of a face correlate by {correlation:.2f}; {MIN_CORRELATION:g} at least"
    colour = colour_shift(hq, lq)
    if colour > MAX_COLOUR_SHIFT:
        return COLOURS_CHANGED, f"coarse colours differ by {colour:.1f} levels; {MAX_COLOUR_SHIFT:g} at most"
    if detector is None:
        return None
    of_hq, of_lq = (_landmarks(image, detector) for image in (hq, lq))
    if of_hq is None and of_lq is None:
        return None  # the middle of a large face, which no detector knows: there is nothing to compare
    if of_hq is None or of_lq is None:
        lacking = "pseudo-HQ" if of_hq is None else "photo"
        return NO_FACE_LEFT, f"no face is found in the cut of the {lacking}"
    shift = landmark_shift(of_hq, of_lq)
    if shift > MAX_LANDMARK_SHIFT:
        return LANDMARKS_MOVED, f"by {shift:.3f} of the distance between the eyes; {MAX_LANDMARK_SHIFT:g} at most"
    return None


def landmark_shift(first: Landmarks, second: Landmarks) -> float:
    """Measure the mean distance of five landmarks, each (5, 2), in distances between the eyes of the second."""
    eyes = max(float(np.hypot(*(second[1] - second[0]))), 1e-6)
    return float(np.hypot(*(first - second).T).mean()) / eyes


def colour_shift(hq: Pixels, lq: Pixels) -> float:
    """Measure how coarse colours differ, levels of 255; see `MAX_COLOUR_SHIFT`."""
    sigma = min(hq.shape[:2]) / 16
    coarse = [cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma) for image in (hq, lq)]
    return float(np.sqrt(np.square(coarse[0] - coarse[1]).mean()))


def structure_correlation(hq: Pixels, lq: Pixels) -> float:
    """Correlate what of both images a face is told by, -1 to 1; see `MIN_CORRELATION`. 1 of two flat images."""
    side = min(hq.shape[:2])
    bands: list[npt.NDArray[np.float32]] = []
    for image in (hq, lq):
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        fine, coarse = (np.asarray(cv2.GaussianBlur(luma, (0, 0), side / part), np.float32) for part in (40, 8))
        bands.append(fine - coarse)
    energy = [float(np.square(band).mean()) for band in bands]
    if max(energy) < 0.1:
        return 1.0
    return float((bands[0] * bands[1]).mean()) / max((energy[0] * energy[1]) ** 0.5, 1e-6)


def _landmarks(pixels: Pixels, detector: Detector) -> Landmarks | None:
    """Find the landmarks of the surest face, in the image's pixels."""
    times = max(1.0, _LOOK / min(pixels.shape[:2]))
    size = (round(pixels.shape[1] * times), round(pixels.shape[0] * times))
    seen = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    faces = detector(seen)
    return max(faces, key=lambda face: face.score).landmarks / times if faces else None
