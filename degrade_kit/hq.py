"""From a source file to an HQ image of the data set, every change on record."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from degrade_kit.checks import choice, whole
from degrade_kit.errors import TOO_LARGE, ConfigError, ImageError
from degrade_kit.image import Decoded, Pixels, decode_image, encode_jpeg, encode_png, encode_webp
from degrade_kit.image_files import profile_fault, strip_metadata

if TYPE_CHECKING:
    from degrade_kit.recipe import Recipe

HqFilter = Literal["lanczos", "bicubic", "area"]
HqFormat = Literal["png", "jpg", "webp"]
HQ_FILTERS: tuple[HqFilter, ...] = ("lanczos", "bicubic", "area")
HQ_FORMATS: tuple[HqFormat, ...] = ("png", "jpg", "webp")

JPEG_QUALITY = 98
"""With full chroma: 47 dB. Only for sources that are JPEG files already and need another size."""
MAX_SIDE = 16_383
"""Longest side of an HQ image, pixels: what WebP files hold. Recipes store them, and blurs take memory by
its square."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HqConfig:
    """How HQ images are made."""

    size: int = 512
    """Side of the square in pixels; 0 keeps every image at its own size, uncropped."""
    filter: HqFilter = "lanczos"
    """`lanczos` and `bicubic` are Pillow's, antialiased when they shrink; `area` is OpenCV's INTER_AREA."""
    crop: Literal["center", "error"] = "center"
    """What to do with an image that is not square: its central square, or a failure that is counted."""
    format: HqFormat = "png"
    """One for the whole set. Files of this format at the target size are passed through byte by byte."""
    min_side: int = 32
    """Smaller images are refused."""
    alpha: Literal["black", "white", "error"] = "black"
    """Behind transparent pixels."""

    def __post_init__(self) -> None:
        if self.size != 0 and not 16 <= self.size <= 4096:
            raise ConfigError(f"size: expected 0 or a number of pixels within [16, 4096], got {self.size}")
        choice(HQ_FILTERS)(self.filter, "hq_filter")
        choice(("center", "error"))(self.crop, "crop")
        choice(HQ_FORMATS)(self.format, "hq_format")
        whole(1, MAX_SIDE)(self.min_side, "min_side")
        choice(("black", "white", "error"))(self.alpha, "alpha")


@dataclass(frozen=True, slots=True)
class HqImage:
    """An HQ image as the data set holds it."""

    pixels: Pixels
    """What a reader decodes from `data`."""
    data: bytes
    """The file to store."""
    changes: list[dict[str, Any]]
    """Everything done to the source's bytes, in order; empty where they were passed through."""
    enlarged: bool
    """Whether the source had fewer pixels than asked for."""


def prepare(raw: bytes, config: HqConfig) -> HqImage:
    """Decode, crop, resize and encode one source, or pass its bytes through.

    Raises:
        ImageError: If the source cannot be used; the reason says why.
    """
    decoded = decode_image(raw, min_side=config.min_side, alpha=config.alpha)
    pixels, changes, enlarged = _fit(decoded, config)
    if decoded.plain and decoded.format == config.format and not changes:
        data = strip_metadata(raw, decoded.format)
        if data is not raw:
            change = {"op": "strip_metadata"}
            if fault := profile_fault(raw, decoded.format):
                change["note"] = f"colour profile: {fault}"
            changes.append(change)
        return HqImage(pixels, data, changes, enlarged)
    return encode_hq(pixels, config.format, changes, enlarged=enlarged)


def prepare_pixels(raw: bytes, config: HqConfig) -> Pixels:
    """Decode, crop and resize one source: what `prepare` encodes, for whoever needs no file.

    Raises:
        ImageError: If the source cannot be used; the reason says why.
    """
    return _fit(decode_image(raw, min_side=config.min_side, alpha=config.alpha), config)[0]


