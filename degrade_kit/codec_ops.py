"""Operations that compress: the image becomes a lossy file, and what is read from it again."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import cv2
import numpy as np

from degrade_kit.canvas import Canvas, Encoded
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels
from degrade_kit.jpeg_tables import parsed, scaled_tables
from degrade_kit.op_tools import Seat

Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]
SUBSAMPLINGS: dict[Subsampling, int] = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}

_X265 = {"preset": "ultrafast", "x265:pools": "none", "x265:frame-threads": "1", "x265:wpp": "0"}

GRID = 16
"""Pixels after which the blocks of a JPEG file repeat: two of 8 where chroma has half the size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Jpeg:
    """Baseline JPEG by OpenCV, or by Pillow where the tables are not the standard's."""

    name: ClassVar[str] = "jpeg"
    later: ClassVar[tuple[str, ...]] = ("subsampling", "right", "down", "tables")
    quality: int
    subsampling: Subsampling = "4:2:0"
    """Size of chroma: half the size both ways, half the width, or none."""
    right: int = 0
    """Pixels of another picture to the left of the image, so that the blocks lie elsewhere; and, `down`, above it."""
    down: int = 0
    tables: str = ""
    """Quantisation tables in place of the standard's: 64 numbers of luma and 64 of chroma, row by row, which `quality`
    scales as it does the standard's; 50 leaves them as they are. See `degrade_kit.jpeg_tables`."""

    def __post_init__(self) -> None:
        if self.tables:
            parsed(self.tables)

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Encode the canvas as JPEG; where its blocks are moved, the file is of a larger image and not kept."""
        del seat
        if not self.right and not self.down:
            canvas.set_encoded(self._encoded(canvas.pixels()))
            return
        pixels = canvas.pixels()
        padded = cv2.copyMakeBorder(pixels, self.down, 0, self.right, 0, cv2.BORDER_REFLECT)
        decoded = self._encoded(np.asarray(padded, np.uint8)).decode()
        canvas.set_pixels(np.ascontiguousarray(decoded[self.down :, self.right :]))

    def _encoded(self, pixels: Pixels) -> Encoded:
        if self.tables:
            options = {"qtables": scaled_tables(self.tables, self.quality), "subsampling": self.subsampling}
            return Encoded(_by_pillow(pixels, "JPEG", options), "jpg")
        numbers = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        if self.subsampling != "4:2:0":
            numbers += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLINGS[self.subsampling]]
        return _encode(pixels, "jpg", numbers)


@dataclass(frozen=True, kw_only=True, slots=True)
class WebP:
    """Lossy WebP by OpenCV."""

    name: ClassVar[str] = "webp"
    quality: int

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Encode the canvas as WebP."""
        del seat
        canvas.set_encoded(_encode(canvas.pixels(), "webp", [cv2.IMWRITE_WEBP_QUALITY, self.quality]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Avif:
    """AVIF, a frame of AV1, by Pillow and libaom, at its fastest, with one thread: more give other bytes."""

    name: ClassVar[str] = "avif"
    quality: int
    subsampling: Subsampling = "4:2:0"

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Replace the image by what an AVIF file keeps of it."""
        del seat
        self.libraries()
        options = {"quality": self.quality, "subsampling": self.subsampling, "speed": 10, "max_threads": 1}
        canvas.set_pixels(_through_pillow(canvas.pixels(), "AVIF", options))

    @staticmethod
    @functools.cache
    def libraries() -> dict[str, str]:
        """List the library that reads and writes AVIF, with its version and its codecs'.

        Raises:
            ConfigError: If Pillow has none.
        """
        from PIL import features

        if not features.check("avif"):
            raise ConfigError("this Pillow cannot write AVIF files: pip install 'pillow>=11.3'")
        return {"libavif": str(features.version("avif"))}


@dataclass(frozen=True, kw_only=True, slots=True)
class Heic:
    """HEIC, a frame of HEVC, as phones write it; by the package pillow-heif and x265.

    At its fastest, as in a phone's hardware, and with one thread: more give other bytes.
    """

    name: ClassVar[str] = "heic"
    quality: int
    subsampling: Subsampling = "4:2:0"

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Replace the image by what a HEIC file keeps of it."""
        del seat
        _pillow_heif().register_heif_opener(thumbnails=False)
        options = {"quality": self.quality, "chroma": self.subsampling.replace(":", ""), "enc_params": dict(_X265)}
        canvas.set_pixels(_through_pillow(canvas.pixels(), "HEIF", options))

    @staticmethod
    def libraries() -> dict[str, str]:
        """List pillow-heif with its version and its codecs'.

        Raises:
            ConfigError: If it is missing.
        """
        package = _pillow_heif()
        encoder = str(package.libheif_info()["HEIF"])
        if not encoder:
            raise ConfigError(
                f"heic: the libheif of this pillow-heif {package.__version__} has no HEVC encoder; wheels of the "
                "package have one: pip install --force-reinstall --only-binary pillow-heif 'degrade-kit[heic]'"
            )
        return {"pillow-heif": package.__version__, "libheif": package.libheif_version(), "hevc": encoder}


def _pillow_heif() -> Any:  # noqa: ANN401 (an extra)
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports] (an extra)
    except ImportError as error:
        raise ConfigError("the step `heic` needs pillow-heif: pip install 'degrade-kit[heic]'") from error
    return cast("Any", pillow_heif)


def _encode(pixels: Pixels, extension: str, options: list[int]) -> Encoded:
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(f".{extension}", bgr, options)
    assert done, f"OpenCV has no {extension} encoder"
    return Encoded(data.tobytes(), extension)


def _by_pillow(pixels: Pixels, kind: str, options: Mapping[str, object]) -> bytes:
    """A file of this kind."""
    from PIL import Image as PillowImage  # not needed by most recipes

    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def _through_pillow(pixels: Pixels, kind: str, options: Mapping[str, object]) -> Pixels:
    """What is left of an image in a file of this kind."""
    from PIL import Image as PillowImage

    with PillowImage.open(io.BytesIO(_by_pillow(pixels, kind, options))) as image:
        return np.array(image.convert("RGB"))
