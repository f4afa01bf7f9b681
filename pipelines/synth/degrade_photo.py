"""`degrade-kit degrade`: one photograph, degraded by a recipe, for a look."""

from __future__ import annotations

from pathlib import Path

from degrade_kit.canvas import Canvas
from degrade_kit.degradation import degrade_segments, finish
from degrade_kit.errors import ImageError, RunError
from degrade_kit.hq import HqConfig, prepare_pixels
from degrade_kit.image import encode_png
from degrade_kit.network_ops import run_together
from degrade_kit.pipelines.claim import report_claim
from degrade_kit.pipelines.devices import check_device
from degrade_kit.pipelines.makers.captions import Captions
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.makers.networks import NetworkSettings, check_networks, load_networks
from degrade_kit.pipelines.makers.recipe_maker import Prepared, draw_record
from degrade_kit.pipelines.sheet import Tile, caption, contact_sheet
from degrade_kit.recipe import Recipe
from degrade_kit.sources import display_name
from degrade_kit.store import LocalStore


def degrade_image(
    image: Path,
    recipe: Recipe,
    settings: NetworkSettings,
    out: Path,
    *,
    captions: Captions | None = None,
    variants: int,
    seed: int,
    size: int,
) -> list[tuple[Path, str]]:
    """Write the LQ images and a sheet of them to a folder; returns each file with what was drawn for it.

    The images are those that `synth` makes of a source with this file's name.

    Raises:
        ConfigError: If a model cannot be used, the device is not here, or the folder is the image.
        RunError: If the image cannot be used, the folder holds something else, or a file is not written.
    """
    claim = report_claim(
        "degrade",
        "LQ images of one photograph",
        ["lq[0-9]*.png", "sheet.png"],
        {"image": image, "recipe": recipe.to_mapping(), "variants": variants, "seed": seed, "size": size},
        [("IMAGE", image)],
    )
    claim.check(LocalStore(out))
    check_networks(recipe, settings)
    try:
        data = image.read_bytes()
        told = None if captions is None else captions.of(data)
        hq = prepare_pixels(data, HqConfig(size=size))
    except (OSError, ImageError) as error:
        raise RunError(f"{image}: {error}") from error
    network = None
    if recipe.models:
        check_device(settings.device)
        network = load_networks(recipe, settings)
    config = SynthConfig(hq=str(image), recipe=recipe, variants=variants, seed=seed, network=settings)
    face, canvas = Prepared(image.name, hq, told), Canvas(pixels=hq)
    records = [draw_record(config, face, number) for number in range(variants)]
    natives = run_together([degrade_segments(record, canvas) for record in records], network)
    made = [finish(native.pixels, native.tail, canvas.full_size, recipe.lq_scale) for native in natives]
    tiles = [Tile(hq, ("HQ",)), *(Tile(pixels, caption(record)) for record, pixels in zip(records, made, strict=True))]
    title = f"{display_name(image.name)} by {recipe.name}; seed {seed}"
    rows = [tiles[i : i + 6] for i in range(0, len(tiles), 6)]
    sheet = encode_png(contact_sheet(rows, title=title, details=True))
    files = {f"lq{number}.png": encode_png(pixels) for number, pixels in enumerate(made)}
    paths = claim.write(out, {**files, "sheet.png": sheet})
    return list(zip(paths[:-1], (", ".join(caption(record)) for record in records), strict=True))
