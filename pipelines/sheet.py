"""Contact sheets: HQ beside its LQ variants, with what was done to each written underneath."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from degrade_kit.image import Pixels
from degrade_kit.ops import Blur, Decimate, FlipNetImage, Op, Resize, Uneven
from degrade_kit.record import Record

LEGEND = (
    "Captions name the steps in their order. Blur: standard deviation in pixels. Down, up: change of size. "
    "Noise: standard deviation on a scale of 0 to 255. JPEG: quality."
)
"""What the words of `caption` mean, to stand under a sheet's title."""

_GAP = 6
_BACKGROUND = (255, 255, 255)
_INK = (20, 20, 20)
_TEXT, _HEADING, _TITLE = 14, 16, 22
"""Font sizes in pixels: legible where a sheet is shown pixel by pixel."""
_LEADING = 1.3
_EYES = 0.47
"""How far down the eyes are in a face framed as FFHQ is, as a share of the height."""
_DETAILS = "Below each image: the part around the eyes at full resolution (1:1)."
_DETAIL = 0.54
"""Height of a detail as a share of its width: at 208 pixels of 512, both eyes and the nose's bridge."""

_SHORT = {
    "resize_side": "{side} px",
    "rescale": "times {factor:.2f}",
    "frame": "{side} px in a photo",
    "unframe": "",
    "avif": "AVIF {quality}",
    "heic": "HEIC {quality}",
    "video": "{codec} video",
    "ai_upscale": "AI upscaled {factor:.1f}x",
    "defocus": "defocus {radius:.1f} px",
    "camera_shake": "shake {length:.0f} px",
    "isp": "sensor noise",
    "denoise": "{method}",
    "sharpen": "sharpen {amount:.1f}",
    "blur": "blur {sigma_x:.1f} px",
    "sinc_blur": "sinc filter {cutoff:.1f} rad",
    "motion_blur": "motion blur {length:.0f} px",
    "clip": "",
    "gaussian_noise": "noise {level:.0f}",
    "covariance_noise": "colour noise",
    "poisson_noise": "shot noise {scale:.1f}x",
    "jpeg": "JPEG {quality}",
    "webp": "WebP {quality}",
    "color_shift": "RGB {red:+.0f} {green:+.0f} {blue:+.0f}",
    "color_jitter": "brightness {brightness:.1f}x, contrast {contrast:.1f}x, saturation {saturation:.1f}x",
    "haze": "haze, image {alpha:.0%}",
    "shift": "moved {right:+d} {down:+d} px",
    "flipnet": "FlipNet: {prompt}",
}
"""Texts of operations; one that is not here is called by its name."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a sheet."""

    pixels: Pixels
    caption: tuple[str, ...]
    """Lines of text under it."""


def caption(record: Record) -> tuple[str, ...]:
    """Describe what was drawn, step by step; `LEGEND` says in which units.

    >>> from degrade_kit.ops import Blur, Jpeg, Resize
    >>> steps = Blur(sigma_x=2.0, sigma_y=2.0), Resize(scale=8.0), Jpeg(quality=60), Resize(scale=1.0)
    >>> caption(Record(0, steps))
    ('blur 2.0 px, down 8.0x, JPEG 60',)
    """
    return (", ".join(_described(record.steps)),)


def _described(ops: Sequence[Op]) -> Iterator[str]:
    scale = 1.0  # HQ side / side of the image so far
    for place, op in enumerate(ops):
        if isinstance(op, Resize | Decimate):
            before, scale = scale, op.scale if isinstance(op, Resize) else scale * op.factor
            # The way back to the full size ends every chain and is no choice of the recipe.
            last = scale == 1.0 and not any(isinstance(later, Resize | Decimate) for later in ops[place + 1 :])
            text = "" if last else _resized(scale / before)
        elif isinstance(op, Uneven):
            text = f"a square: {', '.join(_described(op.inside))}; the rest: {', '.join(_described(op.outside))}"
        else:
            names = getattr(type(op), "__slots__", ())
            values = {name: getattr(op, name) for name in names}
            if isinstance(op, FlipNetImage):
                like = "like a photograph" if op.description else ""
                values["prompt"] = ", ".join(filter(None, (op.prompt, like))) or "null prompt"
            text = _SHORT.get(op.name, op.name).format(**values)
            if isinstance(op, Blur) and f"{op.sigma_x:.1f}" != f"{op.sigma_y:.1f}":
                text = f"blur {op.sigma_x:.1f} x {op.sigma_y:.1f} px"
        if text:
            yield text


def _resized(factor: float) -> str:
    if 0.95 < factor < 1.05:
        return ""
    return f"down {factor:.1f}x" if factor > 1 else f"up {1 / factor:.1f}x"


