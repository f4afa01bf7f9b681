"""`degrade-kit degrade`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import echo_licence, flipnet_options, flipnet_settings
from degrade_kit.pipelines.commands.types import LocalPath, Side
from degrade_kit.pipelines.commands.words import command, word


@command("degrade", "Degrade one photo with FlipNet, the learned way")
@click.argument("image", type=LocalPath(dir_okay=False, path_type=Path))
@flipnet_options()
@word("--variants", type=click.IntRange(1, 100), default=5)
@word("--seed", ": noise and prompts", default=0)
@word("--size", "; the image is brought to it, and 0 keeps its own", type=Side(), default=512)
@word("--out", ": a folder for lq0.png, ... and sheet.png", required=True)
def degrade_command(image: Path, variants: int, seed: int, size: int, out: Path, **options: Any) -> None:  # noqa: ANN401
    """Degrade one photograph by a FlipNet, for a look.

    \b
    Examples:
      degrade-kit degrade face.png --out look
      degrade-kit degrade face.png --prompt "very dark, medium noise" --prompt "dense haze" --out look

    What a recipe does to a face is shown by `degrade-kit preview`.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.flipnet.config import require_packages

    require_packages()
    settings = flipnet_settings(options)
    from degrade_kit.flipnet.folder import model_folder
    from degrade_kit.flipnet.licence import licence_notice
    from degrade_kit.pipelines.synth.degrade_photo import degrade_image

    made = degrade_image(image, settings, out, variants=variants, seed=seed, size=size)
    for path, prompt in made:
        click.echo(f"{path}  {prompt or '(null prompt)'}")
    echo_licence(licence_notice(model_folder(settings.model)))
    click.echo(f"look at {out}/sheet.png")
