"""Cut the same square out of both images of a pair; every choice is drawn first and kept in a `Crop`.

Two ways, with a probability for each kind of degradation. A *native* crop keeps every pixel as it is, and with it
noise, blur and JPEG blocks, which scaling would destroy. A *resized* crop shows a random part, up to the whole view,
scaled to the size asked for, which is what haze and darkness are seen in. FlipNet's crop policy is unstated; this one
follows torchvision's RandomResizedCrop, kept square, since unequal scaling makes noise that no camera has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.flipnet.pairs import Pair
from degrade_kit.image import UNREADABLE, Pixels, decode_image

SIZE_DIFFERS: Final = "sizes differ"
MIN_SIDE: Final = 32
"""Smaller images are refused, pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CropPolicy:
    """How squares are drawn from the images of one kind."""

    native: float
    """Probability of a crop at the native resolution, 0 to 1."""
    scale: tuple[float, float] = (0.25, 1.0)
    """Part of the image's area that a resized crop shows; the largest square is the limit."""
    flip: float = 0.5
    """Probability of mirroring left and right."""
    grid: int = 8
    """Native crops begin at multiples of this many pixels, so that the blocks of a JPEG file lie as they do in a whole
    image. A flip keeps them there where the size is a multiple too."""
    mirror: bool = False
    """Continue images that are smaller than a native crop by their mirror image below and on the right, which keeps
    their pixels as they are, in place of enlarging their largest square."""

    def __post_init__(self) -> None:
        if not (0 <= self.native <= 1 and 0 <= self.flip <= 1):
            raise ConfigError(f"crops: expected probabilities within [0, 1], got {self.native} and {self.flip}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"crops: expected a scale of 0 < low <= high <= 1, got {self.scale}")
        if self.grid < 1:
            raise ConfigError(f"crops: expected a grid of at least 1 pixel, got {self.grid}")


POLICIES: Final[Mapping[str, CropPolicy]] = {
    "haze": CropPolicy(native=0.0),
    "low-light": CropPolicy(native=0.0),
    "noise": CropPolicy(native=0.5),
    "blur": CropPolicy(native=0.5),
    # Faces come at the size that they are prepared to, which is the whole of them where the crop has it too.
    "face": CropPolicy(native=1.0),
}
DEFAULT_POLICY: Final = CropPolicy(native=0.5)
"""Policy for kinds that are the user's own."""


@dataclass(frozen=True, slots=True)
class Crop:
    """One decided crop: a square of the source, and what becomes of it."""

    top: int
    left: int
    side: int
    """Side of the square in the source, pixels."""
    size: int
    """Side of the result, pixels."""
    flip: bool
    mirror: bool = False
    """Whether the source is continued by its mirror image where the square reaches beyond it."""

    @property
    def enlarged(self) -> bool:
        """Whether the result has more pixels than its source: of a small image, or of a small part of one."""
        return self.side < self.size


def draw_crop(height: int, width: int, size: int, policy: CropPolicy, rng: np.random.Generator) -> Crop:
    """Decide on a crop.

    An image smaller than `size` on either side gives its largest square, enlarged, or is mirrored as the policy says.

    Args:
        height: Of the image, pixels.
        width: Of the image, pixels.
        size: Side of the result, pixels.
        policy: For the kind of the image.
        rng: The same draws are taken from it whatever the policy and the sizes, five in all.
    """
    use_native, area, down, right, chance = rng.random(5)
    mirror = policy.mirror and use_native < policy.native and min(height, width) < size
    if mirror:
        height, width = max(height, size), max(width, size)
    largest = min(height, width)
    if use_native < policy.native and largest >= size:
        side, grid = size, policy.grid
    elif use_native < policy.native:
        side, grid = largest, 1
    else:
        low, high = policy.scale
        wanted = round(((low + (high - low) * area) * height * width) ** 0.5)
        side, grid = max(min(wanted, largest), min(MIN_SIDE, largest)), 1
    return Crop(
        top=_offset(down, height - side, grid),
        left=_offset(right, width - side, grid),
        side=side,
        size=size,
        flip=bool(chance < policy.flip),
        mirror=mirror,
    )


def _offset(fraction: float, room: int, grid: int) -> int:
    """Draw a multiple of `grid` from 0 to `room`, each as likely."""
    return int(fraction * (room // grid + 1)) * grid


def apply_crop(crop: Crop, pixels: Pixels) -> Pixels:
    """Cut, scale and mirror one image.

    Returns:
        uint8, size x size x 3, C-contiguous. Shrunk by averaging areas, enlarged by cubic interpolation.

    Raises:
        ValueError: If the crop lies outside the image.
    """
    bottom, right = crop.top + crop.side, crop.left + crop.side
    if crop.mirror:
        more = [max(end - side, 0) for end, side in zip((bottom, right), pixels.shape[:2], strict=True)]
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, more[0], 0, more[1], cv2.BORDER_REFLECT_101), np.uint8)
    height, width = pixels.shape[:2]
    if min(crop.top, crop.left) < 0 or bottom > height or right > width:
        raise ValueError(f"expected {crop} to lie within {width} x {height} pixels")
    cut = pixels[crop.top : bottom, crop.left : right]
    if crop.flip:
        cut = cut[:, ::-1]
    cut = np.ascontiguousarray(cut)
    if crop.side == crop.size:
        return cut
    filter = cv2.INTER_CUBIC if crop.enlarged else cv2.INTER_AREA
    return np.asarray(cv2.resize(cut, (crop.size, crop.size), interpolation=filter), np.uint8)


def read_pair(pair: Pair) -> tuple[Pixels, Pixels]:
    """Decode both images of a pair, HQ first; of a tile that part of them.

    Returns:
        Two arrays, uint8 RGB, C-contiguous, of one shape.

    Raises:
        ImageError: If one cannot be read, or the sizes differ; it names the file.
    """
    hq, lq = _read(pair, "hq"), _read(pair, "lq")
    if hq.shape != lq.shape:
        raise ImageError(
            SIZE_DIFFERS,
            f"{pair.name}: HQ has {hq.shape[1]} x {hq.shape[0]} pixels, LQ has {lq.shape[1]} x {lq.shape[0]}",
        )
    if pair.tile is None:
        return hq, lq
    tile = pair.tile
    cut = np.s_[tile.top : tile.top + tile.side, tile.left : tile.left + tile.side]
    if hq[cut].shape[:2] != (tile.side, tile.side):
        raise ImageError(
            SIZE_DIFFERS, f"{pair.name}: expected {tile} to lie within {hq.shape[1]} x {hq.shape[0]} pixels"
        )
    return np.ascontiguousarray(hq[cut]), np.ascontiguousarray(lq[cut])


def _read(pair: Pair, side: str) -> Pixels:
    path = pair.hq_path if side == "hq" else pair.lq_path
    try:
        return decode_image(path.read_bytes(), min_side=MIN_SIDE).pixels
    except OSError as error:
        raise ImageError(UNREADABLE, f"{path}: {error.strerror or error}") from error
    except ImageError as error:
        raise ImageError(error.reason, f"{path}: {error.detail}") from error
