"""What a JPEG file says of itself: the quality and the chroma subsampling that it was written with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from degrade_kit.codec_ops import Subsampling

# ITU-T T.81, table K.1, in the zigzag order in which files hold it.
_LUMA: Final = np.array([
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61,
    60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113,
    121, 112, 100, 120, 92, 101, 103, 99,
])  # fmt: skip
_SAMPLINGS: Final[dict[tuple[int, ...], Subsampling]] = {
    (0x22, 0x11, 0x11): "4:2:0",
    (0x21, 0x11, 0x11): "4:2:2",
    (0x11, 0x11, 0x11): "4:4:4",
}
_SOI, _SOS, _DQT = 0xD8, 0xDA, 0xDB
_FRAMES: Final = (0xC0, 0xC1, 0xC2)
"""Markers of baseline, extended and progressive frames."""
_BARE: Final = (0x01, *range(0xD0, 0xD9))
"""Markers without a length."""


@dataclass(frozen=True, slots=True)
class JpegFacts:
    """How a file was written."""

    quality: int
    """Quality of libjpeg, 1 to 100: that whose luma table is nearest to the file's."""
    exact: bool
    """Whether it is that table; cameras and some editors have tables of their own."""
    subsampling: Subsampling | None
    """None for grayscale, and where it is none of those that we write."""


def read_jpeg_facts(data: bytes) -> JpegFacts | None:
    """Read the header of a JPEG file; None if it is none, or holds no luma table before its scan.

    >>> read_jpeg_facts(b"no file") is None
    True
    """
    if data[:2] != bytes((0xFF, _SOI)):
        return None
    luma: np.ndarray | None = None
    subsampling: Subsampling | None = None
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker in _BARE:
            place += 2
            continue
        if marker == _SOS:
            break
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place + 4 : place + 2 + length]
        if marker == _DQT:
            luma = _luma_table(segment) if luma is None else luma
        elif marker in _FRAMES and len(segment) >= 6 and len(segment) >= 6 + 3 * segment[5]:
            subsampling = _SAMPLINGS.get(tuple(segment[7 + 3 * number] for number in range(segment[5])))
        place += 2 + length
    if luma is None:
        return None
    errors = np.abs(_TABLES - luma).sum(1)
    nearest = int(errors.argmin())
    return JpegFacts(nearest + 1, bool(errors[nearest] == 0), subsampling)


def _luma_table(segment: bytes) -> np.ndarray | None:
    """Table 0 of a segment of tables, where it holds one."""
    place = 0
    while place < len(segment):
        wide, number = segment[place] >> 4, segment[place] & 15
        size = 128 if wide else 64
        part = segment[place + 1 : place + 1 + size]
        if len(part) < size:
            return None
        if number == 0:
            return np.frombuffer(part, ">u2" if wide else np.uint8).astype(np.int64)
        place += 1 + size
    return None


def _table(quality: int) -> np.ndarray:
    """The luma table of a quality. Source: libjpeg `jpeg_quality_scaling` and `jpeg_add_quant_table`."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((_LUMA * scale + 50) // 100, 1, 255)


_TABLES: Final = np.stack([_table(quality) for quality in range(1, 101)])