def _fit(decoded: Decoded, config: HqConfig) -> tuple[Pixels, list[dict[str, Any]], bool]:
    """Bring an image to the size that is asked for: its pixels, what was done, and whether it was enlarged."""
    pixels, changes = decoded.pixels, [{"op": "decode", "note": note} for note in decoded.notes]
    enlarged = False
    if config.size:
        pixels, crop = _crop(pixels, config)
        enlarged = pixels.shape[0] < config.size
        pixels, resize = resize_square(pixels, config)
        changes += [*crop, *resize]
    elif max(pixels.shape[:2]) > MAX_SIDE:
        height, width = pixels.shape[:2]
        raise ImageError(TOO_LARGE, f"{width} x {height} pixels; the longest side is {MAX_SIDE}")
    return pixels, changes, enlarged


def likely_format(headers: list[Decoded | None], size: int) -> HqFormat:
    """Choose the format for a data set from some of its sources: theirs if all could be passed through, else PNG."""
    formats = {_passable(header, size) for header in headers if header is not None}
    if len(formats) == 1 and (only := formats.pop()) in HQ_FORMATS:
        return only
    return "png"


def _passable(header: Decoded, size: int) -> HqFormat | None:
    fits = size in (0, header.pixels.shape[0]) and (size == 0 or header.pixels.shape[0] == header.pixels.shape[1])
    if not header.plain or not fits:
        return None
    return next((known for known in HQ_FORMATS if known == header.format), None)


def _crop(pixels: Pixels, config: HqConfig) -> tuple[Pixels, list[dict[str, Any]]]:
    height, width = pixels.shape[:2]
    if height == width:
        return pixels, []
    if config.crop == "error":
        raise ImageError("not square", f"{width} x {height} pixels; allow cropping or align the faces first")
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    cropped = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return cropped, [{"op": "crop", "left": left, "top": top, "side": side}]


def resize_square(pixels: Pixels, config: HqConfig) -> tuple[Pixels, list[dict[str, Any]]]:
    """Bring a square image to the size of a configuration by its filter; also what was done."""
    side, size = pixels.shape[0], config.size
    if side == size:
        return pixels, []
    change = {"op": "resize", "from": side, "to": size, "filter": config.filter}
    if config.filter == "area" and side > size:
        resized = np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
        return resized, [{**change, "library": f"opencv {cv2.__version__}"}]
    from PIL import Image as PillowImage
    from PIL import __version__ as pillow_version

    filters = {
        "lanczos": PillowImage.Resampling.LANCZOS,
        "bicubic": PillowImage.Resampling.BICUBIC,
        "area": PillowImage.Resampling.BICUBIC,  # an area filter cannot enlarge
    }
    if config.filter == "area":
        change["filter"] = "bicubic"
    resized = PillowImage.fromarray(pixels).resize((size, size), filters[config.filter])
    return np.array(resized, np.uint8), [{**change, "library": f"pillow {pillow_version}"}]


def encode_hq(pixels: Pixels, extension: HqFormat, changes: list[dict[str, Any]], *, enlarged: bool = False) -> HqImage:
    """Encode an image with as little loss as its format has; `changes` is what was done to it before."""
    change = {"op": "encode", "format": extension, "library": f"opencv {cv2.__version__}"}
    if extension == "png":
        return HqImage(pixels, encode_png(pixels), [*changes, change], enlarged)
    if extension == "webp":
        return HqImage(pixels, encode_webp(pixels, None), [*changes, {**change, "lossless": True}], enlarged)
    data = encode_jpeg(pixels, JPEG_QUALITY, subsampling="444")
    # The LQ images must come from the pixels that a reader of the shards sees.
    stored = decode_image(data, min_side=1).pixels
    return HqImage(stored, data, [*changes, {**change, "quality": JPEG_QUALITY, "subsampling": "444"}], enlarged)


def versions(recipe: Recipe | None = None) -> dict[str, str]:
    """List the versions of everything that may change a pixel, those of the codecs that a recipe draws included.

    Raises:
        ConfigError: If the recipe draws a codec that is not installed.
    """
    return _versions() if recipe is None else {**_versions(), **recipe.libraries()}


@functools.cache
def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from PIL import __version__ as pillow_version

    return {
        "degrade_kit": version("degrade-kit"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": pillow_version,
    }


def to_json(changes: list[dict[str, Any]]) -> str:
    """Write `HqImage.changes` as compact JSON."""
    return json.dumps(changes, separators=(",", ":"))
