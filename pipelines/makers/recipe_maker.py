"""LQ images for HQ images: what makers of them agree on, and the one that follows a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from degrade_kit.canvas import Canvas
from degrade_kit.degradation import NativeLq, degrade, finish
from degrade_kit.image import Pixels, encode_png
from degrade_kit.network_ops import FlipNetImage, Network
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.recipe import Recipe
from degrade_kit.record import Record, ops_to_json
from degrade_kit.seeding import generator
from degrade_kit.shards import Variant


class Prepared(NamedTuple):
    """An HQ image to make variants of."""

    name: str
    """Name of its source, which seeds the draws."""
    hq: Pixels
    """What a reader of the shard will decode."""
    caption: str | None = None
    """Caption of the image, where the recipe wants captions."""


class VariantMaker(Protocol):
    """Makes the LQ images of a data set."""

    def variants(self, faces: Iterable[Prepared]) -> Iterator[list[Variant]]:
        """The variants of each face, in the order of the faces.

        A model works in batches: it takes as many faces as it likes before it yields for the first of them. They are
        read as they are taken, so taking them one by one needs the memory of one; and a worker that dies is taken to
        have died of the face that it took last. The variants of a face depend on it alone, not on those beside it.
        """
        ...


@dataclass(frozen=True, slots=True)
class RecipeMaker:
    """Draws every variant from the recipe of a configuration, one face at a time; the recipe needs no network."""

    config: SynthConfig
    lq_extension: str
    """Format of all LQ images of the data set."""

    def variants(self, faces: Iterable[Prepared]) -> Iterator[list[Variant]]:
        """Make the variants of each face; see `VariantMaker`."""
        for face in faces:
            yield list(self._variants(face))

    def _variants(self, face: Prepared) -> Iterator[Variant]:
        config = self.config
        canvas = Canvas(pixels=face.hq)
        for number in range(config.variants):
            record = draw_record(config, face, number)
            origin = origin_of(record, config.recipe)
            yield make_variant(record, canvas, origin, self.lq_extension, full=config.lq_size == "full")


def draw_record(config: SynthConfig, face: Prepared, number: int) -> Record:
    """Draw the record of a variant: a function of the seed, the source, the number and the caption."""
    return config.recipe.draw(generator(config.seed, face.name, number), face.caption)


def origin_of(record: Record, recipe: Recipe) -> str:
    """What a record comes from, as a data set names it: a FlipNet that alone made the image, else the recipe."""
    alone = record.steps[0] if len(record.steps) == 1 else None
    if isinstance(alone, FlipNetImage):
        return f"flipnet:{alone.model}"
    return f"recipe:{recipe.name}@{recipe.digest()}"


def make_variant(
    record: Record, hq: Canvas, origin: str, extension: str, *, full: bool, network: Network | None = None
) -> Variant:
    """Run a record and encode its LQ image as the data set holds it.

    Args:
        record: What to do.
        hq: Of what a reader decodes as the HQ image.
        origin: What the record comes from.
        extension: Format of the LQ image.
        full: Store it enlarged, complete, in place of its native size.
        network: Does the steps of a FlipNet, where the record has any.
    """
    return encode_variant(record, degrade(record, hq, network), hq.full_size, origin, extension, full=full)


def encode_variant(
    record: Record, native: NativeLq, size: tuple[int, int], origin: str, extension: str, *, full: bool
) -> Variant:
    """Encode an LQ image as the data set holds it; `size` is that of the HQ image, the rest as for `make_variant`."""
    tail = native.tail
    if full:
        pixels, tail = finish(native.pixels, tail, size), ()
        data, (height, width) = encode_png(pixels), pixels.shape[:2]
    else:
        encoded = native.encoded
        height, width = native.canvas.height, native.canvas.width
        # A recipe that always ends in a JPEG file has that very file stored: no second loss, and nothing to encode.
        keeps = encoded is not None and encoded.extension == extension
        data = encoded.data if encoded is not None and keeps else encode_png(native.pixels)
    return Variant(
        data=data,
        extension=extension,
        width=width,
        height=height,
        origin=origin,
        record=record,
        tail=ops_to_json(tail),
        target=ops_to_json(record.target),
    )
