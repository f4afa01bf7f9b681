"""Contact sheets: HQ beside its LQ variants, with the drawn numbers underneath."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from degrade_kit.image import Pixels
from degrade_kit.ops import Blur, Op, Resize, Uneven
from degrade_kit.record import Record

_GAP = 6
_LINE = 13
_BACKGROUND = (255, 255, 255)
_INK = (40, 40, 40)

_SHORT = {
    "blur": "blur {sigma_x:.1f}",
    "sinc_blur": "sinc {cutoff:.1f}",
    "motion_blur": "motion {length:.0f}",
    "resize": "1/{scale:.1f}",
    "decimate": "every {factor}",
    "gaussian_noise": "noise {level:.0f}",
    "covariance_noise": "colour noise",
    "poisson_noise": "shot {scale:.1f}",
    "jpeg": "jpeg {quality}",
    "webp": "webp {quality}",
    "color_shift": "shift {red:+.0f}{green:+.0f}{blue:+.0f}",
    "color_jitter": "jitter b{brightness:.1f} c{contrast:.1f} s{saturation:.1f}",
    "gray": "gray",
    "haze": "haze {alpha:.2f}",
    "shift": "move {right:+d}{down:+d}",
    "uneven": "uneven",
    "flipnet": "FlipNet: {prompt}",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a sheet."""

    pixels: Pixels
    caption: tuple[str, ...]
    """Lines of text under it."""


def caption(record: Record) -> tuple[str, ...]:
    """The drawn numbers in the order in which they act, three to a line.

    >>> from degrade_kit.ops import Blur, Jpeg, Resize
    >>> caption(Record(0, (Blur(sigma_x=2.0, sigma_y=2.0), Resize(scale=4.0), Jpeg(quality=60), Resize(scale=1.0))))
    ('blur 2.0 · 1/4.0 · jpeg 60',)
    """
    words = [_describe(op) for op in record.steps if not (isinstance(op, Resize) and op.scale == 1.0)]
    words = [word for word in words if word]
    return tuple(" · ".join(words[i : i + 3]) for i in range(0, len(words), 3))


def _describe(op: Op) -> str:
    template = _SHORT.get(op.name, "")
    text = template.format(**{name: getattr(op, name) for name in _names(op)})
    if isinstance(op, Blur) and op.sigma_y != op.sigma_x:
        text += f"x{op.sigma_y:.1f}"
    return text


def _names(op: Op) -> Sequence[str]:
    return [] if isinstance(op, Uneven) else list(getattr(type(op), "__slots__", ()))


def contact_sheet(rows: Sequence[Sequence[Tile]], tile: int = 208) -> Pixels:
    """Draw rows of tiles, each picture fitted into a square of `tile` pixels.

    Returns:
        uint8, shape (height, width, 3).
    """
    font = ImageFont.load_default(10)
    captions = [[_wrapped(cell.caption, tile, font.getlength) for cell in row] for row in rows]
    lines = [max(map(len, row), default=0) for row in captions]
    columns = max(len(row) for row in rows)
    width = columns * (tile + _GAP) + _GAP
    height = sum(tile + count * _LINE + 2 * _GAP for count in lines) + _GAP
    sheet = PillowImage.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for row, wrapped, count in zip(rows, captions, lines, strict=True):
        for column, (cell, texts) in enumerate(zip(row, wrapped, strict=True)):
            left = _GAP + column * (tile + _GAP)
            sheet.paste(_fit(cell.pixels, tile), (left, top))
            for number, text in enumerate(texts):
                draw.text((left + 1, top + tile + 2 + number * _LINE), text, fill=_INK, font=font)
        top += tile + count * _LINE + 2 * _GAP
    return np.array(sheet, np.uint8)


def _wrapped(caption: Sequence[str], width: float, measure: Callable[[str], float]) -> list[str]:
    """Lines that do not reach into the next tile, broken at spaces; a word that is too long stays as it is.

    >>> _wrapped(["FlipNet dense haze", "512"], 12, len)
    ['FlipNet', 'dense haze', '512']
    """
    lines: list[str] = []
    for text in caption:
        words = text.split(" ")
        lines.append(words[0])
        for word in words[1:]:
            longer = f"{lines[-1]} {word}"
            if measure(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(word)
    return lines


def _fit(pixels: Pixels, tile: int) -> PillowImage.Image:
    """Scale to the tile; antialiased when it shrinks, with hard pixels when it grows, which hide nothing."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    size = (max(1, round(width * tile / side)), max(1, round(height * tile / side)))
    filter = PillowImage.Resampling.BOX if side >= tile else PillowImage.Resampling.NEAREST
    image = PillowImage.fromarray(pixels).resize(size, filter)
    square = PillowImage.new("RGB", (tile, tile), _BACKGROUND)
    square.paste(image, ((tile - size[0]) // 2, (tile - size[1]) // 2))
    return square