def contact_sheet(
    rows: Sequence[Sequence[Tile]],
    tile: int = 208,
    *,
    title: str = "",
    notes: Sequence[str] = (),
    headings: Sequence[str] = (),
    details: bool = False,
) -> Pixels:
    """Draw rows of tiles, each picture fitted into a square of `tile` pixels.

    Args:
        rows: What to draw; rows may have different numbers of tiles.
        tile: Side of a picture, pixels.
        title: Large text at the top, such as the recipe and the seed.
        notes: Paragraphs under it, such as `LEGEND`.
        headings: Text above each row, such as the name of its image; none at all, or one for each row.
        details: Show below each picture that had to shrink its part around the eyes pixel by pixel, where noise and
            JPEG blocks can be seen; the place of the eyes is that of FFHQ.

    Returns:
        uint8, shape (height, width, 3).
    """
    columns = max(len(row) for row in rows)
    width = columns * (tile + _GAP) + _GAP
    blocks = [_Text([title], _TITLE, width - 2 * _GAP)] if title else []
    headed = zip(rows, headings or [""] * len(rows), strict=True)
    drawn = [_DrawnRow(row, heading, tile, width - 2 * _GAP, details=details) for row, heading in headed]
    detailed = (_DETAILS,) if any(row.detailed for row in drawn) else ()
    blocks += [_Text([note], _TEXT, width - 2 * _GAP) for note in (*notes, *detailed)]
    height = _GAP + sum(block.height + _GAP for block in blocks) + sum(row.height + _GAP for row in drawn)
    sheet = PillowImage.new("RGB", (width, height), _BACKGROUND)
    top = _GAP
    for block in blocks:
        block.draw(sheet, _GAP, top)
        top += block.height + _GAP
    for row in drawn:
        row.draw(sheet, top)
        top += row.height + _GAP
    return np.array(sheet, np.uint8)


class _Text:
    """Lines of one font size, broken to a width in pixels."""

    def __init__(self, lines: Sequence[str], size: int, width: int) -> None:
        self._font = ImageFont.load_default(size)
        self._lines = _wrapped(lines, width, self._font.getlength)
        self._step = round(_LEADING * size)
        self.height = self._step * len(self._lines)

    def draw(self, sheet: PillowImage.Image, left: int, top: int) -> None:
        for number, line in enumerate(self._lines):
            ImageDraw.Draw(sheet).text((left, top + number * self._step), line, fill=_INK, font=self._font)


class _DrawnRow:
    """A row, laid out: heading, pictures, details, captions."""

    def __init__(self, row: Sequence[Tile], heading: str, tile: int, width: int, *, details: bool) -> None:
        self._tile = tile
        self._heading = _Text([heading] if heading else [], _HEADING, width)
        self._pictures = [_fit(cell.pixels, tile) for cell in row]
        self._details = [_detail(cell.pixels, tile) if details else None for cell in row]
        self._captions = [_Text(cell.caption, _TEXT, tile) for cell in row]
        detail = max((picture.height + _GAP // 2 for picture in self._details if picture is not None), default=0)
        self.detailed = detail > 0
        self._below = self._heading.height + tile + detail
        self.height = self._below + max((text.height for text in self._captions), default=0) + _GAP

    def draw(self, sheet: PillowImage.Image, top: int) -> None:
        self._heading.draw(sheet, _GAP, top)
        under = top + self._heading.height
        for column, (picture, detail, text) in enumerate(
            zip(self._pictures, self._details, self._captions, strict=True)
        ):
            left = _GAP + column * (self._tile + _GAP)
            sheet.paste(picture, (left, under))
            if detail is not None:
                sheet.paste(detail, (left, under + self._tile + _GAP // 2))
            text.draw(sheet, left, top + self._below)


def _wrapped(lines: Sequence[str], width: float, measure: Callable[[str], float]) -> list[str]:
    """Break lines at commas, phrases that are longer than a line at spaces, and such words anywhere.

    >>> _wrapped(["blur 2.0 px, down 8.0x", "FlipNet dense haze", "grace_hopper.png"], 12, len)
    ['blur 2.0 px,', 'down 8.0x', 'FlipNet', 'dense haze', 'grace_hopper', '.png']
    """
    broken: list[str] = []
    for line in lines:
        broken.append("")
        for phrase in line.replace(", ", ",\n").split("\n"):
            words = [phrase] if measure(phrase) <= width else phrase.split(" ")
            for part in (part for word in words for part in _pieces(word, width, measure)):
                longer = f"{broken[-1]} {part}" if broken[-1] else part
                if not broken[-1] or measure(longer) <= width:
                    broken[-1] = longer
                else:
                    broken.append(part)
    return broken


def _pieces(word: str, width: float, measure: Callable[[str], float]) -> Iterator[str]:
    """Cut a word into the fewest pieces that are not wider than `width`; a single letter may be."""
    start = 0
    for end in range(1, len(word) + 1):
        if end - start > 1 and measure(word[start:end]) > width:
            yield word[start : end - 1]
            start = end - 1
    yield word[start:]


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


def _detail(pixels: Pixels, tile: int) -> PillowImage.Image | None:
    """Cut out the part around the eyes, `tile` pixels wide; None where the whole picture is not larger than a tile."""
    height, width = pixels.shape[:2]
    if max(height, width) <= tile:
        return None
    wide, high = min(width, tile), min(height, round(_DETAIL * tile))
    left, top = (width - wide) // 2, min(max(0, round(_EYES * height) - high // 2), height - high)
    return PillowImage.fromarray(np.ascontiguousarray(pixels[top : top + high, left : left + wide]))
