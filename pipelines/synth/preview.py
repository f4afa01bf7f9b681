"""`degrade-kit preview`: look at a recipe before the long run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from degrade_kit.canvas import Canvas
from degrade_kit.degradation import degrade_segments, finish
from degrade_kit.errors import ImageError, RunError
from degrade_kit.files import write_whole
from degrade_kit.hq import HqConfig, prepare_pixels
from degrade_kit.image import Pixels, encode_png
from degrade_kit.network_ops import Network, run_together
from degrade_kit.pipelines.claim import check_apart
from degrade_kit.pipelines.executor import limited_threads
from degrade_kit.pipelines.images import list_images
from degrade_kit.pipelines.makers.captions import Captions
from degrade_kit.pipelines.makers.networks import NetworkSettings, check_networks, load_networks
from degrade_kit.pipelines.sheet import LEGEND, Tile, caption, contact_sheet
from degrade_kit.recipe import Recipe
from degrade_kit.seeding import generator
from degrade_kit.sources import Sources, display_name


def draw_preview(
    hq: str,
    recipes: Sequence[Recipe],
    out: Path,
    *,
    images: int,
    variants: int,
    seed: int,
    image: HqConfig,
    settings: NetworkSettings | None = None,
    captions: Captions | None = None,
) -> int:
    """Write a contact sheet of some sources and return how many images it shows.

    Raises:
        ConfigError: If the sheet would be one of the sources, or beside them, or a FlipNet cannot be used.
        RunError: If none of the sources tried can be used, or the sheet cannot be written.
    """
    check_apart(out, [("--hq", hq)])
    settings = settings or NetworkSettings()
    for recipe in recipes:
        check_networks(recipe, settings)
    models = {digest: place for recipe in recipes for digest, place in recipe.models.items()}
    sources = list_images(hq)
    rows: list[list[Tile]] = []
    headings: list[str] = []
    with limited_threads(1):
        network = load_networks(models, settings, threads=1) if models else None
        for index, pixels, told in _usable(sources, images, image, captions):
            name = sources.names[index]
            for recipe in recipes:
                headings.append(f"{recipe.name}: {display_name(name)}")
                rows.append([Tile(pixels, ("HQ",)), *_variants(pixels, name, told, recipe, seed, variants, network)])
    if not rows:
        raise RunError(f"none of the images tried in {hq} can be used; `degrade-kit synth` lists why")
    title = f"HQ and LQ images by {', '.join(recipe.name for recipe in recipes)}; seed {seed}"
    write_whole(out, encode_png(contact_sheet(rows, title=title, notes=(LEGEND,), headings=headings, details=True)))
    return len(rows) // len(recipes)


def _usable(
    sources: Sources, images: int, config: HqConfig, captions: Captions | None
) -> list[tuple[int, Pixels, str | None]]:
    """Find evenly spread sources that can be read, with their captions."""
    count = len(sources.names)
    found: list[tuple[int, Pixels, str | None]] = []
    for index in sorted({i * count // images for i in range(images)}):
        try:
            data = sources.read(index)
            told = None if captions is None else captions.of(data)
            found.append((index, prepare_pixels(data, config), told))
        except ImageError:
            continue
    return found


def _variants(
    pixels: Pixels, name: str, told: str | None, recipe: Recipe, seed: int, variants: int, network: Network | None
) -> list[Tile]:
    records = [recipe.draw(generator(seed, name, number), told) for number in range(variants)]
    canvas = Canvas(pixels=pixels)
    natives = run_together([degrade_segments(record, canvas) for record in records], network)
    return [
        Tile(finish(native.pixels, native.tail, canvas.full_size), caption(record))
        for record, native in zip(records, natives, strict=True)
    ]
