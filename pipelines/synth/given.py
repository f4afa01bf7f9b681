"""LQ images of the user's own: found beside their HQ images, checked, and stored in place of made ones."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import sha256
from degrade_kit.hq import HqConfig, HqImage, encode_hq, resize_square, to_json
from degrade_kit.image import Decoded, Pixels, decode_image, encode_png
from degrade_kit.image_files import strip_metadata
from degrade_kit.ops import Resize
from degrade_kit.pipelines.images import list_images
from degrade_kit.pipelines.makers.recipe_maker import Prepared
from degrade_kit.recipe import Recipe
from degrade_kit.record import Record, ops_to_json
from degrade_kit.shards import GIVEN, SourceNote, Variant
from degrade_kit.sources import DUPLICATE, Sources, display_name
from degrade_kit.steps import RandomResize

NO_LQ: Final = "no LQ image"
NO_HQ: Final = "no HQ image"
UNFIT: Final = "sizes do not fit"

RECIPE: Final = Recipe(
    name=GIVEN,
    steps=(RandomResize(scale=(1.0, 1.0), filter=("cubic",)),),
    source="The LQ images were given with the HQ images; a reader enlarges those that are smaller.",
)
"""Stands where the recipe of other data sets does: nothing but the enlargement by the reader."""

_RECORD: Final = Record(0, (Resize(scale=1.0, filter="cubic"),))


@dataclass(frozen=True, slots=True)
class GivenImages:
    """The LQ images of one place, by the HQ images that they belong to."""

    sources: Sources
    places: tuple[int, ...]
    """Places of the LQ images in `sources`, one for each HQ image, -1 where it has none."""
    where: str
    """The place, for messages."""

    def select(self, first: int, last: int) -> GivenImages:
        """Take what some HQ images need."""
        places = self.places[first:last]
        kept = self.sources.only(self.sources.names[place] for place in places if place >= 0)
        at = {name: number for number, name in enumerate(kept.names)}
        moved = tuple(-1 if place < 0 else at[self.sources.names[place]] for place in places)
        return GivenImages(kept, moved, self.where)


def find_given(hq: Sources, places: Sequence[str], include: str | None) -> tuple[list[GivenImages], Sources]:
    """Find the LQ images of each place, and note those that belong to no HQ image.

    An LQ image has the name of its HQ image, but for endings: `a/7.hq.png` and `a/7.lq.jpg` are `a/7`. Where no name of
    a place is also one of HQ images, because both lie in folders or tars of their own, names count without folders.

    Args:
        hq: HQ images.
        places: Each has one LQ image of each HQ image.
        include: Glob that the names of LQ images must match.

    Returns:
        The LQ images, and the HQ images with those of the others among what the listing refused.

    Raises:
        ConfigError: If there are no LQ images in a place, or none of them belongs to an HQ image.
    """
    found: list[GivenImages] = []
    skipped: list[tuple[str, str, str]] = []
    for place in places:
        sources = list_images(place, include=include)
        skipped += [(f"{place}: {name}", reason, detail) for name, reason, detail in sources.skipped]
        wanted, partners = list(map(_key, hq.names)), _by_key(map(_key, sources.names))
        if not any(key in partners for key in wanted):
            wanted = [key.rpartition("/")[2] for key in wanted]
            partners = _by_key(_key(name).rpartition("/")[2] for name in sources.names)
        twice = {key for key, uses in Counter(wanted).items() if uses > 1}
        taken = [-1 if key in twice else partners.get(key, [-1])[0] for key in wanted]
        if max(taken) < 0:
            first, second = (display_name(each.names[0]) for each in (hq, sources))
            raise ConfigError(
                f"--lq {place}: no LQ image has the name of an HQ image; names are compared without endings, such as "
                f"{second} with {first}"
            )
        used = set(taken)
        for number, name in enumerate(sources.names):
            if number not in used:
                again = any(number in numbers and numbers[0] in used for numbers in (partners.get(_key(name), []),))
                skipped.append((f"{place}: {name}", DUPLICATE if again else NO_HQ, "an LQ image"))
        found.append(GivenImages(sources, tuple(taken), place))
    return found, dataclasses.replace(hq, skipped=(*hq.skipped, *skipped))


def _key(name: str) -> str:
    """A name without endings."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{re.sub(r'[.](hq|lq|gt|lr)[0-9]*$', '', posixpath.splitext(file)[0], flags=re.IGNORECASE)}"


