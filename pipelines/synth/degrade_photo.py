"""`degrade-kit degrade`: one photograph, degraded by a FlipNet, for a look."""

from __future__ import annotations

from pathlib import Path

from degrade_kit.errors import ImageError, RunError
from degrade_kit.hq import HqConfig, prepare_pixels
from degrade_kit.image import encode_png
from degrade_kit.pipelines.claim import report_claim
from degrade_kit.pipelines.devices import check_device
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.makers.flipnet_settings import FlipNetSettings, resolve_flipnet
from degrade_kit.pipelines.sheet import Tile, caption, contact_sheet
from degrade_kit.presets import preset
from degrade_kit.sources import display_name
from degrade_kit.store import LocalStore


def degrade_image(
    image: Path, settings: FlipNetSettings, out: Path, *, variants: int, seed: int, size: int
) -> list[tuple[Path, str]]:
    """Write the LQ images and a sheet of them to a folder; returns each file with its prompt.

    The images are those that `synth` makes of a source with this file's name.

    Raises:
        ConfigError: If the model cannot be used, the device is not here, or the folder is the image.
        RunError: If the image cannot be used, the folder holds something else, or a file is not written.
    """
    claim = report_claim(
        "degrade",
        "LQ images of one photograph",
        ["lq[0-9]*.png", "sheet.png"],
        {"image": image, "flipnet": settings.model, "variants": variants, "seed": seed, "size": size},
        [("IMAGE", image)],
    )
    claim.check(LocalStore(out))
    settings = resolve_flipnet(settings)
    try:
        hq = prepare_pixels(image.read_bytes(), HqConfig(size=size))
    except (OSError, ImageError) as error:
        raise RunError(f"{image}: {error}") from error
    check_device(settings.device)
    from degrade_kit.pipelines.makers.flipnet_maker import FlipNetMaker, load_degrader, make_images

    config = SynthConfig(
        hq=str(image), recipe=preset("flipnet-paper"), variants=variants, seed=seed, mode="flipnet", flipnet=settings
    )
    degrader = load_degrader(settings, download=settings.download)
    maker = FlipNetMaker(config, degrader)
    records = [maker.draw(image.name, number) for number in range(variants)]
    made = make_images(degrader, hq, records, settings.batch_size)
    tiles = [Tile(hq, ("HQ",)), *(Tile(pixels, caption(record)) for record, pixels in zip(records, made, strict=True))]
    title = f"{display_name(image.name)} by the FlipNet {Path(settings.model).name}; seed {seed}"
    rows = [tiles[i : i + 6] for i in range(0, len(tiles), 6)]
    sheet = encode_png(contact_sheet(rows, title=title, details=True))
    files = {f"lq{number}.png": encode_png(pixels) for number, pixels in enumerate(made)}
    paths = claim.write(out, {**files, "sheet.png": sheet})
    prompts = [str(getattr(record.steps[0], "prompt", "")) for record in records]
    return list(zip(paths[:-1], prompts, strict=True))
