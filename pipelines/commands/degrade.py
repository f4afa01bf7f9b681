"""`degrade-kit degrade`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import (
    echo_licence,
    flipnet_of,
    flipnet_options,
    network_options,
    network_settings,
)
from degrade_kit.pipelines.commands.types import LocalPath, Side
from degrade_kit.pipelines.commands.words import command, not_with, word


@command("degrade", "Degrade one photo, by a FlipNet or any recipe")
@click.argument("image", type=LocalPath(dir_okay=False, path_type=Path))
@word("--preset", unset="the FlipNet alone")
@flipnet_options(not_with("preset"))
@network_options
@word("--variants", type=click.IntRange(1, 100), default=5)
@word("--seed", ": noise and prompts", default=0)
@word("--size", "; the image is brought to it, and 0 keeps its own", type=Side(), default=512)
@word("--out", ": a folder for lq0.png, ... and sheet.png", required=True)
def degrade_command(
    image: Path,
    preset: Any,  # noqa: ANN401 (a name, or what a recipe file holds)
    variants: int,
    seed: int,
    size: int,
    out: Path,
    captions: Any,  # noqa: ANN401 (a path, then what it holds)
    **options: Any,  # noqa: ANN401 (those of the FlipNet)
) -> None:
    """Degrade one photograph by a FlipNet, or by any recipe, for a look.

    \b
    Examples:
      degrade-kit degrade face.png --out look
      degrade-kit degrade face.png --flipnet small --prompt "very dark" --prompt "dense haze" --out look
      degrade-kit degrade face.png --preset press-photo --out look

    The images are those that `synth` makes of a face of this name; `preview` shows several faces and recipes.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.makers.captions import open_captions
    from degrade_kit.pipelines.makers.networks import flipnet_recipe, licences
    from degrade_kit.pipelines.synth.degrade_photo import degrade_image
    from degrade_kit.presets import resolve_recipe

    settings = network_settings(options)
    recipe = flipnet_recipe(flipnet_of(options)) if preset is None else resolve_recipe(preset)
    captions = open_captions(captions, recipe)
    made = degrade_image(image, recipe, settings, out, captions=captions, variants=variants, seed=seed, size=size)
    for path, described in made:
        click.echo(f"{path}  {described}")
    echo_licence(" ".join(licences(recipe)))
    click.echo(f"look at {out}/sheet.png")