def _by_key(keys: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    return found


def likely_lq_format(given: Sequence[GivenImages], size: int) -> str:
    """Choose one format for the LQ images: that of some of them, if all could be passed through, else PNG."""
    formats: set[str] = set()
    for images in given:
        count = len(images.sources)
        for number in sorted({i * (count - 1) // 15 for i in range(16)}):
            try:
                decoded = decode_image(images.sources.read(number), min_side=1)
            except ImageError:
                continue
            fits = decoded.pixels.shape[0] == decoded.pixels.shape[1] and (decoded.pixels.shape[0] <= size)
            formats.add(decoded.format if decoded.plain and (fits or not size) else "png")
    only = formats.pop() if len(formats) == 1 else "png"
    return only if only in ("png", "jpg", "webp") else "png"


@dataclass(frozen=True, slots=True)
class GivenMaker:
    """Makes nothing: the LQ images of each face were read with it."""

    def variants(self, faces: Iterable[Prepared]) -> Iterator[list[Variant]]:
        """No variant for each face; see `VariantMaker`."""
        for _ in faces:
            yield []


def given_variants(
    given: Sequence[GivenImages], number: int, raw: bytes, hq: HqImage, config: HqConfig, extension: str, *, full: bool
) -> list[Variant]:
    """Read the LQ images of an HQ image.

    Args:
        given: One LQ image in each.
        number: Of the HQ image among those of `given`.
        raw: The source of the HQ image.
        hq: What became of it; its LQ images are cropped alike.
        config: How HQ images are made.
        extension: Format of the LQ images.
        full: Store them enlarged to the HQ size.

    Raises:
        ImageError: If one is missing, cannot be decoded, or does not fit the HQ image.
    """
    return [_variant(images, number, raw, hq, config, extension, full=full) for images in given]


def _variant(
    images: GivenImages, number: int, raw: bytes, hq: HqImage, config: HqConfig, extension: str, *, full: bool
) -> Variant:
    place = images.places[number]
    if place < 0:
        raise ImageError(NO_LQ, f"{images.where} has none of this name")
    name = display_name(images.sources.names[place])
    try:
        data = images.sources.read(place)
        decoded = decode_image(data, min_side=1, alpha=config.alpha)
    except ImageError as error:
        raise ImageError(f"LQ image {error.reason}", f"{images.where}: {name}: {error.detail}") from error
    changes = [{"op": "decode", "note": note} for note in decoded.notes]
    pixels, changed = _as_hq(decoded.pixels, raw, hq, config, f"{images.where}: {name}")
    changes += changed
    height, width = hq.pixels.shape[:2]
    if full and pixels.shape[:2] != (height, width):
        from degrade_kit.degradation import finish

        pixels = finish(pixels, _RECORD.steps, (height, width))
        changes.append({"op": "resize", "from": decoded.pixels.shape[0], "to": height, "filter": "cubic"})
    stored, changes = _file(data, decoded, pixels, changes, extension)
    complete = pixels.shape[:2] == (height, width)
    return Variant(
        data=stored,
        extension=extension,
        width=pixels.shape[1],
        height=pixels.shape[0],
        origin=GIVEN,
        record=_RECORD,
        tail="[]" if complete else ops_to_json(_RECORD.steps),
        target="[]",
        source=SourceNote(name, sha256(data), to_json(changes)),
    )


def _as_hq(
    pixels: Pixels, raw: bytes, hq: HqImage, config: HqConfig, where: str
) -> tuple[Pixels, list[dict[str, Any]]]:
    """Crop an LQ image as its HQ image was, and shrink it where that is smaller now."""
    height, width = pixels.shape[:2]
    crop = next((change for change in hq.changes if change["op"] == "crop"), None)
    resize = next((change for change in hq.changes if change["op"] == "resize"), None)
    if crop is not None:
        full_height, full_width = decode_image(raw, min_side=1, alpha=config.alpha).pixels.shape[:2]
    elif resize is not None:
        full_height = full_width = resize["from"]
    else:
        full_height, full_width = hq.pixels.shape[:2]
    scale = full_height / height
    if scale < 1 or abs(full_width / scale - width) >= 1:
        raise ImageError(
            UNFIT,
            f"{where} has {width} x {height} pixels, its HQ image {full_width} x {full_height}: expected the "
            "same, or a whole part of it in both directions",
        )
    changes: list[dict[str, Any]] = []
    if crop is not None:
        left, top, side = (crop[key] / scale for key in ("left", "top", "side"))
        if max(abs(value - round(value)) for value in (left, top, side)) > 0.01:
            raise ImageError(
                UNFIT,
                f"{where}: the square of its HQ image lies between its pixels; crop both, or keep sizes (--size 0)",
            )
        left, top, side = round(left), round(top), round(side)
        pixels = np.ascontiguousarray(pixels[top : top + side, left : left + side])
        changes.append({"op": "crop", "left": left, "top": top, "side": side})
    if config.size and pixels.shape[0] > config.size:
        if pixels.shape[0] != pixels.shape[1]:
            raise ImageError(UNFIT, f"{where} is {width} x {height} pixels, and no square as its HQ image")
        pixels, shrunk = resize_square(pixels, config)
        changes += shrunk
    return pixels, changes


def _file(
    data: bytes, decoded: Decoded, pixels: Pixels, changes: list[dict[str, Any]], extension: str
) -> tuple[bytes, list[dict[str, Any]]]:
    """The file to store: the given one where it can be, which keeps the traces of its compression."""
    if decoded.plain and decoded.format == extension and not changes:
        clean = strip_metadata(data, decoded.format)
        return clean, changes if clean is data else [{"op": "strip_metadata"}]
    if extension == "png":
        return encode_png(pixels), [*changes, {"op": "encode", "format": extension}]
    made = encode_hq(pixels, "jpg" if extension == "jpg" else "webp", changes)
    return made.data, made.changes
